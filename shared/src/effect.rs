//! What goes into a replica and what comes out: the closed lists of [`Input`] and [`Effect`].

use alloc::{string::String, sync::Arc, vec::Vec};
use core::fmt;

use thiserror::Error;

use crate::{
    announce::Address,
    block::VerifiedBlock,
    evidence::Evidence,
    id::{BlockHash, EntryId, NodeId},
    incoming::{Frame, Incoming},
    members::{self, MemberError, Removal},
    names::NameError,
    time::Timestamp,
};

/// The driver's number for one connection; never used twice while a replica lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Which side opened a link. The side that dialled pings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// This replica opened the connection.
    Dialled,
    /// The peer did.
    Accepted,
}

/// Which way a link goes to its peer, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkPath {
    /// To or from a relay, which stands between nodes.
    Relay,
    /// A WebSocket from node to node.
    WebSocket,
    /// QUIC from node to node.
    Quic,
}

impl LinkPath {
    /// As it is told to people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::WebSocket => "websocket",
            Self::Quic => "quic",
        }
    }
}

/// The replica's number for one [`Effect::Dial`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u64);

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// A client of this node wants these payloads in the ledger, in this order. Answered by [`Effect::Appended`].
    Append {
        /// Comes back in the answer.
        token: u64,
        /// One entry each.
        payloads: Vec<Vec<u8>>,
    },
    /// Blocks from a file. Answered by [`Effect::Imported`].
    Import {
        /// Comes back in the answer.
        token: u64,
        /// Parents before children.
        blocks: Vec<Incoming>,
    },
    /// Somebody of this node wants to change who belongs to a ledger, what they are called, or to erase. Answered by
    /// [`Effect::Granted`].
    Control {
        /// Comes back in the answer.
        token: u64,
        /// What is wanted.
        wish: Wish,
    },
    /// A client of this node has something to say to one other node. Answered by [`Effect::Directed`].
    Direct {
        /// Comes back in the answer.
        token: u64,
        /// To whom.
        recipient: NodeId,
        /// At most [`crate::limits::DIRECTED_BYTES`].
        body: Vec<u8>,
    },
    /// These blocks of the ledger are damaged or missing, and are out of the store (see [`crate::repair::mend`]): every
    /// link is asked for them until they have come, each answered by [`Effect::Repaired`]. Until then nothing is appended
    /// and nothing else is taken in. More than [`crate::limits::REPAIR_BLOCKS`] at once are not remembered.
    Repair {
        /// Which blocks.
        blocks: Vec<BlockHash>,
    },
    /// A connection to another replica is open.
    LinkOpened {
        /// Its number.
        link: LinkId,
        /// Who dialled.
        role: Role,
        /// Which way it goes.
        path: LinkPath,
        /// What was to be dialled, if the replica wanted it.
        dial: Option<DialId>,
    },
    /// None of the addresses of an [`Effect::Dial`] led anywhere.
    Unreachable {
        /// Which dial.
        dial: DialId,
    },
    /// Where other nodes reach this one, if anywhere. Replaces what was said before. A node says so at its start, and others know from then on
    /// that it is there.
    Reachable {
        /// The best first.
        addresses: Vec<Address>,
    },
    /// An endpoint of this ledger shows itself on the local network, whoever's it is. It is dialled where none is known to be there.
    Found {
        /// All of one endpoint; what is else is left out.
        addresses: Vec<Address>,
    },
    /// The addresses or routes of this machine have changed: who was out of reach may be there now, and who was linked may be gone.
    NetworkChanged,
    /// A connection is gone, whoever closed it.
    LinkClosed {
        /// Its number.
        link: LinkId,
    },
    /// A binary frame came.
    Frame {
        /// From this link.
        link: LinkId,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// The same, read already.
    ReadFrame {
        /// From this link.
        link: LinkId,
        /// What it holds.
        frame: Frame,
    },
    /// The peer asks whether this side lives.
    Ping {
        /// On this link.
        link: LinkId,
    },
    /// The answer to a ping.
    Pong {
        /// On this link.
        link: LinkId,
    },
    /// The first attempt to dial a configured relay failed, so nothing of this node's own lane comes from there for now.
    DialFailed,
    /// This node stops once this turn is done: others are told.
    Leave,
    /// Time passed; due whenever `next_wake` says so, harmless at any other time.
    Wake,
}

