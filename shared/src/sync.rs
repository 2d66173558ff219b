//! One link of a replica: its handshake, what its peer has, what is still to be sent to it, and credit.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec,
    vec::Vec,
};

use minicbor::{Decoder, Encoder};

use crate::{
    announce::Announcement,
    block::infallible,
    directed::{Directed, Route},
    effect::{DialId, LinkPath, Role},
    id::{BlockHash, NodeId},
    limits::{
        DIRECT_FRAME_TARGET_BYTES, DIRECT_WINDOW_BYTES, FRAME_BYTES, FRAME_TARGET_BYTES, LINK_WINDOW_BYTES,
        LINK_WINDOW_FRAMES,
    },
    order::OrderKey,
    store::Summary,
    time::Timestamp,
    wire::{Envelope, Lack, decode_announcement, encode_announcement},
};

/// Bytes of what must outlive hibernation, without the peer's announcement.
const STATE_BYTES: usize = 107;

/// How far a link has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Our challenge is out.
    Greeting,
    /// The peer has said who it is and given its challenge; its proof is still to come.
    Proving { peer: NodeId, challenge: [u8; 32] },
    /// The peer has proved its key; that it belongs to the ledger is still to be shown.
    Joining { peer: NodeId },
    /// The peer has proved its key, and may have what this side has.
    Ready { peer: NodeId },
}

/// Frames and bytes that use up credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Window {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
}

impl Window {
    pub(crate) fn add(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes += bytes as u64;
    }

    /// Whether another frame may go out on a link of this path.
    pub(crate) fn has_room(&self, path: LinkPath) -> bool {
        self.frames < LINK_WINDOW_FRAMES && self.bytes < window_bytes(path)
    }

    /// Whether this is more than a peer sends that keeps to its credit: a frame goes out whenever there is room.
    pub(crate) fn is_beyond_credit(&self, path: LinkPath) -> bool {
        self.frames > LINK_WINDOW_FRAMES || self.bytes >= window_bytes(path) + FRAME_BYTES as u64
    }

    pub(crate) fn give_back(&mut self, frames: u64, bytes: u64) {
        self.frames = self.frames.saturating_sub(frames);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A relay has many links and little memory.
pub(crate) fn window_bytes(path: LinkPath) -> u64 {
    match path {
        LinkPath::Relay => LINK_WINDOW_BYTES,
        LinkPath::WebSocket | LinkPath::Quic => DIRECT_WINDOW_BYTES,
    }
}

/// A frame is what is checked at once and most often what is committed at once.
pub(crate) fn frame_target_bytes(path: LinkPath) -> usize {
    match path {
        LinkPath::Relay => FRAME_TARGET_BYTES,
        LinkPath::WebSocket | LinkPath::Quic => DIRECT_FRAME_TARGET_BYTES,
    }
}

/// The next block to send of each lane that the peer lacks blocks of, the earliest in ledger order first, so that parents
/// go before children. Bounded by the number of lanes, whatever the length of the history.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: BTreeMap<OrderKey, Summary>,
    lanes: BTreeMap<NodeId, OrderKey>,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Queues a lane from this block on, unless it is queued from an earlier one.
    pub(crate) fn push(&mut self, next: Summary) {
        if let Some(queued) = self.lanes.get(&next.author).and_then(|key| self.queue.get(key)) {
            if (queued.height, queued.hash) <= (next.height, next.hash) {
                return;
            }
            self.queue.remove(&queued.key());
        }
        self.lanes.insert(next.author, next.key());
        self.queue.insert(next.key(), next);
    }

    /// Takes a lane out.
    pub(crate) fn remove(&mut self, lane: &NodeId) {
        if let Some(key) = self.lanes.remove(lane) {
            self.queue.remove(&key);
        }
    }

    /// The lanes of which blocks are queued.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = &NodeId> {
        self.lanes.keys()
    }

    pub(crate) fn pop(&mut self) -> Option<Summary> {
        let (_, next) = self.queue.pop_first()?;
        self.lanes.remove(&next.author);
        Some(next)
    }

    pub(crate) fn clear(&mut self) {
        self.queue.clear();
        self.lanes.clear();
    }
}

/// How often somebody may do something: when all that was done will have been paid for, as in [`crate::pace`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Budget(Timestamp);

