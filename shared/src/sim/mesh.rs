//! A large network without a relay: members who have met link directly, and blocks go along the tree that they make of their links.

use alloc::{collections::BTreeMap, format, string::String, vec, vec::Vec};

use super::{Event, World, lies::only_blocks, machine::Kind, plan::Plan, random::Random};
use crate::{
    block::Block,
    effect::LinkPath,
    id::{BlockHash, NodeId},
    limits::DIRECT_LINKS,
    time::{MINUTE, SECOND},
    wire::{Message, decode_frame},
};

/// µs in which all members start, and in which those who met at the relay find each other.
const START: u64 = 10 * SECOND;
const MEET: u64 = MINUTE;
/// Blocks that show which links are too many, and blocks of one measurement.
const WARM: usize = 10;
const BLOCKS: usize = 20;
/// µs between two blocks.
const PAUSE: u64 = 2 * SECOND;
/// µs that the mesh has to bring everybody what is missing.
const PATIENCE: u64 = MINUTE;
/// Of a thousand nodes, how many stand still at a time, for how many µs, and for how long that goes on.
const STILL: u64 = 100;
const STILL_FOR: (u64, u64) = (SECOND, 5 * SECOND);
const STILL_IN_ALL: u64 = 2 * MINUTE;
/// µs, and nothing overflows.
const FOR_EVER: u64 = u64::MAX / 2;
/// Nodes that die without a word.
const DEAD: usize = 10;

/// What became of the blocks of one writer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spread {
    /// Copies of a block beyond the one that each node needs, as a share of those.
    pub redundancy: f64,
    /// Links that a block went over to the last node that it came to.
    pub hops: u32,
    /// µs until the last node had it, at most.
    pub last: u64,
}

/// What a large mesh did.
#[derive(Debug, Default)]
pub struct Mesh {
    /// Most direct links of a node.
    pub links: usize,
    /// With everybody there.
    pub steady: Spread,
    /// µs until the last of the others had a block, at most, while a share of the nodes handed on nothing that others wrote.
    pub selfish: u64,
    /// Nodes that somebody took for gone, though they only stood still now and then, per thousand nodes and minutes.
    pub false_alarms: f64,
    /// µs until everybody had missed those who died without a word.
    pub missed: u64,
    /// µs until all who are left had what was written once most of the nodes were gone.
    pub survived: u64,
    /// What did not happen that should have.
    pub broken: Vec<String>,
}

/// Blocks on their way, in a mesh that is measured.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// Of each block, over how many links it came to each machine first.
    hops: BTreeMap<BlockHash, BTreeMap<usize, u32>>,
    copies: u64,
    /// Who hands on nothing that others wrote.
    selfish: Vec<bool>,
}

impl Carried {
    fn came(&mut self, from: usize, to: usize, frame: &[u8]) {
        for envelope in decode_frame(frame).into_iter().flatten() {
            let (Message::EntryAnnounce { blocks, .. } | Message::EntryResponse { blocks }) = envelope.message else {
                continue;
            };
            for block in blocks.iter().filter_map(|block| Block::decode(block.bytes()).ok()) {
                self.copies += 1;
                let hops = self.hops.entry(block.hash()).or_default();
                let so_far = hops.get(&from).copied().unwrap_or_default();
                hops.entry(to).or_insert(so_far + 1);
            }
        }
    }
}

/// Has so many members meet at a relay, which then goes for good; one of them writes: to all, to all while `selfish` of a thousand hand on nothing,
/// and to those who are left when `killed` of a thousand are gone.
pub fn mesh(members: usize, selfish: u64, killed: u64, mut progress: impl FnMut(&str)) -> Mesh {
    // All paths alike, so that the quickest way is the one over the fewest links.
    let plan = Plan { meets: true, delay: 50, jitter: 0, ..Plan::calm(members) };
    let mut world = World::of(0, plan, Random::new(0), None);
    world.healed = true;
    for machine in 0..world.machines.len() {
        let at = world.random.below(START);
        world.schedule(at, Event::Start { machine });
    }
    progress("they meet");
    world.run_until(START + MEET, |_| false);
    let relay = world.hub();
    world.retire(relay);
    let mut mesh = Mesh {
        links: (0..members).map(|number| world.direct_links(number)).max().unwrap_or_default(),
        ..Mesh::default()
    };
    if mesh.links > DIRECT_LINKS {
        mesh.broken.push(format!("a node has {} direct links, {DIRECT_LINKS} are the most", mesh.links));
    }
    let mut all: Vec<usize> = (0..members).collect();
    progress("the tree grows");
    world.spread(WARM, &all, &mut mesh.broken);
    progress("one writes");
    mesh.steady = world.spread(BLOCKS, &all, &mut mesh.broken);

    progress("some stand still now and then");
    mesh.false_alarms = world.stand_still();
    progress("some die");
    let dead = world.die(&mut mesh.missed, &mut mesh.broken);

    progress("some hand on nothing");
    let draws = |world: &mut World, share: u64| {
        (0..members).map(|n| n > 0 && world.random.per_mille(share)).collect::<Vec<_>>()
    };
    all.retain(|number| !dead.contains(number));
    let keep = draws(&mut world, selfish);
    let generous: Vec<usize> = all.iter().copied().filter(|number| !keep[*number]).collect();
    world.carried = Some(Carried { selfish: keep, ..Carried::default() });
    mesh.selfish = world.spread(BLOCKS, &generous, &mut mesh.broken).last;
    world.carried = None;

    progress("most are gone");
    let gone = draws(&mut world, killed);
    for number in all.iter().copied().filter(|number| gone[*number]) {
        world.retire(number);
    }
    let left: Vec<usize> = all.into_iter().filter(|number| !gone[*number]).collect();
    mesh.survived = world.spread(1, &left, &mut mesh.broken).last;
    mesh.broken.extend(world.report.violations.iter().map(|violation| violation.what.clone()));
    mesh
}

