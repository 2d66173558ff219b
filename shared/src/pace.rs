//! How fast a hub or a node takes what peers send: a token bucket for each peer and each author, kept as the time when all that was
//! taken will have been paid for (the virtual scheduling algorithm of ITU-T I.371, Annex A).
//!
//! A hub has few rows for everybody. A node takes what comes as fast as it can, but for who writes more than others would want to wait for: the
//! blocks that a member brings of its own lane have a pace while others write, too. What one brings of others has none: it is what they wrote.

use alloc::{collections::BTreeMap, vec::Vec};

use crate::{
    effect::LinkId,
    id::NodeId,
    limits::{
        AUTHOR_BLOCK_EVERY, AUTHOR_BLOCKS, AUTHORS, AUTHORS_IN_DEBT, DEBT_BLOCKS, MEMBER_BLOCK_EVERY, MEMBER_BLOCKS,
        MEMBERS_WRITE, PEER_BYTES, PEER_BYTES_PER_SECOND, PEER_FRAMES, PEER_FRAMES_PER_SECOND,
    },
    time::{SECOND, Timestamp},
};

/// µs that a frame costs, and what a full bucket is worth.
const FRAME: u64 = SECOND / PEER_FRAMES_PER_SECOND;
const FRAMES: u64 = PEER_FRAMES * FRAME;
const BYTES: u64 = PEER_BYTES / PEER_BYTES_PER_SECOND * SECOND;
const BLOCKS: u64 = AUTHOR_BLOCKS * AUTHOR_BLOCK_EVERY;
/// What a full bucket of a member at a node is worth.
const MEMBER_DEBT: u64 = MEMBER_BLOCKS * MEMBER_BLOCK_EVERY;
/// Bytes of an author's debt in a note.
const DEBT_BYTES: usize = 40;

/// When all that was taken will have been paid for; a bucket that was not drawn from is as good as none.
type Paid = Timestamp;

/// Draws from a bucket that is worth so many µs. When there would have been enough in it.
fn draw(paid: &mut Paid, now: Timestamp, cost: u64, full: u64) -> Timestamp {
    *paid = (*paid).max(now).plus(cost);
    Timestamp::from_micros(paid.micros().saturating_sub(full)).unwrap_or_default()
}

#[derive(Debug, Default)]
struct Peer {
    bytes: Paid,
    frames: Paid,
    /// Messages that need no credit and answer nothing.
    chatter: Paid,
}

/// The buckets of one replica. Times are of the clock that only goes forward.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// The two authors of whom blocks came last, by which links (none: they are of this node), and when.
    writing: [Option<(NodeId, Option<LinkId>, Timestamp)>; 2],
    peers: BTreeMap<NodeId, Peer>,
    authors: BTreeMap<NodeId, Paid>,
    /// Blocks since the last note.
    unnoted: u64,
}

impl Pace {
    /// A peer sent a frame with blocks. When credit for it may be given back.
    pub(crate) fn on_frame(&mut self, now: Timestamp, peer: NodeId, len: usize) -> Timestamp {
        let peer = self.peer(now, peer);
        let bytes = draw(&mut peer.bytes, now, (len as u64).saturating_mul(SECOND) / PEER_BYTES_PER_SECOND, BYTES);
        bytes.max(draw(&mut peer.frames, now, FRAME, FRAMES))
    }

    /// A peer sent messages that need no credit and answer nothing. Whether it may.
    pub(crate) fn on_chatter(&mut self, now: Timestamp, peer: NodeId, messages: u64) -> bool {
        draw(&mut self.peer(now, peer).chatter, now, messages * FRAME, FRAMES) <= now
    }

    /// A block was added. When credit for it may be given back.
    pub(crate) fn on_block(&mut self, now: Timestamp, author: NodeId) -> Timestamp {
        self.unnoted += 1;
        draw(self.author(now, author), now, AUTHOR_BLOCK_EVERY, BLOCKS)
    }

    /// A block came by this link, or is of this node.
    pub(crate) fn note_writing(&mut self, now: Timestamp, author: NodeId, source: Option<LinkId>) {
        let [latest, before] = &mut self.writing;
        if latest.is_some_and(|(latest, ..)| latest != author) {
            *before = *latest;
        }
        *latest = Some((author, source, now));
    }

