//! What each side of a link has: questions for heads, lists of them, and what follows for what is to be sent.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use super::{Replica, Timer, Turn, exchange::Reply};
use crate::{
    effect::{CloseReason, Effect, LinkId, Role},
    id::NodeId,
    limits::{HEADS_LOOKED_UP, HEADS_PER_FRAME, RESYNC_EVERY},
    parts::{Part, Parts, height_of, parts_for},
    replica::ReplicaError,
    store::Store,
    sync::Asked,
    wire::{Head, Message},
};

impl<S: Store> Replica<S> {
    /// Asks what a peer has that has just come. Heads that are few go along.
    pub(super) fn ask_heads(&mut self, id: LinkId) {
        let digest = self.ledger.digest();
        let lanes = self.ledger.lanes().len();
        let unasked = lanes <= self.config.heads_unasked;
        let parts = if unasked { Vec::new() } else { self.ledger.heads_in_parts(parts_for(lanes)) };
        let mut parts: Vec<Part> = parts.iter().map(|heads| self.ledger.part(heads)).collect();
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.role == Role::Accepted {
            // Who comes back is who lacks something.
            parts.iter_mut().for_each(|part| part.heights.clear());
        }
        link.heads_sent = unasked;
        link.asked_heads = (!unasked).then(|| Asked { parts: parts.len(), before: BTreeMap::new() });
        self.say(id, Message::LedgerSyncRequest { digest, parts });
        if unasked {
            self.say_heads(id, None);
        }
    }

    pub(super) fn on_digest(
        &mut self,
        id: LinkId,
        digest: [u8; 32],
        parts: &[Part],
        effects: &mut Vec<Effect>,
    ) -> Turn<S> {
        let heads_sent = self.links.get_mut(&id).is_some_and(|link| core::mem::take(&mut link.heads_sent));
        let same = digest == self.ledger.digest() || mutant!(HeadsUncompared);
        let ours = self.ledger.heads_in_parts(parts.len());
        let differing = Parts::differing(ours.iter().map(|heads| self.ledger.part(heads)), parts);
        // Who asks for parts counts on an answer: something may have come to it since, so that for it the digests are not the same.
        if !heads_sent && (!same || differing.is_some()) {
            self.tell_heads(id, differing.clone());
        }
        if same {
            // A peer that asks again has forgotten what this side has. The answer must be none that is answered again.
            if self.links.get(&id).is_some_and(|link| link.compared) {
                self.tell_heads(id, None);
            }
            self.has_everything(id);
            self.ask_again(id);
            let height = self.ledger.height(&self.me);
            self.on_have(id, &[(self.me, height)], effects);
            if let Some(link) = self.links.get_mut(&id) {
                link.own.forget();
                link.own.has |= height > 0;
            }
            self.on_own_compared(id, effects)?;
        } else if let Some(differing) = differing
            && self.links.get(&id).is_some_and(|link| !link.compared && !link.listing && link.asked_heads.is_none())
        {
            if let Some(heads) = self.heads_at(ours, parts, &differing)? {
                self.take_heads(id, heads, true, Some(&differing), effects)?;
            } else if !heads_sent {
                self.ask_heads(id);
            }
        }
        Ok(())
    }

    /// The heads of a peer in the parts in which they differ from those here, if its heights tell them: if it lacks the last blocks of some lanes, and
    /// nothing else.
    fn heads_at(
        &mut self,
        ours: Vec<Vec<Head>>,
        theirs: &[Part],
        differing: &Parts,
    ) -> Result<Option<Vec<Head>>, ReplicaError<S::Error>> {
        let (mut found, mut looked_up) = (Vec::new(), 0);
        if !self.repairing.is_empty() {
            return Ok(None);
        }
        for (_, (mut heads, part)) in ours.into_iter().zip(theirs).enumerate().filter(|(part, _)| differing.has(*part))
        {
            if heads.len() != part.heights.len() {
                return Ok(None);
            }
            for (head, height) in heads.iter_mut().zip(&part.heights) {
                let own = height_of(head);
                if *height == own {
                    continue;
                }
                looked_up += 1;
                if *height == 0 || *height > own || head.tips.len() > 1 || looked_up > HEADS_LOOKED_UP {
                    return Ok(None);
                }
                let Some(tip) = self.next_in_lane(&head.author, height - 1, None)? else { return Ok(None) };
                head.tips = vec![(tip.height, tip.hash)];
            }
            if self.ledger.part(&heads).digest != part.digest {
                return Ok(None);
            }
            found.extend(heads);
        }
        Ok(Some(found))
    }

