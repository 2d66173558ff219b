//! What is said over links: handshake, heads, blocks, requests, credit, and the timers of all that.

use alloc::{vec, vec::Vec};

use ed25519_dalek::{Signature, Signer, VerifyingKey};

use super::{
    Replica, Timer, Turn,
    accept::{Outcome, Refusal},
};
use crate::{
    effect::{CloseReason, Effect, LinkId, Role},
    id::{BlockHash, NodeId},
    ledger::{Evidence, RuleError, stored_evidence},
    limits::{
        ANSWER_BLOCKS, FRAME_BYTES, FRAME_TARGET_BYTES, HANDSHAKE, HEADS_PER_FRAME, LINKS, PING_EVERY, PING_TIMEOUT,
        RESYNC_EVERY, STALL_TIMEOUT, WANTED_PER_FRAME, WANTED_PER_LINK,
    },
    replica::ReplicaError,
    store::{Page, ReadStore, Record, Store, Summary},
    sync::{Link, Phase},
    wire::{Envelope, Head, Message, PROTOCOL_VERSION, auth_message, decode_frame},
};

/// Bytes of a frame of a peer that has not proved its key.
const GREETING_BYTES: usize = 1024;
/// With so few heads they go out unasked, which saves a round trip.
const HEADS_UNASKED: usize = 64;
/// Blocks read ahead of a lane that is being sent.
const READ_AHEAD: Page = Page { blocks: 64, bytes: FRAME_TARGET_BYTES };
/// Blocks of a forked lane that are looked through for the next one.
const FORKED: Page = Page { blocks: 256, bytes: usize::MAX };
/// What an envelope adds to its blocks, and each block's length prefix.
const ENVELOPE_BYTES: usize = 128;
const PREFIX_BYTES: usize = 5;

/// The store failed; or the peer broke the protocol, and its link is to be closed.
type Reply<S> = Result<Result<(), CloseReason>, ReplicaError<<S as ReadStore>::Error>>;

impl<S: Store> Replica<S> {
    pub(super) fn handle_opened(&mut self, id: LinkId, role: Role, effects: &mut Vec<Effect>) {
        if self.links.len() >= LINKS {
            effects.push(Effect::Close { link: id, reason: CloseReason::Full });
            return;
        }
        let nonce = self.random.bytes32();
        self.links.insert(id, Link::new(role, nonce));
        self.timers.set(Timer::Handshake(id), self.now.plus(HANDSHAKE));
        let (ledger, node) = (self.config.ledger, self.me);
        self.say(id, Message::Hello { version: PROTOCOL_VERSION, ledger, node, nonce });
    }

    /// Takes back a link that outlived hibernation. Where nothing was under way, the peer has all that is stored; otherwise
    /// both sides compare heads again.
    pub(super) fn restore_link(&mut self, id: LinkId, state: &[u8], effects: &mut Vec<Effect>) {
        let Some((mut link, settled)) = Link::load(state) else {
            return self.handle_opened(id, Role::Accepted, effects);
        };
        link.compared = settled;
        let (ready, role) = (link.peer().is_some(), link.role);
        self.links.insert(id, link);
        if !ready {
            self.timers.set(Timer::Handshake(id), self.now.plus(HANDSHAKE));
            return;
        }
        if role == Role::Dialled {
            self.timers.set(Timer::Ping(id), self.now.plus(PING_EVERY));
        }
        if settled {
            self.has_everything(id);
        } else {
            self.say(id, Message::LedgerSyncRequest { digest: self.ledger.digest() });
            self.say_heads(id);
        }
    }

    /// Forgets a link that is gone.
    pub(super) fn forget(&mut self, id: LinkId, effects: &mut Vec<Effect>) {
        let Some(link) = self.links.remove(&id) else { return };
        for timer in [Timer::Handshake(id), Timer::Ping(id), Timer::Pong(id), Timer::Stall(id), Timer::Resync(id)] {
            self.timers.stop(timer);
        }
        self.pool.drop_link(id);
        if let Some(node) = link.peer() {
            effects.push(Effect::PeerDown { link: id, node });
            if link.holds > 0 {
                effects.push(self.held());
            }
        }
    }

