//! The tenants' HTTP API: takes commands in, and tells how far they have come.
//!
//! It keeps nothing itself. A command is on SEND before it is answered with 202; what became of it is read from the
//! database.

mod admin;
mod body;
mod caller;
mod callout;
mod channels;
mod contacts;
mod conversations;
mod cursor;
mod dead_letters;
mod docs;
mod edge;
mod endpoints;
mod events;
mod graph;
mod limits;
mod media;
mod messages;
mod openapi;
mod problem;
mod provider;
mod query;
mod templates;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, bail};
use axum::{Router, middleware};
use serde_json::Value;
use staffetta_bus::{Bus, EventLog, MasterKey, RegistryView};
use staffetta_outbox::{Announcer, Replays};
use staffetta_providers::graph::Graph;
use staffetta_runtime::Health;
use staffetta_runtime::config::{ApiConfig, GraphConfig};
use staffetta_runtime::http::{Limits, serve};
use staffetta_runtime::telemetry::{Served, requested};
use staffetta_store::Store;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::info;
use utoipa_axum::router::OpenApiRouter;

pub use crate::callout::NatsCallout;

use crate::events::Live;
use crate::limits::Gate;
use crate::messages::Notes;
use crate::provider::Turns;

/// The service: it listens from [`bind`](Self::bind) on, and answers while [`run`](Self::run) runs.
#[derive(Debug)]
pub struct Api {
    listener: TcpListener,
    address: SocketAddr,
    limits: Limits,
    router: Router,
    running: Arc<OnceLock<CancellationToken>>,
    app: App,
}

/// What every handler works with.
#[derive(Clone, Debug)]
struct App {
    bus: Bus,
    registry: RegistryView,
    store: Store,
    replays: Replays,
    announcer: Announcer,
    events: EventLog,
    live: Live,
    /// What is not ours to know is asked of the provider, by so many at a time.
    graph: Graph,
    turns: Turns,
    settings: Arc<Settings>,
    /// What everybody may still ask.
    gate: Arc<Gate>,
    notes: Arc<Notes>,
    /// Room for bodies, in KiB.
    bodies: Arc<Semaphore>,
    about: Arc<About>,
}

/// What the API says of itself.
#[derive(Debug)]
struct About {
    /// To programs.
    document: Value,
    /// To people.
    page: String,
}

impl About {
    fn of(document: utoipa::openapi::OpenApi, config: &ApiConfig) -> Self {
        let document = openapi::finished(document);
        let here = format!("http://localhost:{}", config.listen.0.port());
        let page = docs::page(&document, config.public_url.as_deref().unwrap_or(&here));
        Self { document, page }
    }
}

/// What every handler may ask of the configuration.
#[derive(Debug)]
struct Settings {
    api: ApiConfig,
    master: Option<Arc<MasterKey>>,
}

impl Api {
    /// Takes the configured address; connections wait there until the service runs. `health` then says whether it
    /// does.
    ///
    /// # Errors
    /// If the address can't be had.
    pub async fn bind(
        config: &ApiConfig,
        graph: &GraphConfig,
        master: Option<Arc<MasterKey>>,
        bus: Bus,
        registry: RegistryView,
        store: Store,
        health: &Health,
    ) -> anyhow::Result<Self> {
        let wanted = config.listen;
        let listener = TcpListener::bind(wanted.0).await;
        let listener = listener.with_context(|| format!("api.listen: cannot listen on {wanted}"))?;
        let address = listener.local_addr().context("the API's address")?;
        let limits = Limits { max_connections: config.max_connections, ..Limits::default() };
        let bodies = Arc::new(Semaphore::new(messages::BODIES_KIB));
        let replays = Replays::new(bus.clone(), store.clone());
        let announcer = Announcer::new(bus.clone(), registry.clone(), store.clone());
        let events = EventLog::new(bus.clone());
        let provider = Graph::new(&graph.base_url, &graph.version).context("the client for the provider")?;
        let provider = provider.measured(requested());
        let settings = Arc::new(Settings { api: config.clone(), master });
        let (routes, document) = routes().split_for_parts();
        let about = Arc::new(About::of(document, config));
        let gate = Arc::new(Gate::new(config.requests_per_second));
        let (live, notes) = (Live::default(), Arc::default());
        let app = App {
            bus,
            registry,
            store,
            replays,
            announcer,
            events,
            live,
            graph: provider,
            turns: Turns::default(),
            settings,
            gate,
            notes,
            bodies,
            about,
        };
        let router = router(routes, app.clone());
        let running: Arc<OnceLock<CancellationToken>> = Arc::default();
        let probe = Arc::clone(&running);
        health.add("api", move || probe.get().is_some_and(|stop| !stop.is_cancelled()));
        Ok(Self { listener, address, limits, router, running, app })
    }

    /// Where it listens: the port that was given, where the configuration says 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`, then lets the requests that run come to their end and closes every connection.
    ///
    /// # Errors
    /// If the server itself fails.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        info!(address = %self.address, "the API is served");
        // Once it is told to stop, nobody new should be sent here.
        let _ = self.running.set(stop.clone());
        let App { live, events, notes, store, .. } = &self.app;
        let live = live.run(events, stop.clone());
        let serving = async { tokio::join!(serve(self.listener, self.router, self.limits, stop), live).0 };
        // Requests that run at the stop still leave notes.
        tokio::select! {
            served = serving => served,
            () = notes.work(store) => bail!("commands can't be noted any more"),
        }
    }
}

/// Every address that is served.
fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(messages::routes())
        .merge(conversations::routes())
        .merge(contacts::routes())
        .merge(channels::routes())
        .merge(events::routes())
        .merge(endpoints::routes())
        .merge(dead_letters::routes())
        .merge(media::routes())
        .merge(templates::routes())
        .merge(graph::routes())
        .merge(admin::routes())
        .merge(openapi::routes())
        .merge(docs::routes())
}

fn router(routes: Router<App>, app: App) -> Router {
    routes
        .fallback(edge::no_route)
        .method_not_allowed_fallback(edge::no_method)
        .layer(middleware::from_fn_with_state(app.clone(), limits::guard))
        .layer(middleware::from_fn_with_state(Served::default(), edge::guard))
        .layer(middleware::from_fn(graph::speak))
        .with_state(app)
}
