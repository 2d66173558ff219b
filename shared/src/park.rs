//! Blocks that wait: for a parent, for their time, or for a voucher. In memory only and bounded; what is dropped is asked
//! for again when it matters.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use crate::{
    block::{Block, VerifiedBlock},
    effect::LinkId,
    id::{BlockHash, NodeId},
    limits::{PARKED_BYTES, PARKED_LINK_BYTES, ZONE_BYTES},
    members::Control,
    time::Timestamp,
};

/// What a waiting block costs beside its bytes.
const OVERHEAD: usize = 512;

/// What a block waits for. Vouchers have a bound of their own, so that orphans cannot push out a liar's branch that
/// somebody may have seen, nor the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Parent,
    Time,
    Voucher,
}

#[derive(Debug, Clone)]
pub(crate) struct Parked {
    pub(crate) block: Arc<VerifiedBlock>,
    pub(crate) source: Option<LinkId>,
    wait: Wait,
}

impl Parked {
    fn size(&self) -> usize {
        self.block.bytes().len() + OVERHEAD
    }
}

/// There is no room for the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Debug, Default)]
pub(crate) struct Pool {
    blocks: BTreeMap<BlockHash, Parked>,
    /// Parent, or block that is named → blocks here that rest on it.
    children: BTreeMap<BlockHash, BTreeSet<BlockHash>>,
    heights: BTreeMap<(NodeId, u64), BTreeSet<BlockHash>>,
    times: BTreeSet<(Timestamp, BlockHash)>,
    link_bytes: BTreeMap<LinkId, usize>,
    bytes: usize,
    zone_bytes: usize,
}

