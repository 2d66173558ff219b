//! What must hold, at every step and at the end. The names are those of the output.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::{
    World,
    disk::{Work, all},
    machine::{Kind, Machine},
    model,
    network::side,
};
use crate::{
    block::Block,
    effect::{Added, AppendError, CloseReason, Effect, Input, LinkId},
    evidence::Evidence,
    id::{BlockHash, EntryId, NodeId},
    key::Key,
    ledger::stored_evidence,
    limits::CLOCK_WINDOW,
    proofs::Proof,
    replica::{Config, Replica, signed_height},
    store::{MemoryStore, Page, ReadStore, Summary},
    time::{MINUTE, SECOND, Timestamp},
};

/// Every promise that is checked, by the name under which it is counted.
pub(super) const INVARIANTS: &[&str] = &[
    "acked_is_durable",
    "acked_is_never_lost",
    "signed_once",
    "succession_is_needed",
    "held_is_true",
    "seen_is_never_void",
    "refused_leaves_no_trace",
    "queues_keep_their_caps",
    "work_is_bounded",
    "evidence_is_true",
    "honest_links_stay",
    "converges",
    "equal_sets_equal_ledgers",
    "order_is_of_the_set",
    "what_counts_is_as_modelled",
    "frozen_lanes_are_equal",
    "added_by_the_rules",
    "late_blocks_are_told",
    "deadlines_are_near",
    "restored_is_the_same",
    "peers_prove_their_keys",
    "members_can_write",
    "appends_are_answered",
    "freezes_are_recorded",
    "no_damage",
    "no_panic",
];

/// What holds of a members' ledger beside all that.
pub(super) const OF_MEMBERS: &[&str] = &[
    "member_sets_are_equal",
    "control_by_the_rules",
    "outsiders_get_nothing",
    "strangers_have_nothing",
    "plaintext_stays_inside",
    "keys_stay_with_members",
    "epochs_go_forward",
    "removed_read_nothing_new",
    "members_read_everything",
    "who_is_invited_comes_in",
];

/// Reads of the store that one input may cost, and how many more by the bytes that came and went.
const READS_PER_INPUT: u64 = 400;
const BYTES_PER_READ: u64 = 24;
/// A new freeze or voucher has stored blocks looked at once more for each.
const READS_PER_BLOCK: u64 = 4;
/// A waiting block is looked at again, and all its parents are looked up: so many more by its bytes.
const READS_PER_WAITING: u64 = 6;

/// µs after which an unhindered peer has told what it knows of a lane.
const PATIENCE: u64 = 2 * SECOND;

/// A block that an honest member signed.
#[derive(Debug, Clone, Copy)]
struct Signed {
    author: NodeId,
    height: u64,
    timestamp: Timestamp,
}

/// What only an all-knowing observer knows.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// Honest keys, and whose they are.
    owners: BTreeMap<NodeId, usize>,
    signed: BTreeMap<(NodeId, u64), BlockHash>,
    blocks: BTreeMap<BlockHash, Signed>,
    acked: BTreeSet<BlockHash>,
    /// A disk was exchanged: what a machine says that it has may be of the time before.
    exchanged: bool,
    /// Everybody honest who had these lost them.
    lost: BTreeSet<BlockHash>,
    /// Somebody who had these made them void.
    voided: BTreeSet<BlockHash>,
    /// Blocks that a disk lost whose owner wrote them.
    unremembered: BTreeMap<NodeId, BTreeSet<BlockHash>>,
    /// Lowest height that an honest member signed twice, after it lost its disk and could ask nobody.
    forked: BTreeMap<NodeId, u64>,
    /// The latest time of any honest block.
    pub(super) latest: Timestamp,
}

impl Truth {
    pub(super) fn know(&mut self, key: &Key, machine: usize) {
        self.owners.insert(key.node(), machine);
    }

    pub(super) fn keys_of(&self, machine: usize) -> Vec<NodeId> {
        self.owners.iter().filter(|(_, owner)| **owner == machine).map(|(key, _)| *key).collect()
    }

    pub(super) fn is_key_of(&self, machine: usize, key: &NodeId) -> bool {
        self.owners.get(key) == Some(&machine)
    }

