//! The store in SQLite: one connection that the turn thread writes with, and others that only read.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{CachedStatement, Connection, OpenFlags, OptionalExtension, Params, Row, ffi, params};
use shared::{
    BlockHash, LedgerId, NodeId, OrderKey, Page, ReadStore, Record, Store, Summary, Timestamp, block::open_ledger,
};
use thiserror::Error;

/// "CAIR" in ASCII: tells `file` and us whose database it is.
const APPLICATION: i64 = 0x4341_4952;
/// The schema that this code writes and reads.
const SCHEMA_VERSION: i64 = 1;
/// `hash` is unique by its index; ledger order needs the index on `timestamp` only, because few blocks share one µs.
const SCHEMA: &str = "
    CREATE TABLE authors (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE) STRICT;
    CREATE TABLE blocks (
        seq INTEGER PRIMARY KEY,
        author INTEGER NOT NULL REFERENCES authors (id),
        height INTEGER NOT NULL,
        timestamp INTEGER NOT NULL,
        hash BLOB NOT NULL,
        entries INTEGER NOT NULL,
        bytes BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX blocks_by_hash ON blocks (hash);
    CREATE INDEX blocks_by_time ON blocks (timestamp);
    CREATE INDEX blocks_by_lane ON blocks (author, height);
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
";
/// Tables and their columns as the schema makes them: a file without them is damaged.
const COLUMNS: &[(&str, &[&str])] = &[
    ("authors", &["id", "key"]),
    ("blocks", &["seq", "author", "height", "timestamp", "hash", "entries", "bytes"]),
    ("meta", &["key", "value"]),
];
/// KiB of pages that the writing connection keeps, and that each reading one keeps.
const WRITER_CACHE_KIB: i64 = 16 * 1024;
const READER_CACHE_KIB: i64 = 2 * 1024;
/// Bytes to which the write-ahead log is cut back after a checkpoint.
const JOURNAL_BYTES: i64 = 16 * 1024 * 1024;
/// How long a statement waits for another connection's lock. Only opening and closing ever take one for long.
const BUSY: Duration = Duration::from_secs(5);

/// The node's own notes in `meta`. The replica's have no dot.
const LEDGER_NAME: &str = "node.ledger";
/// The nodes that were noted there before, one id behind the other.
const FORMER_NODES: &str = "former nodes";
const NODE_KEY: &str = "node.key";

/// Why a store cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no file.
    #[error("there is no store at {}", path.display())]
    Missing {
        /// Where it was expected.
        path: PathBuf,
    },
    /// SQLite reports a failure.
    #[error("SQLite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file cannot be looked at.
    #[error("the store file cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A database of another program.
    #[error("{} is a database of another program (application id {came:#x}, {APPLICATION:#x} is expected)", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// Its application id.
        came: i64,
    },
    /// Written by a newer version of this program.
    #[error("the store has schema version {came}, this program knows up to {SCHEMA_VERSION}: use a newer cairn")]
    Version {
        /// The file's schema version.
        came: i64,
    },
    /// The file is not what this program wrote.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The store belongs to another ledger.
    #[error("the store holds the ledger {came:?}, not {wanted:?}: use another data directory")]
    Ledger {
        /// Name of the store's ledger.
        came: String,
        /// Name of the wanted ledger.
        wanted: String,
    },
}

impl StoreError {
    /// Whether the file itself is wrong, rather than the disk or the system.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Foreign { .. } | Self::Version { .. } => true,
            Self::Sqlite(error) => is_corrupt(error),
            Self::Missing { .. } | Self::Io(_) | Self::Ledger { .. } => false,
        }
    }
}