    /// Closes a link: what was to be sent in this turn goes first.
    fn close(&mut self, id: LinkId, reason: CloseReason, effects: &mut Vec<Effect>) {
        if let Some(link) = self.links.get_mut(&id) {
            let frames = core::mem::take(&mut link.control);
            effects.extend(frames.into_iter().map(|bytes| Effect::Send { link: id, bytes }));
            effects.push(Effect::Close { link: id, reason });
            self.forget(id, effects);
        }
    }

    pub(super) fn handle_wake(&mut self, effects: &mut Vec<Effect>) -> Turn<S> {
        while let Some(timer) = self.timers.pop(self.now) {
            match timer {
                Timer::Handshake(id) => self.close(id, CloseReason::HandshakeTimeout, effects),
                Timer::Ping(id) => {
                    effects.push(Effect::Ping { link: id });
                    self.timers.set(Timer::Pong(id), self.now.plus(PING_TIMEOUT));
                }
                Timer::Pong(id) => self.close(id, CloseReason::PingTimeout, effects),
                Timer::Stall(id) => self.close(id, CloseReason::Stalled, effects),
                Timer::Resync(id) => {
                    if let Some(link) = self.links.get_mut(&id) {
                        link.resync = false;
                        self.say_heads(id);
                    }
                }
            }
        }
        self.place_due(effects)
    }

    /// The peer lives.
    pub(super) fn heard(&mut self, id: LinkId) {
        if self.links.get(&id).is_some_and(|link| link.role == Role::Dialled && link.peer().is_some()) {
            self.timers.stop(Timer::Pong(id));
            self.timers.set(Timer::Ping(id), self.now.plus(PING_EVERY));
        }
    }

    pub(super) fn on_frame(&mut self, id: LinkId, bytes: &[u8], effects: &mut Vec<Effect>) -> Turn<S> {
        let Some(link) = self.links.get(&id) else { return Ok(()) };
        if link.peer().is_none() && bytes.len() > GREETING_BYTES {
            self.close(id, CloseReason::Protocol("a frame before the handshake is too large"), effects);
            return Ok(());
        }
        let envelopes = match decode_frame(bytes) {
            Ok(envelopes) => envelopes,
            Err(error) => {
                self.close(id, CloseReason::Protocol(error.summary()), effects);
                return Ok(());
            }
        };
        self.heard(id);
        if envelopes.iter().any(|envelope| envelope.message.needs_credit())
            && let Some(link) = self.links.get_mut(&id)
        {
            link.taken.add(bytes.len());
        }
        for envelope in envelopes {
            if let Err(reason) = self.on_envelope(id, envelope, effects)? {
                self.close(id, reason, effects);
                return Ok(());
            }
        }
        Ok(())
    }

    fn on_envelope(&mut self, id: LinkId, envelope: Envelope, effects: &mut Vec<Effect>) -> Reply<S> {
        let Some(link) = self.links.get(&id) else { return Ok(Ok(())) };
        if envelope.recipient.is_some_and(|recipient| recipient != self.me) {
            return Ok(Err(CloseReason::Protocol("an envelope is for another node")));
        }
        match (&link.phase, envelope.message) {
            (Phase::Greeting, Message::Hello { version, ledger, node, nonce }) => {
                if envelope.sender != node {
                    return Ok(Err(CloseReason::WrongProof));
                }
                Ok(self.on_hello(id, version, ledger == self.config.ledger, node, nonce))
            }
            (Phase::Proving { peer, challenge }, Message::Auth { signature }) => {
                let (peer, challenge) = (*peer, *challenge);
                self.on_auth(id, peer, &challenge, &signature, effects)
            }
            (Phase::Ready { peer }, message) => {
                if envelope.sender != *peer {
                    return Ok(Err(CloseReason::Protocol("an envelope has another sender than the link")));
                }
                self.on_message(id, message, effects)
            }
            _ => Ok(Err(CloseReason::Protocol("a handshake is Hello, then Auth, each once"))),
        }
    }

