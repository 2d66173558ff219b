//! What must hold of each effect that a replica has performed: the rules for blocks by their wording, what its clients and
//! links are told, and that a replica made anew from the disk is the one that ran.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    vec::Vec,
};

use super::{Target, World, disk::all, machine::Kind, network::side};
use crate::{
    block::{Block, VerifiedBlock},
    effect::{Added, AppendError, Effect},
    id::{BlockHash, EntryId, NodeId},
    key::Key,
    limits::{CLOCK_WINDOW, OWN_LANE, OWN_LANE_MOST},
    proofs::Proofs,
    replica::{Config, Replica},
    store::{MemoryStore, Page, ReadStore, Summary},
    time::{SECOND, Timestamp},
};

/// Turns between two looks at whether the disk says what the replica says.
const RESTORE_EVERY: u64 = 256;

/// What the checks of this file remember.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Blocks whose signature was looked at.
    signed: BTreeSet<BlockHash>,
    /// Appends without an answer, once everything is well: machine and token, and the machine's start.
    asked: BTreeMap<(usize, u64), u64>,
}

impl World {
    /// Checks of what a turn is about to tell, when it is committed.
    pub(super) fn check_effects(&mut self, number: usize, effects: &[Effect]) {
        if self.machines[number].kind == Kind::Liar {
            return;
        }
        for effect in effects {
            match effect {
                Effect::Added(added) => self.check_added(number, added),
                Effect::Appended { token, result } => self.check_answer(number, *token, result),
                Effect::PeerUp { link, node } => {
                    let (connection, side) = side(*link);
                    let peer = self.connections[connection].ends[1 - side].machine;
                    let had = self.truth.is_key_of(peer, node) || self.had_key(peer, node);
                    let true_name = self.machines[peer].key.node() == *node || had;
                    self.check("peers_prove_their_keys", true_name, |_| {
                        format!("machine {number} takes machine {peer} for {node:?}")
                    });
                }
                _ => {}
            }
        }
        self.check_order_told(number, effects);
        let machine = &self.machines[number];
        let next = machine.replica.as_ref().and_then(Replica::next_deadline);
        let wait = next.map_or(0, |next| next.since(machine.clock(self.now)));
        self.check("deadlines_are_near", wait <= OWN_LANE_MOST, |_| {
            format!("machine {number} has its next deadline in {} s", wait / SECOND)
        });
        if self.report.turns.is_multiple_of(RESTORE_EVERY) {
            self.check_restored(number);
        }
    }

    /// An honest machine that has a block and is dialled at a start: soon after it, nothing is signed before it has answered.
    pub(super) fn could_have_waited(&self, number: usize, hash: &BlockHash) -> Option<usize> {
        let machine = &self.machines[number];
        if self.now >= machine.started + OWN_LANE {
            return None;
        }
        let answers = |target: &&Target| {
            let peer = &self.machines[target.machine];
            let connection = target.connection.map(|connection| &self.connections[connection]);
            let dialled = connection.is_some_and(|c| !c.broken && c.ends.iter().all(|end| end.open));
            let has = peer.disk.durable().summary(hash).is_ok_and(|summary| summary.is_some());
            let awake = peer.replica.as_ref().is_some_and(|replica| !replica.is_repairing())
                && !peer.paused(machine.started)
                && !peer.paused(self.now);
            let reached = awake && !self.is_hindered(number, target.machine);
            peer.is_honest() && reached && has && (dialled && !target.again || !target.tried)
        };
        machine.targets.iter().find(answers).map(|target| target.machine)
    }

