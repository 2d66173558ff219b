//! Who belongs once everything is well, and the end of a seed with a members' ledger.

use alloc::{collections::BTreeSet, string::String, vec::Vec};

use super::{
    CONVERGE, Event, REST, World,
    disk::all,
    machine::{Kind, Target},
};
use crate::{
    effect::Input,
    key::Key,
    limits::REKEY_WITHIN,
    replica::{Config, Replica},
    store::{MemoryStore, ReadStore},
    time::{MINUTE, SECOND},
};

/// Where an honest machine stands once everything is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seat {
    /// It belongs, or is a relay: it must be in step.
    In,
    /// It was removed, never came in, or came too late.
    Out,
    /// That is not decided yet.
    Open,
}

impl World {
    /// The machine on which all meet once everything is well: a relay, or one that belongs, which all dial then; the founder's if
    /// it does.
    pub(super) fn hub(&self) -> usize {
        let relay = self.plan.honest + self.plan.liars;
        if self.plan.relays > 0 { relay } else { self.host }
    }

    /// Where a machine stands, by what the hub knows.
    pub(super) fn seat(&self, number: usize) -> Seat {
        let machine = &self.machines[number];
        let Some(hub) = &self.machines[self.hub()].replica else { return Seat::Open };
        if machine.kind == Kind::Relay || number == self.hub() {
            return Seat::In;
        }
        if machine.papers.is_none() {
            return Seat::Out;
        }
        let node = machine.key.node();
        if hub.is_removed(&node) {
            return Seat::Out;
        }
        if hub.has_come_in(&node) {
            return Seat::In;
        }
        let knows = |replica: &Replica<_>| replica.is_removed(&node) || replica.digest() == hub.digest();
        if machine.turned_away || machine.replica.as_ref().is_some_and(knows) { Seat::Out } else { Seat::Open }
    }

    /// Whether all who belong show the same ledger, and it is decided who belongs.
    pub(super) fn is_group_in_step(&self) -> bool {
        let Some(hub) = &self.machines[self.hub()].replica else { return false };
        let digest = hub.digest();
        let same = |replica: &Replica<_>| !replica.is_repairing() && replica.digest() == digest;
        hub.totals().blocks > 0
            && self.honest().all(|number| match self.seat(number) {
                Seat::In => self.machines[number].replica.as_ref().is_some_and(same),
                Seat::Out => true,
                Seat::Open => false,
            })
    }

    /// Those of the honest that must be in step, the hub first.
    pub(super) fn seated(&self) -> Vec<usize> {
        if self.group.is_none() {
            return self.honest().collect();
        }
        let hub = self.hub();
        [hub]
            .into_iter()
            .chain(self.honest().filter(|number| *number != hub && self.seat(*number) == Seat::In))
            .collect()
    }

    /// Seated members that give keys out and let others in, and can write.
    pub(super) fn able_stewards(&self) -> Vec<usize> {
        self.stewards().into_iter().filter(|number| self.seat(*number) == Seat::In).collect()
    }

    /// Once all is well, all meet at one place.
    pub(super) fn heal_group(&mut self) {
        if self.group.is_none() {
            return;
        }
        let left = self.who_is_left();
        if !left.contains(&self.host) {
            self.host = left.first().copied().unwrap_or(self.host);
        }
        let hub = self.hub();
        for number in 0..self.machines.len() {
            let machine = &mut self.machines[number];
            machine.turned_away = false;
            if number != hub && !machine.targets.iter().any(|target| target.machine == hub) {
                machine.targets.push(Target::new(hub));
                let slot = machine.targets.len() - 1;
                self.schedule(self.now + SECOND, Event::Dial { machine: number, slot });
            }
        }
    }

    /// Nobody honest has the first block of the ledger any more, so that nobody can show that it belongs.
    pub(super) fn is_ledger_lost(&self) -> bool {
        let genesis = BTreeSet::from_iter(self.honest().filter_map(|number| {
            let durable = self.machines[number].disk.durable();
            let first = durable.after(None, crate::store::Page::ONE).ok()?.into_iter().next()?;
            (first.summary.height == 1).then_some(first.summary.hash)
        }));
        genesis.is_empty()
    }

