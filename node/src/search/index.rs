//! The words of a ledger in memory: a full-text index that keeps no text, only which words stand where.
//!
//! It is never written to a disk, because in a members' ledger the disk has what is sealed and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, params};
use shared::{
    Block, EntryId, Keyring, Kind, OrderKey, Page, ReadStore, Record,
    erase::{self, Erase},
    limits::{BLOCK_ENTRIES, PAGE_BYTES, SEARCHED_BYTES, SEARCHED_ENTRIES},
    view::{self, EntryView, ViewError, decode_record},
};

use super::{Lookup, text::strings};
use crate::store::{SqliteReader, StoreError};

/// Without content nothing of the text stays but its words; with `contentless_delete` they can be taken out all the same.
const SCHEMA: &str = "
    PRAGMA journal_mode = OFF; PRAGMA temp_store = MEMORY;
    CREATE VIRTUAL TABLE words USING fts5(
        text, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
    );
";
/// Blocks read at once.
const READ: Page = Page { blocks: 4096, bytes: PAGE_BYTES };
/// Blocks of one lane and height that are looked at.
const SIBLINGS: Page = Page { blocks: 16, bytes: PAGE_BYTES };
/// A row's number is its block's arrival number, and behind it so many bits for its place in there.
const INDEX_BITS: u32 = 8;
const _: () = assert!(1 << INDEX_BITS >= BLOCK_ENTRIES);
/// About what an entry takes in an answer beside its data.
const ENTRY_TEXT: usize = 640;

/// Why the index is of no use any more.
#[derive(Debug)]
pub(super) enum Failure {
    /// The store cannot be read.
    View(ViewError<StoreError>),
    /// The index cannot be read or written.
    Index(rusqlite::Error),
}

impl From<ViewError<StoreError>> for Failure {
    fn from(error: ViewError<StoreError>) -> Self {
        Self::View(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::View(ViewError::Store(error))
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Index(error)
    }
}

/// What happened in the ledger beside new blocks.
#[derive(Debug, Default)]
pub(super) struct News {
    /// These were erased.
    pub(super) erased: Vec<EntryId>,
    /// Blocks may be void now, and payloads may have come that were withheld.
    pub(super) changed: bool,
}

impl News {
    pub(super) fn is_empty(&self) -> bool {
        self.erased.is_empty() && !self.changed
    }
}

/// A block that has words in the index.
#[derive(Debug, Clone, Copy)]
struct Indexed {
    key: OrderKey,
    entries: u32,
    bytes: u32,
}

/// The words of one ledger.
#[derive(Debug)]
pub(super) struct Index {
    memory: Connection,
    blocks: BTreeMap<u64, Indexed>,
    /// Blocks with payloads that may still come.
    withheld: BTreeSet<u64>,
    entries: usize,
    bytes: usize,
    most: (usize, usize),
    /// The arrival number up to which blocks are in here.
    reached: u64,
    /// What is before it in ledger order was left out.
    floor: Option<OrderKey>,
    /// Some payloads stay closed, and with so many keys that was so.
    closed: Option<usize>,
}

impl Index {
    /// An index of nothing, that takes the newest entries of a ledger and their text up to the bounds.
    pub(super) fn new() -> Result<Self, rusqlite::Error> {
        Self::with_most(SEARCHED_ENTRIES, SEARCHED_BYTES)
    }

    /// The same with other bounds.
    pub(super) fn with_most(entries: usize, bytes: usize) -> Result<Self, rusqlite::Error> {
        let memory = Connection::open_in_memory()?;
        memory.execute_batch(SCHEMA)?;
        let (blocks, withheld) = (BTreeMap::new(), BTreeSet::new());
        let most = (entries, bytes);
        Ok(Self { memory, blocks, withheld, entries: 0, bytes: 0, most, reached: 0, floor: None, closed: None })
    }

