//! Slows down whoever guesses passwords: a few tries at once, then one every few seconds.
//!
//! One bucket per address and one for everybody, so that many addresses do not help.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong tries that one address has at once; people mistype.
const TRIES_PER_ADDRESS: f64 = 5.0;

/// How long one address waits for another try.
const WAIT_PER_ADDRESS: Duration = Duration::from_secs(10);

/// Wrong tries that all addresses together have at once.
const TRIES_OF_ALL: f64 = 30.0;

/// How long everybody waits for another try: a hash takes some 20 ms of a core.
const WAIT_OF_ALL: Duration = Duration::from_secs(1);

/// Addresses remembered at most; beyond, only those that are waiting stay.
const ADDRESSES_MAX: usize = 4_096;

/// Who has tried how often.
#[derive(Debug)]
pub(super) struct Limiter(Mutex<Buckets>);

#[derive(Debug)]
struct Buckets {
    all: Bucket,
    addresses: HashMap<IpAddr, Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tries: f64,
    filled_at: Instant,
}

impl Bucket {
    fn full(tries: f64, now: Instant) -> Self {
        Self { tries, filled_at: now }
    }

    fn fill(&mut self, full: f64, wait: Duration, now: Instant) {
        let passed = now.saturating_duration_since(self.filled_at);
        self.tries = (self.tries + passed.div_duration_f64(wait)).min(full);
        self.filled_at = now;
    }

    fn wait(&self, wait: Duration) -> Option<Duration> {
        (self.tries < 1.0).then(|| wait.mul_f64(1.0 - self.tries))
    }
}

impl Limiter {
    pub(super) fn new(now: Instant) -> Self {
        let all = Bucket::full(TRIES_OF_ALL, now);
        Self(Mutex::new(Buckets { all, addresses: HashMap::new() }))
    }

    /// Takes a try from `address`; if it has none, says how long to wait.
    pub(super) fn try_from(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Buckets { all, addresses } = &mut *buckets;
        if addresses.len() >= ADDRESSES_MAX {
            for bucket in addresses.values_mut() {
                bucket.fill(TRIES_PER_ADDRESS, WAIT_PER_ADDRESS, now);
            }
            addresses.retain(|_, bucket| bucket.tries < TRIES_PER_ADDRESS);
        }
        let one = addresses.entry(address).or_insert_with(|| Bucket::full(TRIES_PER_ADDRESS, now));
        all.fill(TRIES_OF_ALL, WAIT_OF_ALL, now);
        one.fill(TRIES_PER_ADDRESS, WAIT_PER_ADDRESS, now);
        if let Some(wait) = one.wait(WAIT_PER_ADDRESS).max(all.wait(WAIT_OF_ALL)) {
            return Err(wait);
        }
        one.tries -= 1.0;
        all.tries -= 1.0;
        Ok(())
    }

    /// Gives the tries of `address` back: it knew the password.
    pub(super) fn forgive(&self, address: IpAddr) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.addresses.remove(&address);
        buckets.all.tries = (buckets.all.tries + 1.0).min(TRIES_OF_ALL);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::{Duration, Instant};

    use super::Limiter;

    fn address(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
    }

    #[test]
    fn the_sixth_wrong_try_waits_ten_seconds() {
        let start = Instant::now();
        let limiter = Limiter::new(start);
        for _ in 0..5 {
            assert_eq!(limiter.try_from(address(1), start), Ok(()));
        }
        assert_eq!(limiter.try_from(address(1), start), Err(Duration::from_secs(10)));
        assert_eq!(limiter.try_from(address(2), start), Ok(()), "others may still try");
        let later = start + Duration::from_secs(10);
        assert_eq!(limiter.try_from(address(1), later), Ok(()));
        assert!(limiter.try_from(address(1), later).is_err());
    }

    #[test]
    fn many_addresses_share_one_limit() {
        let start = Instant::now();
        let limiter = Limiter::new(start);
        let tried = (0..100).filter(|n| limiter.try_from(address(*n), start).is_ok()).count();
        assert_eq!(tried, 30);
    }

    #[test]
    fn who_knows_the_password_is_forgiven() {
        let start = Instant::now();
        let limiter = Limiter::new(start);
        for _ in 0..50 {
            assert_eq!(limiter.try_from(address(1), start), Ok(()));
            limiter.forgive(address(1));
        }
    }
}