    /// The honest machines that belong by all that the honest have on their disks, and of which nobody knows that they were
    /// removed.
    fn who_is_left(&self) -> Vec<usize> {
        let papers = |number: &usize| self.machines[*number].papers.as_ref();
        let invited: Vec<usize> = (0..self.plan.honest).filter(|number| papers(number).is_some()).collect();
        let joins = invited.iter().filter_map(|number| papers(number)?.join.clone());
        let stored = |number: usize| all(&*self.machines[number].disk.durable()).into_iter().map(|record| record.bytes);
        let blocks = self.honest().flat_map(stored).chain(joins).collect();
        let (config, clock) = (Config::new(self.ledger, Key::simulated(0), [0; 32]), self.truth.latest.plus(MINUTE));
        let mut effects = Vec::new();
        let Ok(mut replica) = Replica::restore(config, MemoryStore::default(), &[], clock, &mut effects) else {
            return invited;
        };
        if replica.handle(clock, Input::import(0, blocks), &mut effects).is_err() {
            return invited;
        }
        let replicas = || self.honest().filter_map(|number| self.machines[number].replica.as_ref());
        let belongs = |number: &usize| {
            let node = self.machines[*number].key.node();
            replica.has_come_in(&node) && !replica.is_removed(&node) && !replicas().any(|other| other.is_removed(&node))
        };
        invited.into_iter().filter(belongs).collect()
    }

    /// The end of a seed with a members' ledger: all that belong get in step and have the newest key, whoever is invited
    /// comes in, and what is written then reaches all of them and nobody else.
    pub(super) fn recover_group(&mut self) {
        if self.is_ledger_lost() {
            return self.report.deed("ledger_lost");
        }
        let began = self.now;
        let in_step = self.run_until(began + CONVERGE, Self::is_converged);
        self.report.converged = self.now - began;
        if !in_step && self.who_is_left().is_empty() {
            // Relays do not dial each other.
            return self.report.deed("nobody_left");
        }
        if !in_step {
            return self.check_end();
        }
        // Whoever would have given keys out may be gone; another one does it within some time.
        self.run_until(self.now + REKEY_WITHIN + 2 * SECOND, |_| false);
        let outside: Vec<usize> = (0..self.plan.honest).filter(|number| self.is_excluded(*number)).collect();
        // Not one that takes itself for a member and is turned away.
        let steward = self.random.pick(&self.able_stewards()).copied();
        let able = steward.is_some();
        if let Some(steward) = steward.filter(|_| !outside.is_empty()) {
            outside.iter().for_each(|number| self.machines[*number].turned_away = true);
            self.invite_by(steward, Some(outside));
        }
        let began = self.now;
        let all_in = |world: &Self| {
            let writes = |replica: &Replica<_>| !replica.lacks_epoch_key();
            let has_key = |number: usize| world.machines[number].replica.as_ref().is_some_and(writes);
            let within = |number: usize| !world.is_excluded(number) && has_key(number);
            world.is_converged() && (!able || (0..world.plan.honest).all(within))
        };
        let came_in = self.run_until(began + CONVERGE, all_in);
        self.check("who_is_invited_comes_in", came_in, Self::who_is_out);
        if came_in {
            let latest = self.machines.iter().map(|machine| machine.clock(self.now)).max();
            // Where nobody is left who gives keys out, the old ones stay.
            self.group.iter_mut().for_each(|group| group.settled = latest.filter(|_| able));
            for machine in 0..self.plan.honest {
                self.schedule(self.now + SECOND, Event::Append { machine });
            }
            self.run_until(self.now + REST, |_| false);
            let began = self.now;
            self.run_until(began + CONVERGE, |world| world.is_converged() && world.unanswered().is_none());
        }
        self.check_end();
    }

    /// An honest machine that does not belong, or can write no more.
    fn is_excluded(&self, number: usize) -> bool {
        let machine = &self.machines[number];
        let Some(hub) = &self.machines[self.hub()].replica else { return true };
        let node = machine.key.node();
        let writes = !hub.frozen().contains_key(&node) && !machine.replica.as_ref().is_some_and(Replica::has_lost_own);
        !machine.retired && (!hub.has_come_in(&node) || !writes)
    }

    fn who_is_out(&self) -> String {
        let mut lines = Vec::new();
        for number in 0..self.plan.honest {
            let lacks = self.machines[number].replica.as_ref().map(Replica::lacks_epoch_key);
            if self.is_excluded(number) || lacks != Some(false) {
                lines.push(alloc::format!(
                    "machine {number}: {:?}, excluded {}, turned away {}, lacks key {lacks:?}",
                    self.seat(number),
                    self.is_excluded(number),
                    self.machines[number].turned_away,
                ));
            }
        }
        alloc::format!("{} | {}", lines.join("; "), self.differences())
    }
}
