//! How often one caller may ask: a bucket of requests for every key, or for every address where
//! there are no keys, that fills at a steady rate.

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use shotstream_story::record::Hash;

/// A caller may ask for so many seconds' worth at once: a studio that opens a long story asks for
/// all its pictures.
const BURST_SECS: u32 = 10;

/// After so many callers the buckets that are full again are forgotten.
const REMEMBERED: usize = 1024;

/// The key a request came with, one of the server's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyed(pub(crate) Hash);

/// Somebody who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Caller {
    /// Who has this key.
    Key(Hash),
    /// Whoever comes from there.
    Address(IpAddr),
}

/// The buckets of all callers.
pub(crate) struct Callers {
    buckets: Option<DefaultKeyedRateLimiter<Caller>>,
}

impl Callers {
    /// Buckets that fill with so many requests a second; without a rate nobody is held back.
    pub(crate) fn new(rate: Option<NonZeroU32>) -> Self {
        let bucket = |rate: NonZeroU32| {
            let burst = rate.saturating_mul(const { NonZeroU32::new(BURST_SECS).unwrap() });
            RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst))
        };
        Self { buckets: rate.map(bucket) }
    }

    /// Whether a caller may ask now.
    pub(crate) fn may_ask(&self, caller: &Caller) -> bool {
        let Some(buckets) = &self.buckets else { return true };
        if REMEMBERED < buckets.len() {
            buckets.retain_recent();
        }
        buckets.check_key(caller).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_that_asks_too_often_is_held_back_and_no_other() {
        let callers = Callers::new(NonZeroU32::new(1));
        let caller = |last| Caller::Address(IpAddr::from([10, 0, 0, last]));
        let answered = (0..50).filter(|_| callers.may_ask(&caller(1))).count();
        assert!((10..=12).contains(&answered), "{answered}");
        assert!(callers.may_ask(&caller(2)));
        assert!(callers.may_ask(&Caller::Key(Hash::of(b"key"))));
        let free = Callers::new(None);
        assert!((0..50).all(|_| free.may_ask(&caller(1))));
    }
}
