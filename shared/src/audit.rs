//! Checking a history that somebody else keeps, block after block: for whoever is shown a ledger and wants to see for itself.
//!
//! An [`Audit`] is given blocks as they were signed, parents before children, and holds them against rules 1 to 5 and those of who
//! belongs. What it has taken in is one hash chain: nobody can have changed, moved or left out anything below a block that is there.
//! What it does not decide again is which blocks of a frozen lane count, because that takes vouchers which may come later; and whether
//! there is more than it was given, for which [`Audit::digest`] can be compared with a node's.
//!
//! A signature is most of the work, and browsers check them in machine code and on several cores. So a signature leaves the audit as
//! a [`Claim`], to be checked by [`Claim::check`] or by whoever is faster. Nothing counts as proved before its claim does.

use alloc::{boxed::Box, collections::BTreeSet, vec::Vec};
use core::convert::Infallible;

use curve25519_dalek::constants::EIGHT_TORSION;
use thiserror::Error;

use crate::{
    block::{Block, BlockError, SIGNED_BYTES, VerifiedBlock, signed_message},
    evidence::Evidence,
    id::{BlockHash, EntryId, LedgerId, NodeId},
    key::{self, KeyError},
    ledger::{Ledger, RuleError, stored},
    limits::CLOCK_WINDOW,
    members::Control,
    proofs::{Proof, Proofs},
    replica::{ReplicaError, Totals},
    seal::Keyring,
    store::{MemoryStore, Page, ReadStore, Summary},
    time::Timestamp,
    view::{self, EntryView, ViewError},
};

/// What is wrong with a block.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Its bytes are no block, or no block of this ledger.
    #[error("its bytes are wrong: {0}")]
    Block(#[from] BlockError),
    /// It rests on a block that did not come before it.
    #[error("it rests on block {0}, which was not given before it")]
    Missing(BlockHash),
    /// It breaks a rule.
    #[error("it breaks a rule: {0}")]
    Rule(Box<str>),
    /// Its time has not come.
    #[error("its time is {0}, which is still to come")]
    Early(Timestamp),
    /// The signature is not its author's, or its author's key is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// It was given before.
    #[error("it was given before")]
    Twice,
}

impl From<RuleError> for AuditError {
    fn from(error: RuleError) -> Self {
        Self::Rule(alloc::format!("{error}").into())
    }
}

impl From<ReplicaError<Infallible>> for AuditError {
    fn from(error: ReplicaError<Infallible>) -> Self {
        match error {
            ReplicaError::Store(never) => match never {},
            // It was read when it was taken in.
            ReplicaError::Damaged(hash) => Self::Missing(hash),
        }
    }
}

/// That an author has signed a block, still to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who is said to have signed.
    pub author: NodeId,
    /// What was signed.
    pub message: [u8; SIGNED_BYTES],
    /// The signature (Ed25519).
    pub signature: [u8; 64],
}

impl Claim {
    fn of(block: &Block) -> Self {
        Self { author: block.header().author, message: signed_message(&block.hash()), signature: *block.signature() }
    }

    /// Checks it, see [`key::verify`].
    ///
    /// # Errors
    /// When the key is weak or the signature is not the author's.
    pub fn check(&self) -> Result<(), KeyError> {
        key::verify(&self.author, &self.message, &self.signature)
    }
}

/// Which of the two orders of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// That of the ledger, equal for everybody.
    Ledger,
    /// That in which the blocks were given.
    Given,
}

/// A history as far as it was looked at.
pub struct Audit {
    ledger: Ledger,
    id: LedgerId,
    store: MemoryStore,
    proofs: Proofs,
    /// Lanes whose key was looked at.
    strong: BTreeSet<NodeId>,
    /// The points of small order: a signature that begins with one is somebody's who let it fit many messages.
    small: [[u8; 32]; 8],
    /// Lanes of which a fork is proved.
    forked: BTreeSet<NodeId>,
}

impl Audit {
    /// Nothing was looked at yet.
    pub fn new(ledger: LedgerId) -> Self {
        Self {
            ledger: Ledger::new(ledger),
            id: ledger,
            store: MemoryStore::default(),
            proofs: Proofs::new(ledger),
            strong: BTreeSet::new(),
            small: EIGHT_TORSION.map(|point| point.compress().to_bytes()),
            forked: BTreeSet::new(),
        }
    }

