//! Sends commands: at the channel's exact rate, in order, each once.
//!
//! SEND is owned in parts, spread over the replicas; one process at a time owns a part and sends for its channels.
//! Within the owner each channel has an actor of its own, so that no channel waits for another; what an actor decides is
//! its machine's, which does no I/O. A command's way: read, claimed in the database, granted a place in the rate, sent,
//! its outcome written, told as an event, and purged from the queue.

mod channel;
mod events;
mod governor;
mod handover;
mod hold;
mod lane;
mod ledger;
mod machine;
mod orphans;
mod pairs;
mod quotas;
mod rates;
mod schedule;
mod session;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use staffetta_bus::{Bus, Group, Ownership, RegistryView, SendQueue};
use staffetta_outbox::{Announcer, DeadLetters};
use staffetta_providers::cloud_api::CloudApi;
use staffetta_runtime::config::{DispatcherConfig, GraphConfig};
use staffetta_runtime::{Health, RetryPolicy};
use staffetta_store::Store;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use ledger::Ledger;
use quotas::Quotas;
use schedule::{Duty, Schedule};
use session::Session;

/// The service.
#[derive(Debug)]
pub struct Dispatcher {
    running: Arc<AtomicBool>,
    ownership: Ownership,
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
    quotas: Quotas,
    metrics: channel::Metrics,
}

#[derive(Debug)]
pub(crate) struct Settings {
    max_tries: u32,
    doubt_wait: Duration,
    retry: RetryPolicy,
}

/// How long after the stop outcomes may still be written.
const LAST_WORDS: Duration = Duration::from_secs(25);
/// Changes of ownership that nobody has looked at yet.
const CHANGES: usize = 64;

impl Dispatcher {
    /// Prepares the service. Nothing is sent before [`run`](Self::run). Adds the check `dispatcher` to `health`: it
    /// passes while the service runs, whatever it owns, and NATS is there.
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
        let ownership = Ownership::open(&bus, Group::Send, &Uuid::now_v7().to_string()).await?;
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
            quotas: Quotas::default(),
            metrics: channel::Metrics::new(),
            bus: bus.clone(),
        };
        let running = Arc::<AtomicBool>::default();
        let (probe, connection) = (Arc::clone(&running), bus.clone());
        health.add("dispatcher", move || probe.load(Ordering::Relaxed) && connection.is_connected());
        Ok(Self {
            running,
            ownership,
            shared,
            announcer: Announcer::new(bus, registry, store.clone()),
            store,
        })
    }

    /// Sends for its share of SEND until `stop`; then finishes what was begun and gives its share back.
    ///
    /// # Errors
    /// If a part of it died. What was begun is then settled by the next owner.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { running, ownership, shared, announcer, store } = self;
        running.store(true, Ordering::Relaxed);
        let stop = stop.child_token();
        let abandon = CancellationToken::new();
        let (ledger, writing) = Ledger::new(store.clone(), announcer.clone(), abandon.clone());
        let sweeping = announcer.sweep(stop.clone());
        let (bus, dead) = (shared.bus.clone(), shared.dead.clone());
        let duty = Duty::default();
        let scheduling = Schedule::new(bus, store, ledger.clone(), dead, duty.clone()).run(stop.clone());
        let (tell_changes, changes) = mpsc::channel(CHANGES);
        let (give_back, returned) = mpsc::channel(CHANGES);
        let owning = ownership.run(tell_changes, returned, stop.clone());
        let serving = async { Session::new(shared, ledger, duty).run(changes, give_back, &stop).await };
        let all = async {
            let (written, (), (), (), served) = tokio::join!(writing, sweeping, scheduling, owning, serving);
            served.and(written)
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
