//! Damaged and missing blocks: asked for on every link until they are in their place again.

use alloc::vec::Vec;

use super::{
    Replica, Turn,
    accept::{Outcome, Refusal},
};
use crate::{
    effect::{CloseReason, Effect, LinkId, Role},
    id::BlockHash,
    incoming::Read,
    ledger::{forget_checkpoint, summarise},
    limits::{REPAIR_BLOCKS, WANTED_PER_LINK},
    park::Pool,
    repair::note_wanted,
    replica::ReplicaError,
    store::{Store, Summary},
};

impl<S: Store> Replica<S> {
    pub(super) fn handle_repair(&mut self, blocks: &[BlockHash]) -> Turn<S> {
        let room = REPAIR_BLOCKS.saturating_sub(self.repairing.len());
        self.repairing.extend(blocks.iter().take(room));
        if self.repairing.is_empty() {
            return Ok(());
        }
        // What waits is asked for again afterwards: whether it may be added cannot be decided over a ledger with holes.
        self.pool = Pool::default();
        self.recent.clear();
        self.repaired = true;
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        links.into_iter().for_each(|id| self.request_repairs(id));
        Ok(())
    }

    /// Whether blocks are missing, or came in this turn, so that what is in memory does not know them yet.
    pub(super) fn is_mending(&self) -> bool {
        self.repaired || !self.repairing.is_empty()
    }

    /// Asks a link for what is to be repaired, as far as it is not asked already.
    pub(super) fn request_repairs(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.peer().is_some()) else { return };
        if self.repairing.is_empty() {
            return;
        }
        link.wanted.retain(|hash| self.repairing.contains(hash));
        let room = WANTED_PER_LINK.saturating_sub(link.wanted.len());
        let next: Vec<BlockHash> = self.repairing.difference(&link.wanted).take(room).copied().collect();
        self.request(id, &next);
    }

    /// While blocks are under repair, only these are taken in: the rules for any other block look at blocks that may be
    /// among them. The rest comes when heads are compared again.
    pub(super) fn offer_repair(
        &mut self,
        block: Read,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, ReplicaError<S::Error>> {
        let hash = block.hash();
        if !self.repairing.contains(&hash) {
            return Ok(Outcome::Dropped);
        }
        let block = match block.verify(&mut self.signers) {
            Ok(block) => block,
            Err(error) => return Ok(Outcome::Refused(Refusal::Block(error))),
        };
        self.store.remove(&hash)?;
        let seq = self.ledger.next_seq();
        let kept = self.without_erased(&block)?;
        self.store.append(&Summary { seq, ..summarise(&block) }, kept.bytes())?;
        self.repairing.remove(&hash);
        self.repaired = true;
        for parent in &block.header().parents {
            if self.repairing.len() < REPAIR_BLOCKS && self.store.summary(parent)?.is_none() {
                self.repairing.insert(*parent);
            }
        }
        self.note_reordered(block.key());
        effects.push(Effect::Repaired { hash });
        Ok(Outcome::Added)
    }

    /// Who came in meanwhile by what it showed is not on the list, because nothing but what was missing was taken in: it shows
    /// that again.
    fn dismiss_unlisted(&mut self, effects: &mut Vec<Effect>) {
        let came = self.links.iter().filter(|(_, link)| link.role == Role::Accepted);
        let unlisted = came.filter(|(_, link)| link.peer().is_some_and(|peer| !self.belongs(&peer)));
        let links: Vec<LinkId> = unlisted.map(|(id, _)| *id).collect();
        links.into_iter().for_each(|id| self.close(id, CloseReason::Mended, effects));
    }

    /// Ends a turn in which a repair began or went on. When nothing is missing any more, what is kept in memory is made
    /// anew, and every link learns what this replica has now.
    pub(super) fn finish_repairs(&mut self, effects: &mut Vec<Effect>) -> Turn<S> {
        if !core::mem::take(&mut self.repaired) {
            return Ok(());
        }
        note_wanted(&mut self.store, &self.repairing)?;
        if !self.repairing.is_empty() {
            // Should this process end now, the next one must not go by a checkpoint that knows nothing of this.
            return Ok(forget_checkpoint(&mut self.store, self.ledger.last_seq())?);
        }
        self.ledger.rebuild(&mut self.store)?;
        self.news.members = true;
        self.remake_erasures()?;
        self.dismiss_unlisted(effects);
        let ready = self.links.iter().filter(|(_, link)| link.peer().is_some() && !link.listing);
        let links: Vec<LinkId> = ready.map(|(id, _)| *id).collect();
        for id in links {
            self.say_heads(id, None);
            if self.links.get(&id).is_some_and(|link| link.compared) {
                self.queue_lanes(id)?;
            }
        }
        Ok(())
    }
}
