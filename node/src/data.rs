//! The data directory of a node: its lock, its store and its key belong together.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use shared::{LedgerId, NodeId, Page, ReadStore, block::open_ledger};
use thiserror::Error;

use crate::{
    control::ControlFile,
    keys::{KeyError, NodeKey, NodeKeys},
    store::{SqliteReader, SqliteStore, StoreError},
};

/// The ledger of a new data directory when none is named.
pub const DEFAULT_LEDGER: &str = "commons";

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// Another process works in it.
    #[error("the data directory {} is in use by another cairn process", path.display())]
    InUse {
        /// Which directory.
        path: PathBuf,
    },
    /// The directory cannot be made or locked.
    #[error("the data directory {} cannot be used: {error}", path.display())]
    Io {
        /// Which directory.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// Nothing is there yet.
    #[error("there is no ledger in {}: `cairn serve` or `cairn append` makes one", path.display())]
    Nothing {
        /// Which directory.
        path: PathBuf,
    },
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key fails.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Key and store do not belong together: writing would sign a height twice.
    #[error(
        "{} is the key of node {key}, but the store beside it was written by {}: with an old key and another store \
         this node would sign heights that it signed before. Bring the store back, or move the key file away and \
         become a new node",
        path.display(),
        store.map_or("nobody".to_owned(), |store| format!("node {store}"))
    )]
    KeyWithoutStore {
        /// The key file.
        path: PathBuf,
        /// Whose key it is.
        key: NodeId,
        /// Who wrote the store.
        store: Option<NodeId>,
    },
}

/// Where a node keeps everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// The directory with this path, there or not.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The store's file.
    pub fn store(&self) -> PathBuf {
        self.0.join("ledger.db")
    }

    /// The key's file.
    pub fn key(&self) -> PathBuf {
        self.0.join("node.key")
    }

    /// The file of the key that the node goes on with if its lane is forked.
    pub fn successor(&self) -> PathBuf {
        self.0.join("successor.key")
    }

    /// Where a running node says how to reach it.
    pub fn control(&self) -> PathBuf {
        self.0.join("control.json")
    }

    /// The file of the token that clients show.
    pub fn client_token(&self) -> PathBuf {
        self.0.join("client.token")
    }

    /// Opens the store for reading, whether or not a node serves it.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn reader(&self) -> Result<SqliteReader, DataError> {
        match SqliteReader::open(&self.store()) {
            Err(StoreError::Missing { .. }) => Err(DataError::Nothing { path: self.0.clone() }),
            Err(StoreError::Old) => {
                let _locked = self.lock()?;
                SqliteStore::upgrade(&self.store())?;
                Ok(SqliteReader::open(&self.store())?)
            }
            result => Ok(result?),
        }
    }

    /// Makes the directory where it is missing, and takes it for this process alone. The lock ends with the value, or
    /// with the process, however it ends.
    ///
    /// # Errors
    /// [`DataError::InUse`] when another process has it.
    pub fn lock(&self) -> Result<LockedDir, DataError> {
        let failed = |error| DataError::Io { path: self.0.clone(), error };
        make_private(&self.0).map_err(failed)?;
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).open(self.0.join("lock")).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {
                // Whoever holds the lock knows that no node runs here; one that was killed left its address behind.
                ControlFile::remove(&self.control()).map_err(failed)?;
                Ok(LockedDir { dir: self.clone(), _lock: file })
            }
            Err(TryLockError::WouldBlock) => Err(DataError::InUse { path: self.0.clone() }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

/// Makes a directory that only its owner may enter, and the ones above it as usual. One that is there stays as it is.
fn make_private(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        result => result,
    }
}

/// A data directory that is this process's alone.
#[derive(Debug)]
pub struct LockedDir {
    dir: DataDir,
    _lock: File,
}

/// What a host is started with.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: SqliteStore,
    /// The node's keys.
    pub key: NodeKeys,
    /// The ledger's name.
    pub name: String,
    /// The ledger's id.
    pub ledger: LedgerId,
}

impl LockedDir {
    /// Its place.
    pub fn dir(&self) -> &DataDir {
        &self.dir
    }

    /// Opens store and key, and makes what is missing. `ledger` is the name of the wanted ledger; without one it is
    /// the ledger that the store holds, or [`DEFAULT_LEDGER`].
    ///
    /// # Errors
    /// When the store or the key cannot be used, or they do not belong together.
    pub fn open(&self, ledger: Option<&str>) -> Result<Opened, DataError> {
        if let Err(StoreError::Old) = SqliteReader::open(&self.dir.store()) {
            SqliteStore::upgrade(&self.dir.store())?;
        }
        let known = match self.dir.reader() {
            Ok(reader) => Some(reader.ledger()?.0),
            Err(DataError::Nothing { .. }) => None,
            Err(error) => return Err(error),
        };
        let name = ledger.map(str::to_owned).or(known).unwrap_or_else(|| DEFAULT_LEDGER.to_owned());
        // A key is written only after the store has noted whose it is. So a key without its note means that the store
        // was lost or exchanged, and its node must not write: it would fork its own lane.
        let key = NodeKey::load(&self.dir.key())?;
        let (mut store, taken_over) = self.open_store(&name, key.as_ref())?;
        let key = match key {
            Some(key) => key,
            None => {
                let key = NodeKey::generate()?;
                store.set_node(&key.node())?;
                key.save(&self.dir.key())?;
                key
            }
        };
        let mut key = NodeKeys::new(key, self.dir.key(), self.dir.successor())?;
        if taken_over {
            key.succeed()?;
        }
        Ok(Opened { store, key, ledger: open_ledger(&name), name })
    }

