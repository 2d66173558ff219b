//! Erased payloads go, wherever they are; and payloads that are missing though nobody erased them are asked for until they
//! have come, so that nobody hides what was said by handing it on without.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{Replica, Timer, Turn, control::Granted, names};
use crate::{
    block::{Block, Entry, Kind},
    effect::{Effect, LinkId, WishError},
    erase::{Erase, Erasure, Erasures, Power},
    id::{BlockHash, EntryId, NodeId},
    ledger::checked,
    limits::{WANTED_PER_FRAME, WANTED_PER_LINK, WITHHELD_BLOCKS, WITHHELD_EVERY, WITHHELD_LINKS},
    members::Control,
    replica::{OpenError, ReplicaError},
    store::{Page, Record, Store},
    sync::Link,
    view::{ViewError, find},
    wire::{Lack, Message},
};

/// The blocks whose payloads are asked for, by their arrival numbers: first the one from which on there may be more, or 0.
const META_WITHHELD: &str = "withheld";
const SCAN: Page = Page { blocks: 256, bytes: 1024 * 1024 };
/// Pages of [`SCAN`] that are gone through at once for blocks that found no room in the list.
const PAGES_AT_ONCE: usize = 4;

/// Blocks that lack payloads which nobody has erased.
#[derive(Debug, Default)]
pub(super) struct Withheld {
    seqs: BTreeSet<u64>,
    /// From here on there may be some that found no room.
    more: Option<u64>,
    changed: bool,
}

impl Withheld {
    /// Whether it is new in the list.
    fn insert(&mut self, seq: u64) -> bool {
        if self.seqs.len() >= WITHHELD_BLOCKS && !self.seqs.contains(&seq) {
            self.more = Some(self.more.map_or(seq, |more| more.min(seq)));
            self.changed = true;
            return false;
        }
        let is_new = self.seqs.insert(seq);
        self.changed |= is_new;
        is_new
    }

    pub(super) fn remove(&mut self, seq: u64) {
        self.changed |= self.seqs.remove(&seq);
    }

    fn may_contain(&self, seq: u64) -> bool {
        self.seqs.contains(&seq) || self.more.is_some_and(|more| more <= seq)
    }

    fn has_room_for_more(&self) -> bool {
        self.more.is_some() && self.seqs.len() <= WITHHELD_BLOCKS / 2
    }

    fn is_empty(&self) -> bool {
        self.seqs.is_empty() && self.more.is_none()
    }

    pub(super) fn len(&self) -> usize {
        self.seqs.len()
    }

    fn encode(&self) -> Vec<u8> {
        let numbers = [self.more.unwrap_or(0)].into_iter().chain(self.seqs.iter().copied());
        numbers.flat_map(u64::to_be_bytes).collect()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (numbers, []) = bytes.as_chunks() else { return None };
        let mut numbers = numbers.iter().map(|bytes| u64::from_be_bytes(*bytes));
        let more = numbers.next().filter(|more| *more > 0);
        Some(Self { more, seqs: numbers.take(WITHHELD_BLOCKS).collect(), changed: false })
    }
}

impl<S: Store> Replica<S> {
    /// How many blocks are known to lack payloads that nobody has erased.
    pub fn withheld(&self) -> usize {
        self.withheld.len()
    }

    pub(super) fn load_withheld(&mut self) -> Result<(), OpenError<S::Error>> {
        if let Some(bytes) = self.store.meta(META_WITHHELD).map_err(OpenError::Store)? {
            self.withheld = Withheld::decode(&bytes).ok_or(OpenError::Damaged("its list of withheld payloads"))?;
        }
        if self.ledger.was_rebuilt() {
            self.remake_erasures().map_err(|error| match error {
                ReplicaError::Store(error) => OpenError::Store(error),
                ReplicaError::Damaged(_) => OpenError::Damaged("a block of it"),
            })?;
        }
        Ok(())
    }

    pub(super) fn save_withheld(&mut self) -> Turn<S> {
        if core::mem::take(&mut self.withheld.changed) {
            self.store.set_meta(META_WITHHELD, &self.withheld.encode())?;
        }
        Ok(())
    }

