//! What a node needs to be itself again when its disk is lost: of each ledger the key, what the ledger begins with, its relays
//! and its epoch keys. The history comes from other nodes.
//!
//! One line of text, sealed with a passphrase (see `sealed`), label `cairn key backup 1`. In it, in canonical CBOR:
//!
//! ```text
//! backup = [sealed, [[secret: bytes32, height, [[key: text, value: bytes] …]] …]]
//! ```
//!
//! `sealed`: the key files were, and are to be again. `height` is that of the node's lane at the time. The pairs are values of
//! the store's `meta`. The default ledger comes first.

use std::{
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use minicbor::{Decoder, Encoder};
use shared::ReadStore;
use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    KeyError, NodeKey, Opener, Passphrase, PassphraseError, SealedError, SealingKey, Source,
    file::write_new,
    is_sealed,
    sealed::{Cost, Sealed},
};
use crate::{
    data::{DataDir, DataError, LedgerDir},
    host::Stopped,
    ledgers::LedgerError,
    store::{KEPT, RELAYS, StoreError},
};

const LABEL: &str = "cairn key backup 1 ";
/// Bytes of a backup. Most of them are epoch keys, of which a ledger has at most 1 MB.
const FILE_BYTES: u64 = 256 * 1024 * 1024;
/// Ledgers of a backup.
const LEDGERS: usize = crate::data::LEDGERS;
/// Values of a ledger.
const VALUES: usize = 16;

/// Why a backup is not written, or gives nothing back.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The file cannot be read or written.
    #[error("the backup {} cannot be used: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// The file stays closed.
    #[error("the backup {} does not open: {error}", path.display())]
    Sealed {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: SealedError,
    },
    /// What is in it makes no sense.
    #[error("the backup {} opens, but what is in it is not what this version writes", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// A key fails.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The data directory fails.
    #[error(transparent)]
    Data(#[from] DataError),
    /// It ended by a bug.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The node is stopping.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl BackupError {
    /// Whether the keys are sealed with another passphrase than was given.
    pub fn is_other_passphrase(&self) -> bool {
        matches!(self, Self::Key(KeyError::Sealed { error: SealedError::Passphrase, .. }))
    }
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> Self {
        Self::Data(error.into())
    }
}

/// What is kept of one ledger.
pub struct Kept {
    /// The node's key.
    pub key: NodeKey,
    /// Height of the node's lane.
    pub height: u64,
    /// Values of the store.
    pub values: Vec<(String, Vec<u8>)>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.values.iter().map(|(key, _)| key.as_str()).collect();
        f.debug_struct("Kept")
            .field("node", &self.key.node())
            .field("height", &self.height)
            .field("values", &keys)
            .finish()
    }
}

impl Kept {
    fn of(data: &DataDir, dir: &LedgerDir, relays: &[String], opener: &Opener) -> Result<Self, BackupError> {
        let reader = data.reader_of(dir)?;
        let key = NodeKey::load(&dir.key(), opener)?;
        let (key, store) = (key.ok_or_else(|| DataError::Nothing { path: dir.key() })?, reader.node()?);
        if store != Some(key.node()) {
            return Err(DataError::KeyWithoutStore { path: dir.key(), key: key.node(), store }.into());
        }
        let mut values = Vec::new();
        for name in KEPT.into_iter().filter(|name| *name != RELAYS) {
            values.extend(reader.meta(name)?.map(|value| (name.to_owned(), value)));
        }
        let mut known = reader.relays()?;
        let more: Vec<&String> = relays.iter().filter(|relay| !known.contains(relay)).collect();
        known.extend(more.into_iter().cloned());
        values.push((RELAYS.to_owned(), known.join("\n").into_bytes()));
        Ok(Self { height: reader.height(&key.node())?, key, values })
    }

    /// A value.
    pub fn value(&self, key: &str) -> Option<&[u8]> {
        self.values.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_slice())
    }
}

