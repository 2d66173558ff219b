//! The ledger in the object's SQLite: the same tables as in the node's file.

use std::rc::Rc;

use shared::{BlockHash, NodeId, OrderKey, Page, ReadStore, Record, Store, Summary, Timestamp};
use worker::{SqlCursor, SqlStorage, SqlStorageValue as Value};

/// The version of the tables that this code writes.
const SCHEMA: u8 = 1;
/// The row of `meta` that holds it.
const SCHEMA_KEY: &str = "schema";

/// Rows written are what a free account has least of, and each index counts as one: these three are what reading needs.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS authors (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE);
    CREATE TABLE IF NOT EXISTS blocks (
        seq INTEGER PRIMARY KEY,
        author INTEGER NOT NULL REFERENCES authors (id),
        height INTEGER NOT NULL,
        timestamp INTEGER NOT NULL,
        hash BLOB NOT NULL,
        entries INTEGER NOT NULL,
        bytes BLOB NOT NULL
    );
    CREATE UNIQUE INDEX IF NOT EXISTS blocks_hash ON blocks (hash);
    CREATE INDEX IF NOT EXISTS blocks_order ON blocks (timestamp);
    CREATE INDEX IF NOT EXISTS blocks_lane ON blocks (author, height);
";

/// A block without its bytes.
const SUMMARY: &str = "SELECT seq, hash, authors.key, height, timestamp, entries";
/// `CROSS` keeps SQLite from starting with the authors, which would sort the whole ledger for one page.
const FROM: &str = "FROM blocks CROSS JOIN authors ON authors.id = blocks.author";

/// Why the object's storage did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StoreError {
    /// The platform's own words.
    #[error("the object's SQLite failed: {0}")]
    Sql(Rc<str>),
    /// A row does not hold what this code writes.
    #[error("a row of {0} holds what this relay never wrote")]
    Damaged(&'static str),
    /// A number that this storage would round.
    #[error("{0} is above 2^53 - 1, the largest number that this storage holds exactly")]
    TooLarge(u64),
    /// Tables of a later relay.
    #[error("the store has schema {came}, this relay knows up to {SCHEMA}")]
    Newer {
        /// The store's schema.
        came: u8,
    },
}

impl From<worker::Error> for StoreError {
    fn from(error: worker::Error) -> Self {
        Self::Sql(error.to_string().into())
    }
}

type Result<T> = std::result::Result<T, StoreError>;

/// A [`Store`] over the SQLite of a Durable Object. Calls are synchronous; the platform makes all writes between two
/// `await`s durable at once, and holds back what is sent until they are.
#[derive(Debug, Clone)]
pub(crate) struct DurableObjectStore {
    sql: SqlStorage,
}

impl DurableObjectStore {
    /// Opens the object's storage. Nothing is written to one that holds nothing: see [`DurableObjectStore::create`].
    pub(crate) fn open(sql: SqlStorage) -> Self {
        Self { sql }
    }

    /// Whether the tables are there.
    pub(crate) fn exists(&self) -> Result<bool> {
        let tables = self.rows("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'meta'", vec![])?;
        if tables.is_empty() {
            return Ok(false);
        }
        match self.meta(SCHEMA_KEY)?.as_deref() {
            Some([came]) if *came <= SCHEMA => Ok(true),
            Some([came]) => Err(StoreError::Newer { came: *came }),
            _ => Err(StoreError::Damaged("meta")),
        }
    }

    /// Makes the tables.
    pub(crate) fn create(&mut self) -> Result<()> {
        self.run(TABLES, vec![])?;
        self.set_meta(SCHEMA_KEY, &[SCHEMA])
    }

    fn run(&self, query: &str, values: Vec<Value>) -> Result<SqlCursor> {
        Ok(self.sql.exec(query, values)?)
    }

    fn rows(&self, query: &str, values: Vec<Value>) -> Result<Vec<Row>> {
        self.run(query, values)?.raw().map(|row| Ok(Row::new(row?))).collect()
    }

