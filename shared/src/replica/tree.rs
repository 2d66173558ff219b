//! Which links carry new blocks: a tree of them, and the rest only say what is there (Plumtree, Leitão, Pereira and Rodrigues,
//! "Epidemic Broadcast Trees", 2007).
//!
//! Where a block comes that was here already, its link was one too many, or that to a relay which had brought it: both sides take it out
//! of the tree and from then on say to each other what they have ([`Message::Have`]). What a peer says to have and does not come within
//! [`GRAFT_AFTER`] shows that the tree has a hole: that peer's link is put back, and brings all that is missing. So each block comes
//! about once, along the quickest ways, and a peer that takes and never forwards costs its neighbours that time once. What is said over such a link is what the
//! peer holds, so an author hears of everybody near it who does.

use alloc::vec::Vec;

use super::{Replica, Timer, Turn};
use crate::{
    block::Block,
    effect::{Effect, LinkId, LinkPath},
    id::{BlockHash, NodeId},
    limits::{AUTHORS, GRAFT_AFTER, GRAFT_AFTER_SYNC, GRAFT_AGAIN, RESYNC_EVERY, SUSPECT_TIMEOUT},
    store::Store,
    sync::{Claim, Link},
    wire::Message,
};

/// Blocks of which it is known which link brought them.
const CAME: usize = 4_096;

impl<S: Store> Replica<S> {
    /// Notes which link brought a block.
    pub(super) fn note_came(&mut self, block: BlockHash, source: Option<LinkId>) {
        if self.came.len() >= CAME {
            self.came.clear();
        }
        let Some(source) = source else { return };
        self.came.insert(block, source);
        let now = self.timers.now();
        self.links.entry(source).and_modify(|link| link.news = Some(now));
    }

    /// Of two links that brought a block and go on bringing what is new, the one that is too many: the later one, but rather a relay's
    /// than a direct one. Of a forked lane all is sent again and again.
    pub(super) fn one_too_many(&self, block: &Block, source: LinkId) -> Option<LinkId> {
        let first = self.came.get(&block.hash()).filter(|first| **first != source)?;
        let carries = |id| self.links.get(id).filter(|link| !link.lazy && link.compared && !link.listing);
        let (earlier, later) = (carries(first)?, carries(&source)?);
        if self.ledger.is_forked(&block.header().author) {
            return None;
        }
        if later.path <= earlier.path {
            return Some(source);
        }
        // Of all who are linked directly one has to stay at the relay, or what others write there comes late. The block draws who lets go.
        let hash = block.hash();
        let draw = |node: NodeId| node.as_bytes().iter().zip(hash.as_bytes()).map(|(a, b)| a ^ b).collect::<Vec<u8>>();
        (draw(self.me) < draw(later.peer()?)).then_some(*first)
    }

    /// All that came in a frame had come by other links: this one is one too many.
    pub(super) fn prune(&mut self, id: LinkId) {
        self.say(id, Message::Prune);
        self.on_prune(id);
    }

