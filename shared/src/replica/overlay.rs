//! Direct links: a node says where it can be reached, learns the same of others, and decides whom to dial.
//!
//! An announcement goes over every link once, so that everybody knows everybody, up to a bound. Of two nodes the one with the
//! smaller id dials, and the other one if nothing comes of that. Of up to [`DIRECT_LINKS_TO_ALL`] others a
//! node looks for links to all; of more it dials [`DIRECT_LINKS_WANTED`] that it draws, and takes in more than that: so there is always room at
//! many for whoever comes. Knowing all of them it can draw evenly, which is what
//! partial views are exchanged for elsewhere (HyParView, Leitão et al. 2007), and a random graph of this degree holds together when
//! most of its nodes are gone.

mod found;
mod list;
mod presence;
mod probe;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec,
    vec::Vec,
};

use minicbor::{Decoder, Encoder};

pub use self::presence::Via;
use self::{found::Found, presence::Gone, probe::Probe};
use super::{Replica, Timer, Turn};
use crate::{
    announce::{Address, Announcement, decode_addresses, encode_addresses},
    block::infallible,
    effect::{DialId, Effect, LinkId, LinkPath, Role},
    id::NodeId,
    limits::{
        ANNOUNCED_AT_ONCE, ANNOUNCED_FOR, ANNOUNCEMENT_EVERY, ANNOUNCEMENTS, CLOCK_WINDOW, DIAL_SECOND, DIALS_IN_VAIN,
        DIRECT_LINKS, DIRECT_LINKS_TO_ALL, DIRECT_LINKS_WANTED, GIVEN_PEERS, HANDSHAKE, KNOWN_PEERS, PEERS_EVERY,
        SUSPECT_TIMEOUT, UPGRADE_EVERY,
    },
    seal,
    store::Store,
    sync::{Budget, Link},
    time::{Backoff, Timestamp},
    wire::{Message, decode_announcement, encode_announcement},
};

/// The row of the store with known peers: `[[announcement, seen] …]`.
const META_PEERS: &str = "peers";
/// Most of them in that row.
const NOTED: usize = 64;

/// When somebody is dialled next.
#[derive(Debug, Default)]
struct Retry {
    /// By the clock that only goes forward.
    due: Timestamp,
    /// Under way.
    dial: Option<DialId>,
    backoff: Backoff,
    /// The latest dial is for a better path to who is linked.
    betters: bool,
    /// Dials without success, one after the other.
    failures: u32,
}

impl Retry {
    /// There is a new sign that somebody is there. Who was given up is dialled again, who was not is dialled no sooner.
    fn is_wanted_again(&mut self, due: Timestamp) {
        self.failures = 0;
        if self.due == Timestamp::MAX {
            self.due = due;
        }
    }
}

/// Another node, and where it can be reached.
#[derive(Debug)]
struct Peer {
    said: Announcement,
    /// The link by which that came.
    by: Option<LinkId>,
    /// When it was on line last, by the wall clock.
    seen: Option<Timestamp>,
    /// When it said so, by the clock that only goes forward; nothing if that was before this node's start, or long ago.
    heard: Option<Timestamp>,
    retry: Retry,
    budget: Budget,
}

/// An address that was given by hand.
#[derive(Debug)]
struct Given {
    address: Address,
    /// Who answered there.
    node: Option<NodeId>,
    retry: Retry,
    /// Its first dial failed, which those know who wait for what it has of this node's lane.
    told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Peer(NodeId),
    Given(usize),
    Found(usize),
}

/// Who is where, and whom this node dials.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// Where this node can be reached.
    addresses: Vec<Address>,
    own: Option<Announcement>,
    /// The time of the next announcement of this node is later.
    said_at: Timestamp,
    /// This node has something to announce.
    unsaid: bool,
    peers: BTreeMap<NodeId, Peer>,
    given: Vec<Given>,
    found: Vec<Found>,
    dials: BTreeMap<DialId, Target>,
    next_dial: u64,
    probe: Probe,
    /// When this node said last that it is still there, by the clock that only goes forward.
    said_again: Timestamp,
    /// Who may be gone, or is.
    gone: BTreeMap<NodeId, Gone>,
    /// Who was on line when the driver was told last, and whether that may have changed.
    online: BTreeSet<NodeId>,
    stirred: bool,
    /// The row of the store is out of date.
    changed: bool,
    /// How many others are in it.
    noted: usize,
}

