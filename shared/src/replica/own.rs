//! This node's own lane comes first: nothing is signed before it is known how far the lane goes elsewhere, so that a restored
//! backup does not fork itself. Where a fork was made all the same, the node goes on with its successor's key. A key that
//! comes back without its store signs nothing at all before a peer has given it its lane.

use alloc::{sync::Arc, vec::Vec};

use super::{Replica, Timer, Turn, accept::Outcome};
use crate::{
    block::{Entry, Kind},
    effect::{CloseReason, Effect, LinkId},
    evidence::Evidence,
    id::{BlockHash, NodeId},
    key::Key,
    ledger::{stored_evidence, stored_removal},
    limits::{OWN_LANE, OWN_LANE_MOST, OWN_TIPS, OWN_WAITS, TURN_BYTES},
    members,
    proofs::Proof,
    replica::{OpenError, ReplicaError},
    store::{ReadStore, Store},
    succession::Succession,
    sync::{Link, OwnClaims},
    wire::Head,
};

/// The proof of a fork of this node's own lane, from when it is known until the lane is frozen.
const META_FORK: &str = "fork";
/// A key that has signed before writes in a store that has nothing of that: whose it is, and the least height of its lane.
const META_RESTORED: &str = "restored";
/// Blocks of the lane were taken out of the ledger: whose it is, and the height that it had.
const META_SIGNED: &str = "signed";

/// Notes in a new store that the key of its node has signed before: up to this height, as far as is known. A replica over it
/// signs nothing, however long that takes, before a peer has told what it has of this lane and that has come.
///
/// # Errors
/// When the store cannot be written.
pub fn note_restored<S: Store>(store: &mut S, node: &NodeId, height: u64) -> Result<(), S::Error> {
    note_height(store, META_RESTORED, node, height)
}

fn note_height<S: Store>(store: &mut S, name: &str, node: &NodeId, height: u64) -> Result<(), S::Error> {
    store.set_meta(name, &[&node.as_bytes()[..], &height.to_be_bytes()].concat())
}

/// The height of a lane that the store notes under this name.
fn noted<S: ReadStore>(store: &S, name: &str, node: &NodeId) -> Result<Option<u64>, S::Error> {
    let bytes = store.meta(name)?.unwrap_or_default();
    // With another key nothing was signed.
    let height = bytes.strip_prefix(node.as_bytes()).and_then(|height| height.try_into().ok());
    Ok(height.map(u64::from_be_bytes))
}

/// How far a node notes to have signed, whose blocks were taken out of the ledger.
#[cfg(feature = "sim")]
pub(crate) fn signed_height<S: ReadStore>(store: &S, node: &NodeId) -> Result<u64, S::Error> {
    Ok(noted(store, META_SIGNED, node)?.unwrap_or(0))
}

/// What is known of this node's own lane, and what waits for more of it.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Nothing is signed: the lane may have blocks elsewhere that are not here.
    pub(super) waits: bool,
    /// A block of the lane was signed since the start.
    pub(super) signed: bool,
    /// The key was restored without its store, and its lane had at least this height: no deadline ends the waiting.
    pub(super) restored: Option<u64>,
    /// The lane was signed up to this height, though not all of it may be in the ledger any more: nothing is signed before
    /// that is here again.
    height: u64,
    /// Dials whose answer is waited for.
    dials: u32,
    /// How often waiting began anew.
    again: u32,
    /// The lane is forked: as soon as what can be had of it is here, the node goes on with its successor's key.
    fork: Option<Evidence>,
    /// The fork came out of a file, and more of the lane may follow from there.
    lingers: bool,
    /// The key of a lane that was frozen already at the start; its successor has written nothing yet.
    predecessor: Option<Key>,
    /// A freeze may hold by its proof alone, because nothing could be written when it was learnt or what recorded it is gone.
    pub(super) unrecorded: bool,
    /// Invites of this node by which somebody came in.
    pub(super) used: Vec<members::By>,
    /// Blocks from files that make this node write something first.
    late: Vec<Vec<u8>>,
    late_bytes: usize,
}

