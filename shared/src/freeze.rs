//! Which blocks count once lanes are frozen: a function of the set of blocks and freezes, never of their arrival.
//!
//! A freeze `(lane, height)` makes the lane's blocks at or above that height its *zone*. A zone block needs a *voucher*: a
//! block that counts, of another lane, with the zone block in its past and no freeze covering that block in its past. The
//! blocks that count are the largest set that holds all parents of its members and a voucher for each of its zone blocks.
//!
//! In a members' ledger a join needs a voucher too, when its invite is closed or was used up before it in ledger order. And
//! only the word of a lane counts that rests on nothing without a voucher: whoever came in by a zone block does not vouch
//! before somebody has vouched for that block who did not come in so. Otherwise those whom a removed member lets in would
//! vouch for it, and it for them.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use crate::{
    block::{Block, Header},
    id::{BlockHash, NodeId},
    members::{Control, Members, closed},
};

/// Lane → lowest frozen height.
pub(crate) type Freezes = BTreeMap<NodeId, u64>;

/// What deciding needs of a block.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) hash: BlockHash,
    pub(crate) author: NodeId,
    pub(crate) height: u64,
    /// And the blocks that it names.
    pub(crate) parents: Vec<BlockHash>,
    /// The freezes that the block itself records.
    pub(crate) records: Vec<(NodeId, u64)>,
    /// For a join what stands for its invite among the frozen lanes, and whether it needs a voucher for that invite's sake.
    pub(crate) invite: Option<(NodeId, bool)>,
}

impl Candidate {
    pub(crate) fn new(block: &Block, records: Vec<(NodeId, u64)>) -> Self {
        let Header { author, height, parents, .. } = block.header();
        Self { hash: block.hash(), author: *author, height: *height, parents: parents.clone(), records, invite: None }
    }

    /// Adds what follows from what it names, and from who belongs.
    pub(crate) fn among(mut self, block: &Block, members: &Members, frozen: &Freezes) -> Self {
        self.parents.extend(Control::named(block));
        let by = members.get(&self.hash).and_then(|member| Some((member, member.by?)));
        self.invite = by.map(|(member, by)| (closed(&by.invite), members.needs_voucher(member, frozen)));
        self
    }

    /// Whether a freeze that is known covers it.
    fn is_covered(&self, known: &Freezes) -> bool {
        known.get(&self.author).is_some_and(|height| self.height >= *height)
            || self.invite.is_some_and(|(closed, _)| known.contains_key(&closed))
    }
}

/// Lowers the freeze of a lane.
pub(crate) fn lower(freezes: &mut Freezes, lane: NodeId, height: u64) {
    let entry = freezes.entry(lane).or_insert(height);
    *entry = height.min(*entry);
}

/// What is known of a candidate's past: the freezes recorded in it, and its highest zone blocks by branch.
#[derive(Debug, Clone, Default)]
struct Past {
    freezes: Freezes,
    zones: BTreeMap<usize, usize>,
}

/// The zone among the candidates: each zone block's branch of its lane, and its predecessor in the zone.
#[derive(Debug, Default)]
struct Zone {
    branch: BTreeMap<usize, usize>,
    before: BTreeMap<usize, usize>,
}

/// Decides which candidates count. They are given in topological order and with everything that rests on any of them; all
/// other parents are blocks that count whatever happens, and `base` tells the freezes that those have recorded in their
/// past and in themselves. `rests_on` tells the blocks on which each beginning of a lane rests.
///
/// # Errors
/// Those of `base`.
pub(crate) fn counting<E>(
    candidates: &[Candidate],
    frozen: &Freezes,
    rests_on: impl Fn(&NodeId) -> Vec<Vec<BlockHash>>,
    mut base: impl FnMut(&BlockHash) -> Result<Arc<Freezes>, E>,
) -> Result<Vec<bool>, E> {
    let index: BTreeMap<BlockHash, usize> = candidates.iter().enumerate().map(|(i, c)| (c.hash, i)).collect();
    let zone = find_zone(candidates, frozen, &index);
    let mut pasts: Vec<Past> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let mut past = Past::default();
        for parent in &candidate.parents {
            match index.get(parent) {
                Some(&i) => {
                    merge(&mut past.freezes, &pasts[i].freezes);
                    let records = candidates[i].records.iter().filter(|_| !mutant!(RecordForgotten));
                    records.for_each(|(lane, height)| lower(&mut past.freezes, *lane, *height));
                    pasts[i].zones.values().for_each(|z| raise(&mut past.zones, &zone, candidates, *z));
                    if zone.branch.contains_key(&i) {
                        raise(&mut past.zones, &zone, candidates, i);
                    }
                }
                None => merge(&mut past.freezes, base(parent)?.as_ref()),
            }
        }
        pasts.push(past);
    }
    let doubtful = doubtful(candidates, &zone, &index, rests_on);
    let mut counts = alloc::vec![true; candidates.len()];
    loop {
        let vouched = vouched(candidates, &pasts, &zone, &counts, doubtful.clone());
        let mut changed = false;
        for i in 0..candidates.len() {
            let parents = || candidates[i].parents.iter().filter_map(|parent| index.get(parent));
            let stays = (!zone.branch.contains_key(&i) || vouched.contains(&i)) && parents().all(|p| counts[*p]);
            changed |= counts[i] && !stays;
            counts[i] &= stays;
        }
        if !changed {
            return Ok(counts);
        }
    }
}

