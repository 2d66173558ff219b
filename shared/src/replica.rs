//! The replica: one ledger on one node, as a state machine without IO.
//!
//! One way in ([`Replica::handle`]), one way to be woken ([`Replica::next_wake`]), one end of a turn
//! ([`Replica::commit`]). `accept` decides about blocks; `handshake`, `exchange` and `serve` speak with peers.

mod accept;
mod control;
mod directed;
mod door;
mod epochs;
mod erase;
mod exchange;
mod handshake;
mod heads;
#[cfg(feature = "sim")]
mod inspect;
mod invites;
mod mending;
mod names;
mod news;
mod overlay;
mod own;
mod serve;
mod tree;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use thiserror::Error;
use zeroize::Zeroizing;

#[cfg(feature = "sim")]
pub(crate) use self::own::signed_height;
use self::{directed::Senders, epochs::Epochs, erase::Withheld, news::News, overlay::Overlay, own::Own};
pub use self::{
    epochs::META_EPOCHS,
    overlay::{PeerStatus, Via},
    own::note_restored,
};
use crate::{
    announce::Address,
    block::{Entry, Header, Kind, VerifiedBlock},
    effect::{Added, AppendError, Effect, Input, LinkId, LinkPath, Role, Wish},
    id::{BlockHash, EntryId, LedgerId, NodeId},
    key::{Key, Signers},
    ledger::Ledger,
    limits::{
        APPEND_ENTRIES, BLOCK_BYTES, BLOCK_ENTRIES, BLOCK_PARENTS, CLOCK_WINDOW, HEADS_UNASKED, PAYLOAD_BYTES,
        TURN_BYTES, TURN_ENTRIES,
    },
    members::Member,
    order::OrderKey,
    pace::Pace,
    park::Pool,
    proofs::Proofs,
    random::Random,
    seal::{self, EpochKey},
    store::{Page, Record, Store, Summary},
    sync::Link,
    time::{Timers, Timestamp},
};

/// Most bytes that a block has beside its payloads: header with 16 parents, signature, and 32 for each entry.
const BLOCK_OVERHEAD: usize = 1024;
const ENTRY_OVERHEAD: usize = 32;
/// Bytes of encoded blocks kept at hand, so that forwarding does not read them again.
const RECENT_BYTES: usize = 4 * 1024 * 1024;

/// What a replica is made of.
pub struct Config {
    /// Whose history it holds.
    pub ledger: LedgerId,
    /// The node's key.
    pub key: Key,
    /// Random bytes, fresh at every start: nonces and challenges follow from them.
    pub seed: Zeroizing<[u8; 32]>,
    /// Whether the node writes. A relay does not.
    pub writes: bool,
    /// How many relays the driver dials at the start, and how many `peers` this replica has dialled. Until their peers have told what they have of this node's lane, or
    /// each of the first dials has failed ([`Input::DialFailed`]), or a deadline has passed, nothing is signed. 0: it writes
    /// at once.
    pub dials: u32,
    /// A key that has signed nothing, kept where it lasts: when this node's lane turns out to be forked, the node goes on
    /// with it ([`Effect::Succeeded`]). Not in a members' ledger.
    pub successor: Option<Key>,
    /// This node's first block in a members' ledger, made with an invite ([`crate::members::Join::block`]) and kept where it
    /// lasts: peers let this node in by it, until it is in the ledger.
    pub join: Option<Vec<u8>>,
    /// The epoch key that came with the invite.
    pub epoch: Option<EpochKey>,
    /// Whether credit is given back no faster than a peer and an author may write ([`crate::limits::AUTHOR_BLOCKS`] and those
    /// near it). For a relay, whose rows are few and everybody's; nothing is dropped, what is too fast comes later.
    pub pace: bool,
    /// Whether a frame is read a part at a time ([`crate::limits::SLICE`]), so that others have their turn between. The driver
    /// looks at [`Replica::takes_next`] then, and wakes the replica in time.
    pub slices: bool,
    /// With so many lanes at most, all heads go out unasked. With more, they are compared part by part first.
    pub heads_unasked: usize,
    /// Whether the node says where it can be reached ([`Input::Reachable`]), and links to others directly
    /// ([`Effect::Dial`]). A relay does not.
    pub meets: bool,
    /// Whether addresses that others announce are dialled wherever they lead. Otherwise only those of local networks are, and
    /// nothing leaves these.
    pub far: bool,
    /// Where other nodes are, as this node's owner says. They are trusted with what a hub sees, whoever they are, and count
    /// in `dials`; at most [`crate::limits::GIVEN_PEERS`].
    pub peers: Vec<Address>,
}

