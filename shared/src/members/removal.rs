//! The proof of a removal.

use alloc::vec::Vec;

use minicbor::{Decoder, Encoder};
use thiserror::Error;

use super::{Control, MemberError, Members, Remove};
use crate::{
    block::{Block, BlockError, infallible},
    id::{BlockHash, LedgerId, NodeId},
    limits::REMOVAL_BLOCKS,
    time::Timestamp,
};

/// Why bytes are no proof of a removal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RemovalError {
    /// Not a list of blocks.
    #[error("not a removal: {0}")]
    Malformed(&'static str),
    /// One of the blocks is wrong.
    #[error("a block of the removal is wrong: {0}")]
    Block(#[from] BlockError),
    /// One of the blocks breaks a rule.
    #[error("a block of the removal breaks a rule: {0}")]
    Rule(#[from] MemberError),
}

/// Proof that a member was removed, or an invite closed, by one who may: the blocks on which that rests, from the genesis on,
/// and the block of the removal last. It can be checked by anybody, with nothing else at hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    ledger: LedgerId,
    blocks: Vec<Block>,
    remove: Remove,
}

impl Removal {
    /// The proof that these blocks make. Their signatures are the caller's duty.
    ///
    /// # Errors
    /// When a block breaks a rule, or the last one is no removal.
    pub(crate) fn new(blocks: Vec<Block>) -> Result<Self, RemovalError> {
        let Some(last) = blocks.last() else { return Err(RemovalError::Malformed("it has no blocks")) };
        let ledger = last.header().ledger;
        let Ok(Some(Control::Remove(remove))) = Control::of(last) else {
            return Err(RemovalError::Malformed("its last block is no removal"));
        };
        let mut members = Members::default();
        for (i, block) in blocks.iter().enumerate() {
            if block.header().ledger != ledger {
                return Err(RemovalError::Malformed("its blocks are of several ledgers"));
            }
            let named = |hash: &BlockHash| {
                Ok::<_, core::convert::Infallible>(blocks[..i].iter().find(|block| block.hash() == *hash).cloned())
            };
            let Ok(checked) = members.check(&ledger, block, named);
            checked?.into_iter().for_each(|member| members.insert(*member));
        }
        Ok(Self { ledger, blocks, remove })
    }

    /// The ledger of the removal.
    pub fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// The invite that it closes; `None` where it removes a member.
    pub fn closes(&self) -> Option<BlockHash> {
        (self.remove.height == 0).then_some(self.remove.rests)
    }

    /// The lane that it freezes, or what stands for the invite, and from which height on.
    pub fn lane(&self) -> (NodeId, u64) {
        self.remove.freeze()
    }

    /// The block of the removal.
    pub fn hash(&self) -> BlockHash {
        self.blocks[self.blocks.len() - 1].hash()
    }

    /// When.
    pub fn time(&self) -> Timestamp {
        self.blocks[self.blocks.len() - 1].header().timestamp
    }

    /// Who removes.
    pub fn author(&self) -> NodeId {
        self.blocks[self.blocks.len() - 1].header().author
    }

    /// `[block …]` in canonical CBOR.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        infallible(Encoder::new(&mut bytes).array(self.blocks.len() as u64).map(|_| ()));
        self.blocks.iter().for_each(|block| bytes.extend_from_slice(block.bytes()));
        bytes
    }

    /// Reads a proof and checks all of it, the signatures included.
    ///
    /// # Errors
    /// When the bytes are not canonical, a signature is wrong, or a block breaks a rule.
    pub fn decode(bytes: &[u8]) -> Result<Self, RemovalError> {
        let removal = Self::parse(bytes)?;
        for block in &removal.blocks {
            block.clone().verify()?;
        }
        Ok(removal)
    }

    /// Reads a proof whose signatures were checked before.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, RemovalError> {
        let malformed = |_| RemovalError::Malformed("wrong or truncated CBOR");
        let mut decoder = Decoder::new(bytes);
        let count = decoder.array().map_err(malformed)?.filter(|count| *count <= REMOVAL_BLOCKS as u64);
        let count = count.ok_or(RemovalError::Malformed("too many blocks"))?;
        let mut blocks = Vec::new();
        for _ in 0..count {
            let start = decoder.position();
            decoder.skip().map_err(malformed)?;
            blocks.push(Block::decode(&bytes[start..decoder.position()])?);
        }
        let removal = Self::new(blocks)?;
        if removal.encode() != bytes {
            return Err(RemovalError::Malformed("not the canonical encoding of its blocks"));
        }
        Ok(removal)
    }
}
