//! One link more than wanted, now and then, to somebody drawn: who has only neighbours that hand on nothing would never know.
//!
//! Where a node draws its neighbours, all of them may keep blocks back. So it dials a further one every [`PROBE_EVERY`], and sooner while a peer
//! says to have what does not come. Some time later a link goes that is out of the tree and has brought nothing new for the longest time, mostly the one that was
//! dialled last: only who brings what others did not stays.

use alloc::vec::Vec;

use super::{Replica, Target};
use crate::{
    effect::{CloseReason, DialId, Effect, LinkId, LinkPath},
    id::NodeId,
    limits::{DIRECT_LINKS, DIRECT_LINKS_TO_ALL, DIRECT_LINKS_WANTED, PROBE_EVERY, PROBE_FOR},
    replica::Timer,
    store::Store,
    sync::Link,
    time::Timestamp,
};

/// Neighbours that are tried one right after the other because something does not come.
const HASTY_PROBES: u32 = 12;

/// The link that is tried.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Probe {
    dial: Option<DialId>,
    /// When one was dialled last, by the clock that only goes forward.
    at: Timestamp,
    /// How many more are dialled soon because something does not come: what nobody has is not looked for the more.
    hasty: u32,
    /// A lane of which peers had more when it was looked last, and its height here.
    lacks: Option<(NodeId, u64)>,
}

impl<S: Store> Replica<S> {
    /// Whether there are more others than a node links to.
    pub(super) fn draws_neighbours(&self) -> bool {
        self.overlay.peers.len() > DIRECT_LINKS_TO_ALL
    }

    /// From now on somebody is tried now and then.
    pub(super) fn probe_sometimes(&mut self) {
        if self.draws_neighbours() && !self.timers.is_set(Timer::Probe) {
            self.timers.set(Timer::Probe, PROBE_FOR);
        }
    }

    pub(in crate::replica) fn on_probe_due(&mut self, effects: &mut Vec<Effect>) {
        let now = self.timers.now();
        // Who has no place for this node tells nothing of the others.
        let tried = self.overlay.probe.dial.take().is_none_or(|dial| self.end_probe(dial, effects));
        let lacks = self.lacks_what_peers_have();
        let in_vain = lacks.is_some() && lacks == self.overlay.probe.lacks;
        self.overlay.probe.lacks = lacks;
        if lacks.is_none() {
            self.overlay.probe.hasty = HASTY_PROBES;
        }
        let Probe { at, hasty, .. } = self.overlay.probe;
        let wait = if in_vain && hasty > 0 { PROBE_FOR } else { PROBE_EVERY };
        if !tried || at.plus(wait) <= now {
            // Who has filled all places would never be tested.
            if self.overlay.dials.len() + self.accepted_directly() >= DIRECT_LINKS {
                let spare = self.worst(|link| link.lazy || in_vain || link.news.is_none(), None);
                spare.into_iter().for_each(|id| self.close(id, CloseReason::Spare, effects));
            }
            self.begin_probe(effects);
        }
        self.probe_sometimes();
    }

    fn begin_probe(&mut self, effects: &mut Vec<Effect>) {
        let now = self.timers.now();
        let linked: Vec<NodeId> = self.directly_linked().collect();
        let may = |node: &NodeId| !linked.contains(node) && self.belongs(node);
        let peers = self.overlay.peers.iter().filter(|(node, peer)| peer.retry.dial.is_none() && may(node));
        let mut others: Vec<NodeId> = peers.filter(|(_, peer)| peer.retry.due <= now).map(|(node, _)| *node).collect();
        while !others.is_empty() {
            let drawn = (self.random.u64() % others.len() as u64) as usize;
            let node = others.swap_remove(drawn);
            let addresses = self.ways_to(&node);
            if !addresses.is_empty() {
                self.dial(Target::Peer(node), addresses, effects);
                let dial = self.overlay.peers.get(&node).and_then(|peer| peer.retry.dial);
                let hasty = self.overlay.probe.hasty.saturating_sub(1);
                self.overlay.probe = Probe { dial, at: now, hasty, ..self.overlay.probe };
                return;
            }
        }
    }

    /// Whether that link came up.
    fn end_probe(&mut self, dial: DialId, effects: &mut Vec<Effect>) -> bool {
        let tried = self.links.values().any(|link| link.dial == Some(dial) && link.peer().is_some());
        if !tried {
            return false;
        }
        let is_drawn = |link: &Link| {
            let target = link.dial.and_then(|dial| self.overlay.dials.get(&dial));
            link.peer().is_some() && matches!(target, Some(Target::Peer(_)))
        };
        if self.links.values().filter(|link| is_drawn(link)).count() > DIRECT_LINKS_WANTED {
            let spare = self.worst(is_drawn, Some(dial));
            spare.into_iter().for_each(|id| self.close(id, CloseReason::Spare, effects));
        }
        true
    }

    /// Of some direct links the one that has brought nothing new for the longest time. What carries blocks either way is rather kept, but not for
    /// that the one on trial.
    fn worst(&self, some: impl Fn(&Link) -> bool, trial: Option<DialId>) -> Option<LinkId> {
        let carries = |link: &Link| !link.lazy && (trial.is_none() || link.dial != trial);
        let direct = self.links.iter().filter(|(_, link)| link.path != LinkPath::Relay && link.peer().is_some());
        let some = direct.filter(|(_, link)| some(link));
        some.min_by_key(|(_, link)| (carries(link), link.news, core::cmp::Reverse(link.since))).map(|(id, _)| *id)
    }

    fn accepted_directly(&self) -> usize {
        let accepted = |link: &&Link| link.path != LinkPath::Relay && link.dial.is_none() && link.peer().is_some();
        self.links.values().filter(accepted).count()
    }

    /// A lane of which a peer says to have more, while nothing is under way.
    fn lacks_what_peers_have(&self) -> Option<(NodeId, u64)> {
        if self.links.values().any(|link| !link.lazy && link.progress.0 < link.progress.1) {
            return None;
        }
        let claims = self.links.values().flat_map(|link| &link.claims);
        let claims = claims.map(|(lane, claim)| (*lane, claim.height, self.ledger.height(lane)));
        let lacks = claims.filter(|(lane, claimed, height)| claimed > height && !self.ledger.is_forked(lane));
        lacks.map(|(lane, _, height)| (lane, height)).min()
    }
}
