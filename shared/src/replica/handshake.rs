//! Links come and go: opening, proving keys, coming back after hibernation, closing.

use alloc::{borrow::Cow, collections::BTreeSet, vec, vec::Vec};

use super::{Replica, ReplicaError, Timer, Turn, exchange::Reply};
use crate::{
    block::Block,
    effect::{CloseReason, DialId, Effect, LinkId, LinkPath, Role},
    id::{BlockHash, NodeId},
    incoming::Incoming,
    key,
    ledger::{stored, stored_removal},
    limits::{
        CLOCK_WINDOW, DIRECT_PING_EVERY, DIRECT_PING_TIMEOUT, HANDSHAKE, LINKS, PING_EVERY, PING_TIMEOUT, RESYNC_EVERY,
        SUSPECT_TIMEOUT,
    },
    members::{Control, Join, Member, Removal, is_closed},
    store::Store,
    sync::{Link, Phase},
    wire::{Message, PROTOCOL_VERSION, auth_message},
};

impl<S: Store> Replica<S> {
    pub(super) fn handle_opened(
        &mut self,
        id: LinkId,
        role: Role,
        path: LinkPath,
        dial: Option<DialId>,
        effects: &mut Vec<Effect>,
    ) {
        if role == Role::Accepted {
            self.enter_door(id, effects);
        } else if self.is_full() {
            effects.push(Effect::Close { link: id, reason: CloseReason::Full });
            return;
        }
        let nonce = self.random.bytes32();
        self.links.insert(id, Link::new(role, path, nonce));
        if let Some(dial) = dial {
            self.on_dialled(id, dial);
        }
        self.timers.set(Timer::Handshake(id), HANDSHAKE);
        let (ledger, node) = (self.config.ledger, self.me);
        self.say(id, Message::Hello { version: PROTOCOL_VERSION, ledger, node, nonce });
    }

    /// Whether there is no place for another peer; who is still at the door has none yet.
    fn is_full(&self) -> bool {
        self.links.len() - self.door.len() >= LINKS
    }

    pub(super) fn restore_link(&mut self, id: LinkId, state: &[u8], effects: &mut Vec<Effect>) {
        let Some((mut link, settled)) = Link::load(state) else {
            return self.handle_opened(id, Role::Accepted, LinkPath::Relay, None, effects);
        };
        link.compared = settled;
        let (ready, role, reachable) = (link.peer().is_some(), link.role, link.reachable.clone());
        self.links.insert(id, link);
        reachable.into_iter().for_each(|said| _ = self.learn_peer(said));
        if !ready {
            if role == Role::Accepted {
                self.door.push(id);
            }
            self.timers.set(Timer::Handshake(id), HANDSHAKE);
            return;
        }
        self.ping_later(id);
        if settled {
            // Its peer was asked before.
            if let Some(link) = self.links.get_mut(&id) {
                link.asked = self.ledger.last_seq();
            }
            self.has_everything(id);
        } else {
            self.say(id, Message::LedgerSyncRequest { digest: self.ledger.digest(), parts: Vec::new() });
            self.say_heads(id, None);
        }
    }

    pub(super) fn forget(&mut self, id: LinkId, effects: &mut Vec<Effect>) {
        let Some(link) = self.links.remove(&id) else { return };
        let timers: [fn(LinkId) -> Timer; 8] = [
            Timer::Handshake,
            Timer::Ping,
            Timer::Pong,
            Timer::Silence,
            Timer::Stall,
            Timer::Credit,
            Timer::Resync,
            Timer::Read,
        ];
        for timer in timers {
            self.timers.stop(timer(id));
        }
        if link.peer().is_none() {
            self.leave_door(id);
        }
        if self.pool.drop_link(id) {
            self.resync_all();
        }
        self.on_own_link_gone(link.awaited, &link.own);
        self.on_peer_gone(&link);
        if let Some(node) = link.peer() {
            effects.push(Effect::PeerDown { link: id, node });
            if link.holds > 0 {
                effects.push(self.held());
            }
        }
    }

    /// Compares heads again on every link: what was forgotten may have come over them too, and their peers think that it is
    /// here.
    fn resync_all(&mut self) {
        for (id, link) in self.links.iter_mut().filter(|(_, link)| link.peer().is_some()) {
            link.resync = true;
            if !self.timers.is_set(Timer::Resync(*id)) {
                self.timers.set(Timer::Resync(*id), RESYNC_EVERY);
            }
        }
    }

