//! Which blocks count, decided anew and as plainly as possible: the rule of `freeze` by its wording, with whole pasts and
//! no shortcut. Slow; only to check the real one against. In a members' ledger also by the wording of the rules for joins.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::{
    block::Block,
    freeze::{Freezes, lower},
    id::{BlockHash, NodeId},
    members::{Control, closed},
    proofs::Proofs,
};

/// A first block that came in by an invite.
struct Joined {
    /// Where the invite's block is, and the inviter's first block.
    invite: usize,
    inviter: usize,
    /// What stands for the invite among the frozen lanes.
    closed: NodeId,
    /// It needs a voucher for the invite's sake.
    needs: bool,
}

/// Who joined by what, by the place of its first block. `index` gives places in ledger order.
fn joined(blocks: &[Block], frozen: &Freezes, index: &BTreeMap<BlockHash, usize>) -> BTreeMap<usize, Joined> {
    let control = |i: usize| Control::of(&blocks[i]).ok().flatten();
    let at_or_above = |node: &NodeId, height: u64| frozen.get(node).is_some_and(|frozen| *frozen <= height);
    let mut all: BTreeMap<usize, Joined> = BTreeMap::new();
    for i in 0..blocks.len() {
        let Some(Control::Join(join)) = control(i) else { continue };
        let Some(invite) = index.get(&join.invite).copied() else { continue };
        let Some(Control::Invite(terms)) = control(invite) else { continue };
        let Some(inviter) = index.get(&terms.join).copied() else { continue };
        let earlier = all
            .iter()
            .filter(|(first, other)| other.invite == invite && !at_or_above(&blocks[**first].header().author, 1));
        let header = blocks[invite].header();
        let needs = earlier.count() >= terms.uses as usize
            || at_or_above(&closed(&join.invite), 1)
            || at_or_above(&header.author, header.height);
        all.insert(i, Joined { invite, inviter, closed: closed(&join.invite), needs });
    }
    all
}

/// The blocks on which a first block rests, itself included: joins and invites.
fn rests_on(first: usize, joined: &BTreeMap<usize, Joined>) -> BTreeSet<usize> {
    let mut blocks = BTreeSet::from([first]);
    let mut next = joined.get(&first);
    while let Some(join) = next {
        blocks.extend([join.invite, join.inviter]);
        next = joined.get(&join.inviter);
    }
    blocks
}

/// The blocks of a set, in ledger order, that do not count.
pub(super) fn void(blocks: &[Block], frozen: &Freezes) -> Vec<BlockHash> {
    let members = blocks.first().is_some_and(|block| block.header().ledger.has_members());
    if blocks.is_empty() || (frozen.is_empty() && !members) {
        return Vec::new();
    }
    let index: BTreeMap<BlockHash, usize> = blocks.iter().enumerate().map(|(i, block)| (block.hash(), i)).collect();
    let joined = if members { joined(blocks, frozen, &index) } else { BTreeMap::new() };
    let named = |i: usize| match Control::of(&blocks[i]) {
        Ok(Some(control)) if members => control.names(),
        _ => Vec::new(),
    };
    let parents = |i: usize| {
        let all: Vec<BlockHash> = blocks[i].header().parents.iter().copied().chain(named(i)).collect();
        all.into_iter().filter_map(|hash| index.get(&hash).copied())
    };
    let mut pasts: Vec<BTreeSet<usize>> = Vec::with_capacity(blocks.len());
    for i in 0..blocks.len() {
        let mut past: BTreeSet<usize> = parents(i).collect();
        parents(i).for_each(|parent| past.extend(&pasts[parent]));
        pasts.push(past);
    }
    let in_zone = |i: &usize| {
        let header = blocks[*i].header();
        let needs = joined.get(i).is_some_and(|join| join.needs);
        needs || frozen.get(&header.author).is_some_and(|height| *height <= header.height)
    };
    let zone: BTreeSet<usize> = (0..blocks.len()).filter(in_zone).collect();
    let mut proofs = Proofs::new(blocks[0].header().ledger);
    let records: Vec<Vec<_>> = blocks.iter().map(|block| proofs.recorded(block)).collect();
    // For each lane the zone blocks on which its beginnings rest: its word counts once those of one have a voucher.
    let mut beginnings: BTreeMap<NodeId, Vec<BTreeSet<usize>>> = BTreeMap::new();
    for i in (0..blocks.len()).filter(|i| members && blocks[*i].header().height == 1) {
        let needed = rests_on(i, &joined).intersection(&zone).copied().collect();
        beginnings.entry(blocks[i].header().author).or_default().push(needed);
    }
    let vouched_by = |i: usize| {
        let mut vouched = BTreeSet::new();
        let zone_past: Vec<usize> = pasts[i].intersection(&zone).copied().collect();
        if zone_past.is_empty() {
            return vouched;
        }
        let mut known = Freezes::new();
        for past in &pasts[i] {
            records[*past].iter().for_each(|(lane, height)| lower(&mut known, *lane, *height));
        }
        for z in zone_past {
            let header = blocks[z].header();
            let covered = known.get(&header.author).is_some_and(|height| *height <= header.height)
                || joined.get(&z).is_some_and(|join| known.contains_key(&join.closed));
            if header.author != blocks[i].header().author && !covered {
                vouched.insert(z);
            }
        }
        vouched
    };
    let vouched_by: Vec<BTreeSet<usize>> = (0..blocks.len()).map(vouched_by).collect();
    let mut counts: BTreeSet<usize> = (0..blocks.len()).collect();
    loop {
        let mut vouched: BTreeSet<usize> = BTreeSet::new();
        loop {
            let before = vouched.len();
            let trusted = |i: &usize| {
                let ways = beginnings.get(&blocks[*i].header().author);
                ways.is_none_or(|ways| ways.iter().any(|needed| needed.is_subset(&vouched)))
            };
            let more: Vec<usize> = counts.iter().copied().filter(trusted).collect();
            more.into_iter().for_each(|i| vouched.extend(&vouched_by[i]));
            if vouched.len() == before {
                break;
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
