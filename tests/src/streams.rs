//! The streams of the contract, as anybody sees them who may read them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_nats::jetstream;
use async_nats::jetstream::message::StreamMessage;
use async_nats::{ConnectOptions, HeaderMap};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use staffetta_proto::json::from_struct;
use staffetta_proto::{Message as _, v1};
use staffetta_testkit::until;
use tokio::sync::{Mutex, MutexGuard};

use crate::LIMIT;

/// Messages that are read at a time.
const PARALLEL: usize = 64;
/// Messages that are published before the first acknowledgement is waited for.
const AT_ONCE: usize = 250;
/// Longest wait for an answer of NATS. A server that is killed takes some with it, and whoever waits for one loses that
/// time.
const ANSWER: Duration = Duration::from_secs(30);

/// A connection to the streams. Clones share it, and what was read.
#[derive(Clone, Debug)]
pub struct Streams {
    jetstream: jetstream::Context,
    events: Arc<Mutex<Log<SeenEvent>>>,
    dead: Arc<Mutex<Log<v1::DeadLetter>>>,
}

/// What was read of a stream so far.
#[derive(Debug)]
struct Log<T> {
    last: u64,
    seen: Vec<T>,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self { last: 0, seen: Vec::new() }
    }
}

/// An event, in whatever encoding it came.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenEvent {
    /// The same each time the event is told.
    pub id: String,
    /// The type, without `staffetta.`
    pub kind: String,
    /// `/tenants/<tenant>/channels/<channel>`
    pub source: String,
    /// The wamid or the command's id.
    pub subject: String,
    /// All about it.
    pub data: Value,
}

