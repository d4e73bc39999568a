//! What a busy machine does to a thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

const BEAT: Duration = Duration::from_millis(5);
/// How far from a moment a late beat tells something of it.
const BEFORE: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_secs(1);

/// Notes how late a thread comes to what is due, every five milliseconds. What is measured there was shifted as much.
#[derive(Debug)]
pub struct Lateness {
    late: Arc<Mutex<Vec<(Duration, Duration)>>>,
    beating: JoinSet<()>,
}

impl Lateness {
    /// Of the thread that drives this runtime. Moments are told as the time since `begun`.
    #[must_use]
    pub fn of(runtime: &Handle, begun: Instant) -> Self {
        let mut lateness = Self { late: Arc::default(), beating: JoinSet::new() };
        let late = Arc::clone(&lateness.late);
        let beat = async move {
            loop {
                let due = Instant::now() + BEAT;
                sleep_until(due.into()).await;
                if due.elapsed() > BEAT {
                    locked(&late).push((begun.elapsed(), due.elapsed()));
                }
            }
        };
        lateness.beating.spawn_on(beat, runtime);
        lateness
    }

    /// The latest that it was around that moment; nothing if it was in time.
    #[must_use]
    pub fn around(&self, at: Duration) -> Duration {
        let near = at.saturating_sub(BEFORE)..at + AFTER;
        let late = locked(&self.late);
        late.iter().filter(|(beat, _)| near.contains(beat)).map(|(_, late)| *late).max().unwrap_or_default()
    }

    /// The latest that it ever was.
    #[must_use]
    pub fn longest(&self) -> Duration {
        locked(&self.late).iter().map(|(_, late)| *late).max().unwrap_or_default()
    }
}

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
