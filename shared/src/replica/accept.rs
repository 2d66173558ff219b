//! What becomes of a block that comes in: known, refused, parked or added; evidence and freezes.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use super::{Replica, Timer, Turn};
use crate::{
    block::{Block, BlockError, Entry, Kind, VerifiedBlock},
    effect::{Effect, ImportReport, LinkId},
    evidence::Evidence,
    freeze::{Candidate, Freezes, counting, lower},
    id::{BlockHash, NodeId},
    incoming::{Incoming, Read},
    ledger::{RuleError, Standing, decode, stored, summarise},
    limits::{CLOCK_WINDOW, FORKED_LANES, ZONE_AT_ONCE, ZONE_EVERY},
    members::{Control, Member, Members, is_closed, removed},
    order::OrderKey,
    park::Wait,
    proofs::Proof,
    replica::ReplicaError,
    store::{Page, Store, Summary},
    time::Timestamp,
};

const SCAN: Page = Page { blocks: 256, bytes: 1024 * 1024 };
/// Siblings of one height that are looked at to find where a zone begins.
const SIBLINGS: Page = Page { blocks: 1024, bytes: usize::MAX };

/// What became of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Added,
    /// It was here already.
    Known {
        /// Another link brought it, and goes on bringing what is new: this one of the two is one too many.
        spare: Option<LinkId>,
    },
    Parked,
    /// There was no room to park it.
    Dropped,
    Refused(Refusal),
}

/// Why a block is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    Block(BlockError),
    Rule(RuleError),
}

/// A waiting block all of whose ancestors are here, its parents, and whom it brings in.
type Connected = (Arc<VerifiedBlock>, Vec<Summary>, Option<Box<Member>>);
/// All of them; and who would belong if all of them counted, where that is not who belongs.
type AllConnected = (Vec<Connected>, Option<Members>);

impl<S: Store> Replica<S> {
    pub(super) fn handle_import(
        &mut self,
        blocks: Vec<Incoming>,
        effects: &mut Vec<Effect>,
    ) -> Result<ImportReport, ReplicaError<S::Error>> {
        let mut report = ImportReport::default();
        for block in blocks {
            match self.offer(block, None, effects)? {
                Outcome::Added => report.added += 1,
                Outcome::Known { .. } => report.known += 1,
                Outcome::Parked => report.parked += 1,
                Outcome::Dropped | Outcome::Refused(_) => report.refused += 1,
            }
        }
        Ok(report)
    }

