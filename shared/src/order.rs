//! Ledger order: (block timestamp, block hash), then index.

use crate::{id::BlockHash, time::Timestamp};

/// A block's place in the ledger. Because time grows along every path, ascending keys are a topological order; because
/// a key follows from its block alone, equal sets of blocks have equal orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderKey {
    /// Time of the block's first entry.
    pub timestamp: Timestamp,
    /// The block's hash.
    pub hash: BlockHash,
}
