//! Allowances that fill up again: one for each of whoever is counted, and so many at a time.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// An allowance holds what one second brings, so one that nobody took from for that long is as good as a new one.
const FULL_AFTER: Duration = Duration::from_secs(1);

/// Who has how much left.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    /// `None` stands for all those that had no place of their own any more.
    each: HashMap<Option<K>, Bucket>,
    most: usize,
    swept: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn refill(&mut self, rate: u32, now: Instant) {
        let rate = f64::from(rate);
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * rate).min(rate);
        self.at = self.at.max(now);
    }
}

impl<K: Eq + Hash> Buckets<K> {
    /// Room for so many; whoever comes on top of them shares one allowance with others.
    pub(super) fn new(most: usize) -> Self {
        Self { each: HashMap::new(), most, swept: None }
    }

    /// Takes one of `rate` a second, and says how many are left; `None` if there was none to take.
    pub(super) fn take(&mut self, who: K, rate: u32, now: Instant) -> Option<u32> {
        let bucket = self.bucket(who, rate, now);
        if bucket.tokens < 1.0 {
            return None;
        }
        bucket.tokens -= 1.0;
        Some(bucket.tokens as u32)
    }

    /// Whether there is one to take.
    pub(super) fn has_any(&mut self, who: K, rate: u32, now: Instant) -> bool {
        self.bucket(who, rate, now).tokens >= 1.0
    }

    fn bucket(&mut self, who: K, rate: u32, now: Instant) -> &mut Bucket {
        self.sweep(now);
        let who = Some(who);
        let who = if self.each.len() < self.most || self.each.contains_key(&who) { who } else { None };
        let bucket = self.each.entry(who).or_insert(Bucket { tokens: f64::from(rate), at: now });
        bucket.refill(rate, now);
        bucket
    }

    /// Forgets, once a second, whose allowance is full.
    fn sweep(&mut self, now: Instant) {
        let due = self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= FULL_AFTER);
        if due {
            self.each.retain(|_, bucket| now.saturating_duration_since(bucket.at) < FULL_AFTER);
            self.swept = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_brings_what_the_rate_says_and_no_more_is_kept() {
        let (mut buckets, start) = (Buckets::new(10), Instant::now());
        let at = |millis: u64| start + Duration::from_millis(millis);
        assert_eq!(buckets.take("a", 3, at(0)), Some(2));
        assert_eq!(buckets.take("a", 3, at(0)), Some(1));
        assert_eq!(buckets.take("a", 3, at(0)), Some(0));
        assert!(!buckets.has_any("a", 3, at(0)));
        assert_eq!(buckets.take("a", 3, at(0)), None);
        assert_eq!(buckets.take("b", 3, at(0)), Some(2));
        assert_eq!(buckets.take("a", 3, at(300)), None);
        assert_eq!(buckets.take("a", 3, at(400)), Some(0));
        assert!(buckets.has_any("a", 3, at(10_000)));
        assert_eq!(buckets.take("a", 3, at(10_000)), Some(2));
        // A lower rate holds at once; a clock that is read late takes nothing back.
        assert_eq!(buckets.take("a", 1, at(10_000)), Some(0));
        assert_eq!(buckets.take("a", 1, at(9_000)), None);
    }

    #[test]
    fn those_who_find_no_place_share_one_and_places_become_free() {
        let (mut buckets, start) = (Buckets::new(2), Instant::now());
        for who in ["a", "b", "c", "d"] {
            buckets.take(who, 2, start);
        }
        assert_eq!(buckets.each.len(), 3);
        assert_eq!(buckets.take("e", 2, start), None);
        assert_eq!(buckets.take("a", 2, start), Some(0));
        assert_eq!(buckets.take("e", 2, start + FULL_AFTER), Some(1));
        assert_eq!(buckets.each.len(), 1);
    }
}