    pub(super) fn close(&mut self, id: LinkId, reason: CloseReason, effects: &mut Vec<Effect>) {
        // Who closes a link lives, and so does its peer, unless the peer does not answer.
        let because_of_others =
            matches!(reason, CloseReason::Spare | CloseReason::Replaced | CloseReason::Full | CloseReason::Mended);
        if because_of_others {
            self.say(id, Message::Bye);
        }
        if let Some(link) = self.links.get_mut(&id) {
            link.goes |= !matches!(reason, CloseReason::PingTimeout | CloseReason::Stalled);
            let frames = core::mem::take(&mut link.control);
            effects.extend(frames.into_iter().map(|bytes| Effect::Send { link: id, bytes }));
            effects.push(Effect::Close { link: id, reason });
            self.forget(id, effects);
        }
    }

    /// Asks the peer whether it lives.
    pub(super) fn ping(&mut self, id: LinkId, effects: &mut Vec<Effect>) {
        let relay = self.links.get(&id).is_some_and(|link| link.path == LinkPath::Relay);
        self.ping_within(id, if relay { PING_TIMEOUT } else { DIRECT_PING_TIMEOUT }, effects);
    }

    /// Asks it after some silence: at a relay who dialled does, which lets the relay sleep.
    fn ping_later(&mut self, id: LinkId) {
        match self.links.get(&id).map(|link| (link.path, link.role)) {
            Some((LinkPath::Relay, Role::Dialled)) => self.timers.set(Timer::Ping(id), PING_EVERY),
            Some((LinkPath::Relay, Role::Accepted)) | None => {}
            Some(_) => self.timers.set(Timer::Ping(id), DIRECT_PING_EVERY),
        }
    }

    /// The same, with less patience.
    pub(super) fn ping_within(&mut self, id: LinkId, patience: u64, effects: &mut Vec<Effect>) {
        if let Some(link) = self.links.get_mut(&id) {
            link.pinged = Some(self.timers.now());
            effects.push(Effect::Ping { link: id });
            self.timers.set_within(Timer::Pong(id), patience);
        }
    }

