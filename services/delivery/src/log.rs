//! The attempt log: written in batches beside the deliveries, which never wait for it.

use std::time::Duration;

use staffetta_store::{Attempt, Store};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::warn;

use crate::metrics::Metrics;

/// Attempts that wait to be written; more are left out.
const WAITING: usize = 8_192;
/// Most attempts of one write.
const BATCH: usize = 500;
/// How long attempts are gathered for one write.
const GATHER: Duration = Duration::from_millis(200);

/// Takes attempts. Clones share the queue.
#[derive(Clone, Debug)]
pub(crate) struct AttemptLog {
    queue: mpsc::Sender<Attempt>,
    metrics: Metrics,
}

impl AttemptLog {
    /// The log, and its writing: it ends when every clone of the log is gone and all is written.
    pub(crate) fn new(store: Store, metrics: Metrics) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (queue, waiting) = mpsc::channel(WAITING);
        (Self { queue, metrics: metrics.clone() }, write(store, metrics, waiting))
    }

    /// Notes it, unless the database is too slow for so many.
    pub(crate) fn note(&self, attempt: Attempt) {
        if self.queue.try_send(attempt).is_err() {
            self.metrics.unlogged.add(1, &[]);
        }
    }
}

async fn write(store: Store, metrics: Metrics, mut waiting: mpsc::Receiver<Attempt>) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        if batch.len() < BATCH && !waiting.is_closed() {
            sleep(GATHER).await;
            while batch.len() < BATCH
                && let Ok(attempt) = waiting.try_recv()
            {
                batch.push(attempt);
            }
        }
        if let Err(error) = store.log_attempts(&batch).await {
            warn!(
                error = &error as &dyn std::error::Error,
                attempts = batch.len(),
                "attempts are not logged"
            );
            metrics.unlogged.add(batch.len() as u64, &[]);
        }
        batch.clear();
    }
}