impl Config {
    /// A replica that does not write, and has nothing to go on with.
    pub fn new(ledger: LedgerId, key: Key, seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        Self {
            ledger,
            key,
            seed,
            writes: false,
            dials: 0,
            successor: None,
            join: None,
            epoch: None,
            pace: false,
            slices: false,
            heads_unasked: HEADS_UNASKED,
            meets: false,
            far: false,
            peers: Vec::new(),
        }
    }
}

/// Counts of what is in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Blocks that count.
    pub blocks: u64,
    /// Their entries.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One link, for status pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkStatus {
    /// Which link.
    pub link: LinkId,
    /// The peer, once it proved its key.
    pub node: Option<NodeId>,
    /// Which way it goes.
    pub path: LinkPath,
    /// Which side opened it.
    pub role: Role,
    /// When the peer proved its key.
    pub since: Timestamp,
    /// Bytes of frames received and sent.
    pub bytes: (u64, u64),
    /// µs from the last ping to its answer.
    pub round_trip: Option<u64>,
    /// Blocks received of those that the peer had when the heads were compared, and their number.
    pub progress: (u64, u64),
    /// Blocks still to be sent to the peer.
    pub remaining: u64,
    /// Up to which height the peer has this node's own lane durable.
    pub holds: u64,
}

/// Why a turn failed. The replica is poisoned: drop it and perform no effect of the turn.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplicaError<E> {
    /// The store cannot be read or written.
    #[error("the store failed: {0}")]
    Store(#[from] E),
    /// A stored block is not what it was.
    #[error("stored block {0} is damaged: `cairn verify --repair` fetches it again from other nodes")]
    Damaged(BlockHash),
}

/// Why a replica cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError<E> {
    /// The store fails.
    #[error("the store cannot be read: {0}")]
    Store(E),
    /// The store belongs to another ledger.
    #[error("the store holds ledger {came}, this is for {here}")]
    WrongLedger {
        /// The store's ledger.
        came: LedgerId,
        /// The configured ledger.
        here: LedgerId,
    },
    /// The store's own notes make no sense.
    #[error("the store is damaged: {0}")]
    Damaged(&'static str),
}

type Turn<S> = Result<(), ReplicaError<<S as crate::store::ReadStore>::Error>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The peer must have proved its key.
    Handshake(LinkId),
    /// The link was silent: ping.
    Ping(LinkId),
    /// The ping must have been answered.
    Pong(LinkId),
    /// Something was sent and nothing came since: ask.
    Silence(LinkId),
    /// The peer must have given credit.
    Stall(LinkId),
    /// Credit that was held back is due to the peer, or a sign that it is not forgotten.
    Credit(LinkId),
    /// Heads may be compared again.
    Resync(LinkId),
    /// What is left of a frame is to be read on.
    Read(LinkId),
    /// Many blocks that wait for a voucher may be gone through again.
    Zone,
    /// The next block of this node's own lane must have come.
    OwnLane,
    /// Nothing more of it is waited for.
    OwnLaneMost,
    /// Others have had the time to begin an epoch, or to give its key to who came in.
    Rekey,
    /// Missing payloads may be asked for.
    Withheld,
    /// What peers say to have must have come by other ways.
    Graft,
    /// What is here may be said over lazy links again.
    Have,
    /// Somebody may be dialled.
    Meet,
    /// Who is on line may have changed.
    Presence,
    /// Somebody may be tried as a further neighbour, or has been.
    Probe,
    /// Known peers may be noted again.
    Peers,
}

