//! Faults: which one comes next, to whom, and how the network heals.

use alloc::vec::Vec;

use super::{
    Event, World,
    disk::{Disk, DiskError, Failure},
    machine::{Kind, Machine},
    plan::Fault,
};
use crate::{
    store::MemoryStore,
    time::{MINUTE, SECOND},
};

const YEAR: i64 = 365 * 24 * 60 * MINUTE as i64;

impl World {
    /// Whether an enabled fault strikes now, so many times of a thousand; counts it.
    pub(super) fn strikes(&mut self, fault: Fault, per_mille: u64) -> bool {
        let strikes = !self.healed && self.plan.has(fault) && self.random.per_mille(per_mille);
        if strikes {
            self.report.fault(fault);
        }
        strikes
    }

    /// What a plan says of machines before anything runs.
    pub(super) fn prepare_faults(&mut self) {
        for number in 0..self.machines.len() {
            if self.machines[number].kind == Kind::Honest && self.strikes(Fault::ClockOff, 500) {
                self.machines[number].clock = self.any_clock();
            }
        }
        let relays: Vec<usize> = self.relays().collect();
        for relay in relays {
            // Whoever lies about what it holds does not do so alone: every member knows the other relays too.
            if self.strikes(Fault::RelayTwoViews, 300) {
                let key = self.machines[relay].key.clone();
                let twin = self.machines.len();
                self.machines.push(Machine::new(Kind::Relay, key));
                self.machines[twin].twin = Some(relay);
                self.machines[relay].twin = Some(twin);
            } else if self.strikes(Fault::RelayWithholds, 300) {
                let author = self.random.index(self.plan.honest);
                self.machines[relay].withholds = Some(self.machines[author].key.node());
            }
        }
    }

    fn relays(&self) -> impl Iterator<Item = usize> + use<> {
        let first = self.plan.honest + self.plan.liars;
        first..first + self.plan.relays
    }

    fn any_clock(&mut self) -> i64 {
        let most = [YEAR, 24 * 60 * MINUTE as i64, 20 * MINUTE as i64, SECOND as i64][self.random.index(4)];
        self.random.below(2 * most as u64) as i64 - most
    }

    /// The next fault strikes.
    pub(super) fn strike(&mut self) {
        let Some(fault) = self.random.pick(&self.plan.faults).copied() else { return };
        let member = self.random.index(self.plan.honest + self.plan.liars);
        let relays: Vec<usize> = self.relays().collect();
        let relay = self.random.pick(&relays).copied();
        let anyone = relay.filter(|_| self.random.per_mille(300)).unwrap_or(member);
        let done = match fault {
            Fault::PartitionOneWay | Fault::Partition => self.partition(anyone, fault == Fault::Partition),
            Fault::Flap => self.flap(),
            Fault::Pause => self.pause(anyone),
            Fault::Crash | Fault::PowerLoss => self.crash(anyone, fault == Fault::Crash),
            Fault::CrashInTurn | Fault::CrashAfterCommit => self.crash_in_turn(anyone, fault),
            Fault::InputOutput | Fault::WrittenAnyway | Fault::DiskFull => self.disk_fails(anyone, fault),
            Fault::BitFlip => self.flip_bit(anyone),
            Fault::RestoreOld => self.restore_old(member),
            Fault::ClockOff | Fault::ClockBack => self.clock_steps(member, fault),
            Fault::RelaySleep => relay.is_some_and(|relay| self.sleep(relay)),
            Fault::RelayRestart | Fault::RelayAmnesia | Fault::RelayRollback => {
                relay.is_some_and(|relay| self.relay_restarts(relay, fault))
            }
            // Counted where they happen.
            Fault::Latency | Fault::Loss | Fault::Duplicate | Fault::Reorder | Fault::Narrow => false,
            Fault::CrashInRecovery | Fault::RelayTwoViews | Fault::RelayWithholds => false,
        };
        if done {
            self.report.fault(fault);
        }
    }

    fn partition(&mut self, machine: usize, both: bool) -> bool {
        let others: Vec<usize> = (0..self.machines.len()).filter(|other| *other != machine).collect();
        let count = 1 + self.random.index(others.len());
        let until = self.now + self.random.between(SECOND, 10 * MINUTE);
        let mut others = others;
        self.random.shuffle(&mut others);
        for other in others.into_iter().take(count) {
            let ways = if both { [(machine, other), (other, machine)] } else { [(machine, other); 2] };
            for (from, to) in ways {
                self.block(from, to);
                self.schedule(until, Event::Unblock { from, to });
            }
        }
        true
    }

    /// Nobody reaches a machine, nor does it reach anybody, until a time.
    pub(super) fn cut_off(&mut self, machine: usize, until: u64) {
        for other in (0..self.machines.len()).filter(|other| *other != machine) {
            for (from, to) in [(machine, other), (other, machine)] {
                self.block(from, to);
                self.schedule(until, Event::Unblock { from, to });
            }
        }
    }

    fn flap(&mut self) -> bool {
        let open: Vec<usize> =
            (0..self.connections.len()).filter(|n| self.connections[*n].ends.iter().all(|end| end.open)).collect();
        let Some(connection) = self.random.pick(&open).copied() else { return false };
        self.cut(connection);
        true
    }

    fn pause(&mut self, number: usize) -> bool {
        let until = self.now + self.random.between(SECOND, 10 * MINUTE);
        self.machines[number].paused_until = until;
        true
    }

    fn crash(&mut self, number: usize, told: bool) -> bool {
        if self.machines[number].replica.is_none() {
            return false;
        }
        self.machines[number].disk.crash();
        self.down(number, told);
        let wait = self.random.between(SECOND / 10, 5 * MINUTE);
        self.schedule(self.now + wait, Event::Start { machine: number });
        true
    }

