//! One ledger's lanes, tips, freezes and totals: what a replica keeps in memory, bounded by the number of authors.

mod checkpoint;
mod latest;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    sync::Arc,
    vec,
    vec::Vec,
};
use sha2::{Digest, Sha256};
use thiserror::Error;

pub(crate) use self::latest::At;
use self::latest::Latest;
use crate::{
    block::{Block, VerifiedBlock},
    freeze::Freezes,
    id::{BlockHash, LedgerId, NodeId},
    limits::{AUTHORS, CHECKPOINT_BLOCKS, CLOCK_WINDOW, FORKED_LANES},
    members::{Control, Member, MemberError, Members, Newcomer, Removal, closed, removed},
    order::OrderKey,
    parts::{Part, height_of, part_of},
    proofs::{Proof, Proofs},
    repair::has_holes,
    replica::{OpenError, ReplicaError, Totals},
    store::{Page, ReadStore, Record, Store, Summary},
    time::Timestamp,
    wire::Head,
};

const META_LEDGER: &str = "ledger";
pub(crate) const META_CHECKPOINT: &str = "checkpoint";
const META_FROZEN: &str = "frozen";
/// The last arrival number, while what the checkpoint says is to be made anew from the blocks; otherwise empty.
pub(crate) const META_REBUILD: &str = "rebuild";
/// No ledger has more blocks, entries or bytes, nor a lane a greater height: JavaScript holds them exactly.
const COUNT: u64 = Timestamp::MAX.micros();
/// Blocks of one read when many are gone through.
const SCAN: Page = Page { blocks: 256, bytes: 1024 * 1024 };

/// Why a block whose parents are all here breaks a rule. Every replica decides the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum RuleError {
    #[error("a block's first parent is not its author's block of the height before")]
    NotOwnParent,
    #[error("a block's time is before the end of a parent")]
    TimeBeforeParent,
    #[error("this ledger has all the authors it can have")]
    TooManyAuthors,
    #[error(transparent)]
    Member(#[from] MemberError),
}

/// What can be done with a block now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Some parents are not in the ledger.
    Missing(Vec<BlockHash>),
    /// It breaks a rule.
    Broken(RuleError),
    /// It is too far in the future.
    Early,
    /// It is of a frozen lane's zone and needs a voucher.
    Zone,
    /// It can be added; `previous` is its latest parent. A first block of a members' ledger brings a member.
    Ready { previous: BlockHash, newcomer: Option<Box<Member>> },
}

#[derive(Debug, Clone, Copy)]
struct Freeze {
    height: u64,
    /// Time of the earliest block that records a freeze of the lane.
    since: Timestamp,
    /// A block records this freeze, at this height.
    recorded: bool,
    /// The lane's author was removed, or the invite closed: that stays so, whatever freezes the lane lower.
    removal: bool,
    /// It is a member that was removed, whether its first block is here or not, and not an invite that was closed.
    of_member: bool,
    /// Time of the earliest block that tells of the removal.
    told: Timestamp,
}

pub(crate) struct Ledger {
    id: LedgerId,
    lanes: BTreeMap<NodeId, BTreeMap<BlockHash, u64>>,
    tips: BTreeMap<BlockHash, Summary>,
    frozen: BTreeMap<NodeId, Freeze>,
    members: Members,
    latest: Latest,
    last: Option<OrderKey>,
    last_seq: u64,
    totals: Totals,
    unsaved: u64,
    rebuilt: bool,
}

impl Ledger {
    /// A ledger without a block.
    pub(crate) fn new(id: LedgerId) -> Self {
        Self {
            id,
            lanes: BTreeMap::new(),
            tips: BTreeMap::new(),
            frozen: BTreeMap::new(),
            members: Members::default(),
            latest: Latest::default(),
            last: None,
            last_seq: 0,
            totals: Totals::default(),
            unsaved: 0,
            rebuilt: false,
        }
    }

