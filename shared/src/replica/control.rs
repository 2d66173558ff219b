//! What this node does about who belongs: it begins a ledger, invites, removes, closes invites. And that it erases.

use alloc::{sync::Arc, vec::Vec};

use super::{Replica, Turn};
use crate::{
    block::{Entry, Kind, VerifiedBlock},
    effect::{AppendError, Effect, Wish, WishError},
    id::{BlockHash, NodeId},
    ledger::stored,
    limits::{BLOCK_PARENTS, REKEYS, WISHES},
    members::{Genesis, Invite, Member, MemberError, MemberStatus, Newcomer, Remove, Standing},
    proofs::Proof,
    replica::ReplicaError,
    store::Store,
};

/// The store failed; or the wish breaks a rule.
pub(super) type Granted<S> = Result<Result<BlockHash, WishError>, ReplicaError<<S as crate::store::ReadStore>::Error>>;

impl<S: Store> Replica<S> {
    pub(super) fn handle_control(&mut self, token: u64, wish: Wish, effects: &mut Vec<Effect>) -> Turn<S> {
        let restoring = self.is_restoring();
        if self.waits_for_own_lane() && !restoring && self.wishes.len() < WISHES {
            self.wishes.push((token, wish));
            return Ok(());
        }
        let result = if restoring { Err(AppendError::Restored.into()) } else { self.grant(wish, effects)? };
        effects.push(Effect::Granted { token, result });
        Ok(())
    }

    /// Answers what was wished before it was known what this node has written.
    pub(super) fn grant_waiting(&mut self, effects: &mut Vec<Effect>) -> Turn<S> {
        if !self.waits_for_own_lane() {
            for (token, wish) in core::mem::take(&mut self.wishes) {
                self.handle_control(token, wish, effects)?;
            }
        }
        Ok(())
    }

    /// Whether what this node is to write waits for a while: see `own`.
    pub(super) fn waits_for_own_lane(&self) -> bool {
        self.own.waits && self.ledger.frozen_at(&self.me).is_none()
    }

    fn grant(&mut self, wish: Wish, effects: &mut Vec<Effect>) -> Granted<S> {
        let is_name = matches!(wish, Wish::Nickname { .. } | Wish::LedgerName { .. });
        let in_open_too = matches!(wish, Wish::Erase { .. });
        if let Some(error) = self.bars_control(in_open_too).filter(|_| !is_name) {
            return Ok(Err(error));
        }
        let (kind, payload) = match wish {
            Wish::Found { salt } => {
                if self.ledger.totals().blocks > 0 {
                    return Ok(Err(WishError::Begun));
                }
                (Kind::GENESIS, Genesis { founder: self.me, salt }.encode())
            }
            Wish::Invite { key, role, uses, expires } => {
                let Some(join) = self.own_join() else { return Ok(Err(WishError::Stranger)) };
                if self.is_used_key(&key) {
                    return Ok(Err(WishError::UsedKey(key)));
                }
                (Kind::INVITE, Invite { join, key, role, uses, expires }.encode())
            }
            Wish::Remove { member } => {
                let Some(join) = self.own_join() else { return Ok(Err(WishError::Stranger)) };
                let Some(target) = self.ledger.members().of(&member).next() else {
                    return Ok(Err(WishError::Unknown(member)));
                };
                // What it says itself in leaving stays too.
                let (rests, height) = (target.key.hash, self.ledger.height(&member) + u64::from(member == self.me));
                return self.remove(Remove { join, member, rests, height }, effects);
            }
            Wish::Close { invite } => {
                let Some(join) = self.own_join() else { return Ok(Err(WishError::Stranger)) };
                let block = stored(&self.store, &invite)?;
                let invite_entry = block.and_then(|block| Invite::decode(block.entries()[0].payload()?));
                let Some(Invite { key, .. }) = invite_entry else { return Ok(Err(WishError::NoInvite(invite))) };
                return self.remove(Remove { join, member: key, rests: invite, height: 0 }, effects);
            }
            Wish::Nickname { name } => return self.say_name(Kind::NICKNAME, &name, effects),
            Wish::LedgerName { name } => return self.say_name(Kind::LEDGER_NAME, &name, effects),
            Wish::Rekey => return self.rekey(effects),
            Wish::Erase { entry } => return self.erase(entry, effects),
        };
        let entry = Entry::new(kind, self.random.bytes16(), payload);
        let (block, previous) = self.sign(alloc::vec![entry])?;
        let newcomer = match self.check_own(&block)? {
            Ok(newcomer) => newcomer,
            Err(error) => return Ok(Err(error.into())),
        };
        let hash = block.hash();
        self.own.signed = true;
        self.epochs.stale |= newcomer.is_some();
        self.add(block, newcomer, previous, None, effects)?;
        Ok(Ok(hash))
    }

    /// Why this node changes nothing about who belongs.
    fn bars_control(&self, in_open_too: bool) -> Option<WishError> {
        let is_open = !self.config.ledger.has_members();
        if is_open && !in_open_too {
            return Some(WishError::Open);
        }
        if !self.config.writes || self.own.waits || self.is_mending() || self.lacks_own() {
            return Some(WishError::NotYet);
        }
        let height = self.ledger.frozen_at(&self.me)?;
        Some(if is_open { AppendError::Frozen { height }.into() } else { WishError::Stranger })
    }

