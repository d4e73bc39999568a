//! Sends commands: at the channel's exact rate, in order, each once.
//!
//! One owner at a time reads SEND and sends; its replicas stand by. Within the owner each channel has an actor of its
//! own, so that no channel waits for another. A command's way: read, claimed in the database, granted a place in the
//! rate, sent, its outcome written, told as an event, and purged from the queue.

mod channel;
mod events;
mod governor;
mod hold;
mod lane;
mod ledger;
mod orphans;
mod rates;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use staffetta_bus::{Bus, LeaseHolder, RegistryView, SendQueue};
use staffetta_outbox::{Announcer, DeadLetters};
use staffetta_providers::cloud_api::CloudApi;
use staffetta_runtime::config::{DispatcherConfig, GraphConfig};
use staffetta_runtime::{Health, RetryPolicy};
use staffetta_store::Store;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use ledger::Ledger;
use rates::Rates;
use session::Session;

/// The service.
#[derive(Debug)]
pub struct Dispatcher {
    running: Arc<AtomicBool>,
    lease: LeaseHolder,
    shared: Shared,
    announcer: Announcer,
    store: Store,
}

/// What every channel's actor works with.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    bus: Bus,
    queue: SendQueue,
    registry: RegistryView,
    provider: CloudApi,
    dead: DeadLetters,
    settings: Arc<Settings>,
    metrics: channel::Metrics,
}

#[derive(Debug)]
pub(crate) struct Settings {
    max_tries: u32,
    doubt_wait: Duration,
    retry: RetryPolicy,
}

/// The lease that the owner of all of SEND holds.
const LEASE: &str = "send.0";
/// How long after the stop outcomes may still be written.
const LAST_WORDS: Duration = Duration::from_secs(25);

impl Dispatcher {
    /// Prepares the service. Nothing is sent before [`run`](Self::run). Adds the check `dispatcher` to `health`: it
    /// passes while the service runs, as owner or standing by, and NATS is there.
    ///
    /// # Errors
    /// If the leases' bucket is not set up, or TLS can't be.
    pub async fn new(
        config: &DispatcherConfig,
        graph: &GraphConfig,
        bus: Bus,
        registry: RegistryView,
        store: Store,
        health: &Health,
    ) -> anyhow::Result<Self> {
        let request_timeout = Duration::from_millis(config.request_timeout_ms);
        let provider = CloudApi::new(&graph.base_url, &graph.version, request_timeout)
            .context("setting up the HTTP client")?;
        let lease = LeaseHolder::open(&bus, LEASE, &Uuid::now_v7().to_string()).await?;
        let settings = Settings {
            max_tries: config.max_tries,
            doubt_wait: Duration::from_secs(config.doubt_wait_seconds),
            retry: RetryPolicy {
                first: Duration::from_secs(1),
                longest: Duration::from_secs(60),
                waits: config.max_tries,
            },
        };
        let shared = Shared {
            queue: SendQueue::new(bus.clone()),
            registry: registry.clone(),
            provider,
            dead: DeadLetters::new(bus.clone()),
            settings: Arc::new(settings),
            metrics: channel::Metrics::new(),
            bus: bus.clone(),
        };
        let running = Arc::<AtomicBool>::default();
        let (probe, connection) = (Arc::clone(&running), bus.clone());
        health.add("dispatcher", move || probe.load(Ordering::Relaxed) && connection.is_connected());
        Ok(Self { running, lease, shared, announcer: Announcer::new(bus, registry, store.clone()), store })
    }

    /// Owns SEND whenever it is this process's turn, until `stop`; then finishes what was begun and gives SEND back.
    ///
    /// # Errors
    /// If a part of it died. What was begun is then settled by the next owner.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        self.running.store(true, Ordering::Relaxed);
        let running = Arc::clone(&self.running);
        let stop = stop.child_token();
        let abandon = CancellationToken::new();
        let (ledger, writing) = Ledger::new(self.store, self.announcer.clone(), abandon.clone());
        let sweeping = self.announcer.sweep(stop.clone());
        let owning = async {
            let owned = own(&self.lease, &self.shared, ledger, &stop).await;
            // Whatever ended the owning ends the rest too.
            stop.cancel();
            owned
        };
        let all = async {
            let (written, (), owned) = tokio::join!(writing, sweeping, owning);
            owned.and(written)
        };
        tokio::pin!(all);
        tokio::select! {
            ended = &mut all => return ended,
            () = stop.cancelled() => running.store(false, Ordering::Relaxed),
        }
        match timeout(LAST_WORDS, &mut all).await {
            Ok(ended) => ended,
            Err(_) => {
                warn!("outcomes could not be written in time: the next owner settles them");
                abandon.cancel();
                all.await
            }
        }
    }
}

async fn own(
    holder: &LeaseHolder,
    shared: &Shared,
    ledger: Ledger,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut rates = Rates::follow(shared).await?;
    loop {
        // What a channel receives while another process owns SEND counts in the first second of the ownership.
        let acquired = tokio::select! {
            acquired = holder.acquire(stop) => acquired,
            failed = rates.listen() => return failed,
        };
        let Some((lease, revision)) = acquired else { return Ok(()) };
        let drained = CancellationToken::new();
        let session = Session::new(shared.clone(), ledger.clone(), lease.clone(), &mut rates);
        let owning = async {
            let owned = session.run(stop).await;
            // Only now may the lease be given back: nothing is on its way any more.
            drained.cancel();
            owned
        };
        let (owned, ()) = tokio::join!(owning, holder.keep(&lease, revision, &drained));
        owned?;
    }
}