/// All ledgers of a data directory.
#[derive(Debug)]
pub struct Backup {
    /// Whether their key files are sealed.
    pub sealed: bool,
    /// The ledgers, the default one first.
    pub ledgers: Vec<Kept>,
}

impl Backup {
    /// What is to be kept of some ledgers of a data directory, and the passphrase to seal it with: that of the keys, where they
    /// have one. `relays`: those of the settings, because a data directory that is lost has lost its cairn.toml.
    ///
    /// # Errors
    /// When something cannot be read, or the passphrase is missing, wrong, or too short for a new one.
    pub fn of(
        data: &DataDir,
        dirs: &[LedgerDir],
        relays: &[String],
        passphrase: &Source,
    ) -> Result<(Self, Passphrase), BackupError> {
        let mut sealed = false;
        for dir in dirs {
            sealed |= is_sealed(&dir.key())? == Some(true);
        }
        let passphrase = if sealed { passphrase.read() } else { passphrase.read_new() };
        let passphrase = passphrase.map_err(KeyError::from)?;
        let opener = Opener::new(vec![Source::Given(passphrase.clone())]);
        let ledgers = dirs.iter().map(|dir| Kept::of(data, dir, relays, &opener)).collect::<Result<_, _>>()?;
        Ok((Self { sealed, ledgers }, passphrase))
    }

    /// The text of a backup, sealed with a passphrase.
    ///
    /// # Errors
    /// When there are no random bytes.
    pub fn seal(&self, passphrase: &Passphrase) -> Result<String, BackupError> {
        let key = SealingKey::new(passphrase, Cost::NEW)?;
        Ok(key.seal(LABEL, &self.encode()).map_err(KeyError::from)?)
    }

    /// Writes a new file, sealed with a passphrase.
    ///
    /// # Errors
    /// When the file is there already or cannot be written.
    pub fn write(&self, path: &Path, passphrase: &Passphrase) -> Result<(), BackupError> {
        let line = self.seal(passphrase)?;
        write_new(path, line.as_bytes()).map_err(|error| BackupError::Io { path: path.to_owned(), error })
    }

    /// Reads a file. `passphrase` is asked for once the file is known to be a backup.
    ///
    /// # Errors
    /// When the file cannot be read or is no backup, or the passphrase is wrong.
    pub fn read(
        path: &Path,
        passphrase: impl FnOnce() -> Result<Passphrase, PassphraseError>,
    ) -> Result<(Self, Passphrase), BackupError> {
        let name = || path.to_owned();
        let io = |error| BackupError::Io { path: name(), error };
        let closed = |error| BackupError::Sealed { path: name(), error };
        let mut text = String::new();
        fs::File::open(path).map_err(io)?.take(FILE_BYTES).read_to_string(&mut text).map_err(io)?;
        let sealed = Sealed::parse(LABEL, &text).map_err(closed)?;
        let passphrase = passphrase().map_err(KeyError::from)?;
        let opened = SealingKey::of(&passphrase, &sealed).and_then(|key| key.open(&sealed)).map_err(closed)?;
        let backup = Self::decode(&opened).ok_or_else(|| BackupError::Malformed { path: name() })?;
        Ok((backup, passphrase))
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        // With room for all of it: bytes that a growing vector leaves behind would not be overwritten.
        let of_value = |(key, value): &(String, Vec<u8>)| key.len() + value.len() + 20;
        let of_ledger = |kept: &Kept| kept.values.iter().map(of_value).sum::<usize>() + 80;
        let room = self.ledgers.iter().map(of_ledger).sum::<usize>() + 20;
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        let mut e = Encoder::new(&mut *bytes);
        let mut write = || -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
            e.array(2)?.bool(self.sealed)?.array(self.ledgers.len() as u64)?;
            for Kept { key, height, values } in &self.ledgers {
                e.array(3)?.bytes(&*Zeroizing::new(key.key.to_bytes()))?.u64(*height)?.array(values.len() as u64)?;
                values.iter().try_for_each(|(key, value)| e.array(2)?.str(key)?.bytes(value)?.ok())?;
            }
            Ok(())
        };
        write().unwrap_or_else(|_| unreachable!("a vector takes all that is written to it"));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut d = Decoder::new(bytes);
        array(&mut d, 2)?;
        let sealed = d.bool().ok()?;
        let mut ledgers = Vec::new();
        for _ in 0..list(&mut d, LEDGERS)? {
            array(&mut d, 3)?;
            let secret = Zeroizing::new(d.bytes().ok()?.try_into().ok()?);
            let (key, height) = (NodeKey::from_secret(&secret), d.u64().ok()?);
            let mut values = Vec::new();
            for _ in 0..list(&mut d, VALUES)? {
                array(&mut d, 2)?;
                values.push((d.str().ok()?.to_owned(), d.bytes().ok()?.to_vec()));
            }
            ledgers.push(Kept { key, height, values });
        }
        let backup = Self { sealed, ledgers };
        (*backup.encode() == bytes).then_some(backup)
    }
}