    /// A link carries no new blocks any more. What was to be sent is only said to be there.
    pub(super) fn on_prune(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| !link.lazy) else { return };
        link.lazy = true;
        // Of a forked lane the heights do not say which blocks are meant.
        let queued: Vec<NodeId> = link.outbox.lanes().filter(|lane| !self.ledger.is_forked(lane)).copied().collect();
        for lane in queued {
            link.outbox.remove(&lane);
            link.tell_have(lane, self.ledger.height(&lane));
        }
        link.remaining = link.outbox.lanes().count() as u64;
        if !link.claims.is_empty() && !self.timers.is_set(Timer::Graft) {
            self.timers.set(Timer::Graft, GRAFT_AFTER);
        }
    }

    /// A peer wants new blocks again, and all that it lacks. Going through all lanes for that has its time.
    pub(super) fn on_graft(&mut self, id: LinkId) -> Turn<S> {
        let now = self.timers.now();
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        link.lazy = false;
        if link.grafted.is_some_and(|at| at.plus(RESYNC_EVERY) > now) {
            link.graft_waits = true;
            if !self.timers.is_set(Timer::Resync(id)) {
                self.timers.set(Timer::Resync(id), RESYNC_EVERY);
            }
            return Ok(());
        }
        link.grafted = Some(now);
        self.queue_lanes(id)
    }

    /// A peer says what it has. Where this side lacks some of that, another link has to bring it soon.
    pub(super) fn on_claims(&mut self, id: LinkId, lanes: &[(NodeId, u64)]) {
        let now = self.timers.now();
        if !self.repairing.is_empty()
            && let Some(link) = self.links.get_mut(&id).filter(|link| link.lazy)
        {
            // What it could not give before it may have by now.
            link.wanted.clear();
            self.request_repairs(id);
        }
        for (lane, height) in lanes {
            let lacks = *height > self.ledger.height(lane) && !self.ledger.is_forked(lane);
            let Some(link) = self.links.get_mut(&id) else { return };
            if !lacks || (link.claims.len() >= AUTHORS && !link.claims.contains_key(lane)) {
                continue;
            }
            let claim = link.claims.entry(*lane).or_default();
            if claim.height < *height {
                *claim = Claim { height: *height, since: claim.since.or(Some(now)) };
            }
            if !self.timers.is_set(Timer::Graft) {
                self.timers.set(Timer::Graft, GRAFT_AFTER);
            }
        }
    }

    /// Looks which claims are still open, and puts one link back into the tree that can bring what is missing. Also one that should be in it: where
    /// one side took it out while the other one put it back, they differ.
    /// A direct link that says nothing meanwhile may be dead, and is asked.
    pub(super) fn graft_due(&mut self, effects: &mut Vec<Effect>) -> Turn<S> {
        let now = self.timers.now();
        let syncing = self.links.values().any(|link| !link.lazy && link.progress.0 < link.progress.1);
        let patience = |link: &Link| match (syncing, link.lazy) {
            (true, _) => GRAFT_AFTER_SYNC,
            (false, true) => GRAFT_AFTER,
            (false, false) => GRAFT_AGAIN,
        };
        let heights = |lane: &NodeId| self.ledger.height(lane);
        let mut next = None;
        let mut open = None;
        for (id, link) in &mut self.links {
            let wait = patience(link);
            link.claims.retain(|lane, claim| claim.height > heights(lane));
            let Some(since) = link.claims.values().filter_map(|claim| claim.since).min() else { continue };
            if since.plus(wait) <= now {
                // The best path first.
                open = open.max(Some((link.path, *id)));
            } else {
                next = next.into_iter().chain([since.plus(wait)]).min();
            }
        }
        if let Some((_, id)) = open {
            if let Some(link) = self.links.get_mut(&id) {
                // Once: it may be something that nobody can have. But that it did not come is kept.
                link.claims.values_mut().for_each(|claim| claim.since = None);
            }
            self.say(id, Message::Graft);
            self.on_graft(id)?;
            self.suspect(effects);
            next = Some(now.plus(GRAFT_AFTER));
        }
        if let Some(next) = next {
            self.timers.set(Timer::Graft, next.since(now));
        }
        Ok(())
    }

    /// What should have come by now came by no link of the tree: whoever of it is silent has to answer.
    fn suspect(&mut self, effects: &mut Vec<Effect>) {
        let now = self.timers.now();
        let silent = |(id, link): (&LinkId, &Link)| {
            let direct = link.path != LinkPath::Relay && link.peer().is_some() && link.pinged.is_none();
            (direct && link.heard.plus(GRAFT_AFTER) <= now).then_some(*id)
        };
        let silent: Vec<LinkId> = self.links.iter().filter_map(silent).collect();
        silent.into_iter().for_each(|id| self.ping_within(id, SUSPECT_TIMEOUT, effects));
    }
}
