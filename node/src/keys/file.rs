//! Files that only their owner may read.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use tracing::warn;

/// What a node puts into its data directory, and what its owner does: beginnings of names.
const OURS: [&str; 9] = [
    "ledger.db",
    "node.key",
    "successor.key",
    "client.token",
    "control.json",
    "cairn.toml",
    "lock",
    "default",
    "ledgers",
];
/// Of these, what others need not read. Who could read a secret may have: keys and tokens are refused instead.
const PRIVATE: [&str; 4] = ["ledger.db", "control.json", "lock", "default"];
/// Entries of a directory that are looked at.
const ENTRIES: usize = 10_000;

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

/// Options that make a file which only its owner may read.
#[cfg(unix)]
pub(crate) fn private() -> fs::OpenOptions {
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Other systems protect the file by the permissions of the user's directory.
#[cfg(not(unix))]
pub(crate) fn private() -> fs::OpenOptions {
    File::options()
}

/// Writes a file that only its owner may read: a temporary file, made durable, then renamed. What was there before is
/// replaced as a whole.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_temporary(path, bytes)?;
    fs::rename(temporary(path), path)?;
    sync_directory(path)
}

/// The same, for a file that must not be there yet.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_temporary(path, bytes)?;
    // Unlike a renaming, a second name never takes the place of another file.
    let written = fs::hard_link(temporary(path), path);
    fs::remove_file(temporary(path))?;
    written?;
    sync_directory(path)
}

fn write_temporary(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary(path);
    remove(&temporary)?;
    let mut file = private().write(true).create_new(true).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Where a file is written before it gets its name.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    temporary.into()
}

/// Removes a file that may not be there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A rename is durable when its directory is.
#[cfg(unix)]
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// Other systems have no such call.
#[cfg(not(unix))]
pub(super) fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Shuts a data directory that others could look into: earlier versions made stores that everybody may read. What cannot be
/// shut is told.
pub(crate) fn shut(data: &Path) {
    shut_directory(data);
    let ledgers = data.join("ledgers");
    let Ok(entries) = fs::read_dir(&ledgers) else { return };
    shut_directory(&ledgers);
    for entry in entries.flatten().take(ENTRIES) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            shut_directory(&entry.path());
        }
    }
}

fn shut_directory(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut foreign = None;
    for entry in entries.flatten().take(ENTRIES) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is = |beginnings: &[&str]| beginnings.iter().any(|beginning| name.starts_with(beginning));
        // Below `ledgers` there is nothing else.
        let further = entry.file_type().is_ok_and(|kind| kind.is_dir()) && directory.ends_with("ledgers");
        if is(&PRIVATE) && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            take_away(&entry.path(), 0o600);
        } else if !is(&OURS) && !further {
            foreign = Some(name);
        }
    }
    match foreign {
        None => take_away(directory, 0o700),
        // It may be somebody's home, or worse.
        Some(name) if is_open(directory) => {
            warn!("others may look into {}, which is left so because it has {name:?} in it too", directory.display());
        }
        Some(_) => {}
    }
}

fn is_open(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| open_to_others(&metadata).is_some())
}

#[cfg(unix)]
fn take_away(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    if !is_open(path) {
        return;
    }
    match fs::set_permissions(path, fs::Permissions::from_mode(mode)) {
        Ok(()) => warn!("others could look into {}: from now on they cannot", path.display()),
        Err(error) => warn!("others may look into {}, and that cannot be changed: {error}", path.display()),
    }
}

#[cfg(not(unix))]
fn take_away(_: &Path, _: u32) {}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn open(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn directory(names: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let guard = tempfile::tempdir().unwrap();
        let data = guard.path().join("data");
        fs::create_dir(&data).unwrap();
        for name in names {
            fs::create_dir_all(data.join(name).parent().unwrap()).unwrap();
            fs::write(data.join(name), "").unwrap();
            open(&data.join(name), 0o644);
        }
        (guard, data)
    }

    #[test]
    fn what_others_could_read_is_shut_and_secrets_are_left_to_be_refused() {
        let names =
            ["ledger.db", "ledger.db-wal", "ledger.db.damaged-1", "lock", "control.json", "ledgers/ca/ledger.db"];
        let (_guard, data) = directory(&[&names[..], &["node.key", "client.token", "cairn.toml"]].concat());
        for directory in ["", "ledgers", "ledgers/ca"] {
            open(&data.join(directory), 0o755);
        }
        shut(&data);
        for name in names {
            assert_eq!(mode(&data.join(name)), 0o600, "{name}");
        }
        for directory in ["", "ledgers", "ledgers/ca"] {
            assert_eq!(mode(&data.join(directory)), 0o700, "{directory:?}");
        }
        for name in ["node.key", "client.token", "cairn.toml"] {
            assert_eq!(mode(&data.join(name)), 0o644, "{name}");
        }
    }

    #[test]
    fn a_directory_that_is_not_a_nodes_alone_stays_open() {
        let (_guard, data) = directory(&["ledger.db", "letters.txt"]);
        open(&data, 0o755);
        shut(&data);
        let modes = ["", "ledger.db", "letters.txt"].map(|name| mode(&data.join(name)));
        assert_eq!(modes, [0o755, 0o600, 0o644]);
    }

    #[test]
    fn a_new_file_takes_nobodys_place() {
        let (_guard, data) = directory(&[]);
        let path = data.join("backup");
        write_new(&path, b"first").unwrap();
        assert_eq!(write_new(&path, b"second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"first".to_vec(), 0o600));
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1);
    }
}
