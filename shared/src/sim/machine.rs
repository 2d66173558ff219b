//! One machine: a real replica on a disk that fails, and the driver around it. It does what the node's turn thread and the
//! relay's object do: take what waits, commit once, and only then act.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{
    Event, World,
    disk::{Disk, DiskError, Failure},
    group::Papers,
    network::{Packet, Wanted, address, link, side},
    plan::Fault,
};
use crate::{
    effect::{CloseReason, Effect, Input, LinkId, LinkPath, Role},
    id::{BlockHash, NodeId},
    key::Key,
    limits::HEADS_UNASKED,
    repair::{mend, scan},
    replica::{Config, OpenError, Replica, ReplicaError},
    store::MemoryStore,
    time::{Backoff, MINUTE, SECOND, Timestamp},
};

/// µs since 1970 when a simulation begins.
pub(super) const BEGIN: u64 = 1_800_000_000_000_000;
/// A driver looks at its clock at least so often, because a wall clock may jump.
const LONGEST_SLEEP: u64 = 5 * SECOND;
/// In the simulator a clock that jumps wakes its machine, so that others can sleep longer.
const LONGEST_WAKE: u64 = 60 * MINUTE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Honest,
    Liar,
    Relay,
}

/// Whom a machine dials, for ever.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) machine: usize,
    pub(super) connection: Option<usize>,
    /// The first dial since the start has been made.
    pub(super) tried: bool,
    /// The connection is not from that dial.
    pub(super) again: bool,
    backoff: Backoff,
}

impl Target {
    pub(super) fn new(machine: usize) -> Self {
        Self { machine, connection: None, tried: false, again: false, backoff: Backoff::default() }
    }
}

pub(super) struct Machine {
    pub(super) kind: Kind,
    pub(super) key: Key,
    /// The key that it goes on with when its own lane is forked.
    pub(super) successor: Option<Key>,
    /// Blocks on its disk in which a bit turned over.
    pub(super) damaged: BTreeSet<BlockHash>,
    pub(super) disk: Disk,
    pub(super) replica: Option<Replica<Disk>>,
    pub(super) starts: u64,
    pub(super) started: u64,
    /// µs by which its clock is off.
    pub(super) clock: i64,
    pub(super) paused_until: u64,
    inbox: Vec<(Input, bool)>,
    /// When its next turn is, and when it wants to be woken.
    turn_at: Option<u64>,
    wake_at: Option<u64>,
    pub(super) targets: Vec<Target>,
    /// Links whose peer has proved its key, and since when.
    pub(super) up: BTreeMap<LinkId, (NodeId, u64)>,
    remembered: BTreeMap<LinkId, Vec<u8>>,
    /// An older copy of the disk.
    pub(super) backup: Option<MemoryStore>,
    /// A relay's other half, which has the same key and other blocks.
    pub(super) twin: Option<usize>,
    /// A relay that keeps the blocks of this author to itself.
    pub(super) withholds: Option<NodeId>,
    /// Switched off for good.
    pub(super) retired: bool,
    pub(super) next_token: u64,
    /// How it came into a members' ledger.
    pub(super) papers: Option<Papers>,
    /// A liar to whom nobody gave a link.
    pub(super) stranger: bool,
    /// Somebody honest told it that it is no member, and nobody let it in since.
    pub(super) turned_away: bool,
    /// Whom it knows to be removed, as far as its disk was not exchanged since.
    pub(super) knows_removed: BTreeSet<NodeId>,
}

impl Machine {
    pub(super) fn new(kind: Kind, key: Key) -> Self {
        Self {
            kind,
            key,
            successor: None,
            damaged: BTreeSet::new(),
            disk: Disk::default(),
            replica: None,
            starts: 0,
            started: 0,
            clock: 0,
            paused_until: 0,
            inbox: Vec::new(),
            turn_at: None,
            wake_at: None,
            targets: Vec::new(),
            up: BTreeMap::new(),
            remembered: BTreeMap::new(),
            backup: None,
            twin: None,
            withholds: None,
            retired: false,
            next_token: 0,
            papers: None,
            stranger: false,
            turned_away: false,
            knows_removed: BTreeSet::new(),
        }
    }

