//! The data directory of a node: its lock, and its ledgers, of which each has a store and a key that belong together.
//!
//! ```text
//! lock  control.json  client.token  cairn.toml  default      the node's
//! ledger.db  node.key  successor.key                         of the open ledger that it began with, if it did
//! ledgers/<ledger id>/ledger.db  node.key  successor.key     of each further ledger
//! ```

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use shared::{LedgerId, NodeId, Page, ReadStore};
use thiserror::Error;

use crate::{
    control::ControlFile,
    keys::{self, KeyError, NodeKey, NodeKeys, Opener, SealingKey, Source, private, write_private},
    store::{Beginning, SqliteReader, SqliteStore, StoreError},
};

/// The ledger of a new data directory when none is named.
pub const DEFAULT_LEDGER: &str = "commons";
/// Ledgers in one data directory.
pub const LEDGERS: usize = 256;
/// Digits of an id that are enough to name a ledger.
const PREFIX_DIGITS: usize = 4;

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
    #[error(
        "there is no ledger in {}: `cairn init` makes one for a group, `cairn join` takes part in another's, and \
         `cairn serve` begins with the open ledger {DEFAULT_LEDGER}",
        path.display()
    )]
    Nothing {
        /// Which directory.
        path: PathBuf,
    },
    /// Others are, but not this one.
    #[error("there is no ledger {wanted:?} here, but {}; `cairn init --open {wanted:?}` would make one", here.join(", "))]
    NoSuchLedger {
        /// What came.
        wanted: String,
        /// Names and ids of those that are.
        here: Vec<String>,
    },
    /// More than one is meant.
    #[error("{wanted:?} may be any of {}: more digits of the id say which", here.join(", "))]
    Ambiguous {
        /// What came.
        wanted: String,
        /// Their ids.
        here: Vec<String>,
    },
    /// It is there already.
    #[error("ledger {0} is in this data directory already")]
    Exists(LedgerId),
    /// No place for another one.
    #[error("{LEDGERS} ledgers are in this data directory, which is the limit")]
    Full,
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
#[derive(Debug, Clone)]
pub struct DataDir(PathBuf, Arc<Opener>);

impl PartialEq for DataDir {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for DataDir {}

impl DataDir {
    /// The directory with this path, there or not. Where its keys are sealed, they stay closed.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into(), Arc::default())
    }

    /// The same directory, with keys that open with this passphrase.
    #[must_use]
    pub fn with_passphrase(self, source: Source) -> Self {
        Self(self.0, Arc::new(Opener::new(vec![source])))
    }

    /// What the keys of this directory are sealed with, if they are.
    ///
    /// # Errors
    /// When a key file cannot be read, or the passphrase is missing or wrong.
    pub fn seal(&self) -> Result<Option<Arc<SealingKey>>, DataError> {
        for dir in self.ledgers()? {
            if keys::is_sealed(&dir.key())? == Some(true) {
                let key = NodeKey::load(&dir.key(), &self.1)?;
                return Ok(key.and_then(|key| key.seal().cloned()));
            }
        }
        Ok(None)
    }

