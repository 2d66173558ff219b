//! The invites of a members' ledger, and what a newcomer needs of one.

use alloc::{string::String, vec::Vec};

use zeroize::Zeroizing;

use super::Replica;
use crate::{
    block::Block,
    id::{BlockHash, NodeId},
    key::Key,
    ledger::stored,
    members::{Control, Genesis, Invite, InviteStatus, is_closed},
    replica::ReplicaError,
    store::Store,
    token::Token,
};

impl<S: Store> Replica<S> {
    /// The payload of the ledger's genesis; `None` in an open ledger, and where it is not here yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn genesis(&self) -> Result<Option<Genesis>, ReplicaError<S::Error>> {
        let Some(founder) = self.ledger.members().all().find(|member| member.by.is_none()) else { return Ok(None) };
        let block = stored(&self.store, &founder.key.hash)?;
        Ok(block.and_then(|block| match Control::of(&block) {
            Ok(Some(Control::Genesis(genesis))) => Some(genesis),
            _ => None,
        }))
    }

    /// What a newcomer needs to come in by an invite; `None` where the block is no invite of this ledger, or the secret is
    /// not that of its key.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn token(
        &self,
        invite: &BlockHash,
        secret: Zeroizing<[u8; 32]>,
        relays: Vec<String>,
    ) -> Result<Option<Token>, ReplicaError<S::Error>> {
        let (Some(genesis), Some((block, entry))) = (self.genesis()?, self.invite(invite)?) else { return Ok(None) };
        if Key::from_secret(&secret).node() != entry.key {
            return Ok(None);
        }
        // An older key than the newest opens less than the newcomer may read, and is not what it seals with.
        let key = self.keys().current().filter(|_| !self.lacks_key()).cloned();
        Ok(Some(Token { genesis: genesis.encode(), invite: *invite, end: block.end(), secret, key, relays }))
    }

    /// The latest [`crate::limits::INVITES`] invites in ledger order. Where there were more, those are left out first that
    /// were closed when there were too many, and then the oldest.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn invites(&self) -> Result<Vec<InviteStatus>, ReplicaError<S::Error>> {
        let (members, frozen) = (self.ledger.members(), self.ledger.freezes());
        let mut list = Vec::new();
        for place in self.ledger.invites().keys() {
            let Some((block, Invite { key, role, uses, expires, .. })) = self.invite(&place.hash)? else { continue };
            let (by, height) = (block.header().author, block.header().height);
            let used = members.used(&place.hash, &frozen);
            let closed = is_closed(&place.hash, (&by, height), &frozen) || used >= uses as usize;
            list.push(InviteStatus { block: place.hash, key, by, role, uses, used: used as u32, expires, closed });
        }
        Ok(list)
    }

    /// An invite and its block.
    fn invite(&self, hash: &BlockHash) -> Result<Option<(Block, Invite)>, ReplicaError<S::Error>> {
        let block = stored(&self.store, hash)?;
        Ok(block.and_then(|block| match Control::of(&block) {
            Ok(Some(Control::Invite(invite))) => Some((block, invite)),
            _ => None,
        }))
    }

    /// Whether a key is, or was, that of an invite or of a lane, as far as that is known without reading the ledger.
    pub(super) fn is_used_key(&self, key: &NodeId) -> bool {
        let came_in_by = || self.ledger.members().all().any(|member| member.by.is_some_and(|by| by.key == *key));
        let is_invited_by = || self.ledger.invites().values().any(|other| other == key);
        self.ledger.lanes().contains_key(key) || self.ledger.frozen_at(key).is_some() || is_invited_by() || came_in_by()
    }
}