    /// The machine of an honest key.
    pub(super) fn owner(&self, key: &NodeId) -> Option<usize> {
        self.owners.get(key).copied()
    }

    pub(super) fn is_forked(&self, node: &NodeId) -> bool {
        self.forked.contains_key(node)
    }

    /// A block that may be missing in the end, though it was acknowledged.
    fn is_excused(&self, hash: &BlockHash) -> bool {
        let Some(signed) = self.blocks.get(hash) else { return true };
        let forked = self.forked.get(&signed.author).is_some_and(|height| *height <= signed.height);
        let unremembered = self.unremembered.get(&signed.author).is_some_and(|lost| lost.contains(hash));
        self.lost.contains(hash) || (forked && unremembered)
    }
}

impl World {
    pub(super) fn check(&mut self, name: &'static str, holds: bool, what: impl FnOnce(&Self) -> String) {
        self.report.checked(name);
        if !holds {
            let what = what(self);
            self.violation(name, what);
        }
    }

    /// What is on a disk at a start was signed, also where a crash kept it from being told.
    pub(super) fn note_unseen(&mut self, number: usize) {
        let machine = &self.machines[number];
        let all = Page { blocks: usize::MAX, bytes: usize::MAX };
        let records = machine.disk.durable().lane(&machine.key.node(), 1, all).unwrap_or_default();
        for Summary { author, height, hash, timestamp, .. } in records.into_iter().map(|record| record.summary) {
            if self.truth.owners.get(&author) == Some(&number) && !self.truth.blocks.contains_key(&hash) {
                self.truth.signed.entry((author, height)).or_insert(hash);
                self.truth.blocks.insert(hash, Signed { author, height, timestamp });
            }
        }
    }

    pub(super) fn truth_added(&mut self, number: usize, added: &Added) {
        let block = &added.block;
        let header = block.header();
        let (author, height, hash) = (header.author, header.height, block.hash());
        if self.truth.owners.get(&author) != Some(&number) || self.truth.blocks.contains_key(&hash) {
            return;
        }
        let before = self.truth.signed.insert((author, height), hash);
        if let Some(before) = before {
            let forgot = self.truth.unremembered.get(&author).is_some_and(|lost| lost.contains(&before));
            let told = self.could_have_asked(number, &before).or_else(|| self.could_have_waited(number, &before));
            self.check("signed_once", forgot && told.is_none(), |_| match told {
                Some(peer) => format!("machine {number} signed height {height} again, though {peer} could have told"),
                None => format!("machine {number} signed height {height} twice"),
            });
            let lowest = self.truth.forked.entry(author).or_insert(height);
            *lowest = height.min(*lowest);
            self.report.forks += 1;
        } else {
            self.report.checked("signed_once");
        }
        self.truth.blocks.insert(hash, Signed { author, height, timestamp: header.timestamp });
        self.truth.latest = self.truth.latest.max(block.end());
        self.liars.hear(block);
    }

    /// An honest peer that has a block, has long been linked, and is reached without hindrance.
    fn could_have_asked(&self, number: usize, hash: &BlockHash) -> Option<usize> {
        let machine = &self.machines[number];
        // By a clock that is behind, the block has not been written yet: the node cannot take it in.
        let early = |signed: &Signed| signed.timestamp > machine.clock(self.now).plus(CLOCK_WINDOW);
        if self.truth.blocks.get(hash).is_some_and(early) {
            return None;
        }
        machine.up.iter().find_map(|(link, (_, since))| {
            let (connection, side) = side(*link);
            let connection = &self.connections[connection];
            let peer = connection.ends[1 - side].machine;
            // One that repairs its store has nothing to give.
            let repairs = self.machines[peer].replica.as_ref().is_some_and(Replica::is_repairing);
            let honest = self.machines[peer].is_honest() && !repairs && !self.machines[peer].paused(*since);
            let has = honest && self.machines[peer].disk.durable().summary(hash).is_ok_and(|s| s.is_some());
            (has && *since + PATIENCE < self.now && !self.is_hindered(number, peer) && !connection.broken)
                .then_some(peer)
        })
    }

    /// Whether something is in the way between two machines.
    pub(super) fn is_hindered(&self, a: usize, b: usize) -> bool {
        [(a, b), (b, a)].iter().any(|way| {
            self.paths.get(way).is_some_and(|path| {
                path.blocked || path.bytes_per_second > 0 || path.loss + path.duplicate + path.reorder > 0
            })
        })
    }