fn find_zone(candidates: &[Candidate], frozen: &Freezes, index: &BTreeMap<BlockHash, usize>) -> Zone {
    let mut zone = Zone::default();
    let mut continued = BTreeSet::new();
    for (i, candidate) in candidates.iter().enumerate() {
        let is_zone = frozen.get(&candidate.author).is_some_and(|height| candidate.height >= *height);
        if !is_zone && !candidate.invite.is_some_and(|(_, needs)| needs) {
            continue;
        }
        let before =
            if candidate.height > 1 { candidate.parents.first().and_then(|hash| index.get(hash)) } else { None };
        let before = before.copied().filter(|before| zone.branch.contains_key(before));
        // The first block on a predecessor goes on with its branch, each further one begins a branch of its own.
        let branch =
            before.filter(|before| continued.insert(*before)).and_then(|before| zone.branch.get(&before).copied());
        zone.branch.insert(i, branch.unwrap_or(i));
        if let Some(before) = before {
            zone.before.insert(i, before);
        }
    }
    zone
}

fn merge(into: &mut Freezes, from: &Freezes) {
    from.iter().for_each(|(lane, height)| lower(into, *lane, *height));
}

fn raise(zones: &mut BTreeMap<usize, usize>, zone: &Zone, candidates: &[Candidate], z: usize) {
    if let Some(branch) = zone.branch.get(&z) {
        let entry = zones.entry(*branch).or_insert(z);
        if candidates[*entry].height < candidates[z].height {
            *entry = z;
        }
    }
}

/// Lanes whose word does not count yet, each with the zone blocks on which its beginnings rest.
type Doubtful = BTreeMap<NodeId, Vec<BTreeSet<usize>>>;

fn doubtful(
    candidates: &[Candidate],
    zone: &Zone,
    index: &BTreeMap<BlockHash, usize>,
    rests_on: impl Fn(&NodeId) -> Vec<Vec<BlockHash>>,
) -> Doubtful {
    if mutant!(DoubtfulVouch) {
        return Doubtful::new();
    }
    let lanes: BTreeSet<NodeId> = candidates.iter().map(|candidate| candidate.author).collect();
    let in_zone = |hash: &BlockHash| index.get(hash).copied().filter(|i| zone.branch.contains_key(i));
    let ways = |lane: &NodeId| -> Vec<BTreeSet<usize>> {
        rests_on(lane).iter().map(|blocks| blocks.iter().filter_map(in_zone).collect()).collect()
    };
    let doubtful = lanes.into_iter().map(|lane| (lane, ways(&lane)));
    doubtful.filter(|(_, ways)| !ways.is_empty() && ways.iter().all(|needs| !needs.is_empty())).collect()
}

/// The zone blocks with a voucher among those that count.
fn vouched(
    candidates: &[Candidate],
    pasts: &[Past],
    zone: &Zone,
    counts: &[bool],
    mut doubtful: Doubtful,
) -> BTreeSet<usize> {
    loop {
        let vouched = vouched_for(candidates, pasts, zone, counts, &doubtful);
        let before = doubtful.len();
        doubtful.retain(|_, ways| !ways.iter().any(|needs| needs.is_subset(&vouched)));
        if doubtful.len() == before {
            return vouched;
        }
    }
}

/// A voucher of a zone block is one of all zone blocks below it in its lane too, so each walk down ends where an earlier one
/// has been.
fn vouched_for(
    candidates: &[Candidate],
    pasts: &[Past],
    zone: &Zone,
    counts: &[bool],
    doubtful: &Doubtful,
) -> BTreeSet<usize> {
    let mut vouched = BTreeSet::new();
    for (candidate, past) in candidates.iter().zip(pasts).zip(counts).filter(|(_, counts)| **counts).map(|(c, _)| c) {
        if doubtful.contains_key(&candidate.author) {
            continue;
        }
        for top in past.zones.values().filter(|top| candidates[**top].author != candidate.author) {
            let mut next = Some(*top);
            while let Some(z) = next {
                let vouches = !candidates[z].is_covered(&past.freezes) || mutant!(CoveredVoucher);
                if vouches && !vouched.insert(z) {
                    break;
                }
                next = zone.before.get(&z).copied();
            }
        }
    }
    vouched
}