impl Budget {
    /// Once more, if it may: `at_once` times, and once more for every `every` µs.
    pub(crate) fn takes(&mut self, now: Timestamp, at_once: u32, every: u64) -> bool {
        let paid = self.0.max(now).plus(every);
        let takes = paid <= now.plus(u64::from(at_once) * every);
        if takes {
            self.0 = paid;
        }
        takes
    }
}

/// What a link's peer has of this replica's own lane.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnClaims {
    /// Tips that are not here, with their heights.
    pub(crate) tips: BTreeMap<BlockHash, u64>,
    /// It says that the lane is frozen; the proof is still to come.
    pub(crate) proof: bool,
    /// It has blocks of the lane.
    pub(crate) has: bool,
    /// The heads have been compared.
    pub(crate) known: bool,
    /// This dial does not have to be waited for any more.
    pub(crate) counted: bool,
}

impl OwnClaims {
    /// Whether something is still to come.
    pub(crate) fn owes(&self) -> bool {
        !self.tips.is_empty() || self.proof
    }

    /// Nothing more is waited for.
    pub(crate) fn forget(&mut self) {
        self.tips.clear();
        self.proof = false;
    }
}

/// Up to which height a peer says to have a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Claim {
    pub(crate) height: u64,
    /// Since when that is so, by the clock that only goes forward; nothing once the peer was asked for it.
    pub(crate) since: Option<Timestamp>,
}

/// A question for the heads of the parts that differ.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Asked {
    /// Of how many parts the digests went out.
    pub(crate) parts: usize,
    /// Lanes that have changed here since, and up to which height they are what they were.
    pub(crate) before: BTreeMap<NodeId, u64>,
}

impl Asked {
    /// A lane changes above a height.
    pub(crate) fn note_change(&mut self, lane: NodeId, height: u64) {
        if mutant!(ChangeUnnoted) {
            return;
        }
        let before = self.before.entry(lane).or_insert(height);
        *before = height.min(*before);
    }
}

