//! Where blocks are kept: the traits that a driver implements, and [`MemoryStore`].

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::{String, ToString},
    vec::Vec,
};
use core::{convert::Infallible, error::Error};

use sha2::{Digest, Sha256};

use crate::{
    id::{BlockHash, NodeId},
    order::OrderKey,
    time::Timestamp,
};

/// What a store knows of a block without reading its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Arrival number: grows by one with each block that this replica adds, from 1; never used twice.
    pub seq: u64,
    /// The block's hash.
    pub hash: BlockHash,
    /// Its author.
    pub author: NodeId,
    /// Its height in the author's lane, from 1.
    pub height: u64,
    /// Time of its first entry.
    pub timestamp: Timestamp,
    /// Number of its entries, from 1.
    pub entries: u32,
}

impl Summary {
    /// Its place in ledger order.
    pub fn key(&self) -> OrderKey {
        OrderKey { timestamp: self.timestamp, hash: self.hash }
    }

    /// The time after its last entry.
    pub fn end(&self) -> Timestamp {
        self.timestamp.plus(u64::from(self.entries))
    }
}

/// A block as a store keeps it. Its bytes were verified before they were stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it is.
    pub summary: Summary,
    /// Its canonical encoding.
    pub bytes: Vec<u8>,
}

/// What a store may keep beside a row to see whether the row is as it was written: eight bytes of a SHA-256 over its
/// columns and whatever else is given, the block's signature for example.
pub fn checksum(summary: &Summary, more: &[u8]) -> u64 {
    let mut digest = Sha256::new().chain_update(b"cairn/row/1");
    for number in [summary.seq, summary.height, summary.timestamp.micros(), summary.entries.into()] {
        digest.update(number.to_be_bytes());
    }
    digest.update(summary.hash.as_bytes());
    digest.update(summary.author.as_bytes());
    digest.update(more);
    let digest: [u8; 32] = digest.finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// How much one read may return: it stops before exceeding either, but returns at least one block if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// At most so many blocks.
    pub blocks: usize,
    /// At most so many bytes of blocks.
    pub bytes: usize,
}

impl Page {
    /// One block.
    pub const ONE: Page = Page { blocks: 1, bytes: usize::MAX };
}

/// The reading half of a store. Reads see what was written before, committed or not.
///
/// A replica checks the hash of every block that it reads for somebody else. The hash does not cover the signature, and
/// checking that with every read would cost more than all the rest: a store on a medium that may lose bits notices a
/// changed signature by [`checksum`].
pub trait ReadStore {
    /// Why reading or writing failed.
    type Error: Error;

    /// What is known of the block with this hash.
    fn summary(&self, hash: &BlockHash) -> Result<Option<Summary>, Self::Error>;
    /// The block with this hash.
    fn block(&self, hash: &BlockHash) -> Result<Option<Record>, Self::Error>;
    /// Blocks of one author from a place in its lane on, that place included, by (height, hash).
    fn lane_from(&self, author: &NodeId, height: u64, hash: &BlockHash, page: Page)
    -> Result<Vec<Record>, Self::Error>;
    /// Blocks of one author from a height upwards, by (height, hash).
    fn lane(&self, author: &NodeId, height: u64, page: Page) -> Result<Vec<Record>, Self::Error> {
        self.lane_from(author, height, &BlockHash::from_bytes([0; 32]), page)
    }
    /// Blocks that follow a place in ledger order (`None`: from the beginning), ascending.
    fn after(&self, key: Option<&OrderKey>, page: Page) -> Result<Vec<Record>, Self::Error>;
    /// Blocks that precede a place in ledger order (`None`: from the end), descending.
    fn before(&self, key: Option<&OrderKey>, page: Page) -> Result<Vec<Record>, Self::Error>;
    /// Blocks with an arrival number above `seq`, ascending.
    fn arrived(&self, seq: u64, page: Page) -> Result<Vec<Record>, Self::Error>;
    /// Rows with an arrival number above `seq`, ascending, just as they are stored: for `repair::scan` alone. Where a store
    /// checks what it reads, this does not, and what of a row cannot be read at all is zero or empty in the answer.
    ///
    /// # Errors
    /// When the rows cannot even be gone through.
    fn rows(&self, seq: u64, page: Page) -> Result<Vec<Record>, Self::Error> {
        self.arrived(seq, page)
    }
    /// A small value.
    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// A store that one replica owns and writes.
pub trait Store: ReadStore {
    /// Adds a block whose hash is not there yet.
    fn append(&mut self, summary: &Summary, bytes: &[u8]) -> Result<(), Self::Error>;
    /// Removes a void block.
    fn remove(&mut self, hash: &BlockHash) -> Result<(), Self::Error>;
    /// Puts a block, or nothing, in the place of the row with this arrival number, whatever that row holds.
    fn replace(&mut self, seq: u64, block: Option<(&Summary, &[u8])>) -> Result<(), Self::Error>;
    /// Sets a small value (under 2 MB).
    fn set_meta(&mut self, key: &str, value: &[u8]) -> Result<(), Self::Error>;
    /// Makes everything written so far durable, all of it or nothing.
    fn commit(&mut self) -> Result<(), Self::Error>;
}

/// A store in memory, for tests and for the browser.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    blocks: BTreeMap<BlockHash, Record>,
    lanes: BTreeSet<(NodeId, u64, BlockHash)>,
    order: BTreeSet<OrderKey>,
    arrival: BTreeMap<u64, BlockHash>,
    meta: BTreeMap<String, Vec<u8>>,
}