/// Blocks at hand, by lane.
#[derive(Default)]
struct Recent {
    blocks: BTreeMap<(NodeId, u64, BlockHash), Record>,
    bytes: usize,
}

impl Recent {
    fn insert(&mut self, record: Record) {
        if self.bytes > RECENT_BYTES {
            self.clear();
        }
        let summary = &record.summary;
        self.bytes += record.bytes.len();
        self.blocks.insert((summary.author, summary.height, summary.hash), record);
    }

    fn remove(&mut self, summary: &Summary) {
        if let Some(record) = self.blocks.remove(&(summary.author, summary.height, summary.hash)) {
            self.bytes -= record.bytes.len();
        }
    }

    fn clear(&mut self) {
        self.blocks.clear();
        self.bytes = 0;
    }
}

/// One ledger on one node.
pub struct Replica<S: Store> {
    store: S,
    config: Config,
    me: NodeId,
    ledger: Ledger,
    pool: Pool,
    signers: Signers,
    proofs: Proofs,
    links: BTreeMap<LinkId, Link>,
    /// Those of the links whose peers have yet to show that they belong, in no order.
    door: Vec<LinkId>,
    pace: Pace,
    /// Which links brought the latest blocks.
    came: BTreeMap<BlockHash, LinkId>,
    timers: Timers<Timer>,
    random: Random,
    recent: Recent,
    /// Appends that become blocks at the end of the turn.
    wishes: Vec<(u64, Wish)>,
    waiting: Vec<(u64, Vec<Vec<u8>>)>,
    waiting_entries: usize,
    waiting_bytes: usize,
    /// The earliest block that landed between older ones in this turn, or of which there is more or less now.
    reordered: Option<OrderKey>,
    /// A block came that may vouch for waiting zone blocks.
    vouchers: bool,
    /// The earliest time of a block of the future that was passed over in looking for vouchers.
    early: Option<Timestamp>,
    /// Blocks of the ledger that are damaged or missing: links are asked for them, and little else happens meanwhile.
    repairing: BTreeSet<BlockHash>,
    /// A block was repaired in this turn: what is kept in memory is made anew at its end.
    repaired: bool,
    own: Own,
    epochs: Epochs,
    news: News,
    withheld: Withheld,
    overlay: Overlay,
    senders: Senders,
    /// The wall clock, as the driver told it last.
    now: Timestamp,
}

