//! Who belongs to a members' ledger: genesis, invites, joins, removals. Each is decided from the entries on which it rests,
//! never from arrival.
//!
//! ```text
//! genesis = [1, founder: bytes32, salt: bytes16]                  the founder's first entry; its hash is the ledger's id
//! invite  = [1, join: bytes32, key: bytes32, role, uses, expires] by an owner or admin; join: its author's first block
//! join    = [1, invite: bytes32, signature: bytes64]              a newcomer's first entry; signed by the invite's key
//! remove  = [1, join: bytes32, member: bytes32, rests: bytes32, height]
//! ```
//!
//! `join`, `invite` and `rests` name blocks by their hashes. A control entry stands alone in its block. A removal freezes the
//! member's lane above `height`, the height that stays; with the key of an invite for the member it closes that invite, and
//! `rests` is the invite's block. Both are freezes as a fork makes them (see `freeze`), with a proof of their own. What is
//! frozen of an invite is not the lane of its key, which whoever invites says and which may be that of any node, but
//!
//! ```text
//! closed = SHA-256("cairn/closed/1" ‖ the invite's block)        in the place of a lane, from height 1 on
//! ```

mod list;
mod removal;

use alloc::{string::String, vec::Vec};

use minicbor::{Decoder, Encoder};
use sha2::{Digest, Sha256};
use thiserror::Error;

pub(crate) use self::list::{By, Member, Members, Newcomer, is_closed};
pub use self::removal::{Removal, RemovalError};
use crate::{
    block::{Block, Entry, Header, Kind, VerifiedBlock, infallible},
    erase::Erase,
    id::{BlockHash, LedgerId, NodeId},
    key::Key,
    limits::INVITE_DEPTH,
    time::Timestamp,
};

pub(crate) const VERSION: u64 = 1;
const LABEL_GENESIS: &[u8] = b"cairn/genesis/1";
const LABEL_JOIN: &[u8] = b"cairn/join/1";
const LABEL_CLOSED: &[u8] = b"cairn/closed/1";
const LABEL_REMOVED: &[u8] = b"cairn/removed/1";

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Invites with any role, and removes everybody but those it came in by.
    Owner = 0,
    /// Invites with any role below owner, and removes whom it brought in, directly or through others.
    Admin = 1,
    /// Writes.
    Member = 2,
    /// Reads.
    Reader = 3,
}

impl Role {
    fn from_number(number: u64) -> Option<Self> {
        [Self::Owner, Self::Admin, Self::Member, Self::Reader].into_iter().find(|role| *role as u64 == number)
    }

    /// Its name: `owner`, `admin`, `member` or `reader`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Reader => "reader",
        }
    }

    fn may_invite(self, role: Role) -> bool {
        self == Self::Owner || (self == Self::Admin && role != Self::Owner)
    }
}

/// Begins a members' ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    /// Its first owner, whom nobody can remove.
    pub founder: NodeId,
    /// Makes two ledgers of one founder differ.
    pub salt: [u8; 16],
}

impl Genesis {
    /// The id of the ledger that begins so.
    pub fn ledger(&self) -> LedgerId {
        let digest = Sha256::new().chain_update(LABEL_GENESIS).chain_update(self.encode());
        LedgerId::of_members(digest.finalize().into())
    }

    /// Canonical CBOR.
    pub fn encode(&self) -> Vec<u8> {
        encode(|e| {
            e.array(3)?.u64(VERSION)?.bytes(self.founder.as_bytes())?.bytes(&self.salt)?;
            Ok(())
        })
    }

    /// Reads a payload.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let read = |d: &mut Decoder<'_>| {
            begin(d, 3)?;
            Some(Self { founder: node(d)?, salt: d.bytes().ok()?.try_into().ok()? })
        };
        read(&mut Decoder::new(bytes)).filter(|genesis| genesis.encode() == bytes)
    }
}

/// Lets others in who hold its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// The first block of the one who invites.
    pub join: BlockHash,
    /// Public half of the invite's key.
    pub key: NodeId,
    /// What a newcomer may do.
    pub role: Role,
    /// How many may come in by it.
    pub uses: u32,
    /// Joins are earlier than this; [`Timestamp::MAX`]: at any time.
    pub expires: Timestamp,
}

impl Invite {
    /// Canonical CBOR.
    pub fn encode(&self) -> Vec<u8> {
        encode(|e| {
            e.array(6)?.u64(VERSION)?.bytes(self.join.as_bytes())?.bytes(self.key.as_bytes())?;
            e.u64(self.role as u64)?.u32(self.uses)?.u64(self.expires.micros())?;
            Ok(())
        })
    }

    /// Reads a payload.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let read = |d: &mut Decoder<'_>| {
            begin(d, 6)?;
            let (join, key, role) = (block(d)?, node(d)?, Role::from_number(d.u64().ok()?)?);
            Some(Self { join, key, role, uses: d.u32().ok()?, expires: Timestamp::from_micros(d.u64().ok()?)? })
        };
        read(&mut Decoder::new(bytes)).filter(|invite| invite.encode() == bytes)
    }
}

