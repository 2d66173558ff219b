//! What the members and the ledger are called.

use alloc::{string::String, vec::Vec};

use super::{Replica, control::Granted};
use crate::{
    block::{Block, Entry, Kind},
    effect::{Effect, WishError},
    id::NodeId,
    ledger::{At, stored},
    members::MemberError,
    names,
    replica::ReplicaError,
    store::Store,
};

impl<S: Store> Replica<S> {
    /// What a node wants to be called, where that is here and opens with the keys that are here.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn nickname(&self, node: &NodeId) -> Result<Option<String>, ReplicaError<S::Error>> {
        self.ledger.nickname(node).map_or(Ok(None), |at| self.name_at(&at))
    }

    /// What a members' ledger is called: the latest that can be read of what its owners and admins said last.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn ledger_name(&self) -> Result<Option<String>, ReplicaError<S::Error>> {
        for at in self.ledger.ledger_names() {
            if let Some(name) = self.name_at(&at)? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    fn name_at(&self, at: &At) -> Result<Option<String>, ReplicaError<S::Error>> {
        // Without a key nothing opens: that need not be read.
        if self.config.ledger.has_members() && self.keys().is_empty() {
            return Ok(None);
        }
        let block = stored(&self.store, &at.key.hash)?;
        Ok(block.and_then(|block| names::open(&block, at.index as usize, self.keys())))
    }

    /// Writes a name of this node, or of the ledger.
    pub(super) fn say_name(&mut self, kind: Kind, name: &str, effects: &mut Vec<Effect>) -> Granted<S> {
        if let Err(error) = names::check(name) {
            return Ok(Err(error.into()));
        }
        if kind == Kind::LEDGER_NAME && !self.config.ledger.has_members() {
            return Ok(Err(WishError::OpenName));
        }
        if self.own.waits || self.is_mending() {
            return Ok(Err(WishError::NotYet));
        }
        // Who was removed in this turn does not read it.
        self.renew_epoch(effects)?;
        if let Some(error) = self.barred()? {
            return Ok(Err(error.into()));
        }
        if kind == Kind::LEDGER_NAME && !self.ledger.members().is_steward(&self.me) {
            return Ok(Err(MemberError::NotAllowed.into()));
        }
        let payload = self.sealed(0, names::encode(name));
        let entry = Entry::new(kind, self.random.bytes16(), payload);
        Ok(Ok(self.write(alloc::vec![entry], effects)?.hash()))
    }
}

/// Whether somebody, or the ledger, is called otherwise after this block.
pub(super) fn has_name(block: &Block) -> bool {
    block.entries().iter().any(|entry| names::is_name(&block.header().ledger, entry))
}
