//! The keys of a node and their files.
//!
//! ```text
//! cairn node key 1 <secret>                                       whoever reads the file has the key
//! cairn node key 2 <node id> argon2id …                           sealed with a passphrase, see `sealed`
//! ```

use std::{
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use ed25519_dalek::{SECRET_KEY_LENGTH, SigningKey};
use hkdf::Hkdf;
use sha2::Sha256;
use shared::{Key, LedgerId, NodeId};
use thiserror::Error;
use zeroize::Zeroizing;

pub mod backup;
mod file;
mod opener;
mod passphrase;
mod sealed;

pub(crate) use file::{open_to_others, private, shut, write_private};
pub use opener::Opener;
pub use passphrase::{Passphrase, PassphraseError, Source};
pub use sealed::{Cost, SealedError, SealingKey};

use sealed::Sealed;

/// First words of a key file, so that a person who finds one knows what it is.
const LABEL: &str = "cairn node key 1 ";
/// The same of a sealed one.
const SEALED_LABEL: &str = "cairn node key 2 ";
/// Bytes of a key file at most.
/// What the secret of an endpoint is derived for.
const ENDPOINT_LABEL: &[u8] = b"cairn/link/1 endpoint";
const FILE_BYTES: u64 = 1024;

/// Why there is no key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("the key file {} cannot be used: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// Others may read the file.
    #[error("the key file {} has mode {mode:03o}, 600 is expected: run chmod 600 on it", path.display())]
    Permissions {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else.
    #[error(
        "the key file {} is neither one line of \"{LABEL}\" and 64 hexadecimal digits nor one that `cairn key lock` wrote",
        path.display()
    )]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// The file is sealed, and nobody gave its passphrase.
    #[error("the key file {} is sealed: {}", path.display(), PassphraseError::None)]
    NoPassphrase {
        /// Which file.
        path: PathBuf,
    },
    /// The passphrase cannot be had.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The sealed file stays closed.
    #[error("{} does not open: {error}", path.display())]
    Sealed {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: SealedError,
    },
    /// Nothing can be sealed.
    #[error("nothing can be sealed: {0}")]
    Sealing(SealedError),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// The key that signs this node's blocks. It prints as nothing, and its file is sealed again as it was.
#[derive(Clone)]
pub struct NodeKey {
    key: SigningKey,
    seal: Option<Arc<SealingKey>>,
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey(…)")
    }
}