/// Brings a newcomer in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// The block of the invite.
    pub invite: BlockHash,
    /// By the invite's key, over the ledger, the invite and the newcomer.
    pub signature: [u8; 64],
}

impl Join {
    /// A newcomer's join by an invite whose secret it holds.
    pub fn sign(secret: &Key, ledger: &LedgerId, invite: BlockHash, newcomer: &NodeId) -> Self {
        Self { invite, signature: secret.sign(&join_message(ledger, &invite, newcomer)) }
    }

    /// A newcomer's first block. `end` is the end of the invite's block; `nonce` is random.
    pub fn block(
        &self,
        ledger: LedgerId,
        newcomer: &Key,
        end: Timestamp,
        now: Timestamp,
        nonce: [u8; 16],
    ) -> VerifiedBlock {
        let timestamp = now.max(end);
        let header =
            Header { ledger, author: newcomer.node(), height: 1, timestamp, parents: alloc::vec![self.invite] };
        VerifiedBlock::sign(header, alloc::vec![Entry::new(Kind::JOIN, nonce, self.encode())], newcomer)
    }

    /// Canonical CBOR.
    pub fn encode(&self) -> Vec<u8> {
        encode(|e| {
            e.array(3)?.u64(VERSION)?.bytes(self.invite.as_bytes())?.bytes(&self.signature)?;
            Ok(())
        })
    }

    /// Reads a payload.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let read = |d: &mut Decoder<'_>| {
            begin(d, 3)?;
            Some(Self { invite: block(d)?, signature: d.bytes().ok()?.try_into().ok()? })
        };
        read(&mut Decoder::new(bytes)).filter(|join| join.encode() == bytes)
    }
}

/// One who came in, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Who.
    pub node: NodeId,
    /// What it may do.
    pub role: Role,
    /// Time of its first block.
    pub joined: Timestamp,
    /// Who invited it; `None` for the founder.
    pub by: Option<NodeId>,
    /// Its lane is frozen, because it was removed or forked it: blocks up to this height count without more ado.
    pub stays: Option<u64>,
    /// What it wants to be called, where that can be read here.
    pub name: Option<String>,
}

/// How a node stands in a members' ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// What it may do; `None` before it is in.
    pub role: Option<Role>,
    /// Its lane is frozen: it was removed, has left, or forked it.
    pub removed: bool,
    /// How many belong.
    pub members: usize,
}

/// An invite, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InviteStatus {
    /// Its block.
    pub block: BlockHash,
    /// Public half of its key.
    pub key: NodeId,
    /// Who invites.
    pub by: NodeId,
    /// What a newcomer may do.
    pub role: Role,
    /// How many may come in by it.
    pub uses: u32,
    /// How many have.
    pub used: u32,
    /// Joins are earlier than this; [`Timestamp::MAX`]: at any time.
    pub expires: Timestamp,
    /// Nobody comes in by it any more, whatever the time: it was closed or is used up, or whoever wrote it was removed before.
    pub closed: bool,
}

/// Removes a member, or closes an invite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remove {
    /// The first block of the one who removes.
    pub join: BlockHash,
    /// Whose lane, or the key of an invite.
    pub member: NodeId,
    /// The member's first block, or the invite's block.
    pub rests: BlockHash,
    /// Height of the lane that stays, at least 1; 0 for an invite.
    pub height: u64,
}

impl Remove {
    /// The lane that it freezes, or what stands for the invite that it closes, and the height from which on it is frozen.
    pub fn freeze(&self) -> (NodeId, u64) {
        match self.height {
            0 => (closed(&self.rests), 1),
            height => (self.member, height.saturating_add(1)),
        }
    }

    /// Canonical CBOR.
    pub fn encode(&self) -> Vec<u8> {
        encode(|e| {
            e.array(5)?.u64(VERSION)?.bytes(self.join.as_bytes())?.bytes(self.member.as_bytes())?;
            e.bytes(self.rests.as_bytes())?.u64(self.height)?;
            Ok(())
        })
    }

    /// Reads a payload.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let read = |d: &mut Decoder<'_>| {
            begin(d, 5)?;
            Some(Self { join: block(d)?, member: node(d)?, rests: block(d)?, height: d.u64().ok()? })
        };
        read(&mut Decoder::new(bytes)).filter(|remove| remove.encode() == bytes)
    }
}

/// What a block says that the rules go by: about who belongs, or what is erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Control {
    Genesis(Genesis),
    Invite(Invite),
    Join(Join),
    Remove(Remove),
    Erase(Erase),
}