    pub(crate) fn open<S: Store>(id: LedgerId, store: &mut S) -> Result<Self, OpenError<S::Error>> {
        let mut ledger = Self::new(id);
        match store.meta(META_LEDGER).map_err(OpenError::Store)? {
            None => store.set_meta(META_LEDGER, id.as_bytes()).map_err(OpenError::Store)?,
            Some(bytes) if bytes == id.as_bytes() => {}
            Some(bytes) => {
                let came = bytes.try_into().map_err(|_| OpenError::Damaged("its ledger id has not 32 bytes"))?;
                return Err(OpenError::WrongLedger { came: LedgerId::from_bytes(came), here: id });
            }
        }
        if let Some(bytes) = store.meta(META_FROZEN).map_err(OpenError::Store)? {
            ledger.frozen = checkpoint::decode_frozen(&bytes).ok_or(OpenError::Damaged("its list of frozen lanes"))?;
        }
        let rebuild = store.meta(META_REBUILD).map_err(OpenError::Store)?.unwrap_or_default();
        let result = match rebuild.try_into() {
            Ok(last_seq) => {
                ledger.last_seq = u64::from_be_bytes(last_seq);
                if ledger.last_seq > COUNT {
                    return Err(OpenError::Damaged("its last arrival number"));
                }
                ledger.rebuilt = true;
                ledger.rebuild(store)
            }
            Err(_) => {
                if let Some(bytes) = store.meta(META_CHECKPOINT).map_err(OpenError::Store)? {
                    ledger.decode_checkpoint(&bytes).ok_or(OpenError::Damaged("its checkpoint"))?;
                }
                ledger.replay(store).and_then(|()| ledger.find_members(store))
            }
        };
        result.map_err(|error| match error {
            ReplicaError::Store(error) => OpenError::Store(error),
            ReplicaError::Damaged(_) => OpenError::Damaged("a block of it"),
        })?;
        Ok(ledger)
    }

    /// Makes all that is kept in memory anew from the blocks: after a repair, when the list of frozen lanes may be among what
    /// was lost.
    pub(crate) fn rebuild<S: Store>(&mut self, store: &mut S) -> Result<(), ReplicaError<S::Error>> {
        self.recount(store)?;
        if self.learn_again(store)? {
            self.recount(store)?;
        }
        store.set_meta(META_REBUILD, &[])?;
        Ok(self.save(store)?)
    }

    /// Makes what is kept in memory anew from the blocks, in ledger order: arrival numbers do not tell any more that parents
    /// came before children. Which lanes are frozen stays: whoever learns a freeze decides what is void then.
    fn recount<S: Store>(&mut self, store: &mut S) -> Result<(), ReplicaError<S::Error>> {
        self.lanes.clear();
        self.tips.clear();
        self.latest = Latest::default();
        self.last = None;
        self.totals = Totals::default();
        self.frozen.values_mut().for_each(|freeze| (freeze.recorded, freeze.told) = (false, Timestamp::MAX));
        // `note` leaves the last arrival number where it is: no row has a higher one.
        let mut proofs = Proofs::new(self.id);
        let mut key = None;
        loop {
            let page = store.after(key.as_ref(), SCAN)?;
            let Some(last) = page.last() else { break };
            key = Some(last.summary.key());
            for record in &page {
                let block = checked(record)?;
                if self.last.is_some_and(|last| record.summary.key() <= last) {
                    return Err(ReplicaError::Damaged(record.summary.hash));
                }
                self.note(&record.summary, &block);
                for record in proofs.recorded(&block) {
                    self.note_carrier(store, record, block.header().timestamp)?;
                }
                self.note_removals(store, &proofs.removals(&block), block.header().timestamp)?;
            }
        }
        self.find_members(store)?;
        Ok(store.set_meta(META_FROZEN, &self.encode_frozen())?)
    }

