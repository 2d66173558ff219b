//! What comes in, read as far as that needs nothing of the ledger. Most of what a block costs is its hashes and its signature, and these
//! depend on its bytes alone: a driver with more than one core has them checked there, before the turn.

use alloc::{sync::Arc, vec::Vec};
use core::ops::Deref;

use crate::{
    block::{Block, BlockError, VerifiedBlock},
    key::Signers,
    wire::{Envelope, Message, decode_frame},
};

/// A block as it comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// Its bytes, whatever they are.
    Bytes(Vec<u8>),
    /// Well formed, and its signature is right.
    Verified(Arc<VerifiedBlock>),
}

impl Incoming {
    /// Reads the block and checks its signature, unless that was done. What is wrong stays as it is: what follows from that is decided where
    /// the ledger is known.
    pub fn check(&mut self, signers: &mut Signers) {
        if let Self::Bytes(bytes) = self
            && let Ok(block) = Block::decode(bytes).and_then(|block| block.verify_with(signers))
        {
            *self = Self::Verified(Arc::new(block));
        }
    }

    /// The encoding.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Verified(block) => block.bytes(),
        }
    }

    /// The block that it is.
    pub(crate) fn read(self) -> Result<Read, BlockError> {
        match self {
            Self::Bytes(bytes) => Ok(Read::Block(Block::decode_owned(bytes)?)),
            Self::Verified(block) => Ok(Read::Verified(block)),
        }
    }
}

impl From<Vec<u8>> for Incoming {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

/// A well formed block, whose signature may be checked already.
#[allow(clippy::large_enum_variant, reason = "it lives on the stack until its block is known or verified")]
pub(crate) enum Read {
    Block(Block),
    Verified(Arc<VerifiedBlock>),
}

impl Deref for Read {
    type Target = Block;

    fn deref(&self) -> &Block {
        match self {
            Self::Block(block) => block,
            Self::Verified(block) => block,
        }
    }
}

impl Read {
    pub(crate) fn verify(self, signers: &mut Signers) -> Result<Arc<VerifiedBlock>, BlockError> {
        match self {
            Self::Block(block) => Ok(Arc::new(block.verify_with(signers)?)),
            Self::Verified(block) => Ok(block),
        }
    }
}

/// A frame that is read, and whose blocks may be checked already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub(crate) len: usize,
    pub(crate) envelopes: Vec<Envelope>,
}

impl Frame {
    /// Reads a frame.
    ///
    /// # Errors
    /// When it is malformed: the bytes. What follows from that is decided where the link is known.
    pub fn read(bytes: Vec<u8>) -> Result<Self, Vec<u8>> {
        match decode_frame(&bytes) {
            Ok(envelopes) => Ok(Self { len: bytes.len(), envelopes }),
            Err(_) => Err(bytes),
        }
    }

    /// Its bytes, in number.
    pub fn size(&self) -> usize {
        self.len
    }

    /// Its blocks, to be checked.
    pub fn blocks_mut(&mut self) -> impl Iterator<Item = &mut Incoming> {
        self.envelopes.iter_mut().flat_map(|envelope| match &mut envelope.message {
            Message::EntryAnnounce { blocks, .. } | Message::EntryResponse { blocks } => &mut blocks[..],
            _ => &mut [],
        })
    }
}
