//! The store in SQLite: one connection that the turn thread writes with, and others that only read.

use std::{
    cell::RefCell,
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use shared::{
    BlockHash, LedgerId, NodeId, OrderKey, Page, ReadStore, Record, Store, Summary, block::open_ledger,
    members::Genesis, replica::META_EPOCHS,
};
use thiserror::Error;

use crate::keys::private;

mod counting;
mod mark;
mod reading;
mod rows;
mod schema;
mod writing;

use mark::Mark;
use schema::{APPLICATION, VERSION};
use writing::Notes;

/// KiB of pages that the writing connection keeps, and that each reading one keeps.
const WRITER_CACHE_KIB: i64 = 16 * 1024;
const READER_CACHE_KIB: i64 = 2 * 1024;
/// Bytes to which the write-ahead log is cut back after a checkpoint.
const JOURNAL_BYTES: i64 = 16 * 1024 * 1024;
/// How long a statement waits for another connection's lock. Only opening and closing ever take one for long.
const BUSY: Duration = Duration::from_secs(5);

/// The node's own notes in `meta`. The replica's have no dot. A store has either the name of an open ledger or the genesis
/// of a members' one.
pub(crate) const LEDGER_NAME: &str = "node.ledger";
pub(crate) const GENESIS: &str = "node.genesis";
/// The relays that came with the invite, or that the ledger began with: one a line.
pub(crate) const RELAYS: &str = "node.relays";
/// The first block of a node that has joined, for whoever has not heard of it.
const JOIN: &str = "node.join";
/// What this node is to be called as soon as it is in. None: empty.
const WANTED_NAME: &str = "node.name";
/// What a backup keeps of a store.
pub(crate) const KEPT: [&str; 6] = [LEDGER_NAME, GENESIS, RELAYS, JOIN, META_EPOCHS[0], META_EPOCHS[1]];
/// The nodes that were noted there before, one id behind the other.
const FORMER_NODES: &str = "former nodes";
pub(crate) const NODE_KEY: &str = "node.key";

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
    #[error("the store has schema version {came}, this program knows up to {VERSION}: use a newer cairn")]
    Version {
        /// The file's schema version.
        came: i64,
    },
    /// Written by an earlier version of this program.
    #[error("the store has schema version 1: any command that writes brings it up to version {VERSION}")]
    Old,
    /// The file is not what this program wrote.
    #[error("the store is damaged: {0}; `cairn verify --repair` mends it from other nodes")]
    Damaged(String),
    /// The store belongs to another ledger.
    #[error("the store holds the ledger {came}, not {wanted}: use another data directory")]
    Ledger {
        /// The store's ledger.
        came: Beginning,
        /// The wanted ledger.
        wanted: Beginning,
    },
}

impl StoreError {
    /// Whether the file itself is wrong, rather than the disk or the system.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Foreign { .. } | Self::Version { .. } => true,
            Self::Sqlite(error) => is_corrupt(error),
            Self::Missing { .. } | Self::Io(_) | Self::Ledger { .. } | Self::Old => false,
        }
    }
}

fn is_corrupt(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// What a ledger begins with, from which its id follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// An open ledger's name.
    Open(String),
    /// The genesis of a members' ledger. Its name is an entry of it.
    Members(Genesis),
}

impl Beginning {
    /// The ledger's id.
    pub fn id(&self) -> LedgerId {
        match self {
            Self::Open(name) => open_ledger(name),
            Self::Members(genesis) => genesis.ledger(),
        }
    }

    /// The name, where it is what the ledger begins with.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Open(name) => Some(name),
            Self::Members(_) => None,
        }
    }

    /// What a store notes of it, of the values that it holds.
    pub(crate) fn of(meta: impl Fn(&str) -> Option<Vec<u8>>) -> Option<Self> {
        match meta(LEDGER_NAME) {
            Some(name) => String::from_utf8(name).ok().map(Self::Open),
            None => meta(GENESIS).and_then(|genesis| Genesis::decode(&genesis)).map(Self::Members),
        }
    }

    fn note(&self) -> (&'static str, Vec<u8>) {
        match self {
            Self::Open(name) => (LEDGER_NAME, name.clone().into_bytes()),
            Self::Members(genesis) => (GENESIS, genesis.encode()),
        }
    }
}

impl From<&str> for Beginning {
    fn from(name: &str) -> Self {
        Self::Open(name.to_owned())
    }
}

impl fmt::Display for Beginning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(name) => write!(f, "{name:?}"),
            Self::Members(genesis) => write!(f, "{}", genesis.ledger()),
        }
    }
}

/// A read-only connection.
#[derive(Debug)]
pub struct SqliteReader {
    connection: Connection,
    /// Nobody else writes, so nothing changes between two statements.
    owner: bool,
}

/// The store that a replica owns: everything of a turn is one transaction.
#[derive(Debug)]
pub struct SqliteStore {
    reader: SqliteReader,
    path: PathBuf,
    notes: RefCell<Notes>,
    writing: bool,
    mark: Option<Mark>,
    /// About how long the write-ahead log is.
    log_bytes: u64,
    /// The log, and what is in it of the pages as they were, has to go: something was replaced.
    scrub: bool,
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
        let noted = mark::noted(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        configure(&connection, READER_CACHE_KIB)?;
        schema::check(&connection, path)?;
        let reader = Self { connection, owner: false };
        mark::check(noted, &reader.anchor()?)?;
        Ok(reader)
    }

