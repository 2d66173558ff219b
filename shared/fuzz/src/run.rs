//! Driving targets on stable: in threads, from a seed, with a watch on runs that do not end.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    Target,
    allocation::{largest_of, take_measured},
    files,
    mutate::{Random, mutate},
};

/// One input may take so long, on a machine that does much else too.
const LONGEST_RUN: Duration = Duration::from_secs(60);

/// What a panic said, of threads that are not the runner's.
static ELSEWHERE: Mutex<Option<String>> = Mutex::new(None);

thread_local! {
    /// What the last panic of a runner's thread said; `None` on threads that are not the runner's.
    static HERE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Notes panics instead of printing them: those of a target, and those of the threads that a target started.
pub fn note_panics() {
    set_hook(Box::new(|panic| {
        let said = panic.to_string();
        let noted = HERE.with_borrow_mut(|here| here.as_mut().map(|here| said.clone_into(here)).is_some());
        if !noted {
            *ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
        }
    }));
}

/// Prints panics again.
pub fn print_panics() {
    drop(take_hook());
}

/// What a thread that a target started said when it panicked.
#[cfg(feature = "node")]
pub(crate) fn panics_elsewhere() -> Option<String> {
    ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Runs a target over one input.
///
/// # Errors
/// What the panic said.
pub fn once(target: &Target, bytes: &[u8]) -> Result<(), String> {
    HERE.set(Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes)));
    let said = HERE.take().unwrap_or_default();
    result.map_err(|_| said)
}

/// An input that breaks a target.
#[derive(Debug, Clone)]
pub struct Crash {
    /// The input.
    pub bytes: Vec<u8>,
    /// What was wrong.
    pub said: String,
}

/// What became of a target in its time.
#[derive(Debug)]
pub struct Report {
    /// Which target.
    pub target: &'static Target,
    /// How long it ran.
    pub took: Duration,
    /// How many inputs it took.
    pub runs: u64,
    /// Bytes of the largest single allocation where the target bounds it, otherwise of all.
    pub largest: usize,
    /// The input that ended it early.
    pub crash: Option<Crash>,
}

/// Drives one target for a time. `hung` is called from another thread, once, with an input that does not end.
pub fn drive(target: &'static Target, time: Duration, seed: u64, hung: &(dyn Fn(&Target, &[u8]) + Sync)) -> Report {
    let mut corpus: Vec<Vec<u8>> = crate::seeds(target.name);
    for folder in [files::corpus(target.name), files::crashers(target.name)] {
        corpus.extend(files::read(&folder).unwrap_or_default().into_iter().map(|(_, bytes)| bytes));
    }
    let mut random = Random::new(seed ^ target.name.bytes().fold(0, |sum, byte| sum * 31 + u64::from(byte)));
    let current = Arc::new(Mutex::new((Instant::now(), Vec::new())));
    let ended = AtomicBool::new(false);
    let lock = || current.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            while !ended.load(Ordering::Acquire) {
                thread::park_timeout(Duration::from_secs(1));
                let (began, bytes) = &*lock();
                if began.elapsed() > LONGEST_RUN {
                    return hung(target, bytes);
                }
            }
        });
        let began = Instant::now();
        let (mut runs, mut all, mut crash) = (0, 0, None);
        take_measured();
        while began.elapsed() < time {
            let bytes = mutate(&mut random, &corpus, target.words, target.longest);
            *lock() = (Instant::now(), bytes.clone());
            let (result, largest) = largest_of(|| once(target, &bytes));
            (runs, all) = (runs + 1, all.max(largest));
            if let Err(said) = result {
                crash = Some(Crash { bytes, said });
                break;
            }
        }
        ended.store(true, Ordering::Release);
        watch.thread().unpark();
        let measured = take_measured();
        let largest = if measured > 0 { measured } else { all };
        Report { target, took: began.elapsed(), runs, largest, crash }
    })
}
