//! What the simulator looks at: whether every queue and list keeps its bound.

use alloc::vec::Vec;

use super::Replica;
use crate::{
    block::Block,
    id::{BlockHash, NodeId},
    limits::{
        AUTHORS, CLOCK_WINDOW, DIRECTED_WAITING, DOOR_LINKS, FRAME_BYTES, LINK_WINDOW_FRAMES, LINKS, PARKED_BYTES,
        TURN_BYTES, TURN_ENTRIES, WANTED_PER_LINK, WITHHELD_BLOCKS, ZONE_BYTES,
    },
    members::{Control, Member, Role, is_closed},
    order::OrderKey,
    store::Store,
    sync::window_bytes,
    time::Timestamp,
};

/// Frames of a turn that need no credit: heads of all authors in pages, and answers to what one turn brings.
const CONTROL_FRAMES: usize = 64;

impl<S: Store> Replica<S> {
    /// Whether blocks of the ledger are damaged or missing.
    pub fn is_repairing(&self) -> bool {
        !self.repairing.is_empty()
    }

    /// The blocks that no other block rests on.
    pub fn tips(&self) -> Vec<BlockHash> {
        self.ledger.tips().keys().copied().collect()
    }

    /// What this node may do in a members' ledger, as far as it knows.
    pub fn role(&self) -> Option<Role> {
        self.ledger.members().of(&self.me).map(|member| member.role).min()
    }

    /// Whether a node came in, whatever became of it.
    pub fn has_come_in(&self, node: &NodeId) -> bool {
        self.ledger.members().of(node).next().is_some()
    }

    /// Whether a lane is frozen by a removal.
    pub fn is_removed(&self, node: &NodeId) -> bool {
        self.ledger.is_removed(node)
    }

    /// Whether a node, or one by whom it came in, has a frozen lane: its word may not count.
    pub fn is_shaky(&self, node: &NodeId) -> bool {
        let members = self.ledger.members();
        let frozen = |member: &Member| self.ledger.frozen_at(&member.node).is_some();
        members.of(node).any(|member| members.chain(member).any(frozen))
    }

    /// Whether a join that is not in the ledger does not count by what is known here: its invite is closed or used up, or the
    /// one who invited was removed before; or its time has not come.
    pub fn turns_away(&self, join: &Block) -> bool {
        // What is to be repaired was in the ledger, and so was what is in the store.
        let stored = || matches!(self.store.summary(&join.hash()), Ok(Some(_)));
        if self.repairing.contains(&join.hash()) || (self.is_mending() && stored()) {
            return false;
        }
        let Ok(Some(Control::Join(by))) = Control::of(join) else { return true };
        let Ok(Some(invite)) = crate::ledger::stored(&self.store, &by.invite) else { return false };
        let Ok(Some(Control::Invite(terms))) = Control::of(&invite) else { return true };
        let header = invite.header();
        let earlier = |key: &&OrderKey| **key < join.key();
        let used = self.ledger.members().by(&by.invite).filter(earlier).count();
        let open = |key: &OrderKey| {
            self.ledger.members().get(&key.hash).is_some_and(|member| self.ledger.frozen_at(&member.node) == Some(1))
        };
        let free = self.ledger.members().by(&by.invite).any(open);
        let early = join.header().timestamp > self.now.plus(CLOCK_WINDOW);
        let closed = is_closed(&by.invite, (&header.author, header.height), &self.ledger.freezes());
        early || closed || (used >= terms.uses as usize && !free)
    }

    /// Whether this node has signed blocks that are gone, so that it writes nothing more.
    pub fn has_lost_own(&self) -> bool {
        self.lacks_own()
    }

    /// Whether this node cannot seal what it would write.
    pub fn lacks_epoch_key(&self) -> bool {
        self.config.writes && self.lacks_key()
    }

    /// When the next deadline is, blocks that wait for their time left aside.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// The first queue that is longer than its bound: its name, its length and the bound.
    pub fn over_limit(&self) -> Option<(&'static str, u64, u64)> {
        let lanes = AUTHORS;
        let own = [
            ("parked bytes", self.pool.bytes(), PARKED_BYTES + ZONE_BYTES),
            ("waiting entries", self.waiting_entries, TURN_ENTRIES.max(crate::limits::APPEND_ENTRIES)),
            ("waiting bytes", self.waiting_bytes, TURN_BYTES),
            ("links", self.links.len() - self.door.len(), LINKS),
            ("links at the door", self.door.len(), DOOR_LINKS),
            ("withheld blocks", self.withheld.len(), WITHHELD_BLOCKS),
            ("blocks at hand", self.recent.bytes, super::RECENT_BYTES + 2 * FRAME_BYTES),
        ];
        let of_links = self.links.values().flat_map(|link| {
            [
                ("answers", link.answers.len(), WANTED_PER_LINK),
                ("wanted", link.wanted.len(), WANTED_PER_LINK),
                ("payloads to answer", link.lacked.len(), WANTED_PER_LINK),
                ("directed bytes", link.directed_bytes(), DIRECTED_WAITING),
                ("announced", link.announced.len(), LINKS),
                ("lanes of a peer", link.has.len(), lanes),
                ("lanes changed", link.asked_heads.as_ref().map_or(0, |asked| asked.before.len()), lanes),
                ("proofs", link.proofs.len(), lanes),
                ("removals", link.removals.len(), lanes),
                ("credit held back", link.owed.len(), LINK_WINDOW_FRAMES as usize),
                ("control frames", link.control.len(), CONTROL_FRAMES),
                ("frames on their way", link.in_flight.frames as usize, LINK_WINDOW_FRAMES as usize),
                ("bytes on their way", link.in_flight.bytes as usize, window_bytes(link.path) as usize + FRAME_BYTES),
            ]
        });
        let over = own.into_iter().chain(of_links).find(|(_, len, bound)| len > bound);
        over.map(|(name, len, bound)| (name, len as u64, bound as u64))
    }
}
