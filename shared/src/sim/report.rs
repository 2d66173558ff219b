//! What a simulation counts, and what it found.

use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec::Vec,
};

use super::{
    plan::{Fault, Lie},
    truth::{INVARIANTS, OF_MEMBERS},
};
use crate::effect::{AppendError, CloseReason};

/// What changes who belongs, and what strangers and liars try, by the name under which it is counted.
const DEEDS: &[&str] = &[
    "invite",
    "race",
    "join",
    "come_again",
    "remove",
    "duel",
    "apart",
    "leave",
    "close",
    "stranger_without_membership",
    "stranger_behind_a_mask",
    "stranger_with_anothers_membership",
    "stranger_with_a_forged_invite",
    "stranger_with_a_forged_join",
    "stranger_asks_at_once",
    "puppet",
    "late_join",
    "alibi",
    "backdated",
    "false_removal",
    "false_keys",
    "replay",
];

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Of which seed.
    pub seed: u64,
    /// The promise's name.
    pub invariant: &'static str,
    /// What happened.
    pub what: String,
}

/// The outcome of one seed, or of many together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Seeds.
    pub seeds: u64,
    /// µs that all machines together lived.
    pub node_micros: u64,
    /// Turns of all replicas.
    pub turns: u64,
    /// Inputs of all replicas.
    pub inputs: u64,
    /// Entries that were acknowledged.
    pub acked: u64,
    /// Heights that an honest member signed twice because its disk had forgotten and nobody could be asked.
    pub forks: u64,
    /// Times that a node went on with its successor's key.
    pub successions: u64,
    /// Direct links that replicas wanted.
    pub dials: u64,
    /// Damaged blocks that came again.
    pub repaired: u64,
    /// Freezes that honest machines learned.
    pub freezes: u64,
    /// Removals and closed invites that honest machines learned.
    pub removals: u64,
    /// Times that entries landed between older ones.
    pub reordered: u64,
    /// Most rows that one turn read.
    pub reads: u64,
    /// µs until all were in step once everything was well: the longest.
    pub converged: u64,
    /// A digest of everything that happened: equal seeds give equal ones on every machine.
    pub trace: u64,
    /// How often each fault struck.
    pub faults: BTreeMap<&'static str, u64>,
    /// How often each lie was told.
    pub lies: BTreeMap<&'static str, u64>,
    /// How often each thing was done that changes who belongs, or was tried.
    pub deeds: BTreeMap<&'static str, u64>,
    /// How often each promise was checked.
    pub checks: BTreeMap<&'static str, u64>,
    /// Why replicas closed links.
    pub closed: BTreeMap<String, u64>,
    /// Why appends were refused.
    pub refused: BTreeMap<&'static str, u64>,
    /// Broken promises.
    pub violations: Vec<Violation>,
}

impl Report {
    /// A report of nothing, with every name that can come in it.
    pub fn new() -> Self {
        Self {
            faults: Fault::ALL.iter().map(|(_, name)| (*name, 0)).collect(),
            lies: Lie::ALL.iter().map(|(_, name)| (*name, 0)).collect(),
            checks: INVARIANTS.iter().map(|name| (*name, 0)).collect(),
            ..Self::default()
        }
    }

    /// The same for members' ledgers.
    pub fn of_members() -> Self {
        let mut report = Self::new();
        report.checks.extend(OF_MEMBERS.iter().map(|name| (*name, 0)));
        report.deeds.extend(DEEDS.iter().map(|name| (*name, 0)));
        report
    }

    /// Adds the report of other seeds. The order of adding does not change the result.
    pub fn add(&mut self, other: Report) {
        self.seeds += other.seeds;
        self.node_micros += other.node_micros;
        self.turns += other.turns;
        self.inputs += other.inputs;
        self.acked += other.acked;
        self.forks += other.forks;
        self.successions += other.successions;
        self.dials += other.dials;
        self.repaired += other.repaired;
        self.freezes += other.freezes;
        self.removals += other.removals;
        self.reordered += other.reordered;
        self.reads = self.reads.max(other.reads);
        self.converged = self.converged.max(other.converged);
        self.trace = self.trace.wrapping_add(other.trace);
        add_all(&mut self.faults, other.faults);
        add_all(&mut self.lies, other.lies);
        add_all(&mut self.deeds, other.deeds);
        add_all(&mut self.checks, other.checks);
        add_all(&mut self.closed, other.closed);
        add_all(&mut self.refused, other.refused);
        self.violations.extend(other.violations);
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        *self.faults.entry(Fault::ALL[fault as usize].1).or_default() += 1;
    }

    pub(super) fn lie(&mut self, lie: Lie) {
        *self.lies.entry(Lie::ALL[lie as usize].1).or_default() += 1;
    }

    pub(super) fn deed(&mut self, name: &'static str) {
        *self.deeds.entry(name).or_default() += 1;
    }

    pub(super) fn checked(&mut self, name: &'static str) {
        *self.checks.entry(name).or_default() += 1;
    }

    pub(super) fn close(&mut self, reason: &CloseReason) {
        *self.closed.entry(reason.to_string()).or_default() += 1;
    }

    pub(super) fn refused_append(&mut self, error: &AppendError) {
        *self.refused.entry(error.code()).or_default() += 1;
    }
}

fn add_all<K: Ord>(into: &mut BTreeMap<K, u64>, from: BTreeMap<K, u64>) {
    for (key, count) in from {
        *into.entry(key).or_default() += count;
    }
}
