//! The web service that all endpoints lead to.

use std::{
    collections::HashMap,
    future::pending,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use anyhow::Context;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use tokio::{net::TcpListener, task::JoinSet};

/// It notes when each event came for the first time. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Receiver {
    address: SocketAddr,
    came: Came,
    _serving: JoinSet<()>,
}

/// When each event came, by its id.
type Came = Arc<Mutex<HashMap<String, Instant>>>;

impl Receiver {
    /// On a port that nobody uses.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let came = Came::default();
        let router = Router::new()
            .route("/take", post(take))
            .route("/hang", post(pending::<StatusCode>))
            .with_state(Arc::clone(&came));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port")?;
        let address = listener.local_addr()?;
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            // Whoever waits for an event that does not come says so.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, came, _serving: serving })
    }

    /// Answers at once.
    pub(crate) fn taking(&self) -> String {
        format!("http://{}/take", self.address)
    }

    /// Never answers.
    pub(super) fn never_answering(&self) -> String {
        format!("http://{}/hang", self.address)
    }

    /// What came so far.
    pub(super) fn came(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        lock(&self.came)
    }
}

async fn take(State(came): State<Came>, headers: HeaderMap, _: Bytes) -> StatusCode {
    let now = Instant::now();
    let Some(id) = headers.get("webhook-id").and_then(|id| id.to_str().ok()) else {
        return StatusCode::BAD_REQUEST;
    };
    lock(&came).entry(id.to_owned()).or_insert(now);
    StatusCode::NO_CONTENT
}

/// Nobody panics while holding it.
fn lock(came: &Came) -> MutexGuard<'_, HashMap<String, Instant>> {
    came.lock().unwrap_or_else(PoisonError::into_inner)
}
