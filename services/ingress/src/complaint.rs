//! Says a thing in the log, but not a thousand times a second.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Shortest time between two complaints about the same thing.
const PAUSE: Duration = Duration::from_secs(60);

/// What was complained about lately.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Mutex<HashMap<String, Instant>>);

impl Complaints {
    /// Whether to complain now about `subject`, which must be one of few.
    pub(crate) fn due(&self, subject: &str) -> bool {
        let now = Instant::now();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.get(subject).is_some_and(|last| now.duration_since(*last) < PAUSE) {
            return false;
        }
        last.retain(|_, last| now.duration_since(*last) < PAUSE);
        last.insert(subject.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_subject_has_its_own_minute() {
        let complaints = Complaints::default();
        assert!(complaints.due("a"));
        assert!(!complaints.due("a"));
        assert!(complaints.due("b"));
        tokio::time::advance(PAUSE).await;
        assert!(complaints.due("a"));
    }
}