    fn on_hello(
        &mut self,
        id: LinkId,
        version: u64,
        same_ledger: bool,
        node: NodeId,
        nonce: [u8; 32],
    ) -> Result<(), CloseReason> {
        if version != PROTOCOL_VERSION {
            return Err(CloseReason::WrongVersion);
        }
        if !same_ledger {
            return Err(CloseReason::WrongLedger);
        }
        if node == self.me {
            return Err(CloseReason::Myself);
        }
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        link.phase = Phase::Proving { peer: node, challenge: nonce };
        let message = auth_message(&self.config.ledger, (&self.me, &link.nonce), (&node, &nonce));
        let signature = self.config.key.sign(&message).to_bytes();
        self.say(id, Message::Auth { signature });
        Ok(())
    }

    fn on_auth(
        &mut self,
        id: LinkId,
        peer: NodeId,
        challenge: &[u8; 32],
        signature: &[u8; 64],
        effects: &mut Vec<Effect>,
    ) -> Reply<S> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(Ok(())) };
        let message = auth_message(&self.config.ledger, (&peer, challenge), (&self.me, &link.nonce));
        let proved = VerifyingKey::from_bytes(peer.as_bytes())
            .is_ok_and(|key| !key.is_weak() && key.verify_strict(&message, &Signature::from_bytes(signature)).is_ok());
        if !proved {
            return Ok(Err(CloseReason::WrongProof));
        }
        link.phase = Phase::Ready { peer };
        let role = link.role;
        self.timers.stop(Timer::Handshake(id));
        if role == Role::Dialled {
            self.timers.set(Timer::Ping(id), self.now.plus(PING_EVERY));
        }
        let older = self.links.iter().find(|(other, link)| **other != id && link.peer() == Some(peer));
        if let Some((older, _)) = older {
            self.close(*older, CloseReason::Replaced, effects);
        }
        effects.push(Effect::PeerUp { link: id, node: peer });
        self.introduce(id, peer);
        self.say(id, Message::LedgerSyncRequest { digest: self.ledger.digest() });
        if self.ledger.lanes().len() <= HEADS_UNASKED {
            self.say_heads(id);
            if let Some(link) = self.links.get_mut(&id) {
                link.heads_sent = true;
            }
        }
        Ok(Ok(()))
    }

    /// Tells a new peer who is here, and those who the new peer is.
    fn introduce(&mut self, id: LinkId, peer: NodeId) {
        let ready = |(other, link): (&LinkId, &Link)| link.peer().filter(|_| *other != id).map(|node| (*other, node));
        let others: Vec<(LinkId, NodeId)> = self.links.iter().filter_map(ready).collect();
        if !others.is_empty() {
            self.say(id, Message::NodeAnnounce { nodes: others.iter().map(|(_, node)| *node).collect() });
        }
        for (other, _) in others {
            self.say(other, Message::NodeAnnounce { nodes: vec![peer] });
        }
    }

    fn on_message(&mut self, id: LinkId, message: Message, effects: &mut Vec<Effect>) -> Reply<S> {
        match message {
            Message::Hello { .. } | Message::Auth { .. } => {
                return Ok(Err(CloseReason::Protocol("a handshake is Hello, then Auth, each once")));
            }
            Message::NodeAnnounce { nodes } => self.on_announce(id, nodes),
            Message::LedgerSyncRequest { digest } => self.on_digest(id, digest, effects),
            Message::LedgerSyncResponse { heads, last } => self.on_heads(id, heads, last, effects)?,
            Message::EntryAnnounce { blocks, remaining } => {
                let count = blocks.len() as u64;
                if let Err(reason) = self.on_blocks(id, blocks, effects)? {
                    return Ok(Err(reason));
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
            Message::Have { lanes } => self.on_have(id, &lanes, effects),
            Message::Credit { frames, bytes } => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.in_flight.give_back(frames, bytes);
                    self.timers.stop(Timer::Stall(id));
                }
            }
            Message::Evidence { proof } => match Evidence::decode(&proof) {
                Ok(evidence) if evidence.blocks()[0].header().ledger == self.config.ledger => {
                    self.learn(&evidence, effects)?;
                }
                _ => return Ok(Err(CloseReason::Protocol("evidence proves nothing"))),
            },
        }
        Ok(Ok(()))
    }

    fn on_announce(&mut self, id: LinkId, nodes: Vec<NodeId>) {
        if let Some(link) = self.links.get_mut(&id) {
            let room = LINKS.saturating_sub(link.announced.len());
            link.announced.extend(nodes.into_iter().take(room));
        }
    }

    fn on_digest(&mut self, id: LinkId, digest: [u8; 32], effects: &mut Vec<Effect>) {
        if digest == self.ledger.digest() {
            // A peer that asks again has forgotten what this side has: tell it.
            if self.links.get(&id).is_some_and(|link| link.compared) {
                self.say(id, Message::LedgerSyncRequest { digest });
            }
            self.has_everything(id);
            let height = self.ledger.height(&self.me);
            self.on_have(id, &[(self.me, height)], effects);
        } else if self.links.get(&id).is_some_and(|link| !link.heads_sent) {
            self.say_heads(id);
        }
        if let Some(link) = self.links.get_mut(&id) {
            link.heads_sent = false;
        }
    }

    /// Notes that a peer has all that is in the ledger.
    fn has_everything(&mut self, id: LinkId) {
        let heights: Vec<(NodeId, u64)> =
            self.ledger.lanes().keys().map(|lane| (*lane, self.ledger.height(lane))).collect();
        if let Some(link) = self.links.get_mut(&id) {
            link.compared = true;
            link.has.extend(heights);
        }
    }

    fn on_heads(&mut self, id: LinkId, heads: Vec<Head>, last: bool, effects: &mut Vec<Effect>) -> Turn<S> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        if !link.listing {
            link.listing = true;
            link.compared = false;
            link.has.clear();
            link.outbox.clear();
            link.remaining = 0;
            link.proofs = self.ledger.freezes().into_keys().collect();
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
            if head.author == self.me {
                self.on_have(id, &[(head.author, has)], effects);
            }
        }
        if last {
            self.queue_lanes(id)?;
        }
        Ok(())
    }

    /// Up to which height a peer with these tips has what is here of the lane.
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

    /// Queues what the peer lacks, now that its heads are known.
    fn queue_lanes(&mut self, id: LinkId) -> Turn<S> {
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

    /// The first block of a lane behind a height, or behind a block of that height.
    fn next_in_lane(
        &mut self,
        lane: &NodeId,
        height: u64,
        behind: Option<BlockHash>,
    ) -> Result<Option<Summary>, ReplicaError<S::Error>> {
        if self.ledger.height(lane) < height || (self.ledger.height(lane) == height && behind.is_none()) {
            return Ok(None);
        }
        if self.ledger.is_forked(lane) {
            let from = if behind.is_some() { height } else { height + 1 };
            let is_next = |s: &Summary| s.height > height || behind.is_some_and(|hash| s.hash > hash);
            let page = self.store.lane(lane, from, FORKED)?;
            return Ok(page.iter().map(|record| record.summary).find(is_next));
        }
        let first = (*lane, height + 1, BlockHash::from_bytes([0; 32]));
        let at_hand =
            self.recent.blocks.range(first..).next().filter(|((author, at, _), _)| author == lane && *at == height + 1);
        if let Some((_, record)) = at_hand {
            return Ok(Some(record.summary));
        }
        let page = self.store.lane(lane, height + 1, READ_AHEAD)?;
        let next = page.first().map(|record| record.summary);
        page.into_iter().for_each(|record| self.recent.insert(record));
        Ok(next)
    }

    fn on_blocks(&mut self, id: LinkId, blocks: Vec<Vec<u8>>, effects: &mut Vec<Effect>) -> Reply<S> {
        for bytes in blocks {
            if let Outcome::Refused(refusal) = self.offer(&bytes, Some(id), effects)? {
                return Ok(Err(CloseReason::Protocol(match refusal {
                    Refusal::Block(_) => "a block is malformed or its signature is wrong",
                    Refusal::Rule(RuleError::NotOwnParent) => "a block does not rest on its author's block before",
                    Refusal::Rule(RuleError::TimeBeforeParent) => "a block's time is before the end of a parent",
                    Refusal::Rule(RuleError::TooManyAuthors) => "this ledger has all the authors it can have",
                })));
            }
        }
        let Some(link) = self.links.get_mut(&id) else { return Ok(Ok(())) };
        if link.resync && !self.timers.is_set(Timer::Resync(id)) {
            self.timers.set(Timer::Resync(id), self.now.plus(RESYNC_EVERY));
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
        Ok(Ok(()))
    }

    fn on_progress(&mut self, id: LinkId, count: u64, remaining: u64, effects: &mut Vec<Effect>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (done, total) = link.progress;
        if remaining == 0 && done == total {
            return;
        }
        let done = if done == total { count } else { done + count };
        link.progress = (done, done + remaining);
        effects.push(Effect::Progress { link: id, done, total: done + remaining });
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

    /// The highest height of our own lane that any peer holds, and how many hold it.
    fn held(&self) -> Effect {
        let height = self.links.values().map(|link| link.holds).max().unwrap_or(0);
        let nodes = self.links.values().filter(|link| link.holds == height && height > 0).count() as u32;
        Effect::Held { height, nodes }
    }

    /// Asks a peer for missing blocks, each once.
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

    /// Queues a new block for every peer that lacks it.
    pub(super) fn spread(&mut self, summary: &Summary, source: Option<LinkId>) {
        let forked = self.ledger.is_forked(&summary.author);
        for (id, link) in &mut self.links {
            if !link.compared || Some(*id) == source || (!forked && link.has(&summary.author) >= summary.height) {
                continue;
            }
            link.remaining += 1;
            link.outbox.push(*summary);
        }
    }

    /// Queues the proof of a freeze, and the lane from there on, for every peer.
    pub(super) fn spread_freeze(&mut self, lane: NodeId, height: u64) -> Turn<S> {
        let next = self.next_in_lane(&lane, height.saturating_sub(1), None)?;
        for link in self.links.values_mut().filter(|link| link.peer().is_some()) {
            link.proofs.insert(lane);
            let has = link.has(&lane).min(height.saturating_sub(1));
            link.has.insert(lane, has);
            if let Some(next) = next.filter(|_| link.compared) {
                link.remaining += 1;
                link.outbox.push(next);
            }
        }
        Ok(())
    }

    fn say(&mut self, id: LinkId, message: Message) {
        // What follows a proof goes into a frame of its own: before it has read the proof, the peer takes small ones only.
        let closes = matches!(message, Message::Auth { .. });
        let envelope = self.envelope(message).encode();
        let Some(link) = self.links.get_mut(&id) else { return };
        match link.control.last_mut() {
            Some(frame) if !link.frame_closed && frame.len() + envelope.len() <= FRAME_BYTES => frame.extend(envelope),
            _ => link.control.push(envelope),
        }
        link.frame_closed = closes;
    }

    fn envelope(&mut self, message: Message) -> Envelope {
        let message_id = uuid::Builder::from_random_bytes(self.random.bytes16()).into_uuid().into_bytes();
        Envelope { message_id, sender: self.me, recipient: None, message }
    }

    fn say_heads(&mut self, id: LinkId) {
        let heads = self.ledger.heads();
        let mut pages = heads.chunks(HEADS_PER_FRAME).peekable();
        if pages.peek().is_none() {
            self.say(id, Message::LedgerSyncResponse { heads: Vec::new(), last: true });
        }
        while let Some(page) = pages.next() {
            self.say(id, Message::LedgerSyncResponse { heads: page.to_vec(), last: pages.peek().is_none() });
        }
    }

    /// Sends to every link what it is owed, within its credit.
    pub(super) fn serve_links(&mut self, effects: &mut Vec<Effect>) -> Turn<S> {
        let ids: Vec<LinkId> = self.links.keys().copied().collect();
        for id in ids {
            self.acknowledge(id);
            self.serve(id, effects)?;
            if let Some(link) = self.links.get_mut(&id) {
                let state = link.save();
                if state != link.remembered {
                    link.remembered.clone_from(&state);
                    effects.push(Effect::Remember { link: id, state });
                }
            }
        }
        Ok(())
    }

    /// Says what became durable, and gives credit for what was taken.
    fn acknowledge(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (taken, have) = (core::mem::take(&mut link.taken), core::mem::take(&mut link.have));
        if !have.is_empty() {
            self.say(id, Message::Have { lanes: have.into_iter().collect() });
        }
        if !taken.is_empty() {
            self.say(id, Message::Credit { frames: taken.frames, bytes: taken.bytes });
        }
    }

    fn serve(&mut self, id: LinkId, effects: &mut Vec<Effect>) -> Turn<S> {
        loop {
            let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
            let control = core::mem::take(&mut link.control);
            let open = !control.is_empty() && !core::mem::take(&mut link.frame_closed);
            let may_send = link.peer().is_some() && link.in_flight.has_room();
            effects.extend(control.into_iter().map(|bytes| Effect::Send { link: id, bytes }));
            let message = if may_send { self.next_message(id)? } else { None };
            let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
            let Some(message) = message else {
                // What stays behind waits for credit, and not for ever.
                if link.owes() && !link.in_flight.is_empty() && !self.timers.is_set(Timer::Stall(id)) {
                    self.timers.set(Timer::Stall(id), self.now.plus(STALL_TIMEOUT));
                }
                return Ok(());
            };
            let envelope = self.envelope(message).encode();
            let bytes = join_last(id, envelope, open, effects);
            if let Some(link) = self.links.get_mut(&id) {
                link.in_flight.add(bytes.len());
            }
            effects.push(Effect::Send { link: id, bytes });
        }
    }

    /// The next thing that needs credit: a proof, an answer, or blocks that the peer lacks.
    fn next_message(&mut self, id: LinkId) -> Result<Option<Message>, ReplicaError<S::Error>> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(None) };
        if let Some(lane) = link.proofs.pop_first() {
            let proof = stored_evidence(&self.store, &lane)?;
            return Ok(proof.map(|proof| Message::Evidence { proof }));
        }
        while let Some(hash) = self.links.get_mut(&id).and_then(|link| link.answers.pop_front()) {
            let blocks = self.answer(&hash)?;
            if !blocks.is_empty() {
                return Ok(Some(Message::EntryResponse { blocks }));
            }
        }
        let (mut blocks, mut bytes) = (Vec::new(), ENVELOPE_BYTES);
        while let Some(next) = self.links.get_mut(&id).and_then(|link| link.outbox.pop()) {
            let Some(record) = self.load(&next)? else { continue };
            let size = record.len() + PREFIX_BYTES;
            if !blocks.is_empty() && bytes + size > FRAME_TARGET_BYTES {
                if let Some(link) = self.links.get_mut(&id) {
                    link.outbox.push(next);
                }
                break;
            }
            bytes += size;
            blocks.push(record);
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

    /// The bytes of a block to be sent; `None` if it has become void.
    fn load(&self, summary: &Summary) -> Result<Option<Vec<u8>>, ReplicaError<S::Error>> {
        match self.recent.blocks.get(&(summary.author, summary.height, summary.hash)) {
            Some(record) => Ok(Some(record.bytes.clone())),
            None => Ok(self.store.block(&summary.hash)?.map(|record| record.bytes)),
        }
    }

    /// A wanted block and those of its lane that lead to it, ascending, as many as go into a frame.
    fn answer(&self, hash: &BlockHash) -> Result<Vec<Vec<u8>>, ReplicaError<S::Error>> {
        let (mut blocks, mut bytes, mut next) = (Vec::new(), 0, Some(*hash));
        while let Some(hash) = next {
            let Some(Record { summary, bytes: block }) = self.store.block(&hash)? else { break };
            bytes += block.len() + PREFIX_BYTES;
            if !blocks.is_empty() && (bytes > FRAME_TARGET_BYTES || blocks.len() == ANSWER_BLOCKS) {
                break;
            }
            let header = crate::block::Block::decode_header(&block).map_err(|_| ReplicaError::Damaged(hash))?;
            next = header.parents.first().copied().filter(|_| summary.height > 1);
            blocks.push(block);
        }
        blocks.reverse();
        Ok(blocks)
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
