//! Where one client stands in the order of arrival: which blocks it gets live, and what is to be read from the store.

use shared::view::Cursor;

use super::command::Live;

/// The place of one client. Every block goes to it once, in the order of arrival.
#[derive(Debug)]
pub(super) struct Feed {
    /// The place behind what it got.
    live: Cursor,
    /// Blocks behind `live` were not taken from the ring of events: the store has them.
    behind: bool,
    catch_up: Option<CatchUp>,
}

#[derive(Debug)]
struct CatchUp {
    at: Cursor,
    live: Live,
    /// The store was read at least once, so `at` is the end of a block.
    begun: bool,
    /// The last read found nothing.
    end: bool,
}

/// Something to read from the store, from this place on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Entries that the client should have got live.
    Missed(Cursor),
    /// A batch of its subscription.
    Batch(Cursor),
}

impl Work {
    pub(super) fn from(self) -> Cursor {
        match self {
            Self::Missed(cursor) | Self::Batch(cursor) => cursor,
        }
    }
}

impl Feed {
    /// A client that came when the newest block was the one at `position`.
    pub(super) fn new(position: Cursor) -> Self {
        Self { live: position, behind: false, catch_up: None }
    }

    /// The client wants everything behind a place.
    pub(super) fn subscribe(&mut self, at: Cursor, live: Live) {
        self.catch_up = Some(CatchUp { at, live, begun: false, end: false });
    }

    /// Whether the client is to get this block from the ring now; if so, [`Feed::took`] follows.
    pub(super) fn takes(&mut self, seq: u64) -> bool {
        if self.paused() || self.behind || seq <= self.live.seq {
            return false;
        }
        // A gap: the block before was not in the ring that this client saw.
        self.behind = seq != self.live.seq + 1;
        !self.behind
    }

    /// The client got a block from the ring.
    pub(super) fn took(&mut self, seq: u64, entries: usize) {
        self.live = Cursor { seq, entries: entries as u32, ..self.live };
    }

    /// The ring lost blocks before this client got them.
    pub(super) fn lagged(&mut self) {
        self.behind = true;
    }

    /// Whether the client gets what comes from the ring.
    pub(super) fn is_live(&self) -> bool {
        !self.behind && !self.paused()
    }

    /// What is to be read from the store now.
    pub(super) fn work(&self) -> Option<Work> {
        match &self.catch_up {
            Some(catch_up) if catch_up.live == Live::Paused => Some(Work::Batch(catch_up.at)),
            _ if self.behind => Some(Work::Missed(self.live)),
            // A read goes beyond the live place when blocks wait in the ring. They are in the batch then, so the
            // subscription ends when the live place has reached the same block.
            Some(catch_up) if !catch_up.begun || catch_up.at.seq < self.live.seq => Some(Work::Batch(catch_up.at)),
            _ => None,
        }
    }

    /// The client got what was read for [`Work::Missed`]; `reached`: the place behind it; `end`: there was nothing.
    pub(super) fn read_missed(&mut self, reached: Cursor, end: bool) {
        self.live = reached;
        if end {
            self.behind = false;
            // Blocks that the subscription got and that are void since then will never come from the ring.
            self.live = match &self.catch_up {
                Some(catch_up) if catch_up.at.seq > reached.seq => catch_up.at,
                _ => reached,
            };
        }
    }

    /// The client got what was read for [`Work::Batch`].
    pub(super) fn read_batch(&mut self, reached: Cursor, end: bool) {
        if let Some(catch_up) = &mut self.catch_up {
            (catch_up.at, catch_up.begun, catch_up.end) = (reached, true, end);
        }
    }

    /// The place behind the subscription, once it has caught up; live blocks follow it.
    pub(super) fn finish(&mut self) -> Option<Cursor> {
        let catch_up = self.catch_up.as_ref()?;
        let at = catch_up.at;
        match catch_up.live {
            Live::Paused if catch_up.end => (self.live, self.behind) = (at, false),
            Live::Kept if catch_up.begun && !self.behind && at.seq == self.live.seq => {}
            Live::Paused | Live::Kept => return None,
        }
        self.catch_up = None;
        Some(at)
    }

    /// The store cannot be read: the client goes on with what comes behind `position`.
    pub(super) fn give_up(&mut self, position: Cursor) {
        *self = Self::new(position);
    }

    fn paused(&self) -> bool {
        self.catch_up.as_ref().is_some_and(|catch_up| catch_up.live == Live::Paused)
    }
}

#[cfg(test)]
mod tests {
    use shared::NodeId;

    use super::*;

    const NODE: NodeId = NodeId::from_bytes([1; 32]);