/// Everything a replica keeps of one link.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) role: Role,
    pub(crate) path: LinkPath,
    /// The dial that led here, if this replica wanted it.
    pub(crate) dial: Option<DialId>,
    /// Nothing is signed before this peer has told what it has of our own lane.
    pub(crate) awaited: bool,
    pub(crate) phase: Phase,
    /// Our challenge.
    pub(crate) nonce: [u8; 32],
    /// The peer's heads are known: `has` says what is to be sent.
    pub(crate) compared: bool,
    /// A list of heads is coming in, page by page.
    pub(crate) listing: bool,
    /// The peer was asked for its heads in parts, and they have not been compared since.
    pub(crate) asked_heads: Option<Asked>,
    /// When the peer was told heads last.
    pub(crate) heads_at: Option<Timestamp>,
    /// Our heads went out with our first words.
    pub(crate) heads_sent: bool,
    /// Up to which height the peer has each lane, or will have it once what was sent arrives.
    pub(crate) has: BTreeMap<NodeId, u64>,
    /// Up to which height the peer has our own lane durable.
    pub(crate) holds: u64,
    pub(crate) outbox: Outbox,
    /// New blocks are not sent to the peer, nor by it: both sides say what they have.
    pub(crate) lazy: bool,
    /// When it brought a block that no other link had brought, by the clock that only goes forward.
    pub(crate) news: Option<Timestamp>,
    /// What the peer says to have of lanes that this side lacks.
    pub(crate) claims: BTreeMap<NodeId, Claim>,
    /// When the peer was told last what is here; when it asked last for all that it lacks, and whether it asked again too soon after that.
    pub(crate) told: Option<Timestamp>,
    pub(crate) grafted: Option<Timestamp>,
    pub(crate) graft_waits: bool,
    /// How many blocks the outbox stands for.
    pub(crate) remaining: u64,
    /// Lanes whose proof of a fork the peer lacks.
    pub(crate) proofs: BTreeSet<NodeId>,
    /// Removals that the peer may not know of, though the lanes are frozen there: members, by what stands for the removal of each.
    pub(crate) removals: BTreeMap<NodeId, NodeId>,
    /// Blocks that the peer asked for.
    pub(crate) answers: VecDeque<BlockHash>,
    /// Blocks that we asked for.
    pub(crate) wanted: BTreeSet<BlockHash>,
    /// Blocks of which the peer lacks payloads, and asked for.
    pub(crate) lacked: VecDeque<Lack>,
    /// Messages to one node that go this way.
    pub(crate) directed: VecDeque<(Route, Directed)>,
    /// Arrival number up to which the peer was asked for missing payloads.
    pub(crate) asked: u64,
    /// What is on its way without credit given back.
    pub(crate) in_flight: Window,
    /// What of the last frame has yet to be read, and what that costs.
    pub(crate) unread: VecDeque<Envelope>,
    pub(crate) reading: Window,
    /// What came in this turn, to be credited at its end.
    pub(crate) taken: Window,
    /// What is credited later, and when, by the clock that only goes forward.
    pub(crate) owed: VecDeque<(Timestamp, Window)>,
    /// When what is taken now may be credited.
    pub(crate) due: Timestamp,
    /// Frames that were sent to the peer and may be answered.
    pub(crate) answerable: u64,
    /// Something was done at the door in this turn.
    pub(crate) stirred: bool,
    /// What became durable, to be told at the end of the turn; over a lazy link some time later.
    pub(crate) have: BTreeMap<NodeId, u64>,
    /// Frames of envelopes without need of credit, to be sent at the end of the turn.
    pub(crate) control: Vec<Vec<u8>>,
    /// The last of these frames takes no more.
    pub(crate) frame_closed: bool,
    /// Something of the peer's was dropped for want of room: compare heads again.
    pub(crate) resync: bool,
    /// Blocks received since the heads were compared, and how many were to come in all.
    pub(crate) progress: (u64, u64),
    /// Whom the peer announced.
    pub(crate) announced: BTreeSet<NodeId>,
    /// The peer closes this link or stops, so that its end tells nothing more.
    pub(crate) goes: bool,
    pub(crate) gone_budget: Budget,
    /// When the peer was told last whom it has not heard of, by the clock that only goes forward.
    pub(crate) listed: Option<Timestamp>,
    /// Where the peer can be reached, as it says itself.
    pub(crate) reachable: Option<Announcement>,
    /// When the peer proved its key, by the wall clock.
    pub(crate) since: Timestamp,
    /// Bytes of frames in and out.
    pub(crate) bytes: (u64, u64),
    /// When something came last, by the clock that only goes forward.
    pub(crate) heard: Timestamp,
    /// When a ping went out that is not answered, by the clock that only goes forward; and µs until the last one was.
    pub(crate) pinged: Option<Timestamp>,
    pub(crate) round_trip: Option<u64>,
    /// What the peer has of our own lane.
    pub(crate) own: OwnClaims,
    /// Something of the peer's was left for later, because this node may not write yet: compare heads again then.
    pub(crate) postponed: bool,
    /// The last state that the driver was told to remember.
    pub(crate) remembered: Vec<u8>,
}

impl Link {
    pub(crate) fn new(role: Role, path: LinkPath, nonce: [u8; 32]) -> Self {
        Self {
            role,
            path,
            dial: None,
            awaited: role == Role::Dialled,
            phase: Phase::Greeting,
            nonce,
            compared: false,
            listing: false,
            asked_heads: None,
            heads_at: None,
            heads_sent: false,
            has: BTreeMap::new(),
            holds: 0,
            outbox: Outbox::default(),
            lazy: false,
            news: None,
            claims: BTreeMap::new(),
            told: None,
            grafted: None,
            graft_waits: false,
            remaining: 0,
            proofs: BTreeSet::new(),
            removals: BTreeMap::new(),
            answers: VecDeque::new(),
            wanted: BTreeSet::new(),
            lacked: VecDeque::new(),
            directed: VecDeque::new(),
            asked: 0,
            in_flight: Window::default(),
            unread: VecDeque::new(),
            reading: Window::default(),
            taken: Window::default(),
            owed: VecDeque::new(),
            due: Timestamp::default(),
            answerable: 0,
            stirred: true,
            have: BTreeMap::new(),
            control: Vec::new(),
            frame_closed: false,
            resync: false,
            progress: (0, 0),
            announced: BTreeSet::new(),
            goes: false,
            gone_budget: Budget::default(),
            listed: None,
            reachable: None,
            since: Timestamp::default(),
            bytes: (0, 0),
            heard: Timestamp::default(),
            pinged: None,
            round_trip: None,
            own: OwnClaims::default(),
            postponed: false,
            remembered: Vec::new(),
        }
    }