impl Input {
    /// Blocks from a file, as they are.
    pub fn import(token: u64, blocks: Vec<Vec<u8>>) -> Self {
        Self::Import { token, blocks: blocks.into_iter().map(Incoming::Bytes).collect() }
    }

    /// A connection to or from a relay is open.
    pub fn relay_opened(link: LinkId, role: Role) -> Self {
        Self::LinkOpened { link, role, path: LinkPath::Relay, dial: None }
    }
}

/// A change of who belongs to a members' ledger, of what they are called, of the key that they share, or of what the ledger holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Begin the ledger; its id follows from the founder, which is this node, and from this salt.
    Found {
        /// See [`crate::members::Genesis`].
        salt: [u8; 16],
    },
    /// Let others in who hold a secret.
    Invite {
        /// Its public half.
        key: NodeId,
        /// What newcomers may do.
        role: members::Role,
        /// How many may come in.
        uses: u32,
        /// Until when; [`Timestamp::MAX`]: for ever.
        expires: Timestamp,
    },
    /// Remove a member; with this node's own id: leave.
    Remove {
        /// Who is removed.
        member: NodeId,
    },
    /// Let nobody in any more by an invite.
    Close {
        /// Its block.
        invite: BlockHash,
    },
    /// Call this node so, in an open ledger too.
    Nickname {
        /// See [`crate::names`].
        name: String,
    },
    /// Call the ledger so.
    LedgerName {
        /// See [`crate::names`].
        name: String,
    },
    /// Seal what is written from now on with a new key.
    Rekey,
    /// Let everybody drop an entry's payload. In an open ledger too, for what this node wrote.
    Erase {
        /// Which entry.
        entry: EntryId,
    },
}

/// Why a wish was not granted. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WishError {
    /// Everybody belongs to an open ledger.
    #[error("this ledger is open: whoever knows its name may write, and nobody is invited or removed")]
    Open,
    /// It is not yet known what this node has written before.
    #[error("this node is not ready to write yet, try again")]
    NotYet,
    /// The ledger has blocks.
    #[error("this ledger has begun already")]
    Begun,
    /// This node does not belong to the ledger.
    #[error("this node is no member of this ledger")]
    Stranger,
    /// Nobody of this name.
    #[error("{0} is no member of this ledger")]
    Unknown(NodeId),
    /// The block is no invite.
    #[error("block {0} is no invite of this ledger")]
    NoInvite(BlockHash),
    /// No such entry.
    #[error("no entry {0} in this ledger")]
    NoEntry(EntryId),
    /// It was so already.
    #[error("that was done before")]
    Done,
    /// An open ledger keeps its name.
    #[error("this ledger is open: its id follows from its name, so it keeps that")]
    OpenName,
    /// The key is, or was, that of an invite, of a member or of a frozen lane.
    #[error("key {0} is of an invite or a node of this ledger already, an invite needs a fresh one")]
    UsedKey(NodeId),
    /// Epoch keys enough.
    #[error("{len} keys of this ledger are here, a new one without need is made up to {limit}")]
    Epochs {
        /// Keys that are here.
        len: usize,
        /// With so many no further epoch begins on demand.
        limit: usize,
    },
    /// The text is no name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// This node writes nothing here.
    #[error(transparent)]
    Barred(#[from] AppendError),
    /// The rules do not allow it.
    #[error(transparent)]
    Rule(#[from] MemberError),
}

impl WishError {
    /// The stable name of the error, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Open | Self::OpenName => "open_ledger",
            Self::NotYet => "not_yet",
            Self::Begun => "begun",
            Self::Stranger => "not_a_member",
            Self::Unknown(_) => "unknown_member",
            Self::NoInvite(_) => "unknown_invite",
            Self::NoEntry(_) => "unknown_entry",
            Self::Done => "done",
            Self::UsedKey(_) => "used_key",
            Self::Epochs { .. } => "too_many_keys",
            Self::Name(_) => "wrong_name",
            Self::Barred(error) => error.code(),
            Self::Rule(_) => "not_allowed",
        }
    }
}

