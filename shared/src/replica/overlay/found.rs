//! Endpoints that show themselves on the local network.
//!
//! Whoever knows the ledger's id can show one, at any address. So it is dialled where there is room beside the known nodes, in local
//! networks only, and has to show that it belongs. Where a known node says that the endpoint is its own, the found addresses
//! are further ways to that node.

use alloc::{borrow::ToOwned, vec::Vec};

use super::{Overlay, Peer, Replica, Retry};
use crate::{
    announce::Address,
    id::NodeId,
    limits::{ADDRESSES, DIAL_SECOND, FOUND_NODES},
    store::Store,
    time::Timestamp,
};

/// An endpoint that was found.
#[derive(Debug)]
pub(super) struct Found {
    /// All of one endpoint.
    pub(super) addresses: Vec<Address>,
    /// Who is there, as far as that is known.
    pub(super) node: Option<NodeId>,
    pub(super) retry: Retry,
}

impl Found {
    /// Whether an address leads to the same endpoint.
    pub(super) fn is_at(&self, address: &Address) -> bool {
        let mine = self.addresses.first().and_then(Address::endpoint).map(|endpoint| endpoint.id);
        mine.is_some_and(|id| leads_to(address, id))
    }

    /// Whether another one may have its place: it was given up, or at least dialled in vain.
    fn is_in_vain(&self) -> bool {
        self.retry.dial.is_none() && (self.retry.due == Timestamp::MAX || self.retry.failures > 0)
    }
}

fn leads_to(address: &Address, id: &str) -> bool {
    address.endpoint().is_some_and(|endpoint| endpoint.id == id)
}

impl Overlay {
    /// Of too many one goes that was dialled in vain; where all may be there, none does.
    fn keep_found(&mut self, found: Found) {
        if self.found.len() < FOUND_NODES {
            return self.found.push(found);
        }
        let others = self.found.iter_mut().filter(|other| other.is_in_vain());
        if let Some(other) = others.max_by_key(|other| (other.retry.due == Timestamp::MAX, other.retry.failures)) {
            *other = found;
        }
    }
}

impl<S: Store> Replica<S> {
    pub(in crate::replica) fn handle_found(&mut self, mut addresses: Vec<Address>) {
        let endpoint = addresses.iter().find_map(Address::endpoint);
        let Some(id) = endpoint.map(|endpoint| endpoint.id.to_owned()) else { return };
        let node = self.whose(&id);
        let own = self.overlay.addresses.iter().find_map(Address::endpoint).map(|endpoint| endpoint.id);
        addresses.retain(|address| leads_to(address, &id));
        addresses = addresses.iter().filter_map(|address| address.within(false, false)).take(ADDRESSES).collect();
        if !self.config.meets || own == Some(&id) || addresses.is_empty() {
            return;
        }
        // The other one dials at once.
        let wait = if own.is_some_and(|own| own > id.as_str()) { DIAL_SECOND } else { 0 };
        let now = self.timers.now();
        if let Some(known) = self.overlay.found.iter_mut().find(|known| known.is_at(&addresses[0])) {
            (known.addresses, known.node) = (addresses, node.or(known.node));
            // Whoever shows itself again and again is not dialled the more for it.
            known.retry.is_wanted_again(now);
        } else {
            let retry = Retry { due: now.plus(wait), ..Retry::default() };
            self.overlay.keep_found(Found { addresses, node, retry });
        }
        if let Some(peer) = node.and_then(|node| self.overlay.peers.get_mut(&node)) {
            peer.retry.is_wanted_again(now);
        }
        self.meet_soon();
    }

    /// Who says that this endpoint is its own.
    fn whose(&self, id: &str) -> Option<NodeId> {
        let says = |peer: &Peer| self.addresses_of(&peer.said).iter().any(|address| leads_to(address, id));
        self.overlay.peers.iter().find(|(node, peer)| self.belongs(node) && says(peer)).map(|(node, _)| *node)
    }

    /// Whether nobody known is at a found endpoint. A known node is dialled itself.
    pub(super) fn is_nobodys(&mut self, place: usize) -> bool {
        let Some(id) = self.overlay.found.get(place).and_then(|found| found.addresses.first()?.endpoint()) else {
            return false;
        };
        let node = self.whose(id.id);
        let found = &mut self.overlay.found[place];
        found.node = node.or(found.node);
        node.is_none()
    }
}