    /// Opens a file that may be damaged, without any of the checks, for [`ReadStore::rows`] and little else.
    ///
    /// # Errors
    /// When there is no file.
    pub fn open_damaged(path: &Path) -> Result<Self> {
        if !path.try_exists()? {
            return Err(StoreError::Missing { path: path.to_owned() });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        Ok(Self { connection, owner: true })
    }

    /// Keys and values of `meta` that are as they were written; all of them that can be read, where there are no checksums.
    pub fn metas(&self) -> Vec<(String, Vec<u8>)> {
        self.sound_metas().unwrap_or_default()
    }

    /// From here on this connection sees the store as it is now.
    ///
    /// # Errors
    /// When the view cannot be opened.
    pub fn begin(&self) -> Result<()> {
        self.connection.execute_batch("BEGIN; SELECT 1 FROM anchor LIMIT 1;")?;
        Ok(())
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

    /// What the ledger begins with that the store holds.
    ///
    /// # Errors
    /// When it cannot be read, or is missing.
    pub fn ledger(&self) -> Result<Beginning> {
        let (name, genesis) = (self.meta(LEDGER_NAME)?, self.meta(GENESIS)?);
        let beginning = Beginning::of(|key| if key == LEDGER_NAME { name.clone() } else { genesis.clone() });
        beginning.ok_or_else(|| StoreError::Damaged("it does not say which ledger it holds".to_owned()))
    }

    /// The relays that came with the ledger, as text.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn relays(&self) -> Result<Vec<String>> {
        let text = String::from_utf8(self.meta(RELAYS)?.unwrap_or_default());
        Ok(text.unwrap_or_default().lines().map(str::to_owned).collect())
    }

    /// This node's first block, which it made with an invite.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn join(&self) -> Result<Option<Vec<u8>>> {
        self.meta(JOIN)
    }

    /// What this node is to be called as soon as it is in the ledger.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn wanted_name(&self) -> Result<Option<String>> {
        let name = String::from_utf8(self.meta(WANTED_NAME)?.unwrap_or_default());
        Ok(name.ok().filter(|name| !name.is_empty()))
    }

    /// The node whose key writes in this store.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn node(&self) -> Result<Option<NodeId>> {
        match self.meta(NODE_KEY)? {
            Some(bytes) => Ok(Some(NodeId::from_bytes(
                bytes.try_into().map_err(|_| rows::damaged("the node's id has not 32 bytes"))?,
            ))),
            None => Ok(None),
        }
    }

    /// The nodes whose keys wrote in this store before, the first one first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn former_nodes(&self) -> Result<Vec<NodeId>> {
        let bytes = self.meta(FORMER_NODES)?.unwrap_or_default();
        let (ids, rest) = bytes.as_chunks();
        if rest.is_empty() {
            Ok(ids.iter().map(|id| NodeId::from_bytes(*id)).collect())
        } else {
            Err(rows::damaged("a former node's id has not 32 bytes"))
        }
    }

    /// About how many blocks this node's or another's lane has here: for notes, not for decisions.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn height(&self, author: &NodeId) -> Result<u64> {
        let sql = "SELECT coalesce(max(height), 0) FROM blocks WHERE author = (SELECT id FROM authors WHERE key = ?1)";
        let height: i64 = self.connection.query_row(sql, [author.as_bytes()], |row| row.get(0))?;
        Ok(height.unsigned_abs())
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

    /// Arrival number of the newest block that ever came.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn last_seq(&self) -> Result<u64> {
        Ok(self.anchor()?.last_seq)
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
}

impl SqliteStore {
    /// Opens the store for writing, makes it where there is none, and brings one of an earlier version up to date. The
    /// caller holds the data directory's lock.
    ///
    /// # Errors
    /// When the file is damaged, of another program, of a newer version, or of another ledger; it is left as it was.
    pub fn open(path: &Path, ledger: impl Into<Beginning>) -> Result<Self> {
        let ledger = ledger.into();
        // An earlier version that was killed while it made its store may have left an empty file.
        let empty = path.try_exists()? && path.metadata()?.len() == 0;
        if !path.try_exists()? || (empty && mark::noted(path)? == 0) {
            Self::create(path, &ledger)?;
        }
        // Looking first without the right to write leaves a file alone that is not ours.
        match SqliteReader::open(path) {
            Err(StoreError::Old) => Self::upgrade(path)?,
            result => drop(result?),
        }
        let mut store = Self::connect(path)?;
        store.checkpoint()?;
        schema::check_length(&store.reader.connection, path)?;
        store.load_notes()?;
        store.mark = Some(Mark::open(path, store.notes.get_mut().anchor.commits)?);
        match store.reader.ledger()? {
            came if came == ledger => Ok(store),
            came => Err(StoreError::Ledger { came, wanted: ledger }),
        }
    }