/// Why a message to one node was not sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DirectedError {
    /// More bytes than a message may have.
    #[error("message of {len} bytes for another node, limit is {limit}")]
    TooLarge {
        /// Bytes that came.
        len: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// This node does not belong to the ledger.
    #[error("this node is no member of this ledger")]
    NotAMember,
    /// No way leads there.
    #[error("{0} is not on line, or is no node of this ledger")]
    Unreachable(NodeId),
    /// More messages than a node may send.
    #[error("this node sends more messages than others hand on, try again in a moment")]
    TooFast,
}

impl DirectedError {
    /// The stable name of the error, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "message_too_large",
            Self::NotAMember => "not_a_member",
            Self::Unreachable(_) => "unreachable",
            Self::TooFast => "busy",
        }
    }
}

/// Something to do, once the turn is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Try these addresses, the best first, until one leads to a node: [`Input::LinkOpened`] with this number, or
    /// [`Input::Unreachable`].
    Dial {
        /// Its number.
        dial: DialId,
        /// At least one.
        addresses: Vec<Address>,
    },
    /// Send a binary frame.
    Send {
        /// On this link.
        link: LinkId,
        /// At most [`crate::limits::FRAME_BYTES`].
        bytes: Vec<u8>,
    },
    /// Send a ping.
    Ping {
        /// On this link.
        link: LinkId,
    },
    /// Answer a ping.
    Pong {
        /// On this link.
        link: LinkId,
    },
    /// Close a connection, after sending what was to be sent. The replica has forgotten the link already.
    Close {
        /// This one.
        link: LinkId,
        /// Sent to the peer as the text of the close frame.
        reason: CloseReason,
    },
    /// Keep these bytes with the connection; `Replica::restore` wants them back after hibernation.
    Remember {
        /// With this one.
        link: LinkId,
        /// At most 1,500 bytes.
        state: Vec<u8>,
    },
    /// The answer to [`Input::Append`]: it is durable, or why not.
    Appended {
        /// Of the input.
        token: u64,
        /// The ids of the new entries, in the order of the payloads.
        result: Result<Vec<EntryId>, AppendError>,
    },
    /// The answer to [`Input::Import`].
    Imported {
        /// Of the input.
        token: u64,
        /// What became of the blocks.
        report: ImportReport,
    },
    /// The answer to [`Input::Control`]: the block that says it, or why not.
    Granted {
        /// Of the input.
        token: u64,
        /// The block.
        result: Result<BlockHash, WishError>,
    },
    /// The answer to [`Input::Direct`]: it is on its way, or why not. Nothing tells whether it arrives.
    Directed {
        /// Of the input.
        token: u64,
        /// Nothing, or why it was not sent.
        result: Result<(), DirectedError>,
    },
    /// A node has something to say to this one, and to nobody else. Comes once while this replica lives.
    Received {
        /// Who; the signature is right.
        sender: NodeId,
        /// What.
        body: Vec<u8>,
    },
    /// A block that was damaged or missing is in its place again.
    Repaired {
        /// Which block.
        hash: BlockHash,
    },
    /// A block is in the ledger. Comes before the [`Effect::Appended`] that it answers.
    Added(Added),
    /// The payload of an entry was erased, here and wherever the erase comes to; or the erase that is shown for it is another
    /// one now.
    Erased {
        /// Which entry.
        entry: EntryId,
        /// Who erased it.
        by: NodeId,
        /// When, by the erase's own word.
        at: Timestamp,
    },
    /// Entries landed between older ones, some are void now, or a payload came that was withheld: read again what follows
    /// `from`.
    OrderChanged {
        /// The last entry before the change; `None`: the ledger's beginning.
        from: Option<EntryId>,
    },
    /// An author signed two blocks of one height. The lane is frozen there.
    ForkDetected(Arc<Evidence>),
    /// A member was removed, or an invite closed. The lane is frozen there.
    Removed(Arc<Removal>),
    /// Somebody came in, was removed or got another name, or this node got a key or may write what it could not. At most once
    /// in a turn, after what caused it.
    MembersChanged {
        /// Whether this node writes here, once its own lane is here and nothing is under repair.
        writes: bool,
        /// Whether this node got an epoch key, so that entries which were closed before may open now.
        keys: bool,
    },
    /// This node's own lane is forked, and it goes on with its successor's key: note the new node, then put the successor's
    /// key in the place of the old one. All links are closed and are to be dialled again. Comes again at each start until
    /// that is done.
    Succeeded {
        /// Whose lane is frozen.
        old: NodeId,
        /// Who writes from now on.
        new: NodeId,
    },
    /// More or fewer linked nodes than before hold this node's own blocks up to a height.
    Held {
        /// The height in this node's lane.
        height: u64,
        /// How many linked nodes have all of it durable.
        nodes: u32,
    },
    /// How far the exchange over a link is. `done == total` is sent once, at its end.
    Progress {
        /// Which link.
        link: LinkId,
        /// Blocks received since the heads were compared.
        done: u64,
        /// Blocks that the peer had and this replica lacked then.
        total: u64,
    },
    /// A link's peer has proved its key.
    PeerUp {
        /// Which link.
        link: LinkId,
        /// Whose it is.
        node: NodeId,
    },
    /// A link whose peer was up is gone.
    PeerDown {
        /// Which link.
        link: LinkId,
        /// Whose it was.
        node: NodeId,
    },
    /// Another node came on line, over whatever way, or is gone.
    Presence {
        /// Who.
        node: NodeId,
        /// Whether it is there.
        online: bool,
    },
}

