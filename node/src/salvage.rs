//! A damaged store: what is found in it, and a new file with all of it that is good.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use shared::{
    BlockHash, LedgerId, NodeId, Page, ReadStore, Record, Store, VerifiedBlock,
    repair::{self, Scan, Wrong},
};

use crate::store::{
    Beginning, GENESIS, LEDGER_NAME, NODE_KEY, SqliteReader, SqliteStore, StoreError, remove_file, suffixed,
    sync_directory,
};

/// Rows of one read.
const PAGE: Page = Page { blocks: 256, bytes: 4 * 1024 * 1024 };
/// Damaged files that are kept beside the store, before the oldest of them has to be moved away by hand.
const KEPT: u32 = 1000;

/// What was found.
#[derive(Debug)]
pub struct Examined {
    /// What the ledger begins with.
    pub beginning: Beginning,
    /// Its id.
    pub ledger: LedgerId,
    /// The blocks.
    pub scan: Scan,
    /// What else is wrong: pages, indexes, values, and the order in which rows are found.
    pub problems: Vec<String>,
}

impl Examined {
    /// Whether nothing at all is wrong.
    pub fn is_clean(&self) -> bool {
        self.scan.is_clean() && self.problems.is_empty()
    }
}

/// Goes through a store that may be damaged in any way. `name` is the ledger's, for a file that does not say it any more.
/// `good` hears of every block that is as it was signed.
///
/// # Errors
/// When there is no file, or nobody knows which ledger it was.
pub fn examine(
    path: &Path,
    name: Option<&str>,
    mut good: impl FnMut(&SqliteReader, &Record, &VerifiedBlock),
) -> Result<Examined, StoreError> {
    let mut problems = Vec::new();
    let reader = match SqliteReader::open(path) {
        Ok(reader) => {
            // One state of the store, whatever a running node adds meanwhile.
            reader.begin()?;
            Some(reader)
        }
        // Who wrote it is told by its application id; but that is four bytes that can be damaged too.
        Err(error @ StoreError::Foreign { .. }) if SqliteReader::open_damaged(path)?.rows(0, PAGE).is_err() => {
            return Err(error);
        }
        Err(error @ (StoreError::Missing { .. } | StoreError::Version { .. })) => return Err(error),
        Err(error) if error.is_damage() => {
            problems.push(error.to_string());
            None
        }
        Err(error) => return Err(error),
    };
    let reader = match reader {
        Some(reader) => {
            match reader.check_file() {
                Ok(found) => problems.extend(found),
                Err(error) if error.is_damage() => problems.push(error.to_string()),
                Err(error) => return Err(error),
            }
            match reader.check_answers() {
                Err(error) if error.is_damage() => problems.push(error.to_string()),
                result => result?,
            }
            reader
        }
        None => SqliteReader::open_damaged(path)?,
    };
    let metas = reader.metas();
    let stored = |wanted: &str| metas.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.clone());
    let unknown = || StoreError::Damaged("it does not say which ledger it holds; --ledger NAME says it".to_owned());
    let beginning = Beginning::of(stored).or(name.map(Beginning::from)).ok_or_else(unknown)?;
    let ledger = beginning.id();
    let scan = match repair::scan(&reader, &ledger, |record, block| good(&reader, record, block)) {
        Ok(scan) => scan,
        // Without its tables no row can even be asked for.
        Err(error) if error.is_damage() || matches!(error, StoreError::Sqlite(_)) && !problems.is_empty() => {
            problems.push(format!("its blocks cannot be read at all: {error}"));
            Scan::default()
        }
        Err(error) => return Err(error),
    };
    Ok(Examined { beginning, ledger, scan, problems })
}

/// What is wrong with a row, in words.
pub fn describe(wrong: &Wrong) -> String {
    match wrong {
        Wrong::Bytes(error) => error.to_string(),
        Wrong::Columns => "its row says something else of it than its bytes".to_owned(),
        Wrong::Twice => "it is there a second time".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Puts a new file with everything good in the place of a damaged store, and keeps the damaged one beside it. `node` is
/// whose key writes here. `done` hears of every block that was copied. The caller holds the data directory's lock. Returns
/// where the damaged file is, and the blocks that have to come from others.
///
/// # Errors
/// When something cannot be read or written. The store is as it was then, unless the last steps failed, renaming.
pub fn salvage(
    path: &Path,
    examined: &Examined,
    node: Option<&NodeId>,
    mut done: impl FnMut(),
) -> Result<(PathBuf, Vec<BlockHash>), StoreError> {
    let part = beside(path, "part");
    for name in ["", "-wal", "-shm", "-mark"] {
        remove_file(&suffixed(&part, name))?;
    }
    let mut store = SqliteStore::open(&part, examined.beginning.clone())?;
    let reader = SqliteReader::open_damaged(path)?;
    let mut seen = std::collections::BTreeSet::new();
    let mut seq = 0;
    while let Ok(page) = reader.rows(seq, PAGE) {
        let Some(last) = page.last() else { break };
        seq = last.summary.seq;
        for record in page {
            let Some(record) = repair::righted(record, &examined.ledger) else { continue };
            if seen.insert(record.summary.hash) {
                store.append(&record.summary, &record.bytes)?;
                done();
            }
        }
        store.commit()?;
    }
    for (key, value) in reader.metas() {
        if !repair::is_remade(&key) && key != LEDGER_NAME && key != GENESIS {
            store.set_meta(&key, &value)?;
        }
    }
    // The file's first line of defence against a key without its store: it says whose it is.
    if let Some(node) = node
        && store.meta(NODE_KEY)?.is_none()
    {
        store.set_node(node)?;
    }
    let wanted = repair::expect(&mut store, &examined.scan)?;
    store.checkpoint()?;
    drop((store, reader));
    let kept = exchange(path, &part)?;
    Ok((kept, wanted.into_iter().collect()))
}

/// The damaged file gets a second name first, its log is moved to it, and then the new file takes its place at once.
fn exchange(path: &Path, part: &Path) -> io::Result<PathBuf> {
    let free = (1..KEPT).map(|n| beside(path, &format!("damaged-{n}"))).find(|name| !name.exists());
    let kept =
        free.ok_or_else(|| io::Error::other("there are too many damaged files beside the store, move them away"))?;
    fs::hard_link(path, &kept).or_else(|_| fs::copy(path, &kept).map(drop))?;
    let log = suffixed(path, "-wal");
    if log.exists() {
        fs::rename(&log, suffixed(&kept, "-wal"))?;
    }
    remove_file(&suffixed(path, "-shm"))?;
    remove_file(&suffixed(path, "-mark"))?;
    fs::rename(part, path)?;
    remove_file(&suffixed(part, "-mark"))?;
    sync_directory(path)?;
    Ok(kept)
}

fn beside(path: &Path, what: &str) -> PathBuf {
    suffixed(path, &format!(".{what}"))
}