    /// The arrival number up to which it has the ledger.
    pub(super) fn reached(&self) -> u64 {
        self.reached
    }

    /// Takes in what happened and a page of what arrived. Tells whether there may be more.
    pub(super) fn step(&mut self, store: &SqliteReader, keys: &Keyring, news: News) -> Result<bool, Failure> {
        if self.closed.is_some_and(|had| had != keys.len()) {
            *self = Self::with_most(self.most.0, self.most.1)?;
        }
        if self.reached == 0 {
            self.floor = store.newest_from(self.most.0)?;
        }
        self.memory.execute_batch("BEGIN")?;
        if news.changed {
            for seq in store.gone(self.reached)? {
                self.remove(seq)?;
            }
            for seq in self.withheld.clone() {
                self.refresh(store, keys, seq)?;
            }
        }
        for id in news.erased {
            self.refresh_entry(store, keys, &id)?;
        }
        let page = store.arrived(self.reached, READ)?;
        let mut erased = Vec::new();
        for record in &page {
            self.add(store, keys, record, &mut erased)?;
            self.reached = record.summary.seq;
        }
        // Who missed the event of an erase meets its block here. What stands in the store says whether it is in force.
        for id in erased {
            self.refresh_entry(store, keys, &id)?;
        }
        self.shorten()?;
        self.memory.execute_batch("COMMIT")?;
        Ok(!page.is_empty())
    }

    fn add(
        &mut self,
        store: &SqliteReader,
        keys: &Keyring,
        record: &Record,
        erased: &mut Vec<EntryId>,
    ) -> Result<(), Failure> {
        let (seq, key) = (record.summary.seq, record.summary.key());
        if self.floor.is_some_and(|floor| key < floor) {
            return Ok(());
        }
        let block = decode_record(record)?;
        if block.lacking().next().is_some() && erase::missing(store, &block)?.1 > 0 {
            self.withheld.insert(seq);
        }
        let (mut entries, mut bytes) = (0, 0);
        for (index, entry) in block.entries().iter().enumerate() {
            if entry.kind == Kind::ERASE {
                erased.extend(entry.payload().and_then(Erase::decode).map(|erase| erase.entry));
            }
            let text = self.text(&block, index, keys);
            if !text.is_empty() {
                let mut insert = self.memory.prepare_cached("INSERT INTO words (rowid, text) VALUES (?1, ?2)")?;
                insert.execute(params![row(seq) + index as i64, text])?;
                (entries, bytes) = (entries + 1, bytes + text.len() as u32);
            }
        }
        if entries > 0 {
            self.blocks.insert(seq, Indexed { key, entries, bytes });
            (self.entries, self.bytes) = (self.entries + entries as usize, self.bytes + bytes as usize);
        }
        Ok(())
    }

    fn text(&mut self, block: &Block, index: usize, keys: &Keyring) -> String {
        match view::words(block, index, keys) {
            None => String::new(),
            Some(Ok(words)) => strings(&words),
            Some(Err(_)) => {
                self.closed = Some(keys.len());
                String::new()
            }
        }
    }

    fn remove(&mut self, seq: u64) -> Result<(), rusqlite::Error> {
        self.withheld.remove(&seq);
        let Some(block) = self.blocks.remove(&seq) else { return Ok(()) };
        let mut delete = self.memory.prepare_cached("DELETE FROM words WHERE rowid BETWEEN ?1 AND ?2")?;
        delete.execute([row(seq), row(seq + 1) - 1])?;
        self.entries -= block.entries as usize;
        self.bytes -= block.bytes as usize;
        Ok(())
    }

    /// Reads a block again.
    fn refresh(&mut self, store: &SqliteReader, keys: &Keyring, seq: u64) -> Result<(), Failure> {
        self.remove(seq)?;
        match record_of(store, seq)? {
            Some(record) => self.add(store, keys, &record, &mut Vec::new()),
            None => Ok(()),
        }
    }