fn is_corrupt(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// A read-only connection.
#[derive(Debug)]
pub struct SqliteReader {
    connection: Connection,
}

/// The store that a replica owns: everything of a turn is one transaction.
#[derive(Debug)]
pub struct SqliteStore {
    reader: SqliteReader,
    path: PathBuf,
    authors: HashMap<NodeId, i64>,
    writing: bool,
}

impl SqliteReader {
    /// Opens an existing store for reading.
    ///
    /// # Errors
    /// When there is none, or it is no store of this program and version.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.try_exists()? {
            return Err(StoreError::Missing { path: path.to_owned() });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        configure(&connection, READER_CACHE_KIB)?;
        check_schema(&connection, path)?;
        Ok(Self { connection })
    }

    /// Runs `f` over one consistent view of the store.
    ///
    /// # Errors
    /// When the view cannot be opened.
    pub fn snapshot<T>(&self, f: impl FnOnce(&Self) -> T) -> Result<T> {
        let transaction = self.connection.unchecked_transaction()?;
        let result = f(self);
        transaction.finish()?;
        Ok(result)
    }

    /// The name of the ledger that the store holds, and its id.
    ///
    /// # Errors
    /// When it cannot be read, or is missing.
    pub fn ledger(&self) -> Result<(String, LedgerId)> {
        let name = self.meta(LEDGER_NAME)?.and_then(|bytes| String::from_utf8(bytes).ok());
        let name = name.ok_or_else(|| StoreError::Damaged("it does not say which ledger it holds".to_owned()))?;
        let id = open_ledger(&name);
        Ok((name, id))
    }

    /// The node whose key writes in this store.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn node(&self) -> Result<Option<NodeId>> {
        match self.meta(NODE_KEY)? {
            Some(bytes) => Ok(Some(NodeId::from_bytes(array(&bytes, "the node's id")?))),
            None => Ok(None),
        }
    }

    /// The nodes whose keys wrote in this store before, the first one first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn former_nodes(&self) -> Result<Vec<NodeId>> {
        let bytes = self.meta(FORMER_NODES)?.unwrap_or_default();
        bytes.chunks(32).map(|id| Ok(NodeId::from_bytes(array(id, "a former node's id")?))).collect()
    }

    /// Blocks and bytes in the file, whether they count or not.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn size(&self) -> Result<(u64, u64)> {
        let sql = "SELECT count(*), coalesce(sum(length(bytes)), 0) FROM blocks";
        let (blocks, bytes): (i64, i64) = self.connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok((blocks.unsigned_abs(), bytes.unsigned_abs()))
    }

    /// Arrival number of the newest block.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn last_seq(&self) -> Result<u64> {
        let seq: i64 = self.connection.query_row("SELECT coalesce(max(seq), 0) FROM blocks", [], |row| row.get(0))?;
        Ok(seq.unsigned_abs())
    }

    /// What SQLite itself finds wrong with the file: pages, indexes and their agreement with the tables.
    ///
    /// # Errors
    /// When it cannot be read at all.
    pub fn check_file(&self) -> Result<Vec<String>> {
        let mut statement = self.connection.prepare("PRAGMA integrity_check(20)")?;
        let lines = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>> {
        Ok(self.connection.prepare_cached(sql)?)
    }

    fn record(&self, sql: &str, params: impl Params) -> Result<Option<Record>> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(params)?;
        rows.next()?.map(read_record).transpose()
    }

    /// Reads rows until the page is full; SQLite computes them one by one, so no more is loaded.
    fn records(&self, sql: &str, params: impl Params, page: Page) -> Result<Vec<Record>> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(params)?;
        let mut records: Vec<Record> = Vec::new();
        let mut bytes = 0;
        while records.len() < page.blocks
            && let Some(row) = rows.next()?
        {
            bytes += row.get_ref(BYTES)?.as_blob().map_err(|_| not_a_blob())?.len();
            if bytes > page.bytes && !records.is_empty() {
                break;
            }
            records.push(read_record(row)?);
        }
        Ok(records)
    }
}

