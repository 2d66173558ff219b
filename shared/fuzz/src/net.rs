//! A small network of real replicas in memory, whose frames may be dropped, doubled and garbled, each on a clock of its own.

use std::collections::{BTreeMap, VecDeque};

use shared::{
    Block, Effect, EntryId, Input, LinkId, MemoryStore, Page, ReadStore, Record, Replica, Role, Timestamp,
    effect::ImportReport, limits,
};

use crate::made::{START, at, config};

/// All of a store.
pub(crate) const ALL: Page = Page { blocks: usize::MAX, bytes: usize::MAX };

pub(crate) struct Node {
    pub(crate) replica: Replica<MemoryStore>,
    number: u8,
    writes: bool,
    starts: u8,
    /// µs; it may step forward and back.
    pub(crate) clock: u64,
    remembered: BTreeMap<LinkId, Vec<u8>>,
    imported: ImportReport,
    forks: usize,
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

pub(crate) struct Net {
    pub(crate) nodes: Vec<Node>,
    ends: BTreeMap<End, End>,
    queues: BTreeMap<End, VecDeque<Packet>>,
    next_link: u64,
    /// What nodes told their clients to be durable.
    pub(crate) acked: Vec<EntryId>,
}

/// What of a store and its replica a refused input must not change.
pub(crate) fn snapshot(replica: &Replica<MemoryStore>) -> (Vec<Record>, [u8; 32], u64) {
    let Ok(records) = replica.store().after(None, ALL);
    (records, replica.digest(), replica.last_seq())
}

/// The bounds that hold at every step.
pub(crate) fn check_caps(replica: &Replica<MemoryStore>, effects: &[Effect]) {
    let (_, parked) = replica.parked();
    assert!(parked <= limits::PARKED_BYTES + limits::ZONE_BYTES, "{parked} bytes are parked");
    assert!(replica.links().len() <= limits::LINKS + limits::DOOR_LINKS);
    for effect in effects {
        match effect {
            Effect::Send { bytes, .. } => {
                assert!(bytes.len() <= limits::FRAME_BYTES, "a frame of {} bytes", bytes.len());
            }
            Effect::Remember { state, .. } => assert!(state.len() <= 1_500, "a state of {} bytes", state.len()),
            Effect::Close { reason, .. } => assert!(reason.to_string().len() <= 120, "{reason}"),
            _ => {}
        }
    }
}

fn open(
    number: u8,
    writes: bool,
    starts: u8,
    store: MemoryStore,
    links: &[(LinkId, Vec<u8>)],
    now: Timestamp,
) -> (Replica<MemoryStore>, Vec<Effect>) {
    let mut effects = Vec::new();
    let seed = starts.wrapping_mul(31) ^ number;
    let Ok(mut replica) = Replica::restore(config(number, writes, seed), store, links, now, &mut effects) else {
        panic!("a replica refuses its own store");
    };
    replica.commit(now, &mut effects).expect("a store in memory never fails");
    (replica, effects)
}

impl Net {
    pub(crate) fn new(writers: &[bool]) -> Self {
        let node = |(number, writes): (usize, &bool)| {
            let number = number as u8;
            let (replica, _) = open(number, *writes, 0, MemoryStore::default(), &[], at(START));
            let (remembered, imported) = (BTreeMap::new(), ImportReport::default());
            Node { replica, number, writes: *writes, starts: 0, clock: START, remembered, imported, forks: 0 }
        };
        let nodes = writers.iter().enumerate().map(node).collect();
        Self { nodes, ends: BTreeMap::new(), queues: BTreeMap::new(), next_link: 0, acked: Vec::new() }
    }

    pub(crate) fn turn(&mut self, node: usize, inputs: Vec<Input>) {
        let state = &mut self.nodes[node];
        state.clock += 100;
        let now = at(state.clock);
        let mut effects = Vec::new();
        for input in inputs {
            state.replica.handle(now, input, &mut effects).expect("a store in memory never fails");
        }
        state.replica.commit(now, &mut effects).expect("a store in memory never fails");
        check_caps(&state.replica, &effects);
        self.perform(node, effects);
    }