    /// The store, and whether it notes the successor already while the key files are still as before: then the process
    /// ended in between.
    fn open_store(&self, name: &str, key: Option<&NodeKey>) -> Result<(SqliteStore, bool), DataError> {
        let mismatch = |key: NodeId, store| DataError::KeyWithoutStore { path: self.dir.key(), key, store };
        if let Some(key) = key
            && !self.dir.store().exists()
        {
            return Err(mismatch(key.node(), None));
        }
        let store = SqliteStore::open(&self.dir.store(), name)?;
        let noted = store.as_reader().node()?;
        let Some(key) = key.filter(|key| noted != Some(key.node())) else { return Ok((store, false)) };
        let spare = NodeKey::load(&self.dir.successor())?;
        if noted.is_some() && spare.is_some_and(|spare| noted == Some(spare.node())) {
            return Ok((store, true));
        }
        Err(mismatch(key.node(), noted))
    }
}

impl Opened {
    /// Makes another spare key, unless this one has written already. For a node that begins to serve: its data directory
    /// may be a copy of another one that does.
    ///
    /// # Errors
    /// When the store cannot be read or the key cannot be written.
    pub fn renew_spare(&mut self) -> Result<(), DataError> {
        if self.store.lane(&self.key.spare(), 1, Page::ONE)?.is_empty() {
            self.key.renew_spare()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary() -> (tempfile::TempDir, DataDir) {
        let directory = tempfile::tempdir().unwrap();
        let dir = DataDir::new(directory.path().join("a/b"));
        (directory, dir)
    }

    #[test]
    fn a_directory_is_made_once_and_opens_again_as_the_same_node() {
        let (_guard, dir) = temporary();
        assert!(matches!(dir.reader(), Err(DataError::Nothing { .. })));
        let first = dir.lock().unwrap().open(Some("garden")).unwrap();
        let node = first.key.node();
        drop(first);
        let again = dir.lock().unwrap().open(None).unwrap();
        assert_eq!((again.key.node(), again.name.as_str()), (node, "garden"));
    }

    #[test]
    fn a_directory_has_one_user_and_one_ledger() {
        let (_guard, dir) = temporary();
        let lock = dir.lock().unwrap();
        assert!(matches!(dir.lock(), Err(DataError::InUse { .. })));
        drop(lock.open(Some("garden")).unwrap());
        let error = lock.open(Some("house")).unwrap_err();
        assert!(matches!(error, DataError::Store(StoreError::Ledger { .. })), "{error}");
    }

    #[test]
    fn a_key_without_its_store_never_signs() {
        let (_guard, dir) = temporary();
        let lock = dir.lock().unwrap();
        drop(lock.open(None).unwrap());
        fs::remove_file(dir.store()).unwrap();
        assert!(matches!(lock.open(None), Err(DataError::KeyWithoutStore { store: None, .. })));
        assert!(!dir.store().exists());
        fs::remove_file(dir.key()).unwrap();
        drop(lock.open(None).unwrap());
        NodeKey::generate().unwrap().save(&dir.key()).unwrap();
        assert!(matches!(lock.open(None), Err(DataError::KeyWithoutStore { store: Some(_), .. })));
    }

    #[test]
    fn a_crash_between_note_and_change_of_keys_is_made_good() {
        let (_guard, dir) = temporary();
        let lock = dir.lock().unwrap();
        let mut opened = lock.open(None).unwrap();
        opened.renew_spare().unwrap();
        let spare = opened.key.spare();
        opened.store.set_node(&spare).unwrap();
        drop(opened);
        let opened = lock.open(None).unwrap();
        assert_eq!(opened.key.node(), spare);
        assert_ne!(opened.key.spare(), spare);
        drop(opened);
        assert_eq!(lock.open(None).unwrap().key.node(), spare);
        // Somebody else's note is still a store that does not belong to the key.
        let mut opened = lock.open(None).unwrap();
        opened.store.set_node(&NodeId::from_bytes([7; 32])).unwrap();
        drop(opened);
        assert!(matches!(lock.open(None), Err(DataError::KeyWithoutStore { store: Some(_), .. })));
    }

    #[test]
    fn a_crash_between_note_and_key_leaves_a_directory_that_opens() {
        let (_guard, dir) = temporary();
        let lock = dir.lock().unwrap();
        let before = lock.open(None).unwrap().key.node();
        fs::remove_file(dir.key()).unwrap();
        let after = lock.open(None).unwrap().key.node();
        assert_ne!(before, after);
    }
}
