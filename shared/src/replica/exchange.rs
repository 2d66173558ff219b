//! What comes in over links: frames, blocks, requests, credit; and the timers of all that.

use alloc::vec::Vec;

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
        FRAME_TARGET_BYTES, GREETING_BYTES, LINKS, RESYNC_EVERY, SLICE, SUSPECT_TIMEOUT, WANTED_PER_FRAME,
        WANTED_PER_LINK,
    },
    proofs::Proof,
    replica::ReplicaError,
    store::{ReadStore, Store},
    sync::{Phase, Window},
    wire::{Envelope, Message, decode_frame},
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
            Message::LedgerSyncRequest { digest, parts } => self.on_digest(id, digest, &parts, effects)?,
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

    pub(super) fn on_have(&mut self, id: LinkId, lanes: &[(NodeId, u64)], effects: &mut Vec<Effect>) {
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