impl Overlay {
    fn retry(&mut self, target: Target) -> Option<&mut Retry> {
        match target {
            Target::Peer(node) => self.peers.get_mut(&node).map(|peer| &mut peer.retry),
            Target::Given(place) => self.given.get_mut(place).map(|given| &mut given.retry),
            Target::Found(place) => self.found.get_mut(place).map(|found| &mut found.retry),
        }
    }
}

/// Another node, for status pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Who.
    pub node: NodeId,
    /// Where it says that it can be reached, as far as this node can read that.
    pub addresses: Vec<Address>,
    /// Which way it is on line; nothing: it is not.
    pub via: Option<Via>,
    /// When it was on line last, as far as this node has seen it.
    pub seen: Option<Timestamp>,
}

impl Overlay {
    /// The link by which the latest announcement of a node came.
    pub(super) fn came_by(&self, node: &NodeId) -> Option<LinkId> {
        self.peers.get(node)?.by
    }
}

impl<S: Store> Replica<S> {
    pub(super) fn start_overlay(&mut self) -> Result<(), S::Error> {
        if !self.config.meets {
            return Ok(());
        }
        for address in core::mem::take(&mut self.config.peers).into_iter().take(GIVEN_PEERS) {
            self.overlay.given.push(Given { address, node: None, retry: Retry::default(), told: false });
        }
        let noted = self.store.meta(META_PEERS)?.unwrap_or_default();
        for (said, seen) in decode_peers(&noted) {
            if said.node == self.me {
                self.overlay.said_at = said.at;
            } else if said.verify(&self.config.ledger).is_ok() {
                self.overlay.peers.insert(
                    said.node,
                    Peer { said, by: None, seen, heard: None, retry: Retry::default(), budget: Budget::default() },
                );
            }
        }
        self.overlay.noted = self.overlay.peers.len();
        self.timers.set(Timer::Meet, 0);
        Ok(())
    }

    pub(super) fn handle_reachable(&mut self, addresses: Vec<Address>) {
        let own = self.overlay.own.is_none() && !self.overlay.unsaid;
        if own || self.overlay.addresses != addresses {
            (self.overlay.unsaid, self.overlay.addresses) = (true, addresses);
        }
    }

    /// Whoever could not be reached is dialled again, and whoever is linked has to show that the way to it is still there.
    pub(super) fn handle_network_changed(&mut self, effects: &mut Vec<Effect>) {
        let steady = self.timers.now();
        let peers = self.overlay.peers.values_mut().map(|peer| &mut peer.retry);
        let given = self.overlay.given.iter_mut().map(|given| &mut given.retry);
        let found = self.overlay.found.iter_mut().map(|found| &mut found.retry);
        for retry in peers.chain(given).chain(found) {
            // Many see the same change at once.
            (retry.backoff, retry.failures) = (Backoff::default(), 0);
            if retry.due < Timestamp::MAX {
                retry.due = retry.due.min(steady.plus(retry.backoff.wait(self.random.u64())));
            }
        }
        let linked = self.links.iter().filter(|(_, link)| link.peer().is_some());
        let linked: Vec<LinkId> = linked.map(|(id, _)| *id).collect();
        linked.into_iter().for_each(|id| self.ping_within(id, SUSPECT_TIMEOUT, effects));
        self.meet_soon();
    }

    /// Announces where this node is, if that has changed, or that it is still there.
    pub(super) fn announce(&mut self) {
        if self.overlay.own.as_ref().is_some_and(Announcement::is_goodbye) {
            return;
        }
        if !self.overlay.unsaid {
            self.say_again();
        } else if let Some(said) = self.announcement() {
            (self.overlay.unsaid, self.overlay.said_again) = (false, self.timers.now());
            self.hand_on(&said, None, |_| true);
        }
    }

