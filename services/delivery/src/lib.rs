//! Pushes events to the tenants' endpoints: at least once, in order per conversation, and none waits for another's.
//!
//! Endpoints are owned in parts, spread over the replicas; one process at a time delivers to an endpoint. Within the
//! owner each endpoint has an actor of its own, which reads EVENTS from its own place; what an actor decides is its
//! machine's, which does no I/O.

mod attempt;
mod board;
mod consumers;
mod endpoint;
mod format;
mod guard;
mod log;
mod machine;
mod metrics;
mod orphans;
mod places;
mod session;
mod sign;
mod spool;
mod told;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use staffetta_bus::{Bus, EventLog, Group, Ownership, RegistryView};
use staffetta_outbox::{Announcer, DeadLetters};
use staffetta_runtime::{Config, Health};
use staffetta_store::Store;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use board::Board;
use guard::Guarded;
use log::AttemptLog;
use metrics::Metrics;
use places::Places;
use session::Session;

/// Requests at a time in the whole process.
const REQUESTS: usize = 2_048;
/// Changes of ownership that nobody has looked at yet.
const CHANGES: usize = 64;

/// The service.
#[derive(Debug)]
pub struct Delivery {
    running: Arc<AtomicBool>,
    ownership: Ownership,
    bus: Bus,
    registry: RegistryView,
    store: Store,
    client: Guarded,
    settings: Settings,
}

/// What every endpoint's actor works with.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    bus: Bus,
    log: EventLog,
    registry: RegistryView,
    store: Store,
    client: Guarded,
    announcer: Announcer,
    dead: DeadLetters,
    places: Places,
    attempts: AttemptLog,
    metrics: Metrics,
    board: Board,
    requests: Arc<Semaphore>,
    settings: Arc<Settings>,
}

#[derive(Debug)]
pub(crate) struct Settings {
    /// Requests to one endpoint at a time.
    concurrency: usize,
    disable_after: Duration,
    spool_root: Option<PathBuf>,
}

impl Delivery {
    /// Prepares the service. Nothing is delivered before [`run`](Self::run). Adds the check `delivery` to `health`: it
    /// passes while the service runs, whatever it owns, and NATS is there.
    ///
    /// # Errors
    /// If the leases' bucket is not set up, `delivery.allow_networks` can't be read, or TLS can't be set up.
    pub async fn new(
        config: &Config,
        bus: Bus,
        registry: RegistryView,
        store: Store,
        health: &Health,
    ) -> anyhow::Result<Self> {
        let client =
            guard::client(&config.delivery, is_local(config)).context("setting up the HTTP client")?;
        let ownership = Ownership::open(&bus, Group::Deliver, &Uuid::now_v7().to_string()).await?;
        let settings = Settings {
            concurrency: config.delivery.concurrency,
            disable_after: Duration::from_secs(config.delivery.disable_after_seconds),
            spool_root: config.delivery.spool_root.clone(),
        };
        let running = Arc::<AtomicBool>::default();
        let (probe, connection) = (Arc::clone(&running), bus.clone());
        health.add("delivery", move || probe.load(Ordering::Relaxed) && connection.is_connected());
        Ok(Self { running, ownership, bus, registry, store, client, settings })
    }

    /// Delivers for its share of the endpoints until `stop`; then finishes what was begun and gives its share back.
    ///
    /// # Errors
    /// If a part of it died. What was begun is then delivered again by the next owner.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { running, ownership, bus, registry, store, client, settings } = self;
        running.store(true, Ordering::Relaxed);
        let stop = stop.child_token();
        let metrics = Metrics::new();
        let announcer = Announcer::new(bus.clone(), registry.clone(), store.clone());
        let (attempts, logging) = AttemptLog::new(store.clone(), metrics.clone());
        let places = Places::new();
        let sweeping = announcer.clone().sweep(stop.clone());
        // Places are kept until nobody has one any more.
        let all_ended = CancellationToken::new();
        let keeping = places.clone().run(store.clone(), all_ended.clone());
        let shared = Shared {
            log: EventLog::new(bus.clone()),
            dead: DeadLetters::new(bus.clone()),
            bus,
            registry,
            store,
            client,
            announcer,
            places,
            attempts,
            metrics,
            board: Board::new(),
            requests: Arc::new(Semaphore::new(REQUESTS)),
            settings: Arc::new(settings),
        };
        let (tell_changes, changes) = mpsc::channel(CHANGES);
        let (give_back, returned) = mpsc::channel(CHANGES);
        let owning = ownership.run(tell_changes, returned, stop.clone());
        let (stop_all, ended) = (stop.clone(), all_ended.clone());
        let serving = async move {
            let served = Session::new(shared).run(changes, give_back, &stop_all).await;
            ended.cancel();
            served
        };
        let not_ready = async {
            stop.cancelled().await;
            running.store(false, Ordering::Relaxed);
        };
        let (served, (), (), (), (), ()) =
            tokio::join!(serving, owning, keeping, logging, sweeping, not_ready);
        served
    }
}

/// Whether NATS runs on this machine.
fn is_local(config: &Config) -> bool {
    let Some(urls) = &config.nats.url else { return true };
    urls.split(',').all(|url| {
        let host = url.trim().rsplit('@').next().unwrap_or_default();
        let host = host.rsplit("//").next().unwrap_or_default();
        ["127.", "localhost", "[::1]"].iter().any(|local| host.starts_with(local))
    })
}