/// One block that was added to the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct Added {
    /// Its arrival number at this replica.
    pub seq: u64,
    /// The block.
    pub block: Arc<VerifiedBlock>,
    /// The `previous_hash` of its first entry: the latest parent in ledger order, or the genesis.
    pub previous: BlockHash,
}

/// What became of imported blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImportReport {
    /// Now in the ledger.
    pub added: u64,
    /// Were there already.
    pub known: u64,
    /// Wait for a parent that has not come, or for their time.
    pub parked: u64,
    /// Broke a rule.
    pub refused: u64,
}

/// Why an append was refused. Nothing of it was stored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Nothing to append.
    #[error("0 entries, at least 1 is expected")]
    Empty,
    /// A payload is too large.
    #[error("payload of {len} bytes, limit is {limit}")]
    PayloadTooLarge {
        /// Bytes that came.
        len: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Too many payloads in one call.
    #[error("{len} entries in one append, limit is {limit}")]
    TooManyEntries {
        /// Entries that came.
        len: usize,
        /// Entries allowed.
        limit: usize,
    },
    /// This turn is full; try again.
    #[error("this node is busy: {limit} entries or {bytes} bytes wait already, try again")]
    Busy {
        /// Entries that may wait.
        limit: usize,
        /// Bytes that may wait.
        bytes: usize,
    },
    /// This replica does not write.
    #[error("this node is a relay and writes no entries")]
    ReadOnly,
    /// Blocks of this node's store are damaged or missing.
    #[error("this node repairs its store and writes nothing until {blocks} damaged or missing blocks have come")]
    Repairing {
        /// How many are still to come.
        blocks: usize,
    },
    /// This node's key was restored without what it has signed.
    #[error(
        "this node's key was restored from a backup: until a peer has told what the key has signed before, this node \
         only reads"
    )]
    Restored,
    /// This node's own lane is frozen.
    #[error("this node's lane is frozen at height {height}: two blocks of that height carry its signature")]
    Frozen {
        /// The forked height.
        height: u64,
    },
    /// The newest key of the ledger is not here yet.
    #[error(
        "this node has not been given the newest key of this ledger yet: a member that invites or removes gives it, once it is on line"
    )]
    NoKey,
    /// This node was removed.
    #[error("this node was removed from this ledger, and writes in it no more")]
    Removed,
    /// This node has not joined, or only reads.
    #[error("this node does not write in this ledger: it has not joined it, or joined it as a reader")]
    NotAMember,
}