impl Pool {
    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.zone_bytes
    }

    pub(crate) fn get(&self, hash: &BlockHash) -> Option<&Parked> {
        self.blocks.get(hash)
    }

    /// A block that waits for a voucher.
    pub(crate) fn void(&self, hash: &BlockHash) -> Option<Block> {
        self.blocks.get(hash).filter(|parked| parked.wait == Wait::Voucher).map(|parked| Block::clone(&parked.block))
    }

    /// Whether blocks that a link brought wait here, other than for a voucher: those are asked for when one comes.
    pub(crate) fn holds_from(&self, link: LinkId) -> bool {
        self.link_bytes.get(&link).is_some_and(|bytes| *bytes > 0)
    }

    pub(crate) fn has_zone(&self) -> bool {
        self.zone_bytes > 0
    }

    /// All that a block here waits for is a voucher. Without room it is asked for again when one comes. Whether it had waited for
    /// something else.
    pub(crate) fn wait_for_voucher(&mut self, hash: &BlockHash) -> bool {
        let Some(parked) = self.remove(hash) else { return false };
        let _ = self.insert(parked.block, parked.source, Wait::Voucher);
        parked.wait != Wait::Voucher
    }

    /// Puts a block in, or changes what it waits for.
    pub(crate) fn insert(&mut self, block: Arc<VerifiedBlock>, source: Option<LinkId>, wait: Wait) -> Result<(), Full> {
        self.remove(&block.hash());
        let parked = Parked { block, source, wait };
        let size = parked.size();
        match (wait, source) {
            (Wait::Voucher, _) if self.zone_bytes + size > ZONE_BYTES => return Err(Full),
            (Wait::Voucher, _) => self.zone_bytes += size,
            (_, Some(link)) => {
                let of_link = self.link_bytes.get(&link).copied().unwrap_or(0) + size;
                if of_link > PARKED_LINK_BYTES || self.bytes + size > PARKED_BYTES {
                    return Err(Full);
                }
                self.link_bytes.insert(link, of_link);
                self.bytes += size;
            }
            (_, None) if self.bytes + size > PARKED_BYTES => return Err(Full),
            (_, None) => self.bytes += size,
        }
        let (hash, header) = (parked.block.hash(), parked.block.header());
        for parent in rests_on(&parked.block) {
            self.children.entry(parent).or_default().insert(hash);
        }
        self.heights.entry((header.author, header.height)).or_default().insert(hash);
        if wait == Wait::Time {
            self.times.insert((header.timestamp, hash));
        }
        self.blocks.insert(hash, parked);
        Ok(())
    }

    pub(crate) fn remove(&mut self, hash: &BlockHash) -> Option<Parked> {
        let parked = self.blocks.remove(hash)?;
        let header = parked.block.header();
        for parent in rests_on(&parked.block) {
            remove_from(&mut self.children, &parent, hash);
        }
        remove_from(&mut self.heights, &(header.author, header.height), hash);
        self.times.remove(&(header.timestamp, *hash));
        match (parked.wait, parked.source) {
            (Wait::Voucher, _) => self.zone_bytes -= parked.size(),
            (_, source) => {
                self.bytes -= parked.size();
                if let Some(link) = source
                    && let Some(bytes) = self.link_bytes.get_mut(&link)
                {
                    *bytes -= parked.size();
                }
            }
        }
        Some(parked)
    }

    /// Forgets what came over a link that is gone: its peer sends it again when it is back. Whether there was anything.
    pub(crate) fn drop_link(&mut self, link: LinkId) -> bool {
        let from_link = |parked: &&Parked| parked.source == Some(link) && parked.wait != Wait::Voucher;
        let hashes: Vec<BlockHash> = self.blocks.values().filter(from_link).map(|parked| parked.block.hash()).collect();
        for hash in &hashes {
            self.remove(hash);
        }
        self.link_bytes.remove(&link);
        !hashes.is_empty()
    }

    /// Blocks here that rest on this one.
    pub(crate) fn children(&self, parent: &BlockHash) -> Vec<BlockHash> {
        self.children.get(parent).into_iter().flatten().copied().collect()
    }

    /// The blocks of this author and height.
    pub(crate) fn at(&self, author: NodeId, height: u64) -> impl Iterator<Item = Arc<VerifiedBlock>> {
        let hashes = self.heights.get(&(author, height)).into_iter().flatten();
        hashes.filter_map(|hash| self.blocks.get(hash)).map(|parked| parked.block.clone())
    }

    /// A block of this author and height with another hash.
    pub(crate) fn sibling(&self, author: NodeId, height: u64, hash: &BlockHash) -> Option<Arc<VerifiedBlock>> {
        self.at(author, height).find(|other| other.hash() != *hash)
    }

    /// The lane is frozen from a height on: what is here of its zone waits for a voucher now.
    pub(crate) fn freeze(&mut self, lane: NodeId, height: u64) {
        let zone: Vec<BlockHash> =
            self.heights.range((lane, height)..=(lane, u64::MAX)).flat_map(|(_, s)| s).copied().collect();
        zone.iter().for_each(|hash| _ = self.wait_for_voucher(hash));
    }

    /// The earliest time that a block here waits for.
    pub(crate) fn next_time(&self) -> Option<Timestamp> {
        self.times.first().map(|(time, _)| *time)
    }

    /// Takes out one block whose time is not after `now`.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Parked> {
        let (_, hash) = *self.times.first().filter(|(time, _)| *time <= now)?;
        self.remove(&hash)
    }

    /// All blocks in ledger order.
    pub(crate) fn in_order(&self) -> Vec<Arc<VerifiedBlock>> {
        let mut blocks: Vec<_> = self.blocks.values().map(|parked| parked.block.clone()).collect();
        if !mutant!(WaitingUnsorted) {
            blocks.sort_by_key(|block| block.key());
        }
        blocks
    }
}

fn rests_on(block: &Block) -> BTreeSet<BlockHash> {
    block.header().parents.iter().copied().chain(Control::named(block)).collect()
}

fn remove_from<K: Ord>(sets: &mut BTreeMap<K, BTreeSet<BlockHash>>, key: &K, hash: &BlockHash) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(hash);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}