    /// The peer, once it proved its key.
    pub(crate) fn peer(&self) -> Option<NodeId> {
        match self.phase {
            Phase::Ready { peer } => Some(peer),
            Phase::Greeting | Phase::Proving { .. } | Phase::Joining { .. } => None,
        }
    }

    /// What the peer has no credit back for.
    pub(crate) fn unpaid(&self) -> Window {
        let add =
            |sum: Window, part: &Window| Window { frames: sum.frames + part.frames, bytes: sum.bytes + part.bytes };
        self.owed.iter().map(|(_, part)| part).chain([&self.reading]).fold(self.taken, add)
    }

    /// Whether something that takes credit waits for this link.
    pub(crate) fn owes(&self) -> bool {
        !self.outbox.is_empty()
            || !self.answers.is_empty()
            || !self.proofs.is_empty()
            || !self.removals.is_empty()
            || !self.lacked.is_empty()
            || !self.directed.is_empty()
    }

    /// Bytes of messages to one node that wait for this link.
    pub(crate) fn directed_bytes(&self) -> usize {
        self.directed.iter().map(|(_, directed)| directed.body.len()).sum()
    }

    /// The peer has a lane up to a height.
    pub(crate) fn note_has(&mut self, lane: NodeId, height: u64) {
        let has = self.has.entry(lane).or_insert(0);
        *has = height.max(*has);
    }

    /// This side has a lane up to a height, which the peer is told at the end of the turn.
    pub(crate) fn tell_have(&mut self, lane: NodeId, height: u64) {
        let have = self.have.entry(lane).or_insert(0);
        *have = height.max(*have);
    }

    /// A block was added here: what the peer claims to have of its lane has come, or is on its way.
    pub(crate) fn note_progress(&mut self, block: &Summary, now: Timestamp) {
        let Some(claim) = self.claims.get_mut(&block.author) else { return };
        let claimed = claim.height;
        claim.since = claim.since.map(|_| now);
        if claimed <= block.height {
            self.claims.remove(&block.author);
        }
        // Over other links it is sent all the same: a peer under repair claims what it has lost.
        if self.lazy {
            self.note_has(block.author, claimed.min(block.height));
        }
    }

    pub(crate) fn has(&self, lane: &NodeId) -> u64 {
        self.has.get(lane).copied().unwrap_or(0)
    }

    /// Whether a turn has left nothing to say on this link.
    pub(crate) fn is_quiet(&self) -> bool {
        let said = self.control.is_empty() && self.taken.is_empty() && self.have.is_empty();
        said && !self.owes() && self.remaining == 0
    }

    /// What must outlive hibernation, at most 1,500 bytes. `parked`: blocks of this link wait in memory, which does not outlive it.
    ///
    /// role, phase, whether nothing is under way and whether the link is lazy, our challenge, the peer, its challenge, frames and bytes of credit owed;
    /// and its announcement, if it made one.
    pub(crate) fn save(&self, parked: bool) -> Vec<u8> {
        let zero = [0; 32];
        let (phase, peer, challenge) = match &self.phase {
            Phase::Greeting => (0, &zero, &zero),
            Phase::Proving { peer, challenge } => (1, peer.as_bytes(), challenge),
            Phase::Ready { peer } => (2, peer.as_bytes(), &zero),
            Phase::Joining { peer } => (3, peer.as_bytes(), &zero),
        };
        // What the peer claims to have would be forgotten.
        let idle = self.claims.is_empty() && !self.listing && !self.owes() && self.wanted.is_empty() && !self.resync;
        let settled = self.compared && idle && !parked;
        let role = u8::from(self.role == Role::Accepted);
        let mut state = vec![0; STATE_BYTES];
        state[..3].copy_from_slice(&[role, phase, u8::from(settled) | u8::from(self.lazy) << 1]);
        state[3..35].copy_from_slice(&self.nonce);
        state[35..67].copy_from_slice(peer);
        state[67..99].copy_from_slice(challenge);
        // Both are below 2^20.
        let Window { frames, bytes } = self.unpaid();
        state[99..103].copy_from_slice(&(frames as u32).to_be_bytes());
        state[103..].copy_from_slice(&(bytes as u32).to_be_bytes());
        if let Some(said) = &self.reachable {
            infallible(encode_announcement(&mut Encoder::new(&mut state), said));
        }
        state
    }