    /// Signs an erase. It is in force at once.
    pub(super) fn erase(&mut self, entry: EntryId, effects: &mut Vec<Effect>) -> Granted<S> {
        let record = match find(&self.store, &entry) {
            Ok(record) => record,
            Err(ViewError::Store(error)) => return Err(error.into()),
            Err(_) => return Ok(Err(WishError::NoEntry(entry))),
        };
        let hash = record.summary.hash;
        if self.erasures(&hash)?.first(entry.index as usize).is_some() {
            return Ok(Err(WishError::Done));
        }
        let power = self.power_over(&entry.author);
        let erase = Erase { block: hash, entry, power };
        let entry = Entry::new(Kind::ERASE, self.random.bytes16(), erase.encode());
        let (block, previous) = self.sign(alloc::vec![entry])?;
        if let Err(error) = self.check_own(&block)? {
            return Ok(Err(error.into()));
        }
        let hash = block.hash();
        self.own.signed = true;
        self.add(block, None, previous, None, effects)?;
        Ok(Ok(hash))
    }

    /// What an erase of somebody's words has to name; nothing for one's own, or where nobody has power over anybody.
    fn power_over(&self, author: &NodeId) -> Option<Power> {
        let first = |node| self.ledger.members().of(node).next().map(|member| member.key.hash);
        if *author == self.me {
            return None;
        }
        Some(Power { join: first(&self.me)?, rests: first(author)? })
    }

    fn erasures(&self, block: &BlockHash) -> Result<Erasures, ReplicaError<S::Error>> {
        Erasures::of(&self.store, block)?.ok_or(ReplicaError::Damaged(*block))
    }

    /// The form of a block in which it is kept: without what was erased.
    pub(super) fn without_erased(&self, block: &Block) -> Result<Block, ReplicaError<S::Error>> {
        let erasures = self.erasures(&block.hash())?;
        Ok(block.strip_at(|index| erasures.first(index).is_some()))
    }

    /// A block was added: it is noted what payloads it lacks.
    pub(super) fn note_lacking(&mut self, block: &Block, seq: u64) -> Turn<S> {
        if block.lacking().next().is_none() {
            return Ok(());
        }
        let erasures = self.erasures(&block.hash())?;
        erasures.note(&mut self.store, &block.hash())?;
        self.note_withheld(block, seq, &erasures);
        Ok(())
    }

    fn note_withheld(&mut self, block: &Block, seq: u64, erasures: &Erasures) {
        if block.lacking().all(|index| erasures.first(index).is_some()) {
            return self.withheld.remove(seq);
        }
        // An old block was passed over by those that were asked before.
        if self.withheld.insert(seq) && seq < self.ledger.last_seq() {
            self.links.values_mut().for_each(|link| link.asked = link.asked.min(seq - 1));
        }
        self.ask_soon();
    }

    /// A block was added: if it erases something, that goes.
    pub(super) fn take_erase(&mut self, block: &Block, effects: &mut Vec<Effect>) -> Turn<S> {
        let Ok(Some(Control::Erase(Erase { block: target, entry, .. }))) = Control::of(block) else { return Ok(()) };
        let (by, height) = (block.header().author, block.header().height);
        if by != entry.author && self.ledger.in_zone(&by, height) {
            return Ok(());
        }
        let mut erasures = self.erasures(&target)?;
        let before = erasures.clone();
        erasures.insert(Erasure { index: entry.index, key: block.key(), by, height });
        if erasures != before {
            erasures.note(&mut self.store, &target)?;
        }
        self.drop_payloads(&target, &erasures)?;
        let index = entry.index as usize;
        if let Some(shown) = erasures.first(index)
            && before.first(index) != Some(shown)
        {
            effects.push(Effect::Erased { entry, by: shown.by, at: shown.key.timestamp });
        }
        Ok(())
    }

    fn drop_payloads(&mut self, hash: &BlockHash, erasures: &Erasures) -> Turn<S> {
        // While blocks are under repair it may be one of them.
        let Some(record) = self.store.block(hash)? else { return Ok(()) };
        let block = checked(&record)?;
        let kept = block.strip_at(|index| erasures.first(index).is_some());
        self.put(&record, &kept)?;
        self.note_withheld(&kept, record.summary.seq, erasures);
        Ok(())
    }