    /// Learns the freezes that blocks of the ledger record. Whether there was one that was not known.
    fn learn_again<S: Store>(&mut self, store: &mut S) -> Result<bool, ReplicaError<S::Error>> {
        let mut proofs = Proofs::new(self.id);
        let (mut key, mut any) = (None, false);
        loop {
            let page = store.after(key.as_ref(), SCAN)?;
            let Some(last) = page.last() else { return Ok(any) };
            key = Some(last.summary.key());
            for record in &page {
                let block = checked(record)?;
                let removal = self.removal(store, &block)?.map(|removal| Proof::Removal(Arc::new(removal)));
                for proof in proofs.carried(&block).into_iter().chain(removal) {
                    let room = self.frozen.len() < FORKED_LANES || self.frozen.contains_key(&proof.lane().0);
                    if self.is_news(&proof) && room {
                        self.freeze(store, &proof)?;
                        any = true;
                    }
                }
            }
        }
    }

    /// Makes the list of members anew from the first block of each lane.
    fn find_members<S: Store>(&mut self, store: &S) -> Result<(), ReplicaError<S::Error>> {
        self.members.clear();
        if !self.id.has_members() {
            return Ok(());
        }
        let mut firsts = Vec::new();
        for lane in self.lanes.keys() {
            // One, unless the lane began more than once.
            let mut last: Option<BlockHash> = None;
            loop {
                let from = last.unwrap_or(BlockHash::from_bytes([0; 32]));
                let blocks = 1 + usize::from(last.is_some());
                let page = store.lane_from(lane, 1, &from, Page { blocks, bytes: usize::MAX })?;
                let is_next = |s: &Summary| s.height == 1 && last.is_none_or(|last| s.hash > last);
                let Some(record) = page.iter().find(|record| is_next(&record.summary)) else { break };
                firsts.push(checked(record)?);
                last = Some(record.summary.hash);
            }
        }
        // Whoever invited came in before.
        firsts.sort_unstable_by_key(Block::key);
        for block in firsts {
            match self.members.check(&self.id, &block, |hash| stored(store, hash))? {
                Ok(newcomer) => newcomer.into_iter().for_each(|member| self.members.insert(*member)),
                // What it rests on may be among what is still to come.
                Err(_) if has_holes(store)? => {}
                Err(_) => return Err(ReplicaError::Damaged(block.hash())),
            }
        }
        Ok(())
    }

    /// Takes in the blocks that arrived after the checkpoint.
    fn replay<S: Store>(&mut self, store: &S) -> Result<(), ReplicaError<S::Error>> {
        loop {
            let page = store.arrived(self.last_seq, SCAN)?;
            if page.is_empty() {
                return Ok(());
            }
            for record in &page {
                let (summary, block) = (&record.summary, checked(record)?);
                // Exchanged pages give the rows in another order, or hide some: a tip that is none would stay.
                if summary.seq <= self.last_seq || !self.follows_own(store, summary, &block.header().parents)? {
                    return Err(ReplicaError::Damaged(summary.hash));
                }
                self.note(summary, &block);
            }
        }
    }

    /// Whether the block before this one in its lane came before it.
    fn follows_own<S: ReadStore>(&self, store: &S, summary: &Summary, parents: &[BlockHash]) -> Result<bool, S::Error> {
        let Some(own) = parents.first().filter(|_| summary.height > 1) else { return Ok(true) };
        if self.lanes.get(&summary.author).is_some_and(|lane| lane.contains_key(own)) {
            return Ok(true);
        }
        // In a forked lane it may have another child already.
        Ok(store.summary(own)?.is_some_and(|before| before.seq < summary.seq))
    }

    /// What a new block changes in memory.
    fn note(&mut self, summary: &Summary, block: &Block) {
        let parents = &block.header().parents;
        for parent in parents {
            self.tips.remove(parent);
        }
        self.tips.insert(summary.hash, *summary);
        let lane = self.lanes.entry(summary.author).or_default();
        if let Some(own) = parents.first().filter(|_| summary.height > 1) {
            lane.remove(own);
        }
        lane.insert(summary.hash, summary.height);
        self.last = self.last.max(Some(summary.key()));
        self.last_seq = self.last_seq.max(summary.seq);
        self.totals.blocks += 1;
        self.totals.entries += u64::from(summary.entries);
        self.totals.bytes += block.full_len() as u64;
        self.unsaved += 1 + u64::from(summary.entries) / 16;
        self.latest.note(block, |invite| self.frozen.contains_key(&closed(invite)));
    }

