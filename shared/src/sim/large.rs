//! One large network in which nothing goes wrong: every member writes, and one relay carries it to all.

use alloc::{format, vec::Vec};

use super::{CONVERGE, Event, Report, World, plan::Plan, random::Random};
use crate::time::SECOND;

/// Entries of one append, and appends of one member: each becomes a block.
const ENTRIES: usize = 5;
const APPENDS: usize = 2;
/// µs in which all members start, and in which they write.
const START: u64 = 5 * SECOND;
const WRITE: u64 = 20 * SECOND;

/// Has so many members write ten entries each, in two blocks of five, and get in step over one relay. Hears how many entries
/// are written so far, and how many will be.
pub fn large(members: usize, mut progress: impl FnMut(usize, usize)) -> Report {
    let mut world = World::of(0, Plan::calm(members), Random::new(0), None);
    // Nothing goes wrong from the start.
    world.healed = true;
    for machine in 0..world.machines.len() {
        let at = world.random.below(START);
        world.schedule(at, Event::Start { machine });
    }
    world.run_until(START + SECOND, |_| false);
    let mut order: Vec<usize> = (0..members).cycle().take(members * APPENDS).collect();
    world.random.shuffle(&mut order);
    let total = order.len();
    for (n, member) in order.into_iter().enumerate() {
        let at = world.now + WRITE / total as u64;
        world.run_until(at, |_| false);
        let payloads = (0..ENTRIES).map(|i| format!("entry {i} of block {n}").into_bytes()).collect();
        world.write(member, payloads);
        progress((n + 1) * ENTRIES, total * ENTRIES);
    }
    // Whoever wrote last has it from its turn on.
    world.run_until(world.now + SECOND, |_| false);
    let began = world.now;
    world.run_until(began + CONVERGE, World::is_converged);
    world.report.converged = world.now - began;
    let expected = (total as u64, (total * ENTRIES) as u64);
    let here = world.machines[0].replica.as_ref().map(|replica| (replica.totals().blocks, replica.totals().entries));
    world.check("acked_is_never_lost", here == Some(expected), |_| {
        format!("{expected:?} blocks and entries were written, {here:?} are there")
    });
    world.check_end();
    world.finish()
}
