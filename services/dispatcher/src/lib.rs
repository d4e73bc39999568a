//! Sends commands: at the channel's exact rate, in order, each once.
//!
//! SEND is owned in parts, spread over the replicas; one process at a time owns a part and sends for its channels.
//! Within the owner each channel has an actor of its own, so that no channel waits for another; what an actor decides is
//! its machine's, which does no I/O. A command's way: read, claimed in the database, granted a place in the rate, sent,
//! its outcome written, told as an event, and purged from the queue.

mod board;
mod channel;
mod events;
mod governor;
mod handover;
mod hold;
mod lane;
mod ledger;
mod machine;
mod metrics;
mod orphans;
mod pairs;
mod quotas;
mod rates;
mod schedule;
mod session;
mod stopped;
mod tokens;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use staffetta_bus::{Bus, Group, Ownership, RegistryView, SendQueue};
use staffetta_outbox::{Announcer, DeadLetters};
use staffetta_providers::cloud_api::CloudApi;
use staffetta_providers::graph::Graph;
use staffetta_runtime::config::{DispatcherConfig, GraphConfig};
use staffetta_runtime::telemetry::requested;
use staffetta_runtime::{Health, RetryPolicy};
use staffetta_store::Store;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use board::Board;
use ledger::Ledger;
use metrics::Metrics;
use quotas::Quotas;
use schedule::{Duty, Schedule};
use session::Session;
use tokens::Tokens;

/// The service.
#[derive(Debug)]
pub struct Dispatcher {
    running: Arc<AtomicBool>,
    ownership: Ownership,
    shared: Shared,
    announcer: Announcer,
    store: Store,
    tokens: Tokens,
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
    metrics: Metrics,
    board: Board,
    /// The provider's host, for spans.
    server: Arc<str>,
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
            .context("setting up the HTTP client")?
            .measured(requested());
        let graph_api = Graph::new(&graph.base_url, &graph.version).context("setting up the HTTP client")?;
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
        let board = Board::new();
        let tokens = Tokens::new(graph_api.measured(requested()), registry.clone(), board.clone());
        let shared = Shared {
            queue: SendQueue::new(bus.clone()),
            registry: registry.clone(),
            provider,
            dead: DeadLetters::new(bus.clone()),
            settings: Arc::new(settings),
            quotas: Quotas::default(),
            metrics: Metrics::new(),
            board,
            server: host(&graph.base_url).into(),
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
            tokens,
        })
    }

    /// Sends for its share of SEND until `stop`; then finishes what was begun and gives its share back.
    ///
    /// # Errors
    /// If a part of it died. What was begun is then settled by the next owner.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { running, ownership, shared, announcer, store, tokens } = self;
        running.store(true, Ordering::Relaxed);
        let stop = stop.child_token();
        let abandon = CancellationToken::new();
        let (ledger, writing) = Ledger::new(store.clone(), announcer.clone(), abandon.clone());
        // On the heap: together they are more than a thread's stack should hold.
        let sweeping = announcer.sweep(stop.clone()).boxed();
        let asking = tokens.run(stop.clone()).boxed();
        let (registry, board) = (shared.registry.clone(), shared.board.clone());
        let watching = stopped::watch(store.clone(), registry, board, stop.clone()).boxed();
        let (bus, dead) = (shared.bus.clone(), shared.dead.clone());
        let duty = Duty::default();
        let scheduling =
            Schedule::new(bus, store, ledger.clone(), dead, duty.clone()).run(stop.clone()).boxed();
        let (tell_changes, changes) = mpsc::channel(CHANGES);
        let (give_back, returned) = mpsc::channel(CHANGES);
        let owning = ownership.run(tell_changes, returned, stop.clone());
        let serving = async { Session::new(shared, ledger, duty).run(changes, give_back, &stop).await };
        let all = async {
            let (written, (), (), (), (), (), served) =
                tokio::join!(writing, sweeping, scheduling, asking, watching, owning, serving);
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

/// The host of an address, without a port.
fn host(base_url: &str) -> &str {
    let rest = base_url.split_once("://").map_or(base_url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn a_host_is_what_stands_between_scheme_and_path() {
        for (url, wanted) in [
            ("https://graph.facebook.com", "graph.facebook.com"),
            ("http://user:secret@proxy.example:81/meta/", "proxy.example"),
            ("http://[::1]:80/", "[::1]"),
            ("http://[::1]", "[::1]"),
        ] {
            assert_eq!(host(url), wanted);
        }
    }
}