    /// A new key, which is sealed as the others here are.
    ///
    /// # Errors
    /// When there are no random bytes, or the others cannot be opened.
    pub fn new_key(&self) -> Result<NodeKey, DataError> {
        Ok(NodeKey::generate()?.sealed(self.seal()?))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where a running node says how to reach it.
    pub fn control(&self) -> PathBuf {
        self.0.join("control.json")
    }

    /// The file of the token that clients show.
    pub fn client_token(&self) -> PathBuf {
        self.0.join("client.token")
    }

    /// Where the open ledger lies that a node begins with.
    pub fn first(&self) -> LedgerDir {
        LedgerDir(self.0.clone())
    }

    /// Where any further ledger lies.
    pub fn further(&self, ledger: &LedgerId) -> LedgerDir {
        LedgerDir(self.0.join("ledgers").join(ledger.to_string()))
    }

    fn default_file(&self) -> PathBuf {
        self.0.join("default")
    }

    fn failed(&self) -> impl Fn(io::Error) -> DataError {
        |error| DataError::Io { path: self.0.clone(), error }
    }

    /// All ledgers, the default one first: what commands and clients mean that name none.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn ledgers(&self) -> Result<Vec<LedgerDir>, DataError> {
        let failed = self.failed();
        let mut ids: Vec<LedgerId> = Vec::new();
        match fs::read_dir(self.0.join("ledgers")) {
            Ok(entries) => {
                for entry in entries.take(2 * LEDGERS) {
                    let name = entry.map_err(&failed)?.file_name();
                    ids.extend(name.to_str().and_then(|name| name.parse::<LedgerId>().ok()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        ids.sort_unstable();
        let mut dirs: Vec<LedgerDir> = ids.iter().map(|id| self.further(id)).collect();
        dirs.insert(0, self.first());
        dirs.retain(|dir| dir.store().exists());
        match fs::read_to_string(self.default_file()) {
            Ok(text) => {
                let wanted = text.trim().parse::<LedgerId>().ok();
                let is_default = |dir: &LedgerDir| wanted.is_some_and(|id| dir.0 == self.further(&id).0);
                let first = dirs.iter().position(is_default).unwrap_or(0);
                dirs.get_mut(..=first).into_iter().for_each(|dirs| dirs.rotate_right(1));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        Ok(dirs)
    }

    /// Makes a ledger the default one.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub fn set_default(&self, ledger: &LedgerId) -> Result<(), DataError> {
        let failed = self.failed();
        if self.further(ledger).store().exists() {
            return write_private(&self.default_file(), format!("{ledger}\n").as_bytes()).map_err(failed);
        }
        crate::store::remove_file(&self.default_file()).map_err(failed)
    }

    /// The ledger that is meant: by the name of an open one, or the first digits of an id; `None`: the default one, or the
    /// place of the one to begin with where there is none yet.
    ///
    /// # Errors
    /// When there are others only, or more than one is meant.
    pub fn select(&self, wanted: Option<&str>) -> Result<LedgerDir, DataError> {
        let mut dirs = self.ledgers()?;
        let Some(wanted) = wanted else { return Ok(dirs.into_iter().next().unwrap_or_else(|| self.first())) };
        if dirs.is_empty() {
            return Ok(self.first());
        }
        let mut here = Vec::new();
        let mut meant = Vec::new();
        for (n, dir) in dirs.iter().enumerate() {
            let beginning = match self.reader_of(dir) {
                Ok(reader) => reader.ledger()?,
                // A damaged one is found by what says where it lies.
                Err(DataError::Store(error)) if error.is_damage() => {
                    meant.extend((dirs.len() == 1).then_some(n));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let id = beginning.id().to_string();
            if beginning.name() == Some(wanted) || (wanted.len() >= PREFIX_DIGITS && id.starts_with(wanted)) {
                meant.push(n);
            }
            here.push(match beginning.name() {
                Some(name) => format!("{name:?}"),
                None => id,
            });
        }
        match meant[..] {
            [] => Err(DataError::NoSuchLedger { wanted: wanted.to_owned(), here }),
            [only] => Ok(dirs.swap_remove(only)),
            _ => {
                let ids = meant.into_iter().filter_map(|n| dirs[n].reader().ok()?.ledger().ok());
                Err(DataError::Ambiguous { wanted: wanted.to_owned(), here: ids.map(|b| b.id().to_string()).collect() })
            }
        }
    }

    /// Opens the store of the default ledger for reading, whether or not a node serves it.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn reader(&self) -> Result<SqliteReader, DataError> {
        self.reader_of(&self.select(None)?)
    }

    /// The same for any ledger. A store of an earlier version is brought up to date first.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn reader_of(&self, dir: &LedgerDir) -> Result<SqliteReader, DataError> {
        match dir.reader() {
            Err(DataError::Store(StoreError::Old)) => {
                let _locked = self.lock()?;
                SqliteStore::upgrade(&dir.store())?;
                dir.reader()
            }
            result => result,
        }
    }

    /// Makes the directory where it is missing, and takes it for this process alone. The lock ends with the value, or
    /// with the process, however it ends.
    ///
    /// # Errors
    /// [`DataError::InUse`] when another process has it.
    pub fn lock(&self) -> Result<LockedDir, DataError> {
        let failed = self.failed();
        make_private(&self.0).map_err(&failed)?;
        let mut options = private();
        let file = options.create(true).truncate(false).write(true).open(self.0.join("lock")).map_err(&failed)?;
        match file.try_lock() {
            Ok(()) => {
                // Whoever holds the lock knows that no node runs here; one that was killed left its address behind.
                ControlFile::remove(&self.control()).map_err(failed)?;
                keys::shut(&self.0);
                Ok(LockedDir { dir: self.clone(), _lock: file })
            }
            Err(TryLockError::WouldBlock) => Err(DataError::InUse { path: self.0.clone() }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Makes a further ledger: all of it, or nothing. `fill` gets a directory of its own, opened, in which whatever belongs
    /// to the ledger from its beginning is written; then it gets its name. The first ledger of a data directory is its
    /// default one. A node that serves the directory does not see it before it is told.
    ///
    /// # Errors
    /// When it is there already, or cannot be written.
    pub fn make<T, E: From<DataError>>(
        &self,
        beginning: &Beginning,
        key: NodeKey,
        fill: impl FnOnce(Opened) -> Result<T, E>,
    ) -> Result<T, E> {
        let failed = self.failed();
        let id = beginning.id();
        let place = self.further(&id);
        let here = self.ledgers()?;
        if here.len() >= LEDGERS {
            return Err(DataError::Full.into());
        }
        for dir in &here {
            if dir.0 == place.0 || dir.reader()?.ledger().map_err(DataError::from)?.id() == id {
                return Err(DataError::Exists(id).into());
            }
        }
        let parent = self.0.join("ledgers");
        make_private(&self.0).and_then(|()| make_private(&parent)).map_err(&failed)?;
        // Only whole ledgers have an id for a name, so nobody takes this for one; it goes when anything fails.
        let mut builder = tempfile::Builder::new();
        builder.prefix("new-");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let temporary = builder.tempdir_in(&parent).map_err(&failed)?;
        let dir = LedgerDir(temporary.path().to_owned());
        let mut store = SqliteStore::open(&dir.store(), beginning.clone()).map_err(DataError::from)?;
        store.set_node(&key.node()).map_err(DataError::from)?;
        key.save(&dir.key()).map_err(DataError::from)?;
        let key = NodeKeys::new(key, dir.key(), dir.successor(), &self.1).map_err(DataError::from)?;
        let filled = fill(Opened { store, key, ledger: id, beginning: beginning.clone() })?;
        fs::rename(temporary.path(), &place.0).map_err(&failed)?;
        drop(temporary.keep());
        crate::store::sync_directory(&place.0).map_err(&failed)?;
        if here.is_empty() {
            self.set_default(&id)?;
        }
        Ok(filled)
    }
}

/// Where one ledger lies: its store and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerDir(PathBuf);

impl LedgerDir {
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

    /// Opens the store for reading, whether or not a node serves it.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn reader(&self) -> Result<SqliteReader, DataError> {
        match SqliteReader::open(&self.store()) {
            Err(StoreError::Missing { .. }) => Err(DataError::Nothing { path: self.0.clone() }),
            result => Ok(result?),
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
    /// What the ledger begins with.
    pub beginning: Beginning,
    /// The ledger's id.
    pub ledger: LedgerId,
}

impl LockedDir {
    /// Its place.
    pub fn dir(&self) -> &DataDir {
        &self.dir
    }

    /// Opens store and key of the ledger that is meant (see [`DataDir::select`]). Where there is no ledger at all, makes an
    /// open one of that name, or [`DEFAULT_LEDGER`].
    ///
    /// # Errors
    /// When the store or the key cannot be used, or they do not belong together.
    pub fn open(&self, wanted: Option<&str>) -> Result<Opened, DataError> {
        self.open_in(&self.dir.select(wanted)?, wanted)
    }

    /// The same for a ledger that was looked up before. `wanted` names the one to make where there is none.
    ///
    /// # Errors
    /// As [`LockedDir::open`].
    pub fn open_in(&self, dir: &LedgerDir, wanted: Option<&str>) -> Result<Opened, DataError> {
        self.upgrade(dir)?;
        let beginning = match dir.reader() {
            Ok(reader) => reader.ledger()?,
            Err(DataError::Nothing { .. }) => Beginning::Open(wanted.unwrap_or(DEFAULT_LEDGER).to_owned()),
            Err(error) => return Err(error),
        };
        // A key is written only after the store has noted whose it is. So a key without its note means that the store
        // was lost or exchanged, and its node must not write: it would fork its own lane.
        let opener = &self.dir.1;
        let key = NodeKey::load(&dir.key(), opener)?;
        let (mut store, taken_over) = open_store(dir, &beginning, key.as_ref())?;
        let key = match key {
            Some(key) => key,
            None => {
                let key = self.dir.new_key()?;
                store.set_node(&key.node())?;
                key.save(&dir.key())?;
                key
            }
        };
        let mut key = NodeKeys::new(key, dir.key(), dir.successor(), opener)?;
        if taken_over {
            key.succeed()?;
        }
        Ok(Opened { store, key, ledger: beginning.id(), beginning })
    }

    /// Brings a store of an earlier version up to date.
    fn upgrade(&self, dir: &LedgerDir) -> Result<(), DataError> {
        match SqliteReader::open(&dir.store()) {
            Err(StoreError::Old) => Ok(SqliteStore::upgrade(&dir.store())?),
            _ => Ok(()),
        }
    }
}

/// The store, and whether it notes the successor already while the key files are still as before: then the process
/// ended in between.
fn open_store(dir: &LedgerDir, beginning: &Beginning, key: Option<&NodeKey>) -> Result<(SqliteStore, bool), DataError> {
    let mismatch = |key: NodeId, store| DataError::KeyWithoutStore { path: dir.key(), key, store };
    if let Some(key) = key
        && !dir.store().exists()
    {
        return Err(mismatch(key.node(), None));
    }
    let store = SqliteStore::open(&dir.store(), beginning.clone())?;
    let noted = store.as_reader().node()?;
    let Some(key) = key.filter(|key| noted != Some(key.node())) else { return Ok((store, false)) };
    if noted.is_some() && noted == NodeKey::node_of(&dir.successor())? {
        return Ok((store, true));
    }
    Err(mismatch(key.node(), noted))
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
        assert_eq!((again.key.node(), again.beginning.name()), (node, Some("garden")));
    }

    #[test]
    fn a_directory_has_one_user_and_one_ledger() {
        let (_guard, dir) = temporary();
        let lock = dir.lock().unwrap();
        assert!(matches!(dir.lock(), Err(DataError::InUse { .. })));
        drop(lock.open(Some("garden")).unwrap());
        let error = lock.open(Some("house")).unwrap_err();
        assert!(matches!(error, DataError::NoSuchLedger { .. }), "{error}");
    }

    fn make(dir: &DataDir, name: &str) -> Result<LedgerId, DataError> {
        let beginning = Beginning::from(name);
        dir.make(&beginning, NodeKey::generate().unwrap(), |opened| Ok::<_, DataError>(opened.ledger))
    }

    #[test]
    fn further_ledgers_are_found_by_name_and_by_the_first_digits_of_their_ids() {
        let (_guard, dir) = temporary();
        let (garden, house) = (make(&dir, "garden").unwrap(), make(&dir, "house").unwrap());
        assert_eq!(dir.ledgers().unwrap(), [dir.further(&garden), dir.further(&house)]);
        for wanted in ["house", &house.to_string(), &house.to_string()[..PREFIX_DIGITS]] {
            assert_eq!(dir.select(Some(wanted)).unwrap(), dir.further(&house), "{wanted}");
        }
        let short = &house.to_string()[..PREFIX_DIGITS - 1];
        assert!(matches!(dir.select(Some(short)), Err(DataError::NoSuchLedger { here, .. }) if here.len() == 2));
        dir.set_default(&house).unwrap();
        assert_eq!(dir.select(None).unwrap(), dir.further(&house));
        assert!(matches!(make(&dir, "garden"), Err(DataError::Exists(id)) if id == garden));
        // The one that a node begins with is a ledger like the others.
        drop(dir.lock().unwrap().open_in(&dir.first(), Some("commons")).unwrap());
        assert_eq!(dir.select(Some("commons")).unwrap(), dir.first());
        assert_eq!(dir.ledgers().unwrap()[0], dir.further(&house));
        dir.set_default(&dir.first().reader().unwrap().ledger().unwrap().id()).unwrap();
        assert_eq!(dir.ledgers().unwrap()[0], dir.first());
    }

    #[test]
    fn a_ledger_that_cannot_be_filled_is_not_there() {
        let (_guard, dir) = temporary();
        let failed =
            dir.make(&Beginning::from("garden"), NodeKey::generate().unwrap(), |_| Err::<(), _>(DataError::Full));
        assert!(matches!(failed, Err(DataError::Full)));
        assert_eq!(dir.ledgers().unwrap(), []);
        assert_eq!(fs::read_dir(dir.path().join("ledgers")).unwrap().count(), 0);
        make(&dir, "garden").unwrap();
    }

    #[test]
    fn a_key_without_its_store_never_signs() {
        let (_guard, dir) = temporary();
        let lock = dir.lock().unwrap();
        drop(lock.open(None).unwrap());
        fs::remove_file(dir.first().store()).unwrap();
        assert!(matches!(lock.open(None), Err(DataError::KeyWithoutStore { store: None, .. })));
        assert!(!dir.first().store().exists());
        fs::remove_file(dir.first().key()).unwrap();
        drop(lock.open(None).unwrap());
        NodeKey::generate().unwrap().save(&dir.first().key()).unwrap();
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
        fs::remove_file(dir.first().key()).unwrap();
        let after = lock.open(None).unwrap().key.node();
        assert_ne!(before, after);
    }
}
