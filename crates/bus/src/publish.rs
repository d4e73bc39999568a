//! Publishing that ends in an acknowledgement, or in an error that says what to do.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishError as NatsError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};

use crate::Bus;

/// Where a message was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its number in the stream.
    pub sequence: u64,
    /// Whether the stream had a message of the same id already, and kept only that one.
    pub duplicate: bool,
}

/// Why a message was not stored, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// NATS is not connected, or has no leader for the stream: not stored, and later it may be.
    #[error("NATS is not available")]
    Unavailable,
    /// No acknowledgement came in time: it may be stored. Only a repeat with the same id is safe.
    #[error("NATS did not acknowledge in time")]
    TimedOut,
    /// The stream, or the lane, is full: not stored.
    #[error("the queue is full")]
    Full,
    /// The message is larger than the server takes: not stored, ever.
    #[error("the message is larger than NATS takes")]
    TooLarge,
    /// NATS refused it for another reason.
    #[error("NATS refused the message")]
    Refused(#[source] NatsError),
}

impl PublishError {
    /// Whether the same publish, with the same id, may succeed a moment later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unavailable | Self::TimedOut => true,
            Self::Full | Self::TooLarge | Self::Refused(_) => false,
        }
    }

    /// One of few words for it, for metrics and traces.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timeout",
            Self::Full => "full",
            Self::TooLarge => "too_large",
            Self::Refused(_) => "refused",
        }
    }

    fn of(error: NatsError) -> Self {
        match error.kind() {
            PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => Self::TimedOut,
            PublishErrorKind::StreamNotFound | PublishErrorKind::MaxAckPending => Self::Unavailable,
            PublishErrorKind::MaxPayloadExceeded => Self::TooLarge,
            _ => match jetstream_code(&error) {
                Some(
                    ErrorCode::STREAM_STORE_FAILED
                    | ErrorCode::STORAGE_RESOURCES_EXCEEDED
                    | ErrorCode::INSUFFICIENT_RESOURCES
                    | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
                ) => Self::Full,
                Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM) => Self::TooLarge,
                // A cluster between two leaders.
                Some(
                    ErrorCode::CLUSTER_NOT_AVAILABLE
                    | ErrorCode::CLUSTER_NOT_LEADER
                    | ErrorCode::STREAM_OFFLINE,
                ) => Self::Unavailable,
                _ => Self::Refused(error),
            },
        }
    }
}

fn jetstream_code(error: &NatsError) -> Option<ErrorCode> {
    std::error::Error::source(error)?.downcast_ref::<jetstream::Error>().map(jetstream::Error::error_code)
}

/// Pause before a publish is tried again.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for one acknowledgement before the publish is repeated under the same id.
const ONE_TRY: Duration = Duration::from_secs(3);

impl Bus {
    /// Publishes under `id` and waits for the acknowledgement; repeats what may pass, under the same id, until
    /// `deadline`. Afterwards the message is stored exactly once, or it is known why not.
    ///
    /// # Errors
    /// After [`PublishError::TimedOut`] alone the message may be stored all the same.
    pub async fn publish(
        &self,
        subject: String,
        id: &str,
        headers: HeaderMap,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<Stored, PublishError> {
        let started = Instant::now();
        let done = self.publish_until(&subject, id, headers, payload, deadline).await;
        self.metrics.published(&subject, started.elapsed(), done.as_ref().err().map(PublishError::code));
        done
    }

    async fn publish_until(
        &self,
        subject: &str,
        id: &str,
        headers: HeaderMap,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<Stored, PublishError> {
        let mut doubtful = false;
        loop {
            let message =
                PublishMessage::build().headers(headers.clone()).payload(payload.clone()).message_id(id);
            let error = match self.try_publish(subject, message, deadline.min(Instant::now() + ONE_TRY)).await
            {
                Ok(stored) => return Ok(stored),
                Err(error) => error,
            };
            doubtful |= matches!(error, PublishError::TimedOut);
            if !error.is_passing() || Instant::now() + PAUSE >= deadline {
                // What refuses the repeat says nothing of the first: it may have had the last place in its lane.
                return Err(if doubtful { PublishError::TimedOut } else { error });
            }
            sleep(PAUSE).await;
        }
    }

    async fn try_publish(
        &self,
        subject: &str,
        message: PublishMessage,
        deadline: Instant,
    ) -> Result<Stored, PublishError> {
        // A disconnected client would queue the message and send it long after its publisher has given up.
        if !self.is_connected() {
            return Err(PublishError::Unavailable);
        }
        let published = timeout_at(deadline, async {
            self.jetstream().send_publish(subject.to_owned(), message).await?.await
        });
        match published.await {
            Ok(Ok(ack)) => Ok(Stored { sequence: ack.sequence, duplicate: ack.duplicate }),
            Ok(Err(error)) => Err(PublishError::of(error)),
            Err(_) => Err(PublishError::TimedOut),
        }
    }
}