    pub(super) fn truth_acked(&mut self, number: usize, result: Result<Vec<EntryId>, AppendError>) {
        let ids = match result {
            Ok(ids) => ids,
            Err(error) => return self.report.refused_append(&error),
        };
        self.report.acked += ids.len() as u64;
        let blocks: BTreeSet<(NodeId, u64)> = ids.iter().map(|id| (id.author, id.height)).collect();
        for key in blocks {
            let hash = self.truth.signed.get(&key).copied();
            let durable = hash.is_some_and(|hash| {
                self.machines[number].disk.durable().summary(&hash).is_ok_and(|summary| summary.is_some())
            });
            self.check("acked_is_durable", durable, |_| {
                format!("machine {number} acknowledged height {} that is not on its disk", key.1)
            });
            self.truth.acked.extend(hash);
        }
    }

    /// Checks of a turn that is committed, before its effects are performed.
    /// It took in so many inputs and bytes.
    pub(super) fn check_turn(&mut self, number: usize, taken: (u64, u64), refusable: bool, effects: &[Effect]) {
        let (work, removed) = self.machines[number].disk.take_work();
        // What it breaks may prove a fork, and that may make room for somebody who waits to come in.
        let proves = effects.iter().any(|effect| matches!(effect, Effect::ForkDetected(_)));
        if refusable && !proves {
            self.check("refused_leaves_no_trace", work.foreign == 0, |_| {
                format!("machine {number} stored {} blocks of an input that breaks a rule", work.foreign)
            });
        }
        let over = self.machines[number].replica.as_ref().and_then(Replica::over_limit);
        self.check("queues_keep_their_caps", over.is_none(), |_| format!("machine {number}: {over:?}"));
        self.check_work(number, taken, work, effects);
        if !removed.is_empty() && self.machines[number].kind != Kind::Liar {
            self.check_vouched(number, &removed, effects);
            self.check_removed(number, &removed, effects);
        }
    }

    /// Of the honest blocks that a machine made void, one that had to stay.
    fn wrongly_void(&self, number: usize, gone: &BTreeSet<BlockHash>, vouches: bool) -> Option<BlockHash> {
        // A relay vouches for nobody. What it takes for void of a lane that was forked comes back with the successor's word.
        let relay = self.machines[number].kind == Kind::Relay;
        let is_loss = |hash: &&BlockHash| {
            let forked = |signed: &Signed| self.truth.forked.get(&signed.author).is_some_and(|at| *at <= signed.height);
            let signed = self.truth.blocks.get(*hash);
            let excused = |signed: &Signed| self.truth.is_excused(hash) || relay && forked(signed);
            signed.is_some_and(|signed| !excused(signed) && !self.may_be_void(number, &signed.author, vouches))
        };
        gone.iter().find(is_loss).copied()
    }

    fn check_work(&mut self, number: usize, (inputs, bytes_in): (u64, u64), work: Work, effects: &[Effect]) {
        let sent: usize =
            effects.iter().map(|effect| if let Effect::Send { bytes, .. } = effect { bytes.len() } else { 0 }).sum();
        let is_news = |effect: &&Effect| matches!(effect, Effect::ForkDetected(_) | Effect::Removed(_));
        let news = effects.iter().filter(is_news).count() as u64 + self.news_of_members(effects);
        let frozen = self.group.is_some()
            || self.machines[number].replica.as_ref().is_some_and(|replica| !replica.frozen().is_empty());
        let stored = self.machines[number].replica.as_ref().map_or(0, |replica| replica.totals().blocks);
        let again = if frozen { (1 + news) * READS_PER_BLOCK * (stored + 64) } else { 0 };
        // Once a second, all that waits is gone through.
        let (mut waiting, mut bytes) = self.machines[number].replica.as_ref().map_or((0, 0), Replica::parked);
        for effect in effects {
            if let Effect::Added(added) = effect {
                (waiting, bytes) = (waiting + 1, bytes + added.block.bytes().len());
            }
        }
        let waiting = waiting as u64 * READS_PER_WAITING;
        let bytes = bytes_in + (sent + bytes) as u64;
        let allowed = READS_PER_INPUT * (1 + inputs) + bytes / BYTES_PER_READ + again + waiting;
        self.report.reads = self.report.reads.max(work.reads);
        self.check("work_is_bounded", work.reads <= allowed, |_| {
            format!(
                "machine {number} read {} rows for {bytes_in} bytes in and {sent} out, {allowed} are allowed",
                work.reads
            )
        });
    }