/// Columns of a summary, then the bytes. `a` is the author's row.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT b.seq, a.key, b.height, b.timestamp, b.hash, b.entries, b.bytes \
             FROM blocks b CROSS JOIN authors a ON a.id = b.author ",
            $rest
        )
    };
}
const BYTES: usize = 6;

impl ReadStore for SqliteReader {
    type Error = StoreError;

    fn summary(&self, hash: &BlockHash) -> Result<Option<Summary>> {
        let mut statement = self.prepare(
            "SELECT b.seq, a.key, b.height, b.timestamp, b.hash, b.entries \
             FROM blocks b CROSS JOIN authors a ON a.id = b.author WHERE b.hash = ?1",
        )?;
        let mut rows = statement.query([hash.as_bytes()])?;
        rows.next()?.map(read_summary).transpose()
    }

    fn block(&self, hash: &BlockHash) -> Result<Option<Record>> {
        self.record(select!("WHERE b.hash = ?1"), [hash.as_bytes()])
    }

    fn lane(&self, author: &NodeId, from: u64, page: Page) -> Result<Vec<Record>> {
        let Ok(from) = i64::try_from(from) else { return Ok(Vec::new()) };
        let sql = select!(
            "WHERE b.author = (SELECT id FROM authors WHERE key = ?1) AND b.height >= ?2 ORDER BY b.height, b.hash"
        );
        self.records(sql, params![author.as_bytes(), from], page)
    }

    fn after(&self, key: Option<&OrderKey>, page: Page) -> Result<Vec<Record>> {
        match key {
            Some(key) => {
                let sql = select!("WHERE (b.timestamp, b.hash) > (?1, ?2) ORDER BY b.timestamp, b.hash");
                self.records(sql, params![key.timestamp.micros() as i64, key.hash.as_bytes()], page)
            }
            None => self.records(select!("ORDER BY b.timestamp, b.hash"), [], page),
        }
    }

    fn before(&self, key: Option<&OrderKey>, page: Page) -> Result<Vec<Record>> {
        match key {
            Some(key) => {
                let sql = select!("WHERE (b.timestamp, b.hash) < (?1, ?2) ORDER BY b.timestamp DESC, b.hash DESC");
                self.records(sql, params![key.timestamp.micros() as i64, key.hash.as_bytes()], page)
            }
            None => self.records(select!("ORDER BY b.timestamp DESC, b.hash DESC"), [], page),
        }
    }

    fn arrived(&self, seq: u64, page: Page) -> Result<Vec<Record>> {
        let Ok(seq) = i64::try_from(seq) else { return Ok(Vec::new()) };
        self.records(select!("WHERE b.seq > ?1 ORDER BY b.seq"), [seq], page)
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let mut statement = self.prepare("SELECT value FROM meta WHERE key = ?1")?;
        Ok(statement.query_row([key], |row| row.get(0)).optional()?)
    }
}

impl SqliteStore {
    /// Opens the store for writing, and makes it where there is none. The caller holds the data directory's lock.
    ///
    /// # Errors
    /// When the file is damaged, of another program, of a newer version, or of another ledger; it is left as it was.
    pub fn open(path: &Path, ledger: &str) -> Result<Self> {
        let fresh = !path.try_exists()? || path.metadata()?.len() == 0;
        if !fresh {
            // Looking first without the right to write leaves a file alone that is not ours.
            drop(SqliteReader::open(path)?);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        configure(&connection, WRITER_CACHE_KIB)?;
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(StoreError::Damaged(format!("journal mode is {mode}, wal is expected")));
        }
        connection.execute_batch(&format!(
            "PRAGMA synchronous = FULL; PRAGMA journal_size_limit = {JOURNAL_BYTES}; PRAGMA foreign_keys = ON;"
        ))?;
        let reader = SqliteReader { connection };
        let mut store = Self { reader, path: path.to_owned(), authors: HashMap::new(), writing: false };
        if fresh {
            store.create(ledger)?;
        }
        store.checkpoint()?;
        check_length(&store.reader.connection, path)?;
        match store.reader.ledger()? {
            (name, _) if name == ledger => Ok(store),
            (name, _) => Err(StoreError::Ledger { came: name, wanted: ledger.to_owned() }),
        }
    }