    /// What this node says of itself now, if it can be said: in a members' ledger it takes a key to seal it.
    fn announcement(&mut self) -> Option<Announcement> {
        let at = self.now.max(self.overlay.said_at.plus(1));
        let ledger = self.config.ledger;
        let mut body = encode_addresses(&self.overlay.addresses);
        if ledger.has_members() {
            let place = Announcement::place(ledger, self.me, at);
            let random = self.random.bytes16();
            body = seal::seal(self.keys().current()?, &place, random, &body);
        }
        let said = Announcement::sign(&ledger, &self.config.key, at, body);
        (self.overlay.said_at, self.overlay.changed) = (at, true);
        self.overlay.own = Some(said.clone());
        Some(said)
    }

    /// This node has another key now, and says again where it is.
    pub(super) fn announce_anew(&mut self) {
        self.overlay.unsaid |= self.overlay.own.take().is_some();
    }

    /// Whom a new peer can reach: this node, and of those that are linked to it and that it knows some that it draws. Who hears only of those who came first
    /// links to them alone, and they have no room for all.
    pub(super) fn introductions(&mut self, peer: &NodeId) -> Vec<Announcement> {
        let linked =
            self.links.values().filter(|link| link.peer().is_some()).filter_map(|link| link.reachable.as_ref());
        let known = self.overlay.peers.values().map(|peer| &peer.said);
        let mut others: BTreeMap<NodeId, &Announcement> = BTreeMap::new();
        for said in linked.chain(known).filter(|said| said.node != *peer && said.node != self.me) {
            others.entry(said.node).or_insert(said);
        }
        let mut others: Vec<&Announcement> = others.into_values().collect();
        let mut told: Vec<Announcement> = self.overlay.own.iter().cloned().collect();
        while told.len() < ANNOUNCED_AT_ONCE && !others.is_empty() {
            let drawn = (self.random.u64() % others.len() as u64) as usize;
            told.push(others.swap_remove(drawn).clone());
        }
        told
    }

    pub(super) fn on_announcements(&mut self, id: LinkId, announcements: Vec<Announcement>, effects: &mut Vec<Effect>) {
        for said in announcements {
            self.on_announcement(id, said, effects);
        }
    }

    fn on_announcement(&mut self, id: LinkId, said: Announcement, effects: &mut Vec<Effect>) {
        if said.node == self.me {
            // Somebody remembers an earlier life of this node, with a clock that was ahead.
            if said.at > self.overlay.said_at {
                self.overlay.said_at = said.at;
                self.overlay.unsaid |= self.overlay.own.is_some();
            }
            return;
        }
        let known = self.overlay.peers.get(&said.node).map(|peer| peer.said.at);
        let late = said.at > self.now.plus(CLOCK_WINDOW);
        if late || known.is_some_and(|known| known >= said.at) || said.verify(&self.config.ledger).is_err() {
            return;
        }
        let steady = self.timers.now();
        let known = self.overlay.peers.get_mut(&said.node);
        if known.is_some_and(|known| !known.budget.takes(steady, ANNOUNCEMENTS, ANNOUNCEMENT_EVERY)) {
            return;
        }
        if said.is_goodbye() {
            return self.on_goodbye(id, &said);
        }
        if let Some(link) = self.links.get_mut(&id).filter(|link| link.peer() == Some(said.node)) {
            link.reachable = Some(said.clone());
        }
        let was_there = self.is_fresh(&said.node);
        if !self.learn_peer(said.clone()) {
            return;
        }
        self.overlay.peers.entry(said.node).and_modify(|peer| peer.by = Some(id));
        // Who is linked says so itself; if others do, it may have started anew, and the link is one of its former life. Or it stands still for a while.
        let is_theirs = |(other, link): &(&LinkId, &Link)| **other != id && link.peer() == Some(said.node);
        let direct = self.links.iter().filter(|(_, link)| link.path != LinkPath::Relay);
        let direct: Vec<LinkId> = direct.filter(is_theirs).map(|(id, _)| *id).collect();
        direct.into_iter().for_each(|id| self.ping(id, effects));
        // A relay hears that somebody is still there from that node itself, or from its neighbours.
        let (writes, is_own) =
            (self.config.writes, self.links.get(&id).is_some_and(|link| link.peer() == Some(said.node)));
        let tells_relay = |link: &Link| !link.announced.contains(&said.node) && (!was_there || is_own);
        self.hand_on(&said, Some(id), |link| !writes || link.path != LinkPath::Relay || tells_relay(link));
    }

