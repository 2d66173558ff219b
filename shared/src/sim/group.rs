//! A members' ledger in the simulator: who invites, who comes in, who is removed, and when all that is in step again.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{
    Event, SPARE_KEY, World,
    machine::{BEGIN, Kind, Machine, Target},
    random::Random,
};
use crate::{
    block::Block,
    effect::{Input, Wish, WishError},
    id::{BlockHash, NodeId},
    key::Key,
    members::{Genesis, Join, Role},
    replica::{Config, Replica},
    seal::{EpochId, EpochKey},
    store::{MemoryStore, ReadStore},
    time::{SECOND, Timestamp},
};

/// Stands apart from the numbers of members, relays and spare keys.
const SECRET_KEY: u64 = 1_000_000;
const STRANGER_KEY: u64 = 2_000_000;
/// Before so much time is over, the founder has invited somebody.
const FIRST_INVITE: u64 = 20 * SECOND;
/// µs in which a guest uses its link.
const ARRIVAL: u64 = 20 * SECOND;

/// What a node keeps of how it came in.
#[derive(Debug, Clone, Default)]
pub(super) struct Papers {
    /// Its first block; `None` for the founder, whose first block is the genesis.
    pub(super) join: Option<Vec<u8>>,
    pub(super) epoch: Option<EpochKey>,
}

/// An invite link.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    pub(super) invite: BlockHash,
    /// The end of the invite's block.
    pub(super) end: Timestamp,
    pub(super) secret: Key,
    /// Liars know of it.
    pub(super) leaked: bool,
    epoch: Option<EpochKey>,
}

/// A link that an honest machine was asked for.
#[derive(Debug)]
struct Asked {
    secret: Key,
    guests: Vec<usize>,
}

/// What only a members' ledger has.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// µs between two changes of who belongs, on average.
    every: u64,
    strangers: usize,
    secrets: u64,
    pub(super) tickets: Vec<Ticket>,
    asked: BTreeMap<(usize, u64), Asked>,
    /// The first block of everybody who came in, or tried to, by a link that it was given.
    pub(super) genuine: BTreeMap<NodeId, Vec<u8>>,
    /// Every epoch key that a node ever held.
    pub(super) held: BTreeMap<NodeId, BTreeMap<EpochId, EpochKey>>,
    /// Which keys came with each that honest members began, as those before it.
    pub(super) before: BTreeMap<EpochId, BTreeSet<EpochId>>,
    /// What each honest machine sealed with last, and at which of its starts.
    pub(super) sealed_with: BTreeMap<usize, (u64, EpochId)>,
    /// The private halves.
    pub(super) keys: BTreeMap<NodeId, Key>,
    /// Whose they are or were.
    machines: BTreeMap<NodeId, usize>,
    /// Keys that liars handed out, and who did.
    pub(super) false_keys: BTreeMap<EpochId, NodeId>,
    /// Those whom liars bring in, by their keys.
    pub(super) puppets: Vec<Key>,
    /// All is well, all have come in and have the newest key: what is written from now on, no removed member reads.
    pub(super) settled: Option<Timestamp>,
}

impl Group {
    pub(super) fn draw(chaos: u64, random: &mut Random) -> Self {
        let changes = random.between(5, 60);
        Self { every: chaos / changes, strangers: random.index(4), ..Self::default() }
    }
}

impl World {
    /// Strangers are liars to whom nobody gave a link.
    pub(super) fn populate_group(&mut self) {
        let Some(group) = &self.group else { return };
        for n in 0..group.strangers {
            let key = self.key(STRANGER_KEY + n as u64);
            let mut stranger = Machine::new(Kind::Liar, key);
            stranger.stranger = true;
            let relays = self.plan.honest + self.plan.liars..self.plan.honest + self.plan.liars + self.plan.relays;
            let honest = self.random.index(self.plan.honest);
            stranger.targets = relays.chain([honest]).map(Target::new).collect();
            self.machines.push(stranger);
        }
        for number in 0..self.machines.len() {
            self.note_key(number);
        }
        self.found();
    }

