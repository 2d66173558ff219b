//! What SQLite does to its files, seen and disturbed: a file system that writes down every operation, lets one of them fail,
//! and lays files as a loss of power would have left them.
//!
//! There is one per process, and it is what every connection uses that is opened after [`install`]. Syncs are written down
//! and not done: what they promise is played by [`Log::after_power_loss`].

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, Once, PoisonError},
};

use crate::rng::Rng;

mod vfs;

/// Bytes that a disk writes whole or not at all.
const SECTOR: usize = 512;

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// An input/output error, and nothing was done.
    Error,
    /// An input/output error, though it was done.
    ErrorAfter,
    /// The disk is full (for what writes; else an input/output error), and nothing was done.
    Full,
    /// The disk is full, though it was done.
    FullAfter,
    /// An input/output error now and with everything that follows.
    Gone,
}

/// What was done to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Bytes were written at an offset.
    Write(u64, Vec<u8>),
    /// The file was cut to this length.
    Truncate(u64),
    /// All that was done to it before is on the disk.
    Sync,
    /// The file is gone.
    Delete,
}

/// Everything that was done, in order, by file.
#[derive(Debug, Clone, Default)]
pub struct Log(Vec<(PathBuf, Operation)>);

#[derive(Debug, Default)]
struct Disk {
    log: Option<Log>,
    operations: u64,
    fails: Option<(u64, Failure)>,
    failed: Option<&'static str>,
}

static DISK: Mutex<Disk> = Mutex::new(Disk { log: None, operations: 0, fails: None, failed: None });

fn disk() -> MutexGuard<'static, Disk> {
    DISK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has SQLite use this file system from now on.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(vfs::register);
}

/// Lets the `n`-th operation from now on (from 1) fail in this way.
pub fn fail_at(n: u64, failure: Failure) {
    let mut disk = disk();
    disk.operations = 0;
    disk.failed = None;
    disk.fails = Some((n, failure));
}

/// Lets nothing fail any more. Returns the first operation that failed, if one did.
pub fn heal() -> Option<&'static str> {
    let mut disk = disk();
    disk.fails = None;
    disk.failed.take()
}

/// Whether the failure has come.
pub fn has_failed() -> bool {
    disk().failed.is_some()
}

/// Writes down what is done from now on.
pub fn record() {
    disk().log = Some(Log::default());
}

/// How much was written down until now.
pub fn recorded() -> usize {
    disk().log.as_ref().map_or(0, |log| log.0.len())
}

/// Ends writing down.
pub fn stop_recording() -> Log {
    disk().log.take().unwrap_or_default()
}

/// What is to become of an operation.
enum Fate {
    Done,
    Fails { done: bool, full: bool },
}

/// Counts an operation.
fn fate(name: &'static str, writes: bool) -> Fate {
    let mut disk = disk();
    disk.operations += 1;
    let Some((n, failure)) = disk.fails else { return Fate::Done };
    let now = disk.operations == n || (failure == Failure::Gone && disk.operations > n);
    if !now {
        return Fate::Done;
    }
    disk.failed.get_or_insert(name);
    let done = matches!(failure, Failure::ErrorAfter | Failure::FullAfter);
    let full = writes && matches!(failure, Failure::Full | Failure::FullAfter);
    Fate::Fails { done, full }
}

fn note(path: &std::path::Path, operation: Operation) {
    if let Some(log) = &mut disk().log {
        log.0.push((path.to_owned(), operation));
    }
}

impl Log {
    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Where the syncs are.
    pub fn syncs(&self) -> Vec<usize> {
        (0..self.0.len()).filter(|index| self.0[*index].1 == Operation::Sync).collect()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The files as a loss of power after the first `cut` operations may leave them: all that was synced, and of each
    /// file's operations since then a random beginning or a random part, whole writes or single sectors of them. `base` is
    /// what was on the disk before.
    pub fn after_power_loss(
        &self,
        cut: usize,
        base: &BTreeMap<PathBuf, Vec<u8>>,
        rng: &mut Rng,
    ) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut synced: BTreeMap<&PathBuf, usize> = BTreeMap::new();
        for (index, (path, operation)) in self.0[..cut].iter().enumerate() {
            if *operation == Operation::Sync {
                synced.insert(path, index);
            }
        }
        // Each file fares differently.
        let mut fates: BTreeMap<&PathBuf, (usize, usize, bool)> = BTreeMap::new();
        let mut files = base.clone();
        for (index, (path, operation)) in self.0[..cut].iter().enumerate() {
            let safe = synced.get(path).is_some_and(|sync| index <= *sync);
            let fate = fates.entry(path).or_insert_with(|| (rng.below(4), rng.below(cut + 1), rng.one_in(2)));
            let (kind, end, tears) = *fate;
            let kept = safe
                || match kind {
                    0 => index < end,
                    1 => rng.one_in(2),
                    2 => true,
                    _ => false,
                };
            match operation {
                Operation::Write(offset, bytes) if kept => {
                    let torn = !safe && tears && rng.one_in(3);
                    let file = files.entry(path.clone()).or_default();
                    for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                        if !torn || rng.one_in(2) {
                            put(file, *offset as usize + n * SECTOR, sector);
                        }
                    }
                }
                Operation::Truncate(len) if kept => files.entry(path.clone()).or_default().truncate(*len as usize),
                Operation::Delete if kept => drop(files.remove(path)),
                _ => {}
            }
        }
        files
    }
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}