    /// What an honest member has seen and built on stays: nothing is taken out that a block here rests on, and no block
    /// of an honest member.
    fn check_removed(&mut self, number: usize, removed: &[(BlockHash, NodeId)], effects: &[Effect]) {
        let durable = self.machines[number].disk.durable();
        // What found its voucher in the same turn is there again.
        let gone: BTreeSet<BlockHash> = removed
            .iter()
            .map(|(hash, _)| *hash)
            .filter(|hash| durable.summary(hash).is_ok_and(|s| s.is_none()))
            .collect();
        drop(durable);
        // Who comes in only now could not vouch before.
        self.truth.voided.extend(&gone);
        let vouches = !self.comes_in(number, effects);
        let honest = self.wrongly_void(number, &gone, vouches);
        self.check("seen_is_never_void", honest.is_none(), |world| {
            let signed = honest.and_then(|hash| world.truth.blocks.get(&hash));
            format!("machine {number} made a block of an honest member void: {honest:?} {signed:?}")
        });
        let records = all(&*self.machines[number].disk.durable());
        let orphan = records.iter().find(|record| {
            Block::decode_header(&record.bytes)
                .is_ok_and(|header| header.parents.iter().any(|parent| gone.contains(parent)))
        });
        let orphan = orphan.map(|record| record.summary.hash);
        self.check("seen_is_never_void", orphan.is_none(), |_| {
            format!("machine {number} keeps {orphan:?}, which rests on a block that it made void")
        });
    }

    /// A disk was exchanged: what nobody else has is lost. That a node has signed what it took for void since is noted beside the
    /// blocks, and the other disk may know nothing of it.
    pub(super) fn check_lost(&mut self, number: usize, before: &BTreeSet<BlockHash>) {
        self.truth.exchanged = true;
        let after = self.machines[number].disk.hashes();
        for hash in before.difference(&after) {
            self.check_lost_block(number, *hash);
        }
        let durable = self.machines[number].disk.durable();
        let is_noted = |signed: &Signed| {
            let proof = stored_evidence(&*durable, &signed.author).unwrap_or_default();
            let frozen =
                proof.and_then(|proof| Proof::decode(&proof)).is_some_and(|proof| proof.lane().1 <= signed.height);
            frozen || signed_height(&*durable, &signed.author).is_ok_and(|height| height >= signed.height)
        };
        let void = self.truth.voided.iter().filter(|hash| !after.contains(*hash));
        let own = void.filter_map(|hash| Some((*hash, *self.truth.blocks.get(hash)?)));
        let own = own.filter(|(_, signed)| self.truth.owners.get(&signed.author) == Some(&number));
        let forgotten: Vec<(BlockHash, Signed)> = own.filter(|(_, signed)| !is_noted(signed)).collect();
        drop(durable);
        for (hash, signed) in forgotten {
            self.truth.unremembered.entry(signed.author).or_default().insert(hash);
        }
    }

    /// Whether a machine with a sound disk has a block.
    pub(super) fn is_whole_elsewhere(&self, number: usize, hash: &BlockHash) -> bool {
        self.machines.iter().enumerate().any(|(other, machine)| {
            other != number
                && machine.kind != Kind::Liar
                && !machine.retired
                && machine.damaged.is_empty()
                // Whom nobody lets in any more gives nothing either.
                && !self.machines.iter().any(|knows| knows.knows_removed.contains(&machine.key.node()))
                && machine.disk.durable().summary(hash).is_ok_and(|s| s.is_some())
        })
    }