    /// The founder begins the ledger on its disk, before it meets anybody.
    fn found(&mut self) {
        let (salt, seed) = (self.random.bytes(), self.random.bytes());
        let machine = &mut self.machines[0];
        self.ledger = Genesis { founder: machine.key.node(), salt }.ledger();
        machine.papers = Some(Papers::default());
        let config = Config { writes: true, ..Config::new(self.ledger, machine.key.clone(), seed) };
        let (clock, disk) = (Timestamp::from_micros(BEGIN).unwrap_or_default(), machine.disk.clone());
        let mut effects = Vec::new();
        let mut begun = false;
        if let Ok(mut replica) = Replica::restore(config, disk, &[], clock, &mut effects) {
            let wish = Input::Control { token: 0, wish: Wish::Found { salt } };
            begun = replica.handle(clock, wish, &mut effects).is_ok() && replica.commit(clock, &mut effects).is_ok();
        }
        self.machines[0].disk.take_work();
        assert!(begun, "a founder begins its ledger");
    }

    pub(super) fn prepare_group(&mut self) {
        let Some(group) = &self.group else { return };
        let every = group.every;
        for _ in 0..1 + self.random.index(3) {
            let at = self.random.between(6 * SECOND, FIRST_INVITE);
            self.schedule(at, Event::Invite);
        }
        self.later(every, Event::Govern);
    }

    /// Whether a machine has what it needs to take part.
    pub(super) fn may_start(&self, number: usize) -> bool {
        let machine = &self.machines[number];
        self.group.is_none()
            || machine.kind == Kind::Relay
            || machine.stranger
            || machine.papers.is_some()
            || number == self.hub()
    }

    /// Somebody changes who belongs.
    pub(super) fn govern(&mut self) {
        match self.random.below(100) {
            0..44 => self.invite(),
            44..66 => self.remove_somebody(),
            66..78 => self.apart(),
            78..84 => self.duel(),
            84..90 => self.leave(),
            _ => self.close_somewhere(),
        }
        if let Some(group) = &self.group {
            self.later(group.every, Event::Govern);
        }
    }

    /// Running honest machines that give links out, as far as they know themselves.
    pub(super) fn stewards(&self) -> Vec<usize> {
        let is_steward = |number: &usize| {
            let replica = self.machines[*number].replica.as_ref();
            replica.is_some_and(|replica| replica.may_write() && replica.role().is_some_and(|role| role <= Role::Admin))
        };
        (0..self.plan.honest).filter(is_steward).collect()
    }

    fn wish(&mut self, number: usize, wish: Wish, asked: Option<Asked>) {
        let machine = &mut self.machines[number];
        if machine.replica.is_none() {
            return;
        }
        machine.next_token += 1;
        let token = machine.next_token;
        if let (Some(group), Some(asked)) = (&mut self.group, asked) {
            group.asked.insert((number, token), asked);
        }
        self.input(number, Input::Control { token, wish }, false);
    }

    /// Somebody who may gives a link to some who are outside; to more of them than may come in, now and then.
    pub(super) fn invite(&mut self) {
        let stewards = self.stewards();
        if let Some(number) = self.random.pick(&stewards).copied() {
            self.invite_by(number, None);
        }
    }

    pub(super) fn invite_by(&mut self, number: usize, guests: Option<Vec<usize>>) {
        let Some(group) = &mut self.group else { return };
        group.secrets += 1;
        let secret = group.secrets;
        let secret = self.key(SECRET_KEY + secret);
        let clock = self.machines[number].clock(self.now);
        let (role, uses, expires, guests) = match guests {
            Some(guests) => (Role::Member, guests.len() as u32, Timestamp::MAX, guests),
            None => {
                let role =
                    [Role::Owner, Role::Admin, Role::Admin, Role::Member, Role::Member, Role::Member, Role::Reader];
                let role = role[self.random.index(role.len())];
                let uses = if self.random.per_mille(500) { 1 } else { self.random.between(1, 8) as u32 };
                let ends = self.random.per_mille(250);
                let expires = if ends { clock.plus(self.random.between(1, 60 * SECOND)) } else { Timestamp::MAX };
                let mut outside: Vec<usize> =
                    (0..self.plan.honest + self.plan.liars).filter(|number| self.is_outside(*number)).collect();
                self.random.shuffle(&mut outside);
                let more = if self.random.per_mille(400) { self.random.below(3) as usize } else { 0 };
                if more > 0 && outside.len() > uses as usize {
                    self.report.deed("race");
                }
                outside.truncate(uses as usize + more);
                (role, uses, expires, outside)
            }
        };
        self.report.deed("invite");
        let wish = Wish::Invite { key: secret.node(), role, uses, expires };
        self.wish(number, wish, Some(Asked { secret, guests }));
    }

