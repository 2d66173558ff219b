//! What comes in over links: frames, heads, blocks, requests, credit; and the timers of all that.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{
    Replica, Timer, Turn,
    accept::{Outcome, Refusal},
};
use crate::{
    directed::Route,
    effect::{CloseReason, Effect, LinkId},
    id::{BlockHash, NodeId},
    incoming::{Frame, Incoming},
    ledger::RuleError,
    limits::{
        FRAME_TARGET_BYTES, GREETING_BYTES, HEADS_LOOKED_UP, LINKS, RESYNC_EVERY, SLICE, SUSPECT_TIMEOUT,
        WANTED_PER_FRAME, WANTED_PER_LINK,
    },
    parts::{Part, Parts, height_of},
    proofs::Proof,
    replica::ReplicaError,
    store::{ReadStore, Store},
    sync::{Asked, Phase, Window},
    wire::{Envelope, Head, Message, decode_frame},
};

/// The store failed; or the peer broke the protocol, and its link is to be closed.
pub(super) type Reply<S> = Result<Result<(), CloseReason>, ReplicaError<<S as ReadStore>::Error>>;

impl<S: Store> Replica<S> {
    pub(super) fn handle_wake(&mut self, effects: &mut Vec<Effect>) -> Turn<S> {
        while let Some(timer) = self.timers.pop() {
            match timer {
                Timer::Handshake(id) => self.close(id, CloseReason::HandshakeTimeout, effects),
                Timer::Ping(id) => self.ping(id, effects),
                Timer::Pong(id) => match self.rests_for(id) {
                    0 => self.close(id, CloseReason::PingTimeout, effects),
                    // The answer may be in what is not read yet.
                    rest => self.timers.set(Timer::Pong(id), rest + SUSPECT_TIMEOUT),
                },
                Timer::Silence(id) => self.ping_within(id, SUSPECT_TIMEOUT, effects),
                Timer::Stall(id) => self.close(id, CloseReason::Stalled, effects),
                Timer::Credit(id) => self.on_credit_due(id),
                Timer::Read(id) => self.read_on(id, SLICE, effects)?,
                Timer::OwnLane | Timer::OwnLaneMost => self.on_own_deadline(),
                Timer::Rekey => self.on_rekey_due(),
                Timer::Withheld => self.on_withheld_due()?,
                Timer::Graft => self.graft_due(effects)?,
                // The end of the turn says what is there.
                Timer::Have => {}
                Timer::Meet => self.meet(effects),
                Timer::Presence => self.on_presence_due(effects),
                Timer::Probe => self.on_probe_due(effects),
                // The end of the turn looks whether there is something to note.
                Timer::Peers => {}
                // Whoever waits for a voucher is looked at again at the end of this input.
                Timer::Zone => {}
                Timer::Resync(id) => {
                    let Some(link) = self.links.get_mut(&id) else { continue };
                    let resync = core::mem::take(&mut link.resync);
                    if core::mem::take(&mut link.graft_waits) {
                        self.on_graft(id)?;
                    }
                    if resync {
                        self.tell_heads(id, None);
                    }
                }
            }
        }
        self.place_due(effects)
    }

    pub(super) fn on_frame(&mut self, id: LinkId, bytes: &[u8], effects: &mut Vec<Effect>) -> Turn<S> {
        if !self.admits(id, bytes.len(), effects)? {
            return Ok(());
        }
        match decode_frame(bytes) {
            Ok(envelopes) => self.on_envelopes(id, Frame { len: bytes.len(), envelopes }, effects),
            Err(error) => {
                self.close(id, CloseReason::Protocol(error.summary()), effects);
                Ok(())
            }
        }
    }

    /// A frame that was read elsewhere.
    pub(super) fn on_read_frame(&mut self, id: LinkId, frame: Frame, effects: &mut Vec<Effect>) -> Turn<S> {
        if self.admits(id, frame.len, effects)? { self.on_envelopes(id, frame, effects) } else { Ok(()) }
    }

    /// Whether a frame is looked at.
    fn admits(&mut self, id: LinkId, len: usize, effects: &mut Vec<Effect>) -> Result<bool, ReplicaError<S::Error>> {
        // A driver that hands in the next frame has nobody else to think of.
        self.read_on(id, usize::MAX, effects)?;
        let Some(link) = self.links.get_mut(&id) else { return Ok(false) };
        link.stirred = true;
        link.bytes.0 += len as u64;
        let most = if matches!(link.phase, Phase::Joining { .. }) { FRAME_TARGET_BYTES } else { GREETING_BYTES };
        if link.peer().is_none() && len > most {
            self.close(id, CloseReason::Protocol("a frame before the handshake is too large"), effects);
            return Ok(false);
        }
        Ok(true)
    }