fn array(d: &mut Decoder<'_>, len: u64) -> Option<()> {
    (d.array().ok()?? == len).then_some(())
}

fn list(d: &mut Decoder<'_>, most: usize) -> Option<usize> {
    usize::try_from(d.array().ok()??).ok().filter(|len| *len <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup() -> Backup {
        let kept = |n: u8, values: Vec<(String, Vec<u8>)>| Kept {
            key: NodeKey::from_secret(&[n; 32]),
            height: n.into(),
            values,
        };
        let values = vec![("node.ledger".to_owned(), b"commons".to_vec()), ("keys".to_owned(), vec![7; 300])];
        Backup { sealed: true, ledgers: vec![kept(1, values), kept(2, Vec::new())] }
    }

    #[test]
    fn a_backup_reads_back_and_only_with_its_passphrase() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("backup");
        let passphrase = Passphrase::from("correct horse");
        backup().write(&path, &passphrase).unwrap();
        let (read, _) = Backup::read(&path, || Ok(passphrase.clone())).unwrap();
        assert_eq!(*read.encode(), *backup().encode());
        assert_eq!((read.sealed, read.ledgers[0].value("node.ledger")), (true, Some(&b"commons"[..])));
        let wrong = Backup::read(&path, || Ok(Passphrase::from("another"))).unwrap_err();
        assert!(matches!(wrong, BackupError::Sealed { error: SealedError::Passphrase, .. }), "{wrong}");
        let again = backup().write(&path, &passphrase).unwrap_err();
        assert!(matches!(&again, BackupError::Io { error, .. } if error.kind() == io::ErrorKind::AlreadyExists));
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] = if bytes[middle] == b'0' { b'1' } else { b'0' };
        fs::write(&path, bytes).unwrap();
        let damaged = Backup::read(&path, || panic!("asked for the passphrase of a damaged file")).unwrap_err();
        assert!(matches!(damaged, BackupError::Sealed { error: SealedError::Damaged, .. }), "{damaged}");
    }

    #[test]
    fn its_bytes_are_canonical_and_nothing_else_is_taken_for_them() {
        let bytes = backup().encode();
        assert!(bytes.len() <= bytes.capacity());
        for len in 0..bytes.len() {
            assert!(Backup::decode(&bytes[..len]).is_none(), "{len} bytes");
        }
        assert!(Backup::decode(&[&bytes[..], &[0]].concat()).is_none());
        assert!(Backup::decode(&[0x82, 0xf5, 0x9b, 255, 255, 255, 255, 255, 255, 255, 255]).is_none());
        assert_eq!(hex::encode(&bytes[..5]), "82f5828358");
    }

    #[test]
    fn it_prints_no_secret() {
        let printed = format!("{:?}", backup());
        assert!(!printed.contains("0101") && !printed.contains("1, 1") && !printed.contains("7, 7"), "{printed}");
    }
}