    /// Takes in the next block. All of it is checked but the signature, which is what is returned.
    ///
    /// # Errors
    /// What is wrong with the block. Nothing of it was taken in.
    pub fn add(&mut self, bytes: &[u8], now: Timestamp) -> Result<Claim, AuditError> {
        let block = Block::decode(bytes)?;
        let (came, here) = (block.header().ledger, self.id);
        if came != here {
            return Err(BlockError::WrongLedger { came, here }.into());
        }
        block.check_payloads()?;
        let Ok(known) = self.ledger.contains(&self.store, &block);
        if known {
            return Err(AuditError::Twice);
        }
        let claim = self.claim(&block)?;
        let parents = self.parents(&block)?;
        self.ledger.check_rules(&block, &parents)?;
        let newcomer = self
            .ledger
            .check_member(self.ledger.members(), &block, |hash| stored(&self.store, hash))?
            .map_err(|error| AuditError::from(RuleError::from(error)))?;
        if block.header().timestamp > now.plus(CLOCK_WINDOW) {
            return Err(AuditError::Early(block.header().timestamp));
        }
        self.note_freezes(&block)?;
        // Its claim goes with it, and until that is checked nobody calls it verified.
        let block = VerifiedBlock::claimed(block);
        let Ok(_) = self.ledger.put(&mut self.store, &block, newcomer);
        Ok(claim)
    }

    /// What a weak key or a signature of small order would prove is nothing, whoever checks the rest.
    fn claim(&mut self, block: &Block) -> Result<Claim, AuditError> {
        let claim = Claim::of(block);
        if !self.strong.contains(&claim.author) {
            key::check(&claim.author)?;
            self.strong.insert(claim.author);
        }
        if self.small.iter().any(|point| claim.signature.starts_with(point)) {
            return Err(KeyError::Signature.into());
        }
        Ok(claim)
    }

    fn parents(&self, block: &Block) -> Result<Vec<Summary>, AuditError> {
        let known = |hash: &BlockHash| {
            let Ok(known) = self.ledger.summary(&self.store, hash);
            known.ok_or(AuditError::Missing(*hash))
        };
        for hash in Control::named(block) {
            known(&hash)?;
        }
        block.header().parents.iter().map(known).collect()
    }

    /// A fork and a removal freeze a lane, here as everywhere.
    fn note_freezes(&mut self, block: &Block) -> Result<(), AuditError> {
        let mut proofs = self.proofs.carried(block);
        if let Some(other) = self.ledger.sibling(&self.store, block)?
            && let Ok(evidence) = Evidence::new(&other, block)
        {
            proofs.push(Proof::Fork(evidence.into()));
        }
        if let Some(removal) = self.ledger.removal(&self.store, block)? {
            proofs.push(Proof::Removal(removal.into()));
        }
        for proof in proofs.iter().filter(|proof| self.ledger.is_news(proof)).collect::<Vec<_>>() {
            if let Proof::Fork(_) = proof {
                self.forked.insert(proof.lane().0);
            }
            let Ok(()) = self.ledger.freeze(&mut self.store, proof);
        }
        Ok(())
    }

    /// How much was taken in.
    pub fn totals(&self) -> Totals {
        self.ledger.totals()
    }

    /// How many lanes there are.
    pub fn authors(&self) -> usize {
        self.ledger.lanes().len()
    }

    /// How many lanes are proved to be forked.
    pub fn forks(&self) -> usize {
        self.forked.len()
    }

    /// Equal to that of a node's status where the node has just what was given.
    pub fn digest(&self) -> [u8; 32] {
        self.ledger.digest()
    }

    /// One entry, as it was signed.
    ///
    /// # Errors
    /// When it was not given.
    pub fn entry(&self, id: &EntryId, keys: &Keyring) -> Result<EntryView, ViewError<Infallible>> {
        view::signed_entry(&self.store, id, keys)
    }

    /// The id of the entry that follows one (`None`: that comes first); `None`: there is none.
    ///
    /// # Errors
    /// When the entry before it was not given.
    pub fn next(&self, order: Order, id: Option<&EntryId>) -> Result<Option<EntryId>, ViewError<Infallible>> {
        let before = id.map(|id| view::find(&self.store, id)).transpose()?.map(|record| record.summary);
        if let (Some(id), Some(block)) = (id, before)
            && id.index + 1 < block.entries
        {
            return Ok(Some(EntryId { index: id.index + 1, ..*id }));
        }
        let Ok(next) = match order {
            Order::Ledger => self.store.after(before.map(|block| block.key()).as_ref(), Page::ONE),
            Order::Given => self.store.arrived(before.map_or(0, |block| block.seq), Page::ONE),
        };
        let first = |summary: &Summary| EntryId { author: summary.author, height: summary.height, index: 0 };
        Ok(next.first().map(|record| first(&record.summary)))
    }
}