    pub(super) fn node(&self) -> NodeId {
        self.replica.as_ref().map_or_else(|| self.key.node(), Replica::node)
    }

    pub(super) fn paused(&self, now: u64) -> bool {
        self.paused_until > now
    }

    /// What its clock says.
    pub(super) fn clock(&self, now: u64) -> Timestamp {
        let micros = (BEGIN + now).saturating_add_signed(self.clock);
        Timestamp::from_micros(micros).unwrap_or(Timestamp::MAX)
    }

    /// Tells the truth as far as it can: its word counts in the checks.
    pub(super) fn is_honest(&self) -> bool {
        !self.retired && self.kind != Kind::Liar && self.twin.is_none() && self.withholds.is_none()
    }
}

impl World {
    /// The process starts and reads its disk. `links` outlived it.
    pub(super) fn start(&mut self, number: usize, links: &[(LinkId, Vec<u8>)]) {
        if self.machines[number].replica.is_some() || self.machines[number].retired || !self.may_start(number) {
            return;
        }
        if self.strikes(Fault::CrashInRecovery, 300) {
            let after = self.random.below(12);
            self.machines[number].disk.fail(Some(Failure { after, error: DiskError::Io, written: false }));
        }
        self.note_unseen(number);
        let seed = self.random.bytes();
        let (now, ledger, members) = (self.now, self.ledger, self.group.is_some());
        let machine = &mut self.machines[number];
        machine.starts += 1;
        machine.started = now;
        machine.up.clear();
        machine.inbox.clear();
        machine.turn_at = None;
        machine.wake_at = None;
        let honest = machine.kind == Kind::Honest;
        // Liars hold keys too: what a removed one reads is looked at.
        let writes = honest || (members && machine.kind == Kind::Liar);
        let dials = if writes { machine.targets.len() as u32 } else { 0 };
        machine.targets.iter_mut().for_each(|target| target.tried = false);
        let (key, successor) = (machine.key.clone(), machine.successor.clone());
        let Papers { join, epoch } = machine.papers.clone().unwrap_or_default();
        let meets = self.plan.meets && machine.kind == Kind::Honest && !machine.stranger;
        let far = true;
        let slices = writes;
        let heads_unasked = if self.plan.parts { 0 } else { HEADS_UNASKED };
        let config = Config {
            writes,
            dials,
            successor,
            join,
            epoch,
            meets,
            far,
            slices,
            heads_unasked,
            ..Config::new(ledger, key, seed)
        };
        let mut effects = Vec::new();
        let clock = machine.clock(now);
        let opened = Replica::restore(config, machine.disk.clone(), links, clock, &mut effects);
        let mut replica = match opened {
            Ok(replica) => replica,
            Err(OpenError::Damaged(_) | OpenError::Store(DiskError::Checksum)) => return self.damaged(number),
            Err(_) => return self.ended(number),
        };
        let committed = replica.commit(clock, &mut effects);
        machine.replica = Some(replica);
        for (link, state) in links {
            let peer = crate::sync::Link::load(state).and_then(|(link, _)| link.peer());
            machine.up.extend(peer.map(|peer| (*link, (peer, now))));
        }
        match committed {
            Ok(()) => {}
            Err(ReplicaError::Damaged(_) | ReplicaError::Store(DiskError::Checksum)) => return self.damaged(number),
            Err(ReplicaError::Store(_)) => return self.ended(number),
        }
        self.perform(number, effects);
        if meets {
            self.input(number, Input::Reachable { addresses: alloc::vec![address(number)] }, false);
        }
        if honest && !self.healed && self.random.per_mille(500) {
            let wait = self.random.below(SECOND);
            self.schedule(now + wait, Event::Write { machine: number });
        }
        for slot in 0..self.machines[number].targets.len() {
            if self.machines[number].targets[slot].connection.is_none() {
                let wait = self.random.below(SECOND / 10);
                self.schedule(now + wait, Event::Dial { machine: number, slot });
            }
        }
        self.plan_wake(number);
    }

