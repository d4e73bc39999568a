//! The streams and buckets of the contract, made where they are missing.

mod keep;

use std::time::Duration;

use async_nats::jetstream::{kv, stream};

pub(crate) use self::keep::{is_newer, migrated};
use crate::Bus;
use crate::subjects;

pub(crate) const WEBHOOKS: &str = "WEBHOOKS";
pub(crate) const SEND: &str = "SEND";
pub(crate) const EVENTS: &str = "EVENTS";
pub(crate) const DEAD: &str = "DEAD";
pub(crate) const REGISTRY: &str = "REGISTRY";
pub(crate) const LEASES: &str = "LEASES";

/// The recorder's consumer of WEBHOOKS, one for all its replicas.
pub(crate) const RECORDER: &str = "recorder";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How much the streams may hold, and in how many copies.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Copies of each stream, at least.
    pub replicas: u8,
    /// Most bytes on WEBHOOKS.
    pub webhooks_max_bytes: i64,
    /// Most commands in one lane of one channel.
    pub lane_max_commands: i64,
}

/// A moment of the stream WEBHOOKS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookProgress {
    /// Every envelope with a lower number is recorded.
    pub open: u64,
    /// The number of the youngest envelope.
    pub last: u64,
}

/// A stream or a bucket could not be made or is not as it must be, or nothing could be learnt of it.
#[derive(Debug, thiserror::Error)]
#[error("{name} could not be {what}")]
pub struct StreamError {
    name: &'static str,
    what: &'static str,
    #[source]
    source: async_nats::Error,
}

impl StreamError {
    pub(crate) fn unread(name: &'static str, source: impl Into<async_nats::Error>) -> Self {
        Self { name, what: "looked at", source: source.into() }
    }

    fn unmade(name: &'static str, source: impl Into<async_nats::Error>) -> Self {
        Self { name, what: "set up", source: source.into() }
    }
}

/// The stream under a bucket of this name, or the stream itself.
pub(crate) fn bucket_stream(name: &'static str) -> String {
    match name {
        REGISTRY | LEASES => format!("KV_{name}"),
        _ => name.to_owned(),
    }
}

impl Bus {
    /// Makes every stream and bucket that is missing and brings the others up to date. Safe to repeat, from several
    /// processes at once, and beside another version: what a newer one made of a stream stays, and so does whatever
    /// this one does not ask for. No copy is taken away, as one process that was told of fewer than the others would
    /// do whenever it starts: that is left to [`migrate_streams`](Self::migrate_streams).
    ///
    /// # Errors
    /// Names the stream that could not be set up.
    pub async fn set_up_streams(&self, retention: &Retention) -> Result<(), StreamError> {
        self.keep_streams(retention, keep::AT_LEAST).await
    }

    /// As [`set_up_streams`](Self::set_up_streams), and each has as many copies as are asked for, even if it had more.
    ///
    /// # Errors
    /// Names the stream that could not be set up.
    pub async fn migrate_streams(&self, retention: &Retention) -> Result<(), StreamError> {
        self.keep_streams(retention, keep::EXACTLY).await
    }

    async fn keep_streams(&self, retention: &Retention, copies: keep::Copies) -> Result<(), StreamError> {
        for (name, wanted) in stream_configs(retention) {
            let kept = keep::keep(self.jetstream(), &wanted, copies).await;
            kept.map_err(|error| StreamError::unmade(name, error))?;
        }
        Ok(())
    }

    pub(crate) async fn bucket(&self, name: &'static str) -> Result<kv::Store, StreamError> {
        self.jetstream().get_key_value(name).await.map_err(|error| StreamError::unmade(name, error))
    }

    /// When the stream was made, in nanoseconds since 1970, by the server's clock.
    pub(crate) async fn stream_made_at(&self, name: &'static str) -> Result<i128, StreamError> {
        let stream = self.jetstream().get_stream(name).await;
        let stream = stream.map_err(|error| StreamError::unmade(name, error))?;
        Ok(stream.cached_info().created.unix_timestamp_nanos())
    }

    /// How many envelopes wait on WEBHOOKS.
    ///
    /// # Errors
    /// If NATS does not answer.
    pub async fn webhook_backlog(&self) -> Result<u64, StreamError> {
        let stream = self.jetstream().get_stream(WEBHOOKS).await;
        let stream = stream.map_err(|error| StreamError::unread(WEBHOOKS, error))?;
        Ok(stream.cached_info().state.messages)
    }

