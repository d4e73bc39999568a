//! A web service of a tenant, which takes webhooks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use staffetta_testkit::until;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::LIMIT;

/// One POST as it came.
#[derive(Clone, Debug)]
pub struct HookPost {
    /// When its body had come.
    pub at: Instant,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
    /// The status that it was answered with.
    pub answered: u16,
}

impl HookPost {
    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// The service: it keeps what is posted, and answers 200 unless it is told otherwise. It ends when dropped.
#[derive(Debug)]
pub struct Hook {
    url: String,
    posts: watch::Receiver<Vec<HookPost>>,
    book: Arc<Book>,
    _serving: JoinSet<()>,
}

/// What the service notes, and what it answers.
#[derive(Debug)]
struct Book {
    posts: watch::Sender<Vec<HookPost>>,
    answer: AtomicU16,
}

async fn take(State(book): State<Arc<Book>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Ok(body) = String::from_utf8(body.to_vec()) else { return StatusCode::BAD_REQUEST };
    let answered = book.answer.load(Ordering::Relaxed);
    book.posts.send_modify(|posts| posts.push(HookPost { at: Instant::now(), headers, body, answered }));
    StatusCode::from_u16(answered).unwrap_or(StatusCode::OK)
}

impl Hook {
    /// A service on a port of its own.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start() -> anyhow::Result<Self> {
        let (sender, posts) = watch::channel(Vec::new());
        let book = Arc::new(Book { posts: sender, answer: AtomicU16::new(200) });
        let router = Router::new().route("/hook", post(take)).with_state(Arc::clone(&book));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            // Its end is the test's end.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, posts, book, _serving: serving })
    }

    /// Where it takes webhooks.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on it answers with this status.
    pub fn answers(&self, status: u16) {
        self.book.answer.store(status, Ordering::Relaxed);
    }

    /// What was posted so far.
    #[must_use]
    pub fn posts(&self) -> Vec<HookPost> {
        self.posts.borrow().clone()
    }

    /// How many of them are such.
    #[must_use]
    pub fn count(&self, such: impl Fn(&HookPost) -> bool) -> usize {
        self.posts.borrow().iter().filter(|post| such(post)).count()
    }

    /// Waits until `enough` holds for the POSTs so far, and gives them back.
    ///
    /// # Errors
    /// When it does not hold in time; names how many came.
    pub async fn until(&self, enough: impl Fn(&[HookPost]) -> bool) -> anyhow::Result<Vec<HookPost>> {
        let mut looked_at = None;
        let came = until("the webhooks", LIMIT, async || {
            let posts = self.posts.borrow();
            // Thousands are dear to look at: nobody does for nothing.
            let is_news = looked_at.replace(posts.len()) != Some(posts.len());
            (is_news && enough(&posts)).then(|| posts.clone())
        });
        came.await.with_context(|| format!("{} came", self.posts.borrow().len()))
    }
}