impl<S: Store> Replica<S> {
    /// Whose lane this is after all, and whether it has to be waited for.
    pub(super) fn start_own(&mut self, effects: &mut Vec<Effect>) -> Result<(), OpenError<S::Error>> {
        if !self.config.writes {
            return Ok(());
        }
        self.own.unrecorded = true;
        if self.config.ledger.has_members() {
            // A fresh key comes in as anybody does, or a removed member would go on with one.
            self.config.successor = None;
        }
        let me = self.me;
        let successor = self.config.successor.take().filter(|successor| successor.node() != me);
        match (successor, self.ledger.frozen_at(&me)) {
            (Some(successor), Some(_)) => {
                let old = self.become_successor(successor, effects);
                // A key that signed nothing yet has nothing elsewhere.
                if self.ledger.height(&self.me) == 0 {
                    self.own.predecessor = Some(old);
                    return Ok(());
                }
            }
            (successor, None) => {
                self.config.successor = successor;
                let proof = self.store.meta(META_FORK).map_err(OpenError::Store)?;
                let fork = proof.and_then(|proof| Evidence::decode(&proof).ok());
                self.own.fork = fork.filter(|fork| fork.lane().0 == me);
            }
            (None, Some(_)) => {}
        }
        if self.own.fork.is_none() {
            self.own.restored = noted(&self.store, META_RESTORED, &self.me).map_err(OpenError::Store)?;
        }
        self.own.height = noted(&self.store, META_SIGNED, &self.me).map_err(OpenError::Store)?.unwrap_or(0);
        let dials = self.config.dials > 0 && !mutant!(OwnLaneUnawaited);
        if dials || self.own.fork.is_some() || self.is_restoring() {
            self.wait_for_own(self.config.dials);
        }
        Ok(())
    }

    /// Whether this node may sign blocks now.
    pub fn may_write(&self) -> bool {
        !self.own.waits && self.is_writer()
    }

    /// Whether this node writes in this ledger, and its lane is not frozen.
    pub(super) fn is_writer(&self) -> bool {
        let belongs = || self.ledger.members().of(&self.me).any(|member| member.role != members::Role::Reader);
        self.config.writes
            && self.ledger.frozen_at(&self.me).is_none()
            && (!self.config.ledger.has_members() || belongs())
            && !self.lacks_own()
    }

    /// Whether this node has signed blocks that were taken out of the ledger and are not here again.
    pub(super) fn lacks_own(&self) -> bool {
        self.ledger.height(&self.me) < self.own.height
    }

    /// Notes how far the lane goes, before blocks of it are taken out of the ledger: they wait in memory, and may be nowhere
    /// else.
    pub(super) fn note_own_height(&mut self) -> Turn<S> {
        let height = self.ledger.height(&self.me);
        if self.config.writes && height > self.own.height {
            self.own.height = height;
            note_height(&mut self.store, META_SIGNED, &self.me, height)?;
        }
        Ok(())
    }

    /// Whether the node's key was restored without its store, and its lane has not come yet.
    pub fn is_restoring(&self) -> bool {
        self.own.restored.is_some() && self.ledger.frozen_at(&self.me).is_none()
    }

    fn wait_for_own(&mut self, dials: u32) {
        self.own.waits = true;
        self.own.dials = dials;
        self.expect_own();
    }

    /// Sets the deadline of what is waited for.
    fn expect_own(&mut self) {
        self.timers.set(Timer::OwnLane, OWN_LANE);
        self.timers.set(Timer::OwnLaneMost, OWN_LANE_MOST);
    }

    fn stop_expecting(&mut self) {
        self.timers.stop(Timer::OwnLane);
        self.timers.stop(Timer::OwnLaneMost);
    }

    pub(super) fn handle_dial_failed(&mut self) {
        self.own.dials = self.own.dials.saturating_sub(1);
    }

    /// The deadline has passed: what has not come by now is not waited for.
    pub(super) fn on_own_deadline(&mut self) {
        self.stop_expecting();
        self.own.dials = 0;
        self.own.lingers = false;
        if self.is_restoring() {
            return;
        }
        self.links.values_mut().for_each(|link| link.own.forget());
    }

    /// Notes what a peer has of this node's lane that is not here.
    pub(super) fn on_own_head(&mut self, id: LinkId, head: &Head) -> Turn<S> {
        if !self.config.writes || self.ledger.frozen_at(&self.me).is_some() {
            return Ok(());
        }
        let own = self.ledger.height(&self.me);
        let proof = head.frozen != 0 && self.own.fork.is_none();
        let mut claims = OwnClaims { proof, has: !head.tips.is_empty(), ..OwnClaims::default() };
        for (height, hash) in head.tips.iter().rev().take(OWN_TIPS) {
            if self.ledger.summary(&self.store, hash)?.is_none() {
                claims.tips.insert(*hash, *height);
            }
        }
        // The peer sends what is above this node's head by itself. The rest it takes for the node's own past.
        let ask: Vec<BlockHash> =
            claims.tips.iter().filter(|(_, height)| **height <= own).map(|(hash, _)| *hash).collect();
        let owes = claims.owes();
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        link.own = OwnClaims { counted: link.own.counted, known: link.own.known, ..claims };
        if owes && !self.own.waits && !self.own.signed && self.own.again < OWN_WAITS {
            self.own.again += 1;
            self.wait_for_own(0);
        } else if owes && !self.timers.is_set(Timer::OwnLane) {
            self.expect_own();
        }
        self.request(id, &ask);
        Ok(())
    }

