//! Whether NATS keeps up with what it is given.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Since when the oldest webhook in flight has been waiting. It says "stalled" early, so that a webhook that would wait
/// in vain is refused at once.
#[derive(Debug)]
pub(crate) struct Pace {
    started: Instant,
    patience: Duration,
    /// Milliseconds after `started`.
    oldest: AtomicU64,
}

const NOTHING: u64 = u64::MAX;

impl Pace {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { started: Instant::now(), patience, oldest: AtomicU64::new(NOTHING) }
    }

    /// The oldest webhook in flight arrived at `oldest`; `None` if none is.
    pub(crate) fn waits_since(&self, oldest: Option<Instant>) {
        let millis = oldest.map_or(NOTHING, |oldest| {
            u64::try_from(oldest.duration_since(self.started).as_millis()).unwrap_or(NOTHING)
        });
        self.oldest.store(millis, Ordering::Relaxed);
    }

    /// Whether the oldest webhook in flight has waited longer than it should.
    pub(crate) fn is_stalled(&self) -> bool {
        match self.oldest.load(Ordering::Relaxed) {
            NOTHING => false,
            millis => self.started.elapsed() > Duration::from_millis(millis) + self.patience,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_stalls_when_the_oldest_waits_too_long_and_recovers_with_it() {
        let pace = Pace::new(Duration::from_secs(4));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(!pace.is_stalled());
        pace.waits_since(Some(Instant::now()));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(!pace.is_stalled());
        tokio::time::advance(Duration::from_millis(2)).await;
        assert!(pace.is_stalled());
        pace.waits_since(None);
        assert!(!pace.is_stalled());
    }
}