impl Control {
    /// The control entry of a block; `None` if it has none. In an open ledger only an erase is one.
    ///
    /// # Errors
    /// When it has one that is malformed, or not alone in its block.
    pub(crate) fn of(block: &Block) -> Result<Option<Self>, MemberError> {
        let has_members = block.header().ledger.has_members();
        let is_control = |kind| match kind {
            Kind::GENESIS | Kind::INVITE | Kind::JOIN | Kind::REMOVE => has_members,
            kind => kind == Kind::ERASE,
        };
        if !block.entries().iter().any(|entry| is_control(entry.kind)) {
            return Ok(None);
        }
        let [entry] = block.entries() else { return Err(MemberError::NotAlone) };
        let payload = entry.payload().ok_or(MemberError::Malformed)?;
        let control = match entry.kind {
            Kind::GENESIS => Genesis::decode(payload).map(Self::Genesis),
            Kind::INVITE => Invite::decode(payload).map(Self::Invite),
            Kind::JOIN => Join::decode(payload).map(Self::Join),
            Kind::ERASE => Erase::decode(payload).map(Self::Erase),
            _ => Remove::decode(payload).map(Self::Remove),
        };
        control.map(Some).ok_or(MemberError::Malformed)
    }

    /// The blocks that it names.
    pub(crate) fn names(&self) -> Vec<BlockHash> {
        match self {
            Self::Genesis(_) => Vec::new(),
            Self::Invite(invite) => alloc::vec![invite.join],
            Self::Join(join) => alloc::vec![join.invite],
            Self::Remove(remove) => alloc::vec![remove.join, remove.rests],
            Self::Erase(erase) => {
                let power = erase.power.map(|power| [power.join, power.rests]);
                [erase.block].into_iter().chain(power.into_iter().flatten()).collect()
            }
        }
    }

    /// The blocks that a block names beside its parents. None, if it breaks a rule: that is found when it is checked.
    pub(crate) fn named(block: &Block) -> Vec<BlockHash> {
        Self::of(block).ok().flatten().map_or_else(Vec::new, |control| control.names())
    }
}

/// Why a block breaks a rule of who belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MemberError {
    /// Something that begins a lane other than by joining.
    #[error("a lane of this ledger begins with a join, or with its genesis")]
    Stranger,
    /// What a control entry rests on is not before it.
    #[error("a control entry is earlier than a block on which it rests")]
    Early,
    /// A first entry where it is not the first.
    #[error("a genesis or a join begins a lane, this one is further up")]
    NotFirst,
    /// Another ledger's genesis.
    #[error("the genesis is not this ledger's")]
    WrongGenesis,
    /// A control entry among others.
    #[error("a control entry is not alone in its block")]
    NotAlone,
    /// Bytes that say nothing.
    #[error("a control entry is malformed")]
    Malformed,
    /// The named block is not what it should be.
    #[error("a control entry rests on a block that is not what it needs")]
    WrongBlock,
    /// The invite's key did not sign.
    #[error("the invite's key did not sign this join")]
    WrongSignature,
    /// Too late.
    #[error("the invite had expired")]
    Expired,
    /// A join rests on its invite, and on nothing else.
    #[error("a join has its invite for its only parent")]
    JoinParents,
    /// The author's role is too low.
    #[error("the author's role does not allow this")]
    NotAllowed,
    /// Erasing what another one wrote.
    #[error("an entry is erased by its author, or by an owner or admin who could remove the author")]
    NotTheirs,
    /// Erasing what the rules go by.
    #[error("only data and nicknames can be erased, not an entry of kind {}", .0.0)]
    NotErasable(Kind),
    /// Members between this one and the founder.
    #[error("more than {INVITE_DEPTH} members stand between a newcomer and the founder")]
    TooDeep,
}

/// What stands for an invite among the lanes that are frozen: no node has this id, and no other invite.
pub(crate) fn closed(invite: &BlockHash) -> NodeId {
    let digest = Sha256::new().chain_update(LABEL_CLOSED).chain_update(invite.as_bytes());
    NodeId::from_bytes(digest.finalize().into())
}

/// What stands among the heads for the removal of a member, whatever freezes its lane: no node has this id.
pub(crate) fn removed(member: &NodeId) -> NodeId {
    let digest = Sha256::new().chain_update(LABEL_REMOVED).chain_update(member.as_bytes());
    NodeId::from_bytes(digest.finalize().into())
}

pub(crate) fn join_message(ledger: &LedgerId, invite: &BlockHash, newcomer: &NodeId) -> Vec<u8> {
    [LABEL_JOIN, ledger.as_bytes(), invite.as_bytes(), newcomer.as_bytes()].concat()
}

pub(crate) fn encode(
    write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Result<(), minicbor::encode::Error<core::convert::Infallible>>,
) -> Vec<u8> {
    let mut bytes = Vec::new();
    infallible(write(&mut Encoder::new(&mut bytes)));
    bytes
}

fn begin(d: &mut Decoder<'_>, len: u64) -> Option<()> {
    (d.array().ok()?? == len && d.u64().ok()? == VERSION).then_some(())
}

pub(crate) fn node(d: &mut Decoder<'_>) -> Option<NodeId> {
    Some(NodeId::from_bytes(d.bytes().ok()?.try_into().ok()?))
}

pub(crate) fn block(d: &mut Decoder<'_>) -> Option<BlockHash> {
    Some(BlockHash::from_bytes(d.bytes().ok()?.try_into().ok()?))
}
