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

/// What is known of a candidate's past: its highest zone blocks by branch.
type Zones = BTreeMap<usize, usize>;

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
    let inside = |parent: &BlockHash| index.get(parent).copied();
    let parents: Vec<Vec<usize>> =
        candidates.iter().map(|candidate| candidate.parents.iter().filter_map(inside).collect()).collect();
    let mut known: Vec<Arc<Freezes>> = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let mut before = Vec::with_capacity(candidate.parents.len());
        for parent in &candidate.parents {
            before.push(match inside(parent) {
                Some(i) => with_records(&known[i], &candidates[i]),
                None => base(parent)?,
            });
        }
        known.push(together(before));
    }
    let doubtful = doubtful(candidates, &zone, &index, rests_on);
    let blocks = Blocks { candidates, parents: &parents, known: &known, zone: &zone };
    let mut counts = alloc::vec![true; candidates.len()];
    if blocks.all_vouched(doubtful.clone()) {
        return Ok(counts);
    }
    let mut zones: Vec<Zones> = Vec::with_capacity(candidates.len());
    for parents in &parents {
        let mut highest = Zones::new();
        for i in parents.iter().copied() {
            zones[i].values().for_each(|z| raise(&mut highest, &zone, candidates, *z));
            if zone.branch.contains_key(&i) {
                raise(&mut highest, &zone, candidates, i);
            }
        }
        zones.push(highest);
    }
    loop {
        let vouched = blocks.vouched(&zones, &counts, doubtful.clone());
        let mut changed = false;
        for i in 0..candidates.len() {
            let parents = || parents[i].iter();
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

/// The freezes that a child of this candidate knows of.
fn with_records(known: &Arc<Freezes>, candidate: &Candidate) -> Arc<Freezes> {
    if candidate.records.is_empty() || mutant!(RecordForgotten) {
        return known.clone();
    }
    let mut freezes = Freezes::clone(known);
    candidate.records.iter().for_each(|(lane, height)| lower(&mut freezes, *lane, *height));
    Arc::new(freezes)
}

/// All of these freezes. Mostly one of the parents knows them all, and then nothing is copied.
fn together(mut parents: Vec<Arc<Freezes>>) -> Arc<Freezes> {
    parents.sort_unstable_by_key(|freezes| freezes.len());
    let Some(mut all) = parents.pop() else { return Arc::default() };
    for freezes in parents.into_iter().filter(|freezes| !freezes.is_empty()) {
        let lacks = |(lane, height): (&NodeId, &u64)| all.get(lane).is_none_or(|known| known > height);
        if !Arc::ptr_eq(&freezes, &all) && freezes.iter().any(lacks) {
            let mut more = Freezes::clone(&all);
            freezes.iter().for_each(|(lane, height)| lower(&mut more, *lane, *height));
            all = Arc::new(more);
        }
    }
    all
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

/// The candidates, the places of their parents, what each knows, and the zone.
struct Blocks<'a> {
    candidates: &'a [Candidate],
    parents: &'a [Vec<usize>],
    known: &'a [Arc<Freezes>],
    zone: &'a Zone,
}

impl Blocks<'_> {
    /// Whether a candidate's word counts for a zone block in its past.
    fn vouches(&self, i: usize, z: usize) -> bool {
        self.candidates[z].author != self.candidates[i].author
            && (!self.candidates[z].is_covered(&self.known[i]) || mutant!(CoveredVoucher))
    }

    /// Whether every zone block finds its voucher while the candidates are gone through in their order, as it mostly is: then all
    /// of them count. Only what has no voucher yet is handed on from parents to children, so where vouchers come soon this costs
    /// little, however many zone blocks there are. No is no answer: it may also have become too much.
    fn all_vouched(&self, mut doubtful: Doubtful) -> bool {
        let mut open: BTreeSet<usize> = self.zone.branch.keys().copied().collect();
        let mut waits: Vec<Vec<usize>> = alloc::vec![Vec::new(); self.candidates.len()];
        let most = 16 * self.candidates.len() + 4096;
        loop {
            let (before, mut handed) = (open.len(), 0);
            for i in 0..self.candidates.len() {
                let mut past: BTreeSet<usize> = BTreeSet::new();
                for parent in &self.parents[i] {
                    past.extend(waits[*parent].iter().filter(|z| open.contains(z)));
                    past.extend(open.get(parent));
                }
                let author = &self.candidates[i].author;
                let is_vouched = |ways: &Vec<BTreeSet<usize>>| ways.iter().any(|needs| needs.is_disjoint(&open));
                if doubtful.get(author).is_some_and(is_vouched) {
                    doubtful.remove(author);
                }
                if !doubtful.contains_key(author) {
                    past.retain(|z| !(self.vouches(i, *z) && open.remove(z)));
                }
                handed += past.len();
                waits[i] = past.into_iter().collect();
                if handed > most {
                    return false;
                }
            }
            if open.is_empty() || open.len() == before {
                return open.is_empty();
            }
        }
    }

    /// The zone blocks with a voucher among those that count.
    fn vouched(&self, zones: &[Zones], counts: &[bool], mut doubtful: Doubtful) -> BTreeSet<usize> {
        loop {
            let vouched = self.vouched_for(zones, counts, &doubtful);
            let before = doubtful.len();
            doubtful.retain(|_, ways| !ways.iter().any(|needs| needs.is_subset(&vouched)));
            if doubtful.len() == before {
                return vouched;
            }
        }
    }

    /// A voucher of a zone block is one of all zone blocks below it in its lane too, so each walk down ends where an earlier one
    /// has been.
    fn vouched_for(&self, zones: &[Zones], counts: &[bool], doubtful: &Doubtful) -> BTreeSet<usize> {
        let mut vouched = BTreeSet::new();
        for i in (0..self.candidates.len()).filter(|i| counts[*i]) {
            let author = self.candidates[i].author;
            if doubtful.contains_key(&author) {
                continue;
            }
            for top in zones[i].values().filter(|top| self.candidates[**top].author != author) {
                let mut next = Some(*top);
                while let Some(z) = next {
                    if self.vouches(i, z) && !vouched.insert(z) {
                        break;
                    }
                    next = self.zone.before.get(&z).copied();
                }
            }
        }
        vouched
    }
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
