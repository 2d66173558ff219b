//! How fast wrong tokens are answered: a leaky bucket for each address and one for all, in a table that does not grow.
//!
//! Nobody guesses 32 random bytes. What this bounds is what trying costs the node.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

/// Buckets of addresses. Addresses that share one are slowed down together; which do so differs at every start.
const BUCKETS: usize = 1024;
/// Wrong tokens of one address that are answered at once, and the time after which it has another one free.
const OF_ONE: Rate = Rate { burst: 10, every: Duration::from_secs(1) };
/// The same of all addresses together.
const OF_ALL: Rate = Rate { burst: 200, every: Duration::from_millis(10) };
/// The longest wait. Shorter than the time for a handshake, so that its answer still comes.
const LONGEST: Duration = Duration::from_secs(4);

struct Rate {
    burst: u32,
    every: Duration,
}

/// The generic cell rate algorithm (ITU-T I.371): the time at which a bucket is empty again is all that it has to know.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    empty: Duration,
}

impl Bucket {
    /// One more at `now`: how long it has to wait.
    fn add(&mut self, now: Duration, rate: &Rate) -> Duration {
        let empty = self.empty.max(now) + rate.every;
        let wait = empty.saturating_sub(now + rate.every * rate.burst);
        // Who comes in spite of the longest wait does not make it longer.
        if wait <= LONGEST {
            self.empty = empty;
        }
        wait.min(LONGEST)
    }
}

#[derive(Debug)]
pub(super) struct Limiter {
    began: Instant,
    hasher: RandomState,
    of_one: Box<[Bucket; BUCKETS]>,
    of_all: Bucket,
}

impl Limiter {
    pub(super) fn new(now: Instant) -> Self {
        let of_one = Box::new([Bucket::default(); BUCKETS]);
        Self { began: now, hasher: RandomState::new(), of_one, of_all: Bucket::default() }
    }

    /// A wrong token came: how long its answer has to wait.
    pub(super) fn wrong(&mut self, from: IpAddr, now: Instant) -> Duration {
        let now = now.saturating_duration_since(self.began);
        let bucket = (self.hasher.hash_one(neighbourhood(from)) % BUCKETS as u64) as usize;
        self.of_one[bucket].add(now, &OF_ONE).max(self.of_all.add(now, &OF_ALL))
    }
}

/// Whoever has one address of IPv6 has the other 2^64 of its network.
pub(super) fn neighbourhood(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
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
        let mut limiter = Limiter::new(now);
        let waits: Vec<u64> = (0..20).map(|_| limiter.wrong(address(1), now).as_secs()).collect();
        assert_eq!(waits, [[0; 10].as_slice(), &[1, 2, 3, 4], &[4; 6]].concat());
        // After a second there is room for one more at the end of the row, and after a quiet time for all.
        assert_eq!(limiter.wrong(address(1), now + Duration::from_secs(1)).as_secs(), 4);
        assert_eq!(limiter.wrong(address(1), now + Duration::from_secs(60)), Duration::ZERO);
    }

    #[test]
    fn an_address_does_not_slow_down_another_one() {
        let now = Instant::now();
        let mut limiter = Limiter::new(now);
        for _ in 0..100 {
            limiter.wrong(address(1), now);
        }
        let others = (2..12).filter(|n| limiter.wrong(address(*n), now) == Duration::ZERO).count();
        // Some may share its bucket.
        assert!(others >= 8, "{others} of 10");
    }

    #[test]
    fn all_together_are_slowed_down_however_many_addresses_they_have() {
        let now = Instant::now();
        let mut limiter = Limiter::new(now);
        for n in 0..10_000 {
            limiter.wrong(address(n), now);
        }
        assert!((0..100).all(|n| limiter.wrong(address(1 << 20 | n), now) >= Duration::from_secs(3)));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let same = |a: &str, b: &str| neighbourhood(a.parse().unwrap()) == neighbourhood(b.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::ffff:1") && !same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }
}