    /// The process is gone; its operating system says so to whoever is connected.
    pub(super) fn ended(&mut self, number: usize) {
        self.machines[number].disk.crash();
        self.down(number, true);
        let wait = self.random.between(SECOND / 10, if self.healed { SECOND } else { 30 * SECOND });
        self.schedule(self.now + wait, Event::Start { machine: number });
    }

    /// The process met a damaged block and ended; somebody lets it repair its store.
    pub(super) fn damaged(&mut self, number: usize) {
        let known = !self.machines[number].damaged.is_empty();
        self.check("no_damage", known, |_| alloc::format!("machine {number} finds damage on a sound disk"));
        self.ended(number);
        let ledger = self.ledger;
        let disk = &mut self.machines[number].disk;
        let mended = scan(disk, &ledger, |_, _| {}).and_then(|found| mend(disk, &found));
        self.check("no_damage", mended.is_ok(), |_| alloc::format!("machine {number} cannot be mended"));
    }

    /// The process is gone, and its connections with it.
    pub(super) fn down(&mut self, number: usize, told: bool) {
        let machine = &mut self.machines[number];
        machine.replica = None;
        machine.up.clear();
        machine.remembered.clear();
        machine.inbox.clear();
        machine.disk.fail(None);
        machine.targets.iter_mut().for_each(|target| target.connection = None);
        for connection in 0..self.connections.len() {
            for side in 0..2 {
                let end = &mut self.connections[connection].ends[side];
                if end.machine == number && end.open {
                    end.open = false;
                    if told && self.connections[connection].ends[1 - side].open {
                        self.transmit(connection, 1 - side, Packet::Close);
                    }
                }
            }
        }
    }

    /// A Durable Object that has nothing to do goes to sleep and wakes up: disk and connections stay, memory does not.
    pub(super) fn sleep(&mut self, number: usize) -> bool {
        let machine = &mut self.machines[number];
        if !machine.inbox.is_empty() || machine.replica.take().is_none() {
            return false;
        }
        let states = &machine.remembered;
        let open = self.connections.iter().enumerate().flat_map(|(number, connection)| {
            connection.ends.iter().enumerate().map(move |(side, end)| (link(number, side), end))
        });
        let links: Vec<(LinkId, Vec<u8>)> = open
            .filter(|(_, end)| end.machine == number && end.open && end.told)
            .map(|(link, _)| (link, states.get(&link).cloned().unwrap_or_default()))
            .collect();
        self.start(number, &links);
        true
    }

    pub(super) fn take_in(&mut self, number: usize, connection: usize, side: usize, packet: Packet) {
        let link = link(connection, side);
        let (input, refusable) = match packet {
            Packet::Frame { bytes, refusable } => {
                self.note_carried(connection, side, &bytes);
                if self.machines[number].kind == Kind::Liar && self.liar_answers(number, link, &bytes) {
                    return;
                }
                (Input::Frame { link, bytes }, refusable)
            }
            Packet::Ping => (Input::Ping { link }, false),
            Packet::Pong => (Input::Pong { link }, false),
            Packet::Opened(role) => match self.connections[connection].by {
                Wanted::Slot(_) => (Input::relay_opened(link, role), false),
                Wanted::Dial(dial) => {
                    let dial = (role == Role::Dialled).then_some(dial);
                    (Input::LinkOpened { link, role, path: LinkPath::WebSocket, dial }, false)
                }
            },
            Packet::Close => {
                self.hung_up(number, connection, side);
                (Input::LinkClosed { link }, false)
            }
        };
        self.input(number, input, refusable);
    }

    /// An input waits for the machine's next turn.
    pub(super) fn input(&mut self, number: usize, input: Input, refusable: bool) {
        let busy = self.random.below(400);
        let machine = &mut self.machines[number];
        if machine.replica.is_none() {
            return;
        }
        machine.inbox.push((input, refusable));
        if machine.turn_at.is_none() {
            let at = machine.paused_until.max(self.now) + busy;
            machine.turn_at = Some(at);
            self.schedule(at, Event::Turn { machine: number });
        }
    }