    /// A member brought a block of its own lane by this link. When credit for it may be given back.
    pub(crate) fn on_own_block(&mut self, now: Timestamp, link: LinkId, author: NodeId) -> Timestamp {
        let beside = |(other, source, at): &(NodeId, Option<LinkId>, Timestamp)| {
            *other != author && *source != Some(link) && at.plus(MEMBERS_WRITE) > now
        };
        if !self.writing.iter().flatten().any(beside) {
            return now;
        }
        draw(self.author(now, author), now, MEMBER_BLOCK_EVERY, MEMBER_DEBT)
    }

    /// Whether more blocks of an author were taken than it may bring by now.
    pub(crate) fn owes(&self, now: Timestamp, author: &NodeId) -> bool {
        self.authors.get(author).is_some_and(|paid| paid.since(now) > MEMBER_DEBT)
    }

    fn author(&mut self, now: Timestamp, author: NodeId) -> &mut Paid {
        if self.authors.len() >= AUTHORS {
            self.authors.retain(|_, paid| *paid > now);
        }
        self.authors.entry(author).or_default()
    }

    /// Buckets outlive links, or who dials again would have a full one. Where there are more peers than authors can be, those
    /// that owe least are forgotten.
    fn peer(&mut self, now: Timestamp, peer: NodeId) -> &mut Peer {
        if self.peers.len() >= AUTHORS && !self.peers.contains_key(&peer) {
            let owes = |peer: &Peer| peer.bytes.max(peer.frames).max(peer.chatter);
            self.peers.retain(|_, peer| owes(peer) > now);
            let least = self.peers.iter().min_by_key(|(_, peer)| owes(peer)).map(|(node, _)| *node);
            if let Some(least) = least.filter(|_| self.peers.len() >= AUTHORS) {
                self.peers.remove(&least);
            }
        }
        self.peers.entry(peer).or_default()
    }

    /// Who is in debt, for the store, where enough has changed since the last time: the time by the wall clock, then each
    /// author and how many µs it owes, the deepest first; numbers as 8 bytes, big endian.
    pub(crate) fn note(&mut self, now: Timestamp, wall: Timestamp) -> Option<Vec<u8>> {
        if self.unnoted < DEBT_BLOCKS {
            return None;
        }
        self.unnoted = 0;
        self.authors.retain(|_, paid| *paid > now);
        let mut debts: Vec<(u64, NodeId)> =
            self.authors.iter().map(|(author, paid)| (paid.since(now), *author)).collect();
        debts.sort_unstable_by(|a, b| b.cmp(a));
        debts.truncate(AUTHORS_IN_DEBT);
        let mut bytes = wall.micros().to_be_bytes().to_vec();
        for (debt, author) in debts {
            bytes.extend_from_slice(author.as_bytes());
            bytes.extend_from_slice(&debt.to_be_bytes());
        }
        Some(bytes)
    }

    /// Takes up a note. One that makes no sense is as good as none.
    pub(crate) fn restore(note: &[u8], now: Timestamp, wall: Timestamp) -> Self {
        let mut pace = Self::default();
        let Some((noted, debts)) = note.split_first_chunk::<8>() else { return pace };
        let noted = Timestamp::from_micros(u64::from_be_bytes(*noted)).unwrap_or(wall);
        for debt in debts.chunks_exact(DEBT_BYTES).take(AUTHORS_IN_DEBT) {
            if let Some((author, debt)) = debt.split_first_chunk::<32>()
                && let Ok(debt) = debt.try_into().map(u64::from_be_bytes)
            {
                // Nobody owes more than a bucket and what one window can hold.
                let left = debt.min(2 * BLOCKS).saturating_sub(wall.since(noted));
                pace.authors.insert(NodeId::from_bytes(*author), now.plus(left));
            }
        }
        pace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(micros).unwrap()
    }