    /// A block is not on a disk any more, or not as it was.
    pub(super) fn check_lost_block(&mut self, number: usize, hash: BlockHash) {
        let has = |(other, machine): (usize, &Machine)| {
            other != number
                && machine.kind != Kind::Liar
                && !machine.retired
                && !machine.damaged.contains(&hash)
                && machine.disk.durable().summary(&hash).is_ok_and(|s| s.is_some())
        };
        if !self.machines.iter().enumerate().any(has) {
            self.truth.lost.insert(hash);
        }
        if let Some(signed) = self.truth.blocks.get(&hash)
            && self.truth.owners.get(&signed.author) == Some(&number)
        {
            self.truth.unremembered.entry(signed.author).or_default().insert(hash);
        }
    }

    pub(super) fn check_held(&mut self, number: usize, height: u64, nodes: u32) {
        if nodes == 0 || self.truth.exchanged {
            return;
        }
        let author = self.machines[number].node();
        let Some(hash) = self.truth.signed.get(&(author, height)).copied() else { return };
        // Who made a block void does not say that it holds it no more.
        if self.truth.voided.contains(&hash) {
            return;
        }
        let others = self.machines.iter().enumerate().filter(|(other, _)| *other != number);
        let may = others.filter(|(_, machine)| {
            !machine.is_honest() || machine.disk.durable().summary(&hash).is_ok_and(|s| s.is_some())
        });
        let may = may.count() as u32;
        self.check("held_is_true", nodes <= may, |_| {
            format!("machine {number} says that {nodes} nodes hold height {height}, {may} can")
        });
    }

    pub(super) fn check_evidence(&mut self, number: usize, evidence: &Evidence) {
        let (lane, height) = evidence.lane();
        let guilty = !self.truth.owners.contains_key(&lane)
            || self.truth.forked.get(&lane).is_some_and(|forked| *forked <= height);
        self.check("evidence_is_true", guilty, |_| {
            format!("machine {number} froze the lane of an honest member at {height} that signed no height twice")
        });
    }

    /// A link between honest machines is never closed for breaking the protocol.
    pub(super) fn check_closed(&mut self, number: usize, link: LinkId, reason: &CloseReason) {
        let (connection, side) = side(link);
        let connection = &self.connections[connection];
        let peer = connection.ends[1 - side].machine;
        let clean = self.machines[number].is_honest() && self.machines[peer].is_honest() && !connection.broken;
        let reason = reason.to_string();
        self.check("honest_links_stay", !clean, |_| format!("machine {number} closed its link to {peer}: {reason}"));
    }

    /// Whether all honest machines show the same ledger.
    pub(super) fn is_converged(&self) -> bool {
        if self.group.is_some() {
            return self.is_group_in_step();
        }
        let whole = |number: usize| self.machines[number].replica.as_ref().filter(|replica| !replica.is_repairing());
        let mut digests = self.honest().map(|number| whole(number).map(Replica::digest));
        match digests.next() {
            Some(Some(first)) => digests.all(|digest| digest == Some(first)),
            _ => false,
        }
    }

