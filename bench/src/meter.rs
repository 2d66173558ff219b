//! What the operating system says of a process. Only Linux tells; elsewhere these figures are left out.

use std::{fs, path::PathBuf, process};

/// Ticks per second of the times in `/proc` (USER_HZ, which Linux never changes).
const TICKS: f64 = 100.0;
/// Where user and system time stand in `stat`, counted behind the name; behind them those of the children that ended.
const TIMES: usize = 11;

/// CPU seconds and the most resident bytes of the processes that a figure is about.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) cpu: Option<f64>,
    pub(crate) memory: Option<u64>,
}

/// One process.
#[derive(Debug, Clone)]
pub(crate) struct Meter(PathBuf);

impl Meter {
    pub(crate) fn of(process: u32) -> Self {
        Self(PathBuf::from(format!("/proc/{process}")))
    }

    pub(crate) fn own() -> Self {
        Self::of(process::id())
    }

    /// CPU seconds so far, in user and system mode.
    pub(crate) fn cpu(&self) -> Option<f64> {
        self.times(TIMES)
    }

    /// CPU seconds of the processes that this one has started, and that ended.
    pub(crate) fn children(&self) -> Option<f64> {
        self.times(TIMES + 2)
    }

    /// The sum of two times that follow each other. The name before them may have spaces and parentheses in it.
    fn times(&self, first: usize) -> Option<f64> {
        let stat = fs::read_to_string(self.0.join("stat")).ok()?;
        let words: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: Result<Vec<f64>, _> = words.get(first..first + 2)?.iter().map(|word| word.parse()).collect();
        Some(ticks.ok()?.iter().sum::<f64>() / TICKS)
    }

    /// Resident bytes.
    pub(crate) fn resident(&self) -> Option<u64> {
        self.bytes("VmRSS:")
    }

    /// The most resident bytes so far.
    pub(crate) fn peak(&self) -> Option<u64> {
        self.bytes("VmHWM:")
    }

    /// Has the peak begin anew.
    pub(crate) fn forget_peak(&self) {
        // Where the system does not allow it, what is shown is too much rather than too little.
        _ = fs::write(self.0.join("clear_refs"), "5");
    }

    fn bytes(&self, key: &str) -> Option<u64> {
        let status = fs::read_to_string(self.0.join("status")).ok()?;
        let kib: u64 =
            status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())?;
        Some(kib * 1024)
    }
}
