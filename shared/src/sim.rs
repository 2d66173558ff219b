//! The simulator: one seed is one network of real replicas, in one thread, with a virtual clock that skips to the next
//! event, and with every fault that the world has in store (after FoundationDB's simulation and TigerBeetle's VOPR).
//!
//! First anything may go wrong, and safety is checked at every step. Then everything is well again, and all that is honest
//! has to be in step within [`CONVERGE`]. No state outside the seed has a say: the same seed gives the same trace on every
//! machine, in every build. A seed stands for two networks: [`run`] is about an open ledger, [`run_members`] about a members'
//! ledger, with all that and with people who come and go (`group`).

mod belongs;
mod chaos;
mod disk;
mod doors;
mod group;
mod large;
mod lies;
mod machine;
mod masks;
mod mesh;
mod model;
mod network;
mod plan;
mod puppets;
mod random;
mod report;
mod rules;
mod seats;
mod secrets;
mod truth;

use alloc::{collections::BTreeMap, string::String, vec::Vec};

pub use large::large;
pub use mesh::{Mesh, Spread, mesh};
pub use report::{Report, Violation};

use self::{
    disk::all,
    group::Group,
    lies::Liars,
    machine::{BEGIN, Kind, Machine, Target},
    network::{Connection, Packet, Path},
    plan::Plan,
    random::{Random, Trace},
    rules::Rules,
    truth::Truth,
};
use crate::{
    block::open_ledger,
    effect::Input,
    id::LedgerId,
    key::Key,
    limits::OWN_LANE,
    time::{MINUTE, SECOND},
};

/// µs in which all that is honest must be in step once everything is well.
pub const CONVERGE: u64 = 30 * SECOND;
/// µs between two looks at whether all are in step.
const LOOK: u64 = SECOND / 10;
/// µs in which everything that was to be written after the healing is written.
const REST: u64 = OWN_LANE + 3 * SECOND;
/// Events of one seed. More means that machines keep each other busy for ever.
const EVENTS: u64 = 20_000_000;
/// So that the two networks of a seed are not alike.
const OF_MEMBERS: u64 = 0x6d65_6d62_6572_7321;
/// Stands apart from the number of a member.
const RELAY_KEY: u64 = 1000;
const SPARE_KEY: u64 = 2000;

/// Something that happens at a time.
#[derive(Debug, Clone)]
enum Event {
    Turn {
        machine: usize,
    },
    Wake {
        machine: usize,
    },
    Packet {
        connection: usize,
        side: usize,
        packet: Packet,
    },
    Dial {
        machine: usize,
        slot: usize,
    },
    Start {
        machine: usize,
    },
    Unblock {
        from: usize,
        to: usize,
    },
    Append {
        machine: usize,
    },
    /// Somebody writes as soon as the machine runs.
    Write {
        machine: usize,
    },
    Lie {
        machine: usize,
    },
    Fault,
    /// Somebody changes who belongs.
    Govern,
    /// Somebody gives a link to those outside.
    Invite,
    /// A guest uses its link.
    Arrive {
        machine: usize,
        ticket: usize,
    },
}

struct World {
    plan: Plan,
    random: Random,
    now: u64,
    ledger: LedgerId,
    machines: Vec<Machine>,
    connections: Vec<Connection>,
    paths: BTreeMap<(usize, usize), Path>,
    events: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    keys: u64,
    healed: bool,
    /// Where all meet once everything is well and there is no relay.
    host: usize,
    liars: Liars,
    /// The ledger is a members' ledger.
    group: Option<Group>,
    truth: Truth,
    rules: Rules,
    trace: Trace,
    report: Report,
    seed: u64,
    /// In a mesh that is measured.
    carried: Option<mesh::Carried>,
    /// In a mesh that is measured: how often somebody was taken for gone that is not.
    false_alarms: Option<u64>,
}

/// Runs the network of one seed to its end: an open ledger.
pub fn run(seed: u64) -> Report {
    let mut random = Random::new(seed);
    let plan = Plan::draw(seed, &mut random);
    World::of(seed, plan, random, None).run()
}

