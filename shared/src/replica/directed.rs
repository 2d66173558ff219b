//! Messages to one node: to it where it is linked, else to a neighbour that is nearer to it, else to all neighbours. What cannot be
//! delivered is lost; nothing arrives twice while a recipient runs.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec,
    vec::Vec,
};

use super::Replica;
use crate::{
    directed::{Directed, Route},
    effect::{CloseReason, DirectedError, Effect, LinkId},
    id::NodeId,
    limits::{
        CLOCK_WINDOW, DIRECTED_AT_ONCE, DIRECTED_BYTES, DIRECTED_EVERY, DIRECTED_WAITING, DIRECTED_WINDOW, KNOWN_PEERS,
    },
    store::Store,
    sync::{Budget, Link},
    time::Timestamp,
};

/// What came of one sender.
#[derive(Debug, Default)]
struct Heard {
    /// The latest times; a message of one of them came already.
    times: BTreeSet<Timestamp>,
    /// Messages that are not later are not looked at any more.
    floor: Timestamp,
    budget: Budget,
}

impl Heard {
    fn is_new(&self, at: Timestamp) -> bool {
        at > self.floor && !self.times.contains(&at)
    }

    fn note(&mut self, at: Timestamp) {
        self.times.insert(at);
        if self.times.len() > DIRECTED_WINDOW {
            self.floor = self.times.pop_first().unwrap_or_default();
        }
    }

    /// By the latest of them a sender is forgotten or kept.
    fn latest(&self) -> Option<Timestamp> {
        self.times.last().copied()
    }
}

/// Of whom messages came.
#[derive(Debug, Default)]
pub(super) struct Senders(BTreeMap<NodeId, Heard>);

impl Senders {
    fn of(&mut self, sender: NodeId) -> &mut Heard {
        if self.0.len() >= KNOWN_PEERS && !self.0.contains_key(&sender) {
            let oldest = self.0.iter().min_by_key(|(_, heard)| heard.latest()).map(|(node, _)| *node);
            oldest.map(|oldest| self.0.remove(&oldest));
        }
        self.0.entry(sender).or_default()
    }

    fn is_new(&self, sender: &NodeId, at: Timestamp) -> bool {
        self.0.get(sender).is_none_or(|heard| heard.is_new(at))
    }
}

impl<S: Store> Replica<S> {
    /// Somebody of this node has something to say to another one.
    pub(super) fn handle_direct(&mut self, token: u64, recipient: NodeId, body: &[u8], effects: &mut Vec<Effect>) {
        let result = self.direct(recipient, body);
        effects.push(Effect::Directed { token, result });
    }

    fn direct(&mut self, recipient: NodeId, body: &[u8]) -> Result<(), DirectedError> {
        if body.len() > DIRECTED_BYTES {
            return Err(DirectedError::TooLarge { len: body.len(), limit: DIRECTED_BYTES });
        }
        if !self.belongs(&self.me) {
            return Err(DirectedError::NotAMember);
        }
        if !self.belongs(&recipient) || self.via(&recipient).is_none() {
            return Err(DirectedError::Unreachable(recipient));
        }
        let (steady, sender) = (self.timers.now(), self.me);
        let own = self.senders.of(sender);
        if !own.budget.takes(steady, DIRECTED_AT_ONCE, DIRECTED_EVERY) {
            return Err(DirectedError::TooFast);
        }
        let at = self.now.max(own.latest().map_or(self.now, |latest| latest.plus(1)));
        own.note(at);
        let message_id = self.message_id();
        let route = Route { message_id, sender, recipient };
        let random = (self.random.bytes32(), self.random.bytes16());
        let directed = Directed::new(&self.config.ledger, &self.config.key, &route, at, random, body)
            .map_err(|_| DirectedError::Unreachable(recipient))?;
        if self.pass_on(&route, &directed, None) { Ok(()) } else { Err(DirectedError::TooFast) }
    }

    /// Something for this node or another one came.
    pub(super) fn on_directed(
        &mut self,
        id: LinkId,
        route: &Route,
        directed: &Directed,
        effects: &mut Vec<Effect>,
    ) -> Result<(), CloseReason> {
        let Route { sender, recipient, .. } = *route;
        let ledger = self.config.ledger;
        let Directed { at, .. } = *directed;
        let timely = at <= self.now.plus(CLOCK_WINDOW) && at.plus(CLOCK_WINDOW) >= self.now;
        if !timely || sender == self.me || !self.belongs(&sender) || !self.senders.is_new(&sender, at) {
            return Ok(());
        }
        if directed.verify(&ledger, route).is_err() {
            return Err(CloseReason::Protocol("a directed message is not its sender's"));
        }
        let now = self.timers.now();
        let heard = self.senders.of(sender);
        // More than a sender may say, or what comes in a heap would be lost on its way.
        if !heard.budget.takes(now, 2 * DIRECTED_AT_ONCE, DIRECTED_EVERY / 2) {
            return Ok(());
        }
        heard.note(at);
        if recipient != self.me {
            _ = self.pass_on(route, directed, Some(id));
        } else if let Ok(body) = directed.open(&ledger, &self.config.key, route) {
            effects.push(Effect::Received { sender, body });
        }
        Ok(())
    }

    /// Whether a link had room for it.
    fn pass_on(&mut self, route: &Route, directed: &Directed, source: Option<LinkId>) -> bool {
        let mut passed = false;
        for id in self.towards(route, source) {
            let room = |link: &&mut Link| {
                let few = link.directed.len() < DIRECTED_AT_ONCE as usize;
                few && link.directed_bytes() + directed.body.len() <= DIRECTED_WAITING
            };
            if let Some(link) = self.links.get_mut(&id).filter(room) {
                link.directed.push_back((*route, directed.clone()));
                passed = true;
            }
        }
        passed
    }

    /// The links that lead to a node: its own; one whose peer is linked to it; the one by which its latest announcement came; all.
    fn towards(&self, route: &Route, source: Option<LinkId>) -> Vec<LinkId> {
        let Route { sender, recipient, .. } = route;
        let others = || {
            let up = |(id, link): &(&LinkId, &Link)| Some(**id) != source && link.peer().is_some() && !link.goes;
            self.links.iter().filter(up)
        };
        let best = |leads: &dyn Fn(&Link) -> bool| {
            others().filter(|(_, link)| leads(link)).max_by_key(|(_, link)| link.path).map(|(id, _)| *id)
        };
        let came_by = self.overlay.came_by(recipient);
        let nearer = best(&|link| link.peer() == Some(*recipient))
            .or_else(|| best(&|link| link.announced.contains(recipient)))
            .or_else(|| others().map(|(id, _)| *id).find(|id| Some(*id) == came_by));
        match nearer {
            Some(id) => vec![id],
            // A hub has thousands of links, and hears from all of them to whom they lead.
            None if !self.config.writes => Vec::new(),
            None => others().filter(|(_, link)| link.peer() != Some(*sender)).map(|(id, _)| *id).collect(),
        }
    }
}
