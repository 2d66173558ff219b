//! Two who link tell each other whom the other one has not heard of: a newcomer was not there when the others announced themselves.
//!
//! Each says a checksum of the ids that it knows, in [`BUCKETS`] parts; what the other one knows of the parts that differ comes back. Where
//! both know the same that is half a kilobyte, and where one lacks a few, a few.

use alloc::vec::Vec;

use super::Replica;
use crate::{
    announce::Announcement,
    effect::{LinkId, LinkPath},
    id::NodeId,
    limits::{ANNOUNCED_AT_ONCE, PROBE_EVERY},
    parts::part_of,
    store::Store,
    wire::{BUCKETS, Message},
};

impl<S: Store> Replica<S> {
    /// Asks a new direct neighbour.
    pub(in crate::replica) fn ask_whom_it_knows(&mut self, id: LinkId) {
        if self.links.get(&id).is_some_and(|link| link.path != LinkPath::Relay) {
            let known = self.known_in_buckets();
            self.say(id, Message::NodeListRequest { known });
        }
    }

    /// Tells a neighbour whom it lacks, not too often.
    pub(in crate::replica) fn on_list_request(&mut self, id: LinkId, known: &[u64]) {
        let now = self.timers.now();
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.listed.is_some_and(|at| at.plus(PROBE_EVERY) > now) {
            return;
        }
        link.listed = Some(now);
        let mine = self.known_in_buckets();
        let differs = |node: &NodeId| known.get(part_of(node, BUCKETS)) != mine.get(part_of(node, BUCKETS));
        let peers = self.overlay.peers.values().map(|peer| &peer.said);
        let told: Vec<Announcement> = peers.filter(|said| differs(&said.node)).cloned().collect();
        for part in told.chunks(ANNOUNCED_AT_ONCE) {
            let gone = self.gone_among(part);
            if !gone.is_empty() {
                self.say(id, Message::NodeGone { nodes: gone });
            }
            self.say(id, Message::NodeAnnounce { nodes: Vec::new(), announcements: part.to_vec() });
        }
    }

    fn known_in_buckets(&self) -> Vec<u64> {
        let mut buckets = [0; BUCKETS];
        let own = self.overlay.own.iter().map(|own| &own.node);
        for node in self.overlay.peers.keys().chain(own) {
            let (_, rest) = node.as_bytes().split_at(8);
            let part = rest.first_chunk().copied().unwrap_or_default();
            buckets[part_of(node, BUCKETS)] ^= u64::from_be_bytes(part);
        }
        buckets.to_vec()
    }
}