#[cfg(test)]
mod tests {
    use core::convert::Infallible;

    use super::*;

    const LIAR: u8 = 9;

    fn hash(n: u8) -> BlockHash {
        BlockHash::from_bytes([n; 32])
    }

    fn block(n: u8, author: u8, height: u64, parents: &[u8], records: &[(u8, u64)]) -> Candidate {
        Candidate {
            hash: hash(n),
            author: NodeId::from_bytes([author; 32]),
            height,
            parents: parents.iter().map(|p| hash(*p)).collect(),
            records: records.iter().map(|(lane, height)| (NodeId::from_bytes([*lane; 32]), *height)).collect(),
            invite: None,
        }
    }

    /// The numbers of the blocks that count when `LIAR` is frozen at `height`.
    fn check(candidates: &[Candidate], height: u64, expect: &[u8]) {
        let frozen = Freezes::from([(NodeId::from_bytes([LIAR; 32]), height)]);
        let counts = counting::<Infallible>(candidates, &frozen, |_| Vec::new(), |_| Ok(Arc::default())).unwrap();
        let counting: Vec<u8> =
            candidates.iter().zip(counts).filter(|(_, c)| *c).map(|(c, _)| c.hash.as_bytes()[0]).collect();
        assert_eq!(counting, expect);
    }

    #[test]
    fn a_zone_block_that_nobody_saw_goes_and_takes_along_what_rests_on_it() {
        check(&[block(1, LIAR, 1, &[], &[]), block(2, LIAR, 2, &[1], &[])], 2, &[1]);
        check(&[block(1, LIAR, 1, &[], &[]), block(2, LIAR, 2, &[1], &[])], 1, &[]);
    }

    #[test]
    fn a_block_of_another_lane_vouches_for_all_zone_blocks_below_it() {
        let chain = [block(1, LIAR, 1, &[], &[]), block(2, LIAR, 2, &[1], &[]), block(3, 1, 1, &[2], &[])];
        check(&chain, 1, &[1, 2, 3]);
    }

    #[test]
    fn a_block_that_knew_the_freeze_vouches_for_nothing_it_covers() {
        let knew = [block(1, 1, 1, &[], &[(LIAR, 2)]), block(2, LIAR, 1, &[], &[]), block(3, LIAR, 2, &[2], &[])];
        let late = [&knew[..], &[block(4, 2, 1, &[1, 3], &[])]].concat();
        check(&late, 2, &[1, 2]);
        // The same freeze does not cover the block below it.
        check(&late, 1, &[1]);
        let below = [&knew[..], &[block(4, 2, 1, &[1, 2], &[])]].concat();
        check(&below, 1, &[1, 2, 4]);
    }

    #[test]
    fn both_branches_stay_when_both_were_seen() {
        let fork = [
            block(1, LIAR, 1, &[], &[]),
            block(2, LIAR, 1, &[], &[]),
            block(3, 1, 1, &[1], &[]),
            block(4, 2, 1, &[2], &[]),
            block(5, LIAR, 2, &[1], &[]),
        ];
        check(&fork, 1, &[1, 2, 3, 4]);
    }

    #[test]
    fn a_liar_does_not_vouch_for_its_own_other_branch() {
        // 7 knew of a fork at height 3, so it does not vouch for 4, and the liar's own 6 cannot either: 6 falls, and 7 with it.
        let candidates = [
            block(1, 1, 1, &[], &[(LIAR, 3)]),
            block(2, LIAR, 1, &[], &[]),
            block(3, LIAR, 2, &[2], &[]),
            block(4, LIAR, 3, &[3], &[]),
            block(5, LIAR, 1, &[], &[]),
            block(6, LIAR, 2, &[5, 4], &[]),
            block(7, 2, 1, &[1, 6], &[]),
        ];
        check(&candidates, 1, &[1]);
    }

    #[test]
    fn a_void_voucher_vouches_for_nothing() {
        // 3 is of a second liar's zone and has no voucher, so its word for 1 is nothing.
        let candidates = [block(1, LIAR, 1, &[], &[]), block(2, 8, 1, &[1], &[])];
        let frozen = Freezes::from([(NodeId::from_bytes([LIAR; 32]), 1), (NodeId::from_bytes([8; 32]), 1)]);
        assert_eq!(
            counting::<Infallible>(&candidates, &frozen, |_| Vec::new(), |_| Ok(Arc::default())),
            Ok(alloc::vec![false, false])
        );
    }
}