impl MemoryStore {
    fn page<'a>(&self, hashes: impl Iterator<Item = &'a BlockHash>, page: Page) -> Vec<Record> {
        let mut bytes = 0;
        let mut records: Vec<Record> = Vec::new();
        for record in hashes.filter_map(|hash| self.blocks.get(hash)).take(page.blocks) {
            bytes += record.bytes.len();
            if bytes > page.bytes && !records.is_empty() {
                break;
            }
            records.push(record.clone());
        }
        records
    }
}

impl ReadStore for MemoryStore {
    type Error = Infallible;

    fn summary(&self, hash: &BlockHash) -> Result<Option<Summary>, Infallible> {
        Ok(self.blocks.get(hash).map(|record| record.summary))
    }

    fn block(&self, hash: &BlockHash) -> Result<Option<Record>, Infallible> {
        Ok(self.blocks.get(hash).cloned())
    }

    fn lane_from(&self, author: &NodeId, height: u64, hash: &BlockHash, page: Page) -> Result<Vec<Record>, Infallible> {
        let from = (*author, height, *hash);
        let to = (*author, u64::MAX, BlockHash::from_bytes([255; 32]));
        Ok(self.page(self.lanes.range(from..=to).map(|(_, _, hash)| hash), page))
    }

    fn after(&self, key: Option<&OrderKey>, page: Page) -> Result<Vec<Record>, Infallible> {
        use core::ops::Bound::{Excluded, Unbounded};
        let from = key.map_or(Unbounded, |key| Excluded(*key));
        Ok(self.page(self.order.range((from, Unbounded)).map(|key| &key.hash), page))
    }

    fn before(&self, key: Option<&OrderKey>, page: Page) -> Result<Vec<Record>, Infallible> {
        use core::ops::Bound::{Excluded, Unbounded};
        let to = key.map_or(Unbounded, |key| Excluded(*key));
        Ok(self.page(self.order.range((Unbounded, to)).rev().map(|key| &key.hash), page))
    }

    fn arrived(&self, seq: u64, page: Page) -> Result<Vec<Record>, Infallible> {
        use core::ops::Bound::{Excluded, Unbounded};
        Ok(self.page(self.arrival.range((Excluded(seq), Unbounded)).map(|(_, hash)| hash), page))
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.meta.get(key).cloned())
    }
}

impl Store for MemoryStore {
    fn append(&mut self, summary: &Summary, bytes: &[u8]) -> Result<(), Infallible> {
        self.lanes.insert((summary.author, summary.height, summary.hash));
        self.order.insert(summary.key());
        self.arrival.insert(summary.seq, summary.hash);
        self.blocks.insert(summary.hash, Record { summary: *summary, bytes: bytes.to_vec() });
        Ok(())
    }

    fn remove(&mut self, hash: &BlockHash) -> Result<(), Infallible> {
        if let Some(Record { summary, .. }) = self.blocks.remove(hash) {
            self.lanes.remove(&(summary.author, summary.height, summary.hash));
            self.order.remove(&summary.key());
            self.arrival.remove(&summary.seq);
        }
        Ok(())
    }

    fn replace(&mut self, seq: u64, block: Option<(&Summary, &[u8])>) -> Result<(), Infallible> {
        if let Some(hash) = self.arrival.get(&seq).copied() {
            self.remove(&hash)?;
        }
        match block {
            Some((summary, bytes)) => self.append(summary, bytes),
            None => Ok(()),
        }
    }

    fn set_meta(&mut self, key: &str, value: &[u8]) -> Result<(), Infallible> {
        self.meta.insert(key.to_string(), value.to_vec());
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