    /// What can be done with a block that is not in the ledger.
    pub(crate) fn standing<S: ReadStore>(
        &self,
        store: &S,
        block: &Block,
        now: Timestamp,
    ) -> Result<Standing, ReplicaError<S::Error>> {
        let header = block.header();
        let (mut parents, mut missing) = (Vec::new(), Vec::new());
        for hash in &header.parents {
            match self.summary(store, hash)? {
                Some(summary) => parents.push(summary),
                None => missing.push(*hash),
            }
        }
        for hash in Control::named(block) {
            if self.summary(store, &hash)?.is_none() && !missing.contains(&hash) {
                missing.push(hash);
            }
        }
        if !missing.is_empty() {
            return Ok(Standing::Missing(missing));
        }
        if let Err(error) = self.check_rules(block, &parents) {
            return Ok(Standing::Broken(error));
        }
        let newcomer = match self.check_member(&self.members, block, |hash| stored(store, hash))? {
            Ok(newcomer) => newcomer,
            Err(error) => return Ok(Standing::Broken(error.into())),
        };
        if header.timestamp > now.plus(CLOCK_WINDOW) && !mutant!(FutureAdded) {
            if mutant!(FutureRefused) {
                return Ok(Standing::Broken(RuleError::TimeBeforeParent));
            }
            return Ok(Standing::Early);
        }
        let surplus = |member: &Member| self.members.needs_voucher(member, &self.freezes());
        if (newcomer.as_deref().is_some_and(surplus) || self.in_zone(&header.author, header.height))
            && !mutant!(ZoneUnvouched)
        {
            return Ok(Standing::Zone);
        }
        Ok(Standing::Ready { previous: self.latest(&parents), newcomer })
    }

    /// The rules of who belongs and who erases, for a block all of whose parents are here. Returns the newcomer of a first
    /// block.
    pub(crate) fn check_member<E>(
        &self,
        members: &Members,
        block: &Block,
        named: impl Fn(&BlockHash) -> Result<Option<Block>, E>,
    ) -> Result<Newcomer, E> {
        members.check(&self.id, block, named)
    }

    /// The proof that a removal makes with what it rests on; `None` for a block that is none, or that breaks a rule.
    pub(crate) fn removal<S: ReadStore>(
        &self,
        store: &S,
        block: &Block,
    ) -> Result<Option<Removal>, ReplicaError<S::Error>> {
        let Ok(Some(Control::Remove(remove))) = Control::of(block) else { return Ok(None) };
        let mut hashes = BTreeSet::new();
        let mut target = remove.rests;
        if self.members.get(&target).is_none()
            && let Some(record) = store.block(&target)?
            && let Ok(Some(Control::Invite(invite))) = Control::of(&checked(&record)?)
        {
            hashes.insert(target);
            target = invite.join;
        }
        for member in [&remove.join, &target].into_iter().filter_map(|join| self.members.get(join)) {
            for member in self.members.chain(member) {
                hashes.insert(member.key.hash);
                hashes.extend(member.by.map(|by| by.invite));
            }
        }
        let mut blocks = Vec::with_capacity(hashes.len() + 1);
        for hash in hashes {
            blocks.extend(store.block(&hash)?.map(|record| checked(&record)).transpose()?);
        }
        blocks.sort_unstable_by_key(Block::key);
        blocks.push(block.clone());
        Ok(Removal::new(blocks).ok())
    }

    /// Rules 4 and 5, and the bound on authors; `parents` are those of the block, in its order.
    pub(crate) fn check_rules(&self, block: &Block, parents: &[Summary]) -> Result<(), RuleError> {
        let header = block.header();
        let own = || parents.first().is_some_and(|p| p.author == header.author && p.height == header.height - 1);
        if header.height > 1 && !own() && !mutant!(OwnParentUnchecked) {
            return Err(RuleError::NotOwnParent);
        }
        if parents.iter().any(|parent| parent.end() > header.timestamp) && !mutant!(TimeUnchecked) {
            return Err(RuleError::TimeBeforeParent);
        }
        if self.lanes.len() >= AUTHORS && !self.lanes.contains_key(&header.author) {
            return Err(RuleError::TooManyAuthors);
        }
        Ok(())
    }

