//! Which blocks count, decided anew and as plainly as possible: the rule of `freeze` by its wording, with whole pasts and
//! no shortcut. Slow; only to check the real one against.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::{
    block::Block,
    freeze::{Freezes, lower},
    id::BlockHash,
    proofs::Proofs,
};

/// The blocks of a set, in ledger order, that do not count.
pub(super) fn void(blocks: &[Block], frozen: &Freezes) -> Vec<BlockHash> {
    if frozen.is_empty() || blocks.is_empty() {
        return Vec::new();
    }
    let index: BTreeMap<BlockHash, usize> = blocks.iter().enumerate().map(|(i, block)| (block.hash(), i)).collect();
    let parents = |i: usize| blocks[i].header().parents.iter().filter_map(|hash| index.get(hash).copied());
    let mut pasts: Vec<BTreeSet<usize>> = Vec::with_capacity(blocks.len());
    for i in 0..blocks.len() {
        let mut past: BTreeSet<usize> = parents(i).collect();
        parents(i).for_each(|parent| past.extend(&pasts[parent]));
        pasts.push(past);
    }
    let in_zone = |i: &usize| {
        let header = blocks[*i].header();
        frozen.get(&header.author).is_some_and(|height| *height <= header.height)
    };
    let zone: BTreeSet<usize> = (0..blocks.len()).filter(in_zone).collect();
    let mut proofs = Proofs::new(blocks[0].header().ledger);
    let records: Vec<Vec<_>> = blocks.iter().map(|block| proofs.recorded(block)).collect();
    let mut counts: BTreeSet<usize> = (0..blocks.len()).collect();
    loop {
        let mut vouched = BTreeSet::new();
        for i in &counts {
            let zone_past: Vec<&usize> = pasts[*i].intersection(&zone).collect();
            if zone_past.is_empty() {
                continue;
            }
            let mut known = Freezes::new();
            for past in &pasts[*i] {
                records[*past].iter().for_each(|(lane, height)| lower(&mut known, *lane, *height));
            }
            for z in zone_past {
                let header = blocks[*z].header();
                let covered = known.get(&header.author).is_some_and(|height| *height <= header.height);
                if header.author != blocks[*i].header().author && !covered {
                    vouched.insert(*z);
                }
            }
        }
        let next: BTreeSet<usize> = counts
            .iter()
            .copied()
            .filter(|i| {
                (!zone.contains(i) || vouched.contains(i)) && parents(*i).all(|parent| counts.contains(&parent))
            })
            .collect();
        if next == counts {
            break;
        }
        counts = next;
    }
    (0..blocks.len()).filter(|i| !counts.contains(i)).map(|i| blocks[i].hash()).collect()
}