    /// Rules 1 to 6 for a block that a replica has added, by their wording.
    fn check_added(&mut self, number: usize, added: &Added) {
        let block = &added.block;
        let header = block.header();
        let durable = self.machines[number].disk.durable();
        // It may have become void in the same turn.
        let stays = durable.summary(&block.hash()).is_ok_and(|summary| summary.is_some());
        let of = |hash: &BlockHash| durable.summary(hash).ok().flatten();
        let parents: Vec<Summary> = header.parents.iter().filter_map(of).collect();
        drop(durable);
        let mut broken = Vec::new();
        if header.ledger != self.ledger {
            broken.push("is of another ledger");
        }
        if self.rules.signed.insert(block.hash()) && VerifiedBlock::clone(block).into_inner().verify().is_err() {
            broken.push("is not signed by its author");
        }
        let clock = self.machines[number].clock(self.now);
        let own = self.truth.is_key_of(number, &header.author);
        if !own && header.timestamp > clock.plus(CLOCK_WINDOW) {
            broken.push("is of the future");
        }
        if stays && parents.len() < header.parents.len() {
            broken.push("rests on what is not there");
        }
        if stays && parents.len() == header.parents.len() {
            let before = |p: &Summary| p.author == header.author && p.height + 1 == header.height;
            if header.height > 1 && !parents.first().is_some_and(before) {
                broken.push("does not rest on its author's block before");
            }
            if parents.iter().any(|parent| parent.end() > header.timestamp) {
                broken.push("is earlier than a parent's end");
            }
            let latest = parents.iter().map(Summary::key).max().map(|key| key.hash);
            if added.previous != latest.unwrap_or(BlockHash::from_bytes(*self.ledger.as_bytes())) {
                broken.push("follows another block than its latest parent");
            }
        }
        let (author, height) = (header.author, header.height);
        self.check_control(number, block);
        self.check("added_by_the_rules", broken.is_empty(), |_| {
            format!("machine {number} added block {height} of {author:?}, which {}", broken.join(" and "))
        });
    }

    /// Whoever shows the ledger hears of it when a block lands between blocks that were there before.
    fn check_order_told(&mut self, number: usize, effects: &[Effect]) {
        let added: BTreeMap<BlockHash, _> = effects
            .iter()
            .filter_map(|effect| if let Effect::Added(added) = effect { Some(added) } else { None })
            .map(|added| (added.block.hash(), added.block.key()))
            .collect();
        let Some(first) = added.values().min() else { return };
        let page = Page { blocks: added.len() + 1, bytes: usize::MAX };
        let later = self.machines[number].disk.durable().after(Some(first), page).unwrap_or_default();
        let late = later.iter().any(|record| !added.contains_key(&record.summary.hash));
        let told = effects.iter().any(|effect| matches!(effect, Effect::OrderChanged { .. }));
        self.check("late_blocks_are_told", !late || told, |_| {
            format!("machine {number} added a block between older ones without a word")
        });
    }

    /// A member that learns of a freeze, and may write, first vouches for all it has seen: nothing goes.
    pub(super) fn check_vouched(&mut self, number: usize, removed: &[(BlockHash, NodeId)], effects: &[Effect]) {
        let machine = &self.machines[number];
        let writes = machine.replica.as_ref().is_some_and(Replica::may_write);
        let learned = effects.iter().any(|effect| matches!(effect, Effect::ForkDetected(_) | Effect::Removed(_)));
        let comes_in = self.comes_in(number, effects);
        if !writes || !learned || comes_in || self.is_shaky(number, &machine.node()) {
            return;
        }
        let durable = machine.disk.durable();
        // Somebody who came in earlier by the same link takes the place of another, with a freeze or without one.
        let belongs = |author: &NodeId| {
            self.group.is_none() || machine.replica.as_ref().is_some_and(|replica| replica.has_come_in(author))
        };
        let is_gone = |hash: &BlockHash| durable.summary(hash).is_ok_and(|summary| summary.is_none());
        let gone = removed.iter().filter(|(hash, author)| is_gone(hash) && belongs(author)).count();
        drop(durable);
        self.check("seen_is_never_void", gone == 0, |_| {
            format!("machine {number} made {gone} blocks void that it had seen, and vouched for none")
        });
    }