    /// The link with this saved state, and whether nothing was under way.
    pub(crate) fn load(state: &[u8]) -> Option<(Self, bool)> {
        let (fixed, rest) = state.split_first_chunk::<3>()?;
        let (nonce, rest) = rest.split_first_chunk::<32>()?;
        let (peer, rest) = rest.split_first_chunk::<32>()?;
        let (challenge, rest) = rest.split_first_chunk::<32>()?;
        let (frames, bytes) = rest.split_first_chunk::<4>()?;
        let (bytes, said) = bytes.split_first_chunk::<4>()?;
        let [role, phase, flags] = *fixed;
        let role = if role == 0 { Role::Dialled } else { Role::Accepted };
        // What sleeps is a relay.
        let mut link = Self::new(role, LinkPath::Relay, *nonce);
        let peer = NodeId::from_bytes(*peer);
        link.phase = match phase {
            0 => Phase::Greeting,
            1 => Phase::Proving { peer, challenge: *challenge },
            2 => Phase::Ready { peer },
            3 => Phase::Joining { peer },
            _ => return None,
        };
        // It is given back with the next turn.
        let (frames, bytes) = (u32::from_be_bytes(*frames).into(), u32::from_be_bytes(*bytes).into());
        link.taken = Window { frames, bytes };
        link.reachable = decode_announcement(&mut Decoder::new(said)).ok();
        link.remembered = state.to_vec();
        link.lazy = flags & 2 != 0;
        Some((link, flags & 1 != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ANNOUNCEMENT_BYTES;

    fn summary(author: u8, height: u64, micros: u64) -> Summary {
        Summary {
            seq: 0,
            hash: BlockHash::from_bytes([height as u8; 32]),
            author: NodeId::from_bytes([author; 32]),
            height,
            timestamp: Timestamp::from_micros(micros).unwrap(),
            entries: 1,
        }
    }

    #[test]
    fn the_outbox_gives_the_earliest_block_of_all_lanes() {
        let mut outbox = Outbox::default();
        outbox.push(summary(1, 5, 50));
        outbox.push(summary(2, 1, 20));
        outbox.push(summary(1, 6, 60));
        outbox.push(summary(1, 4, 40));
        let popped: Vec<_> = core::iter::from_fn(|| outbox.pop()).map(|s| (s.author.as_bytes()[0], s.height)).collect();
        assert_eq!(popped, [(2, 1), (1, 4)]);
    }

    #[test]
    fn a_saved_link_comes_back() {
        let peer = NodeId::from_bytes([7; 32]);
        for phase in [
            Phase::Greeting,
            Phase::Proving { peer, challenge: [3; 32] },
            Phase::Joining { peer },
            Phase::Ready { peer },
        ] {
            let mut link = Link::new(Role::Accepted, LinkPath::Relay, [5; 32]);
            link.phase = phase.clone();
            let (ledger, key) = (crate::block::open_ledger("test"), crate::Key::from_secret(&[7; 32]));
            let said = Announcement::sign(&ledger, &key, Timestamp::MAX, vec![0; ANNOUNCEMENT_BYTES]);
            link.reachable = Some(said.clone());
            link.owed.extend([1, 2].map(|frames| (Timestamp::MAX, Window { frames, bytes: 1 << 18 })));
            let (loaded, settled) = Link::load(&link.save(false)).unwrap();
            assert_eq!((loaded.phase, loaded.nonce, loaded.role, settled), (phase, [5; 32], Role::Accepted, false));
            assert_eq!((loaded.taken.frames, loaded.taken.bytes), (3, 1 << 19));
            assert_eq!(loaded.reachable, Some(said));
            assert!(link.save(false).len() <= 1_500);
        }
        assert!(Link::load(&[]).is_none());
    }
}