    /// Whether a machine has not come in, or knows that it is out again.
    fn is_outside(&self, number: usize) -> bool {
        let machine = &self.machines[number];
        let frozen = |replica: &Replica<super::disk::Disk>| replica.frozen().contains_key(&machine.key.node());
        !machine.retired
            && !machine.stranger
            && (machine.papers.is_none() || machine.turned_away || machine.replica.as_ref().is_some_and(frozen))
    }

    fn remove_somebody(&mut self) {
        if let Some(number) = self.anybody() {
            self.remove_by(number);
        }
    }

    fn remove_by(&mut self, number: usize) {
        let Some(replica) = &self.machines[number].replica else { return };
        let members: Vec<NodeId> = replica.members().into_iter().flatten().map(|member| member.node).collect();
        let honest = |node: &NodeId| self.truth.owner(node).is_some();
        let liars: Vec<NodeId> = members.iter().copied().filter(|node| !honest(node)).collect();
        let among = if !liars.is_empty() && self.random.per_mille(500) { liars } else { members };
        if let Some(member) = self.random.pick(&among).copied() {
            self.report.deed("remove");
            self.wish(number, Wish::Remove { member }, None);
        }
    }

    /// Mostly somebody with a say, else anybody, who will be told that it may not.
    fn anybody(&mut self) -> Option<usize> {
        let stewards = self.stewards();
        if self.random.per_mille(100) {
            return Some(self.random.index(self.plan.honest));
        }
        self.random.pick(&stewards).copied()
    }

    /// Somebody removes somebody while it is cut off, and another one lets somebody in who does not hear of that.
    fn apart(&mut self) {
        let mut stewards = self.stewards();
        self.random.shuffle(&mut stewards);
        let [one, two, ..] = stewards[..] else { return };
        self.report.deed("apart");
        let until = self.now + self.random.between(ARRIVAL, 4 * ARRIVAL);
        self.cut_off(one, until);
        self.remove_by(one);
        self.invite_by(two, None);
    }

    /// Two who have a say remove each other at once.
    fn duel(&mut self) {
        let mut stewards = self.stewards();
        self.random.shuffle(&mut stewards);
        let [one, two, ..] = stewards[..] else { return };
        self.report.deed("duel");
        for (by, member) in [(one, two), (two, one)] {
            let member = self.machines[member].key.node();
            self.wish(by, Wish::Remove { member }, None);
        }
    }

    fn leave(&mut self) {
        let number = self.random.index(self.plan.honest);
        let member = self.machines[number].key.node();
        if self.machines[number].replica.as_ref().is_some_and(|replica| replica.role().is_some()) {
            self.report.deed("leave");
            self.wish(number, Wish::Remove { member }, None);
        }
    }

    fn close_somewhere(&mut self) {
        let Some(number) = self.anybody() else { return };
        let Some(group) = &self.group else { return };
        if let Some(invite) = self.random.pick(&group.tickets).map(|ticket| ticket.invite) {
            self.report.deed("close");
            self.wish(number, Wish::Close { invite }, None);
        }
    }