    /// The dialling side of a connection is gone: it dials again.
    fn hung_up(&mut self, number: usize, connection: usize, side: usize) {
        self.machines[number].remembered.remove(&link(connection, side));
        // What a replica wanted it wants again by itself.
        if let (0, Wanted::Slot(slot)) = (side, self.connections[connection].by) {
            // Whoever was told that it does not belong does not come back at once.
            let away = self.machines[number].turned_away || self.machines[number].stranger;
            let wait =
                if away { self.random.between(SECOND, if self.healed { 2 * SECOND } else { 8 * SECOND }) } else { 0 };
            self.dial_failed(number, slot, wait);
        }
    }

    pub(super) fn dial_failed(&mut self, number: usize, slot: usize, after: u64) {
        let random = self.random.next();
        let target = &mut self.machines[number].targets[slot];
        target.connection = None;
        if !core::mem::replace(&mut target.tried, true) {
            self.input(number, Input::DialFailed, false);
        }
        let target = &mut self.machines[number].targets[slot];
        let at = self.now + after + target.backoff.wait(random);
        self.schedule(at, Event::Dial { machine: number, slot });
    }

    pub(super) fn wake(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        if machine.wake_at == Some(self.now) {
            machine.wake_at = None;
            self.input(number, Input::Wake, false);
        }
    }

    /// Keeps one wake-up, as a driver does.
    pub(super) fn plan_wake(&mut self, number: usize) {
        let now = self.now;
        let machine = &mut self.machines[number];
        let Some(due) = machine.replica.as_ref().and_then(Replica::next_wake) else { return };
        let sleep = due.since(machine.clock(now)).clamp(1, LONGEST_WAKE);
        let at = now + sleep;
        if machine.wake_at.is_none_or(|planned| planned > at || planned < now) {
            machine.wake_at = Some(at);
            self.schedule(at, Event::Wake { machine: number });
        }
    }

    /// A pause is over before its time: what waits is handled now.
    pub(super) fn catch_up(&mut self, number: usize) {
        if self.machines[number].turn_at.is_some() {
            self.machines[number].turn_at = Some(self.now);
            self.schedule(self.now, Event::Turn { machine: number });
        }
    }

    /// Takes all that waits, handles it, commits once, then acts.
    pub(super) fn turn(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        if machine.turn_at != Some(self.now) {
            return;
        }
        if machine.paused(self.now) {
            let at = machine.paused_until;
            machine.turn_at = Some(at);
            return self.schedule(at, Event::Turn { machine: number });
        }
        machine.turn_at = None;
        let Some(mut replica) = machine.replica.take() else { return };
        let inputs = core::mem::take(&mut machine.inbox);
        let clock = machine.clock(self.now);
        let sole_refusable = matches!(inputs[..], [(_, true)]);
        let mut taken = (inputs.len() as u64, 0);
        let mut effects = Vec::new();
        let mut handled = Ok(());
        for (input, _) in inputs {
            self.report.inputs += 1;
            if let Input::Frame { bytes: frame, .. } = &input {
                self.trace.note_bytes(frame);
                taken.1 += frame.len() as u64;
            }
            handled = replica.handle(clock, input, &mut effects);
            if handled.is_err() {
                break;
            }
        }
        if handled.is_ok() {
            handled = replica.commit(clock, &mut effects);
        }
        self.trace.note(number as u64 ^ (self.now << 8));
        self.report.turns += 1;
        match handled {
            Ok(()) => {
                self.machines[number].replica = Some(replica);
                self.check_turn(number, taken, sole_refusable, &effects);
                self.check_effects(number, &effects);
                self.check_group_turn(number, &effects);
                self.perform(number, effects);
                self.plan_wake(number);
            }
            Err(ReplicaError::Damaged(_) | ReplicaError::Store(DiskError::Checksum)) => self.damaged(number),
            Err(ReplicaError::Store(_)) => {
                if mutant!(ActsAfterFailure) {
                    self.perform(number, effects);
                }
                self.ended(number);
            }
        }
    }

