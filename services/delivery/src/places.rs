//! How far each endpoint has come: kept for all endpoints together, at most once a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use staffetta_store::{EndpointKey, EndpointPlace, Store};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Between two writes, and before one that failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Most places of one write.
const BATCH: usize = 1_000;

/// Takes places to be kept. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dirty: Mutex<HashMap<EndpointKey, Noted>>,
    notify: Notify,
    /// Somebody waits for a write.
    hurry: Notify,
    /// How many writes have been begun, and how many of them ended.
    rounds: watch::Sender<(u64, u64)>,
}

#[derive(Debug)]
struct Noted {
    place: EndpointPlace,
    lost: CancellationToken,
}

impl Places {
    pub(crate) fn new() -> Self {
        let rounds = watch::Sender::new((0, 0));
        Self(Arc::new(Inner { dirty: Mutex::default(), notify: Notify::new(), hurry: Notify::new(), rounds }))
    }

    /// The place is to be kept; only the last one of an endpoint is. `lost` fires if somebody else has come since.
    pub(crate) fn note(&self, place: EndpointPlace, lost: &CancellationToken) {
        let noted = Noted { lost: lost.clone(), place };
        self.0.dirty.lock().unwrap_or_else(PoisonError::into_inner).insert(noted.place.key.clone(), noted);
        self.0.notify.notify_one();
    }

    /// Waits until what was noted before is kept, or could not be, at most `limit`.
    pub(crate) async fn flush(&self, limit: Duration) {
        let mut rounds = self.0.rounds.subscribe();
        let wanted = rounds.borrow_and_update().0 + 1;
        self.0.notify.notify_one();
        self.0.hurry.notify_one();
        let kept = rounds.wait_for(|(_, ended)| *ended >= wanted);
        if !matches!(tokio::time::timeout(limit, kept).await, Ok(Ok(_))) {
            warn!("places could not be kept in time: some events will be delivered again");
        }
    }

    /// Keeps places until `stop`, and then what is left.
    pub(crate) async fn run(self, store: Store, stop: CancellationToken) {
        while stop.run_until_cancelled(self.0.notify.notified()).await.is_some() {
            self.keep(&store).await;
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = self.0.hurry.notified() => {}
                () = stop.cancelled() => {}
            }
        }
        self.keep(&store).await;
    }

    async fn keep(&self, store: &Store) {
        self.0.rounds.send_modify(|(begun, _)| *begun += 1);
        let dirty = std::mem::take(&mut *self.0.dirty.lock().unwrap_or_else(PoisonError::into_inner));
        let dirty: Vec<Noted> = dirty.into_values().collect();
        for batch in dirty.chunks(BATCH) {
            let places: Vec<EndpointPlace> = batch.iter().map(|noted| noted.place.clone()).collect();
            match store.keep_places(&places).await {
                Ok(owned) => {
                    for (noted, _) in batch.iter().zip(owned).filter(|(_, owned)| !owned) {
                        noted.lost.cancel();
                    }
                }
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "places could not be kept yet");
                    self.put_back(batch);
                }
            }
        }
        self.0.rounds.send_modify(|(begun, ended)| *ended = *begun);
    }

    /// Unless there are newer ones.
    fn put_back(&self, batch: &[Noted]) {
        let mut dirty = self.0.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        for Noted { place, lost } in batch {
            let noted = || Noted { place: place.clone(), lost: lost.clone() };
            dirty.entry(place.key.clone()).or_insert_with(noted);
        }
        self.0.notify.notify_one();
    }
}
