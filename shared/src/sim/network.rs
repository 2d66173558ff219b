//! Paths between machines, and connections over them: ordered and reliable until they break, as WebSocket is; and broken
//! in the ways in which a connection can be.

use alloc::{collections::VecDeque, vec::Vec};

use super::{Event, World, plan::Fault, random::Random};
use crate::{
    announce::Address,
    effect::{DialId, Input, LinkId, Role},
    time::SECOND,
};

/// What goes over a connection.
#[derive(Debug, Clone)]
pub(super) enum Packet {
    /// A binary frame.
    Frame {
        bytes: Vec<u8>,
        /// It breaks a rule: whoever takes it in stores nothing of it.
        refusable: bool,
    },
    Ping,
    Pong,
    /// The dialler hears that the connection stands, or the acceptor that somebody dialled.
    Opened(Role),
    Close,
}

/// One direction between two machines.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Path {
    /// µs.
    pub(super) delay: u64,
    /// µs, 0 to this are added.
    pub(super) jitter: u64,
    /// 0: as wide as anyone needs.
    pub(super) bytes_per_second: u64,
    /// Frames of a thousand that are lost, come twice, or come late.
    pub(super) loss: u64,
    pub(super) duplicate: u64,
    pub(super) reorder: u64,
    /// Nothing comes through before that time.
    pub(super) blocked: bool,
}

/// One side of a connection, and what is under way to it.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) machine: usize,
    pub(super) open: bool,
    /// Its machine has heard that the connection stands.
    pub(super) told: bool,
    /// When the path to this side is free again, and when the last packet arrives.
    free: u64,
    last: u64,
    held: VecDeque<Packet>,
}

/// Why somebody dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// It was told to: the place among its targets.
    Slot(usize),
    /// Its replica wants it.
    Dial(DialId),
}

#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) ends: [End; 2],
    pub(super) by: Wanted,
    /// Something was lost on it, which no connection survives once the network is well.
    pub(super) broken: bool,
}

/// Where a machine is reached by who meets it.
pub(super) fn address(machine: usize) -> Address {
    let text = alloc::format!("ws://machine-{machine}:1");
    let Ok(address) = text.parse() else { unreachable!("this is an address") };
    address
}

pub(super) fn link(connection: usize, side: usize) -> LinkId {
    LinkId((connection * 2 + side) as u64)
}

pub(super) fn side(link: LinkId) -> (usize, usize) {
    (link.0 as usize / 2, link.0 as usize % 2)
}

impl World {
    /// A machine tries to reach one of its targets.
    pub(super) fn dial(&mut self, dialler: usize, slot: usize) {
        let machine = &self.machines[dialler];
        if machine.replica.is_none() || machine.targets[slot].connection.is_some() || machine.retired {
            return;
        }
        let acceptor = self.answers(machine.targets[slot].machine, dialler);
        if !self.reaches(dialler, acceptor) {
            let wait = self.random.between(1_000, 5 * SECOND);
            self.dial_failed(dialler, slot, wait);
            return;
        }
        let number = self.connect(dialler, acceptor, Wanted::Slot(slot));
        let target = &mut self.machines[dialler].targets[slot];
        target.connection = Some(number);
        target.again = core::mem::replace(&mut target.tried, true);
    }

    /// A replica wants one of these addresses dialled.
    pub(super) fn meet(&mut self, dialler: usize, dial: DialId, addresses: &[Address]) {
        let acceptor = (0..self.plan.honest).find(|number| addresses.contains(&address(*number)));
        match acceptor.filter(|acceptor| *acceptor != dialler && self.reaches(dialler, *acceptor)) {
            Some(acceptor) => _ = self.connect(dialler, acceptor, Wanted::Dial(dial)),
            None => self.input(dialler, Input::Unreachable { dial }, false),
        }
    }

    fn reaches(&mut self, dialler: usize, acceptor: usize) -> bool {
        let target = &self.machines[acceptor];
        target.replica.is_some()
            && !target.paused(self.now)
            && !self.path(dialler, acceptor).blocked
            && !self.path(acceptor, dialler).blocked
    }

    fn connect(&mut self, dialler: usize, acceptor: usize, by: Wanted) -> usize {
        let end =
            |machine| End { machine, open: true, told: false, free: self.now, last: self.now, held: VecDeque::new() };
        let ends = [end(dialler), end(acceptor)];
        let number = self.connections.len();
        self.connections.push(Connection { ends, by, broken: false });
        self.transmit(number, 1, Packet::Opened(Role::Accepted));
        self.transmit(number, 0, Packet::Opened(Role::Dialled));
        number
    }

    /// The machine that answers at an address; a relay with two views has two.
    fn answers(&self, target: usize, dialler: usize) -> usize {
        match self.machines[target].twin {
            Some(twin) if dialler % 2 == 1 && !self.machines[twin].retired => twin,
            _ => target,
        }
    }

    /// A machine sends on a link of its own.
    pub(super) fn send(&mut self, from: LinkId, packet: Packet) {
        if let Packet::Frame { bytes, .. } = &packet {
            self.check_sent(bytes);
        }
        let (number, side) = side(from);
        if self.connections[number].ends[side].open {
            self.transmit(number, 1 - side, packet);
        }
    }