    fn create(&mut self, ledger: &str) -> Result<()> {
        self.begin()?;
        self.reader.connection.execute_batch(SCHEMA)?;
        self.reader.connection.execute_batch(&format!(
            "PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA_VERSION};"
        ))?;
        self.set_meta(LEDGER_NAME, ledger.as_bytes())?;
        self.commit()
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What can be read beyond the trait.
    pub fn as_reader(&self) -> &SqliteReader {
        &self.reader
    }

    /// Notes, durably, whose key writes in this store.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_node(&mut self, node: &NodeId) -> Result<()> {
        if let Some(old) = self.reader.node()?.filter(|old| old != node) {
            let former = self.meta(FORMER_NODES)?.unwrap_or_default();
            self.set_meta(FORMER_NODES, &[&former[..], old.as_bytes()].concat())?;
        }
        self.set_meta(NODE_KEY, node.as_bytes())?;
        self.commit()
    }

    /// Moves the write-ahead log into the database file, so that the file alone holds everything.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn checkpoint(&self) -> Result<()> {
        // The answer tells whether readers were in the way; then the log stays, which is as safe.
        Ok(self.reader.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
    }

    /// The first write of a turn begins its transaction.
    fn begin(&mut self) -> Result<()> {
        if !self.writing {
            self.reader.prepare("BEGIN IMMEDIATE")?.execute([])?;
            self.writing = true;
        }
        Ok(())
    }

    fn author(&mut self, author: &NodeId) -> Result<i64> {
        if let Some(id) = self.authors.get(author) {
            return Ok(*id);
        }
        let known = self
            .reader
            .prepare("SELECT id FROM authors WHERE key = ?1")?
            .query_row([author.as_bytes()], |row| row.get(0))
            .optional()?;
        let id = match known {
            Some(id) => id,
            None => self.reader.prepare("INSERT INTO authors (key) VALUES (?1)")?.insert([author.as_bytes()])?,
        };
        self.authors.insert(*author, id);
        Ok(id)
    }
}

impl ReadStore for SqliteStore {
    type Error = StoreError;

    fn summary(&self, hash: &BlockHash) -> Result<Option<Summary>> {
        self.reader.summary(hash)
    }

    fn block(&self, hash: &BlockHash) -> Result<Option<Record>> {
        self.reader.block(hash)
    }

    fn lane(&self, author: &NodeId, from: u64, page: Page) -> Result<Vec<Record>> {
        self.reader.lane(author, from, page)
    }

    fn after(&self, key: Option<&OrderKey>, page: Page) -> Result<Vec<Record>> {
        self.reader.after(key, page)
    }

    fn before(&self, key: Option<&OrderKey>, page: Page) -> Result<Vec<Record>> {
        self.reader.before(key, page)
    }

    fn arrived(&self, seq: u64, page: Page) -> Result<Vec<Record>> {
        self.reader.arrived(seq, page)
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.reader.meta(key)
    }
}