impl NodeKey {
    /// A new key.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn generate() -> Result<Self, KeyError> {
        let mut secret = Zeroizing::new([0; SECRET_KEY_LENGTH]);
        getrandom::fill(&mut *secret)?;
        Ok(Self::from_secret(&secret))
    }

    /// The key with this secret.
    pub fn from_secret(secret: &[u8; SECRET_KEY_LENGTH]) -> Self {
        Self { key: SigningKey::from_bytes(secret), seal: None }
    }

    /// The same key, to be written sealed with this or not at all.
    #[must_use]
    pub fn sealed(self, seal: Option<Arc<SealingKey>>) -> Self {
        Self { seal, ..self }
    }

    /// What its file is sealed with.
    pub fn seal(&self) -> Option<&Arc<SealingKey>> {
        self.seal.as_ref()
    }

    /// The secret of the iroh endpoint by which this node is reached in a ledger: always the same, and nobody who knows the endpoint
    /// learns anything of the node.
    fn endpoint_secret(&self, ledger: &LedgerId) -> Zeroizing<[u8; 32]> {
        let hkdf = Hkdf::<Sha256>::new(Some(ledger.as_bytes()), self.key.as_bytes());
        let mut secret = Zeroizing::new([0; 32]);
        assert!(hkdf.expand(ENDPOINT_LABEL, &mut *secret).is_ok(), "HKDF gives 32 bytes");
        secret
    }

    /// The public half.
    pub fn node(&self) -> NodeId {
        NodeId::from_bytes(self.key.verifying_key().to_bytes())
    }

    /// Reads a key file; `None` if there is none.
    ///
    /// # Errors
    /// When the file cannot be read, is readable by others, holds no key, or is sealed and does not open.
    pub fn load(path: &Path, opener: &Opener) -> Result<Option<Self>, KeyError> {
        Ok(match KeyFile::read(path)? {
            None => None,
            Some(KeyFile::Open(key)) => Some(key),
            Some(KeyFile::Sealed { node, sealed }) => {
                let (seal, secret) = opener.open(path, &sealed)?;
                let malformed = || KeyError::Malformed { path: path.to_owned() };
                let secret = Zeroizing::new(secret.as_slice().try_into().map_err(|_| malformed())?);
                let key = Self::from_secret(&secret).sealed(Some(seal));
                Some(if key.node() == node { key } else { return Err(malformed()) })
            }
        })
    }

    /// Whose key a file holds, which is not opened; `None` if there is none.
    ///
    /// # Errors
    /// As [`NodeKey::load`], but for the passphrase.
    pub fn node_of(path: &Path) -> Result<Option<NodeId>, KeyError> {
        Ok(KeyFile::read(path)?.map(|file| match file {
            KeyFile::Open(key) => key.node(),
            KeyFile::Sealed { node, .. } => node,
        }))
    }

    /// Writes the key to a file that only its owner may read, all of it or nothing.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        let secret = Zeroizing::new(self.key.to_bytes());
        let line = match &self.seal {
            Some(seal) => Zeroizing::new(seal.seal(&format!("{SEALED_LABEL}{} ", self.node()), &*secret)?.into_bytes()),
            None => {
                let mut line = Zeroizing::new(vec![b'\n'; LABEL.len() + 2 * SECRET_KEY_LENGTH + 1]);
                line[..LABEL.len()].copy_from_slice(LABEL.as_bytes());
                let digits = &mut line[LABEL.len()..][..2 * SECRET_KEY_LENGTH];
                hex::encode_to_slice(*secret, digits).unwrap_or_else(|_| unreachable!("two digits for each byte"));
                line
            }
        };
        write_private(path, &line).map_err(|error| KeyError::Io { path: path.to_owned(), error })
    }

    fn to_key(&self) -> Key {
        Key::from_secret(&Zeroizing::new(self.key.to_bytes()))
    }
}

/// What is in a key file.
enum KeyFile {
    Open(NodeKey),
    Sealed { node: NodeId, sealed: Sealed },
}

impl KeyFile {
    fn read(path: &Path) -> Result<Option<Self>, KeyError> {
        let failed = |error| KeyError::Io { path: path.to_owned(), error };
        let file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if let Some(mode) = open_to_others(&file.metadata().map_err(failed)?) {
            return Err(KeyError::Permissions { path: path.to_owned(), mode });
        }
        // With room for all of it: bytes that a growing vector leaves behind would not be overwritten.
        let mut bytes = Zeroizing::new(Vec::with_capacity(2 * FILE_BYTES as usize));
        file.take(FILE_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        let malformed = || KeyError::Malformed { path: path.to_owned() };
        let text = std::str::from_utf8(&bytes).map_err(|_| malformed())?;
        if let Some(digits) = text.strip_prefix(LABEL) {
            let mut secret = Zeroizing::new([0; SECRET_KEY_LENGTH]);
            hex::decode_to_slice(digits.trim_end(), &mut *secret).map_err(|_| malformed())?;
            return Ok(Some(Self::Open(NodeKey::from_secret(&secret))));
        }
        let (id, _) = text.strip_prefix(SEALED_LABEL).and_then(|rest| rest.split_once(' ')).ok_or_else(malformed)?;
        let node: NodeId = id.parse().map_err(|_| malformed())?;
        let sealed = Sealed::parse(&format!("{SEALED_LABEL}{id} "), text);
        let sealed = sealed.map_err(|error| KeyError::Sealed { path: path.to_owned(), error })?;
        Ok(Some(Self::Sealed { node, sealed }))
    }
}

/// The key that a node signs with, and the spare one that it goes on with should its lane turn out to be forked: both lie
/// in its data directory before they are used.
#[derive(Debug)]
pub struct NodeKeys {
    path: PathBuf,
    spare_path: PathBuf,
    key: NodeKey,
    spare: NodeKey,
}

impl NodeKeys {
    /// The node's key, which lies at `path`, with the spare key at `spare_path`, which is made where it is missing.
    ///
    /// # Errors
    /// When the spare key cannot be read or written.
    pub fn new(key: NodeKey, path: PathBuf, spare_path: PathBuf, opener: &Opener) -> Result<Self, KeyError> {
        let spare = match NodeKey::load(&spare_path, opener)? {
            Some(spare) => spare.sealed(key.seal.clone()),
            None => make(&spare_path, &key)?,
        };
        Ok(Self { path, spare_path, key, spare })
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.key.node()
    }