    /// Brings a store of an earlier version up to date, all of it or nothing. The caller holds the data directory's lock.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn upgrade(path: &Path) -> Result<()> {
        let mut store = Self::connect(path)?;
        schema::migrate(&mut store)?;
        store.checkpoint()
    }

    fn connect(path: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        configure(&connection, WRITER_CACHE_KIB)?;
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(schema::no_log(&mode));
        }
        connection.execute_batch(&format!(
            "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = {JOURNAL_BYTES}; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON;"
        ))?;
        let reader = SqliteReader { connection, owner: true };
        Ok(Self {
            reader,
            path: path.to_owned(),
            notes: RefCell::default(),
            writing: false,
            mark: None,
            log_bytes: 0,
            scrub: false,
        })
    }

    /// Makes a store under another name, so that a half-made one is never taken for a damaged one.
    fn create(path: &Path, ledger: &Beginning) -> Result<()> {
        let new = suffixed(path, ".new");
        for suffix in ["", "-journal", "-wal", "-shm", "-mark"] {
            remove_file(&suffixed(&new, suffix))?;
        }
        // What belonged to a store that was taken away would be taken for this one's.
        for suffix in ["-journal", "-wal", "-shm", "-mark"] {
            remove_file(&suffixed(path, suffix))?;
        }
        // SQLite gives what it keeps beside the file the same permissions.
        drop(private().write(true).create_new(true).open(&new)?);
        let mut store = Self::connect(&new)?;
        store.begin()?;
        schema::create(&store.reader.connection)?;
        let (key, value) = ledger.note();
        store.set_meta(key, &value)?;
        store.commit()?;
        store.checkpoint()?;
        store.reader.connection.close().map_err(|(_, error)| error)?;
        // SQLite answers "wal" also when it could not write that down.
        if !schema::is_logged(&new)? {
            return Err(schema::no_log("delete"));
        }
        fs::rename(&new, path)?;
        Ok(sync_directory(path)?)
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

    /// Notes, durably, the relays that belong to the ledger.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn set_relays(&mut self, relays: &[String]) -> Result<()> {
        self.set_meta(RELAYS, relays.join("\n").as_bytes())?;
        self.commit()
    }

    /// Notes, durably, this node's first block, made with an invite.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_join(&mut self, block: &[u8]) -> Result<()> {
        self.set_meta(JOIN, block)?;
        self.commit()
    }

    /// Notes, durably, what this node is to be called as soon as it is in the ledger.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_wanted_name(&mut self, name: Option<&str>) -> Result<()> {
        self.set_meta(WANTED_NAME, name.unwrap_or_default().as_bytes())?;
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
}

impl ReadStore for SqliteStore {
    type Error = StoreError;

    fn summary(&self, hash: &BlockHash) -> Result<Option<Summary>> {
        self.flush()?;
        self.reader.summary(hash)
    }

    fn block(&self, hash: &BlockHash) -> Result<Option<Record>> {
        self.flush()?;
        self.reader.block(hash)
    }

    fn lane_from(&self, author: &NodeId, height: u64, hash: &BlockHash, page: Page) -> Result<Vec<Record>> {
        self.flush()?;
        self.reader.lane_from(author, height, hash, page)
    }

    fn after(&self, key: Option<&OrderKey>, page: Page) -> Result<Vec<Record>> {
        self.flush()?;
        self.reader.after(key, page)
    }

    fn before(&self, key: Option<&OrderKey>, page: Page) -> Result<Vec<Record>> {
        self.flush()?;
        self.reader.before(key, page)
    }

    fn arrived(&self, seq: u64, page: Page) -> Result<Vec<Record>> {
        self.flush()?;
        self.reader.arrived(seq, page)
    }

    fn rows(&self, seq: u64, page: Page) -> Result<Vec<Record>> {
        self.reader.rows(seq, page)
    }

    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.flush()?;
        self.reader.meta(key)
    }
}

impl Store for SqliteStore {
    fn append(&mut self, summary: &Summary, bytes: &[u8]) -> Result<()> {
        self.insert(summary, bytes)
    }

    fn remove(&mut self, hash: &BlockHash) -> Result<()> {
        match self.summary(hash)? {
            Some(summary) => self.put(summary.seq, None),
            None => Ok(()),
        }
    }

    fn replace(&mut self, seq: u64, block: Option<(&Summary, &[u8])>) -> Result<()> {
        self.scrub = true;
        self.put(seq, block)
    }

    fn set_meta(&mut self, key: &str, value: &[u8]) -> Result<()> {
        self.put_meta(key, value)
    }

    fn commit(&mut self) -> Result<()> {
        self.end_turn()
    }
}

/// The path with something behind its name.
pub(crate) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes a file that may not be there.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the names in a file's directory durable. Only Unix has and needs this.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

fn configure(connection: &Connection, cache_kib: i64) -> Result<()> {
    connection.busy_timeout(BUSY)?;
    // More than there are.
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch(&format!("PRAGMA cache_size = -{cache_kib}; PRAGMA trusted_schema = OFF;"))?;
    Ok(())
}

#[cfg(test)]
mod tests;
