//! The node's key and its file.

use std::{
    fmt, fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use ed25519_dalek::{SECRET_KEY_LENGTH, SigningKey};
use shared::{Key, NodeId};
use thiserror::Error;

/// First line of a key file, so that a person who finds one knows what it is.
const LABEL: &str = "cairn node key 1 ";

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
    #[error("the key file {} is not one line of \"{LABEL}\" and 64 hexadecimal digits", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// The key that signs this node's blocks. It prints as nothing.
#[derive(Clone)]
pub struct NodeKey(SigningKey);

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
        let mut secret = [0; SECRET_KEY_LENGTH];
        getrandom::fill(&mut secret)?;
        Ok(Self(SigningKey::from_bytes(&secret)))
    }

    /// The public half.
    pub fn node(&self) -> NodeId {
        NodeId::from_bytes(self.0.verifying_key().to_bytes())
    }

    /// Reads a key file; `None` if there is none.
    ///
    /// # Errors
    /// When the file cannot be read, is readable by others, or holds no key.
    pub fn load(path: &Path) -> Result<Option<Self>, KeyError> {
        let failed = |error| KeyError::Io { path: path.to_owned(), error };
        let file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if let Some(mode) = open_to_others(&file.metadata().map_err(failed)?) {
            return Err(KeyError::Permissions { path: path.to_owned(), mode });
        }
        let mut bytes = Vec::new();
        file.take(256).read_to_end(&mut bytes).map_err(failed)?;
        let malformed = || KeyError::Malformed { path: path.to_owned() };
        let text = std::str::from_utf8(&bytes).map_err(|_| malformed())?;
        let digits = text.strip_prefix(LABEL).ok_or_else(malformed)?.trim_end();
        let mut secret = [0; SECRET_KEY_LENGTH];
        hex::decode_to_slice(digits, &mut secret).map_err(|_| malformed())?;
        Ok(Some(Self(SigningKey::from_bytes(&secret))))
    }

    /// Writes the key to a file that only its owner may read, all of it or nothing.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        let line = format!("{LABEL}{}\n", hex::encode(self.0.to_bytes()));
        write_private(path, line.as_bytes()).map_err(|error| KeyError::Io { path: path.to_owned(), error })
    }

    fn to_key(&self) -> Key {
        Key::from_secret(&self.0.to_bytes())
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
    pub fn new(key: NodeKey, path: PathBuf, spare_path: PathBuf) -> Result<Self, KeyError> {
        let spare = match NodeKey::load(&spare_path)? {
            Some(spare) => spare,
            None => make(&spare_path)?,
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
        self.spare = make(&self.spare_path)?;
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
        self.key = std::mem::replace(&mut self.spare, NodeKey::generate()?);
        self.spare.save(&self.spare_path)
    }

    pub(crate) fn keys(&self) -> (Key, Key) {
        (self.key.to_key(), self.spare.to_key())
    }
}

fn make(path: &Path) -> Result<NodeKey, KeyError> {
    let key = NodeKey::generate()?;
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
    sync_directory(to)
}

/// The permission bits of a secret that others than its owner may use.
#[cfg(unix)]
pub(crate) fn open_to_others(metadata: &fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

/// Other systems protect the file by the permissions of the user's directory.
#[cfg(not(unix))]
pub(crate) fn open_to_others(_: &fs::Metadata) -> Option<u32> {
    None
}

/// Writes a file that only its owner may read: a temporary file, made durable, then renamed. What was there before is
/// replaced as a whole.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_directory(path)
}

/// A rename is durable when its directory is.
#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(directory)?.sync_all()
}

/// Other systems have no such call.
#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_from_its_file_and_prints_as_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        assert!(NodeKey::load(&path).unwrap().is_none());
        let key = NodeKey::generate().unwrap();
        key.save(&path).unwrap();
        assert_eq!(NodeKey::load(&path).unwrap().unwrap().node(), key.node());
        let secret = hex::encode(key.0.to_bytes());
        assert!(!format!("{key:?}").contains(&secret[..8]));
    }

    #[test]
    fn a_spare_key_takes_the_place_of_the_key_and_the_old_one_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (path, spare_path) = (directory.path().join("node.key"), directory.path().join("successor.key"));
        let key = NodeKey::generate().unwrap();
        let old = key.node();
        key.save(&path).unwrap();
        let mut keys = NodeKeys::new(key, path.clone(), spare_path.clone()).unwrap();
        let first = keys.spare();
        keys.renew_spare().unwrap();
        let spare = keys.spare();
        assert_ne!(spare, first);
        keys.succeed().unwrap();
        let at = |path: &Path| NodeKey::load(path).unwrap().unwrap().node();
        assert_eq!((keys.node(), at(&path), at(&kept(&path, &old))), (spare, spare, old));
        assert_eq!(at(&spare_path), keys.spare());
        assert!(![old, spare].contains(&keys.spare()));
    }

    #[test]
    fn a_file_that_holds_no_key_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        for text in ["", "cairn node key 1 ", "cairn node key 1 xyz", "cairn node key 2 00"] {
            write_private(&path, text.as_bytes()).unwrap();
            assert!(matches!(NodeKey::load(&path), Err(KeyError::Malformed { .. })), "{text:?}");
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
            let error = NodeKey::load(&path).unwrap_err();
            assert!(matches!(error, KeyError::Permissions { mode: came, .. } if came == mode), "{error}");
        }
    }
}