    fn node(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    #[test]
    fn a_full_bucket_is_free_and_then_each_block_waits_for_its_turn() {
        let (mut pace, now) = (Pace::default(), at(1_000_000_000_000));
        for _ in 0..AUTHOR_BLOCKS {
            assert!(pace.on_block(now, node(1)) <= now);
        }
        assert_eq!(pace.on_block(now, node(1)), now.plus(AUTHOR_BLOCK_EVERY));
        assert_eq!(pace.on_block(now, node(1)), now.plus(2 * AUTHOR_BLOCK_EVERY));
        assert!(pace.on_block(now, node(2)) <= now);
        let later = now.plus(2 * AUTHOR_BLOCK_EVERY);
        assert_eq!(pace.on_block(later, node(1)), later.plus(AUTHOR_BLOCK_EVERY));
    }

    #[test]
    fn a_member_waits_for_others_only_while_they_write() {
        let (mut pace, now) = (Pace::default(), at(1_000_000_000_000));
        let (flooder, other) = (LinkId(1), LinkId(2));
        let flood = |pace: &mut Pace, now: Timestamp| {
            let due = pace.on_own_block(now, flooder, node(1));
            // Others bring its blocks, too.
            pace.note_writing(now, node(1), Some(other));
            due
        };
        // What it brings of others is no reason to wait.
        pace.note_writing(now, node(3), Some(flooder));
        for _ in 0..3 * MEMBER_BLOCKS {
            assert!(flood(&mut pace, now) <= now, "nobody else writes");
        }
        for source in [Some(other), None] {
            let now = if source.is_none() { now.plus((MEMBER_BLOCKS + 1) * MEMBER_BLOCK_EVERY) } else { now };
            pace.note_writing(now, node(2), source);
            for _ in 0..MEMBER_BLOCKS {
                assert!(flood(&mut pace, now) <= now);
            }
            assert_eq!(flood(&mut pace, now), now.plus(MEMBER_BLOCK_EVERY));
            let later = now.plus(MEMBERS_WRITE);
            assert!(flood(&mut pace, later) <= later, "the others have stopped");
        }
    }

    #[test]
    fn bytes_and_frames_are_counted_apart() {
        let now = at(1_000_000_000_000);
        let mut pace = Pace::default();
        for _ in 0..PEER_FRAMES {
            assert!(pace.on_frame(now, node(1), 1) <= now);
        }
        assert!(pace.on_frame(now, node(1), 1) > now);
        assert!(pace.on_frame(now, node(2), PEER_BYTES as usize) <= now);
        assert!(pace.on_frame(now, node(2), PEER_BYTES_PER_SECOND as usize) >= now.plus(SECOND));
    }

    #[test]
    fn debts_outlive_a_sleep_and_shrink_meanwhile() {
        let now = at(1_000_000_000_000);
        let mut pace = Pace::default();
        assert_eq!(pace.note(now, now), None);
        for _ in 0..=AUTHOR_BLOCKS {
            pace.on_block(now, node(1));
        }
        let note = pace.note(now, now).unwrap();
        assert_eq!((note.len(), pace.note(now, now)), (8 + DEBT_BYTES, None));
        let mut woken = Pace::restore(&note, now, now);
        assert_eq!(woken.on_block(now, node(1)), now.plus(2 * AUTHOR_BLOCK_EVERY));
        let later = now.plus(2 * AUTHOR_BLOCK_EVERY);
        assert_eq!(Pace::restore(&note, later, later).on_block(later, node(1)), later);
        // The clock of the machine was put back: nobody waits longer for that.
        assert_eq!(Pace::restore(&note, now, at(5)).on_block(now, node(1)), now.plus(2 * AUTHOR_BLOCK_EVERY));
        for note in [&[][..], &[0; 7], &[255; 100], &note[..20]] {
            Pace::restore(note, now, now);
        }
    }

    #[test]
    fn there_are_never_more_buckets_than_authors_can_be() {
        let now = at(1_000_000_000_000);
        let mut pace = Pace::default();
        for n in 0..AUTHORS as u32 + 10 {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            pace.on_frame(now, NodeId::from_bytes(id), 100);
        }
        assert_eq!(pace.peers.len(), AUTHORS);
    }
}
