//! The line of one scenario, and the figures in it.

use std::{fmt, time::Duration};

/// What one scenario found.
#[derive(Debug)]
pub(crate) struct Report {
    name: String,
    figures: Vec<(&'static str, String)>,
    failures: Vec<String>,
}

impl Report {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), figures: Vec::new(), failures: Vec::new() }
    }

    pub(crate) fn figure(&mut self, key: &'static str, value: impl fmt::Display) {
        self.figures.push((key, value.to_string()));
    }

    /// Milliseconds of one quantile, for people.
    pub(crate) fn quantile(&mut self, key: &'static str, micros: u64) {
        self.figure(key, format_args!("{:.1}ms", micros as f64 / 1e3));
    }

    /// Notes a figure that must not be above a bound.
    pub(crate) fn at_most(&mut self, key: &'static str, value: f64, most: f64) {
        self.figure(key, format_args!("{value:.1}"));
        self.require(value <= most, || format!("{key} is {value:.1}, at most {most:.1} is allowed"));
    }

    /// Notes a count that must be zero.
    pub(crate) fn none(&mut self, key: &'static str, value: usize) {
        self.figure(key, value);
        self.require(value == 0, || format!("{key} is {value}"));
    }

    pub(crate) fn require(&mut self, holds: bool, why: impl FnOnce() -> String) {
        if !holds {
            self.fail(why());
        }
    }

    pub(crate) fn fail(&mut self, why: String) {
        self.failures.push(why);
    }

    /// Prints the line, and whether the scenario passed.
    pub(crate) fn print(&self) -> bool {
        let passed = self.failures.is_empty();
        let mut line = format!("swarm.{} {}", self.name, if passed { "pass" } else { "FAIL" });
        for (key, value) in &self.figures {
            line.push_str(&format!(" {key}={value}"));
        }
        // The first failures say it; a thousand clients may have failed alike.
        for failure in self.failures.iter().take(5) {
            line.push_str(&format!(" why={failure:?}"));
        }
        println!("{line}");
        passed
    }
}

/// Buckets for each doubling.
const PARTS: usize = 64;
const BUCKETS: usize = 32 * PARTS;

/// Times in µs, each within 1.6 %.
#[derive(Clone)]
pub(crate) struct Times {
    buckets: Vec<u32>,
    count: u64,
    most: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, most: 0 }
    }
}

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)] += 1;
        self.count += 1;
        self.most = self.most.max(micros);
    }

    pub(crate) fn merge(&mut self, other: &Times) {
        for (sum, count) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += count;
        }
        self.count += other.count;
        self.most = self.most.max(other.most);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn most(&self) -> u64 {
        self.most
    }

    /// The time in µs that this share of all times does not exceed.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let rank = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return upper(index).min(self.most);
            }
        }
        self.most
    }
}

fn bucket(micros: u64) -> usize {
    if micros < PARTS as u64 {
        return micros as usize;
    }
    let doubling = micros.ilog2() as usize - PARTS.ilog2() as usize;
    let part = (micros >> doubling) as usize - PARTS;
    ((doubling + 1) * PARTS + part).min(BUCKETS - 1)
}

/// The largest time of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < PARTS {
        return bucket as u64;
    }
    let (doubling, part) = (bucket / PARTS - 1, bucket % PARTS);
    (((PARTS + part + 1) as u64) << doubling) - 1
}