    /// The heads of a link are compared: what its peer has of this node's lane is known.
    pub(super) fn on_own_compared(&mut self, id: LinkId, effects: &mut Vec<Effect>) -> Turn<S> {
        if let Some(link) = self.links.get_mut(&id) {
            link.own.known = true;
        }
        // A successor needs the end of the turn: it closes all links.
        if self.own.fork.is_none() { self.settle_own(effects) } else { Ok(()) }
    }

    /// A block of this node's lane came from elsewhere.
    pub(super) fn on_own_block(&mut self, hash: &BlockHash) {
        self.links.values_mut().for_each(|link| _ = link.own.tips.remove(hash));
        if self.timers.is_set(Timer::OwnLane) {
            self.timers.set(Timer::OwnLane, OWN_LANE);
        }
    }

    /// A link is gone. One that has more of a forked lane is waited for until it is back.
    pub(super) fn on_own_link_gone(&mut self, awaited: bool, claims: &OwnClaims) {
        let comes_back = self.own.fork.is_some() && claims.owes();
        match (awaited, claims.counted) {
            (true, false) if !comes_back => self.own.dials = self.own.dials.saturating_sub(1),
            (true, true) if comes_back => self.own.dials += 1,
            _ => {}
        }
    }

    /// Whether a peer must not have anything yet: it has blocks of this node's lane that are not here and that it would
    /// take for void as soon as it saw this node's own. Or this node's key was restored: what a peer has of its lane must be
    /// what it knew, and not what it was given now.
    pub(super) fn holds_back(&self, id: LinkId) -> bool {
        let own = self.ledger.height(&self.me);
        let rivals = |claims: &OwnClaims| claims.tips.values().any(|height| *height <= own);
        self.own.fork.is_some() || self.is_restoring() || self.links.get(&id).is_some_and(|link| rivals(&link.own))
    }

    /// Whether a freeze of another lane may be recorded without a word, because this node has said it before: the peer has
    /// blocks of this lane that are not here, so this is a copy of a node that lived longer and vouched then for what it saw.
    pub(super) fn spoke_elsewhere(&self, source: Option<LinkId>) -> bool {
        source.and_then(|source| self.links.get(&source)).is_some_and(|link| !link.own.tips.is_empty())
    }

    /// This node's own lane is forked. The freeze is recorded once everything that can be had of the lane is here, because
    /// after that nobody can vouch for it.
    pub(super) fn on_own_fork(&mut self, evidence: &Evidence, source: Option<LinkId>) -> Turn<S> {
        if self.own.fork.as_ref().is_none_or(|fork| evidence.lane().1 < fork.lane().1) {
            self.store.set_meta(META_FORK, &evidence.encode())?;
            self.own.fork = Some(evidence.clone());
        }
        // This key signs nothing any more.
        self.own.restored = None;
        self.own.lingers |= source.is_none();
        if !self.own.waits {
            self.wait_for_own(0);
        }
        let mut ask: Vec<(LinkId, Vec<BlockHash>)> = Vec::new();
        for (id, link) in &mut self.links {
            link.own.proof = false;
            ask.push((*id, link.own.tips.keys().copied().collect()));
        }
        ask.into_iter().for_each(|(id, tips)| self.request(id, &tips));
        Ok(())
    }

    /// Whether a block with this proof has to wait: a successor that rested on it could not vouch for its old lane any more.
    pub(super) fn succession_waits_for(&self, proof: &Proof) -> bool {
        self.own.fork.is_some() && proof.lane().0 == self.me
    }

    /// Keeps a block for which this node would have to write something first, until it may.
    pub(super) fn postpone(&mut self, bytes: &[u8], source: Option<LinkId>) -> Outcome {
        match source {
            Some(source) => {
                self.postpone_link(source);
                Outcome::Dropped
            }
            None if self.own.late_bytes + bytes.len() <= TURN_BYTES => {
                self.own.late_bytes += bytes.len();
                self.own.late.push(bytes.to_vec());
                Outcome::Parked
            }
            None => Outcome::Dropped,
        }
    }