    /// The latest of these parents in ledger order; the genesis, if there is none.
    pub(crate) fn latest(&self, parents: &[Summary]) -> BlockHash {
        let latest = parents.iter().map(Summary::key).max();
        let latest = if mutant!(PreviousEarliest) { parents.iter().map(Summary::key).min() } else { latest };
        latest.map_or(BlockHash::from_bytes(*self.id.as_bytes()), |key| key.hash)
    }

    /// Adds a block that is [`Standing::Ready`], or that counts by its voucher. Returns its arrival number, and whether it
    /// landed between older ones. `records` are the freezes for which the block carries true proofs.
    pub(crate) fn add<S: Store>(
        &mut self,
        store: &mut S,
        block: &VerifiedBlock,
        newcomer: Option<Box<Member>>,
        records: &[(NodeId, u64)],
    ) -> Result<(u64, bool), S::Error> {
        let added = self.put(store, block, newcomer)?;
        for record in records.iter().filter(|_| !mutant!(CarrierForgotten)) {
            self.note_carrier(store, *record, block.header().timestamp)?;
        }
        if self.unsaved >= CHECKPOINT_BLOCKS {
            self.save(store)?;
        }
        Ok(added)
    }

    /// Adds a block, and nothing to what the next start reads beside the blocks.
    pub(crate) fn put<S: Store>(
        &mut self,
        store: &mut S,
        block: &VerifiedBlock,
        newcomer: Option<Box<Member>>,
    ) -> Result<(u64, bool), S::Error> {
        let summary = Summary { seq: self.last_seq + 1, ..summarise(block) };
        let late = self.last.is_some_and(|last| summary.key() < last);
        let last = self.last.filter(|_| late && mutant!(ArrivalOrder));
        let summary = last.map_or(summary, |last| Summary { timestamp: last.timestamp.plus(1), ..summary });
        store.append(&summary, block.bytes())?;
        self.note(&summary, block);
        newcomer.into_iter().for_each(|member| self.members.insert(*member));
        Ok((summary.seq, late))
    }

    pub(crate) fn note_carrier<S: Store>(
        &mut self,
        store: &mut S,
        (lane, height): (NodeId, u64),
        time: Timestamp,
    ) -> Result<(), S::Error> {
        let Some(freeze) = self.frozen.get_mut(&lane) else { return Ok(()) };
        let recorded = freeze.recorded || height == freeze.height;
        if time < freeze.since || recorded != freeze.recorded {
            (freeze.since, freeze.recorded) = (time.min(freeze.since), recorded);
            store.set_meta(META_FROZEN, &self.encode_frozen())?;
        }
        Ok(())
    }

    /// Notes that a block tells of removals.
    pub(crate) fn note_removals<S: Store>(
        &mut self,
        store: &mut S,
        lanes: &[NodeId],
        time: Timestamp,
    ) -> Result<(), S::Error> {
        for lane in lanes {
            let Some(freeze) = self.frozen.get_mut(lane).filter(|freeze| freeze.removal && time < freeze.told) else {
                continue;
            };
            freeze.told = time;
            store.set_meta(META_FROZEN, &self.encode_frozen())?;
        }
        Ok(())
    }

    /// Whether a proof freezes more than is frozen, or removes whoever was not removed yet.
    pub(crate) fn is_news(&self, proof: &Proof) -> bool {
        let (lane, height) = proof.lane();
        let removes = matches!(proof, Proof::Removal(_)) && !self.is_removed(&lane) && !mutant!(ForkedUnremovable);
        removes || self.frozen_at(&lane).is_none_or(|frozen| height < frozen)
    }