    /// A wish was granted, or not. Links go to the guests.
    pub(super) fn granted(&mut self, number: usize, token: u64, result: &Result<BlockHash, WishError>) {
        let Some(asked) = self.group.as_mut().and_then(|group| group.asked.remove(&(number, token))) else { return };
        let (Ok(hash), Asked { secret, guests }) = (result, asked) else { return };
        let machine = &self.machines[number];
        let epoch = machine.replica.as_ref().and_then(|replica| replica.keys().current().cloned());
        let record = machine.disk.durable().block(hash).ok().flatten();
        let Some(Ok(block)) = record.map(|record| Block::decode(&record.bytes)) else { return };
        let of_liar = guests.iter().any(|guest| self.machines[*guest].kind == Kind::Liar);
        let leaked = !self.healed && (of_liar || self.random.per_mille(100));
        let Some(group) = &mut self.group else { return };
        let ticket = group.tickets.len();
        group.tickets.push(Ticket { invite: *hash, end: block.end(), secret, leaked, epoch });
        for machine in guests {
            let wait = if self.healed { 0 } else { self.random.below(ARRIVAL) };
            self.schedule(self.now + wait, Event::Arrive { machine, ticket });
        }
    }

    /// A guest uses its link.
    pub(super) fn come_in(&mut self, number: usize, ticket: usize) {
        let Some(ticket) = self.group.as_ref().and_then(|group| group.tickets.get(ticket)).cloned() else { return };
        if !self.is_outside(number) {
            return;
        }
        if self.machines[number].papers.is_some() {
            // Whoever is out needs a new key: the old one's lane has begun, or is frozen.
            self.report.deed("come_again");
            self.begin_anew(number);
        }
        self.report.deed("join");
        if !self.healed && self.random.per_mille(200) {
            // While whoever invited gives the newest key, somebody else removes somebody.
            self.remove_somebody();
        }
        let machine = &self.machines[number];
        let (key, clock) = (machine.key.clone(), machine.clock(self.now));
        let join = Join::sign(&ticket.secret, &self.ledger, ticket.invite, &key.node());
        let join = join.block(self.ledger, &key, ticket.end, clock, self.random.bytes());
        let join = join.bytes().to_vec();
        if let Some(group) = &mut self.group {
            group.genuine.insert(key.node(), join.clone());
            let held = group.held.entry(key.node()).or_default();
            ticket.epoch.iter().for_each(|epoch| _ = held.insert(epoch.id(), epoch.clone()));
        }
        self.machines[number].papers = Some(Papers { join: Some(join), epoch: ticket.epoch });
        self.machines[number].turned_away = false;
        // The hub serves without belonging. Whoever comes in starts with its join.
        if self.machines[number].replica.is_some() {
            self.machines[number].disk.crash();
            self.down(number, true);
        }
        self.schedule(self.now + 1, Event::Start { machine: number });
    }

    /// A join may be nowhere but with its node, and of the future.
    pub(super) fn note_joins(&mut self) {
        for machine in &self.machines[..self.plan.honest] {
            let join = machine.papers.as_ref().and_then(|papers| Block::decode(papers.join.as_ref()?).ok());
            self.truth.latest = self.truth.latest.max(join.map_or(Timestamp::default(), |join| join.end()));
        }
    }

    /// An empty disk and a new key.
    fn begin_anew(&mut self, number: usize) {
        let key = if self.machines[number].kind == Kind::Honest {
            self.spare_key(number)
        } else {
            self.keys += 1;
            self.key(SPARE_KEY + self.keys)
        };
        self.replace_disk(number, MemoryStore::default());
        self.new_key(number, key);
    }

    /// The machine goes on with another key, with which it has to come in.
    pub(super) fn new_key(&mut self, number: usize, key: Key) {
        let machine = &mut self.machines[number];
        (machine.key, machine.papers, machine.turned_away) = (key, None, false);
        machine.backup = None;
        self.note_key(number);
    }

    fn note_key(&mut self, number: usize) {
        let key = self.machines[number].key.clone();
        if let Some(group) = &mut self.group {
            group.machines.insert(key.node(), number);
            group.keys.insert(key.node(), key);
        }
    }

    /// Whether this is a key that the machine had before it began anew: its links may not know yet.
    pub(super) fn had_key(&self, number: usize, node: &NodeId) -> bool {
        self.group.as_ref().is_some_and(|group| group.machines.get(node) == Some(&number))
    }
}