    /// Puts another form of a block in its place.
    fn put(&mut self, record: &Record, block: &Block) -> Turn<S> {
        if block.bytes() != record.bytes {
            self.store.replace(record.summary.seq, Some((&record.summary, block.bytes())))?;
            self.recent.remove(&record.summary);
            self.news.members |= names::has_name(block);
        }
        Ok(())
    }

    /// Blocks are void now and out of the ledger: what they erased is not erased any more. What is gone here is gone, but
    /// others may have it.
    pub(super) fn unerase_void(&mut self, void: &[(BlockHash, Erase)]) -> Turn<S> {
        void.iter().try_for_each(|(hash, erase)| self.unerase(&erase.block, hash))
    }

    /// A lane is frozen: what it erases of others from that height on is not erased, though somebody may have vouched for it.
    pub(super) fn unerase_zone(&mut self, lane: &NodeId, height: u64) -> Turn<S> {
        let (mut height, mut behind) = (height, None);
        while self.ledger.height(lane) >= height {
            let from = behind.unwrap_or(BlockHash::from_bytes([0; 32]));
            let page = self.store.lane_from(lane, height, &from, SCAN)?;
            let is_new = |record: &&Record| (record.summary.height, Some(record.summary.hash)) > (height, behind);
            let fresh: Vec<&Record> = page.iter().filter(is_new).collect();
            let Some(last) = fresh.last().map(|record| record.summary) else { break };
            for record in fresh {
                if let Ok(Some(Control::Erase(erase))) = Control::of(&checked(record)?)
                    && erase.entry.author != *lane
                {
                    self.unerase(&erase.block, &record.summary.hash)?;
                }
            }
            (height, behind) = (last.height, Some(last.hash));
        }
        Ok(())
    }

    fn unerase(&mut self, target: &BlockHash, by: &BlockHash) -> Turn<S> {
        let mut erasures = self.erasures(target)?;
        if !erasures.remove(|hash| hash == by) {
            return Ok(());
        }
        erasures.note(&mut self.store, target)?;
        if let Some(record) = self.store.block(target)? {
            let block = checked(&record)?;
            self.note_withheld(&block, record.summary.seq, &erasures);
            self.note_reordered(block.key());
        }
        Ok(())
    }

    /// A block that is here came again: perhaps with what is missing of it.
    pub(super) fn fill(&mut self, block: &Block, source: Option<LinkId>) -> Turn<S> {
        if self.withheld.is_empty() {
            return Ok(());
        }
        let hash = block.hash();
        if self.ledger.summary(&self.store, &hash)?.is_none_or(|summary| !self.withheld.may_contain(summary.seq)) {
            return Ok(());
        }
        let Some(record) = self.store.block(&hash)? else { return Ok(()) };
        let (here, erasures) = (checked(&record)?, self.erasures(&hash)?);
        let comes = |index: &usize| erasures.first(*index).is_none() && block.entries()[*index].payload().is_some();
        let filled: BTreeSet<usize> = here.lacking().filter(comes).collect();
        if filled.is_empty() {
            return Ok(());
        }
        let full = here.fill_from(block, |index| filled.contains(&index));
        self.put(&record, &full)?;
        self.note_withheld(&full, record.summary.seq, &erasures);
        self.note_reordered(full.key());
        // Who got it from here without may have asked when it was missing here too.
        let lack = Lack::new(hash, filled);
        for (_, link) in self.links.iter_mut().filter(|(id, link)| link.compared && Some(**id) != source) {
            if link.lacked.len() < WANTED_PER_LINK {
                link.lacked.push_back(lack);
            }
        }
        Ok(())
    }