    /// The rows of a query that starts with [`SUMMARY`] and then `bytes`, up to the page's end.
    fn page(&self, filter: &str, mut values: Vec<Value>, page: Page) -> Result<Vec<Record>> {
        values.push(Value::Integer(i64::try_from(page.blocks).unwrap_or(i64::MAX).min(MOST_INTEGER)));
        let query = format!("{SUMMARY}, bytes {FROM} {filter} LIMIT ?");
        let mut bytes = 0_usize;
        let mut records: Vec<Record> = Vec::new();
        for row in self.run(&query, values)?.raw() {
            let record = Row::new(row?).record()?;
            bytes = bytes.saturating_add(record.bytes.len());
            if bytes > page.bytes && !records.is_empty() {
                break;
            }
            records.push(record);
        }
        Ok(records)
    }

    fn author(&mut self, author: &NodeId) -> Result<i64> {
        let key = || vec![blob(author.as_bytes())];
        if let Some(row) = self.rows("SELECT id FROM authors WHERE key = ?", key())?.pop() {
            return row.only();
        }
        match self.rows("INSERT INTO authors (key) VALUES (?) RETURNING id", key())?.pop() {
            Some(row) => row.only(),
            None => Err(StoreError::Damaged("authors")),
        }
    }
}

impl ReadStore for DurableObjectStore {
    type Error = StoreError;

    fn summary(&self, hash: &BlockHash) -> Result<Option<Summary>> {
        let query = format!("{SUMMARY} {FROM} WHERE hash = ?");
        self.rows(&query, vec![blob(hash.as_bytes())])?.pop().map(|mut row| row.summary()).transpose()
    }

    fn block(&self, hash: &BlockHash) -> Result<Option<Record>> {
        Ok(self.page("WHERE hash = ?", vec![blob(hash.as_bytes())], Page::ONE)?.pop())
    }

    fn lane_from(&self, author: &NodeId, height: u64, hash: &BlockHash, page: Page) -> Result<Vec<Record>> {
        let Ok(height) = integer(height) else { return Ok(Vec::new()) };
        let filter = "WHERE author = (SELECT id FROM authors WHERE key = ?) AND (height, hash) >= (?, ?)
            ORDER BY height, hash";
        self.page(filter, vec![blob(author.as_bytes()), height, blob(hash.as_bytes())], page)
    }

    fn after(&self, key: Option<&OrderKey>, page: Page) -> Result<Vec<Record>> {
        match key {
            None => self.page("ORDER BY timestamp, hash", vec![], page),
            Some(key) => {
                let filter = "WHERE (timestamp, hash) > (?, ?) ORDER BY timestamp, hash";
                self.page(filter, vec![time(key.timestamp), blob(key.hash.as_bytes())], page)
            }
        }
    }

    fn before(&self, key: Option<&OrderKey>, page: Page) -> Result<Vec<Record>> {
        match key {
            None => self.page("ORDER BY timestamp DESC, hash DESC", vec![], page),
            Some(key) => {
                let filter = "WHERE (timestamp, hash) < (?, ?) ORDER BY timestamp DESC, hash DESC";
                self.page(filter, vec![time(key.timestamp), blob(key.hash.as_bytes())], page)
            }
        }
    }

    fn arrived(&self, seq: u64, page: Page) -> Result<Vec<Record>> {
        let Ok(seq) = integer(seq) else { return Ok(Vec::new()) };
        self.page("WHERE seq > ? ORDER BY seq", vec![seq], page)
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let rows = self.rows("SELECT value FROM meta WHERE key = ?", vec![key.into()])?.pop();
        rows.map(|mut row| row.bytes("meta")).transpose()
    }
}

