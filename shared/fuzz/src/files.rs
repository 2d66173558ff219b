//! Where inputs are kept: `corpus/<target>/` are seeds, `crashers/<target>/` once broke something and must not again.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// This package's folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The seeds of a target.
pub fn corpus(target: &str) -> PathBuf {
    root().join("corpus").join(target)
}

/// What once broke a target.
pub fn crashers(target: &str) -> PathBuf {
    root().join("crashers").join(target)
}

/// The files of a folder by name, none if it is not there.
///
/// # Errors
/// When one cannot be read.
pub fn read(folder: &Path) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    paths.into_iter().map(|path| fs::read(&path).map(|bytes| (path, bytes))).collect()
}
