//! What all streams of this process share: how many there are, the news of what was stored, and the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use opentelemetry::metrics::UpDownCounter;
use staffetta_bus::{EventLog, EventWake, Key};
use staffetta_domain::TenantId;
use staffetta_runtime::telemetry::meter;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Most streams of one API key.
const PER_KEY: usize = 16;
/// Most streams of one process.
const PER_PROCESS: usize = 1_000;
/// Pause before wake-ups are followed again after they could not be.
const PAUSE: Duration = Duration::from_secs(1);

/// The streams of this process. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Live(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    open: Mutex<Open>,
    closing: CancellationToken,
    count: UpDownCounter<i64>,
}

#[derive(Debug, Default)]
struct Open {
    streams: usize,
    keys: HashMap<String, usize>,
    tenants: HashMap<TenantId, News>,
}

/// What was stored of one tenant, for as long as one of its streams is open.
#[derive(Debug)]
struct News {
    streams: usize,
    /// The highest number that a wake-up told.
    told: watch::Sender<u64>,
}

/// There are as many streams as there may be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TooMany {
    #[error(
        "this API key has {PER_KEY} streams open, the most that it may have: close one, or wait until one is found dead"
    )]
    OfKey,
    #[error("more streams than these can't be served here: try again a little later")]
    OfAll,
}

impl Default for Live {
    fn default() -> Self {
        let count = meter()
            .i64_up_down_counter("staffetta.api.event_streams")
            .with_description("Streams of live events that are open")
            .build();
        Self(Arc::new(Shared { open: Mutex::default(), closing: CancellationToken::new(), count }))
    }
}

impl Live {
    /// Hands out what was stored until `stop`, then ends every stream.
    pub(crate) async fn run(&self, log: &EventLog, stop: CancellationToken) {
        let following = async {
            loop {
                match log.wakes().await {
                    Ok(mut wakes) => {
                        while let Some(wake) = wakes.next().await {
                            self.tell(&wake);
                        }
                    }
                    // The streams look for themselves too.
                    Err(error) => warn!(error = &error as &dyn std::error::Error, "no news of events"),
                }
                sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = following => {}
        }
        self.0.closing.cancel();
    }

    /// A place for one more stream of that key. It is free again when it is dropped.
    pub(super) fn enter(&self, key: &Key) -> Result<Seat, TooMany> {
        let mut open = self.0.open();
        if open.streams >= PER_PROCESS {
            return Err(TooMany::OfAll);
        }
        let of_key = open.keys.entry(key.id.clone()).or_default();
        if *of_key >= PER_KEY {
            return Err(TooMany::OfKey);
        }
        *of_key += 1;
        open.streams += 1;
        let new = || News { streams: 0, told: watch::Sender::new(0) };
        let news = open.tenants.entry(key.tenant.id.clone()).or_insert_with(new);
        news.streams += 1;
        let told = news.told.subscribe();
        self.0.count.add(1, &[]);
        let (key, tenant) = (key.id.clone(), key.tenant.id.clone());
        Ok(Seat { shared: Arc::clone(&self.0), key, tenant, told })
    }

    fn tell(&self, wake: &EventWake) {
        if let Some(news) = self.0.open().tenants.get(&wake.tenant) {
            news.told.send_modify(|told| *told = wake.sequence.max(*told));
        }
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, Open> {
        // Whoever panicked with it left whole numbers behind.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream's place among all.
#[derive(Debug)]
pub(super) struct Seat {
    shared: Arc<Shared>,
    key: String,
    tenant: TenantId,
    told: watch::Receiver<u64>,
}

impl Seat {
    /// Whose stream it is.
    pub(super) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Fires when the stream must end.
    pub(super) fn closing(&self) -> CancellationToken {
        self.shared.closing.clone()
    }

    /// The highest number of a stored event that was told; 0 if none was yet.
    pub(super) fn told(&self) -> u64 {
        *self.told.borrow()
    }

    /// Waits until an event is told whose number is at least `wanted`.
    pub(super) async fn told_of(&mut self, wanted: u64) {
        if self.told.wait_for(|told| *told >= wanted).await.is_err() {
            // The sender lives as long as this seat does.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.shared.open();
        open.streams -= 1;
        if let Some(streams) = open.keys.get_mut(&self.key) {
            *streams -= 1;
            if *streams == 0 {
                open.keys.remove(&self.key);
            }
        }
        if let Some(news) = open.tenants.get_mut(&self.tenant) {
            news.streams -= 1;
            if news.streams == 0 {
                open.tenants.remove(&self.tenant);
            }
        }
        drop(open);
        self.shared.count.add(-1, &[]);
    }
}

#[cfg(test)]
mod tests {
    use staffetta_bus::{Encoding, Scope, Tenant};

    use super::*;

    fn key(number: usize) -> Key {
        let tenant = Tenant {
            id: format!("tenant-{number}").parse().unwrap(),
            encoding: Encoding::Json,
            doubt_policy: Default::default(),
            retention_days: 90,
            name: String::new(),
            api_requests_per_second: None,
        };
        let (tenant, id) = (Arc::new(tenant), number.to_string());
        Key { tenant, id, name: None, scopes: Scope::ALL.to_vec(), expires: None }
    }

    #[test]
    fn streams_are_counted_by_key_and_all_together_and_nothing_is_left_of_them() {
        let live = Live::default();
        let mut seats: Vec<Seat> = (0..PER_PROCESS).map(|n| live.enter(&key(n / PER_KEY)).unwrap()).collect();
        assert!(matches!(live.enter(&key(PER_PROCESS)), Err(TooMany::OfAll)));
        seats.pop();
        assert!(matches!(live.enter(&key(0)), Err(TooMany::OfKey)));
        seats.push(live.enter(&key(PER_PROCESS)).unwrap());
        drop(seats);
        let open = live.0.open();
        assert!(open.streams == 0 && open.keys.is_empty() && open.tenants.is_empty(), "{open:?}");
    }

    #[test]
    fn a_seat_hears_of_its_own_tenants_events_and_never_of_less_than_before() {
        let live = Live::default();
        let seat = live.enter(&key(1)).unwrap();
        let wake = |tenant: &str, sequence| EventWake {
            tenant: tenant.parse().unwrap(),
            channel: "a".parse().unwrap(),
            sequence,
        };
        for (tenant, sequence, told) in
            [("tenant-2", 9, 0), ("tenant-1", 5, 5), ("tenant-1", 4, 5), ("tenant-1", 0, 5)]
        {
            live.tell(&wake(tenant, sequence));
            assert_eq!(seat.told(), told);
        }
    }
}