/// Runs the other network of a seed to its end: a members' ledger.
pub fn run_members(seed: u64) -> Report {
    let mut random = Random::new(seed ^ OF_MEMBERS);
    let plan = Plan::draw(seed, &mut random);
    let group = Group::draw(plan.chaos, &mut random);
    World::of(seed, plan, random, Some(group)).run()
}

impl World {
    fn run(mut self) -> Report {
        self.prepare();
        let end = self.plan.chaos;
        self.run_until(end, |_| false);
        self.recover();
        self.finish()
    }

    fn of(seed: u64, plan: Plan, random: Random, group: Option<Group>) -> Self {
        let mut world = Self {
            plan,
            random,
            now: 0,
            ledger: open_ledger("simulated"),
            machines: Vec::new(),
            connections: Vec::new(),
            paths: BTreeMap::new(),
            events: BTreeMap::new(),
            scheduled: 0,
            keys: 0,
            healed: false,
            host: 0,
            liars: Liars::default(),
            group,
            truth: Truth::default(),
            rules: Rules::default(),
            trace: Trace::default(),
            report: Report { seeds: 1, ..Report::new() },
            seed,
            carried: None,
            false_alarms: None,
        };
        world.populate();
        world.populate_group();
        world
    }

    /// A key that a member has not used yet.
    fn spare_key(&mut self, number: usize) -> Key {
        self.keys += 1;
        let key = self.key(SPARE_KEY + self.keys);
        self.truth.know(&key, number);
        self.machines[number].disk.add_owner(key.node());
        key
    }

