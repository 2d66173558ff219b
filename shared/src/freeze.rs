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
    base: impl FnMut(&BlockHash) -> Result<Arc<Freezes>, E>,
) -> Result<Vec<bool>, E> {
    let prepared = Prepared::new(candidates, frozen, rests_on, base)?;
    let blocks = prepared.blocks(candidates);
    Ok(blocks.settle(&prepared.doubtful).unwrap_or_else(|| blocks.settle_by_branches(&prepared.doubtful)))
}

/// What deciding needs to know of the candidates together.
struct Prepared {
    parents: Vec<Vec<usize>>,
    known: Vec<Arc<Freezes>>,
    zone: Zone,
    doubtful: Doubtful,
}

impl Prepared {
    fn new<E>(
        candidates: &[Candidate],
        frozen: &Freezes,
        rests_on: impl Fn(&NodeId) -> Vec<Vec<BlockHash>>,
        mut base: impl FnMut(&BlockHash) -> Result<Arc<Freezes>, E>,
    ) -> Result<Self, E> {
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
        Ok(Self { parents, known, zone, doubtful })
    }

    fn blocks<'a>(&'a self, candidates: &'a [Candidate]) -> Blocks<'a> {
        Blocks { candidates, parents: &self.parents, known: &self.known, zone: &self.zone }
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

    /// Which of them count. `None`: it has become too much.
    fn settle(&self, doubtful: &Doubtful) -> Option<Vec<bool>> {
        let mut counts = alloc::vec![true; self.candidates.len()];
        loop {
            let open = self.unvouched(&counts, doubtful.clone())?;
            if !self.drop_void(&mut counts, |i| !open.contains(&i)) {
                return Some(counts);
            }
        }
    }

    /// The same, within a bound for many zone blocks that nobody vouches for.
    fn settle_by_branches(&self, doubtful: &Doubtful) -> Vec<bool> {
        let (zones, in_zone) = (self.zones(), |i: usize| self.zone.branch.contains_key(&i));
        let mut counts = alloc::vec![true; self.candidates.len()];
        loop {
            let vouched = self.vouched(&zones, &counts, doubtful.clone());
            if !self.drop_void(&mut counts, |i| !in_zone(i) || vouched.contains(&i)) {
                return counts;
            }
        }
    }

    /// Takes out what is not sound in itself or rests on what does not count. Whether there was any.
    fn drop_void(&self, counts: &mut [bool], is_sound: impl Fn(usize) -> bool) -> bool {
        let mut changed = false;
        for i in 0..counts.len() {
            let stays = is_sound(i) && self.parents[i].iter().all(|parent| counts[*parent]);
            changed |= counts[i] && !stays;
            counts[i] &= stays;
        }
        changed
    }

    /// The zone blocks for which none of those that count vouches. Only what has no voucher yet is handed on from parents to
    /// children, so where vouchers come soon, as they mostly do, this costs little, however many zone blocks there are. `None`:
    /// it has become too much.
    fn unvouched(&self, counts: &[bool], mut doubtful: Doubtful) -> Option<BTreeSet<usize>> {
        let mut open: BTreeSet<usize> = self.zone.branch.keys().copied().collect();
        let mut waits: Vec<Vec<usize>> = alloc::vec![Vec::new(); self.candidates.len()];
        let most = 16 * self.candidates.len() + 4096;
        loop {
            let (before, mut handed) = (open.len(), 0);
            for i in (0..self.candidates.len()).filter(|i| counts[*i]) {
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
                    return None;
                }
            }
            if open.is_empty() || open.len() == before {
                return Some(open);
            }
        }
    }

    /// Of each candidate the highest zone blocks in its past, by branch.
    fn zones(&self) -> Vec<Zones> {
        let mut zones: Vec<Zones> = Vec::with_capacity(self.candidates.len());
        for parents in self.parents {
            let mut highest = Zones::new();
            for i in parents.iter().copied() {
                zones[i].values().for_each(|z| raise(&mut highest, self.zone, self.candidates, *z));
                if self.zone.branch.contains_key(&i) {
                    raise(&mut highest, self.zone, self.candidates, i);
                }
            }
            zones.push(highest);
        }
        zones
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

    /// SplitMix64.
    struct Random(u64);

    impl Random {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            ((z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) as usize % n
        }
    }

    #[test]
    fn both_ways_to_decide_it_decide_the_same() {
        let mut voids = 0;
        for seed in 0..2_000 {
            let mut random = Random(seed);
            let (lanes, frozen_lanes) = (3 + random.below(4), 1 + random.below(3));
            let mut candidates: Vec<Candidate> = Vec::new();
            for n in 1..40_u8 {
                let author = random.below(lanes) as u8;
                let own = candidates.iter().rposition(|candidate| candidate.author == NodeId::from_bytes([author; 32]));
                let own = own.filter(|_| random.below(8) > 0);
                let height = own.map_or(1, |own| candidates[own].height + 1);
                let mut parents: Vec<u8> = own.iter().map(|own| *own as u8 + 1).collect();
                parents
                    .extend((0..random.below(3)).filter(|_| n > 1).map(|_| 1 + random.below(usize::from(n) - 1) as u8));
                let records: &[(u8, u64)] = if random.below(5) == 0 {
                    &[(random.below(frozen_lanes) as u8, 1 + random.below(4) as u64)]
                } else {
                    &[]
                };
                let mut candidate = block(n, author, height, &parents, records);
                if height == 1 && random.below(3) == 0 {
                    candidate.invite = Some((NodeId::from_bytes([100; 32]), random.below(2) == 0));
                }
                candidates.push(candidate);
            }
            let frozen: Freezes = (0..frozen_lanes)
                .map(|lane| (NodeId::from_bytes([lane as u8; 32]), 1 + random.below(5) as u64))
                .collect();
            // Some lanes rest on the first block of another one.
            let first =
                |lane: u8| candidates.iter().find(|candidate| candidate.author == NodeId::from_bytes([lane; 32]));
            let rests_on = |lane: &NodeId| {
                let number = lane.as_bytes()[0];
                let chain = [Some(number), number.checked_sub(2)].into_iter().flatten();
                alloc::vec![chain.filter_map(first).map(|first| first.hash).collect()]
            };
            let base = |_: &BlockHash| Ok::<_, Infallible>(Arc::default());
            let prepared = Prepared::new(&candidates, &frozen, rests_on, base).unwrap();
            let blocks = prepared.blocks(&candidates);
            let counts = blocks.settle(&prepared.doubtful).unwrap();
            assert_eq!(counts, blocks.settle_by_branches(&prepared.doubtful), "{seed}");
            voids += counts.iter().filter(|counts| !**counts).count();
        }
        assert!(voids > 1_000, "{voids}");
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
