//! Who is on line: whom this node is linked to, whom its peers are linked to, and who says so itself.
//!
//! The neighbours of a node are its failure detector, as in SWIM (Das, Gupta and Motivala 2002), only that they are the ones it is linked
//! to anyway: a link that breaks is told to everybody, once, and whoever is alive all the same answers by announcing itself anew. Nobody
//! is taken for gone before it had [`GONE_AFTER`] to do so. Who stops says goodbye: an announcement with nothing in it, signed like all of
//! them. What a node said of itself holds for [`ANNOUNCED_FOR`]; a node with direct links says it again in time.
//!
//! A link that one side closes because it has better ones says nothing about anybody's life, so whoever closes it says that first
//! ([`Message::Bye`]).

use alloc::{collections::BTreeSet, vec, vec::Vec};

use super::{Peer, Replica};
use crate::{
    announce::Announcement,
    effect::{Effect, LinkId, LinkPath},
    id::NodeId,
    limits::{
        ANNOUNCE_EVERY, ANNOUNCED_FOR, DIALS_IN_VAIN, GONE_AFTER, GONE_AT_ONCE, GONE_EVERY, KNOWN_PEERS, PRESENCE_EVERY,
    },
    replica::Timer,
    store::Store,
    sync::Link,
    time::{MINUTE, Timestamp},
    wire::Message,
};

/// Which way somebody is on line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Over a link of this node.
    Link(LinkPath),
    /// Linked to a relay of this node.
    Relay,
    /// Over other nodes.
    Mesh,
}

impl Via {
    /// As it is told to people and programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Link(path) => path.name(),
            Self::Relay => LinkPath::Relay.name(),
            Self::Mesh => "mesh",
        }
    }
}

/// Somebody whose link broke, or who said goodbye.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gone {
    /// What it announced later than this says that it is alive.
    at: Timestamp,
    /// From when on it counts as gone, by the clock that only goes forward.
    from: Timestamp,
    /// It said so itself, which holds until it says otherwise: what others tell of it may be older.
    by_itself: bool,
    /// When it was there last, by the wall clock; nothing: this node never saw it.
    pub(super) seen: Option<Timestamp>,
}

impl<S: Store> Replica<S> {
    /// Other nodes that announced themselves or are linked here or to a peer.
    pub(super) fn known_others(&self) -> BTreeSet<NodeId> {
        let mut nodes: BTreeSet<NodeId> = self.overlay.peers.keys().copied().collect();
        nodes.extend(self.links.values().filter_map(Link::peer));
        nodes.extend(self.links.values().flat_map(|link| &link.announced));
        nodes.extend(self.overlay.gone.iter().filter(|(_, gone)| gone.seen.is_some()).map(|(node, _)| node));
        nodes.remove(&self.me);
        nodes
    }

    /// Whether the driver was told that a node is on line.
    pub fn is_online(&self, node: &NodeId) -> bool {
        self.overlay.online.contains(node)
    }

    pub(in crate::replica) fn via(&self, node: &NodeId) -> Option<Via> {
        let linked = self.links.values().filter(|link| link.peer() == Some(*node) && !link.goes);
        if let Some(path) = linked.map(|link| link.path).max() {
            return Some(Via::Link(path));
        }
        let tells = self.links.values().filter(|link| link.peer().is_some() && link.announced.contains(node));
        if let Some(path) = tells.map(|link| link.path).min() {
            return Some(if path == LinkPath::Relay { Via::Relay } else { Via::Mesh });
        }
        let now = self.timers.now();
        let alive = match self.overlay.gone.get(node) {
            Some(gone) => gone.from > now,
            None => self.overlay.peers.get(node).is_some_and(|peer| peer.counts_until() > now),
        };
        alive.then_some(Via::Mesh)
    }

    /// A node with direct links says again over them that it is there.
    pub(super) fn say_again(&mut self) {
        let now = self.timers.now();
        let soon = self.overlay.said_again.plus(ANNOUNCE_EVERY) > now;
        if self.overlay.own.is_none() || soon || self.directly_linked().count() == 0 {
            return;
        }
        if let Some(said) = self.announcement() {
            self.overlay.said_again = now;
            self.hand_on(&said, None, |link| link.path != LinkPath::Relay);
        }
    }

    /// This node stops.
    pub(in crate::replica) fn say_goodbye(&mut self) {
        if self.overlay.own.is_none() {
            return;
        }
        let at = self.now.max(self.overlay.said_at.plus(1));
        let said = Announcement::sign(&self.config.ledger, &self.config.key, at, Vec::new());
        self.overlay.said_at = at;
        (self.overlay.own, self.overlay.unsaid, self.overlay.changed) = (Some(said.clone()), false, true);
        self.hand_on(&said, None, |_| true);
    }