impl<S: Store> Replica<S> {
    /// Takes up what the store holds. `links` are the connections that outlived the last replica (a Durable Object after
    /// hibernation), each with its last [`Effect::Remember`] state (empty: none was given).
    ///
    /// # Errors
    /// When the store cannot be read or holds another ledger.
    pub fn restore(
        config: Config,
        mut store: S,
        links: &[(LinkId, Vec<u8>)],
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<Self, OpenError<S::Error>> {
        let ledger_id = config.ledger;
        let ledger = Ledger::open(ledger_id, &mut store)?;
        let repairing = crate::repair::noted(&store)?;
        let me = config.key.node();
        let mut replica = Self {
            store,
            random: Random::new(config.seed.clone()),
            config,
            me,
            ledger,
            pool: Pool::default(),
            signers: Signers::default(),
            proofs: Proofs::new(ledger_id),
            links: BTreeMap::new(),
            door: Vec::new(),
            pace: Pace::default(),
            came: BTreeMap::new(),
            timers: Timers::new(now),
            recent: Recent::default(),
            wishes: Vec::new(),
            waiting: Vec::new(),
            waiting_entries: 0,
            waiting_bytes: 0,
            reordered: None,
            vouchers: false,
            early: None,
            repairing,
            repaired: false,
            own: Own::default(),
            epochs: Epochs::default(),
            news: News::default(),
            withheld: Withheld::default(),
            overlay: Overlay::default(),
            senders: Senders::default(),
            now,
        };
        replica.load_keys()?;
        replica.load_withheld()?;
        replica.load_debts(now).map_err(OpenError::Store)?;
        replica.start_overlay().map_err(OpenError::Store)?;
        replica.start_own(effects)?;
        if let Some(join) = replica.config.join.clone()
            && replica.ledger.members().of(&me).next().is_none()
        {
            replica.offer(join.into(), None, effects).map_err(|error| match error {
                ReplicaError::Store(error) => OpenError::Store(error),
                ReplicaError::Damaged(_) => OpenError::Damaged("a block of it"),
            })?;
        }
        for (id, state) in links {
            replica.restore_link(*id, state, effects);
            replica.request_repairs(*id);
        }
        replica.note_writes();
        Ok(replica)
    }

    /// Handles one input. Effects are to be performed after [`Replica::commit`].
    ///
    /// # Errors
    /// When the store fails: the replica is poisoned then, drop it.
    pub fn handle(&mut self, now: Timestamp, input: Input, effects: &mut Vec<Effect>) -> Turn<S> {
        self.tick(now);
        match input {
            Input::Append { token, payloads } => self.handle_append(token, payloads, effects)?,
            Input::Import { token, blocks } => {
                let report = self.handle_import(blocks, effects)?;
                effects.push(Effect::Imported { token, report });
            }
            Input::Control { token, wish } => self.handle_control(token, wish, effects)?,
            Input::Direct { token, recipient, body } => self.handle_direct(token, recipient, &body, effects),
            Input::Repair { blocks } => self.handle_repair(&blocks)?,
            Input::LinkOpened { link, role, path, dial } => self.handle_opened(link, role, path, dial, effects),
            Input::Unreachable { dial } => self.handle_unreachable(dial),
            Input::Reachable { addresses } => self.handle_reachable(addresses),
            Input::Found { addresses } => self.handle_found(addresses),
            Input::NetworkChanged => self.handle_network_changed(effects),
            Input::LinkClosed { link } => self.forget(link, effects),
            Input::Frame { link, bytes } => self.on_frame(link, &bytes, effects)?,
            Input::ReadFrame { link, frame } => self.on_read_frame(link, frame, effects)?,
            Input::Ping { link } => {
                self.heard(link);
                if self.links.contains_key(&link) {
                    effects.push(Effect::Pong { link });
                }
            }
            Input::Pong { link } => {
                self.on_pong(link);
                self.heard(link);
            }
            Input::DialFailed => self.handle_dial_failed(),
            Input::Leave => self.say_goodbye(),
            Input::Wake => self.handle_wake(effects)?,
        }
        self.resolve_zone(effects)
    }

    /// Ends a turn: waiting appends become blocks, links are served, everything is made durable.
    ///
    /// # Errors
    /// When the store fails: the replica is poisoned then, drop it and perform no effect of this turn.
    pub fn commit(&mut self, now: Timestamp, effects: &mut Vec<Effect>) -> Turn<S> {
        self.tick(now);
        self.finish_repairs(effects)?;
        self.settle_own(effects)?;
        self.follow_predecessor(effects)?;
        self.grant_waiting(effects)?;
        self.close_used_up(effects)?;
        // An epoch that begins now is later than what tells of a removal.
        self.record_freezes(effects)?;
        self.renew_epoch(effects)?;
        if mutant!(CommitBeforeSeal) {
            self.store.commit()?;
        }
        self.seal(effects)?;
        if let Some(key) = self.reordered.take() {
            let before = self.store.before(Some(&key), Page::ONE)?;
            let from = before.first().map(|Record { summary, .. }| EntryId {
                author: summary.author,
                height: summary.height,
                index: summary.entries.saturating_sub(1),
            });
            effects.push(Effect::OrderChanged { from });
        }
        self.save_withheld()?;
        self.tell_news(effects);
        self.announce();
        self.serve_links(effects)?;
        self.note_debts()?;
        self.note_peers()?;
        if mutant!(CommitBeforeSeal) {
            return Ok(());
        }
        if !mutant!(CommitSkipped) {
            self.store.commit()?;
        }
        Ok(())
    }

    /// Notes what is in memory in the store, so that the next start has nothing to read again. For a clean stop; commits.
    ///
    /// # Errors
    /// When the store fails.
    pub fn checkpoint(&mut self) -> Turn<S> {
        if self.ledger.unsaved() {
            self.ledger.save(&mut self.store)?;
        }
        self.store.commit()?;
        Ok(())
    }

    fn tick(&mut self, now: Timestamp) {
        self.now = now;
        self.timers.tick(now);
    }

    /// When [`Input::Wake`] is due at the latest.
    pub fn next_wake(&self) -> Option<Timestamp> {
        let early = self.pool.next_time().into_iter().chain(self.early).min();
        let early = early.and_then(|time| Timestamp::from_micros(time.micros().saturating_sub(CLOCK_WINDOW)));
        [self.timers.next(), early].into_iter().flatten().min()
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.me
    }

    /// This ledger.
    pub fn ledger(&self) -> LedgerId {
        self.config.ledger
    }

    /// The store, for reading.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The store, for what the driver notes beside the ledger.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// What is in the ledger.
    pub fn totals(&self) -> Totals {
        self.ledger.totals()
    }

    /// SHA-256 over all heads; equal digests, equal ledgers.
    pub fn digest(&self) -> [u8; 32] {
        self.ledger.digest()
    }

    /// The tips of every lane that counts: (height, hash), ascending.
    pub fn heads(&self) -> BTreeMap<NodeId, Vec<(u64, BlockHash)>> {
        self.ledger.heads().into_iter().map(|head| (head.author, head.tips)).collect()
    }

    /// Height of the highest block of a lane, 0 if it has none.
    pub fn height(&self, author: &NodeId) -> u64 {
        self.ledger.height(author)
    }

    /// Every forked lane and its lowest forked height.
    pub fn frozen(&self) -> BTreeMap<NodeId, u64> {
        self.ledger.freezes()
    }

    /// Arrival number of the newest block.
    pub fn last_seq(&self) -> u64 {
        self.ledger.last_seq()
    }

    /// The links.
    pub fn links(&self) -> Vec<LinkStatus> {
        let status = |(id, link): (&LinkId, &Link)| LinkStatus {
            link: *id,
            node: link.peer(),
            path: link.path,
            role: link.role,
            since: link.since,
            bytes: link.bytes,
            round_trip: link.round_trip,
            progress: link.progress,
            remaining: link.remaining,
            holds: link.holds,
        };
        self.links.iter().map(status).collect()
    }

    /// The linked peers that have a block of this height in a lane. Where the lane is this node's own, by their word; of other
    /// lanes also those that were sent it over a link that stands.
    pub fn holders(&self, lane: &NodeId, height: u64) -> BTreeSet<NodeId> {
        let has = |link: &&Link| match *lane == self.me {
            true => link.holds >= height,
            false => link.has(lane) >= height,
        };
        self.links.values().filter(has).filter_map(Link::peer).collect()
    }

    /// Every node that this replica knows: itself, all authors, all linked peers, and whom hubs announced.
    pub fn known_nodes(&self) -> Vec<NodeId> {
        let mut nodes: BTreeSet<NodeId> = self.ledger.lanes().keys().copied().collect();
        nodes.insert(self.me);
        for link in self.links.values() {
            nodes.extend(link.peer());
            nodes.extend(&link.announced);
        }
        nodes.into_iter().collect()
    }

    /// How many damaged or missing blocks are still to come.
    pub fn repairing(&self) -> usize {
        self.repairing.len()
    }

    /// Parked blocks and their bytes.
    pub fn parked(&self) -> (usize, usize) {
        (self.pool.len(), self.pool.bytes())
    }

    fn handle_append(&mut self, token: u64, payloads: Vec<Vec<u8>>, effects: &mut Vec<Effect>) -> Turn<S> {
        let barred = self.barred()?;
        match barred.map_or_else(|| self.check_append(&payloads), Err) {
            Ok(bytes) => {
                self.waiting_entries += payloads.len();
                self.waiting_bytes += bytes;
                self.waiting.push((token, payloads));
            }
            Err(error) => effects.push(Effect::Appended { token, result: Err(error) }),
        }
        Ok(())
    }

    /// The bytes of a payload as it is stored.
    fn payload_len(&self, len: usize) -> usize {
        if self.config.ledger.has_members() { seal::sealed_len(len) } else { len }
    }

    /// The bytes of the payloads, if they may be appended.
    fn check_append(&self, payloads: &[Vec<u8>]) -> Result<usize, AppendError> {
        if payloads.is_empty() {
            return Err(AppendError::Empty);
        }
        if payloads.len() > APPEND_ENTRIES {
            return Err(AppendError::TooManyEntries { len: payloads.len(), limit: APPEND_ENTRIES });
        }
        let limit = PAYLOAD_BYTES - self.payload_len(0);
        if let Some(large) = payloads.iter().find(|payload| payload.len() > limit) {
            return Err(AppendError::PayloadTooLarge { len: large.len(), limit });
        }
        let bytes: usize = payloads.iter().map(Vec::len).sum();
        let busy = self.waiting_entries + payloads.len() > TURN_ENTRIES || self.waiting_bytes + bytes > TURN_BYTES;
        if busy && !self.waiting.is_empty() {
            return Err(AppendError::Busy { limit: TURN_ENTRIES, bytes: TURN_BYTES });
        }
        Ok(bytes)
    }

    /// Makes blocks of what waits: as few as the limits allow.
    fn seal(&mut self, effects: &mut Vec<Effect>) -> Turn<S> {
        if self.waits_for_own_lane() {
            return Ok(());
        }
        let waiting = core::mem::take(&mut self.waiting);
        (self.waiting_entries, self.waiting_bytes) = (0, 0);
        // The lane may have been frozen, or a block found missing, since these were taken in.
        if let Some(error) = self.barred()? {
            let refuse = |(token, _)| Effect::Appended { token, result: Err(error.clone()) };
            effects.extend(waiting.into_iter().map(refuse));
            return Ok(());
        }
        let (mut entries, mut bytes) = (Vec::new(), BLOCK_OVERHEAD);
        let mut ids: Vec<EntryId> = Vec::new();
        let mut counts = Vec::with_capacity(waiting.len());
        for (token, payloads) in waiting {
            counts.push((token, payloads.len()));
            for payload in payloads {
                let size = ENTRY_OVERHEAD + self.payload_len(payload.len());
                let most = BLOCK_ENTRIES + usize::from(mutant!(OneEntryTooMany));
                if entries.len() == most || bytes + size > BLOCK_BYTES {
                    let block = self.write(core::mem::take(&mut entries), effects)?;
                    ids.extend((0..block.entries().len()).map(|index| block.entry_id(index)));
                    bytes = BLOCK_OVERHEAD;
                }
                bytes += size;
                let payload = self.sealed(entries.len(), payload);
                entries.push(Entry::new(Kind::DATA, self.random.bytes16(), payload));
            }
        }
        if !entries.is_empty() {
            let block = self.write(entries, effects)?;
            ids.extend((0..block.entries().len()).map(|index| block.entry_id(index)));
        }
        let mut ids = ids.into_iter();
        for (token, count) in counts {
            effects.push(Effect::Appended { token, result: Ok(ids.by_ref().take(count).collect()) });
        }
        Ok(())
    }

    /// Writes one block of this node's own on the tips.
    fn write(
        &mut self,
        entries: Vec<Entry>,
        effects: &mut Vec<Effect>,
    ) -> Result<Arc<VerifiedBlock>, ReplicaError<S::Error>> {
        let (block, previous) = self.sign(entries)?;
        let newcomer =
            self.check_own(&block)?.unwrap_or_else(|error| panic!("this node writes what it may not: {error}"));
        self.own.signed = true;
        self.add(block.clone(), newcomer, previous, None, effects)?;
        Ok(block)
    }

    /// Signs a block on all tips, which is not in the ledger yet. Returns its latest parent too.
    fn sign(&mut self, entries: Vec<Entry>) -> Result<(Arc<VerifiedBlock>, BlockHash), ReplicaError<S::Error>> {
        assert!(!self.own.waits, "a block is signed before this node's own lane is here");
        let own: Option<Summary> = match self.ledger.lanes().get(&self.me).and_then(|lane| lane.iter().next()) {
            Some((hash, height)) => {
                // Where the store has lost the lane's head, going on would sign heights a second time.
                let head = self.ledger.summary(&self.store, hash)?;
                let head = head.filter(|head| head.author == self.me && head.height == *height);
                Some(head.ok_or(ReplicaError::Damaged(*hash))?)
            }
            None => None,
        };
        let is_other = |tip: &&Summary| own.is_none_or(|own| own.hash != tip.hash);
        let others = self.ledger.tips().values().filter(is_other);
        let parents: Vec<Summary> = own.into_iter().chain(others.copied()).take(BLOCK_PARENTS).collect();
        let bounds = parents.iter().filter(|_| !mutant!(OwnTimeByClock));
        let timestamp = bounds.map(Summary::end).fold(self.now, Timestamp::max);
        let header = Header {
            ledger: self.config.ledger,
            author: self.me,
            height: own.map_or(0, |own| own.height) + 1,
            timestamp,
            parents: parents.iter().map(|parent| parent.hash).collect(),
        };
        let block = Arc::new(VerifiedBlock::sign(header, entries, &self.config.key));
        Ok((block, self.ledger.latest(&parents)))
    }

    /// Adds a block to the ledger and lets everybody know.
    fn add(
        &mut self,
        block: Arc<VerifiedBlock>,
        newcomer: Option<Box<Member>>,
        previous: BlockHash,
        source: Option<LinkId>,
        effects: &mut Vec<Effect>,
    ) -> Turn<S> {
        self.pace.note_writing(self.timers.now(), block.header().author, source);
        let records = self.proofs.recorded(&block);
        self.news.members |= newcomer.is_some() || names::has_name(&block);
        if let Some(by) = newcomer.as_ref().and_then(|member| member.by) {
            self.epochs.stale = true;
            if by.inviter == self.me {
                self.epochs.mine = true;
                self.own.used.push(by);
            }
        }
        let (seq, late) = self.ledger.add(&mut self.store, &block, newcomer, &records)?;
        if !records.is_empty() {
            let removals = self.proofs.removals(&block);
            self.ledger.note_removals(&mut self.store, &removals, block.header().timestamp)?;
        }
        if late && !mutant!(LateUntold) {
            self.note_reordered(block.key());
        }
        let summary = Summary { seq, ..crate::ledger::summarise(&block) };
        if !self.links.is_empty() {
            self.recent.insert(Record { summary, bytes: block.bytes().to_vec() });
            if source.is_none() || !mutant!(NotForwarded) {
                self.note_came(summary.hash, source);
                self.spread(&summary, source);
            }
        }
        self.take_keys(&block)?;
        self.note_lacking(&block, seq)?;
        if summary.author == self.me && (source.is_some() || self.own.waits) {
            self.on_own_block(&summary.hash);
        }
        effects.push(Effect::Added(Added { seq, block: block.clone(), previous }));
        self.take_erase(&block, effects)
    }

    /// What is shown from here on in ledger order is not what it was.
    fn note_reordered(&mut self, key: OrderKey) {
        self.reordered = Some(self.reordered.map_or(key, |earlier| earlier.min(key)));
    }
}
