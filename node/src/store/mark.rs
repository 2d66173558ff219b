//! A note beside the store of how many commits were made, so that a write-ahead log that lost its end is known.
//!
//! SQLite takes the first frame with a wrong checksum for the end of its log, as after a loss of power. One lost bit would
//! so undo commits that were acknowledged, without a word. The note is written after each commit and not synced: when a
//! process is killed the system still has it, and after a loss of power it can only be older than the store, never newer.

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::{
    Result, StoreError,
    rows::{Anchor, seal, unseal},
    suffixed,
};
use crate::keys::private;

const OF: &str = "the mark";

#[derive(Debug)]
pub(super) struct Mark(File);

fn path_of(store: &Path) -> PathBuf {
    suffixed(store, "-mark")
}

/// The commits that were noted for a store. A note that cannot be read proves nothing.
pub(super) fn noted(store: &Path) -> Result<u64> {
    match fs::read(path_of(store)) {
        Ok(bytes) => Ok(unseal::<1>(OF, &[], &bytes).map_or(0, |[commits]| commits)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// A store that has fewer commits than were noted has lost some.
pub(super) fn check(noted: u64, anchor: &Anchor) -> Result<()> {
    if anchor.commits >= noted {
        return Ok(());
    }
    let came = anchor.commits;
    Err(StoreError::Damaged(format!("it has {came} commits, but {noted} were made: the write-ahead log lost its end")))
}

impl Mark {
    pub(super) fn open(store: &Path, commits: u64) -> Result<Self> {
        let file = private().create(true).truncate(false).write(true).open(path_of(store))?;
        let mut mark = Self(file);
        mark.set(commits)?;
        Ok(mark)
    }

    pub(super) fn set(&mut self, commits: u64) -> Result<()> {
        self.0.seek(SeekFrom::Start(0))?;
        Ok(self.0.write_all(&seal(OF, &[], &[commits]))?)
    }
}