    /// Keeps an announcement. False where there is no room for it.
    pub(super) fn learn_peer(&mut self, said: Announcement) -> bool {
        let (node, steady) = (said.node, self.timers.now());
        // The other one dials at once.
        let wait = if self.me < node { 0 } else { DIAL_SECOND };
        let due = steady.plus(wait);
        let at = said.at;
        let heard = (at.plus(ANNOUNCED_FOR + CLOCK_WINDOW) > self.now).then_some(steady);
        match self.overlay.peers.get_mut(&node) {
            Some(peer) => {
                (peer.said, peer.heard) = (said, heard);
                // Whoever announces itself again and again is not dialled the more for it.
                peer.retry.is_wanted_again(due);
            }
            None => {
                if self.overlay.peers.len() >= KNOWN_PEERS && !self.forget_a_peer(said.at) {
                    return false;
                }
                let retry = Retry { due, ..Retry::default() };
                self.overlay
                    .peers
                    .insert(node, Peer { said, by: None, seen: None, heard, retry, budget: Budget::default() });
            }
        }
        self.overlay.changed = true;
        self.is_there_since(&node, at);
        self.meet_soon();
        true
    }

    /// Forgets who has said nothing for the longest time, if that is longer than `at`. Whether there is room now.
    fn forget_a_peer(&mut self, at: Timestamp) -> bool {
        let oldest = self.overlay.peers.iter().filter(|(_, peer)| peer.retry.dial.is_none());
        let oldest = oldest.min_by_key(|(_, peer)| peer.said.at).filter(|(_, peer)| peer.said.at < at);
        let oldest = oldest.map(|(node, _)| *node);
        oldest.is_some_and(|node| self.overlay.peers.remove(&node).is_some())
    }

    fn hand_on(&mut self, said: &Announcement, source: Option<LinkId>, wanted: impl Fn(&Link) -> bool) {
        let wants = |(id, link): (&LinkId, &Link)| {
            let other = link.peer().is_some_and(|peer| peer != said.node) && wanted(link);
            (other && source != Some(*id)).then_some(*id)
        };
        let ids: Vec<LinkId> = self.links.iter().filter_map(wants).collect();
        for id in ids {
            self.say(id, Message::NodeAnnounce { nodes: Vec::new(), announcements: vec![said.clone()] });
        }
    }

    /// The connection that was wanted is open.
    pub(super) fn on_dialled(&mut self, id: LinkId, dial: DialId) {
        let given = matches!(self.overlay.dials.get(&dial), Some(Target::Given(_)));
        if let Some(link) = self.links.get_mut(&id) {
            (link.dial, link.awaited) = (Some(dial), given);
        }
    }

    /// Whether a peer that this node dialled may have what a hub has, because its owner named the address.
    pub(super) fn is_given(&self, dial: Option<DialId>) -> bool {
        dial.is_none_or(|dial| matches!(self.overlay.dials.get(&dial), Some(Target::Given(_))))
    }

    /// Whether a peer that this node dialled showed itself on the local network.
    pub(super) fn is_found(&self, dial: Option<DialId>) -> bool {
        dial.is_some_and(|dial| matches!(self.overlay.dials.get(&dial), Some(Target::Found(_))))
    }

    pub(super) fn handle_unreachable(&mut self, dial: DialId) {
        if let Some(target) = self.overlay.dials.remove(&dial) {
            self.retry_later(target, false, false);
        }
    }

    /// A peer has proved its key.
    pub(super) fn on_peer_up(&mut self, id: LinkId, peer: NodeId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.since = self.now;
        let node = match link.dial.and_then(|dial| self.overlay.dials.get(&dial)) {
            Some(Target::Given(place)) => self.overlay.given.get_mut(*place).map(|given| &mut given.node),
            Some(Target::Found(place)) => self.overlay.found.get_mut(*place).map(|found| &mut found.node),
            Some(Target::Peer(_)) | None => None,
        };
        if let Some(node) = node {
            *node = Some(peer);
        }
        if let Some(known) = self.overlay.peers.get_mut(&peer) {
            (known.seen, self.overlay.changed) = (Some(self.now), true);
        }
        self.tell_that_it_was_missed(id, &peer);
        self.is_there(&peer);
    }