    fn key(&self, number: u64) -> Key {
        if !self.plan.real_keys {
            return Key::simulated(number);
        }
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&number.to_be_bytes());
        Key::from_secret(&secret)
    }

    /// Members, liars and relays, and who dials whom.
    fn populate(&mut self) {
        let (honest, liars, relays) = (self.plan.honest, self.plan.liars, self.plan.relays);
        for number in 0..honest + liars + relays {
            let kind = match number {
                number if number < honest => Kind::Honest,
                number if number < honest + liars => Kind::Liar,
                _ => Kind::Relay,
            };
            let offset = if kind == Kind::Relay { RELAY_KEY } else { 0 };
            let key = self.key(offset + number as u64);
            if kind == Kind::Honest {
                self.truth.know(&key, number);
            }
            self.machines.push(Machine::new(kind, key));
            if kind == Kind::Honest {
                self.machines[number].disk.add_owner(self.machines[number].key.node());
                self.machines[number].successor = Some(self.spare_key(number));
            }
        }
        for number in 0..honest + liars {
            let mut targets: Vec<usize> = (honest + liars..honest + liars + relays).collect();
            if self.plan.direct && number > 0 {
                // Every member dials an honest one before it, so that the honest hang together without a liar.
                targets.push(self.random.index(number.min(honest)));
            }
            self.machines[number].targets = targets.into_iter().map(Target::new).collect();
        }
    }

    fn prepare(&mut self) {
        self.prepare_faults();
        self.prepare_group();
        for machine in 0..self.machines.len() {
            let at = self.random.below(5 * SECOND);
            self.schedule(at, Event::Start { machine });
        }
        for machine in 0..self.plan.honest {
            self.later(self.plan.append_every * self.plan.honest as u64, Event::Append { machine });
        }
        for machine in self.plan.honest..self.plan.honest + self.plan.liars {
            self.later(self.plan.lie_every, Event::Lie { machine });
        }
        self.later(self.plan.fault_every, Event::Fault);
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.scheduled += 1;
        self.events.insert((at.max(self.now), self.scheduled), event);
    }

    /// Schedules an event after a time that is `mean` on average.
    fn later(&mut self, mean: u64, event: Event) {
        let wait = self.random.below(2 * mean);
        self.schedule(self.now + wait, event);
    }

    /// Lets things happen until a time, or until `done` says so; looks every [`LOOK`].
    fn run_until(&mut self, end: u64, done: impl Fn(&Self) -> bool) -> bool {
        let mut look = self.now;
        while let Some((&(at, _), _)) = self.events.first_key_value() {
            if at > end || self.report.violations.len() > 3 {
                break;
            }
            if at >= look {
                if done(self) {
                    return true;
                }
                look = at + LOOK;
            }
            self.now = at;
            if let Some((_, event)) = self.events.pop_first() {
                self.happen(event);
            }
            if self.scheduled > EVENTS {
                self.check("converges", false, |_| String::from("the machines keep each other busy for ever"));
                break;
            }
        }
        self.now = end.max(self.now);
        done(self)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Turn { machine } => self.turn(machine),
            Event::Wake { machine } => self.wake(machine),
            Event::Packet { connection, side, packet } => self.arrive(connection, side, packet),
            Event::Dial { machine, slot } => self.dial(machine, slot),
            Event::Start { machine } => self.start(machine, &[]),
            Event::Unblock { from, to } => self.unblock(from, to),
            Event::Append { machine } => {
                self.append(machine);
                if !self.healed {
                    self.later(self.plan.append_every * self.plan.honest as u64, Event::Append { machine });
                }
            }
            Event::Write { machine } => self.append(machine),
            Event::Lie { machine } if !self.healed => {
                self.lie(machine);
                self.later(self.plan.lie_every, Event::Lie { machine });
            }
            Event::Fault if !self.healed => {
                self.strike();
                self.later(self.plan.fault_every, Event::Fault);
            }
            Event::Govern if !self.healed => self.govern(),
            Event::Invite if !self.healed => self.invite(),
            Event::Arrive { machine, ticket } => self.come_in(machine, ticket),
            Event::Lie { .. } | Event::Fault | Event::Govern | Event::Invite => {}
        }
    }

    /// Somebody writes something at a machine.
    fn append(&mut self, number: usize) {
        let entries = if self.random.per_mille(100) { self.random.between(1, 300) } else { self.random.between(1, 3) };
        let marked = self.group.is_some();
        let payload = |random: &mut Random, large: bool| {
            let len = if large && random.per_mille(200) { random.between(1000, 60_000) } else { random.between(2, 60) };
            if marked {
                secrets::plaintext(len as usize)
            } else {
                alloc::vec![b'0' + random.below(10) as u8; len as usize]
            }
        };
        let payloads = (0..entries).map(|_| payload(&mut self.random, self.plan.large && entries < 4)).collect();
        self.write(number, payloads);
    }

    fn write(&mut self, number: usize, payloads: Vec<Vec<u8>>) {
        let machine = &mut self.machines[number];
        machine.next_token += 1;
        let token = machine.next_token;
        self.note_asked(number, token);
        self.input(number, Input::Append { token, payloads }, false);
    }

    /// Everything is well again: all that is honest gets in step, and what is written then reaches all.
    fn recover(&mut self) {
        self.heal();
        // Clocks are right, and the time of every block has come: of those too that nobody was told of before a crash.
        for machine in &self.machines[..self.plan.honest] {
            let ends = all(&*machine.disk.durable()).iter().map(|record| record.summary.end()).max();
            self.truth.latest = self.truth.latest.max(ends.unwrap_or_default());
        }
        self.note_joins();
        let ahead = self.truth.latest.micros().saturating_sub(BEGIN + self.now);
        let clock = if ahead > 0 { (ahead + MINUTE) as i64 } else { 0 };
        for number in 0..self.machines.len() {
            self.step_clock(number, clock);
        }
        if self.group.is_some() {
            return self.recover_group();
        }
        let began = self.now;
        let in_step = self.run_until(began + CONVERGE, Self::is_converged);
        self.report.converged = self.now - began;
        if in_step {
            for machine in 0..self.plan.honest {
                self.later(SECOND, Event::Append { machine });
            }
            // Long enough for a start that waits for its own lane, so that nothing is held back any more.
            let rest = self.now + REST;
            self.run_until(rest, |_| false);
            // Somebody may have written a moment ago.
            let began = self.now;
            self.run_until(began + CONVERGE, |world| world.is_converged() && world.unanswered().is_none());
        }
        self.check_end();
    }

    fn finish(mut self) -> Report {
        self.report.node_micros = self.now * self.machines.len() as u64;
        self.report.trace = self.trace.0;
        self.report
    }

    fn violation(&mut self, invariant: &'static str, what: String) {
        let what = alloc::format!("at {}.{:06} s: {what}", self.now / SECOND, self.now % SECOND);
        self.report.violations.push(Violation { seed: self.seed, invariant, what });
    }
}