    /// Tells a peer its heads in these parts, or all; at most once in [`RESYNC_EVERY`]: they are many, and asking for them costs little.
    pub(super) fn tell_heads(&mut self, id: LinkId, parts: Option<Parts>) {
        let now = self.timers.now();
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.heads_at.is_none_or(|at| at.plus(RESYNC_EVERY) <= now) {
            link.heads_at = Some(now);
            self.say_heads(id, parts);
        } else if !self.timers.is_set(Timer::Resync(id)) {
            link.resync = true;
            self.timers.set(Timer::Resync(id), RESYNC_EVERY);
        }
    }

    pub(super) fn has_everything(&mut self, id: LinkId) {
        let heights: Vec<(NodeId, u64)> =
            self.ledger.lanes().keys().map(|lane| (*lane, self.ledger.height(lane))).collect();
        if let Some(link) = self.links.get_mut(&id) {
            link.compared = true;
            link.asked_heads = None;
            link.has.extend(heights);
        }
    }

    /// A page of a peer's heads has come.
    pub(super) fn on_heads(
        &mut self,
        id: LinkId,
        heads: Vec<Head>,
        last: bool,
        parts: Option<Parts>,
        effects: &mut Vec<Effect>,
    ) -> Reply<S> {
        let Some(link) = self.links.get(&id) else { return Ok(Ok(())) };
        if let Some(parts) = parts.as_ref().filter(|_| !link.listing) {
            match &link.asked_heads {
                // What both have was compared by other words meanwhile.
                None => return Ok(Ok(())),
                Some(asked) if asked.parts != parts.number() => {
                    return Ok(Err(CloseReason::Protocol("heads are of parts that nobody asked for")));
                }
                Some(_) => {}
            }
        }
        self.take_heads(id, heads, last, parts.as_ref(), effects)?;
        Ok(Ok(()))
    }

    fn take_heads(
        &mut self,
        id: LinkId,
        heads: Vec<Head>,
        last: bool,
        parts: Option<&Parts>,
        effects: &mut Vec<Effect>,
    ) -> Turn<S> {
        if self.links.get(&id).is_some_and(|link| !link.listing) {
            self.begin_list(id, parts, effects);
        }
        for head in heads {
            let has = self.peer_has(&head)?;
            let frozen = self.ledger.frozen_at(&head.author);
            let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
            if has > 0 {
                link.has.insert(head.author, has);
            }
            if frozen.is_none_or(|frozen| head.frozen != 0 && head.frozen <= frozen) {
                link.proofs.remove(&head.author);
            }
            link.removals.remove(&head.author);
            if let [(tip, _)] = head.tips[..] {
                self.on_claims(id, &[(head.author, tip)]);
            }
            if head.author == self.me {
                self.on_have(id, &[(head.author, has)], effects);
                self.on_own_head(id, &head)?;
            }
        }
        if last {
            self.queue_lanes(id)?;
            self.ask_again(id);
            // What the peer could not give before it may have by now.
            if !self.repairing.is_empty()
                && let Some(link) = self.links.get_mut(&id)
            {
                link.wanted.clear();
                self.request_repairs(id);
            }
            self.on_own_compared(id, effects)?;
        }
        Ok(())
    }

