//! A network of real replicas in memory: frames go from one to the other in order, nothing is random but the seed.

pub(crate) mod group;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use shared::{
    Address, Block, BlockHash, Config, DialId, Effect, Entry, Evidence, Frame, Header, Input, Key, Kind, LedgerId,
    LinkId, LinkPath, MemoryStore, NodeId, Page, ReadStore, Replica, Role, Timestamp, VerifiedBlock,
    block::open_ledger,
    key::Signers,
    wire::{Message, decode_frame},
};

pub(crate) fn key(n: u8) -> Key {
    Key::from_secret(&[n; 32])
}

pub(crate) fn node_id(n: u8) -> NodeId {
    key(n).node()
}

pub(crate) fn ledger() -> LedgerId {
    open_ledger("test")
}

/// Where a node of a test is reached directly.
/// Its endpoint for QUIC.
pub(crate) fn endpoint(n: u8) -> Address {
    format!("iroh:{}?ip=10.0.0.{n}:3000", hex::encode([n; 32])).parse().unwrap()
}

pub(crate) fn address(n: u8) -> Address {
    format!("ws://10.0.0.{n}:3000").parse().unwrap()
}

pub(crate) fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap()
}

pub(crate) fn config(n: u8, writes: bool, start: u8) -> Config {
    Config { writes, ..Config::new(ledger(), key(n), [start; 32]) }
}

/// A block made outside any replica.
pub(crate) fn block(author: u8, height: u64, micros: u64, parents: &[BlockHash], payloads: &[&[u8]]) -> VerifiedBlock {
    let entries = payloads.iter().map(|p| Entry::new(Kind::DATA, [7; 16], p.to_vec())).collect();
    let header =
        Header { ledger: ledger(), author: node_id(author), height, timestamp: at(micros), parents: parents.to_vec() };
    VerifiedBlock::sign(header, entries, &key(author))
}

pub(crate) struct Node {
    pub(crate) replica: Option<Replica<MemoryStore>>,
    pub(crate) number: u8,
    pub(crate) writes: bool,
    pub(crate) starts: u8,
    pub(crate) added: Vec<BlockHash>,
    pub(crate) appended: Vec<Result<Vec<shared::EntryId>, shared::AppendError>>,
    pub(crate) forks: Vec<Evidence>,
    pub(crate) granted: Vec<Result<BlockHash, shared::effect::WishError>>,
    pub(crate) removed: Vec<(NodeId, u64)>,
    /// `writes` and `keys` of what it was told about members.
    pub(crate) changed: Vec<(bool, bool)>,
    pub(crate) erased: Vec<(shared::EntryId, NodeId, Timestamp)>,
    /// What was said to it alone, and by whom; and what became of what it said to one other.
    pub(crate) received: Vec<(NodeId, Vec<u8>)>,
    pub(crate) directed: Vec<Result<(), shared::DirectedError>>,
    pub(crate) reordered: usize,
    /// Height of the last block of its own.
    pub(crate) written: u64,
    pub(crate) remembered: BTreeMap<LinkId, Vec<u8>>,
    pub(crate) closed: Vec<String>,
    pub(crate) progress: Vec<(u64, u64)>,
    pub(crate) held: Option<(u64, u32)>,
    pub(crate) imported: Vec<shared::effect::ImportReport>,
    pub(crate) repaired: Vec<BlockHash>,
    /// What the next start is told to wait for.
    pub(crate) dials: u32,
    /// Number of the spare key.
    pub(crate) successor: Option<u8>,
    pub(crate) succeeded: Vec<(NodeId, NodeId)>,
    /// Its first block in a members' ledger.
    pub(crate) join: Option<Vec<u8>>,
    pub(crate) epoch: Option<shared::seal::EpochKey>,
    /// Number of the key in whose place the spare one was put.
    pub(crate) replaced: Option<u8>,
    /// Whether it meets others directly, and whom it was told of.
    pub(crate) meets: bool,
    /// Whether it goes out of its local network.
    pub(crate) far: bool,
    /// Whether it reads frames in parts.
    pub(crate) slices: bool,
    pub(crate) peers: Vec<Address>,
    /// Who it was told is on line.
    pub(crate) online: BTreeSet<NodeId>,
    /// What it was told to dial, in all.
    pub(crate) dialled: Vec<Vec<Address>>,
}