    fn on_envelopes(&mut self, id: LinkId, Frame { len, envelopes }: Frame, effects: &mut Vec<Effect>) -> Turn<S> {
        self.heard(id);
        let needs_credit = envelopes.iter().any(|envelope| envelope.message.needs_credit());
        if let Err(reason) = self.meter(id, len, envelopes.len() as u64, needs_credit) {
            self.close(id, reason, effects);
            return Ok(());
        }
        if let Some(link) = self.links.get_mut(&id) {
            link.unread.extend(envelopes);
        }
        self.read_on(id, if self.config.slices { SLICE } else { usize::MAX }, effects)
    }

    /// Reads on in a frame: so much at once, where others are to have their turn.
    pub(super) fn read_on(&mut self, id: LinkId, most: usize, effects: &mut Vec<Effect>) -> Turn<S> {
        let mut left = most;
        while left > 0
            && let Some(link) = self.links.get_mut(&id)
            && let Some(mut envelope) = link.unread.pop_front()
        {
            if let Some(rest) = envelope.message.split_off(left) {
                let Envelope { message_id, sender, recipient, .. } = envelope;
                link.unread.push_front(Envelope { message_id, sender, recipient, message: rest });
            }
            left = left.saturating_sub(envelope.message.blocks().max(1));
            if let Err(reason) = self.on_envelope(id, envelope, effects)? {
                self.close(id, reason, effects);
            }
        }
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        if link.unread.is_empty() {
            // What is read to its end is paid for.
            let Window { frames, bytes } = core::mem::take(&mut link.reading);
            link.taken.frames += frames;
            link.taken.bytes += bytes;
        } else {
            self.timers.set(Timer::Read(id), self.rests_for(id).max(1));
        }
        Ok(())
    }

    fn on_envelope(&mut self, id: LinkId, envelope: Envelope, effects: &mut Vec<Effect>) -> Reply<S> {
        let Some(link) = self.links.get(&id) else { return Ok(Ok(())) };
        let Envelope { message_id, sender, recipient, message } = envelope;
        let directed = matches!(message, Message::Directed(_));
        if !directed && recipient.is_some_and(|recipient| recipient != self.me) {
            return Ok(Err(CloseReason::Protocol("an envelope is for another node")));
        }
        match (&link.phase, message) {
            // One side may have let the other one in already.
            (_, Message::Bye) => {
                self.links.entry(id).and_modify(|link| link.goes = true);
                Ok(Ok(()))
            }
            (Phase::Greeting, Message::Hello { version, ledger, node, nonce }) => {
                if sender != node {
                    return Ok(Err(CloseReason::WrongProof));
                }
                Ok(self.on_hello(id, version, ledger == self.config.ledger, node, nonce))
            }
            (Phase::Proving { peer, challenge }, Message::Auth { signature }) => {
                let (peer, challenge) = (*peer, *challenge);
                self.on_auth(id, peer, &challenge, &signature, effects)
            }
            (Phase::Joining { peer }, Message::Membership { blocks }) => {
                let peer = *peer;
                self.on_membership(id, peer, &blocks, effects)
            }
            (Phase::Joining { .. }, _) => Ok(Err(CloseReason::NotAMember)),
            (Phase::Ready { peer }, message) => {
                if sender != *peer && !directed {
                    return Ok(Err(CloseReason::Protocol("an envelope has another sender than the link")));
                }
                self.on_message(id, Envelope { message_id, sender, recipient, message }, effects)
            }
            _ => Ok(Err(CloseReason::Protocol("a handshake is Hello, then Auth, each once"))),
        }
    }