    /// Begins an epoch because somebody wants it.
    fn rekey(&mut self, effects: &mut Vec<Effect>) -> Granted<S> {
        if let Some(error) = self.barred()? {
            return Ok(Err(error.into()));
        }
        if !self.ledger.members().is_steward(&self.me) {
            return Ok(Err(MemberError::NotAllowed.into()));
        }
        let len = self.keys().len();
        if len >= REKEYS {
            return Ok(Err(WishError::Epochs { len, limit: REKEYS }));
        }
        let readers = self.readers();
        Ok(self.begin_epoch(&readers, effects)?.ok_or(WishError::NotYet))
    }

    /// Signs a removal. It is in force at once.
    fn remove(&mut self, remove: Remove, effects: &mut Vec<Effect>) -> Granted<S> {
        let (lane, height) = remove.freeze();
        let frozen = self.ledger.frozen_at(&lane).is_some_and(|frozen| frozen <= height);
        if frozen && (self.ledger.is_removed(&lane) || mutant!(ForkedUnremovable)) {
            return Ok(Err(WishError::Done));
        }
        let invite = if remove.height == 0 { stored(&self.store, &remove.rests)? } else { None };
        if let Err(error) = self.ledger.members().check_remove(self.me, &remove, invite.as_ref()) {
            return Ok(Err(error.into()));
        }
        if self.ledger.tips().len() > BLOCK_PARENTS {
            // The block of the removal vouches for what it rests on, and that is not all that this node has seen.
            self.vouch(effects)?;
        }
        let entry = Entry::new(Kind::REMOVE, self.random.bytes16(), remove.encode());
        let (block, previous) = self.sign(alloc::vec![entry])?;
        let Some(removal) = self.ledger.removal(&self.store, &block)? else { return Ok(Err(WishError::NotYet)) };
        let hash = block.hash();
        self.own.signed = true;
        self.epochs.mine |= remove.height > 0;
        self.add(block, None, previous, None, effects)?;
        self.freeze(&Proof::Removal(Arc::new(removal)), effects)?;
        self.spread_freeze(lane, height)?;
        Ok(Ok(hash))
    }

    /// Everybody who came in and counts, those who were removed included. Empty in an open ledger. Reads a block for each name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn members(&self) -> Result<Vec<MemberStatus>, ReplicaError<S::Error>> {
        let status = |member: &Member| {
            Ok(MemberStatus {
                node: member.node,
                role: member.role,
                joined: member.key.timestamp,
                by: member.by.map(|by| by.inviter),
                stays: self.ledger.frozen_at(&member.node).map(|height| height.saturating_sub(1)),
                name: self.nickname(&member.node)?,
            })
        };
        self.ledger.members().all().map(status).collect()
    }

    /// How this node stands, without what members are called. Nobody belongs to an open ledger.
    pub fn standing(&self) -> Standing {
        let members = self.ledger.members();
        let counts = |node: &NodeId| self.ledger.frozen_at(node).is_none();
        let mine = members.of(&self.me).next();
        Standing {
            role: mine.map(|member| member.role),
            removed: mine.is_some() && !counts(&self.me),
            members: members.all().filter(|member| counts(&member.node)).count(),
        }
    }

    /// This node's first block.
    pub(super) fn own_join(&self) -> Option<BlockHash> {
        self.ledger.members().of(&self.me).next().map(|member| member.key.hash)
    }

    pub(super) fn check_own(&self, block: &VerifiedBlock) -> Result<Newcomer, ReplicaError<S::Error>> {
        self.ledger.check_member(self.ledger.members(), block, |hash| stored(&self.store, hash))
    }

    /// An invite of this node is used up: it is closed, so that nobody comes in by it who says to have been earlier.
    pub(super) fn close_used_up(&mut self, effects: &mut Vec<Effect>) -> Turn<S> {
        while self.may_write()
            && !self.is_mending()
            && let Some(by) = self.own.used.pop()
        {
            if self.ledger.members().by(&by.invite).count() >= by.uses as usize {
                self.grant(Wish::Close { invite: by.invite }, effects)?.ok();
            }
        }
        Ok(())
    }

    /// Why this node writes nothing in this ledger.
    pub(super) fn barred(&self) -> Result<Option<AppendError>, ReplicaError<S::Error>> {
        if !self.config.writes {
            return Ok(Some(AppendError::ReadOnly));
        }
        if let Some(height) = self.ledger.frozen_at(&self.me) {
            let removed = self.ledger.is_removed(&self.me);
            return Ok(Some(if removed { AppendError::Removed } else { AppendError::Frozen { height } }));
        }
        if self.is_restoring() {
            return Ok(Some(AppendError::Restored));
        }
        if !self.repairing.is_empty() {
            return Ok(Some(AppendError::Repairing { blocks: self.repairing.len() }));
        }
        if !self.own.waits && !self.is_writer() {
            let belongs = self.ledger.members().of(&self.me).next().is_some();
            let error = if belongs && self.lacks_own() { AppendError::Restored } else { AppendError::NotAMember };
            return Ok(Some(error));
        }
        Ok((!self.own.waits && self.lacks_key()).then_some(AppendError::NoKey))
    }
}