    /// A list of heads begins, of all lanes or of those of some parts. Of the others the peer has what was here when it was asked.
    fn begin_list(&mut self, id: LinkId, parts: Option<&Parts>, effects: &mut Vec<Effect>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.listing = true;
        link.compared = false;
        link.outbox.clear();
        link.remaining = 0;
        link.own.forget();
        link.has.clear();
        let listed = |lane: &NodeId| parts.is_none_or(|parts| parts.contains(lane));
        if parts.is_none() {
            link.proofs.clear();
            link.removals.clear();
        }
        // Proofs that came since this side asked wait here already.
        link.proofs.extend(self.ledger.freezes().into_keys().filter(|lane| listed(lane)));
        link.removals.extend(self.ledger.removals().into_iter().filter(|(lane, _)| listed(lane)));
        let before = link.asked_heads.take().unwrap_or_default().before;
        for lane in self.ledger.lanes().keys().filter(|lane| !listed(lane)) {
            link.has.insert(*lane, before.get(lane).copied().unwrap_or_else(|| self.ledger.height(lane)));
        }
        if !listed(&self.me) {
            let has = link.has(&self.me);
            link.own.has |= has > 0;
            self.on_have(id, &[(self.me, has)], effects);
        }
    }

    fn peer_has(&self, head: &Head) -> Result<u64, ReplicaError<S::Error>> {
        let Some(lane) = self.ledger.lanes().get(&head.author) else { return Ok(0) };
        let height = self.ledger.height(&head.author);
        let same = lane.len() == head.tips.len() && head.tips.iter().all(|(_, hash)| lane.contains_key(hash));
        if same {
            return Ok(height);
        }
        match head.tips[..] {
            [] => Ok(0),
            [(tip, hash)] if !self.ledger.is_forked(&head.author) => {
                // An unknown tip at or below ours is the other half of a fork: ours makes the proof.
                if tip > height {
                    Ok(height)
                } else if mutant!(HasOneTooMuch) {
                    Ok(tip + 1)
                } else if self.ledger.summary(&self.store, &hash)?.is_some_and(|own| own.author == head.author) {
                    Ok(tip)
                } else {
                    Ok(tip.saturating_sub(1))
                }
            }
            // Where a lane is forked, all of it from the fork on is sent; a known block costs little.
            _ => {
                let lowest = head.tips.iter().map(|(tip, _)| *tip).min().unwrap_or(0);
                let fork = self.ledger.frozen_at(&head.author).unwrap_or(lowest).min(head.frozen.max(1));
                Ok(lowest.min(fork.saturating_sub(1)))
            }
        }
    }

    pub(super) fn queue_lanes(&mut self, id: LinkId) -> Turn<S> {
        let lanes: Vec<NodeId> = self.ledger.lanes().keys().copied().collect();
        for lane in lanes {
            let Some(link) = self.links.get(&id) else { return Ok(()) };
            let (has, height) = (link.has(&lane), self.ledger.height(&lane));
            if has < height
                && let Some(next) = self.next_in_lane(&lane, has, None)?
                && let Some(link) = self.links.get_mut(&id)
            {
                link.remaining += height - has;
                link.outbox.push(next);
            }
        }
        if let Some(link) = self.links.get_mut(&id) {
            link.listing = false;
            link.compared = true;
        }
        Ok(())
    }

    /// Says the heads of these parts, or all.
    pub(super) fn say_heads(&mut self, id: LinkId, parts: Option<Parts>) {
        let mut heads = self.ledger.heads();
        if let Some(parts) = &parts {
            heads.retain(|head| parts.contains(&head.author));
        }
        let mut pages = heads.chunks(HEADS_PER_FRAME).peekable();
        if pages.peek().is_none() {
            self.say(id, Message::LedgerSyncResponse { heads: Vec::new(), last: true, parts: parts.clone() });
        }
        while let Some(page) = pages.next() {
            let (heads, last) = (page.to_vec(), pages.peek().is_none());
            self.say(id, Message::LedgerSyncResponse { heads, last, parts: parts.clone() });
        }
    }
}