    /// A link is gone, and may be wanted again.
    pub(super) fn on_peer_gone(&mut self, link: &Link) {
        if let Some(peer) = link.peer().and_then(|node| self.overlay.peers.get_mut(&node)) {
            (peer.seen, self.overlay.changed) = (Some(self.now), true);
        }
        if let Some(node) = link.peer() {
            self.tell_gone(link, node);
        }
        match link.dial.and_then(|dial| self.overlay.dials.remove(&dial)) {
            // Who lets nobody in proves its key all the same, but tells nothing of what it has.
            Some(target) => self.retry_later(target, link.peer().is_some(), link.compared),
            None if link.path != LinkPath::Relay => {
                let soon = self.timers.now().plus(DIAL_SECOND);
                if let Some(peer) = link.peer().and_then(|node| self.overlay.peers.get_mut(&node)) {
                    peer.retry.due = peer.retry.due.min(soon);
                }
                self.meet_soon();
            }
            None => {}
        }
    }

    /// `is_there`: it proved its key; `was_up`: and let this node in.
    fn retry_later(&mut self, target: Target, is_there: bool, was_up: bool) {
        let (steady, random) = (self.timers.now(), self.random.u64());
        let linked = matches!(target, Target::Peer(node) if self.directly_linked().any(|linked| linked == node));
        let Some(retry) = self.overlay.retry(target) else { return };
        retry.dial = None;
        if was_up {
            retry.backoff = Backoff::default();
        }
        retry.failures = if is_there || linked { 0 } else { retry.failures + 1 };
        retry.due = steady.plus(match (linked, retry.betters) {
            (true, true) => UPGRADE_EVERY,
            // The other one came first, maybe by a worse path.
            (true, false) => DIAL_SECOND,
            (false, _) => retry.backoff.wait(random),
        });
        let in_vain = retry.failures >= DIALS_IN_VAIN;
        match target {
            Target::Peer(node) if in_vain && !self.is_fresh(&node) => {
                self.overlay.peers.remove(&node);
                self.overlay.changed = true;
            }
            // It says that it is there, only not where this node can get at it.
            Target::Peer(node) if in_vain => {
                self.overlay.peers.entry(node).and_modify(|peer| peer.retry.due = Timestamp::MAX);
            }
            Target::Found(place) if in_vain => {
                if let Some(found) = self.overlay.found.get_mut(place) {
                    found.retry.due = Timestamp::MAX;
                }
            }
            Target::Given(place) if !was_up => {
                let given = self.overlay.given.get_mut(place).filter(|given| !given.told);
                if let Some(given) = given {
                    given.told = true;
                    self.handle_dial_failed();
                }
            }
            _ => {}
        }
        self.meet_soon();
    }

    fn meet_soon(&mut self) {
        if self.config.meets {
            self.timers.set(Timer::Meet, 0);
        }
    }

    /// Direct links whose peers have proved their keys.
    fn directly_linked(&self) -> impl Iterator<Item = NodeId> {
        self.links.values().filter(|link| link.path != LinkPath::Relay).filter_map(Link::peer)
    }

    /// Whether there is no place for another direct link.
    pub(super) fn has_all_direct_links(&self) -> bool {
        self.directly_linked().count() >= DIRECT_LINKS
    }

