//! Publishing many messages as one: all are stored, or none is.

use async_nats::HeaderMap;
use async_nats::header::{
    NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL, NATS_BATCH_ID, NATS_BATCH_SEQUENCE, NATS_MESSAGE_ID,
};
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use crate::Bus;

/// Most messages that the server takes as one.
pub const MOST_TOGETHER: usize = 1_000;

/// A message that is to be stored.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where.
    pub subject: String,
    /// Under which id.
    pub id: String,
    /// Its headers, without the id.
    pub headers: HeaderMap,
    /// Its payload.
    pub payload: Bytes,
}

/// Messages that were not stored together, as far as is known: after a time-out they may be. One of them may have been
/// stored before, which alone is a reason. Published one by one under the same ids, each is stored once.
#[derive(Debug, thiserror::Error)]
#[error("NATS did not store the messages together")]
pub struct NotTogether {
    /// One of few words for it, for metrics.
    code: &'static str,
    source: async_nats::Error,
}

impl Bus {
    /// Publishes at most [`MOST_TOGETHER`] messages of one stream as one. Afterwards all are stored, in this order and
    /// with nothing between them.
    ///
    /// # Errors
    /// If they were not, or if that is not known by the deadline.
    pub async fn publish_together(
        &self,
        messages: Vec<Outgoing>,
        deadline: Instant,
    ) -> Result<(), NotTogether> {
        let Some(subject) = messages.last().map(|last| last.subject.clone()) else { return Ok(()) };
        let started = Instant::now();
        let done = self.publish_as_one(messages, deadline).await;
        self.metrics.published(&subject, started.elapsed(), done.as_ref().err().map(|failure| failure.code));
        done
    }

    async fn publish_as_one(&self, messages: Vec<Outgoing>, deadline: Instant) -> Result<(), NotTogether> {
        // A disconnected client would queue the messages and send them long after their publisher has given up.
        if !self.is_connected() {
            return Err(NotTogether { code: "unavailable", source: "not connected".into() });
        }
        match timeout_at(deadline, self.commit(messages)).await {
            Ok(done) => done.map_err(|source| NotTogether { code: "refused", source }),
            Err(_) => Err(NotTogether { code: "timeout", source: "no acknowledgement in time".into() }),
        }
    }

    async fn commit(&self, mut messages: Vec<Outgoing>) -> Result<(), async_nats::Error> {
        let count = messages.len();
        let Some(last) = messages.pop() else { return Ok(()) };
        // Any text that no other batch has.
        let inbox = self.client().new_inbox();
        let name = inbox.rsplit('.').next().unwrap_or(&inbox);
        for (index, message) in messages.into_iter().enumerate() {
            let headers = headers_of(&message.id, message.headers, name, index + 1);
            self.client().publish_with_headers(message.subject, headers, message.payload).await?;
        }
        let mut headers = headers_of(&last.id, last.headers, name, count);
        headers.insert(NATS_BATCH_COMMIT, NATS_BATCH_COMMIT_FINAL);
        let answer = self.client().request_with_headers(last.subject, headers, last.payload).await?;
        match serde_json::from_slice(&answer.payload)? {
            // A server that knows nothing of batches has stored the last message, and perhaps others.
            Response::Ok(PublishAck { batch_size, .. }) if batch_size != Some(count as u64) => {
                Err("the server did not take them as one".into())
            }
            Response::Ok(_) => Ok(()),
            Response::Err { error } => Err(error.into()),
        }
    }
}

fn headers_of(id: &str, mut headers: HeaderMap, batch: &str, number: usize) -> HeaderMap {
    headers.insert(NATS_MESSAGE_ID, id);
    headers.insert(NATS_BATCH_ID, batch);
    headers.insert(NATS_BATCH_SEQUENCE, number.to_string());
    headers
}