    /// Whose the spare key is.
    pub fn spare(&self) -> NodeId {
        self.spare.node()
    }

    /// Makes another spare key. Copies of one data directory that both run must not go on with the same one, or they would
    /// fork that lane too.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn renew_spare(&mut self) -> Result<(), KeyError> {
        self.spare = make(&self.spare_path, &self.key)?;
        Ok(())
    }

    /// The spare key takes the place of the node's key, which is kept beside it under its node's name; then there is a new
    /// spare key.
    ///
    /// # Errors
    /// When a file cannot be written. Whatever is done by then, the next start does the rest.
    pub fn succeed(&mut self) -> Result<(), KeyError> {
        self.key.save(&kept(&self.path, &self.key.node()))?;
        replace(&self.spare_path, &self.path).map_err(|error| KeyError::Io { path: self.path.clone(), error })?;
        let next = NodeKey::generate()?.sealed(self.key.seal.clone());
        self.key = std::mem::replace(&mut self.spare, next);
        self.spare.save(&self.spare_path)
    }

    /// See [`NodeKey::endpoint_secret`].
    pub(crate) fn endpoint_secret(&self, ledger: &LedgerId) -> Zeroizing<[u8; 32]> {
        self.key.endpoint_secret(ledger)
    }

    pub(crate) fn keys(&self) -> (Key, Key) {
        (self.key.to_key(), self.spare.to_key())
    }
}

/// A new key in a file that is sealed as that of another one is.
fn make(path: &Path, like: &NodeKey) -> Result<NodeKey, KeyError> {
    let key = NodeKey::generate()?.sealed(like.seal.clone());
    key.save(path)?;
    Ok(key)
}

/// Where the key of a node is kept that goes on with another one.
fn kept(path: &Path, node: &NodeId) -> PathBuf {
    let mut kept = path.as_os_str().to_owned();
    kept.push(format!(".{}", node.fmt_short()));
    kept.into()
}

fn replace(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    file::sync_directory(to)
}