    /// Acts, now that the turn is durable.
    fn perform(&mut self, number: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { link, bytes } => {
                    let bytes = self.withheld(number, bytes);
                    let bytes = self.masked(number, link, bytes);
                    let bytes = self.disguised(number, link, bytes);
                    let bytes = self.kept_back(number, bytes);
                    self.send(link, Packet::Frame { bytes, refusable: false });
                }
                Effect::Ping { link } => self.send(link, Packet::Ping),
                Effect::Pong { link } => self.send(link, Packet::Pong),
                Effect::Close { link, reason } => {
                    let (connection, side) = side(link);
                    self.report.close(&reason);
                    if matches!(reason, CloseReason::Protocol(_)) {
                        self.check_closed(number, link, &reason);
                    }
                    if reason == CloseReason::NotAMember && (!self.healed || number == self.hub()) {
                        let peer = self.connections[connection].ends[1 - side].machine;
                        self.machines[peer].turned_away = true;
                    }
                    self.send(link, Packet::Close);
                    if self.connections[connection].ends[side].open {
                        self.connections[connection].ends[side].open = false;
                        self.hung_up(number, connection, side);
                    }
                }
                Effect::Remember { link, state } => {
                    self.machines[number].remembered.insert(link, state);
                }
                Effect::Appended { token: _, result } => self.truth_acked(number, result),
                Effect::Added(added) => self.truth_added(number, &added),
                Effect::PeerUp { link, node } => {
                    self.machines[number].up.insert(link, (node, self.now));
                    let (connection, side) = side(link);
                    if side == 0 {
                        if let Wanted::Slot(slot) = self.connections[connection].by {
                            self.machines[number].targets[slot].backoff.reset();
                        }
                    } else {
                        let peer = self.connections[connection].ends[0].machine;
                        self.machines[peer].turned_away = false;
                    }
                }
                Effect::PeerDown { link, .. } => {
                    self.machines[number].up.remove(&link);
                }
                Effect::Presence { node, online } => self.note_presence(&node, online),
                Effect::Held { height, nodes } => self.check_held(number, height, nodes),
                Effect::ForkDetected(evidence) => {
                    self.report.freezes += 1;
                    self.check_evidence(number, &evidence);
                }
                Effect::Removed(removal) => {
                    self.report.removals += 1;
                    self.machines[number].knows_removed.insert(removal.lane().0);
                }
                Effect::Granted { token, result } => self.granted(number, token, &result),
                Effect::Dial { dial, addresses } => {
                    self.report.dials += 1;
                    self.meet(number, dial, &addresses);
                }
                Effect::MembersChanged { .. } | Effect::Erased { .. } => {}
                Effect::OrderChanged { .. } => self.report.reordered += 1,
                Effect::Repaired { hash } => {
                    self.report.repaired += 1;
                    self.machines[number].damaged.remove(&hash);
                }
                Effect::Succeeded { old, new } => self.succeeded(number, old, new),
                Effect::Directed { .. } | Effect::Received { .. } => {}
                Effect::Imported { .. } | Effect::Progress { .. } => {}
            }
        }
    }

    /// Does what a node does with its key files: the successor takes the place of the old key, and has one of its own.
    fn succeeded(&mut self, number: usize, old: NodeId, new: NodeId) {
        let machine = &self.machines[number];
        let expected = machine.key.node() == old && machine.successor.as_ref().is_some_and(|key| key.node() == new);
        self.check("succession_is_needed", expected && self.truth.is_forked(&old), |_| {
            alloc::format!("machine {number} goes on with {new:?} after {old:?}, which signed no height twice")
        });
        self.report.successions += 1;
        let next = self.spare_key(number);
        let machine = &mut self.machines[number];
        if let Some(successor) = machine.successor.replace(next) {
            machine.key = successor;
        }
    }

    /// Steps a clock; the driver notices within its longest sleep.
    pub(super) fn step_clock(&mut self, number: usize, clock: i64) {
        self.machines[number].clock = clock;
        let at = self.now + self.random.below(LONGEST_SLEEP);
        self.machines[number].wake_at = Some(at);
        self.schedule(at, Event::Wake { machine: number });
    }
}
