//! Shows what waits in the outbox, whoever ought to tell it.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use jiff::Timestamp;
use staffetta_runtime::telemetry::meter;
use staffetta_store::{OutboxState, Store};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(10);

/// What the last look found; nothing before the first.
type Seen = Mutex<Option<OutboxState>>;

/// Looks into the outbox again and again.
#[derive(Debug)]
pub(crate) struct Outbox {
    store: Store,
    seen: Arc<Seen>,
}

impl Outbox {
    /// Shows what the last look found, for as long as this lives.
    pub(crate) fn new(store: Store) -> Self {
        let seen = Arc::new(Seen::default());
        let (events, oldest) = (Arc::downgrade(&seen), Arc::downgrade(&seen));
        meter()
            .u64_observable_gauge("staffetta.outbox.events")
            .with_description("Events that are committed and not told yet")
            .with_callback(move |gauge| {
                if let Some(state) = last(&events) {
                    gauge.observe(state.events, &[]);
                }
            })
            .build();
        meter()
            .f64_observable_gauge("staffetta.outbox.oldest")
            .with_unit("s")
            .with_description("Age of the oldest event that is committed and not told yet")
            .with_callback(move |gauge| {
                if let Some(state) = last(&oldest) {
                    // While the database can't be asked, what waits grows older.
                    let age =
                        state.oldest.map(|oldest| Timestamp::now().duration_since(oldest).as_secs_f64());
                    gauge.observe(age.unwrap_or_default().max(0.0), &[]);
                }
            })
            .build();
        Self { store, seen }
    }

    /// Looks every ten seconds, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        loop {
            match self.store.outbox_state().await {
                Ok(state) => *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(state),
                // Who records says so too, and louder.
                Err(failure) => {
                    debug!(error = &failure as &dyn std::error::Error, "the outbox could not be read")
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(PAUSE) => {}
            }
        }
    }
}

fn last(seen: &Weak<Seen>) -> Option<OutboxState> {
    *seen.upgrade()?.lock().unwrap_or_else(PoisonError::into_inner)
}