    /// Somebody says goodbye.
    pub(super) fn on_goodbye(&mut self, id: LinkId, said: &Announcement) {
        let told = self.overlay.gone.get(&said.node).is_some_and(|gone| gone.at >= said.at);
        // Anybody can make keys and let them say goodbye.
        if told || !self.known_others().contains(&said.node) {
            return;
        }
        for link in self.links.values_mut() {
            link.goes |= link.peer() == Some(said.node);
            link.announced.remove(&said.node);
        }
        let now = self.timers.now();
        self.note_gone(said.node, Gone { at: said.at, from: now, by_itself: true, seen: Some(self.now) });
        let writes = self.config.writes;
        self.hand_on(said, Some(id), |link| !writes || link.path != LinkPath::Relay);
    }

    fn note_gone(&mut self, node: NodeId, gone: Gone) {
        if self.overlay.gone.len() >= KNOWN_PEERS {
            // Those first of whom nothing else is known, or a liar would fill the list.
            let peers = &self.overlay.peers;
            self.overlay.gone.retain(|node, _| peers.contains_key(node));
        }
        if self.overlay.gone.len() < KNOWN_PEERS || self.overlay.gone.contains_key(&node) {
            self.overlay.gone.insert(node, gone);
        }
        self.stir_presence();
    }

    /// Somebody is there: it is linked, or a peer is linked to it. Such a link may be one that it leaves behind.
    pub(in crate::replica) fn is_there(&mut self, node: &NodeId) {
        if self.overlay.gone.get(node).is_some_and(|gone| !gone.by_itself) {
            self.overlay.gone.remove(node);
        }
        self.stir_presence();
    }

    /// Who could not be reached for a while says itself that it lives, so that all hear it who were told otherwise.
    pub(super) fn tell_that_it_was_missed(&mut self, id: LinkId, peer: &NodeId) {
        if let Some(gone) = self.overlay.gone.get(peer).filter(|gone| gone.at > Timestamp::default()) {
            let nodes = vec![(*peer, gone.at)];
            self.say(id, Message::NodeGone { nodes });
        }
    }

    /// Somebody said at that time that it is there.
    pub(super) fn is_there_since(&mut self, node: &NodeId, at: Timestamp) {
        if self.overlay.gone.get(node).is_none_or(|gone| gone.at < at) {
            self.overlay.gone.remove(node);
            self.stir_presence();
        }
    }

    /// Whether what somebody said of itself still holds.
    pub(super) fn is_fresh(&self, node: &NodeId) -> bool {
        let now = self.timers.now();
        let holds = self.overlay.peers.get(node).is_some_and(|peer| peer.counts_until() > now);
        holds && !self.overlay.gone.contains_key(node)
    }

    pub(super) fn stir_presence(&mut self) {
        // Who writes nothing has nobody to tell.
        if self.config.writes && !core::mem::replace(&mut self.overlay.stirred, true) {
            self.timers.set(Timer::Presence, PRESENCE_EVERY);
        }
    }

    /// The link to a peer is gone. All who heard that it was there are told; that the peer itself may be gone only where the link broke.
    pub(super) fn tell_gone(&mut self, link: &Link, node: NodeId) {
        let others = self.links.values().any(|other| other.peer() == Some(node));
        if others {
            return;
        }
        let known = self.overlay.peers.get(&node).map(|peer| peer.said.at);
        let said = link.reachable.as_ref().map(|said| said.at).max(known).unwrap_or_default();
        let broke = !link.goes;
        let at = if broke { said } else { Timestamp::default() };
        let told = self.overlay.gone.get(&node);
        // Who said goodbye and linked here since has come back, and may do so again.
        let is_gone = told.is_some_and(|gone| !gone.by_itself || gone.seen >= Some(link.since));
        if broke && !is_gone {
            let from = self.timers.now().plus(GONE_AFTER);
            let at = told.map_or(said, |gone| gone.at.max(said));
            self.note_gone(node, Gone { at, from, by_itself: false, seen: Some(self.now) });
        }
        let ids: Vec<LinkId> = self.links.iter().filter(|(_, link)| link.peer().is_some()).map(|(id, _)| *id).collect();
        for id in ids {
            self.say(id, Message::NodeGone { nodes: vec![(node, at)] });
        }
        self.stir_presence();
    }