impl Store for SqliteStore {
    fn append(&mut self, summary: &Summary, bytes: &[u8]) -> Result<()> {
        self.begin()?;
        let author = self.author(&summary.author)?;
        let sql = "INSERT INTO blocks (seq, author, height, timestamp, hash, entries, bytes) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        self.reader.prepare(sql)?.execute(params![
            integer(summary.seq)?,
            author,
            integer(summary.height)?,
            integer(summary.timestamp.micros())?,
            summary.hash.as_bytes(),
            summary.entries,
            bytes
        ])?;
        Ok(())
    }

    fn remove(&mut self, hash: &BlockHash) -> Result<()> {
        self.begin()?;
        self.reader.prepare("DELETE FROM blocks WHERE hash = ?1")?.execute([hash.as_bytes()])?;
        Ok(())
    }

    fn replace(&mut self, seq: u64, block: Option<(&Summary, &[u8])>) -> Result<()> {
        self.begin()?;
        self.reader.prepare("DELETE FROM blocks WHERE seq = ?1")?.execute([integer(seq)?])?;
        match block {
            Some((summary, bytes)) => self.append(summary, bytes),
            None => Ok(()),
        }
    }

    fn set_meta(&mut self, key: &str, value: &[u8]) -> Result<()> {
        self.begin()?;
        let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2";
        self.reader.prepare(sql)?.execute(params![key, value])?;
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        if self.writing {
            self.reader.prepare("COMMIT")?.execute([])?;
            self.writing = false;
        }
        Ok(())
    }
}

fn configure(connection: &Connection, cache_kib: i64) -> Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(32);
    connection.execute_batch(&format!("PRAGMA cache_size = -{cache_kib}; PRAGMA trusted_schema = OFF;"))?;
    Ok(())
}

/// A file that this program wrote has its application id, its version, and the tables of that version.
fn check_schema(connection: &Connection, path: &Path) -> Result<()> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    if application != APPLICATION {
        return Err(StoreError::Foreign { path: path.to_owned(), came: application });
    }
    if version != SCHEMA_VERSION {
        return Err(StoreError::Version { came: version });
    }
    for (table, columns) in COLUMNS {
        let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1) ORDER BY cid")?;
        let names = statement.query_map([table], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        if names != *columns {
            let what = format!("table {table} has the columns {names:?}, {columns:?} are expected");
            return Err(StoreError::Damaged(what));
        }
    }
    Ok(())
}

/// After a checkpoint the file holds every page that SQLite counts.
fn check_length(connection: &Connection, path: &Path) -> Result<()> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let expected = (pragma("page_count")? * pragma("page_size")?).unsigned_abs();
    let came = path.metadata()?.len();
    if came < expected {
        return Err(StoreError::Damaged(format!("the file has {came} bytes, {expected} are expected")));
    }
    Ok(())
}

fn read_record(row: &Row<'_>) -> Result<Record> {
    Ok(Record { summary: read_summary(row)?, bytes: row.get(BYTES)? })
}

fn read_summary(row: &Row<'_>) -> Result<Summary> {
    let blob = |column: usize, what| array(row.get_ref(column)?.as_blob().map_err(|_| not_a_blob())?, what);
    let number = |column: usize| {
        let came: i64 = row.get(column)?;
        u64::try_from(came).map_err(|_| StoreError::Damaged(format!("a number of {came}, 0 or more is expected")))
    };
    let micros = number(3)?;
    let time = || StoreError::Damaged(format!("a time of {micros} µs"));
    let entries = number(5)?;
    Ok(Summary {
        seq: number(0)?,
        author: NodeId::from_bytes(blob(1, "an author's key")?),
        height: number(2)?,
        timestamp: Timestamp::from_micros(micros).ok_or_else(time)?,
        hash: BlockHash::from_bytes(blob(4, "a block's hash")?),
        entries: u32::try_from(entries).map_err(|_| StoreError::Damaged(format!("a block of {entries} entries")))?,
    })
}

fn array(bytes: &[u8], what: &str) -> Result<[u8; 32]> {
    let wrong = || StoreError::Damaged(format!("{what} of {} bytes, 32 are expected", bytes.len()));
    bytes.try_into().map_err(|_| wrong())
}

fn not_a_blob() -> StoreError {
    StoreError::Damaged("a text or number where bytes are expected".to_owned())
}

/// SQLite's integers have 63 bits for what is not negative.
fn integer(value: u64) -> Result<i64> {
    let out_of_range = || rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_RANGE), None);
    i64::try_from(value).map_err(|_| out_of_range().into())
}

#[cfg(test)]
mod tests;