    /// Records a freeze and its proof. The lowest height of a lane stays, and that its author was removed.
    pub(crate) fn freeze<S: Store>(&mut self, store: &mut S, proof: &Proof) -> Result<(), S::Error> {
        let (lane, height) = proof.lane();
        let mut freeze = self.frozen.get(&lane).copied().unwrap_or(Freeze {
            height: u64::MAX,
            since: Timestamp::MAX,
            recorded: false,
            removal: false,
            of_member: false,
            told: Timestamp::MAX,
        });
        if height < freeze.height {
            (freeze.height, freeze.recorded) = (height, false);
            store.set_meta(&evidence_key(&lane), &proof.encode())?;
        }
        if mutant!(ForkedUnremovable) {
            freeze.removal = false;
        }
        if let Proof::Removal(removal) = proof
            && !freeze.removal
        {
            (freeze.removal, freeze.of_member) = (true, removal.closes().is_none());
            store.set_meta(&removal_key(&lane), &proof.encode())?;
        }
        self.frozen.insert(lane, freeze);
        if mutant!(FreezeUnsaved) {
            return Ok(());
        }
        store.set_meta(META_FROZEN, &self.encode_frozen())
    }

    /// Takes void blocks out of the store, and what is kept in memory anew from what stays.
    pub(crate) fn remove<S: Store>(&mut self, store: &mut S, void: &[BlockHash]) -> Result<(), ReplicaError<S::Error>> {
        for hash in void {
            store.remove(hash)?;
        }
        if mutant!(VoidStillKept) {
            return Ok(());
        }
        self.recount(store)?;
        Ok(self.save(store)?)
    }

    pub(crate) fn save<S: Store>(&mut self, store: &mut S) -> Result<(), S::Error> {
        self.unsaved = 0;
        store.set_meta(META_CHECKPOINT, &self.encode_checkpoint())
    }

    /// Whether what is in memory was made anew at the start, after a repair.
    pub(crate) fn was_rebuilt(&self) -> bool {
        self.rebuilt
    }

    pub(crate) fn unsaved(&self) -> bool {
        self.unsaved > 0
    }

    /// What is known of a stored block; for a tip without asking the store.
    pub(crate) fn summary<S: ReadStore>(&self, store: &S, hash: &BlockHash) -> Result<Option<Summary>, S::Error> {
        match self.tips.get(hash) {
            Some(summary) => Ok(Some(*summary)),
            None => store.summary(hash),
        }
    }

    /// Whether a block is in the ledger.
    pub(crate) fn contains<S: ReadStore>(&self, store: &S, block: &Block) -> Result<bool, S::Error> {
        let header = block.header();
        match self.lanes.get(&header.author) {
            None => Ok(false),
            // Above every tip of its lane nothing is stored.
            Some(lane) if lane.values().all(|height| *height < header.height) => Ok(false),
            Some(_) => Ok(self.summary(store, &block.hash())?.is_some()),
        }
    }

    /// A stored block with the author and height of this one, and another hash.
    pub(crate) fn sibling<S: ReadStore>(
        &self,
        store: &S,
        block: &Block,
    ) -> Result<Option<Block>, ReplicaError<S::Error>> {
        let header = block.header();
        if self.lanes.get(&header.author).is_none_or(|lane| lane.values().all(|height| *height < header.height)) {
            return Ok(None);
        }
        let page = store.lane(&header.author, header.height, Page { blocks: 2, bytes: usize::MAX })?;
        let other = |s: &Summary| s.height == header.height && s.hash != block.hash();
        match page.iter().find(|record| other(&record.summary)) {
            Some(record) => Ok(Some(decode(record.summary.hash, &record.bytes)?)),
            None => Ok(None),
        }
    }

    pub(crate) fn in_zone(&self, author: &NodeId, height: u64) -> bool {
        self.frozen.get(author).is_some_and(|freeze| freeze.height + u64::from(mutant!(ZoneTooHigh)) <= height)
    }

    pub(crate) fn freezes(&self) -> Freezes {
        self.frozen.iter().map(|(lane, freeze)| (*lane, freeze.height)).collect()
    }