    /// How far WEBHOOKS has come, to wait until what stands there now is recorded.
    ///
    /// # Errors
    /// If NATS does not answer.
    pub async fn webhook_progress(&self) -> Result<WebhookProgress, StreamError> {
        let stream = self.jetstream().get_stream(WEBHOOKS).await;
        let stream = stream.map_err(|error| StreamError::unread(WEBHOOKS, error))?;
        let state = &stream.cached_info().state;
        let last = state.last_sequence;
        let open = if state.messages == 0 { last + 1 } else { state.first_sequence };
        Ok(WebhookProgress { open, last })
    }

    /// The recorder's consumer of WEBHOOKS, shared by all its replicas.
    ///
    /// # Errors
    /// If it can't be made.
    pub async fn webhook_consumer(
        &self,
    ) -> Result<async_nats::jetstream::consumer::PullConsumer, StreamError> {
        use async_nats::jetstream::consumer::{AckPolicy, pull};
        let stream = self.jetstream().get_stream(WEBHOOKS).await;
        let stream = stream.map_err(|error| StreamError::unmade(WEBHOOKS, error))?;
        let config = pull::Config {
            durable_name: Some(RECORDER.into()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 2_000,
            ..Default::default()
        };
        stream.create_consumer(config).await.map_err(|error| StreamError::unmade(WEBHOOKS, error))
    }
}

pub(crate) fn stream_configs(retention: &Retention) -> [(&'static str, stream::Config); 6] {
    let base = |name: &str, subject: &str| stream::Config {
        name: name.into(),
        subjects: vec![subject.into()],
        storage: stream::StorageType::File,
        num_replicas: usize::from(retention.replicas),
        allow_direct: true,
        duplicate_window: Duration::from_secs(120),
        ..Default::default()
    };
    [
        (
            WEBHOOKS,
            stream::Config {
                retention: stream::RetentionPolicy::WorkQueue,
                discard: stream::DiscardPolicy::New,
                max_bytes: retention.webhooks_max_bytes,
                ..base(WEBHOOKS, subjects::WEBHOOKS)
            },
        ),
        (
            SEND,
            stream::Config {
                discard: stream::DiscardPolicy::New,
                max_messages_per_subject: retention.lane_max_commands,
                discard_new_per_subject: true,
                // The shortest that the server takes: it is one window for all tenants, and two tenants may use the
                // same id. The database knows each tenant's ids for good. See docs/decisions/0003.
                duplicate_window: Duration::from_millis(100),
                republish: Some(stream::Republish {
                    source: "staffetta.v1.send.*.*.*".into(),
                    destination: "staffetta.v1.wake.{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}".into(),
                    headers_only: true,
                }),
                ..base(SEND, subjects::SEND)
            },
        ),
        (
            EVENTS,
            stream::Config {
                max_age: 7 * DAY,
                // Events are told hundreds at a time. See docs/decisions/0011.
                allow_atomic_publish: true,
                republish: Some(stream::Republish {
                    source: "staffetta.v1.event.*.*.*".into(),
                    destination: "staffetta.v1.told.{{wildcard(1)}}.{{wildcard(2)}}.{{wildcard(3)}}".into(),
                    headers_only: true,
                }),
                ..base(EVENTS, subjects::EVENTS)
            },
        ),
        (DEAD, stream::Config { max_age: 30 * DAY, ..base(DEAD, subjects::DEAD) }),
        (
            REGISTRY,
            // A bucket as the client would make it, which also takes many changes as one.
            stream::Config {
                max_messages_per_subject: 8,
                discard: stream::DiscardPolicy::New,
                allow_rollup: true,
                deny_delete: true,
                allow_atomic_publish: true,
                ..base("KV_REGISTRY", "$KV.REGISTRY.>")
            },
        ),
        (
            LEASES,
            // A bucket as the client would make it.
            stream::Config {
                max_messages_per_subject: 1,
                discard: stream::DiscardPolicy::New,
                allow_rollup: true,
                deny_delete: true,
                ..base("KV_LEASES", "$KV.LEASES.>")
            },
        ),
    ]
}