    /// A peer tells of those to whom it is not linked any more, and who may be gone altogether.
    pub(in crate::replica) fn on_gone(&mut self, id: LinkId, nodes: Vec<(NodeId, Timestamp)>) {
        let now = self.timers.now();
        self.stir_presence();
        for (node, at) in nodes {
            let Some(link) = self.links.get_mut(&id) else { return };
            let was_said = link.announced.remove(&node);
            // Of a relay, everybody may go at once.
            if link.path != LinkPath::Relay && !link.gone_budget.takes(now, GONE_AT_ONCE, GONE_EVERY) {
                continue;
            }
            let suspected = at > Timestamp::default();
            if node == self.me {
                // It is told so in time that nobody takes it for gone.
                self.overlay.unsaid |= suspected && at >= self.overlay.said_at && self.overlay.own.is_some();
                continue;
            }
            let known = self.overlay.peers.get(&node).map(|peer| peer.said.at);
            let refuted = suspected && known.is_some_and(|known| known > at);
            if refuted || self.overlay.gone.contains_key(&node) {
                continue;
            }
            if let Some(linked) = self.links_of(&node).first().copied() {
                // It lives, and is the one to say so.
                if suspected {
                    self.say(linked, Message::NodeGone { nodes: vec![(node, at)] });
                }
                continue;
            }
            let told_otherwise = self.links.values().any(|link| link.announced.contains(&node));
            // Who was never seen is not missed.
            let was_there = was_said || told_otherwise || known.is_some();
            let from = if was_there { now.plus(GONE_AFTER) } else { now };
            let seen = was_there.then_some(self.now);
            if suspected {
                let at = known.unwrap_or(at);
                self.note_gone(node, Gone { at, from, by_itself: false, seen });
                self.hand_on_gone(id, node, at);
            } else if !told_otherwise && known.is_none() {
                self.note_gone(node, Gone { at, from, by_itself: false, seen });
            }
        }
    }

    fn hand_on_gone(&mut self, source: LinkId, node: NodeId, at: Timestamp) {
        let writes = self.config.writes;
        // A relay hears of it from those who were linked to it.
        let wants = |link: &Link| link.peer().is_some() && (!writes || link.path != LinkPath::Relay);
        let ids: Vec<LinkId> =
            self.links.iter().filter(|(id, link)| **id != source && wants(link)).map(|(id, _)| *id).collect();
        for id in ids {
            self.say(id, Message::NodeGone { nodes: vec![(node, at)] });
        }
    }

    /// Of those whom a new peer is told of, who is gone.
    pub(in crate::replica) fn gone_among(&self, told: &[Announcement]) -> Vec<(NodeId, Timestamp)> {
        let now = self.timers.now();
        let gone = |said: &Announcement| self.overlay.gone.get(&said.node).filter(|gone| gone.from <= now);
        let stale = |said: &Announcement| said.node != self.me && self.via(&said.node).is_none();
        told.iter()
            .filter(|said| stale(said))
            .map(|said| (said.node, gone(said).map_or(said.at, |gone| gone.at.max(said.at))))
            .collect()
    }

    /// Tells the driver who came and went since it was told last.
    pub(in crate::replica) fn on_presence_due(&mut self, effects: &mut Vec<Effect>) {
        let now = self.timers.now();
        self.overlay.stirred = false;
        let mut online = self.known_others();
        online.retain(|node| self.via(node).is_some());
        let before = core::mem::take(&mut self.overlay.online);
        for node in before.difference(&online).copied() {
            self.overlay.changed = true;
            let out_of_reach = |peer: &Peer| peer.retry.failures >= DIALS_IN_VAIN;
            if self.overlay.peers.get(&node).is_some_and(out_of_reach) {
                self.overlay.peers.remove(&node);
            }
            self.overlay.peers.entry(node).and_modify(|peer| peer.seen = Some(self.now));
            effects.push(Effect::Presence { node, online: false });
        }
        effects.extend(online.difference(&before).map(|node| Effect::Presence { node: *node, online: true }));
        self.overlay.online = online;
        let ends = self.overlay.gone.values().map(|gone| gone.from);
        let ends = ends.chain(self.overlay.peers.values().map(Peer::counts_until));
        if let Some(next) = ends.filter(|end| *end > now).min() {
            self.timers.set(Timer::Presence, next.since(now).min(MINUTE));
        }
    }
}

impl Peer {
    /// Until when what it said of itself holds, by the clock that only goes forward.
    fn counts_until(&self) -> Timestamp {
        self.heard.map_or(Timestamp::default(), |heard| heard.plus(ANNOUNCED_FOR))
    }
}