    pub(crate) fn frozen_at(&self, lane: &NodeId) -> Option<u64> {
        self.frozen.get(lane).map(|freeze| freeze.height)
    }

    /// Whether a lane is frozen by a removal.
    pub(crate) fn is_removed(&self, lane: &NodeId) -> bool {
        self.frozen.get(lane).is_some_and(|freeze| freeze.removal)
    }

    /// The latest time of a block that was the first to tell of somebody's removal.
    pub(crate) fn last_removal(&self) -> Option<Timestamp> {
        let times = self.frozen.values().filter(|freeze| freeze.removal && freeze.of_member).map(|freeze| freeze.told);
        times.filter(|time| *time < Timestamp::MAX).max()
    }

    /// The members that were removed, by what stands for that among the heads.
    pub(crate) fn removals(&self) -> BTreeMap<NodeId, NodeId> {
        let of_member = self.frozen.iter().filter(|(_, freeze)| freeze.removal && freeze.of_member);
        of_member.map(|(lane, _)| (removed(lane), *lane)).collect()
    }

    /// The frozen lanes whose freeze no block records.
    pub(crate) fn unrecorded(&self) -> Vec<NodeId> {
        self.frozen.iter().filter(|(_, freeze)| !freeze.recorded).map(|(lane, _)| *lane).collect()
    }

    /// The removed lanes of whose removal no block tells.
    pub(crate) fn untold(&self) -> Vec<NodeId> {
        let is_untold = |freeze: &Freeze| freeze.removal && freeze.told == Timestamp::MAX;
        self.frozen.iter().filter(|(_, freeze)| is_untold(freeze)).map(|(lane, _)| *lane).collect()
    }

    pub(crate) fn frozen_lanes(&self) -> usize {
        self.frozen.len()
    }

    /// Time of the earliest block that records any freeze.
    pub(crate) fn first_carrier(&self) -> Timestamp {
        self.frozen.values().map(|freeze| freeze.since).min().unwrap_or(Timestamp::MAX)
    }

    /// Who belongs; empty in an open ledger.
    pub(crate) fn members(&self) -> &Members {
        &self.members
    }

    pub(crate) fn tips(&self) -> &BTreeMap<BlockHash, Summary> {
        &self.tips
    }

    pub(crate) fn lanes(&self) -> &BTreeMap<NodeId, BTreeMap<BlockHash, u64>> {
        &self.lanes
    }

    /// Height of the highest block of a lane, 0 if it has none.
    pub(crate) fn height(&self, author: &NodeId) -> u64 {
        self.lanes.get(author).and_then(|lane| lane.values().max().copied()).unwrap_or(0)
    }

    /// Whether a lane may have several blocks of one height.
    pub(crate) fn is_forked(&self, author: &NodeId) -> bool {
        self.frozen.contains_key(author) || self.lanes.get(author).is_some_and(|lane| lane.len() > 1)
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Takes an arrival number.
    pub(crate) fn next_seq(&mut self) -> u64 {
        self.last_seq += 1;
        self.last_seq
    }

    /// The heads of all lanes, forked ones without a block that counts included, ascending by author. Whoever was removed has one
    /// more, that stands for this: a fork may freeze its lane lower.
    pub(crate) fn heads(&self) -> Vec<Head> {
        let mut heads: BTreeMap<NodeId, Head> = BTreeMap::new();
        for (author, lane) in &self.lanes {
            let mut tips: Vec<(u64, BlockHash)> = lane.iter().map(|(hash, height)| (*height, *hash)).collect();
            tips.sort_unstable();
            heads.insert(*author, Head { author: *author, tips, frozen: 0 });
        }
        for (author, freeze) in &self.frozen {
            let head = heads.entry(*author).or_insert(Head { author: *author, tips: Vec::new(), frozen: 0 });
            head.frozen = freeze.height;
        }
        for author in self.removals().into_keys() {
            heads.insert(author, Head { author, tips: Vec::new(), frozen: 1 });
        }
        heads.into_values().collect()
    }

    /// SHA-256 over all heads. Heads name their whole past, so equal digests mean equal ledgers.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut digest = self.digest_of(b"cairn/digest/1");
        self.heads().iter().for_each(|head| add_head(&mut digest, head));
        digest.finalize().into()
    }