/// Every key file of a ledger's directory: the node's, the spare one, and those of whom the node was before. What a crash left
/// of one that was being written is removed.
///
/// # Errors
/// When the directory cannot be read.
pub fn files(directory: &Path) -> Result<Vec<PathBuf>, KeyError> {
    let failed = |error| KeyError::Io { path: directory.to_owned(), error };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_key = name == "successor.key" || name == "node.key" || name.starts_with("node.key.");
        match name.strip_suffix(".new") {
            Some("successor.key" | "node.key") => file::remove(&entry.path()).map_err(failed)?,
            Some(written) if written.starts_with("node.key.") => file::remove(&entry.path()).map_err(failed)?,
            _ if is_key => files.push(entry.path()),
            _ => {}
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a key file is sealed; `None` if there is none.
///
/// # Errors
/// When it cannot be read, is readable by others, or holds no key.
pub fn is_sealed(path: &Path) -> Result<Option<bool>, KeyError> {
    Ok(KeyFile::read(path)?.map(|file| matches!(file, KeyFile::Sealed { .. })))
}

/// Writes key files again, sealed with `seal` or, without it, open. All are read before the first is written, so a wrong
/// passphrase changes nothing; after a crash in between, the same again does the rest.
///
/// # Errors
/// When a file cannot be read, opened or written.
pub fn reseal(files: &[PathBuf], opener: &Opener, seal: Option<&Arc<SealingKey>>) -> Result<(), KeyError> {
    let mut keys = Vec::with_capacity(files.len());
    for path in files {
        keys.extend(NodeKey::load(path, opener)?.map(|key| (path, key.sealed(seal.cloned()))));
    }
    keys.iter().try_for_each(|(path, key)| key.save(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_says_nothing_of_its_node() {
        let secret = |key: u8, ledger: u8| {
            let key = NodeKey::from_secret(&[key; SECRET_KEY_LENGTH]);
            hex::encode(*key.endpoint_secret(&LedgerId::from_bytes([ledger; 32])))
        };
        // By another implementation of HKDF.
        assert_eq!(secret(1, 7), "dbb97bb35c5000c83b19b18ccfdcd59c37bac46dfffa65ca96ffed849d15c02f");
        assert!(secret(1, 7) != secret(1, 8) && secret(1, 7) != secret(2, 7));
    }

    #[test]
    fn a_key_reads_back_from_its_file_and_prints_as_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        assert!(NodeKey::load(&path, &Opener::default()).unwrap().is_none());
        let key = NodeKey::generate().unwrap();
        key.save(&path).unwrap();
        assert_eq!(NodeKey::load(&path, &Opener::default()).unwrap().unwrap().node(), key.node());
        let secret = hex::encode(key.key.to_bytes());
        assert!(!format!("{key:?}").contains(&secret[..8]));
    }

    #[test]
    fn a_spare_key_takes_the_place_of_the_key_and_the_old_one_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (path, spare_path) = (directory.path().join("node.key"), directory.path().join("successor.key"));
        let key = NodeKey::generate().unwrap();
        let old = key.node();
        key.save(&path).unwrap();
        let mut keys = NodeKeys::new(key, path.clone(), spare_path.clone(), &Opener::default()).unwrap();
        let first = keys.spare();
        keys.renew_spare().unwrap();
        let spare = keys.spare();
        assert_ne!(spare, first);
        keys.succeed().unwrap();
        let at = |path: &Path| NodeKey::load(path, &Opener::default()).unwrap().unwrap().node();
        assert_eq!((keys.node(), at(&path), at(&kept(&path, &old))), (spare, spare, old));
        assert_eq!(at(&spare_path), keys.spare());
        assert!(![old, spare].contains(&keys.spare()));
    }

    #[test]
    fn a_file_that_holds_no_key_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        let long = format!("{LABEL}{}", "0".repeat(2000));
        for text in
            ["", "cairn node key 1 ", "cairn node key 1 xyz", "cairn node key 2 00", "cairn node key 3 00", &long]
        {
            write_private(&path, text.as_bytes()).unwrap();
            assert!(matches!(NodeKey::load(&path, &Opener::default()), Err(KeyError::Malformed { .. })), "{text:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        NodeKey::generate().unwrap().save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = NodeKey::load(&path, &Opener::default()).unwrap_err();
            assert!(matches!(error, KeyError::Permissions { mode: came, .. } if came == mode), "{error}");
        }
    }

    #[test]
    fn a_key_overwrites_itself() {
        fn check<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        // Of anything else this does not build.
        check(&NodeKey::generate().unwrap().key);
    }

    fn opener(passphrase: &str) -> Opener {
        Opener::new(vec![Source::Given(Passphrase::from(passphrase))])
    }

    fn seal(passphrase: &str) -> Arc<SealingKey> {
        Arc::new(sealed::tests::sealing_key(passphrase))
    }

    #[test]
    fn sealed_keys_open_with_their_passphrase_which_is_derived_from_once() {
        let directory = tempfile::tempdir().unwrap();
        let paths = ["node.key", "successor.key", "node.key.abcdef"].map(|name| directory.path().join(name));
        let keys = paths.each_ref().map(|path| {
            let key = NodeKey::generate().unwrap();
            key.save(path).unwrap();
            key
        });
        let files = files(directory.path()).unwrap();
        assert_eq!(files.len(), 3);
        reseal(&files, &Opener::default(), Some(&seal("correct horse"))).unwrap();
        let right = opener("correct horse");
        for (path, key) in paths.iter().zip(&keys) {
            assert_eq!(NodeKey::load(path, &right).unwrap().unwrap().key, key.key);
            assert_eq!((is_sealed(path).unwrap(), NodeKey::node_of(path).unwrap()), (Some(true), Some(key.node())));
            let text = fs::read_to_string(path).unwrap();
            assert!(!text.contains(&hex::encode(key.key.to_bytes())), "{text}");
            let error = NodeKey::load(path, &opener("another")).unwrap_err();
            assert!(matches!(error, KeyError::Sealed { error: SealedError::Passphrase, .. }), "{error}");
            let error = NodeKey::load(path, &Opener::default()).unwrap_err();
            assert!(matches!(error, KeyError::NoPassphrase { .. }), "{error}");
        }
        assert_eq!(right.derivations(), 1);
        reseal(&files, &right, None).unwrap();
        assert_eq!(is_sealed(&paths[0]).unwrap(), Some(false));
        assert_eq!(NodeKey::load(&paths[1], &Opener::default()).unwrap().unwrap().key, keys[1].key);
    }

    #[test]
    fn a_wrong_passphrase_changes_nothing_and_a_change_that_was_cut_short_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let paths = ["node.key", "successor.key"].map(|name| directory.path().join(name));
        for (path, passphrase) in paths.iter().zip(["the old one", "the new one"]) {
            NodeKey::generate().unwrap().sealed(Some(seal(passphrase))).save(path).unwrap();
        }
        fs::write(directory.path().join("node.key.new"), "what a crash left").unwrap();
        let files = files(directory.path()).unwrap();
        assert!(!directory.path().join("node.key.new").exists());
        let before: Vec<String> = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        assert!(reseal(&files, &opener("the old one"), Some(&seal("the new one"))).is_err());
        assert_eq!(before, files.iter().map(|path| fs::read_to_string(path).unwrap()).collect::<Vec<_>>());
        let sources = ["the old one", "the new one"].map(|text| Source::Given(Passphrase::from(text)));
        reseal(&files, &Opener::new(sources.into()), Some(&seal("the new one"))).unwrap();
        let new = opener("the new one");
        assert!(files.iter().all(|path| NodeKey::load(path, &new).is_ok()));
        assert_eq!(new.derivations(), 1);
    }

    #[test]
    fn what_a_sealed_node_writes_is_sealed_alike() {
        let directory = tempfile::tempdir().unwrap();
        let (path, spare_path) = (directory.path().join("node.key"), directory.path().join("successor.key"));
        NodeKey::generate().unwrap().sealed(Some(seal("correct horse"))).save(&path).unwrap();
        let opener = opener("correct horse");
        let key = NodeKey::load(&path, &opener).unwrap().unwrap();
        let mut keys = NodeKeys::new(key, path.clone(), spare_path, &opener).unwrap();
        keys.renew_spare().unwrap();
        keys.succeed().unwrap();
        let files = files(directory.path()).unwrap();
        assert_eq!(files.len(), 3);
        assert!(files.iter().all(|path| is_sealed(path).unwrap() == Some(true)), "{files:?}");
        assert_eq!(NodeKey::load(&path, &opener).unwrap().unwrap().node(), keys.node());
        assert_eq!(opener.derivations(), 1);
    }

    #[test]
    fn a_sealed_file_with_anothers_name_is_no_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        let line =
            seal("correct horse").seal(&format!("{SEALED_LABEL}{} ", NodeId::from_bytes([7; 32])), &[1; 32]).unwrap();
        write_private(&path, line.as_bytes()).unwrap();
        assert!(matches!(NodeKey::load(&path, &opener("correct horse")), Err(KeyError::Malformed { .. })));
        write_private(&path, line.replace("argon2id 8", "argon2id 9").as_bytes()).unwrap();
        let error = NodeKey::load(&path, &opener("correct horse")).unwrap_err();
        assert!(matches!(error, KeyError::Sealed { error: SealedError::Damaged, .. }), "{error}");
    }
}