    /// What a link brought is asked for again as soon as this node may write.
    pub(super) fn postpone_link(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.postponed = true;
        }
    }

    /// Ends the waiting when there is nothing left to wait for.
    pub(super) fn settle_own(&mut self, effects: &mut Vec<Effect>) -> Turn<S> {
        if !self.own.waits {
            return Ok(());
        }
        for link in self.links.values_mut() {
            if link.awaited && link.own.known && !link.own.counted && !link.own.owes() {
                link.own.counted = true;
                self.own.dials = self.own.dials.saturating_sub(1);
            }
        }
        if self.own.dials > 0 || self.own.lingers || self.links.values().any(|link| link.own.owes()) {
            return Ok(());
        }
        if let Some(least) = self.own.restored.filter(|_| self.is_restoring()) {
            let told = self.links.values().any(|link| link.own.known && link.own.has);
            if !told || self.ledger.height(&self.me) < least {
                return Ok(());
            }
            self.own.restored = None;
            self.store.set_meta(META_RESTORED, &[])?;
        }
        self.own.waits = false;
        self.stop_expecting();
        if let Some(fork) = self.own.fork.take() {
            self.succeed(&fork, effects)?;
        }
        self.own.late_bytes = 0;
        for bytes in core::mem::take(&mut self.own.late) {
            self.offer(bytes.into(), None, effects)?;
        }
        // What of the lane waits here comes first, however much there is and whenever it was looked at.
        self.timers.stop(Timer::Zone);
        self.resolve_zone(effects)?;
        let postponed = |(id, link): (&LinkId, &mut Link)| core::mem::take(&mut link.postponed).then_some(*id);
        let ids: Vec<LinkId> = self.links.iter_mut().filter_map(postponed).collect();
        ids.into_iter().for_each(|id| self.say_heads(id, None));
        Ok(())
    }

    /// Goes on with the successor's key: says so on everything that is here, and then records the freeze.
    fn succeed(&mut self, fork: &Evidence, effects: &mut Vec<Effect>) -> Turn<S> {
        if let Some(successor) = self.config.successor.take() {
            let ids: Vec<LinkId> = self.links.keys().copied().collect();
            ids.into_iter().for_each(|id| self.close(id, CloseReason::Succeeded, effects));
            let old = self.become_successor(successor, effects);
            self.say_succession(&old, effects)?;
        }
        self.learn(&Proof::Fork(Arc::new(fork.clone())), None, effects)?;
        Ok(())
    }

    /// Changes the key; returns the old one.
    fn become_successor(&mut self, successor: Key, effects: &mut Vec<Effect>) -> Key {
        let (old, new) = (self.me, successor.node());
        self.me = new;
        self.own.height = 0;
        self.announce_anew();
        effects.push(Effect::Succeeded { old, new });
        core::mem::replace(&mut self.config.key, successor)
    }

    fn say_succession(&mut self, old: &Key, effects: &mut Vec<Effect>) -> Turn<S> {
        if self.ledger.height(&self.me) == 0 {
            let word = Succession::sign(old, &self.config.ledger, &self.me);
            let entry = Entry::new(Kind::SUCCESSION, self.random.bytes16(), word.encode());
            self.write(alloc::vec![entry], effects)?;
        }
        Ok(())
    }

    /// The successor of a lane that was frozen at the start says so.
    pub(super) fn follow_predecessor(&mut self, effects: &mut Vec<Effect>) -> Turn<S> {
        match self.own.predecessor.take() {
            Some(old) => self.say_succession(&old, effects),
            None => Ok(()),
        }
    }

    /// Records the freezes that no block records, and the removals of which none tells.
    pub(super) fn record_freezes(&mut self, effects: &mut Vec<Effect>) -> Turn<S> {
        if !self.own.unrecorded || !self.may_write() || self.is_mending() || mutant!(FreezeUnrecorded) {
            return Ok(());
        }
        self.own.unrecorded = false;
        for lane in self.ledger.unrecorded() {
            if let Some(proof) = stored_evidence(&self.store, &lane).map_err(ReplicaError::Store)? {
                let entry = Entry::new(Kind::EVIDENCE, self.random.bytes16(), proof);
                self.write(alloc::vec![entry], effects)?;
            }
        }
        for lane in self.ledger.untold() {
            if let Some(proof) = stored_removal(&self.store, &lane).map_err(ReplicaError::Store)? {
                let entry = Entry::new(Kind::EVIDENCE, self.random.bytes16(), proof);
                self.write(alloc::vec![entry], effects)?;
            }
        }
        Ok(())
    }
}
