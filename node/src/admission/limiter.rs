//! How often somebody may try in vain: a leaky bucket for each address and one for all, in a table that does not grow.
//!
//! Nobody guesses 32 random bytes or a signature. What this bounds is what trying costs the node.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::{Duration, Instant},
};

use shared::limits::neighbourhood;

/// Buckets of addresses. Addresses that share one are slowed down together; which do so differs at every start.
const BUCKETS: usize = 1024;
/// Wrong tokens.
pub(super) const TOKENS: Rates =
    Rates { of_one: Rate::new(10, Duration::from_secs(1)), of_all: Rate::new(200, Duration::from_millis(10)) };
/// Connections that were to be links and whose peers did not come in.
pub(super) const LINKS: Rates =
    Rates { of_one: Rate::new(64, Duration::from_millis(250)), of_all: Rate::new(512, Duration::from_millis(5)) };
/// The longest wait. Shorter than the time for a handshake, so that its answer still comes.
const LONGEST: Duration = Duration::from_secs(4);

/// How many attempts are free at once, and the time after which there is another one.
#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: u32,
    every: Duration,
}

impl Rate {
    const fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every }
    }
}

/// For one address, and for all together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    of_one: Rate,
    of_all: Rate,
}

/// The generic cell rate algorithm (ITU-T I.371): the time at which a bucket is empty again is all that it has to know.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    empty: Duration,
}

impl Bucket {
    /// One more at `now`: how long it has to wait.
    fn add(&mut self, now: Duration, rate: &Rate) -> Duration {
        let wait = self.wait(now, rate);
        // Who comes in spite of the longest wait does not make it longer.
        if wait <= LONGEST {
            self.empty = self.empty.max(now) + rate.every;
        }
        wait.min(LONGEST)
    }

    /// How long the next one would have to wait.
    fn wait(&self, now: Duration, rate: &Rate) -> Duration {
        (self.empty.max(now) + rate.every).saturating_sub(now + rate.every * rate.burst)
    }
}

#[derive(Debug)]
pub(super) struct Limiter {
    rates: Rates,
    began: Instant,
    hasher: RandomState,
    of_one: Box<[Bucket; BUCKETS]>,
    of_all: Bucket,
}

impl Limiter {
    pub(super) fn new(rates: Rates, now: Instant) -> Self {
        let of_one = Box::new([Bucket::default(); BUCKETS]);
        Self { rates, began: now, hasher: RandomState::new(), of_one, of_all: Bucket::default() }
    }

    /// Somebody tried in vain: how long the answer has to wait.
    pub(super) fn failed(&mut self, from: IpAddr, now: Instant) -> Duration {
        let (bucket, now) = (self.bucket(from), now.saturating_duration_since(self.began));
        self.of_one[bucket].add(now, &self.rates.of_one).max(self.of_all.add(now, &self.rates.of_all))
    }

    /// Whether somebody may try.
    pub(super) fn is_open(&self, from: IpAddr, now: Instant) -> bool {
        let (bucket, now) = (self.bucket(from), now.saturating_duration_since(self.began));
        self.of_one[bucket].wait(now, &self.rates.of_one).is_zero()
            && self.of_all.wait(now, &self.rates.of_all).is_zero()
    }

    fn bucket(&self, from: IpAddr) -> usize {
        (self.hasher.hash_one(neighbourhood(from)) % BUCKETS as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn an_address_is_slowed_down_and_forgiven() {
        let now = Instant::now();
        let mut limiter = Limiter::new(TOKENS, now);
        let waits: Vec<u64> = (0..20).map(|_| limiter.failed(address(1), now).as_secs()).collect();
        assert_eq!(waits, [[0; 10].as_slice(), &[1, 2, 3, 4], &[4; 6]].concat());
        // After a second there is room for one more at the end of the row, and after a quiet time for all.
        assert_eq!(limiter.failed(address(1), now + Duration::from_secs(1)).as_secs(), 4);
        assert_eq!(limiter.failed(address(1), now + Duration::from_secs(60)), Duration::ZERO);
    }

    #[test]
    fn an_address_does_not_slow_down_another_one() {
        let now = Instant::now();
        let mut limiter = Limiter::new(TOKENS, now);
        for _ in 0..100 {
            limiter.failed(address(1), now);
        }
        let others = (2..12).filter(|n| limiter.failed(address(*n), now) == Duration::ZERO).count();
        // Some may share its bucket.
        assert!(others >= 8, "{others} of 10");
    }

    #[test]
    fn all_together_are_slowed_down_however_many_addresses_they_have() {
        let now = Instant::now();
        let mut limiter = Limiter::new(TOKENS, now);
        for n in 0..10_000 {
            limiter.failed(address(n), now);
        }
        assert!((0..100).all(|n| limiter.failed(address(1 << 20 | n), now) >= Duration::from_secs(3)));
    }

    #[test]
    fn who_came_in_vain_too_often_may_try_only_now_and_then() {
        let now = Instant::now();
        let mut limiter = Limiter::new(LINKS, now);
        let mut tries = |at: Instant| {
            let mut tried = 0;
            while tried < 1_000 && limiter.is_open(address(1), at) {
                limiter.failed(address(1), at);
                tried += 1;
            }
            (tried, (2..12).filter(|n| limiter.is_open(address(*n), at)).count())
        };
        let (tried, others) = tries(now);
        // Some may share its bucket.
        assert!(tried == 64 && others >= 8, "{tried} tries, then {others} of 10 others");
        assert_eq!(tries(now + Duration::from_millis(249)).0, 0);
        assert_eq!(tries(now + Duration::from_millis(251)).0, 1);
        assert_eq!(tries(now + Duration::from_secs(60)).0, 64);
    }
}
