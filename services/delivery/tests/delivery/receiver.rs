//! A web service that endpoints point to: it notes what comes, and answers as it is told.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Something that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) conversation: String,
    pub(crate) n: u64,
    pub(crate) trace: Option<String>,
    pub(crate) status: u16,
    pub(crate) at: Instant,
}

/// What is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    pub(crate) delay: Duration,
}

pub(crate) const OK: Reply = Reply { status: 204, retry_after: None, delay: Duration::ZERO };

/// Answers with that status.
pub(crate) fn status(status: u16) -> Reply {
    Reply { status, ..OK }
}

type Manner = Arc<dyn Fn(&Seen, usize) -> Reply + Send + Sync>;

#[derive(Clone, Default)]
struct Book {
    seen: Arc<Mutex<Vec<Seen>>>,
    manners: Arc<Mutex<HashMap<String, Manner>>>,
}

pub(crate) struct Receiver {
    address: SocketAddr,
    book: Book,
    serving: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let book = Book::default();
        let router = Router::new().route("/{path}", post(take)).with_state(book.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, book, serving }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// From now on this path answers so; the number says how many requests it has seen before.
    pub(crate) fn answers(&self, path: &str, manner: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) {
        self.book.manners.lock().unwrap().insert(path.into(), Arc::new(manner));
    }

    /// Everything that came to this path.
    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        self.book.seen.lock().unwrap().iter().filter(|seen| seen.path == path).cloned().collect()
    }

    /// Whether all of these came to this path and were taken.
    pub(crate) fn has_taken<'a>(&self, path: &str, mut ids: impl Iterator<Item = &'a str>) -> bool {
        let seen = self.book.seen.lock().unwrap();
        let taken = seen.iter().filter(|seen| seen.path == path && seen.status < 300);
        let taken: HashSet<&str> = taken.map(|seen| seen.id.as_str()).collect();
        ids.all(|id| taken.contains(id))
    }

    /// What came to this path and was taken.
    pub(crate) fn taken(&self, path: &str) -> Vec<Seen> {
        self.seen(path).into_iter().filter(|seen| seen.status < 300).collect()
    }
}

async fn take(
    State(book): State<Book>,
    Path(path): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let Ok(event) = serde_json::from_str::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut seen = Seen {
        path: path.clone(),
        id: text(&event["id"]),
        conversation: text(&event["data"]["conversation_id"]),
        n: event["data"]["n"].as_u64().unwrap_or_default(),
        trace: headers.get("traceparent").map(|trace| trace.to_str().unwrap().to_owned()),
        status: 0,
        at: Instant::now(),
    };
    assert_eq!(headers["webhook-id"].to_str().unwrap(), seen.id);
    let manner = book.manners.lock().unwrap().get(&path).cloned();
    let before = book.seen.lock().unwrap().iter().filter(|seen| seen.path == path).count();
    let reply = manner.map_or(OK, |manner| manner(&seen, before));
    seen.status = reply.status;
    book.seen.lock().unwrap().push(seen);
    tokio::time::sleep(reply.delay).await;
    let mut response = StatusCode::from_u16(reply.status).unwrap().into_response();
    if let Some(seconds) = reply.retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}