impl Store for DurableObjectStore {
    fn append(&mut self, summary: &Summary, bytes: &[u8]) -> Result<()> {
        let author = self.author(&summary.author)?;
        let values = vec![
            integer(summary.seq)?,
            Value::Integer(author),
            integer(summary.height)?,
            time(summary.timestamp),
            blob(summary.hash.as_bytes()),
            Value::Integer(i64::from(summary.entries)),
            blob(bytes),
        ];
        let query =
            "INSERT INTO blocks (seq, author, height, timestamp, hash, entries, bytes) VALUES (?, ?, ?, ?, ?, ?, ?)";
        self.run(query, values).map(drop)
    }

    fn remove(&mut self, hash: &BlockHash) -> Result<()> {
        self.run("DELETE FROM blocks WHERE hash = ?", vec![blob(hash.as_bytes())]).map(drop)
    }

    fn replace(&mut self, seq: u64, block: Option<(&Summary, &[u8])>) -> Result<()> {
        self.run("DELETE FROM blocks WHERE seq = ?", vec![integer(seq)?]).map(drop)?;
        match block {
            Some((summary, bytes)) => self.append(summary, bytes),
            None => Ok(()),
        }
    }

    fn set_meta(&mut self, key: &str, value: &[u8]) -> Result<()> {
        let query =
            "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.run(query, vec![key.into(), blob(value)]).map(drop)
    }

    fn commit(&mut self) -> Result<()> {
        // The turn is one transaction of the platform, and nothing that it sends leaves before it is durable.
        Ok(())
    }
}

/// 2^53 - 1: above it, the platform's numbers are not exact.
const MOST_INTEGER: i64 = (1 << 53) - 1;

fn integer(value: u64) -> Result<Value> {
    match i64::try_from(value) {
        Ok(exact) if exact <= MOST_INTEGER => Ok(Value::Integer(exact)),
        _ => Err(StoreError::TooLarge(value)),
    }
}

fn time(timestamp: Timestamp) -> Value {
    // A timestamp is at most 2^53 - 1 by its type.
    Value::Integer(i64::try_from(timestamp.micros()).unwrap_or(MOST_INTEGER))
}

fn blob(bytes: &[u8]) -> Value {
    Value::Blob(bytes.to_vec())
}

/// One row, read from left to right.
struct Row {
    values: std::vec::IntoIter<Value>,
}

impl Row {
    fn new(values: Vec<Value>) -> Self {
        Self { values: values.into_iter() }
    }

    fn record(mut self) -> Result<Record> {
        Ok(Record { summary: self.summary()?, bytes: self.bytes("blocks")? })
    }

    fn summary(&mut self) -> Result<Summary> {
        let damaged = StoreError::Damaged("blocks");
        let seq = self.number("blocks")?;
        let hash = BlockHash::from_bytes(self.array("blocks")?);
        let author = NodeId::from_bytes(self.array("authors")?);
        let height = self.number("blocks")?;
        let timestamp = Timestamp::from_micros(self.number("blocks")?).ok_or_else(|| damaged.clone())?;
        let entries = u32::try_from(self.number("blocks")?).map_err(|_| damaged)?;
        Ok(Summary { seq, hash, author, height, timestamp, entries })
    }

    fn only(mut self) -> Result<i64> {
        match self.values.next() {
            Some(Value::Integer(value)) => Ok(value),
            _ => Err(StoreError::Damaged("authors")),
        }
    }

    fn number(&mut self, table: &'static str) -> Result<u64> {
        match self.values.next() {
            Some(Value::Integer(value)) => u64::try_from(value).map_err(|_| StoreError::Damaged(table)),
            _ => Err(StoreError::Damaged(table)),
        }
    }

    fn bytes(&mut self, table: &'static str) -> Result<Vec<u8>> {
        match self.values.next() {
            Some(Value::Blob(bytes)) => Ok(bytes),
            _ => Err(StoreError::Damaged(table)),
        }
    }

    fn array<const N: usize>(&mut self, table: &'static str) -> Result<[u8; N]> {
        self.bytes(table)?.try_into().map_err(|_| StoreError::Damaged(table))
    }
}