impl AppendError {
    /// The stable name of the error, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::PayloadTooLarge { .. } => "payload_too_large",
            Self::TooManyEntries { .. } => "too_many_entries",
            Self::Busy { .. } => "busy",
            Self::ReadOnly => "read_only",
            Self::Repairing { .. } => "repairing",
            Self::Restored => "restored",
            Self::Frozen { .. } => "lane_frozen",
            Self::NoKey => "no_key",
            Self::Removed => "removed",
            Self::NotAMember => "not_a_member",
        }
    }
}

/// Why a link was closed; the peer reads it in the close frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// A frame broke the protocol; what was wrong with it.
    Protocol(&'static str),
    /// The peer did not prove its key in time.
    HandshakeTimeout,
    /// The peer speaks for another ledger.
    WrongLedger,
    /// The peer speaks no version that this side speaks.
    WrongVersion,
    /// The peer's proof of its key is wrong.
    WrongProof,
    /// The peer is this very node.
    Myself,
    /// No answer to a ping.
    PingTimeout,
    /// The peer gave no credit for too long.
    Stalled,
    /// A newer link of the same node took its place.
    Replaced,
    /// A text client sent too many frames that do not parse.
    TooManyFaults,
    /// The hub has no place for another link.
    Full,
    /// A text client was sent too much without a sign that it reads.
    Unread,
    /// This node proved its old key on the link and has a new one.
    Succeeded,
    /// Nobody has a part in this ledger but its members.
    NotAMember,
    /// The peer sends more frames than this side takes.
    TooFast,
    /// This side let the peer in while it mended its ledger, and has to decide that anew.
    Mended,
    /// This side has other neighbours that bring it more.
    Spare,
}

impl CloseReason {
    /// The close code: 1002 for a peer that broke the protocol, 4000 and up for the rest.
    pub fn code(&self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::HandshakeTimeout => 4000,
            Self::WrongLedger => 4001,
            Self::WrongVersion => 4002,
            Self::WrongProof => 4003,
            Self::Myself => 4004,
            Self::PingTimeout => 4005,
            Self::Stalled => 4006,
            Self::Replaced => 4007,
            Self::TooManyFaults => 4008,
            Self::Full => 4009,
            Self::Unread => 4010,
            Self::Succeeded => 4011,
            Self::NotAMember => 4012,
            Self::TooFast => 4013,
            Self::Mended => 4014,
            Self::Spare => 4015,
        }
    }
}

/// A sentence of at most 120 bytes.
impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protocol(what) => what,
            Self::HandshakeTimeout => "no proof of the node's key within 5 s",
            Self::WrongLedger => "this link is for another ledger",
            Self::WrongVersion => "no protocol version in common, this side speaks 1",
            Self::WrongProof => "the proof of the node's key is wrong",
            Self::Myself => "this is the same node",
            Self::PingTimeout => "no answer to a ping in time",
            Self::Stalled => "no credit for 20 s, dial again to resume",
            Self::Replaced => "a newer link of this node took over",
            Self::TooManyFaults => "too many frames that do not parse",
            Self::Full => "no place for another link",
            Self::Unread => "too much was sent since your last frame, dial again to resume",
            Self::Succeeded => "this node goes on with a new key and dials again",
            Self::NotAMember => "this ledger is its members' own, and this node is none",
            Self::TooFast => "more frames came than this side takes, dial again later",
            Self::Mended => "this node has mended its ledger, dial again and show how you came in",
            Self::Spare => "other neighbours bring more, this link is not needed",
        })
    }
}
