//! What goes out: new blocks, proofs and answers within a peer's credit, lanes merged in ledger order.

use alloc::vec::Vec;

use super::{Replica, Timer, Turn};
use crate::{
    directed::Route,
    effect::{Effect, LinkId, LinkPath},
    id::{BlockHash, NodeId},
    incoming::Incoming,
    ledger::{checked, stored_evidence, stored_removal},
    limits::{ANSWER_BLOCKS, FRAME_BYTES, FRAME_TARGET_BYTES, HAVE_EVERY, PEER_FRAMES, SILENCE, STALL_TIMEOUT},
    members::{Removal, removed},
    replica::ReplicaError,
    store::{Page, Store, Summary},
    sync::{Link, frame_target_bytes},
    wire::{Envelope, Message},
};

/// Blocks read ahead of a lane that is being sent.
const READ_AHEAD: Page = Page { blocks: 64, bytes: FRAME_TARGET_BYTES };
/// What an envelope adds to its blocks, and each block's length prefix.
const ENVELOPE_BYTES: usize = 128;
const PREFIX_BYTES: usize = 5;

impl<S: Store> Replica<S> {
    pub(super) fn serve_links(&mut self, effects: &mut Vec<Effect>) -> Turn<S> {
        // Of a flood at the door, only whoever has just come or spoken is worth a look.
        let wanted = |link: &mut Link| core::mem::take(&mut link.stirred) || link.peer().is_some();
        let ids: Vec<LinkId> = self.links.iter_mut().filter_map(|(id, link)| wanted(link).then_some(*id)).collect();
        for id in ids {
            // On a hub most links have nothing to say in most turns.
            if self.links.get(&id).is_some_and(|link| !link.is_quiet()) {
                self.acknowledge(id);
                self.serve(id, effects)?;
            }
            if let Some(link) = self.links.get_mut(&id) {
                let state = link.save(self.pool.holds_from(id));
                if state != link.remembered {
                    link.remembered.clone_from(&state);
                    effects.push(Effect::Remember { link: id, state });
                }
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self, id: LinkId) {
        let now = self.timers.now();
        let Some(link) = self.links.get_mut(&id) else { return };
        let taken = core::mem::take(&mut link.taken);
        let early = link.lazy && link.told.is_some_and(|at| at.plus(HAVE_EVERY) > now);
        let have = if early { Default::default() } else { core::mem::take(&mut link.have) };
        if !have.is_empty() {
            link.told = Some(now);
            self.say(id, Message::Have { lanes: have.into_iter().collect() });
        } else if early && !link.have.is_empty() && !self.timers.is_set(Timer::Have) {
            self.timers.set(Timer::Have, HAVE_EVERY);
        }
        if !taken.is_empty() && !mutant!(CreditKept) {
            self.give_credit(id, taken);
        }
    }

    fn serve(&mut self, id: LinkId, effects: &mut Vec<Effect>) -> Turn<S> {
        loop {
            let held_back = self.holds_back(id);
            let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
            let control = core::mem::take(&mut link.control);
            let open = !control.is_empty() && !core::mem::take(&mut link.frame_closed);
            let may_send = link.peer().is_some() && link.in_flight.has_room(link.path) && !held_back;
            link.answerable = (link.answerable + control.len() as u64).min(PEER_FRAMES);
            link.bytes.1 += control.iter().map(|frame| frame.len() as u64).sum::<u64>();
            effects.extend(control.into_iter().map(|bytes| Effect::Send { link: id, bytes }));
            let envelope = if may_send { self.next_envelope(id)? } else { None };
            let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
            let Some(envelope) = envelope else {
                // What stays behind waits for credit, and not for ever.
                if link.owes() && !link.in_flight.is_empty() && !self.timers.is_set(Timer::Stall(id)) {
                    self.timers.set(Timer::Stall(id), STALL_TIMEOUT);
                }
                // A node gives credit at once. Where none comes, the way to it may be gone, and nobody says so.
                let waits = link.path != LinkPath::Relay && !link.in_flight.is_empty();
                if waits && !self.timers.is_set(Timer::Silence(id)) {
                    self.timers.set(Timer::Silence(id), SILENCE);
                }
                return Ok(());
            };
            let envelope = envelope.encode();
            let more = envelope.len() as u64;
            let bytes = join_last(id, envelope, open, effects);
            if let Some(link) = self.links.get_mut(&id) {
                link.in_flight.add(bytes.len());
                link.bytes.1 += more;
                link.answerable = (link.answerable + 1).min(PEER_FRAMES);
            }
            effects.push(Effect::Send { link: id, bytes });
        }
    }

    fn next_envelope(&mut self, id: LinkId) -> Result<Option<Envelope>, ReplicaError<S::Error>> {
        let directed = self.links.get_mut(&id).and_then(|link| link.directed.pop_front());
        if let Some((Route { message_id, sender, recipient }, directed)) = directed {
            let message = Message::Directed(directed);
            return Ok(Some(Envelope { message_id, sender, recipient: Some(recipient), message }));
        }
        Ok(self.next_message(id)?.map(|message| self.envelope(message)))
    }

    /// Whether the last block of this node's lane says that it left. Then that needs no proof beside it, by which this node would
    /// be shut out before it has handed in what it wrote.
    fn says_itself_that_it_left(&self) -> Result<bool, ReplicaError<S::Error>> {
        let removal = stored_removal(&self.store, &self.me)?.and_then(|proof| Removal::parse(&proof).ok());
        let Some(removal) = removal.filter(|removal| removal.author() == self.me) else { return Ok(false) };
        Ok(self.store.summary(&removal.hash())?.is_some())
    }

    fn next_message(&mut self, id: LinkId) -> Result<Option<Message>, ReplicaError<S::Error>> {
        let Some(link) = self.links.get(&id) else { return Ok(None) };
        let own = link.proofs.contains(&self.me) || link.removals.contains_key(&removed(&self.me));
        if own && self.says_itself_that_it_left()? {
            let Some(link) = self.links.get_mut(&id) else { return Ok(None) };
            link.proofs.remove(&self.me);
            link.removals.remove(&removed(&self.me));
        }
        let Some(link) = self.links.get_mut(&id) else { return Ok(None) };
        // The block of a removal brings its proof, if it counts: what is needed beside blocks comes after them.
        let waits = |lane: &&NodeId| link.outbox.is_empty() || !self.ledger.is_removed(lane);
        if let Some(lane) = link.proofs.iter().find(waits).copied() {
            link.proofs.remove(&lane);
            let proof = stored_evidence(&self.store, &lane)?;
            if proof == stored_removal(&self.store, &lane)? {
                link.removals.remove(&removed(&lane));
            }
            return Ok(proof.map(|proof| Message::Evidence { proof }));
        }
        if link.outbox.is_empty()
            && let Some((_, lane)) = link.removals.pop_first()
        {
            let proof = stored_removal(&self.store, &lane)?;
            return Ok(proof.map(|proof| Message::Evidence { proof }));
        }
        while let Some(hash) = self.links.get_mut(&id).and_then(|link| link.answers.pop_front()) {
            let blocks = self.answer(&hash)?;
            if !blocks.is_empty() {
                return Ok(Some(Message::EntryResponse { blocks }));
            }
        }
        let (mut blocks, mut bytes) = (Vec::new(), ENVELOPE_BYTES);
        while bytes < FRAME_TARGET_BYTES && blocks.len() < ANSWER_BLOCKS {
            let Some(lack) = self.links.get_mut(&id).and_then(|link| link.lacked.pop_front()) else { break };
            if let Some(block) = self.payloads_for(&lack)? {
                bytes += block.bytes().len() + PREFIX_BYTES;
                blocks.push(block.into_bytes().into());
            }
        }
        if !blocks.is_empty() {
            return Ok(Some(Message::EntryResponse { blocks }));
        }
        if !self.repairing.is_empty() {
            // A lane with a hole would leave the peer with one. What was asked for by its hash is whole, and two that repair
            // may each have what the other lacks.
            return Ok(None);
        }
        let target = self.links.get(&id).map_or(FRAME_TARGET_BYTES, |link| frame_target_bytes(link.path));
        let (mut blocks, mut bytes) = (Vec::new(), ENVELOPE_BYTES);
        while let Some(next) = self.links.get_mut(&id).and_then(|link| link.outbox.pop()) {
            let Some(record) = self.load(&next)? else { continue };
            let size = record.len() + PREFIX_BYTES;
            if !blocks.is_empty() && bytes + size > target {
                if let Some(link) = self.links.get_mut(&id) {
                    link.outbox.push(next);
                }
                break;
            }
            bytes += size;
            blocks.push(record.into());
            let behind = self.ledger.is_forked(&next.author).then_some(next.hash);
            let following = self.next_in_lane(&next.author, next.height, behind)?;
            let Some(link) = self.links.get_mut(&id) else { return Ok(None) };
            link.remaining = link.remaining.saturating_sub(1);
            link.note_has(next.author, next.height);
            following.into_iter().for_each(|following| link.outbox.push(following));
        }
        let Some(link) = self.links.get_mut(&id) else { return Ok(None) };
        if link.outbox.is_empty() {
            link.remaining = 0;
        }
        let remaining = link.remaining;
        Ok((!blocks.is_empty()).then_some(Message::EntryAnnounce { blocks, remaining }))
    }

    pub(super) fn next_in_lane(
        &mut self,
        lane: &NodeId,
        height: u64,
        behind: Option<BlockHash>,
    ) -> Result<Option<Summary>, ReplicaError<S::Error>> {
        if self.ledger.height(lane) < height || (self.ledger.height(lane) == height && behind.is_none()) {
            return Ok(None);
        }
        if self.ledger.is_forked(lane) {
            let page = match behind {
                Some(hash) => self.store.lane_from(lane, height, &hash, Page { blocks: 2, bytes: usize::MAX })?,
                None => self.store.lane(lane, height + 1, Page::ONE)?,
            };
            let is_next = |s: &Summary| s.height > height || behind.is_some_and(|hash| s.hash > hash);
            return Ok(page.iter().map(|record| record.summary).find(is_next));
        }
        let height = height + u64::from(mutant!(RangeSkipsOne));
        let first = (*lane, height + 1, BlockHash::from_bytes([0; 32]));
        let at_hand =
            self.recent.blocks.range(first..).next().filter(|((author, at, _), _)| author == lane && *at == height + 1);
        if let Some((_, record)) = at_hand {
            return Ok(Some(record.summary));
        }
        let page = self.store.lane(lane, height + 1, READ_AHEAD)?;
        let next = page.first().map(|record| record.summary);
        for record in page {
            checked::<S::Error>(&record)?;
            self.recent.insert(record);
        }
        Ok(next)
    }

    pub(super) fn load(&self, summary: &Summary) -> Result<Option<Vec<u8>>, ReplicaError<S::Error>> {
        match self.recent.blocks.get(&(summary.author, summary.height, summary.hash)) {
            Some(record) => Ok(Some(record.bytes.clone())),
            None => Ok(match self.store.block(&summary.hash)? {
                Some(record) => Some(checked(&record)?.into_bytes()),
                None => None,
            }),
        }
    }

    /// The wanted block and those before it in its lane. Void ones too, as far as they are kept: somebody may vouch for them.
    fn answer(&self, hash: &BlockHash) -> Result<Vec<Incoming>, ReplicaError<S::Error>> {
        let (mut blocks, mut bytes, mut next) = (Vec::new(), 0, Some(*hash));
        while let Some(hash) = next {
            let block = match self.store.block(&hash)? {
                Some(record) => checked(&record)?,
                None => match self.pool.void(&hash) {
                    Some(block) => block,
                    None => break,
                },
            };
            bytes += block.bytes().len() + PREFIX_BYTES;
            if !blocks.is_empty() && (bytes > FRAME_TARGET_BYTES || blocks.len() == ANSWER_BLOCKS) {
                break;
            }
            next = block.header().parents.first().copied().filter(|_| block.header().height > 1);
            blocks.push(block.into_bytes().into());
        }
        blocks.reverse();
        Ok(blocks)
    }

    pub(super) fn spread(&mut self, summary: &Summary, source: Option<LinkId>) {
        let forked = self.ledger.is_forked(&summary.author);
        let now = self.timers.now();
        for (id, link) in &mut self.links {
            link.note_progress(summary, now);
            if let Some(asked) = &mut link.asked_heads {
                asked.note_change(summary.author, summary.height.saturating_sub(1));
            }
            if link.lazy && !forked && link.compared && Some(*id) != source {
                // Said also to who has it already: the author counts who does.
                link.tell_have(summary.author, summary.height);
                continue;
            }
            if !link.compared || Some(*id) == source || (!forked && link.has(&summary.author) >= summary.height) {
                continue;
            }
            link.remaining += 1;
            link.outbox.push(*summary);
        }
    }

    pub(super) fn spread_freeze(&mut self, lane: NodeId, height: u64) -> Turn<S> {
        let below = height.saturating_sub(1);
        let next = self.next_in_lane(&lane, below, None)?;
        let same = self.ledger.height(&lane).min(below);
        for link in self.links.values_mut().filter(|link| link.peer().is_some()) {
            if !mutant!(FreezeUnspread) {
                link.proofs.insert(lane);
            }
            if let Some(asked) = &mut link.asked_heads {
                asked.note_change(lane, same);
            }
            let has = link.has(&lane).min(below);
            link.has.insert(lane, has);
            if let Some(next) = next.filter(|_| link.compared) {
                link.remaining += 1;
                link.outbox.push(next);
            }
        }
        Ok(())
    }

    pub(super) fn say(&mut self, id: LinkId, message: Message) {
        // What follows a proof goes into a frame of its own: before it has read the proof, the peer takes smaller ones only.
        let closes = matches!(message, Message::Auth { .. } | Message::Membership { .. });
        let envelope = self.envelope(message).encode();
        let Some(link) = self.links.get_mut(&id) else { return };
        match link.control.last_mut() {
            Some(frame) if !link.frame_closed && frame.len() + envelope.len() <= FRAME_BYTES => frame.extend(envelope),
            _ => link.control.push(envelope),
        }
        link.frame_closed = closes;
    }

    fn envelope(&mut self, message: Message) -> Envelope {
        Envelope { message_id: self.message_id(), sender: self.me, recipient: None, message }
    }

    pub(super) fn message_id(&mut self) -> [u8; 16] {
        uuid::Builder::from_random_bytes(self.random.bytes16()).into_uuid().into_bytes()
    }
}

/// Puts an envelope behind the frame that is to be sent just before it, where there is one with room: frames are what
/// costs.
fn join_last(id: LinkId, envelope: Vec<u8>, open: bool, effects: &mut Vec<Effect>) -> Vec<u8> {
    match effects.last_mut() {
        Some(Effect::Send { link, bytes }) if open && *link == id && bytes.len() + envelope.len() <= FRAME_BYTES => {
            let mut frame = core::mem::take(bytes);
            effects.pop();
            frame.extend_from_slice(&envelope);
            frame
        }
        _ => envelope,
    }
}
