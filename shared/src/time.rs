//! Time as values: timestamps, the timer table, and the waits between dials. Nothing here reads a clock.

use alloc::collections::{BTreeMap, BTreeSet};
use core::{fmt, str};

use crate::limits::{RECONNECT_FIRST, RECONNECT_MOST};

/// µs in a second.
pub const SECOND: u64 = 1_000_000;
/// µs in a minute.
pub const MINUTE: u64 = 60 * SECOND;

/// Microseconds since 1970-01-01T00:00:00Z, at most 2^53 - 1, which JavaScript holds exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The largest timestamp.
    pub const MAX: Timestamp = Timestamp((1 << 53) - 1);

    /// The timestamp of so many µs; `None` above [`Timestamp::MAX`].
    pub const fn from_micros(micros: u64) -> Option<Self> {
        if micros <= Self::MAX.0 { Some(Self(micros)) } else { None }
    }

    /// µs since 1970.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// This time and so many µs, at most [`Timestamp::MAX`].
    pub const fn plus(self, micros: u64) -> Self {
        let sum = self.0.saturating_add(micros);
        if sum > Self::MAX.0 { Self::MAX } else { Self(sum) }
    }

    /// µs from `earlier` to this time, 0 if it is not earlier.
    pub const fn since(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// RFC 3339 in UTC with six digits: `2026-11-20T13:19:00.123456Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, micros) = (self.0 / (86_400 * SECOND), self.0 % (86_400 * SECOND));
        let (year, month, day) = civil(days);
        let (seconds, fraction) = (micros / SECOND, micros % SECOND);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        // Digits into places, which takes a tenth of the time of formatting seven numbers.
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let places = [
            (0, 4, year),
            (5, 7, month),
            (8, 10, day),
            (11, 13, hour),
            (14, 16, minute),
            (17, 19, second),
            (20, 26, fraction),
        ];
        for (from, to, mut number) in places {
            for digit in text[from..to].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// Year, month and day of a day counted from 1970-01-01
/// (Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`, for days not before 1970).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Deadlines by what they are for; one of each kind. They run by a clock of their own, which the wall clock drives forward
/// and never back: a wall clock that is put right by a year delays no deadline by more than the step took.
#[derive(Debug, Clone)]
pub struct Timers<K> {
    wall: Timestamp,
    steady: Timestamp,
    deadlines: BTreeMap<K, Timestamp>,
    queue: BTreeSet<(Timestamp, K)>,
}

impl<K: Ord + Copy> Timers<K> {
    /// No deadlines.
    pub const fn new(now: Timestamp) -> Self {
        Self { wall: now, steady: now, deadlines: BTreeMap::new(), queue: BTreeSet::new() }
    }

    /// Time has gone on, or the wall clock was put back.
    pub fn tick(&mut self, now: Timestamp) {
        self.steady = self.steady.plus(now.since(self.wall));
        if now > self.wall || !mutant!(ClockBackStops) {
            self.wall = now;
        }
    }

    /// The clock by which deadlines run. It only goes forward.
    pub fn now(&self) -> Timestamp {
        self.steady
    }

    /// Sets or moves a deadline to so many µs from now.
    pub fn set(&mut self, timer: K, after: u64) {
        let at = self.steady.plus(after);
        if let Some(old) = self.deadlines.insert(timer, at) {
            self.queue.remove(&(old, timer));
        }
        self.queue.insert((at, timer));
    }

    /// Sets a deadline to so many µs from now, unless it is earlier already.
    pub fn set_within(&mut self, timer: K, after: u64) {
        let at = self.steady.plus(after);
        if self.deadlines.get(&timer).is_none_or(|set| *set > at) {
            self.set(timer, after);
        }
    }

    /// Forgets a deadline.
    pub fn stop(&mut self, timer: K) {
        if let Some(at) = self.deadlines.remove(&timer) {
            self.queue.remove(&(at, timer));
        }
    }

    /// Whether a deadline is set.
    pub fn is_set(&self, timer: K) -> bool {
        self.deadlines.contains_key(&timer)
    }

    /// A time of the clock by which deadlines run, by the wall clock; what is over, is now.
    pub fn at(&self, time: Timestamp) -> Timestamp {
        self.wall.plus(time.since(self.steady))
    }

    /// The earliest deadline, by the wall clock.
    pub fn next(&self) -> Option<Timestamp> {
        self.queue.first().map(|(at, _)| self.at(*at))
    }

    /// Takes out one timer that is due, the earliest first.
    pub fn pop(&mut self) -> Option<K> {
        let (at, timer) = *self.queue.first()?;
        if at > self.steady {
            return None;
        }
        self.stop(timer);
        Some(timer)
    }
}

/// Waits between dials: full jitter over a bound that doubles from 0.2 s to 20 s
/// (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// µs to wait before the next dial; `random` is any uniformly random number.
    pub fn wait(&mut self, random: u64) -> u64 {
        let bound = RECONNECT_FIRST.saturating_mul(1 << self.failures.min(16)).min(RECONNECT_MOST);
        self.failures = self.failures.saturating_add(1);
        random % (bound + 1)
    }

    /// A dial succeeded: the next wait is a short one again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn timestamps_print_as_rfc_3339() {
        let check = |micros, text: &str| {
            assert_eq!(Timestamp::from_micros(micros).map(|t| t.to_string()).as_deref(), Some(text))
        };
        check(0, "1970-01-01T00:00:00.000000Z");
        check(951_782_400_000_001, "2000-02-29T00:00:00.000001Z");
        check(1_795_180_740_123_456, "2026-11-20T13:19:00.123456Z");
        check(4_107_542_399_999_999, "2100-02-28T23:59:59.999999Z");
        check(4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z");
        assert_eq!(Timestamp::from_micros(1 << 53), None);
    }

    #[test]
    fn timers_fire_once_and_in_time() {
        let at = |micros| Timestamp::from_micros(micros).unwrap();
        let mut timers = Timers::new(at(100));
        timers.set('b', 20);
        timers.set('a', 10);
        timers.set('b', 5);
        assert_eq!(timers.next(), Some(at(105)));
        timers.tick(at(104));
        assert_eq!(timers.pop(), None);
        timers.tick(at(109));
        assert_eq!(timers.pop(), Some('b'));
        assert_eq!(timers.pop(), None);
        timers.tick(at(110));
        assert_eq!(timers.pop(), Some('a'));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_deadline_can_only_be_brought_forward() {
        let at = |micros| Timestamp::from_micros(micros).unwrap();
        let mut timers = Timers::new(at(100));
        for (after, next) in [(20, 120), (30, 120), (10, 110)] {
            timers.set_within('a', after);
            assert_eq!(timers.next(), Some(at(next)));
        }
    }

    #[test]
    fn a_clock_that_is_put_back_delays_no_deadline() {
        let at = |micros| Timestamp::from_micros(micros).unwrap();
        let mut timers = Timers::new(at(1_000_000));
        timers.set('a', 10);
        timers.tick(at(1_000_004));
        timers.tick(at(50));
        assert_eq!(timers.next(), Some(at(56)));
        timers.tick(at(55));
        assert_eq!(timers.pop(), None);
        timers.tick(at(56));
        assert_eq!(timers.pop(), Some('a'));
    }

    #[test]
    fn waits_grow_to_a_bound_and_start_again() {
        let mut backoff = Backoff::default();
        for bound in [RECONNECT_FIRST, 2 * RECONNECT_FIRST, 4 * RECONNECT_FIRST] {
            assert_eq!(backoff.wait(bound), bound);
        }
        for random in 0..100 {
            backoff.wait(random);
        }
        assert_eq!(backoff.wait(RECONNECT_MOST), RECONNECT_MOST);
        backoff.reset();
        assert!(backoff.wait(u64::MAX) <= RECONNECT_FIRST);
    }
}
