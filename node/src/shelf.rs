//! For tests: blocks as other nodes would sign them, and a store of some without a node.

use shared::{
    BlockHash, Entry, Header, Key, Kind, LedgerId, NodeId, Store, Summary, Timestamp, VerifiedBlock, block::open_ledger,
};
use tempfile::TempDir;

use crate::store::{Beginning, SqliteReader, SqliteStore};

/// Blocks of one lane of the open ledger, signed as another node would.
pub(crate) struct Author {
    key: Key,
    ledger: LedgerId,
    height: u64,
    last: Option<BlockHash>,
    before: Option<BlockHash>,
}

impl Author {
    pub(crate) fn new(n: u8) -> Self {
        Self { key: Key::from_secret(&[n; 32]), ledger: open_ledger("commons"), height: 0, last: None, before: None }
    }

    pub(crate) fn node(&self) -> NodeId {
        self.key.node()
    }

    /// Its next block, at this time.
    pub(crate) fn block(&mut self, micros: u64, entries: Vec<Entry>) -> VerifiedBlock {
        self.height += 1;
        let header = Header {
            ledger: self.ledger,
            author: self.key.node(),
            height: self.height,
            timestamp: Timestamp::from_micros(micros).unwrap(),
            parents: self.last.into_iter().collect(),
        };
        let block = VerifiedBlock::sign(header, entries, &self.key);
        (self.before, self.last) = (self.last, Some(block.hash()));
        block
    }

    /// A block that stands beside the last one.
    pub(crate) fn fork(&mut self, micros: u64, entries: Vec<Entry>) -> VerifiedBlock {
        (self.height, self.last) = (self.height - 1, self.before);
        self.block(micros, entries)
    }

    /// A block with these texts.
    pub(crate) fn says(&mut self, micros: u64, texts: &[&str]) -> VerifiedBlock {
        let entry = |text: &&str| Entry::new(Kind::DATA, [1; 16], serde_json::to_vec(text).unwrap());
        self.block(micros, texts.iter().map(entry).collect())
    }
}

/// A store, and a connection that reads it.
pub(crate) struct Shelf {
    _directory: TempDir,
    pub(crate) store: SqliteStore,
    pub(crate) reader: SqliteReader,
    seq: u64,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        let store = SqliteStore::open(&path, Beginning::Open("commons".to_owned())).unwrap();
        let reader = SqliteReader::open(&path).unwrap();
        Self { _directory: directory, store, reader, seq: 0 }
    }

    /// Adds a block, which is to be seen at once.
    pub(crate) fn add(&mut self, block: &VerifiedBlock) {
        self.put(block);
        self.store.commit().unwrap();
    }

    /// Adds a block to what is not committed yet.
    pub(crate) fn put(&mut self, block: &VerifiedBlock) {
        self.seq += 1;
        let header = block.header();
        let summary = Summary {
            seq: self.seq,
            hash: block.hash(),
            author: header.author,
            height: header.height,
            timestamp: header.timestamp,
            entries: block.entries().len() as u32,
        };
        self.store.append(&summary, block.bytes()).unwrap();
    }
}
