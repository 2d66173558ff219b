//! Evidence: the proof that an author signed two blocks of one height.

use alloc::vec::Vec;

use minicbor::{Decoder, Encoder};
use thiserror::Error;

use crate::{
    block::{Block, BlockError, infallible},
    id::{LedgerId, NodeId},
};

/// Why bytes are no proof of a fork.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// Not two blocks.
    #[error("not evidence: {0}")]
    Malformed(&'static str),
    /// One of the blocks is wrong.
    #[error("a block of the evidence is wrong: {0}")]
    Block(#[from] BlockError),
    /// The blocks prove nothing.
    #[error("the two blocks are no fork: one author, one height and two hashes are expected")]
    NoFork,
}

/// Proof that an author signed two blocks of one height: both blocks without their payloads, the lesser hash first. It
/// can be checked by anybody, with nothing else at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    blocks: [Block; 2],
}

impl Evidence {
    /// The proof that two blocks make together.
    ///
    /// # Errors
    /// When they have different ledgers, authors or heights, or are one block. Their signatures are the caller's duty.
    pub fn new(a: &Block, b: &Block) -> Result<Self, EvidenceError> {
        let (x, y) = (a.header(), b.header());
        if (x.ledger, x.author, x.height) != (y.ledger, y.author, y.height) || a.hash() == b.hash() {
            return Err(EvidenceError::NoFork);
        }
        let (first, second) = if a.hash() < b.hash() { (a, b) } else { (b, a) };
        Ok(Self { blocks: [first.strip(), second.strip()] })
    }

    /// The ledger of the forked lane.
    pub fn ledger(&self) -> LedgerId {
        self.blocks[0].header().ledger
    }

    /// The forked lane and height.
    pub fn lane(&self) -> (NodeId, u64) {
        let header = self.blocks[0].header();
        (header.author, header.height)
    }

    /// The two blocks, without payloads.
    pub fn blocks(&self) -> &[Block; 2] {
        &self.blocks
    }

    /// `[block, block]` in canonical CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        infallible(Encoder::new(&mut bytes).array(2).map(|_| ()));
        self.blocks.iter().for_each(|block| bytes.extend_from_slice(block.bytes()));
        bytes
    }

    /// Reads a proof and checks all of it, the signatures included.
    ///
    /// # Errors
    /// When the bytes are not canonical, a signature is wrong, or the blocks are no fork.
    pub fn decode(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let evidence = Self::parse(bytes)?;
        for block in evidence.blocks.iter().filter(|_| !mutant!(EvidenceUnchecked)) {
            block.clone().verify()?;
        }
        Ok(evidence)
    }

    /// Reads a proof whose signatures were checked before.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        let malformed = |_| EvidenceError::Malformed("wrong or truncated CBOR");
        let mut decoder = Decoder::new(bytes);
        if decoder.array().map_err(malformed)? != Some(2) {
            return Err(EvidenceError::Malformed("an array of two blocks is expected"));
        }
        let start = decoder.position();
        decoder.skip().map_err(malformed)?;
        let middle = decoder.position();
        let [a, b] = [&bytes[start..middle], &bytes[middle..]].map(Block::decode);
        let evidence = Self::new(&a?, &b?)?;
        if evidence.encode() != bytes {
            return Err(EvidenceError::Malformed("not the canonical encoding of its blocks"));
        }
        Ok(evidence)
    }
}
