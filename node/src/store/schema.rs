//! The tables, how a file is recognised, and how one of an earlier version is brought up to date.

use std::{fs::File, io::Read, path::Path};

use rusqlite::{Connection, ffi};
use shared::{BlockHash, NodeId, Store, Summary, Timestamp};

use super::{
    Result, SqliteStore, StoreError,
    rows::{self, Anchor},
};

/// "CAIR" in ASCII: tells `file` and us whose database it is.
pub(super) const APPLICATION: i64 = 0x4341_4952;
/// The schema that this code writes and reads.
pub(super) const VERSION: i64 = 2;
/// `hash` is unique by its index; ledger order needs the index on `timestamp` only, because few blocks share one µs.
///
/// What makes a lost bit visible: `sum` covers a row's columns, and them with the signature. `links` says which row comes
/// before this one in ledger order and in its lane, `authors.last` which row ends a lane, `anchor` which row ends the
/// ledger and how much there is of everything, `buckets` what all hashes of one beginning make together, `removed` which
/// arrival numbers are gone. So a row that an index or a page does not lead to any more is missed.
pub(super) const SCHEMA: &str = "
    CREATE TABLE authors (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, last INTEGER NOT NULL, sum BLOB NOT NULL) STRICT;
    CREATE TABLE blocks (
        seq INTEGER PRIMARY KEY,
        author INTEGER NOT NULL REFERENCES authors (id),
        height INTEGER NOT NULL,
        timestamp INTEGER NOT NULL,
        hash BLOB NOT NULL,
        entries INTEGER NOT NULL,
        sum BLOB NOT NULL,
        links BLOB NOT NULL,
        bytes BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX blocks_by_hash ON blocks (hash);
    CREATE INDEX blocks_by_time ON blocks (timestamp);
    CREATE INDEX blocks_by_lane ON blocks (author, height);
    CREATE TABLE buckets (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE removed (seq INTEGER PRIMARY KEY) STRICT;
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL, sum BLOB NOT NULL) STRICT;
    CREATE TABLE anchor (id INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;
";
/// Tables and their columns as the schema makes them: a file without them is damaged.
const COLUMNS: &[(&str, &[&str])] = &[
    ("authors", &["id", "key", "last", "sum"]),
    ("blocks", &["seq", "author", "height", "timestamp", "hash", "entries", "sum", "links", "bytes"]),
    ("buckets", &["id", "value"]),
    ("removed", &["seq"]),
    ("meta", &["key", "value", "sum"]),
    ("anchor", &["id", "value"]),
];
/// The same of version 1, which had nothing to notice a lost bit by.
const COLUMNS_1: &[(&str, &[&str])] = &[
    ("authors", &["id", "key"]),
    ("blocks", &["seq", "author", "height", "timestamp", "hash", "entries", "bytes"]),
    ("meta", &["key", "value"]),
];

fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> Result<T> {
    Ok(connection.pragma_query_value(None, name, |row| row.get(0))?)
}

/// A file that this program wrote has its application id, its version, and the tables of that version.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<()> {
    let (application, version) = (pragma(connection, "application_id")?, pragma(connection, "user_version")?);
    if application != APPLICATION {
        return Err(StoreError::Foreign { path: path.to_owned(), came: application });
    }
    let columns = match version {
        VERSION => COLUMNS,
        1 => COLUMNS_1,
        came => return Err(StoreError::Version { came }),
    };
    check_header(connection, path)?;
    for (table, columns) in columns {
        let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1) ORDER BY cid")?;
        let names = statement.query_map([table], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        if names != *columns {
            let what = format!("table {table} has the columns {names:?}, {columns:?} are expected");
            return Err(StoreError::Damaged(what));
        }
    }
    if version == 1 { Err(StoreError::Old) } else { Ok(()) }
}

/// What the file's first bytes say besides: with another journal mode the write-ahead log would be passed over.
fn check_header(connection: &Connection, path: &Path) -> Result<()> {
    let mode: String = pragma(connection, "journal_mode")?;
    if mode != "wal" {
        // SQLite gives the same answer when it cannot open the log. The file itself says which it is.
        if is_logged(path)? {
            return Err(no_log(&mode));
        }
        return Err(StoreError::Damaged(format!("journal mode is {mode}, wal is expected")));
    }
    let vacuum: i64 = pragma(connection, "auto_vacuum")?;
    if vacuum != 0 {
        return Err(StoreError::Damaged(format!("auto_vacuum is {vacuum}, 0 is expected")));
    }
    Ok(())
}

/// Whether the file itself says that it has a write-ahead log.
pub(super) fn is_logged(path: &Path) -> Result<bool> {
    let mut header = [0; 20];
    File::open(path)?.read_exact(&mut header)?;
    Ok(header[18..] == [2, 2])
}

/// The write-ahead log cannot be opened or made: the disk is what is wrong.
pub(super) fn no_log(mode: &str) -> StoreError {
    let what = format!("the write-ahead log cannot be used, journal mode is {mode}");
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR), Some(what)).into()
}