    /// A replica that is made anew from the disk is the one that ran: from the blocks, and from a checkpoint.
    fn check_restored(&mut self, number: usize) {
        let machine = &self.machines[number];
        let Some(replica) = machine.replica.as_ref().filter(|replica| !replica.is_repairing()) else { return };
        if !machine.damaged.is_empty() {
            return;
        }
        let clock = machine.clock(self.now);
        let expected = Outline::of(replica);
        let restored = self.restored(machine.disk.durable().clone(), clock);
        let same = restored.as_ref().is_some_and(|replica| Outline::of(replica) == expected);
        let again = restored.and_then(|mut replica| {
            replica.checkpoint().ok()?;
            self.restored(replica.store().clone(), clock)
        });
        let same = same && again.is_some_and(|replica| Outline::of(&replica) == expected);
        self.check("restored_is_the_same", same, |_| {
            format!("machine {number}: what is on its disk makes another replica than the one that runs")
        });
    }

    fn restored(&self, store: MemoryStore, clock: Timestamp) -> Option<Replica<MemoryStore>> {
        let key = Key::simulated(0);
        let config = Config::new(self.ledger, key, [0; 32]);
        Replica::restore(config, store, &[], clock, &mut Vec::new()).ok()
    }

    /// Somebody writes something, and waits for an answer.
    pub(super) fn note_asked(&mut self, number: usize, token: u64) {
        let machine = &self.machines[number];
        let settled = self.group.as_ref().is_none_or(|group| group.settled.is_some());
        if self.healed && settled && machine.replica.is_some() {
            self.rules.asked.insert((number, token), machine.starts);
        }
    }

    fn check_answer(&mut self, number: usize, token: u64, result: &Result<Vec<EntryId>, AppendError>) {
        let asked = self.rules.asked.remove(&(number, token)).is_some();
        // In a members' ledger whoever cannot go on was invited again, if there was somebody to do that.
        let able = self.group.is_none() || !self.able_stewards().is_empty();
        let frozen = able
            && match result {
                Err(AppendError::Frozen { .. } | AppendError::NoKey | AppendError::Removed | AppendError::Restored) => {
                    true
                }
                Err(AppendError::NotAMember) => !self.is_reader(number),
                _ => false,
            };
        self.check("members_can_write", !asked || !frozen, |_| {
            format!("machine {number} may not write any more, though it has a key to go on with: {result:?}")
        });
    }

    /// A machine that owes an answer to an append.
    pub(super) fn unanswered(&self) -> Option<usize> {
        let starts = |number: usize| self.machines[number].starts;
        let open = self.rules.asked.iter().find(|((number, _), start)| starts(*number) == **start);
        open.map(|((number, _), _)| *number)
    }

    /// What must hold in the end beside the ledgers.
    pub(super) fn check_answered(&mut self) {
        let open = self.unanswered();
        self.check("appends_are_answered", open.is_none(), |_| format!("machine {open:?} gave no answer to an append"));
    }

    /// Every freeze is recorded in the ledger, if somebody was there to do it.
    pub(super) fn check_recorded(&mut self) {
        let Some(first) = self.seated().first().copied() else { return };
        let Some(replica) = &self.machines[first].replica else { return };
        let frozen = replica.frozen();
        let mut proofs = Proofs::new(self.ledger);
        let mut open: BTreeSet<(NodeId, u64)> = frozen.iter().map(|(lane, height)| (*lane, *height)).collect();
        for record in all(&*self.machines[first].disk.durable()) {
            if let Ok(block) = Block::decode(&record.bytes) {
                proofs.recorded(&block).iter().for_each(|freeze| _ = open.remove(freeze));
            }
        }
        self.check("freezes_are_recorded", open.is_empty(), |_| format!("no block records {open:?}"));
    }
}

/// What two equal replicas have in common.
#[derive(Debug, PartialEq, Eq)]
struct Outline {
    digest: [u8; 32],
    totals: crate::replica::Totals,
    tips: Vec<BlockHash>,
    frozen: BTreeMap<NodeId, u64>,
    last_seq: u64,
}

impl Outline {
    fn of<S: crate::store::Store>(replica: &Replica<S>) -> Self {
        Self {
            digest: replica.digest(),
            totals: replica.totals(),
            tips: replica.tips(),
            frozen: replica.frozen(),
            last_seq: replica.last_seq(),
        }
    }
}
