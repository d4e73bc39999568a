//! Reads on after an early answer.
//!
//! A connection closed while its sender still writes is reset, and the reset may overtake the answer: the sender would
//! see a broken connection instead of 413 or 503. So what it still sends is read and dropped for a little while.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// Longest time for the rest of a body.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most bytes of it.
const MAX_BYTES: usize = 16 << 20;
/// Most bodies read like this at a time; further ones are cut.
const AT_A_TIME: usize = 64;

/// Owns the bodies that are read only to be dropped.
#[derive(Clone, Debug)]
pub(crate) struct Linger {
    bodies: TaskTracker,
    slots: Arc<Semaphore>,
}

impl Linger {
    pub(crate) fn new() -> Self {
        Self { bodies: TaskTracker::new(), slots: Arc::new(Semaphore::new(AT_A_TIME)) }
    }

    /// Drops the rest of `body` as it comes, within bounds, while its request is being answered.
    pub(crate) fn over(&self, mut body: Body, headers: &HeaderMap) {
        // Who asks first whether to send the body has not sent it.
        if body.is_end_stream() || headers.contains_key(header::EXPECT) {
            return;
        }
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else { return };
        self.bodies.spawn(async move {
            let _ = timeout(PATIENCE, drop_all(&mut body)).await;
            drop(slot);
        });
    }

    /// Returns when nothing is read any more.
    pub(crate) async fn end(&self) {
        self.bodies.close();
        self.bodies.wait().await;
    }
}

async fn drop_all(body: &mut Body) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
        if bytes > MAX_BYTES {
            return;
        }
    }
}
