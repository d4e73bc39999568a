//! How long to wait before trying again. The one place that knows the `backoff` crate, which only reckons intervals here.

use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Waits that grow, with some chance in each so that many who failed together don't come back together.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// The first wait, before chance.
    pub first: Duration,
    /// The longest wait, before chance.
    pub longest: Duration,
    /// How many waits there are: one less than tries.
    pub waits: u32,
}

/// Each wait is up to this part longer or shorter than reckoned.
const JITTER: f64 = 0.25;

impl RetryPolicy {
    /// The waits, in order; after the last one there is nothing left to try.
    pub fn waits(self, seed: u64) -> Waits {
        let backoff = ExponentialBackoffBuilder::new()
            .with_initial_interval(self.first)
            .with_max_interval(self.longest)
            .with_multiplier(2.0)
            .with_randomization_factor(0.0)
            .with_max_elapsed_time(None)
            .build();
        Waits { backoff, left: self.waits, random: SmallRng::seed_from_u64(seed) }
    }

    /// The wait before try number `attempt + 1`, when try number `attempt` (from 1) has failed; `None` if that was
    /// the last try.
    pub fn after(self, attempt: u32, seed: u64) -> Option<Duration> {
        self.waits(seed).nth(attempt.saturating_sub(1) as usize)
    }
}

/// The waits of one policy.
#[derive(Debug)]
pub struct Waits {
    backoff: ExponentialBackoff,
    left: u32,
    random: SmallRng,
}

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let wait = self.backoff.next_backoff()?;
        Some(wait.mul_f64(self.random.random_range(1.0 - JITTER..1.0 + JITTER)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy =
        RetryPolicy { first: Duration::from_millis(100), longest: Duration::from_secs(1), waits: 6 };

    #[test]
    fn waits_double_up_to_the_longest_and_then_end() {
        let waits: Vec<Duration> = POLICY.waits(7).collect();
        assert_eq!(waits.len(), 6);
        for (wait, reckoned) in waits.iter().zip([100, 200, 400, 800, 1000, 1000]) {
            let reckoned = Duration::from_millis(reckoned);
            assert!(
                *wait >= reckoned.mul_f64(0.75) && *wait <= reckoned.mul_f64(1.25),
                "{wait:?} for {reckoned:?}"
            );
        }
        assert_eq!(POLICY.after(7, 7), None);
    }

    #[test]
    fn the_same_seed_waits_alike() {
        assert_eq!(POLICY.waits(1).collect::<Vec<_>>(), POLICY.waits(1).collect::<Vec<_>>());
        assert_ne!(POLICY.waits(1).collect::<Vec<_>>(), POLICY.waits(2).collect::<Vec<_>>());
    }
}