    fn perform(&mut self, node: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { link, bytes } => self.send(End { node, link }, Packet::Frame(bytes)),
                Effect::Ping { link } => self.send(End { node, link }, Packet::Ping),
                Effect::Pong { link } => self.send(End { node, link }, Packet::Pong),
                Effect::Close { link, .. } => self.cut(End { node, link }),
                Effect::Remember { link, state } => drop(self.nodes[node].remembered.insert(link, state)),
                Effect::Appended { result, .. } => self.acked.extend(result.into_iter().flatten()),
                Effect::Imported { report, .. } => self.nodes[node].imported = report,
                Effect::ForkDetected(_) => self.nodes[node].forks += 1,
                _ => {}
            }
        }
    }

    fn send(&mut self, from: End, packet: Packet) {
        if let Some(to) = self.ends.get(&from) {
            self.queues.entry(*to).or_default().push_back(packet);
        }
    }

    /// A node stops and starts again on what its store holds. With its links, as a Durable Object after hibernation, or
    /// without them, as after a crash.
    pub(crate) fn restart(&mut self, node: usize, keep_links: bool) {
        let ends: Vec<End> = self.ends.keys().filter(|end| end.node == node).copied().collect();
        if !keep_links {
            ends.iter().for_each(|end| self.cut(*end));
        }
        let state = &mut self.nodes[node];
        let kept = ends.iter().filter(|_| keep_links);
        let links: Vec<_> =
            kept.map(|end| (end.link, state.remembered.get(&end.link).cloned().unwrap_or_default())).collect();
        state.starts = state.starts.wrapping_add(1);
        let store = state.replica.store().clone();
        let before = snapshot(&state.replica);
        let (replica, effects) = open(state.number, state.writes, state.starts, store, &links, at(state.clock));
        state.replica = replica;
        assert!(snapshot(&state.replica) == before, "a restart changed the ledger of {node}");
        self.perform(node, effects);
    }

    pub(crate) fn link(&mut self, dialler: usize, acceptor: usize) {
        self.next_link += 2;
        let a = End { node: dialler, link: LinkId(self.next_link) };
        let b = End { node: acceptor, link: LinkId(self.next_link + 1) };
        self.ends.insert(a, b);
        self.ends.insert(b, a);
        self.turn(dialler, vec![Input::relay_opened(a.link, Role::Dialled)]);
        self.turn(acceptor, vec![Input::relay_opened(b.link, Role::Accepted)]);
    }

    /// Cuts the link with this end; what was under way is lost.
    pub(crate) fn cut(&mut self, end: End) {
        let Some(other) = self.ends.remove(&end) else { return };
        self.ends.remove(&other);
        for end in [end, other] {
            self.queues.remove(&end);
            self.nodes[end.node].remembered.remove(&end.link);
            self.turn(end.node, vec![Input::LinkClosed { link: end.link }]);
        }
    }

    /// Both ends of every link.
    pub(crate) fn ends(&self) -> Vec<End> {
        self.ends.keys().copied().collect()
    }

    /// Queues that are not empty.
    fn waiting(&self) -> Vec<End> {
        self.queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(end, _)| *end).collect()
    }

    /// The `choice`-th of the queues that are not empty.
    pub(crate) fn queue(&mut self, choice: usize) -> Option<(End, &mut VecDeque<Packet>)> {
        let waiting = self.waiting();
        let end = *waiting.get(choice.checked_rem(waiting.len())?)?;
        self.queues.get_mut(&end).map(|queue| (end, queue))
    }

    /// Delivers one packet. False when nothing is under way.
    pub(crate) fn step(&mut self, choice: usize) -> bool {
        let Some((end, queue)) = self.queue(choice) else { return false };
        let Some(packet) = queue.pop_front() else { return false };
        let link = end.link;
        let input = match packet {
            Packet::Frame(bytes) => Input::Frame { link, bytes },
            Packet::Ping => Input::Ping { link },
            Packet::Pong => Input::Pong { link },
        };
        self.turn(end.node, vec![input]);
        true
    }

    /// Delivers everything, and lets timers that are due soon fire.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 200_000, "the network never becomes quiet");
            if self.step(round) {
                continue;
            }
            let due = |node: &Node| node.replica.next_wake().filter(|wake| wake.micros() <= node.clock + 3_000_000);
            let Some((node, wake)) = self.nodes.iter().enumerate().find_map(|(i, node)| Some((i, due(node)?))) else {
                return;
            };
            let state = &mut self.nodes[node];
            state.clock = state.clock.max(wake.micros());
            self.turn(node, vec![Input::Wake]);
        }
    }

    /// Ends all faults: clocks agree again and nothing is ahead of them, every node meets every other.
    pub(crate) fn heal(&mut self) {
        // The time of every block has come, also of one that was written by a clock which was put back since.
        let written = |node: &Node| {
            let Ok(last) = node.replica.store().before(None, Page::ONE);
            last.first().map_or(START, |record| record.summary.timestamp.micros())
        };
        let times = self.nodes.iter().map(|node| node.clock.max(written(node)));
        let latest = times.max().unwrap_or(START) + limits::CLOCK_WINDOW;
        for _ in 0..2 {
            self.ends().into_iter().for_each(|end| self.cut(end));
            for node in 0..self.nodes.len() {
                self.nodes[node].clock = latest + 100_000_000;
                self.turn(node, vec![Input::Wake]);
            }
            for a in 0..self.nodes.len() {
                (0..a).for_each(|b| self.link(a, b));
            }
            self.settle();
        }
    }

    /// All stores are equal, whole and hold what was acknowledged.
    pub(crate) fn check_equal(&self) {
        let first = &self.nodes[0].replica;
        let order = |replica: &Replica<MemoryStore>| -> Vec<Vec<u8>> {
            let Ok(records) = replica.store().after(None, ALL);
            records.into_iter().map(|record| record.bytes).collect()
        };
        for (number, node) in self.nodes.iter().enumerate().skip(1) {
            assert_eq!(first.frozen(), node.replica.frozen(), "freezes of 0 and {number}");
            assert_eq!(first.heads(), node.replica.heads(), "heads of 0 and {number}");
            assert_eq!(first.totals(), node.replica.totals(), "totals of 0 and {number}");
            assert_eq!(first.digest(), node.replica.digest(), "digests of 0 and {number}");
            assert!(order(first) == order(&node.replica), "blocks of 0 and {number}");
        }
        let Ok(records) = first.store().after(None, ALL);
        let held: BTreeMap<_, u32> =
            records.iter().map(|Record { summary: s, .. }| ((s.author, s.height), s.entries)).collect();
        for id in &self.acked {
            let entries = held.get(&(id.author, id.height)).copied().unwrap_or(0);
            assert!(id.index < entries, "{id} was acknowledged and is gone");
        }
    }

    /// Gives a node blocks as from a file. What is refused leaves no trace, unless it made a proof.
    pub(crate) fn import(&mut self, node: usize, blocks: Vec<Vec<u8>>) {
        let state = &mut self.nodes[node];
        state.forks = 0;
        let before = snapshot(&state.replica);
        self.turn(node, vec![Input::import(0, blocks)]);
        let state = &self.nodes[node];
        if state.imported.added == 0 && state.imported.parked == 0 && state.forks == 0 {
            let after = snapshot(&state.replica);
            assert!(before == after, "refused input left a trace: {:?}", state.imported);
        }
    }

    /// Every block that any node holds, parents first.
    pub(crate) fn known(&self) -> Vec<Block> {
        let mut known = BTreeMap::new();
        for node in &self.nodes {
            let Ok(records) = node.replica.store().after(None, ALL);
            for record in records {
                let key = record.summary.key();
                known
                    .entry(key)
                    .or_insert_with(|| Block::decode(&record.bytes).expect("what a replica keeps is a block"));
            }
        }
        known.into_values().collect()
    }
}