    fn on_message(&mut self, id: LinkId, envelope: Envelope, effects: &mut Vec<Effect>) -> Reply<S> {
        let Envelope { message_id, sender, recipient, message } = envelope;
        match message {
            Message::Bye => {}
            Message::Directed(directed) => {
                let Some(recipient) = recipient else {
                    return Ok(Err(CloseReason::Protocol("a directed message is for nobody")));
                };
                return Ok(self.on_directed(id, &Route { message_id, sender, recipient }, &directed, effects));
            }
            Message::Hello { .. } | Message::Auth { .. } => {
                return Ok(Err(CloseReason::Protocol("a handshake is Hello, then Auth, each once")));
            }
            // It belongs: that was known.
            Message::Membership { .. } => {}
            Message::NodeAnnounce { nodes, announcements } => {
                self.on_announce(id, nodes);
                self.on_announcements(id, announcements, effects);
            }
            Message::LedgerSyncRequest { digest, parts } => return self.on_digest(id, digest, &parts, effects),
            Message::LedgerSyncResponse { heads, last, parts } => {
                return self.on_heads(id, heads, last, parts, effects);
            }
            Message::EntryAnnounce { blocks, remaining } => {
                let count = blocks.len() as u64;
                match self.take_blocks(id, blocks, effects)? {
                    Ok(spare) => spare.into_iter().for_each(|spare| self.prune(spare)),
                    Err(reason) => return Ok(Err(reason)),
                }
                self.on_progress(id, count, remaining, effects);
            }
            Message::EntryRequest { blocks } => {
                if let Some(link) = self.links.get_mut(&id) {
                    let room = WANTED_PER_LINK.saturating_sub(link.answers.len());
                    link.answers.extend(blocks.into_iter().take(room));
                }
            }
            Message::EntryResponse { blocks } => return self.on_blocks(id, blocks, effects),
            Message::PayloadRequest { lacks } => {
                if let Some(link) = self.links.get_mut(&id) {
                    let room = WANTED_PER_LINK.saturating_sub(link.lacked.len());
                    link.lacked.extend(lacks.into_iter().take(room));
                }
            }
            Message::Have { lanes } => {
                self.on_have(id, &lanes, effects);
                self.on_claims(id, &lanes);
            }
            Message::NodeListRequest { known } => self.on_list_request(id, &known),
            Message::NodeGone { nodes } => self.on_gone(id, nodes),
            Message::Prune => self.on_prune(id),
            Message::Graft => self.on_graft(id)?,
            Message::Credit { frames, bytes } => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.in_flight.give_back(frames, bytes);
                    self.timers.stop(Timer::Stall(id));
                }
            }
            // What a freeze voids cannot be decided over a ledger with holes; the proof comes again with the heads.
            Message::Evidence { .. } if self.is_mending() => {}
            Message::Evidence { proof } => match Proof::decode(&proof) {
                Some(proof) if proof.ledger() == self.config.ledger => {
                    if !self.learn(&proof, Some(id), effects)? {
                        self.postpone_link(id);
                    }
                }
                _ => return Ok(Err(CloseReason::Protocol("evidence proves nothing"))),
            },
        }
        Ok(Ok(()))
    }

    fn on_announce(&mut self, id: LinkId, nodes: Vec<NodeId>) {
        if let Some(link) = self.links.get_mut(&id) {
            let room = LINKS.saturating_sub(link.announced.len());
            link.announced.extend(nodes.iter().take(room));
        }
        nodes.iter().for_each(|node| self.is_there(node));
    }

    fn on_digest(&mut self, id: LinkId, digest: [u8; 32], parts: &[Part], effects: &mut Vec<Effect>) -> Reply<S> {
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
                let asked = Asked { parts: differing.number(), before: BTreeMap::new() };
                self.links.entry(id).and_modify(|link| link.asked_heads = Some(asked));
                return self.on_heads(id, heads, true, Some(differing), effects);
            }
            if !heads_sent {
                self.ask_heads(id);
            }
        }
        Ok(Ok(()))
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
                head.tips = alloc::vec![(tip.height, tip.hash)];
            }
            if self.ledger.part(&heads).digest != part.digest {
                return Ok(None);
            }
            found.extend(heads);
        }
        Ok(Some(found))
    }

    /// Tells a peer its heads in these parts, or all; at most once in [`RESYNC_EVERY`]: they are many, and asking for them costs little.
    fn tell_heads(&mut self, id: LinkId, parts: Option<Parts>) {
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

    fn on_heads(
        &mut self,
        id: LinkId,
        heads: Vec<Head>,
        last: bool,
        parts: Option<Parts>,
        effects: &mut Vec<Effect>,
    ) -> Reply<S> {
        let Some(link) = self.links.get(&id) else { return Ok(Ok(())) };
        if !link.listing {
            match (&parts, &link.asked_heads) {
                // What both have was compared by other words meanwhile.
                (Some(_), None) => return Ok(Ok(())),
                (Some(parts), Some(asked)) if parts.number() != asked.parts => {
                    return Ok(Err(CloseReason::Protocol("heads are of parts that nobody asked for")));
                }
                _ => self.begin_list(id, parts.as_ref(), effects),
            }
        }
        for head in heads {
            let has = self.peer_has(&head)?;
            let frozen = self.ledger.frozen_at(&head.author);
            let Some(link) = self.links.get_mut(&id) else { return Ok(Ok(())) };
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
        Ok(Ok(()))
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

    pub(super) fn on_blocks(&mut self, id: LinkId, blocks: Vec<Incoming>, effects: &mut Vec<Effect>) -> Reply<S> {
        Ok(self.take_blocks(id, blocks, effects)?.map(|_| ()))
    }

    /// Takes in the blocks of a frame; returns a link that is one too many, if other links had brought all of them.
    fn take_blocks(
        &mut self,
        id: LinkId,
        blocks: Vec<Incoming>,
        effects: &mut Vec<Effect>,
    ) -> Result<Result<Option<LinkId>, CloseReason>, ReplicaError<S::Error>> {
        let mut spare = None;
        let mut news = false;
        for block in blocks {
            match self.offer(block, Some(id), effects)? {
                Outcome::Refused(refusal) => {
                    return Ok(Err(CloseReason::Protocol(match refusal {
                        Refusal::Block(_) => "a block is malformed or its signature is wrong",
                        Refusal::Rule(RuleError::NotOwnParent) => "a block does not rest on its author's block before",
                        Refusal::Rule(RuleError::TimeBeforeParent) => "a block's time is before the end of a parent",
                        Refusal::Rule(RuleError::TooManyAuthors) => "this ledger has all the authors it can have",
                        Refusal::Rule(RuleError::Member(_)) => "a block's author may not write it",
                    })));
                }
                Outcome::Known { spare: Some(link) } => spare = Some(link),
                _ => news = true,
            }
        }
        if self.is_mending() {
            self.request_repairs(id);
            return Ok(Ok(None));
        }
        let Some(link) = self.links.get_mut(&id) else { return Ok(Ok(None)) };
        if link.resync && !self.timers.is_set(Timer::Resync(id)) {
            self.timers.set(Timer::Resync(id), RESYNC_EVERY);
        }
        // What came is not missing any more.
        let mut wanted = core::mem::take(&mut link.wanted);
        for hash in wanted.clone() {
            if self.pool.get(&hash).is_some() || self.store.summary(&hash)?.is_some() {
                wanted.remove(&hash);
            }
        }
        if let Some(link) = self.links.get_mut(&id) {
            link.wanted = wanted;
        }
        Ok(Ok(spare.filter(|_| !news)))
    }

    fn on_progress(&mut self, id: LinkId, count: u64, remaining: u64, effects: &mut Vec<Effect>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (done, total) = link.progress;
        if remaining == 0 && done == total {
            return;
        }
        let done = if done == total { count } else { done + count };
        // The number is the peer's word, and may be any.
        let total = done.saturating_add(remaining);
        link.progress = (done, total);
        if remaining == 0 {
            self.ask_again(id);
        }
        effects.push(Effect::Progress { link: id, done, total });
    }

    fn on_have(&mut self, id: LinkId, lanes: &[(NodeId, u64)], effects: &mut Vec<Effect>) {
        for (lane, height) in lanes {
            let (own, height) = (*lane == self.me, self.ledger.height(lane).min(*height));
            let forked = self.ledger.is_forked(lane);
            let Some(link) = self.links.get_mut(&id) else { return };
            if !forked && height > 0 {
                link.note_has(*lane, height);
            }
            if own && height > link.holds {
                link.holds = height;
                effects.push(self.held());
            }
        }
    }

    pub(super) fn held(&self) -> Effect {
        let height = self.links.values().map(|link| link.holds).max().unwrap_or(0);
        let nodes = self.links.values().filter(|link| link.holds == height && height > 0).count() as u32;
        Effect::Held { height, nodes }
    }

    pub(super) fn request(&mut self, id: LinkId, missing: &[BlockHash]) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let mut blocks = Vec::new();
        for hash in missing {
            if link.wanted.len() >= WANTED_PER_LINK {
                link.resync = true;
                break;
            }
            if link.wanted.insert(*hash) {
                blocks.push(*hash);
            }
        }
        for blocks in blocks.chunks(WANTED_PER_FRAME) {
            self.say(id, Message::EntryRequest { blocks: blocks.to_vec() });
        }
    }
}