    /// Takes in a block from outside.
    pub(super) fn offer(
        &mut self,
        incoming: Incoming,
        source: Option<LinkId>,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, ReplicaError<S::Error>> {
        let block = match self.check(incoming) {
            Ok(block) => block,
            Err(error) => return Ok(Outcome::Refused(Refusal::Block(error))),
        };
        // What is kept in memory knows nothing of a repair before the end of its turn.
        if self.is_mending() {
            return self.offer_repair(block, effects);
        }
        if mutant!(HeldUnstored) {
            self.note_source(&block, source);
        }
        if self.ledger.contains(&self.store, &block)? && !mutant!(KnownForgotten) {
            self.note_source(&block, source);
            self.fill(&block, source)?;
            return Ok(Outcome::Known { spare: source.and_then(|source| self.one_too_many(&block, source)) });
        }
        if self.pool.get(&block.hash()).is_some() {
            return Ok(Outcome::Parked);
        }
        let block = match block.verify(&mut self.signers) {
            Ok(block) => block,
            Err(error) => return Ok(Outcome::Refused(Refusal::Block(error))),
        };
        if !self.look_for_forks(&block, source, effects)? {
            return Ok(self.postpone(block.bytes(), source));
        }
        let outcome = self.place(block.clone(), source, effects)?;
        if outcome == Outcome::Added {
            self.place_children(block.hash(), effects)?;
        }
        Ok(outcome)
    }

    /// Rules 1 and the half of 2 that costs little.
    fn check(&self, incoming: Incoming) -> Result<Read, BlockError> {
        let block = incoming.read()?;
        let (came, here) = (block.header().ledger, self.config.ledger);
        if came != here && !mutant!(LedgerUnchecked) {
            return Err(BlockError::WrongLedger { came, here });
        }
        block.check_payloads()?;
        Ok(block)
    }

    fn note_source(&mut self, block: &Block, source: Option<LinkId>) {
        let header = block.header();
        let forked = self.ledger.is_forked(&header.author);
        if let Some(link) = source.and_then(|source| self.links.get_mut(&source)) {
            link.tell_have(header.author, header.height);
            if !forked {
                link.note_has(header.author, header.height);
            }
        }
    }

    /// Adds a verified block or parks it.
    fn place(
        &mut self,
        block: Arc<VerifiedBlock>,
        source: Option<LinkId>,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, ReplicaError<S::Error>> {
        let mut standing = self.ledger.standing(&self.store, &block, self.now)?;
        if matches!(standing, Standing::Ready { .. } | Standing::Zone)
            && let Some(removal) = self.ledger.removal(&self.store, &block)?
        {
            // It holds whatever becomes of the block that brings it.
            let brings = matches!(standing, Standing::Ready { .. }).then_some(&block);
            if !self.learn_from(&Proof::Removal(Arc::new(removal)), brings, source, effects)? {
                return Ok(self.postpone(block.bytes(), source));
            }
            if self.ledger.contains(&self.store, &block)? {
                return Ok(Outcome::Added);
            }
            standing = self.ledger.standing(&self.store, &block, self.now)?;
        }
        let wait = match standing {
            Standing::Ready { previous, newcomer } => {
                self.note_source(&block, source);
                self.meter_block(block.header().author, source);
                let by = newcomer.as_ref().and_then(|member| member.by);
                self.add(block, newcomer, previous, source, effects)?;
                if by.is_some_and(|by| self.ledger.members().by(&by.invite).count() > by.uses as usize) {
                    // It is before another one in ledger order.
                    let void = self.void(&self.ledger.freezes(), &[])?;
                    self.make_void(&void, effects)?;
                }
                return Ok(Outcome::Added);
            }
            Standing::Broken(rule) => return Ok(Outcome::Refused(Refusal::Rule(rule))),
            Standing::Missing(missing) => {
                let unknown: Vec<BlockHash> =
                    missing.into_iter().filter(|hash| self.pool.get(hash).is_none()).collect();
                self.vouchers |= unknown.is_empty() && self.pool.has_zone();
                if let Some(source) = source {
                    self.request(source, &unknown);
                }
                let zone = self.ledger.in_zone(&block.header().author, block.header().height);
                if zone { Wait::Voucher } else { Wait::Parent }
            }
            Standing::Early => Wait::Time,
            Standing::Zone => {
                // What rests on it may have come before it.
                self.vouchers |= !self.pool.children(&block.hash()).is_empty();
                if block.header().height == 1 {
                    self.turn_away(&block.header().author, effects);
                }
                Wait::Voucher
            }
        };
        match self.pool.insert(block, source, wait) {
            Ok(()) => Ok(Outcome::Parked),
            Err(_) => {
                if let Some(link) = source.and_then(|source| self.links.get_mut(&source)) {
                    link.resync = true;
                }
                Ok(Outcome::Dropped)
            }
        }
    }

    /// Places what waited for a block that was added, and so on.
    fn place_children(&mut self, parent: BlockHash, effects: &mut Vec<Effect>) -> Turn<S> {
        let mut added = alloc::vec![parent];
        while let Some(parent) = added.pop() {
            for child in self.pool.children(&parent) {
                let Some(parked) = self.pool.remove(&child) else { continue };
                if self.place(parked.block, parked.source, effects)? == Outcome::Added {
                    added.push(child);
                }
            }
        }
        Ok(())
    }

    /// Places blocks whose time has come.
    pub(super) fn place_due(&mut self, effects: &mut Vec<Effect>) -> Turn<S> {
        self.vouchers |= self.early.is_some_and(|time| time <= self.now.plus(CLOCK_WINDOW));
        while let Some(parked) = self.pool.pop_due(self.now.plus(CLOCK_WINDOW)) {
            let hash = parked.block.hash();
            if self.place(parked.block, parked.source, effects)? == Outcome::Added {
                self.place_children(hash, effects)?;
            }
        }
        Ok(())
    }

    /// Learns the freezes that a new block records, and the one that it makes together with another block. False: not yet,
    /// and until then the block must not be added.
    fn look_for_forks(
        &mut self,
        block: &Block,
        source: Option<LinkId>,
        effects: &mut Vec<Effect>,
    ) -> Result<bool, ReplicaError<S::Error>> {
        for proof in self.proofs.carried(block) {
            if !self.learn(&proof, source, effects)? || self.succession_waits_for(&proof) {
                return Ok(false);
            }
        }
        let (author, height) = (block.header().author, block.header().height);
        if self.ledger.in_zone(&author, height) || mutant!(ForkOverlooked) {
            return Ok(true);
        }
        let parked = self.pool.sibling(author, height, &block.hash()).map(|other| Evidence::new(&other, block));
        let evidence = match parked {
            Some(evidence) => Some(evidence),
            None => self.ledger.sibling(&self.store, block)?.map(|other| Evidence::new(&other, block)),
        };
        match evidence {
            Some(Ok(evidence)) => self.learn(&Proof::Fork(Arc::new(evidence)), source, effects),
            _ => Ok(true),
        }
    }

    /// Freezes a lane, unless it is frozen there or below. A node that writes first vouches for what it has seen, so that
    /// this stays, and then records the freeze. False: not yet, because this node may not write yet.
    pub(super) fn learn(
        &mut self,
        proof: &Proof,
        source: Option<LinkId>,
        effects: &mut Vec<Effect>,
    ) -> Result<bool, ReplicaError<S::Error>> {
        self.learn_from(proof, None, source, effects)
    }

    /// The same, from the block of a removal, which is added first if there is something to learn: it vouches for what it
    /// rests on, and records the freeze.
    fn learn_from(
        &mut self,
        proof: &Proof,
        block: Option<&Arc<VerifiedBlock>>,
        source: Option<LinkId>,
        effects: &mut Vec<Effect>,
    ) -> Result<bool, ReplicaError<S::Error>> {
        let (lane, height) = proof.lane();
        let frozen = self.ledger.frozen_at(&lane);
        if !self.ledger.is_news(proof) || (frozen.is_none() && self.ledger.frozen_lanes() >= FORKED_LANES) {
            return Ok(true);
        }
        if self.is_mending() {
            // Over a ledger with holes nothing can be decided. The proof comes again when heads are compared afterwards.
            return Ok(false);
        }
        if frozen.is_some_and(|frozen| frozen <= height) {
            // The removal of somebody whose lane is frozen so low already: what counts stays as it is.
            self.freeze(proof, effects)?;
            self.own.unrecorded = true;
            return Ok(true);
        }
        let succeeds = self.config.writes && self.config.successor.is_some() && !mutant!(SuccessorUnused);
        if let Proof::Fork(evidence) = proof
            && lane == self.me
            && succeeds
        {
            self.on_own_fork(evidence, source)?;
            return Ok(true);
        }
        let able = lane != self.me && self.is_writer();
        if able && self.own.waits && !self.spoke_elsewhere(source) {
            return Ok(false);
        }
        let writes = able && !self.own.waits;
        let mut freezes = self.ledger.freezes();
        freezes.insert(lane, height);
        if writes
            && !self.void(&freezes, block.map_or(&[], core::slice::from_ref))?.is_empty()
            && !mutant!(VouchForgotten)
        {
            self.vouch(effects)?;
        }
        if let Some(block) = block {
            let mut parents = Vec::new();
            for hash in &block.header().parents {
                parents.extend(self.ledger.summary(&self.store, hash)?);
            }
            self.note_source(block, source);
            self.add(block.clone(), None, self.ledger.latest(&parents), source, effects)?;
        }
        self.freeze(proof, effects)?;
        // Its own first block may be void now: then somebody else records the freeze.
        if writes && self.is_writer() && matches!(proof, Proof::Fork(_)) && !mutant!(FreezeUnrecorded) {
            let entry = Entry::new(Kind::EVIDENCE, self.random.bytes16(), proof.encode());
            self.write(alloc::vec![entry], effects)?;
        } else {
            self.own.unrecorded = true;
        }
        self.spread_freeze(lane, height)?;
        Ok(true)
    }

    /// Freezes a lane, and takes out what is void then. The block of a removal may be in the ledger already.
    pub(super) fn freeze(&mut self, proof: &Proof, effects: &mut Vec<Effect>) -> Turn<S> {
        let (lane, height) = proof.lane();
        let mut freezes = self.ledger.freezes();
        let lower = freezes.get(&lane).is_none_or(|frozen| height < *frozen);
        freezes.insert(lane, height);
        let void = if lower { self.void(&freezes, &[])? } else { Vec::new() };
        self.ledger.freeze(&mut self.store, proof)?;
        if let Proof::Removal(removal) = proof
            && self.store.summary(&removal.hash())?.is_some()
        {
            self.ledger.note_carrier(&mut self.store, (lane, height), removal.time())?;
            self.ledger.note_removals(&mut self.store, &[lane], removal.time())?;
        }
        self.make_void(&void, effects)?;
        self.unerase_zone(&lane, height)?;
        self.pool.freeze(lane, height);
        self.news.members |= self.config.ledger.has_members();
        // Who came in by an invite that is closed now may have found a voucher, and another's place may be free.
        self.vouchers |= self.pool.len() > 0;
        match proof {
            Proof::Fork(evidence) => effects.push(Effect::ForkDetected(evidence.clone())),
            Proof::Removal(removal) => {
                self.epochs.stale = true;
                if !lower && removal.closes().is_none() {
                    // The proof that spreads is of what froze the lane lower.
                    let ready = self.links.values_mut().filter(|link| link.peer().is_some());
                    ready.for_each(|link| _ = link.removals.insert(removed(&lane), lane));
                }
                effects.push(Effect::Removed(removal.clone()));
                if !mutant!(RemovedKept) {
                    self.dismiss(removal, effects);
                }
            }
        }
        self.turn_away_newcomers(effects)
    }

    /// Writes blocks that say nothing until every tip is in their past.
    pub(super) fn vouch(&mut self, effects: &mut Vec<Effect>) -> Turn<S> {
        let seen: Vec<BlockHash> = self.ledger.tips().keys().copied().collect();
        while seen.iter().any(|tip| self.ledger.tips().get(tip).is_some_and(|tip| tip.author != self.me)) {
            let entry = Entry::new(Kind::VOUCHER, self.random.bytes16(), Vec::new());
            self.write(alloc::vec![entry], effects)?;
        }
        Ok(())
    }

    /// The blocks of the ledger that would not count under these freezes. Looks only at what came since the first block
    /// that a freeze could touch; children come after their parents in the answer. `more` are blocks that would be added.
    fn void(
        &mut self,
        freezes: &Freezes,
        more: &[Arc<VerifiedBlock>],
    ) -> Result<Vec<BlockHash>, ReplicaError<S::Error>> {
        let mut start: Option<Timestamp> = None;
        for (lane, height) in freezes {
            if self.ledger.height(lane) >= *height {
                let zone = self.store.lane(lane, *height, SIBLINGS)?;
                let first = zone.iter().map(|record| record.summary.timestamp).min();
                start = start.into_iter().chain(first).min();
            }
        }
        let members = self.ledger.members();
        if !self.has_new_zone(freezes) {
            return Ok(Vec::new());
        }
        let doubtful = members.all().filter(|member| members.needs_voucher(member, freezes));
        start = start.into_iter().chain(doubtful.map(|member| member.key.timestamp).min()).min();
        let Some(start) = start else { return Ok(Vec::new()) };
        let (mut candidates, mut parents) = (Vec::new(), BTreeSet::new());
        let mut key = key_before(start.min(self.ledger.first_carrier()));
        loop {
            let page = self.store.after(key.as_ref(), SCAN)?;
            let Some(last) = page.last() else { break };
            key = Some(last.summary.key());
            for record in &page {
                let block = decode(record.summary.hash, &record.bytes)?;
                // The order is what the store says it is. Where a child comes before its parent, a row was changed.
                if parents.contains(&block.hash()) {
                    return Err(ReplicaError::Damaged(block.hash()));
                }
                parents.extend(block.header().parents.iter().copied());
                let records = self.proofs.recorded(&block);
                candidates.push(Candidate::new(&block, records).among(&block, self.ledger.members(), freezes));
            }
        }
        let stored = candidates.len();
        for block in more {
            let records = self.proofs.recorded(block);
            candidates.push(Candidate::new(block, records).among(block, self.ledger.members(), freezes));
        }
        let rests_on = |lane: &NodeId| self.ledger.members().rests_on(lane);
        let counts = counting(&candidates, freezes, rests_on, |_| Ok::<_, ReplicaError<S::Error>>(Arc::default()))?;
        Ok(candidates[..stored].iter().zip(counts).filter(|(_, counts)| !counts).map(|(c, _)| c.hash).collect())
    }

    /// Whether any block needs a voucher under these freezes that needs none under those of the ledger. Otherwise all that
    /// counts stays: whoever is removed up to its last block costs nothing.
    fn has_new_zone(&self, freezes: &Freezes) -> bool {
        let known = |lane: &NodeId| self.ledger.frozen_at(lane).unwrap_or(u64::MAX);
        let lower: BTreeMap<NodeId, u64> = freezes
            .iter()
            .filter(|(lane, height)| **height < known(lane))
            .map(|(lane, height)| (*lane, *height))
            .collect();
        let came_by =
            |member: &Member| member.by.is_some_and(|by| is_closed(&by.invite, (&by.inviter, by.height), &lower));
        // With the freezes of the ledger, it is a join that has changed.
        lower.is_empty()
            || lower.iter().any(|(lane, height)| self.ledger.height(lane) >= *height)
            || self.ledger.members().all().any(came_by)
    }

    /// Takes void blocks out of the ledger; they wait for a voucher, as far as there is room.
    fn make_void(&mut self, void: &[BlockHash], effects: &mut Vec<Effect>) -> Turn<S> {
        let Some(first) = void.first() else { return Ok(()) };
        if let Some(first) = self.store.summary(first)? {
            self.note_reordered(first.key());
        }
        self.note_own_height()?;
        let (mut erases, mut begun) = (Vec::new(), Vec::new());
        for hash in void {
            if let Some(record) = self.store.block(hash)?
                && let Ok(block) = decode::<S::Error>(*hash, &record.bytes)?.verify()
            {
                self.withheld.remove(record.summary.seq);
                if let Ok(Some(Control::Erase(erase))) = Control::of(&block) {
                    erases.push((*hash, erase));
                }
                if block.header().height == 1 {
                    begun.push(block.header().author);
                }
                // Without room it is asked for again when a voucher comes.
                let _ = self.pool.insert(Arc::new(block), None, Wait::Voucher);
            }
        }
        self.recent.clear();
        self.own.unrecorded = true;
        self.news.members = true;
        self.ledger.remove(&mut self.store, void)?;
        begun.iter().for_each(|node| self.turn_away(node, effects));
        self.unerase_void(&erases)
    }

    /// Adds waiting zone blocks that have found a voucher, and what rests on them. Where many wait, not at every chance: a
    /// liar makes a chance with every block, and each would have all of them gone through.
    pub(super) fn resolve_zone(&mut self, effects: &mut Vec<Effect>) -> Turn<S> {
        while self.vouchers && (self.pool.len() <= ZONE_AT_ONCE || !self.timers.is_set(Timer::Zone)) {
            self.vouchers = false;
            if self.pool.len() > ZONE_AT_ONCE {
                self.timers.set(Timer::Zone, ZONE_EVERY);
            }
            let freezes = self.ledger.freezes();
            let (candidates, members) = self.connected()?;
            let members = members.as_ref().unwrap_or(self.ledger.members());
            let mut list: Vec<Candidate> = Vec::with_capacity(candidates.len());
            for (block, ..) in &candidates {
                let records = self.proofs.recorded(block);
                list.push(Candidate::new(block, records).among(block, members, &freezes));
            }
            self.proofs.bound_pasts();
            let rests_on: BTreeMap<NodeId, Vec<Vec<BlockHash>>> =
                list.iter().map(|candidate| (candidate.author, members.rests_on(&candidate.author))).collect();
            let rests_on = |lane: &NodeId| rests_on.get(lane).cloned().unwrap_or_default();
            let counts = counting(&list, &freezes, rests_on, |parent| self.freezes_up_to(parent))?;
            let mut group: Vec<Connected> = Vec::new();
            for ((connected, candidate), counts) in candidates.into_iter().zip(&list).zip(counts) {
                if counts {
                    group.push(connected);
                } else if candidate.invite.is_some_and(|(_, needs)| needs) {
                    // It may have waited for its parents, and they are here now.
                    if self.pool.wait_for_voucher(&candidate.hash) {
                        self.turn_away(&candidate.author, effects);
                    }
                }
            }
            let removals = self.unknown_removals(group.iter().map(|(block, ..)| block));
            if !removals.is_empty() && self.is_writer() {
                // Where blocks of its own come along, or they come from a peer that has more of those, this node lived longer
                // once and has vouched for what it saw then: doing so again would fork its lane.
                let source = |block: &Arc<VerifiedBlock>| self.pool.get(&block.hash()).and_then(|parked| parked.source);
                let mut blocks = group.iter().map(|(block, ..)| block);
                let spoke = blocks.any(|block| block.header().author == self.me || self.spoke_elsewhere(source(block)));
                if self.own.waits && !spoke {
                    // Not yet: this node would have to vouch first.
                    self.vouchers = true;
                    return Ok(());
                }
                let mut known = freezes;
                removals.iter().for_each(|(_, (lane, height))| lower(&mut known, *lane, *height));
                if !spoke {
                    // What came along and does not rest on a removal was seen before it.
                    let mut after: BTreeSet<BlockHash> = removals.iter().map(|(block, _)| block.hash()).collect();
                    let rests = |(block, ..): &Connected| {
                        let rests = block.header().parents.iter().any(|parent| after.contains(parent));
                        (rests && after.insert(block.hash())) || after.contains(&block.hash())
                    };
                    let (later, earlier) = group.into_iter().partition(rests);
                    group = later;
                    self.add_connected(earlier, effects)?;
                    let later: Vec<Arc<VerifiedBlock>> = group.iter().map(|(block, ..)| block.clone()).collect();
                    if !self.void(&known, &later)?.is_empty() {
                        self.vouch(effects)?;
                    }
                }
            }
            self.add_connected(group, effects)?;
            // Each holds whatever becomes of the blocks on which it rests when another one is in force.
            let mut proofs = Vec::with_capacity(removals.len());
            for (block, freeze) in removals {
                proofs.extend(self.ledger.removal(&self.store, &block)?.map(|removal| (Arc::new(removal), freeze)));
            }
            for (removal, (lane, height)) in proofs {
                self.freeze(&Proof::Removal(removal), effects)?;
                self.own.unrecorded = true;
                self.spread_freeze(lane, height)?;
            }
        }
        Ok(())
    }

    fn add_connected(&mut self, group: Vec<Connected>, effects: &mut Vec<Effect>) -> Turn<S> {
        for (block, parents, newcomer) in group {
            let source = self.pool.remove(&block.hash()).and_then(|parked| parked.source);
            self.note_source(&block, source);
            let previous = self.ledger.latest(&parents);
            self.add(block, newcomer, previous, source, effects)?;
        }
        Ok(())
    }

    /// The removals among these blocks that freeze more than is frozen already.
    fn unknown_removals<'a>(
        &self,
        blocks: impl Iterator<Item = &'a Arc<VerifiedBlock>>,
    ) -> Vec<(Arc<VerifiedBlock>, (NodeId, u64))> {
        let removal = |block: &Arc<VerifiedBlock>| match Control::of(block) {
            Ok(Some(Control::Remove(remove))) => Some((block.clone(), remove.freeze())),
            _ => None,
        };
        let is_news = |(lane, height): (NodeId, u64)| {
            !self.ledger.is_removed(&lane) || self.ledger.frozen_at(&lane).is_none_or(|frozen| frozen > height)
        };
        let blocks = blocks.filter(|_| self.config.ledger.has_members());
        blocks.filter_map(removal).filter(|(_, freeze)| is_news(*freeze)).collect()
    }

    /// The waiting blocks all of whose ancestors are here, in ledger order.
    fn connected(&mut self) -> Result<AllConnected, ReplicaError<S::Error>> {
        let mut members: Option<Members> = None;
        let mut included: BTreeMap<BlockHash, Summary> = BTreeMap::new();
        self.early = None;
        let mut connected = Vec::new();
        for block in self.pool.in_order() {
            let header = block.header();
            let mut parents = Vec::with_capacity(header.parents.len());
            for hash in &header.parents {
                let parent = match included.get(hash) {
                    Some(summary) => Some(*summary),
                    None => self.ledger.summary(&self.store, hash)?,
                };
                parents.extend(parent);
            }
            if parents.len() < header.parents.len() {
                continue;
            }
            if header.timestamp > self.now.plus(CLOCK_WINDOW) {
                self.early = self.early.into_iter().chain([header.timestamp]).min();
                continue;
            }
            let waiting = |hash: &BlockHash| self.pool.get(hash).filter(|_| included.contains_key(hash));
            let named = |hash: &BlockHash| match stored(&self.store, hash)? {
                Some(block) => Ok::<_, ReplicaError<S::Error>>(Some(block)),
                None => Ok(waiting(hash).map(|parked| Block::clone(&parked.block))),
            };
            let members_now = members.as_ref().unwrap_or(self.ledger.members());
            let newcomer = self.ledger.check_member(members_now, &block, named)?;
            let (Ok(()), Ok(newcomer)) = (self.ledger.check_rules(&block, &parents), newcomer) else {
                self.pool.remove(&block.hash());
                continue;
            };
            if let Some(newcomer) = &newcomer {
                members.get_or_insert_with(|| self.ledger.members().clone()).insert(Member::clone(newcomer));
            }
            included.insert(block.hash(), summarise(&block));
            connected.push((block, parents, newcomer));
        }
        Ok((connected, members))
    }

    /// The freezes recorded in a stored block and in its past.
    fn freezes_up_to(&mut self, hash: &BlockHash) -> Result<Arc<Freezes>, ReplicaError<S::Error>> {
        let since = self.ledger.first_carrier();
        let mut next = alloc::vec![*hash];
        while let Some(hash) = next.last().copied() {
            if self.proofs.past(&hash).is_some() {
                next.pop();
                continue;
            }
            let early = self.ledger.summary(&self.store, &hash)?.is_none_or(|summary| summary.timestamp < since);
            let record = if early { None } else { self.store.block(&hash)? };
            let Some(record) = record else {
                self.proofs.note_nothing(hash);
                continue;
            };
            let block = decode(hash, &record.bytes)?;
            let before = next.len();
            next.extend(block.header().parents.iter().filter(|parent| self.proofs.past(parent).is_none()));
            if next.len() == before {
                self.proofs.note_past(&block);
            }
        }
        Ok(self.proofs.past(hash).cloned().unwrap_or_default())
    }
}

/// A place in ledger order before every block of this time.
fn key_before(time: Timestamp) -> Option<OrderKey> {
    let micros = time.micros().checked_sub(1)?;
    Some(OrderKey { timestamp: Timestamp::from_micros(micros)?, hash: BlockHash::from_bytes([255; 32]) })
}