    fn at(seq: u64) -> Cursor {
        Cursor { node: NODE, seq, entries: u32::from(seq > 0) }
    }

    /// A store of blocks with one entry each, its ring, and one client.
    struct World {
        feed: Feed,
        blocks: u64,
        ring: Vec<u64>,
        live: Vec<u64>,
        batches: Vec<u64>,
        done: Vec<u64>,
    }

    impl World {
        fn new(blocks: u64) -> Self {
            let feed = Feed::new(at(blocks));
            Self { feed, blocks, ring: vec![], live: vec![], batches: vec![], done: vec![] }
        }

        fn add(&mut self, blocks: u64) {
            self.ring.extend(self.blocks + 1..=self.blocks + blocks);
            self.blocks += blocks;
        }

        /// Takes what is in the ring, one event after the other.
        fn take(&mut self) {
            for seq in std::mem::take(&mut self.ring) {
                if self.feed.takes(seq) {
                    self.live.push(seq);
                    self.feed.took(seq, 1);
                }
                self.done.extend(self.feed.finish().map(|cursor| cursor.seq));
            }
        }

        /// The ring is full: its blocks are lost.
        fn lose(&mut self) {
            self.ring.clear();
            self.feed.lagged();
        }

        /// Reads pages of at most three blocks while there is work. `between` runs after each read.
        fn read(&mut self, between: impl Fn(&mut Self)) {
            while let Some(work) = self.feed.work() {
                self.take();
                let from = work.from().seq;
                let page: Vec<u64> = (from + 1..=self.blocks.min(from + 3)).collect();
                let reached = page.last().map_or(work.from(), |seq| at(*seq));
                match work {
                    Work::Missed(_) => {
                        self.live.extend(&page);
                        self.feed.read_missed(reached, page.is_empty());
                    }
                    Work::Batch(_) => {
                        self.batches.extend(&page);
                        self.feed.read_batch(reached, page.is_empty());
                    }
                }
                self.done.extend(self.feed.finish().map(|cursor| cursor.seq));
                between(self);
            }
        }
    }

    fn range(from: u64, to: u64) -> Vec<u64> {
        (from..=to).collect()
    }

    #[test]
    fn a_client_gets_what_comes_after_it() {
        let mut world = World::new(5);
        world.add(3);
        world.take();
        assert_eq!(world.live, [6, 7, 8]);
    }

    #[test]
    fn what_the_ring_lost_comes_from_the_store_once() {
        let mut world = World::new(5);
        world.add(10);
        world.lose();
        world.add(2);
        world.read(|world| {
            if world.blocks < 20 {
                world.add(1);
            }
        });
        world.take();
        assert_eq!(world.live, range(6, 20));
    }

    #[test]
    fn a_gap_in_the_ring_is_read_from_the_store() {
        let mut world = World::new(5);
        world.add(4);
        world.ring.remove(0);
        world.take();
        assert!(world.live.is_empty());
        world.read(|_| {});
        assert_eq!(world.live, range(6, 9));
    }

    #[test]
    fn a_subscription_has_no_gap_and_no_repeat() {
        let mut world = World::new(7);
        world.feed.subscribe(at(0), Live::Paused);
        world.read(|world| {
            if world.blocks < 15 {
                world.add(1);
            }
        });
        assert_eq!((world.done.as_slice(), world.live.as_slice()), (&[15][..], &[][..]));
        world.add(2);
        world.take();
        assert_eq!((world.batches, world.live), (range(1, 15), range(16, 17)));
    }

    #[test]
    fn live_entries_go_on_where_the_client_wants_both() {
        let mut world = World::new(7);
        world.feed.subscribe(at(2), Live::Kept);
        for _ in 0..4 {
            world.add(2);
            world.read(|_| {});
            world.take();
        }
        let done = world.done[0];
        assert_eq!(world.live, range(8, 15));
        assert_eq!(world.batches, range(3, done));
        assert_eq!(world.done.len(), 1);
    }

    #[test]
    fn a_subscription_beside_live_entries_outlives_a_lag() {
        let mut world = World::new(7);
        world.feed.subscribe(at(0), Live::Kept);
        world.add(6);
        world.lose();
        world.read(|_| {});
        assert_eq!((world.live, world.batches, world.done), (range(8, 13), range(1, 13), vec![13]));
    }

    #[test]
    fn a_subscription_to_an_empty_ledger_is_done_at_once() {
        for live in [Live::Paused, Live::Kept] {
            let mut world = World::new(0);
            world.feed.subscribe(at(0), live);
            world.read(|_| {});
            assert_eq!(world.done, [0], "{live:?}");
            assert!(world.feed.is_live());
        }
    }
}