impl World {
    /// A tenth of all stands still at any time, each for some seconds.
    fn stand_still(&mut self) -> f64 {
        let end = self.now + STILL_IN_ALL;
        self.false_alarms = Some(0);
        while self.now < end {
            // So many begin in a second that a tenth stands still.
            let share = STILL * 2 * SECOND / (STILL_FOR.0 + STILL_FOR.1);
            for number in 1..self.machines.len() {
                if !self.machines[number].paused(self.now) && self.random.per_mille(share) {
                    let until = self.now + self.random.between(STILL_FOR.0, STILL_FOR.1);
                    self.machines[number].paused_until = until;
                }
            }
            let next = self.now + SECOND;
            self.run_until(next, |_| false);
        }
        let minutes = self.machines.len() as u64 * STILL_IN_ALL / MINUTE;
        self.false_alarms.take().unwrap_or_default() as f64 * 1e3 / minutes as f64
    }

    /// Some die, and their connections stay as they are.
    fn die(&mut self, missed: &mut u64, broken: &mut Vec<String>) -> Vec<usize> {
        let dead: Vec<usize> = (1..=DEAD.min(self.machines.len() / 4)).collect();
        for number in &dead {
            self.machines[*number].paused_until = FOR_EVER;
        }
        let nodes: Vec<NodeId> = dead.iter().map(|number| self.machines[*number].node()).collect();
        let began = self.now;
        let are_missed = |world: &Self| {
            let left =
                world.machines.iter().filter(|machine| !machine.paused(world.now) && machine.kind == Kind::Honest);
            let mut replicas = left.filter_map(|machine| machine.replica.as_ref());
            replicas.all(|replica| !nodes.iter().any(|node| replica.is_online(node)))
        };
        if !self.run_until(began + PATIENCE, are_missed) {
            broken.push(format!("somebody does not miss the dead after {} s", PATIENCE / SECOND));
        }
        *missed = self.now - began;
        dead
    }

    /// Somebody was told who is on line, in a mesh that is measured: a node of which that is not true is a false alarm.
    pub(super) fn note_presence(&mut self, node: &NodeId, online: bool) {
        if let Some(alarms) = &mut self.false_alarms {
            *alarms +=
                u64::from(!online && self.machines.iter().any(|machine| machine.node() == *node && !machine.retired));
        }
    }

    fn direct_links(&self, number: usize) -> usize {
        let links = self.machines[number].replica.iter().flat_map(|replica| replica.links());
        links.filter(|link| link.path != LinkPath::Relay && link.node.is_some()).count()
    }

    /// The first member writes some blocks; each has to come to all of these.
    fn spread(&mut self, blocks: usize, to: &[usize], broken: &mut Vec<String>) -> Spread {
        let selfish = self.carried.take().map_or(vec![false; self.machines.len()], |carried| carried.selfish);
        self.carried = Some(Carried { selfish, ..Carried::default() });
        let mut last = 0;
        for _ in 0..blocks {
            let began = self.now;
            let node = self.machines[0].node();
            let height =
                |world: &Self, number: usize| world.machines[number].replica.as_ref().map_or(0, |it| it.height(&node));
            let written = height(self, 0) + 1;
            self.write(0, vec![b"0".to_vec()]);
            let there = |world: &Self| to.iter().all(|number| height(world, *number) >= written);
            // Copies that come late count too.
            if !self.run_until(began + PATIENCE, there) {
                let lack = to.iter().filter(|number| height(self, **number) < written).count();
                broken.push(format!("{lack} of {} lack a block after {} s", to.len(), PATIENCE / SECOND));
                break;
            }
            last = last.max(self.now - began);
            let pause = self.now + PAUSE;
            self.run_until(pause, |_| false);
        }
        let Some(carried) = &self.carried else { return Spread::default() };
        let hops = carried.hops.values().flat_map(BTreeMap::values).max().copied().unwrap_or_default();
        let needed = (carried.hops.len() * (to.len() - 1)) as f64;
        Spread { redundancy: carried.copies as f64 / needed - 1.0, hops, last }
    }

    /// Notes what comes with a frame, in a mesh that is measured.
    pub(super) fn note_carried(&mut self, connection: usize, to_side: usize, frame: &[u8]) {
        if let Some(carried) = &mut self.carried {
            let ends = &self.connections[connection].ends;
            carried.came(ends[1 - to_side].machine, ends[to_side].machine, frame);
        }
    }

    /// What somebody who hands on nothing makes of a frame.
    pub(super) fn kept_back(&self, number: usize, frame: Vec<u8>) -> Vec<u8> {
        let Some(carried) = &self.carried else { return frame };
        if !carried.selfish.get(number).copied().unwrap_or_default() {
            return frame;
        }
        let me = self.machines[number].node();
        only_blocks(frame, |author| author == me)
    }
}