    /// The next operations but a few go well, then the machine stops: in the middle of a turn, or when the disk had
    /// finished the commit.
    fn crash_in_turn(&mut self, number: usize, fault: Fault) -> bool {
        let written = fault == Fault::CrashAfterCommit;
        let after = self.random.below(if written { 4 } else { 40 });
        self.machines[number].disk.fail(Some(Failure { after, error: DiskError::Io, written }));
        true
    }

    fn disk_fails(&mut self, number: usize, fault: Fault) -> bool {
        let error = if fault == Fault::DiskFull { DiskError::Full } else { DiskError::Io };
        let written = fault == Fault::WrittenAnyway;
        let after = self.random.below(if written { 20 } else { 200 });
        self.machines[number].disk.fail(Some(Failure { after, error, written }));
        true
    }

    /// A bit of a stored block turns over, and nobody notices before the block is read.
    fn flip_bit(&mut self, number: usize) -> bool {
        if self.machines[number].kind == Kind::Liar {
            return false;
        }
        let Some(hash) = self.machines[number].disk.flip_bit(&mut self.random) else { return false };
        self.machines[number].damaged.insert(hash);
        self.check_lost_block(number, hash);
        true
    }

    /// Somebody puts an older copy of a disk back, or makes the copy.
    fn restore_old(&mut self, number: usize) -> bool {
        if self.machines[number].backup.is_none() || self.random.per_mille(300) {
            if self.machines[number].damaged.is_empty() {
                let copy = self.machines[number].disk.durable().clone();
                self.machines[number].backup = Some(copy);
            }
            return false;
        }
        let Some(copy) = self.machines[number].backup.clone() else { return false };
        self.replace_disk(number, copy);
        true
    }

    /// The process ends, its disk is exchanged, and it starts again.
    pub(super) fn replace_disk(&mut self, number: usize, durable: MemoryStore) {
        self.machines[number].disk.crash();
        self.down(number, true);
        let before = self.machines[number].disk.hashes();
        self.machines[number].disk = Disk::new(durable);
        self.machines[number].damaged.clear();
        self.machines[number].knows_removed.clear();
        let keys = self.truth.keys_of(number);
        keys.into_iter().for_each(|key| self.machines[number].disk.add_owner(key));
        self.check_lost(number, &before);
        let wait = self.random.between(SECOND, 30 * SECOND);
        self.schedule(self.now + wait, Event::Start { machine: number });
    }

    fn clock_steps(&mut self, number: usize, fault: Fault) -> bool {
        let clock = self.any_clock();
        let back = clock < self.machines[number].clock;
        if fault == Fault::ClockBack && !back {
            return false;
        }
        self.step_clock(number, clock);
        true
    }

    fn relay_restarts(&mut self, number: usize, fault: Fault) -> bool {
        match fault {
            Fault::RelayRollback => return self.restore_old(number),
            Fault::RelayAmnesia => self.replace_disk(number, MemoryStore::default()),
            _ => return self.crash(number, true),
        }
        true
    }

    fn block(&mut self, from: usize, to: usize) {
        // Drawing the path first keeps its properties.
        self.path(from, to);
        if let Some(path) = self.paths.get_mut(&(from, to)) {
            path.blocked = true;
        }
    }

    /// A machine is switched off for good. What only it had is lost.
    pub(super) fn retire(&mut self, number: usize) {
        self.down(number, true);
        self.machines[number].retired = true;
        for hash in self.machines[number].disk.hashes() {
            self.check_lost_block(number, hash);
        }
    }

    /// Somebody looks after a damaged disk. What nobody can give any more cannot be repaired: then the machine begins anew, a
    /// member with a new key.
    fn look_after(&mut self, number: usize) {
        let damaged = &self.machines[number].damaged;
        if self.machines[number].retired || damaged.is_empty() {
            return;
        }
        if damaged.iter().all(|hash| self.is_whole_elsewhere(number, hash)) {
            return self.damaged(number);
        }
        self.replace_disk(number, MemoryStore::default());
        if self.machines[number].kind == Kind::Honest {
            let key = self.spare_key(number);
            self.new_key(number, key);
        }
    }

    /// Faults end: every machine runs, every path is open and wide, clocks are right, liars are silent, relays honest.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        let blocked: Vec<_> = self.paths.iter().filter(|(_, path)| path.blocked).map(|(way, _)| *way).collect();
        blocked.into_iter().for_each(|(from, to)| self.unblock(from, to));
        self.break_narrow();
        for path in self.paths.values_mut() {
            path.bytes_per_second = 0;
            path.delay = path.delay.min(SECOND / 10);
            path.jitter = path.jitter.min(SECOND / 50);
        }
        for number in 0..self.machines.len() {
            let machine = &mut self.machines[number];
            machine.disk.fail(None);
            machine.paused_until = 0;
            let lied = machine.twin.is_some() || machine.withholds.is_some();
            let is_twin = number >= self.plan.honest + self.plan.liars + self.plan.relays;
            if machine.kind == Kind::Liar || is_twin {
                self.retire(number);
            } else if lied {
                self.down(number, true);
            }
            let machine = &mut self.machines[number];
            machine.twin = None;
            machine.withholds = None;
            if machine.clock != 0 {
                self.step_clock(number, 0);
            }
        }
        for number in 0..self.machines.len() {
            self.look_after(number);
            self.catch_up(number);
        }
        self.heal_group();
        for number in 0..self.connections.len() {
            if self.connections[number].broken {
                self.cut(number);
            }
        }
        for number in 0..self.machines.len() {
            self.schedule(self.now + 1, Event::Start { machine: number });
        }
    }
}