    pub(super) fn path(&mut self, from: usize, to: usize) -> &Path {
        let (plan, healed) = (&self.plan, self.healed);
        let random = &mut self.random;
        let counts = &mut self.report;
        self.paths.entry((from, to)).or_insert_with(|| {
            let mut path = Path { delay: random.between(50, plan.delay), ..Path::default() };
            path.jitter = if plan.jitter > 0 { random.below(plan.jitter) } else { 0 };
            counts.fault(Fault::Latency);
            if healed {
                return Path { delay: path.delay.min(SECOND / 10), ..Path::default() };
            }
            if plan.has(Fault::Narrow) && random.per_mille(300) {
                path.bytes_per_second = random.between(2_000, 100_000);
                counts.fault(Fault::Narrow);
            }
            let share = |fault, random: &mut Random| {
                if plan.has(fault) && random.per_mille(300) { random.between(1, 30) } else { 0 }
            };
            path.loss = share(Fault::Loss, random);
            path.duplicate = share(Fault::Duplicate, random);
            path.reorder = share(Fault::Reorder, random);
            path
        })
    }

    /// Brings a packet on its way to one side of a connection.
    pub(super) fn transmit(&mut self, number: usize, side: usize, packet: Packet) {
        let ends = &self.connections[number].ends;
        let (from, to) = (ends[1 - side].machine, ends[side].machine);
        let healthy = self.healed;
        let path = *self.path(from, to);
        if path.blocked {
            self.connections[number].ends[side].held.push_back(packet);
            return;
        }
        let size = match &packet {
            Packet::Frame { bytes, .. } => bytes.len() as u64 + 60,
            _ => 60,
        };
        let end = &mut self.connections[number].ends[side];
        end.free = end.free.max(self.now) + (size * SECOND).checked_div(path.bytes_per_second).unwrap_or(0);
        let mut at = end.free + path.delay + self.random.below(path.jitter + 1);
        let frame = matches!(packet, Packet::Frame { .. }) && !healthy;
        if frame && self.random.per_mille(path.loss) {
            self.report.fault(Fault::Loss);
            self.connections[number].broken = true;
            return;
        }
        if frame && self.random.per_mille(path.reorder) {
            self.report.fault(Fault::Reorder);
            self.connections[number].broken = true;
            at += self.random.below(SECOND);
        } else {
            at = at.max(end.last);
            end.last = at;
        }
        if frame && self.random.per_mille(path.duplicate) {
            self.report.fault(Fault::Duplicate);
            self.connections[number].broken = true;
            let again = at + self.random.below(SECOND);
            self.schedule(again, Event::Packet { connection: number, side, packet: packet.clone() });
        }
        self.schedule(at, Event::Packet { connection: number, side, packet });
    }

    /// A path opens again: what was held comes through, or the connection is found dead.
    pub(super) fn unblock(&mut self, from: usize, to: usize) {
        let Some(path) = self.paths.get_mut(&(from, to)).filter(|path| path.blocked) else { return };
        path.blocked = false;
        for number in 0..self.connections.len() {
            for side in 0..2 {
                let ends = &mut self.connections[number].ends;
                if (ends[1 - side].machine, ends[side].machine) != (from, to) || ends[side].held.is_empty() {
                    continue;
                }
                let held = core::mem::take(&mut ends[side].held);
                if self.random.per_mille(500) {
                    held.into_iter().for_each(|packet| self.transmit(number, side, packet));
                } else {
                    self.cut(number);
                }
            }
        }
    }

    /// Breaks a connection; both sides hear of it, if the way to them is open.
    pub(super) fn cut(&mut self, number: usize) {
        for side in 0..2 {
            if self.connections[number].ends[side].open {
                self.transmit(number, side, Packet::Close);
            }
        }
    }

    /// What still squeezes through a narrow path would do so long after the path is wide: those connections end.
    pub(super) fn break_narrow(&mut self) {
        for connection in &mut self.connections {
            let machines = [connection.ends[0].machine, connection.ends[1].machine];
            for side in 0..2 {
                let way = (machines[1 - side], machines[side]);
                if self.paths.get(&way).is_some_and(|path| path.bytes_per_second > 0) {
                    connection.broken = true;
                    connection.ends[side].free = self.now;
                    connection.ends[side].last = self.now;
                }
            }
        }
    }

    /// A packet has arrived.
    pub(super) fn arrive(&mut self, number: usize, side: usize, packet: Packet) {
        let connection = &self.connections[number];
        let machine = connection.ends[side].machine;
        let alive = connection.ends[side].open && self.machines[machine].replica.is_some();
        if !alive {
            // Nobody is there for it: the other side hears that, once.
            self.connections[number].ends[side].open = false;
            if !matches!(packet, Packet::Close) && self.connections[number].ends[1 - side].open {
                self.transmit(number, 1 - side, Packet::Close);
            }
            return;
        }
        match packet {
            Packet::Close => self.connections[number].ends[side].open = false,
            Packet::Opened(_) => self.connections[number].ends[side].told = true,
            Packet::Frame { .. } | Packet::Ping | Packet::Pong => {}
        }
        self.take_in(machine, number, side, packet);
    }
}