    /// A link's peer may have by now what it had not when it was asked.
    pub(super) fn ask_again(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.asked = 0;
            self.ask_soon();
        }
    }

    fn ask_soon(&mut self) {
        if !self.withheld.is_empty() && !self.timers.is_set(Timer::Withheld) {
            self.timers.set(Timer::Withheld, WITHHELD_EVERY);
        }
    }

    /// Asks some links for the next missing payloads, and goes on later if there are more.
    pub(super) fn on_withheld_due(&mut self) -> Turn<S> {
        self.find_more_withheld()?;
        let mut lacks: BTreeMap<u64, Option<Lack>> = BTreeMap::new();
        let last = self.withheld.seqs.last().copied().unwrap_or(0);
        let asks = |(id, link): (&LinkId, &Link)| (link.compared && link.asked < last).then_some(*id);
        let ids: Vec<LinkId> = self.links.iter().filter_map(asks).collect();
        for id in ids.iter().copied().take(WITHHELD_LINKS) {
            let asked = self.links.get(&id).map_or(u64::MAX, |link| link.asked);
            let next: Vec<u64> =
                self.withheld.seqs.range(asked.saturating_add(1)..).take(WANTED_PER_FRAME).copied().collect();
            let mut wanted = Vec::new();
            for seq in &next {
                if !lacks.contains_key(seq) {
                    let lack = self.lack_of(*seq)?;
                    lacks.insert(*seq, lack);
                }
                wanted.extend(lacks.get(seq).copied().flatten());
            }
            if let (Some(link), Some(last)) = (self.links.get_mut(&id), next.last()) {
                link.asked = *last;
            }
            if !wanted.is_empty() {
                self.say(id, Message::PayloadRequest { lacks: wanted });
            }
        }
        let goes_on = self.links.values().any(|link| link.compared && link.asked < last);
        if goes_on || self.withheld.has_room_for_more() {
            self.ask_soon();
        }
        Ok(())
    }

    /// What is missing of the block with this arrival number; one that lacks nothing is not waited for any more.
    fn lack_of(&mut self, seq: u64) -> Result<Option<Lack>, ReplicaError<S::Error>> {
        let page = self.store.arrived(seq.saturating_sub(1), Page::ONE)?;
        let lack = match page.first().filter(|record| record.summary.seq == seq) {
            Some(record) => {
                let (block, erasures) = (checked(record)?, self.erasures(&record.summary.hash)?);
                let mut missing = block.lacking().filter(|index| erasures.first(*index).is_none()).peekable();
                missing.peek().is_some().then(|| Lack::new(record.summary.hash, missing))
            }
            None => None,
        };
        if lack.is_none() {
            self.withheld.remove(seq);
        }
        Ok(lack)
    }

    /// Once there is room again, the store is gone through for blocks that found none.
    fn find_more_withheld(&mut self) -> Turn<S> {
        for _ in 0..PAGES_AT_ONCE {
            let Some(from) = self.withheld.more.filter(|_| self.withheld.has_room_for_more()) else { return Ok(()) };
            let page = self.store.arrived(from.saturating_sub(1), SCAN)?;
            self.withheld.more = page.last().map(|record| record.summary.seq + 1);
            self.withheld.changed = true;
            for record in &page {
                let block = checked(record)?;
                if block.lacking().next().is_some() {
                    let erasures = self.erasures(&record.summary.hash)?;
                    self.note_withheld(&block, record.summary.seq, &erasures);
                }
            }
        }
        Ok(())
    }

    /// The block, if this replica has a payload of it that a peer lacks, and is not waiting for that itself.
    pub(super) fn payloads_for(&self, lack: &Lack) -> Result<Option<Block>, ReplicaError<S::Error>> {
        let Some(record) = self.store.block(&lack.block)? else { return Ok(None) };
        let block = checked(&record)?;
        let has = |(index, entry): (usize, &Entry)| lack.contains(index) && entry.payload().is_some();
        let helps = block.entries().iter().enumerate().any(has);
        Ok(helps.then_some(block))
    }

    /// Makes anew what is noted of erased and missing payloads, from the blocks themselves: after a repair it may be among
    /// what was lost.
    pub(super) fn remake_erasures(&mut self) -> Turn<S> {
        self.withheld = Withheld { changed: true, ..Withheld::default() };
        let mut key = None;
        loop {
            let page = self.store.after(key.as_ref(), SCAN)?;
            let Some(last) = page.last() else { return Ok(()) };
            key = Some(last.summary.key());
            for record in &page {
                let block = checked(record)?;
                self.note_lacking(&block, record.summary.seq)?;
                // Clients have heard of it.
                self.take_erase(&block, &mut Vec::new())?;
            }
        }
    }
}