/// After a checkpoint the file holds the pages that SQLite counts, and no others.
pub(super) fn check_length(connection: &Connection, path: &Path) -> Result<()> {
    let pages: i64 = pragma(connection, "page_count")?;
    let size: i64 = pragma(connection, "page_size")?;
    let expected = (pages * size).unsigned_abs();
    let came = path.metadata()?.len();
    if came != expected {
        return Err(StoreError::Damaged(format!("the file has {came} bytes, {expected} are expected")));
    }
    Ok(())
}

/// Makes the tables of this version in an open transaction.
pub(super) fn create(connection: &Connection) -> Result<()> {
    connection.execute_batch(SCHEMA)?;
    connection.execute("INSERT INTO anchor (id, value) VALUES (1, ?1)", [Anchor::default().encode()])?;
    connection.execute_batch(&format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION};"))?;
    Ok(())
}

/// Brings a file of version 1 up to date, all of it or nothing.
pub(super) fn migrate(store: &mut SqliteStore) -> Result<()> {
    store.begin()?;
    let connection = || &store.reader.connection;
    connection().execute_batch(
        "DROP INDEX blocks_by_hash; DROP INDEX blocks_by_time; DROP INDEX blocks_by_lane;
         ALTER TABLE blocks RENAME TO blocks_1; ALTER TABLE authors RENAME TO authors_1; ALTER TABLE meta RENAME TO meta_1;",
    )?;
    create(connection())?;
    let mut seq = 0;
    while let Some((summary, bytes)) = next_1(store, seq)? {
        seq = summary.seq;
        store.append(&summary, &bytes)?;
    }
    let metas: Vec<(String, Vec<u8>)> = {
        let mut statement = store.reader.connection.prepare("SELECT key, value FROM meta_1")?;
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?
    };
    for (key, value) in metas {
        store.set_meta(&key, &value)?;
    }
    store.reader.connection.execute_batch("DROP TABLE blocks_1; DROP TABLE authors_1; DROP TABLE meta_1;")?;
    store.commit()
}

fn next_1(store: &SqliteStore, seq: u64) -> Result<Option<(Summary, Vec<u8>)>> {
    let mut statement = store.reader.prepare(
        "SELECT b.seq, a.key, b.height, b.timestamp, b.hash, b.entries, b.bytes FROM blocks_1 b \
         CROSS JOIN authors_1 a ON a.id = b.author WHERE b.seq > ?1 ORDER BY b.seq LIMIT 1",
    )?;
    let mut found = statement.query([rows::integer(seq)?])?;
    let Some(row) = found.next()? else { return Ok(None) };
    let summary = Summary {
        seq: rows::number(row, 0)?,
        author: NodeId::from_bytes(rows::array(row, 1, "an author's key")?),
        height: rows::number(row, 2)?,
        timestamp: Timestamp::from_micros(rows::number(row, 3)?).ok_or_else(|| rows::damaged("a time"))?,
        hash: BlockHash::from_bytes(rows::array(row, 4, "a block's hash")?),
        entries: u32::try_from(rows::number(row, 5)?).map_err(|_| rows::damaged("a number of entries"))?,
    };
    Ok(Some((summary, row.get(6)?)))
}