impl Streams {
    /// Connects, waiting for a server that is just coming up.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        Self::connect_with(url, ConnectOptions::new).await
    }

    /// The same, to a server that asks who is there.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and when it knows no such user.
    pub async fn connect_as(url: &str, user: &str, password: &str) -> anyhow::Result<Self> {
        Self::connect_with(url, || ConnectOptions::with_user_and_password(user.into(), password.into())).await
    }

    async fn connect_with(url: &str, options: impl Fn() -> ConnectOptions) -> anyhow::Result<Self> {
        let options = || {
            let options = options().request_timeout(Some(ANSWER));
            options.reconnect_delay_callback(|_| Duration::from_millis(50))
        };
        let client = until("NATS", LIMIT, async || options().connect(url).await.ok()).await?;
        let jetstream = jetstream::ContextBuilder::new().timeout(ANSWER).ack_timeout(ANSWER).build(client);
        Ok(Self { jetstream, events: Arc::default(), dead: Arc::default() })
    }

    /// Publishes and waits for the acknowledgement.
    pub(crate) async fn publish(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Vec<u8>,
    ) -> anyhow::Result<()> {
        let stored = self.jetstream.publish_with_headers(subject, headers, payload.into()).await?;
        stored.await.context("a publish was not acknowledged")?;
        Ok(())
    }

    /// Publishes these without waiting for one before the next, and then for all acknowledgements.
    pub(crate) async fn publish_all(
        &self,
        publishes: Vec<(String, HeaderMap, Vec<u8>)>,
    ) -> anyhow::Result<()> {
        let mut publishes = publishes.into_iter().peekable();
        while publishes.peek().is_some() {
            let mut stored = Vec::with_capacity(AT_ONCE);
            for (subject, headers, payload) in publishes.by_ref().take(AT_ONCE) {
                stored.push(self.jetstream.publish_with_headers(subject, headers, payload.into()).await?);
            }
            for stored in stored {
                stored.await.context("a publish was not acknowledged")?;
            }
        }
        Ok(())
    }

    /// How many messages the stream holds.
    ///
    /// # Errors
    /// When NATS does not answer, or has no such stream.
    pub async fn waiting(&self, stream: &str) -> anyhow::Result<u64> {
        let stream = self.jetstream.get_stream(stream).await?;
        Ok(stream.cached_info().state.messages)
    }

    /// How many messages somebody took from the stream and has not acknowledged.
    ///
    /// # Errors
    /// When NATS does not answer, or has no such stream.
    pub async fn unacknowledged(&self, stream: &str) -> anyhow::Result<usize> {
        let stream = self.jetstream.get_stream(stream).await?;
        let consumers: Vec<_> = stream.consumers().try_collect().await?;
        Ok(consumers.iter().map(|consumer| consumer.num_ack_pending).sum())
    }

    /// All events so far, in the order of the stream.
    ///
    /// # Errors
    /// When NATS does not answer, or one can't be read.
    pub async fn events(&self) -> anyhow::Result<Vec<SeenEvent>> {
        Ok(self.read("EVENTS", &self.events, SeenEvent::of).await?.seen.clone())
    }

    /// Takes the types and subjects of all events but the first `from` out of `missing`; gives back how many events
    /// there are.
    pub(crate) async fn strike_off(
        &self,
        from: usize,
        missing: &mut HashSet<(String, String)>,
    ) -> anyhow::Result<usize> {
        let log = self.read("EVENTS", &self.events, SeenEvent::of).await?;
        for event in &log.seen[from..] {
            missing.remove(&(event.kind.clone(), event.subject.clone()));
        }
        Ok(log.seen.len())
    }

    /// All dead letters so far.
    ///
    /// # Errors
    /// When NATS does not answer, or one can't be read.
    pub async fn dead(&self) -> anyhow::Result<Vec<v1::DeadLetter>> {
        let letter = |message: &StreamMessage| Ok(v1::DeadLetter::decode(message.payload.clone())?);
        Ok(self.read("DEAD", &self.dead, letter).await?.seen.clone())
    }

    /// Reads what is new.
    async fn read<'a, T>(
        &self,
        name: &str,
        log: &'a Mutex<Log<T>>,
        parse: impl Fn(&StreamMessage) -> anyhow::Result<T>,
    ) -> anyhow::Result<MutexGuard<'a, Log<T>>> {
        let mut log = log.lock().await;
        let stream = self.jetstream.get_stream(name).await?;
        let last = stream.cached_info().state.last_sequence;
        let messages: Vec<StreamMessage> = stream::iter(log.last + 1..=last)
            .map(|sequence| stream.get_raw_message(sequence))
            .buffered(PARALLEL)
            .try_collect()
            .await?;
        for message in &messages {
            log.seen.push(parse(message)?);
        }
        log.last = last;
        Ok(log)
    }
}

impl SeenEvent {
    fn of(message: &StreamMessage) -> anyhow::Result<Self> {
        let header = |name: &str| message.headers.get(name).map(async_nats::HeaderValue::as_str);
        let event = match header("Content-Type") {
            Some("application/json") => {
                let event: Value = serde_json::from_slice(&message.payload)?;
                let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
                let (id, kind, source, subject) = (text("id"), text("type"), text("source"), text("subject"));
                Self { id, kind, source, subject, data: event["data"].clone() }
            }
            _ => {
                let event = v1::Event::decode(message.payload.clone())?;
                let data = Value::Object(event.data.map(from_struct).unwrap_or_default());
                Self { id: event.id, kind: event.r#type, source: event.source, subject: event.subject, data }
            }
        };
        anyhow::ensure!(header("ce-id") == Some(&event.id), "the header ce-id is not the event's id");
        anyhow::ensure!(header("ce-type") == Some(&event.kind), "the header ce-type is not the event's type");
        let kind =
            event.kind.strip_prefix("staffetta.").context("an event's type is not one of ours")?.to_owned();
        Ok(Self { kind, ..event })
    }

    /// Whether it is of this type (without `staffetta.`) and about this wamid or command.
    #[must_use]
    pub fn is(&self, kind: &str, subject: &str) -> bool {
        self.kind == kind && self.subject == subject
    }
}