    pub(super) fn honest(&self) -> impl Iterator<Item = usize> + use<'_> {
        (0..self.machines.len())
            .filter(|number| self.machines[*number].kind != Kind::Liar && !self.machines[*number].retired)
    }

    /// What must hold once everything is well and in step.
    pub(super) fn check_end(&mut self) {
        let converged = self.is_converged();
        self.check("converges", converged, Self::differences);
        if !converged {
            return;
        }
        let honest = self.seated();
        let Some(first) = honest.first().copied() else { return };
        let Some(replica) = &self.machines[first].replica else { return };
        let (frozen, totals, heads) = (replica.frozen(), replica.totals(), replica.heads());
        let records = all(&*self.machines[first].disk.durable());
        let order: Vec<BlockHash> = records.iter().map(|record| record.summary.hash).collect();
        for number in honest {
            let machine = &self.machines[number];
            let Some(other) = &machine.replica else { continue };
            let theirs: Vec<BlockHash> = all(&*machine.disk.durable()).iter().map(|r| r.summary.hash).collect();
            let equal = theirs == order && other.totals() == totals && other.heads() == heads;
            let same_freezes = other.frozen() == frozen;
            let proved = frozen.keys().all(|lane| {
                let proof = stored_evidence(&*machine.disk.durable(), lane).unwrap_or_default();
                let lane_of = proof.and_then(|proof| Proof::decode(&proof)).map(|proof| proof.lane());
                lane_of.is_some_and(|(author, height)| author == *lane && frozen.get(lane) == Some(&height))
            });
            self.check("equal_sets_equal_ledgers", equal, |_| format!("machines {first} and {number} differ"));
            self.check("frozen_lanes_are_equal", same_freezes && proved, |_| {
                format!("machines {first} and {number}: frozen {frozen:?}, proved {proved}")
            });
        }
        let here: BTreeSet<BlockHash> = order.iter().copied().collect();
        let is_missing =
            |hash: &&BlockHash| !here.contains(*hash) && !self.truth.is_excused(hash) && !self.is_removed(hash);
        let missing = self.truth.acked.iter().find(is_missing).copied();
        self.check("acked_is_never_lost", missing.is_none(), |world| {
            format!("{missing:?} is in no ledger: {:?}", missing.and_then(|hash| world.truth.blocks.get(&hash)))
        });
        let blocks: Vec<Block> = records.iter().filter_map(|record| Block::decode(&record.bytes).ok()).collect();
        let freezes = frozen.iter().map(|(lane, height)| (*lane, *height)).collect();
        let void = model::void(&blocks, &freezes);
        self.check("what_counts_is_as_modelled", void.is_empty(), |_| format!("{void:?} should be void"));
        if self.is_recorded_by_anybody() {
            self.check_rebuilt(&blocks, &order);
            self.check_recorded();
        }
        self.check_answered();
        self.check_group_end(&blocks);
    }

    /// Whether an honest block stands where its author's lane was frozen in a members' ledger, so that it counts only if
    /// somebody vouched for it; or its author has not come in after all.
    fn is_removed(&self, hash: &BlockHash) -> bool {
        let (Some(signed), Some(hub)) = (self.truth.blocks.get(hash), &self.machines[self.hub()].replica) else {
            return false;
        };
        let frozen = hub.frozen().get(&signed.author).is_some_and(|height| *height <= signed.height);
        self.group.is_some() && (frozen || !hub.has_come_in(&signed.author))
    }

    /// The same blocks, given to a new replica in any order at any time, make the same ledger.
    fn check_rebuilt(&mut self, blocks: &[Block], order: &[BlockHash]) {
        let ledger = self.ledger;
        let config = Config::new(ledger, Key::from_secret(&[1; 32]), [0; 32]);
        let clock = self.truth.latest.plus(20 * MINUTE);
        let mut effects = Vec::new();
        let mut shuffled: Vec<Vec<u8>> = blocks.iter().map(|block| block.bytes().to_vec()).collect();
        self.random.shuffle(&mut shuffled);
        let mut rebuilt: Vec<BlockHash> = Vec::new();
        let mut done = false;
        if let Ok(mut replica) = Replica::restore(config, MemoryStore::default(), &[], clock, &mut effects) {
            let input = Input::import(0, shuffled);
            done = replica.handle(clock, input, &mut effects).is_ok() && replica.commit(clock, &mut effects).is_ok();
            rebuilt = all(replica.store()).iter().map(|record| record.summary.hash).collect();
        }
        self.check("order_is_of_the_set", done && rebuilt == order, |_| {
            format!("{} blocks in order, {} when they are given anew", order.len(), rebuilt.len())
        });
    }

    /// How the ledgers of the honest differ, in words.
    pub(super) fn differences(&self) -> String {
        let mut lines = Vec::new();
        for number in self.honest() {
            let machine = &self.machines[number];
            let Some(replica) = &machine.replica else {
                lines.push(format!("machine {number} is down"));
                continue;
            };
            let links: Vec<String> = machine
                .up
                .keys()
                .map(|link| {
                    let (connection, side) = side(*link);
                    format!("{}", self.connections[connection].ends[1 - side].machine)
                })
                .collect();
            lines.push(format!(
                "machine {number} ({:?}): {} blocks, {} lanes, frozen {:?}, parked {:?}, linked to {}, digest {}{}",
                self.group.as_ref().map(|_| self.seat(number)),
                replica.totals().blocks,
                replica.heads().len(),
                replica.frozen(),
                replica.parked(),
                links.join(" "),
                hex::encode(&replica.digest()[..4]),
                if replica.is_repairing() { ", still under repair" } else { "" },
            ));
        }
        lines.join("; ")
    }
}