    pub(super) fn on_pong(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id)
            && let Some(pinged) = link.pinged.take()
        {
            link.round_trip = Some(self.timers.now().since(pinged));
        }
    }

    pub(super) fn heard(&mut self, id: LinkId) {
        let now = self.timers.now();
        let Some(link) = self.links.get_mut(&id).filter(|link| link.peer().is_some()) else { return };
        link.heard = now;
        self.timers.stop(Timer::Pong(id));
        self.timers.stop(Timer::Silence(id));
        self.ping_later(id);
    }

    pub(super) fn on_hello(
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
        let signature = self.config.key.sign(&message);
        self.say(id, Message::Auth { signature });
        Ok(())
    }

    pub(super) fn on_auth(
        &mut self,
        id: LinkId,
        peer: NodeId,
        challenge: &[u8; 32],
        signature: &[u8; 64],
        effects: &mut Vec<Effect>,
    ) -> Reply<S> {
        let Some(link) = self.links.get(&id) else { return Ok(Ok(())) };
        let message = auth_message(&self.config.ledger, (&peer, challenge), (&self.me, &link.nonce));
        if key::verify(&peer, &message, signature).is_err() && !mutant!(ProofUnchecked) {
            return Ok(Err(CloseReason::WrongProof));
        }
        let (role, dial) = (link.role, link.dial);
        if self.ledger.is_removed(&peer) && !mutant!(RemovedLetIn) {
            return self.refuse_removed(id, &peer);
        }
        let (known, found) = (self.belongs(&peer), self.is_found(dial));
        // Whom this node was told to dial is trusted with what a hub sees; whom it heard of must belong.
        if role == Role::Dialled && !known && !found && !self.is_given(dial) {
            return Ok(Err(CloseReason::NotAMember));
        }
        // Whoever dials it shows that it belongs, and so does who was found on the local network.
        if !known && (role == Role::Accepted || found) {
            let Some(link) = self.links.get_mut(&id) else { return Ok(Ok(())) };
            link.phase = Phase::Joining { peer };
            // One has to begin: who is not in yet, and has its own first block to show and nothing else.
            if link.path != LinkPath::Relay && self.ledger.members().of(&self.me).next().is_none() {
                self.say_membership(id)?;
            }
            return Ok(Ok(()));
        }
        if self.takes_place(id, &peer, effects) {
            self.admit(id, peer, effects)?;
        }
        Ok(Ok(()))
    }

    /// Of two links to one peer one goes. Whether this one stays.
    fn takes_place(&mut self, id: LinkId, peer: &NodeId, effects: &mut Vec<Effect>) -> bool {
        let Some(link) = self.links.get(&id) else { return false };
        let older = self.links.iter().find(|(other, link)| **other != id && link.peer() == Some(*peer));
        let Some((older, kept)) = older else { return true };
        let (older, kept, direct) = (*older, self.keeps_older(kept, link, peer), kept.path != LinkPath::Relay);
        self.close(if kept { id } else { older }, CloseReason::Replaced, effects);
        if kept && direct {
            // The peer may have dialled because the older one is dead.
            self.ping_within(older, SUSPECT_TIMEOUT, effects);
        }
        !kept
    }

    /// A peer has proved its key, and may have what is here.
    fn admit(&mut self, id: LinkId, peer: NodeId, effects: &mut Vec<Effect>) -> Turn<S> {
        let Some(Link { role, path, .. }) = self.links.get(&id) else { return Ok(()) };
        let (role, direct) = (*role, *path != LinkPath::Relay);
        // Others may have come while this one was dialled.
        if (role == Role::Accepted && self.is_full()) || (direct && self.has_all_direct_links()) {
            self.close(id, CloseReason::Full, effects);
            return Ok(());
        }
        // With each new link it would get a new window.
        if direct && self.pace.owes(self.timers.now(), &peer) {
            self.close(id, CloseReason::TooFast, effects);
            return Ok(());
        }
        self.leave_door(id);
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        link.phase = Phase::Ready { peer };
        self.timers.stop(Timer::Handshake(id));
        self.ping_later(id);
        if role == Role::Dialled || direct {
            self.say_membership(id)?;
        }
        effects.push(Effect::PeerUp { link: id, node: peer });
        self.on_peer_up(id, peer);
        if direct && role == Role::Dialled {
            self.ping(id, effects);
        }
        self.introduce(id, peer);
        self.ask_whom_it_knows(id);
        self.request_repairs(id);
        // Who was dialled with many lanes waits for the other side's question, which may tell it all.
        if role == Role::Dialled || self.ledger.lanes().len() <= self.config.heads_unasked {
            self.ask_heads(id);
        }
        Ok(())
    }

    /// Whether a node is a member that was not removed; in an open ledger everybody is.
    pub(super) fn belongs(&self, node: &NodeId) -> bool {
        let is_member = || self.ledger.members().of(node).next().is_some();
        !self.config.ledger.has_members() || (is_member() && !self.ledger.is_removed(node))
    }

    /// Who was removed hears of that and of nothing else, whoever dialled.
    fn refuse_removed(&mut self, id: LinkId, peer: &NodeId) -> Reply<S> {
        if let Some(proof) = stored_removal(&self.store, peer)? {
            self.say(id, Message::Evidence { proof });
        }
        Ok(Err(CloseReason::NotAMember))
    }

    /// Somebody's first block does not count, so that it has no part in the ledger until somebody vouches for it.
    pub(super) fn turn_away(&mut self, node: &NodeId, effects: &mut Vec<Effect>) {
        if self.belongs(node) {
            return;
        }
        for id in self.links_of(node) {
            self.close(id, CloseReason::NotAMember, effects);
        }
    }

    /// A lane is frozen. Of those who were let in by what they showed, and whose first blocks wait here for others, some may not
    /// come in any more.
    pub(super) fn turn_away_newcomers(&mut self, effects: &mut Vec<Effect>) -> Turn<S> {
        let showed = |link: &&Link| link.role == Role::Accepted || !self.is_given(link.dial);
        let peers: BTreeSet<NodeId> = self.links.values().filter(showed).filter_map(Link::peer).collect();
        for peer in &peers {
            if self.ledger.members().of(peer).next().is_none() && !self.may_come_in(peer)? {
                self.turn_away(peer, effects);
            }
        }
        Ok(())
    }

    /// Whether a first block waits here by which a node comes in, as far as is known now.
    fn may_come_in(&self, node: &NodeId) -> Result<bool, ReplicaError<S::Error>> {
        if self.ledger.in_zone(node, 1) {
            return Ok(false);
        }
        let freezes = self.ledger.freezes();
        for first in self.pool.at(*node, 1) {
            let Ok(Some(Control::Join(Join { invite, .. }))) = Control::of(&first) else { return Ok(true) };
            let waiting = self.pool.get(&invite).map(|parked| parked.block.header().clone());
            let header = match waiting {
                Some(header) => Some(header),
                None => stored(&self.store, &invite)?.map(|block| block.header().clone()),
            };
            let (by, height) = header.map_or((*node, 0), |header| (header.author, header.height));
            if !is_closed(&invite, (&by, height), &freezes) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn links_of(&self, node: &NodeId) -> Vec<LinkId> {
        self.links.iter().filter(|(_, link)| link.peer() == Some(*node)).map(|(id, _)| *id).collect()
    }

    /// Tells how this node came in, to a peer that may have lost or not yet heard of it.
    fn say_membership(&mut self, id: LinkId) -> Turn<S> {
        if !self.config.ledger.has_members() {
            return Ok(());
        }
        let members = self.ledger.members();
        let mut hashes: Vec<BlockHash> = Vec::new();
        if let Some(member) = members.of(&self.me).next() {
            let blocks = |member: &Member| [Some(member.key.hash), member.by.map(|by| by.invite)];
            hashes.extend(members.chain(member).flat_map(blocks).flatten());
        }
        let mut blocks: Vec<Vec<u8>> = Vec::new();
        for hash in hashes.iter().rev() {
            blocks.extend(stored(&self.store, hash)?.map(Block::into_bytes));
        }
        if blocks.is_empty() {
            blocks.extend(self.config.join.clone());
        }
        self.say(id, Message::Membership { blocks });
        Ok(())
    }

    /// A peer shows how it came in. That is decided from what it shows and from what is here. What it showed is taken in like
    /// other blocks then, so that nobody listens who is not on the list of members, or is not closed out with its invite.
    pub(super) fn on_membership(
        &mut self,
        id: LinkId,
        peer: NodeId,
        shown: &[Vec<u8>],
        effects: &mut Vec<Effect>,
    ) -> Reply<S> {
        let Ok(blocks) = shown.iter().map(|bytes| Block::decode(bytes)).collect::<Result<Vec<Block>, _>>() else {
            return Ok(Err(CloseReason::NotAMember));
        };
        // Copied only for who shows something that is new and right so far.
        let mut members = Cow::Borrowed(self.ledger.members());
        for (i, block) in blocks.iter().enumerate() {
            if members.get(&block.hash()).is_some() {
                continue;
            }
            let named = |hash: &BlockHash| match blocks[..i].iter().find(|block| block.hash() == *hash) {
                Some(block) => Ok(Some(block.clone())),
                None => stored(&self.store, hash),
            };
            let Ok(newcomer) = members.check(&self.config.ledger, block, named)? else {
                return Ok(Err(CloseReason::NotAMember));
            };
            if block.clone().verify().is_err() {
                return Ok(Err(CloseReason::NotAMember));
            }
            newcomer.into_iter().for_each(|member| members.to_mut().insert(*member));
        }
        let freezes = self.ledger.freezes();
        let latest = self.now.plus(CLOCK_WINDOW);
        // What is to be repaired was in the ledger, and counted; so did what is there and rests on that.
        let mut counted: BTreeSet<BlockHash> = self.repairing.clone();
        for member in members.of(&peer).filter(|_| !self.repairing.is_empty()) {
            counted.extend(self.store.summary(&member.key.hash)?.map(|summary| summary.hash));
        }
        let counts = members.of(&peer).any(|member| {
            let in_time = member.key.timestamp <= latest && !self.ledger.in_zone(&member.node, 1);
            counted.contains(&member.key.hash) || (in_time && !members.needs_voucher(member, &freezes))
        });
        let stranger = !counts && !mutant!(StrangersLetIn);
        let removed = self.ledger.is_removed(&peer) && !mutant!(RemovedLetIn);
        if stranger || removed {
            return Ok(Err(CloseReason::NotAMember));
        }
        if !self.takes_place(id, &peer, effects) {
            return Ok(Ok(()));
        }
        self.admit(id, peer, effects)?;
        self.on_blocks(id, shown.iter().cloned().map(Incoming::Bytes).collect(), effects)
    }

    /// A member was removed: that is the last thing it hears.
    pub(super) fn dismiss(&mut self, removal: &Removal, effects: &mut Vec<Effect>) {
        let (node, _) = removal.lane();
        for id in self.links_of(&node) {
            self.say(id, Message::Evidence { proof: removal.encode() });
            self.close(id, CloseReason::NotAMember, effects);
        }
    }

    fn introduce(&mut self, id: LinkId, peer: NodeId) {
        let ready = |(other, link): (&LinkId, &Link)| {
            link.peer().filter(|_| *other != id && !link.goes).map(|node| (*other, node))
        };
        let others: Vec<(LinkId, NodeId)> = self.links.iter().filter_map(ready).collect();
        let announcements = self.introductions(&peer);
        let gone = self.gone_among(&announcements);
        if !gone.is_empty() {
            self.say(id, Message::NodeGone { nodes: gone });
        }
        if !others.is_empty() || !announcements.is_empty() {
            let nodes = others.iter().map(|(_, node)| *node).collect();
            self.say(id, Message::NodeAnnounce { nodes, announcements });
        }
        for (other, _) in others {
            self.say(other, Message::NodeAnnounce { nodes: vec![peer], announcements: Vec::new() });
        }
    }
}