    /// Dials whoever is due.
    pub(super) fn meet(&mut self, effects: &mut Vec<Effect>) {
        let steady = self.timers.now();
        let linked: Vec<NodeId> = self.directly_linked().collect();
        let up = self.links.values().filter(|link| link.dial.is_some() && link.peer().is_some()).count();
        let mut dialled = self.overlay.dials.len();
        let mut places = linked.len() + dialled.saturating_sub(up);
        let mut next: Option<Timestamp> = None;
        let mut is_due = |retry: &Retry| {
            if retry.dial.is_none() && retry.due > steady {
                next = Some(next.map_or(retry.due, |next| next.min(retry.due)));
            }
            retry.dial.is_none() && retry.due <= steady
        };
        let given = self.overlay.given.iter().enumerate();
        let given = given.filter(|(_, given)| !given.node.is_some_and(|node| linked.contains(&node)));
        let given: Vec<usize> = given.filter(|(_, given)| is_due(&given.retry)).map(|(place, _)| place).collect();
        // Of few all. Of many some that it draws itself, whoever came in beside: nodes that are content with each other would stay alone together.
        let few = !self.draws_neighbours();
        // Who is linked may be reached by a better path.
        let lesser = linked.iter().filter(|node| self.overlay.peers.get(node).is_some_and(|peer| is_due(&peer.retry)));
        let lesser: Vec<NodeId> = lesser.copied().collect();
        let has_room = |places: usize, dialled: usize| {
            if few { places < DIRECT_LINKS_TO_ALL } else { dialled < DIRECT_LINKS_WANTED && places < DIRECT_LINKS }
        };
        // Without room, a node looks at nobody.
        let looks = has_room(places, dialled);
        let others =
            self.overlay.peers.iter().filter(|(node, _)| looks && !linked.contains(node) && self.belongs(node));
        let mut others: Vec<NodeId> = others.filter(|(_, peer)| is_due(&peer.retry)).map(|(node, _)| *node).collect();
        let is_known = |node: NodeId| linked.contains(&node) || self.overlay.peers.contains_key(&node);
        let found = self.overlay.found.iter().enumerate();
        let found = found.filter(|(_, found)| looks && !found.node.is_some_and(is_known) && is_due(&found.retry));
        let found: Vec<usize> = found.map(|(place, _)| place).collect();
        for place in given {
            if places < DIRECT_LINKS {
                let address = self.overlay.given[place].address.clone();
                self.dial(Target::Given(place), vec![address], effects);
                (places, dialled) = (places + 1, dialled + 1);
            }
        }
        while has_room(places, dialled) && !others.is_empty() {
            // As 64 bits, so that it is the same where addresses have 32.
            let drawn = (self.random.u64() % others.len() as u64) as usize;
            let node = others.swap_remove(drawn);
            let addresses = self.ways_to(&node);
            if addresses.is_empty() {
                // Until it says something else.
                self.overlay.peers.entry(node).and_modify(|peer| peer.retry.due = Timestamp::MAX);
                continue;
            }
            self.dial(Target::Peer(node), addresses, effects);
            (places, dialled) = (places + 1, dialled + 1);
        }
        for place in found {
            if has_room(places, dialled) && self.is_nobodys(place) {
                let addresses = self.overlay.found[place].addresses.clone();
                self.dial(Target::Found(place), addresses, effects);
                (places, dialled) = (places + 1, dialled + 1);
            }
        }
        for node in lesser {
            let path = self.links.values().filter(|link| link.peer() == Some(node)).map(|link| link.path).max();
            let mut better = self.ways_to(&node);
            better.retain(|way| way.path() > path);
            if !better.is_empty() {
                self.dial(Target::Peer(node), better, effects);
                self.overlay.peers.entry(node).and_modify(|peer| peer.retry.betters = true);
            }
        }
        match next.filter(|due| *due < Timestamp::MAX) {
            Some(due) => self.timers.set(Timer::Meet, due.since(steady)),
            None => self.timers.stop(Timer::Meet),
        }
        self.probe_sometimes();
    }

    fn dial(&mut self, target: Target, addresses: Vec<Address>, effects: &mut Vec<Effect>) {
        self.overlay.next_dial += 1;
        let dial = DialId(self.overlay.next_dial);
        if let Some(retry) = self.overlay.retry(target) {
            (retry.dial, retry.betters) = (Some(dial), false);
            self.overlay.dials.insert(dial, target);
            effects.push(Effect::Dial { dial, addresses });
        }
    }

    /// The addresses of a node that this one can go to, the best first. Who cannot be reached from elsewhere goes to addresses of
    /// its own machine too; anybody else would knock at a door of its own. Out of the local network goes who may (`Config::far`).
    fn ways_to(&self, node: &NodeId) -> Vec<Address> {
        let Some(peer) = self.overlay.peers.get(node) else { return Vec::new() };
        let here = self.overlay.addresses.iter().all(Address::is_loopback);
        let said = self.addresses_of(&peer.said);
        let known = said.iter().filter(|way| way.path().is_some());
        let mut ways: Vec<Address> = known.filter_map(|way| way.within(here, self.config.far)).collect();
        let found = self.overlay.found.iter().filter(|found| said.iter().any(|way| found.is_at(way)));
        ways.extend(found.flat_map(|found| found.addresses.iter().cloned()));
        ways.sort_by_key(|way| core::cmp::Reverse(way.path()));
        ways
    }