    /// All heads, in so many parts.
    pub(crate) fn heads_in_parts(&self, number: usize) -> Vec<Vec<Head>> {
        let mut parts = vec![Vec::new(); number];
        let heads = if number == 0 { Vec::new() } else { self.heads() };
        for head in heads {
            parts.get_mut(part_of(&head.author, number)).into_iter().for_each(|part| part.push(head.clone()));
        }
        parts
    }

    /// What is said of a part with these heads.
    pub(crate) fn part(&self, heads: &[Head]) -> Part {
        let mut digest = self.digest_of(b"cairn/part/1");
        heads.iter().for_each(|head| add_head(&mut digest, head));
        let digest = digest.finalize().first_chunk().copied().unwrap_or_default();
        Part { digest, heights: heads.iter().map(height_of).collect() }
    }

    fn digest_of(&self, label: &[u8]) -> Sha256 {
        Sha256::new().chain_update(label).chain_update(self.id.as_bytes())
    }
}

fn add_head(digest: &mut Sha256, head: &Head) {
    digest.update(head.author.as_bytes());
    digest.update(head.frozen.to_be_bytes());
    digest.update((head.tips.len() as u64).to_be_bytes());
    for (height, hash) in &head.tips {
        digest.update(height.to_be_bytes());
        digest.update(hash.as_bytes());
    }
}

/// The proof that froze a lane.
///
/// # Errors
/// When the store cannot be read.
pub fn stored_evidence<S: ReadStore>(store: &S, lane: &NodeId) -> Result<Option<Vec<u8>>, S::Error> {
    store.meta(&evidence_key(lane))
}

/// The proof by which a lane's author was removed.
pub(crate) fn stored_removal<S: ReadStore>(store: &S, lane: &NodeId) -> Result<Option<Vec<u8>>, S::Error> {
    store.meta(&removal_key(lane))
}

fn removal_key(lane: &NodeId) -> String {
    format!("removal/{lane}")
}

fn evidence_key(lane: &NodeId) -> String {
    format!("evidence/{lane}")
}

/// Reads a block of this replica's own store.
pub(crate) fn decode<E>(hash: BlockHash, bytes: &[u8]) -> Result<Block, ReplicaError<E>> {
    match Block::decode(bytes) {
        Ok(block) if block.hash() == hash => Ok(block),
        _ => Err(ReplicaError::Damaged(hash)),
    }
}

/// A block of this replica's own store.
pub(crate) fn stored<S: ReadStore>(store: &S, hash: &BlockHash) -> Result<Option<Block>, ReplicaError<S::Error>> {
    store.block(hash)?.map(|record| decode(*hash, &record.bytes)).transpose()
}

/// The block of a record that this replica reads from its store: what it hands on is what was signed, whatever became of
/// the disk.
pub(crate) fn checked<E>(record: &Record) -> Result<Block, ReplicaError<E>> {
    let block = decode(record.summary.hash, &record.bytes)?;
    let seq = record.summary.seq;
    if seq <= COUNT && (Summary { seq, ..summarise(&block) }) == record.summary {
        Ok(block)
    } else {
        Err(ReplicaError::Damaged(record.summary.hash))
    }
}

/// Has the next start make anew what is kept in memory.
pub(crate) fn forget_checkpoint<S: Store>(store: &mut S, last_seq: u64) -> Result<(), S::Error> {
    store.set_meta(META_REBUILD, &last_seq.to_be_bytes())
}

/// What a store will know of a block; its arrival number is still 0.
pub(crate) fn summarise(block: &Block) -> Summary {
    let header = block.header();
    Summary {
        seq: 0,
        hash: block.hash(),
        author: header.author,
        height: header.height,
        timestamp: header.timestamp,
        entries: block.entries().len() as u32,
    }
}
