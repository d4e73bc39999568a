//! The tenants' HTTP API: takes commands in, and tells how far they have come.
//!
//! It keeps nothing itself. A command is on SEND before it is answered with 202; what became of it is read from the
//! database.

mod admin;
mod caller;
mod channels;
mod contacts;
mod conversations;
mod dead_letters;
mod edge;
mod endpoints;
mod events;
mod graph;
mod messages;
mod problem;
mod query;

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Router, middleware};
use staffetta_bus::{Bus, EventLog, MasterKey, RegistryView};
use staffetta_outbox::{Announcer, Replays};
use staffetta_runtime::Health;
use staffetta_runtime::config::{ApiConfig, GraphConfig};
use staffetta_runtime::http::{Limits, serve};
use staffetta_store::Store;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::info;
use utoipa_axum::router::OpenApiRouter;

use crate::edge::Edge;

/// The service: it listens from [`bind`](Self::bind) on, and answers while [`run`](Self::run) runs.
#[derive(Debug)]
pub struct Api {
    listener: TcpListener,
    address: SocketAddr,
    limits: Limits,
    router: Router,
    running: Arc<OnceLock<CancellationToken>>,
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
    settings: Arc<Settings>,
    /// Room for bodies, in KiB.
    bodies: Arc<Semaphore>,
}

/// What every handler may ask of the configuration.
#[derive(Debug)]
struct Settings {
    api: ApiConfig,
    graph: GraphConfig,
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
        let settings = Arc::new(Settings { api: config.clone(), graph: graph.clone(), master });
        let app = App { bus, registry, store, replays, announcer, events, settings, bodies };
        let running: Arc<OnceLock<CancellationToken>> = Arc::default();
        let probe = Arc::clone(&running);
        health.add("api", move || probe.get().is_some_and(|stop| !stop.is_cancelled()));
        Ok(Self { listener, address, limits, router: router(app), running })
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
        serve(self.listener, self.router, self.limits, stop).await
    }
}

fn router(app: App) -> Router {
    let (documented, _document) = OpenApiRouter::new()
        .merge(admin::routes())
        .merge(contacts::routes())
        .merge(endpoints::routes())
        .merge(events::routes())
        .merge(graph::routes())
        .split_for_parts();
    Router::new()
        .merge(documented)
        .route("/v1/messages", post(messages::send).layer(DefaultBodyLimit::max(messages::BODY_LIMIT)))
        .route("/v1/messages/{id}", get(messages::read).delete(messages::cancel))
        .route("/v1/channels", get(channels::list))
        .route("/v1/channels/{id}", get(channels::one))
        .route("/v1/conversations", get(conversations::list))
        .route("/v1/conversations/{id}", get(conversations::one))
        .route("/v1/conversations/{id}/messages", get(conversations::messages))
        .route(
            "/v1/conversations/{id}/read",
            post(conversations::mark_read).layer(DefaultBodyLimit::max(conversations::BODY_LIMIT)),
        )
        .route("/v1/dead-letters", get(dead_letters::list))
        .route("/v1/dead-letters/{id}", get(dead_letters::read))
        .route("/v1/dead-letters/{id}/replay", post(dead_letters::replay))
        .fallback(edge::no_route)
        .method_not_allowed_fallback(edge::no_method)
        .layer(middleware::from_fn_with_state(Edge::default(), edge::guard))
        .with_state(app)
}