    fn refresh_entry(&mut self, store: &SqliteReader, keys: &Keyring, id: &EntryId) -> Result<(), Failure> {
        for record in store.lane(&id.author, id.height, SIBLINGS)? {
            let here = record.summary.height == id.height && record.summary.seq <= self.reached;
            if here {
                self.refresh(store, keys, record.summary.seq)?;
            }
        }
        Ok(())
    }

    /// Leaves the oldest blocks out where there is too much. Some more than needed, so that it is seldom done.
    fn shorten(&mut self) -> Result<(), rusqlite::Error> {
        let (entries, bytes) = self.most;
        if self.entries <= entries && self.bytes <= bytes {
            return Ok(());
        }
        let mut oldest: Vec<(OrderKey, u64)> = self.blocks.iter().map(|(seq, block)| (block.key, *seq)).collect();
        oldest.sort_unstable();
        for (key, seq) in oldest {
            self.floor = Some(key);
            if self.entries <= entries - entries / 16 && self.bytes <= bytes - bytes / 16 {
                break;
            }
            self.remove(seq)?;
        }
        Ok(())
    }

    /// The newest entries with the words, as they are in the store now.
    pub(super) fn find(
        &self,
        store: &SqliteReader,
        keys: &Keyring,
        lookup: &Lookup,
    ) -> Result<Vec<EntryView>, Failure> {
        let before = match &lookup.before {
            Some(id) => Some((view::find(store, id)?.summary.key(), id.index)),
            None => None,
        };
        let mut hits: Vec<(OrderKey, u32, u64)> = Vec::new();
        let mut statement = self.memory.prepare_cached("SELECT rowid FROM words WHERE words MATCH ?1")?;
        let mut found = statement.query([lookup.words.as_query()])?;
        while let Some(hit) = found.next()? {
            let rowid = hit.get::<_, i64>(0)?.unsigned_abs();
            let (seq, index) = (rowid >> INDEX_BITS, (rowid & ((1 << INDEX_BITS) - 1)) as u32);
            let Some(block) = self.blocks.get(&seq) else { continue };
            if before.is_none_or(|before| (block.key, index) < before) {
                hits.push((block.key, index, seq));
            }
        }
        hits.sort_unstable_by(|a, b| b.cmp(a));
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for hits in hits.chunk_by(|a, b| a.2 == b.2) {
            let Some(record) = record_of(store, hits[0].2)? else { continue };
            let mut views: Vec<_> = view::record_views(store, &record, keys)?.into_iter().map(Some).collect();
            let of_hit = |(_, index, _): &(OrderKey, u32, u64)| views.get_mut(*index as usize)?.take();
            for view in hits.iter().filter_map(of_hit).filter(is_there) {
                bytes += view.data.get().len() + ENTRY_TEXT;
                entries.push(view);
                if entries.len() == lookup.limit || bytes > PAGE_BYTES {
                    return Ok(entries);
                }
            }
        }
        Ok(entries)
    }
}

/// What was erased a moment ago may still be in the index, and is found no more.
fn is_there(view: &EntryView) -> bool {
    view.erased.is_none() && !view.withheld && !view.sealed
}

fn record_of(store: &SqliteReader, seq: u64) -> Result<Option<Record>, StoreError> {
    let page = store.arrived(seq.saturating_sub(1), Page::ONE)?;
    Ok(page.into_iter().next().filter(|record| record.summary.seq == seq))
}

/// The row of a block's first entry. SQLite's integers have room for more blocks than anybody writes.
fn row(seq: u64) -> i64 {
    (seq << INDEX_BITS) as i64
}

#[cfg(test)]
impl Index {
    /// Rows that the index itself finds.
    pub(super) fn hits(&self, query: &str) -> usize {
        let sql = "SELECT count(*) FROM words WHERE words MATCH ?1";
        self.memory.query_row(sql, [query], |row| row.get::<_, i64>(0)).unwrap() as usize
    }
}
