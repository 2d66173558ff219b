//! Puts the built page (`web/dist`) into release builds: each file as it is, and compressed where that is shorter, so that a
//! node compresses nothing. Other builds read the folder while they run.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    let variable = |name: &str| env::var(name).map_err(io::Error::other);
    let out = PathBuf::from(variable("OUT_DIR")?);
    let mut files = Vec::new();
    if variable("PROFILE")? == "release" {
        let web = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("../web");
        let dist = web.join("dist");
        // A path that is not there would have everything built anew each time.
        let watched = if dist.exists() { &dist } else { &web };
        println!("cargo:rerun-if-changed={}", watched.display());
        collect(&dist, &mut files)?;
        files.sort();
        let rows = files.iter().enumerate().map(|(n, path)| row(&dist, path, &out.join(format!("{n}.gz"))));
        let rows = rows.collect::<io::Result<Vec<String>>>()?;
        return fs::write(out.join("page.rs"), format!("&[{}]", rows.concat()));
    }
    fs::write(out.join("page.rs"), "&[]")
}

/// All files below a folder, which may be missing.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() { collect(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

/// `(name, bytes, compressed bytes),`
fn row(dist: &Path, path: &Path, compressed: &Path) -> io::Result<String> {
    let name = path.strip_prefix(dist).map_err(io::Error::other)?;
    let name: Vec<_> = name.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    let bytes = fs::read(path)?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&bytes)?;
    let gzip = encoder.finish()?;
    let gzip = if gzip.len() < bytes.len() {
        fs::write(compressed, gzip)?;
        format!("Some(include_bytes!({compressed:?}))")
    } else {
        "None".to_owned()
    };
    Ok(format!("({:?}, include_bytes!({path:?}), {gzip}),", name.join("/")))
}