impl Node {
    pub(crate) fn new(number: u8, writes: bool) -> Self {
        Self {
            replica: None,
            number,
            writes,
            starts: 0,
            added: Vec::new(),
            appended: Vec::new(),
            forks: Vec::new(),
            granted: Vec::new(),
            removed: Vec::new(),
            changed: Vec::new(),
            erased: Vec::new(),
            received: Vec::new(),
            directed: Vec::new(),
            reordered: 0,
            written: 0,
            remembered: BTreeMap::new(),
            closed: Vec::new(),
            progress: Vec::new(),
            held: None,
            imported: Vec::new(),
            repaired: Vec::new(),
            dials: 0,
            successor: None,
            succeeded: Vec::new(),
            join: None,
            epoch: None,
            replaced: None,
            meets: false,
            far: false,
            slices: false,
            peers: Vec::new(),
            online: BTreeSet::new(),
            dialled: Vec::new(),
        }
    }
}

fn heads_in(message: &Message) -> usize {
    match message {
        Message::LedgerSyncResponse { heads, .. } => heads.len(),
        _ => 0,
    }
}

/// A frame without blocks that others than its sender wrote.
fn without_others(bytes: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    for mut envelope in decode_frame(bytes).unwrap() {
        let sender = envelope.sender;
        if let Message::EntryAnnounce { blocks, .. } | Message::EntryResponse { blocks } = &mut envelope.message {
            blocks.retain(|block| Block::decode(block.bytes()).unwrap().header().author == sender);
            if blocks.is_empty() {
                continue;
            }
        }
        kept.extend(envelope.encode());
    }
    kept
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct End {
    pub(crate) node: usize,
    pub(crate) link: LinkId,
}

pub(crate) enum Packet {
    Frame(Vec<u8>),
    Ping,
    Pong,
}

#[derive(Default)]
pub(crate) struct Net {
    pub(crate) nodes: Vec<Node>,
    pub(crate) now: u64,
    /// When something happened last that is no ping.
    busy: u64,
    pub(crate) ends: BTreeMap<End, End>,
    pub(crate) queues: BTreeMap<End, VecDeque<Packet>>,
    next_link: u64,
    dials: VecDeque<(usize, DialId, Vec<Address>)>,
    /// Who is reached by QUIC, too.
    pub(crate) quic: BTreeSet<usize>,
    /// Whom nobody reaches directly.
    pub(crate) unreachable: BTreeSet<usize>,
    /// New blocks that went from one node to another; counted where somebody wants to know.
    pub(crate) carried: Option<BTreeMap<(usize, usize), usize>>,
    /// Messages to one node that went from one node to another.
    pub(crate) hops: usize,
    /// Heads that one node told another.
    pub(crate) heads: usize,
    muted: BTreeSet<End>,
    /// What goes to these arrives after everything else.
    pub(crate) slow: BTreeSet<End>,
    /// Who hands on nothing that others wrote.
    pub(crate) selfish: BTreeSet<usize>,
    pub(crate) frames: usize,
    /// Frames are read and checked before their turn.
    pub(crate) ahead: bool,
    /// Instead of the open one.
    pub(crate) ledger: Option<LedgerId>,
}

impl Net {
    pub(crate) fn new(writers: &[bool]) -> Self {
        Self::of(None, writers)
    }

    pub(crate) fn of(ledger: Option<LedgerId>, writers: &[bool]) -> Self {
        let mut net = Self { now: 1_000_000_000_000, ledger, ..Self::default() };
        for (i, writes) in writers.iter().enumerate() {
            net.nodes.push(Node::new(i as u8 + 1, *writes));
            net.start(i, MemoryStore::default(), &[]);
        }
        net
    }

    pub(crate) fn replica(&self, node: usize) -> &Replica<MemoryStore> {
        self.nodes[node].replica.as_ref().unwrap()
    }

    pub(crate) fn start(&mut self, node: usize, store: MemoryStore, links: &[(LinkId, Vec<u8>)]) {
        let now = at(self.now);
        let state = &mut self.nodes[node];
        state.starts += 1;
        let mut effects = Vec::new();
        let seed = state.starts.wrapping_mul(31) ^ state.number;
        let config = Config {
            dials: state.dials,
            successor: state.successor.map(key),
            ledger: self.ledger.unwrap_or_else(ledger),
            join: state.join.clone(),
            epoch: state.epoch.clone(),
            meets: state.meets,
            far: state.far,
            slices: state.slices,
            peers: state.peers.clone(),
            ..config(state.number, state.writes, seed)
        };
        state.online.clear();
        let mut replica = Replica::restore(config, store, links, now, &mut effects).unwrap();
        replica.commit(now, &mut effects).unwrap();
        state.replica = Some(replica);
        self.perform(node, effects);
    }

    /// Sleeps and wakes up again as a Durable Object does: the store and the links stay.
    pub(crate) fn hibernate(&mut self, node: usize) {
        let store = self.nodes[node].replica.take().unwrap().store().clone();
        let links: Vec<(LinkId, Vec<u8>)> = self
            .ends
            .keys()
            .filter(|end| end.node == node)
            .map(|end| (end.link, self.nodes[node].remembered.get(&end.link).cloned().unwrap_or_default()))
            .collect();
        self.start(node, store, &links);
    }

    pub(crate) fn turn(&mut self, node: usize, inputs: Vec<Input>) {
        let now = at(self.now);
        let replica = self.nodes[node].replica.as_mut().unwrap();
        let mut effects = Vec::new();
        for input in inputs {
            replica.handle(now, input, &mut effects).unwrap();
        }
        replica.commit(now, &mut effects).unwrap();
        self.perform(node, effects);
    }

    fn perform(&mut self, node: usize, effects: Vec<Effect>) {
        for effect in effects {
            let state = &mut self.nodes[node];
            match effect {
                Effect::Send { link, bytes } => {
                    assert!(bytes.len() <= shared::limits::FRAME_BYTES);
                    self.send(End { node, link }, Packet::Frame(bytes));
                }
                Effect::Ping { link } => self.send(End { node, link }, Packet::Ping),
                Effect::Pong { link } => self.send(End { node, link }, Packet::Pong),
                Effect::Close { link, reason } => {
                    state.closed.push(reason.to_string());
                    // What was sent before arrives before.
                    if let Some(other) = self.ends.get(&End { node, link }).copied() {
                        for packet in self.queues.remove(&other).into_iter().flatten() {
                            if let Packet::Frame(bytes) = packet {
                                self.turn(other.node, vec![Input::Frame { link: other.link, bytes }]);
                            }
                        }
                    }
                    self.cut(End { node, link });
                }
                Effect::Remember { link, state: bytes } => {
                    assert!(bytes.len() <= 1_500);
                    state.remembered.insert(link, bytes);
                }
                Effect::Appended { result, .. } => state.appended.push(result),
                Effect::Imported { report, .. } => state.imported.push(report),
                Effect::Added(added) => {
                    let header = added.block.header();
                    if header.author == node_id(state.number) {
                        state.written = state.written.max(header.height);
                    }
                    state.added.push(added.block.hash());
                }
                Effect::Directed { result, .. } => state.directed.push(result),
                Effect::Received { sender, body } => state.received.push((sender, body)),
                Effect::Repaired { hash } => state.repaired.push(hash),
                Effect::OrderChanged { .. } => state.reordered += 1,
                Effect::ForkDetected(evidence) => state.forks.push((*evidence).clone()),
                Effect::Succeeded { old, new } => {
                    state.succeeded.push((old, new));
                    let successor = state.successor.take().unwrap();
                    assert_eq!((old, new), (node_id(state.number), node_id(successor)));
                    state.replaced = Some(std::mem::replace(&mut state.number, successor));
                }
                Effect::Held { height, nodes } => state.held = Some((height, nodes)),
                Effect::Progress { done, total, .. } => state.progress.push((done, total)),
                Effect::Granted { result, .. } => state.granted.push(result),
                Effect::Removed(removal) => state.removed.push(removal.lane()),
                Effect::MembersChanged { writes, keys } => state.changed.push((writes, keys)),
                Effect::Erased { entry, by, at } => state.erased.push((entry, by, at)),
                Effect::Dial { dial, addresses } => {
                    state.dialled.push(addresses.clone());
                    self.dials.push_back((node, dial, addresses));
                }
                Effect::Presence { node, online: true } => assert!(state.online.insert(node)),
                Effect::Presence { node, online: false } => assert!(state.online.remove(&node)),
                Effect::PeerUp { .. } | Effect::PeerDown { .. } => {}
            }
        }
    }

    /// A node meets others directly from now on.
    pub(crate) fn reachable(&mut self, node: usize) {
        let addresses = vec![address(self.nodes[node].number)];
        self.turn(node, vec![Input::Reachable { addresses }]);
    }

    fn send(&mut self, from: End, mut packet: Packet) {
        if let Some(to) = self.ends.get(&from).filter(|_| !self.muted.contains(&from)) {
            if let (Packet::Frame(bytes), true) = (&mut packet, self.selfish.contains(&from.node)) {
                *bytes = without_others(bytes);
                if bytes.is_empty() {
                    return;
                }
            }
            if let Packet::Frame(bytes) = &packet {
                let envelopes = decode_frame(bytes).unwrap();
                self.hops += envelopes.iter().filter(|it| matches!(it.message, Message::Directed(_))).count();
                self.heads += envelopes.iter().map(|it| heads_in(&it.message)).sum::<usize>();
            }
            if let (Packet::Frame(bytes), Some(carried)) = (&packet, &mut self.carried) {
                for envelope in decode_frame(bytes).unwrap() {
                    *carried.entry((from.node, to.node)).or_default() += match envelope.message {
                        Message::EntryAnnounce { blocks, .. } | Message::EntryResponse { blocks } => blocks.len(),
                        Message::Membership { blocks } => blocks.len(),
                        _ => continue,
                    };
                }
            }
            self.queues.entry(*to).or_default().push_back(packet);
        }
    }

    pub(crate) fn link(&mut self, dialler: usize, acceptor: usize) -> (End, End) {
        self.open(dialler, acceptor, LinkPath::Relay, None)
    }

    /// Links two nodes directly, though nobody wanted it.
    pub(crate) fn link_directly(&mut self, dialler: usize, acceptor: usize) {
        self.open(dialler, acceptor, LinkPath::WebSocket, None);
    }

    fn open(&mut self, dialler: usize, acceptor: usize, path: LinkPath, dial: Option<DialId>) -> (End, End) {
        self.next_link += 2;
        let a = End { node: dialler, link: LinkId(self.next_link) };
        let b = End { node: acceptor, link: LinkId(self.next_link + 1) };
        self.ends.insert(a, b);
        self.ends.insert(b, a);
        self.turn(dialler, vec![Input::LinkOpened { link: a.link, role: Role::Dialled, path, dial }]);
        self.turn(acceptor, vec![Input::LinkOpened { link: b.link, role: Role::Accepted, path, dial: None }]);
        (a, b)
    }

    /// Nothing that is sent on this link arrives any more, and nobody hears of that.
    pub(crate) fn mute(&mut self, end: End) {
        let other = self.ends[&end];
        self.muted.extend([end, other]);
    }

    /// Does what a node wanted dialled.
    fn dial(&mut self, node: usize, dial: DialId, addresses: &[Address]) {
        if self.nodes[node].replica.is_none() {
            return;
        }
        let here = |other: &usize| {
            let state = &self.nodes[*other];
            state.replica.is_some() && addresses.contains(&address(state.number)) && !self.unreachable.contains(other)
        };
        let by_quic =
            |other: &usize| self.quic.contains(other) && addresses.contains(&endpoint(self.nodes[*other].number));
        if let Some(other) = (0..self.nodes.len()).find(by_quic) {
            self.open(node, other, LinkPath::Quic, Some(dial));
            return;
        }
        match (0..self.nodes.len()).find(here) {
            Some(other) => _ = self.open(node, other, LinkPath::WebSocket, Some(dial)),
            None => self.turn(node, vec![Input::Unreachable { dial }]),
        }
    }

    /// Ends a replica, its links with it, and starts another one on this store.
    pub(crate) fn restart(&mut self, node: usize, store: MemoryStore) {
        self.nodes[node].replica = None;
        let ends: Vec<_> = self.ends.keys().filter(|end| end.node == node).copied().collect();
        ends.into_iter().for_each(|end| self.cut(end));
        self.start(node, store, &[]);
    }

    /// Cuts the link with this end; what was under way is lost.
    pub(crate) fn cut(&mut self, end: End) {
        let Some(other) = self.ends.remove(&end) else { return };
        self.ends.remove(&other);
        for end in [end, other] {
            self.queues.remove(&end);
            self.nodes[end.node].remembered.remove(&end.link);
            if self.nodes[end.node].replica.is_some() {
                self.turn(end.node, vec![Input::LinkClosed { link: end.link }]);
            }
        }
    }

    /// Delivers one packet of the `choice`-th non-empty queue. False when all are empty.
    pub(crate) fn step(&mut self, choice: usize) -> bool {
        if let Some((node, dial, addresses)) = self.dials.pop_front() {
            self.busy = self.now;
            self.dial(node, dial, &addresses);
            return true;
        }
        let mut ends: Vec<End> = self.queues.iter().filter(|(_, q)| !q.is_empty()).map(|(end, _)| *end).collect();
        if ends.iter().any(|end| !self.slow.contains(end)) {
            ends.retain(|end| !self.slow.contains(end));
        }
        let Some(end) = ends.get(choice % ends.len().max(1)).copied() else { return false };
        let packet = self.queues.get_mut(&end).unwrap().pop_front().unwrap();
        self.now += 100;
        self.frames += 1;
        let link = end.link;
        let input = match packet {
            Packet::Frame(bytes) => {
                self.busy = self.now;
                self.frame(link, bytes)
            }
            Packet::Ping => Input::Ping { link },
            Packet::Pong => Input::Pong { link },
        };
        self.turn(end.node, vec![input]);
        true
    }

    /// Delivers everything, and lets timers that are due soon fire, until all that happens is that links are kept alive.
    pub(crate) fn settle(&mut self) {
        self.busy = self.now;
        for round in 0.. {
            assert!(round < 1_000_000, "the network never becomes quiet");
            if self.step(round) {
                continue;
            }
            let soon = self.busy + 3_000_000;
            let wake =
                |(i, n): (usize, &Node)| n.replica.as_ref().and_then(Replica::next_wake).map(|t| (t.micros(), i));
            match self.nodes.iter().enumerate().filter_map(wake).min() {
                Some((time, node)) if time <= soon => {
                    self.now = self.now.max(time);
                    self.turn(node, vec![Input::Wake]);
                }
                _ => return,
            }
        }
    }

    /// The texts of all data entries, in alphabetical order.
    pub(crate) fn texts(&self, node: usize) -> Vec<String> {
        let blocks = self.verified(node);
        let data = blocks.iter().flat_map(|block| block.entries()).filter(|entry| entry.kind == Kind::DATA);
        let mut texts: Vec<String> =
            data.map(|entry| String::from_utf8_lossy(entry.payload().unwrap()).into()).collect();
        texts.sort();
        texts
    }

    /// A frame that comes by a link.
    pub(crate) fn frame(&self, link: LinkId, bytes: Vec<u8>) -> Input {
        if !self.ahead {
            return Input::Frame { link, bytes };
        }
        match Frame::read(bytes) {
            Ok(mut frame) => {
                let mut signers = Signers::default();
                frame.blocks_mut().for_each(|block| block.check(&mut signers));
                Input::ReadFrame { link, frame }
            }
            Err(bytes) => Input::Frame { link, bytes },
        }
    }

    pub(crate) fn append(&mut self, node: usize, text: &str) {
        self.now += 1_000;
        self.turn(node, vec![Input::Append { token: 0, payloads: vec![format!("{text:?}").into_bytes()] }]);
    }

    pub(crate) fn inject(&mut self, node: usize, block: &VerifiedBlock) {
        self.turn(node, vec![Input::import(0, vec![block.bytes().to_vec()])]);
    }

    pub(crate) fn blocks(&self, node: usize) -> BTreeSet<BlockHash> {
        self.order(node).into_iter().collect()
    }

    pub(crate) fn order(&self, node: usize) -> Vec<BlockHash> {
        let all = Page { blocks: usize::MAX, bytes: usize::MAX };
        self.replica(node).store().after(None, all).unwrap().into_iter().map(|r| r.summary.hash).collect()
    }

    pub(crate) fn verified(&self, node: usize) -> Vec<VerifiedBlock> {
        let all = Page { blocks: usize::MAX, bytes: usize::MAX };
        let records = self.replica(node).store().after(None, all).unwrap();
        records.iter().map(|record| Block::decode(&record.bytes).unwrap().verify().unwrap()).collect()
    }

    #[track_caller]
    pub(crate) fn assert_equal(&self) {
        self.assert_same(&(0..self.nodes.len()).collect::<Vec<_>>());
    }

    /// The same, of some of the nodes, 0 among them.
    #[track_caller]
    pub(crate) fn assert_same(&self, nodes: &[usize]) {
        let first = self.replica(0);
        for node in nodes.iter().copied() {
            let other = self.replica(node);
            assert_eq!(first.frozen(), other.frozen(), "freezes of 0 and {node}");
            assert_eq!(self.order(0), self.order(node), "order of 0 and {node}");
            assert_eq!(first.heads(), other.heads(), "heads of 0 and {node}");
            assert_eq!(first.digest(), other.digest(), "digest of 0 and {node}");
            assert_eq!(first.totals(), other.totals(), "totals of 0 and {node}");
        }
    }
}
