//! The streams and buckets of the contract, made where they are missing.

use std::time::Duration;

use async_nats::jetstream::{kv, stream};

use crate::Bus;
use crate::subjects;

pub(crate) const WEBHOOKS: &str = "WEBHOOKS";
pub(crate) const SEND: &str = "SEND";
pub(crate) const EVENTS: &str = "EVENTS";
pub(crate) const DEAD: &str = "DEAD";
pub(crate) const REGISTRY: &str = "REGISTRY";
pub(crate) const LEASES: &str = "LEASES";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How much the streams may hold, and in how many copies.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Copies of each stream.
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

/// A stream or a bucket could not be made or is not as it must be.
#[derive(Debug, thiserror::Error)]
#[error("{name} could not be set up")]
pub struct StreamError {
    name: &'static str,
    #[source]
    source: async_nats::Error,
}

impl Bus {
    /// Makes every stream and bucket that is missing and brings the others up to date. Safe to repeat, and from
    /// several processes at once.
    ///
    /// # Errors
    /// Names the stream that could not be set up.
    pub async fn set_up_streams(&self, retention: &Retention) -> Result<(), StreamError> {
        for config in stream_configs(retention) {
            let name = config.0;
            let made = self.jetstream().create_or_update_stream(config.1).await;
            made.map_err(|error| StreamError { name, source: error.into() })?;
        }
        let made = self
            .jetstream()
            .create_or_update_key_value(kv::Config {
                bucket: LEASES.into(),
                history: 1,
                storage: stream::StorageType::File,
                num_replicas: usize::from(retention.replicas),
                ..Default::default()
            })
            .await;
        made.map(drop).map_err(|error| StreamError { name: LEASES, source: error.into() })
    }

    pub(crate) async fn bucket(&self, name: &'static str) -> Result<kv::Store, StreamError> {
        self.jetstream().get_key_value(name).await.map_err(|error| StreamError { name, source: error.into() })
    }

    /// When the stream was made, in nanoseconds since 1970, by the server's clock.
    pub(crate) async fn stream_made_at(&self, name: &'static str) -> Result<i128, StreamError> {
        let stream = self.jetstream().get_stream(name).await;
        let stream = stream.map_err(|error| StreamError { name, source: error.into() })?;
        Ok(stream.cached_info().created.unix_timestamp_nanos())
    }

    /// How many envelopes wait on WEBHOOKS.
    ///
    /// # Errors
    /// If NATS does not answer.
    pub async fn webhook_backlog(&self) -> Result<u64, StreamError> {
        let failed = |source| StreamError { name: WEBHOOKS, source };
        let stream = self.jetstream().get_stream(WEBHOOKS).await.map_err(|error| failed(error.into()))?;
        Ok(stream.cached_info().state.messages)
    }

    /// How far WEBHOOKS has come, to wait until what stands there now is recorded.
    ///
    /// # Errors
    /// If NATS does not answer.
    pub async fn webhook_progress(&self) -> Result<WebhookProgress, StreamError> {
        let failed = |source| StreamError { name: WEBHOOKS, source };
        let stream = self.jetstream().get_stream(WEBHOOKS).await.map_err(|error| failed(error.into()))?;
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
        let failed = |source| StreamError { name: WEBHOOKS, source };
        let stream = self.jetstream().get_stream(WEBHOOKS).await.map_err(|error| failed(error.into()))?;
        let config = pull::Config {
            durable_name: Some("recorder".into()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: Duration::from_secs(30),
            max_ack_pending: 2_000,
            ..Default::default()
        };
        stream.create_consumer(config).await.map_err(|error| failed(error.into()))
    }
}

fn stream_configs(retention: &Retention) -> [(&'static str, stream::Config); 5] {
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
    ]
}