    fn addresses_of(&self, said: &Announcement) -> Vec<Address> {
        if !self.config.ledger.has_members() {
            return decode_addresses(&said.body);
        }
        let place = Announcement::place(self.config.ledger, said.node, said.at);
        self.keys().open(&place, &said.body).map_or_else(|_| Vec::new(), |body| decode_addresses(&body))
    }

    /// Where this node says that it can be reached.
    pub fn addresses(&self) -> &[Address] {
        &self.overlay.addresses
    }

    /// Other nodes that this one knows by what they announced or by links, and whether they are on line.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let status = |node: NodeId| {
            let (known, via) = (self.overlay.peers.get(&node), self.via(&node));
            let addresses = known.map(|peer| self.addresses_of(&peer.said)).unwrap_or_default();
            let seen = known.and_then(|peer| peer.seen).or(self.overlay.gone.get(&node).and_then(|gone| gone.seen));
            PeerStatus { node, addresses, via, seen: if via.is_some() { Some(self.now) } else { seen } }
        };
        self.known_others().into_iter().map(status).collect()
    }

    /// Of two links to one peer, whether the older one stays: the one on the better path; where both sides dialled at
    /// once, the one that the smaller id dialled, so that both sides keep the same. Who dials much later does not know of the older one.
    pub(super) fn keeps_older(&self, older: &Link, newer: &Link, peer: &NodeId) -> bool {
        if older.path != newer.path {
            return older.path > newer.path;
        }
        let dialler = |link: &Link| if link.role == Role::Dialled { self.me } else { *peer };
        let at_once = older.since.plus(HANDSHAKE) > self.now;
        older.role != newer.role && at_once && dialler(older) < dialler(newer)
    }

    /// Notes known peers in the store, so that the next start finds them without anybody's help: at once where that would know too few, or
    /// who is killed soon after it came would find nobody.
    pub(super) fn note_peers(&mut self) -> Turn<S> {
        let known = self.overlay.peers.len().min(NOTED);
        let waits = self.timers.is_set(Timer::Peers) && known <= self.overlay.noted;
        if !self.config.meets || !self.overlay.changed || waits {
            return Ok(());
        }
        (self.overlay.changed, self.overlay.noted) = (false, known);
        self.timers.set(Timer::Peers, PEERS_EVERY);
        let mut peers: Vec<&Peer> = self.overlay.peers.values().collect();
        peers.sort_by_key(|peer| core::cmp::Reverse((peer.seen, peer.said.at)));
        let peers = peers.iter().take(NOTED).map(|peer| (&peer.said, peer.seen));
        let own = self.overlay.own.iter().map(|own| (own, None));
        let row = encode_peers(&own.chain(peers).collect::<Vec<_>>());
        self.store.set_meta(META_PEERS, &row)?;
        Ok(())
    }
}

fn encode_peers(peers: &[(&Announcement, Option<Timestamp>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes);
    infallible((|| {
        encoder.array(peers.len() as u64)?;
        peers.iter().try_for_each(|(said, seen)| {
            encode_announcement(encoder.array(2)?, said)?;
            encoder.u64(seen.map_or(0, Timestamp::micros))?.ok()
        })
    })());
    bytes
}

/// What comes before a fault in the row stands.
fn decode_peers(row: &[u8]) -> Vec<(Announcement, Option<Timestamp>)> {
    let mut decoder = Decoder::new(row);
    let mut peers = Vec::new();
    let len = decoder.array().ok().flatten().unwrap_or(0);
    for _ in 0..len.min(NOTED as u64 + 1) {
        let Ok(Some(2)) = decoder.array() else { break };
        let Ok(said) = decode_announcement(&mut decoder) else { break };
        let Ok(seen) = decoder.u64() else { break };
        peers.push((said, Timestamp::from_micros(seen).filter(|seen| seen.micros() > 0)));
    }
    peers
}
