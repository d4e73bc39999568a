//! Reads EVENTS without any consumer: batches of one tenant's events, from wherever the reader stands.
//!
//! A reader keeps its own place: a number of the stream. Any number of readers cost the server nothing while they wait.

use std::time::Duration;

use futures_util::StreamExt;
use jiff::Timestamp;
use serde_json::json;
use staffetta_domain::{ChannelId, Event, TenantId};
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::codec::{Encoding, decode_event, trace_of};
use crate::queue::{Batch, LAG, QueueError, QueuedMessage, collect, said};
use crate::subjects::TOLD;
use crate::{Bus, streams};

/// An event as EVENTS holds it.
#[derive(Clone, Debug)]
pub struct LoggedEvent {
    /// Its number in the stream.
    pub sequence: u64,
    /// When it was stored.
    pub stored: Timestamp,
    /// The event.
    pub event: Event,
}

/// Some of a tenant's events.
#[derive(Clone, Debug)]
pub struct EventBatch {
    /// The events, in the stream's order.
    pub events: Vec<LoggedEvent>,
    /// Where to read on: above each event that was read, those included that nobody could understand.
    pub next: u64,
    /// Whether the stream held more when they were read.
    pub more: bool,
}

/// An event was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventWake {
    /// Whose it is.
    pub tenant: TenantId,
    /// On which channel it happened.
    pub channel: ChannelId,
    /// Its number in the stream; 0 if the wake-up does not tell.
    pub sequence: u64,
}

/// Where EVENTS begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventEnds {
    /// The number of the oldest event that is kept; one above `last` if none is.
    pub first: u64,
    /// The number of the youngest event that ever was.
    pub last: u64,
    /// When the stream was made, in nanoseconds since 1970 by the server's clock: one that was made at another time
    /// counts from 1 again, and a number of the other one says nothing about it.
    pub made_at: i64,
}

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Most bytes of one batch.
const MAX_BYTES: usize = 4 << 20;

/// The stream EVENTS, as its readers see it.
#[derive(Clone, Debug)]
pub struct EventLog {
    bus: Bus,
}

impl EventLog {
    /// The log on this connection.
    pub fn new(bus: Bus) -> Self {
        Self { bus }
    }

    /// The first of a tenant's events whose number is at least `from`, at most `max`, in order. `known` is the highest
    /// number that a wake-up told of this tenant, or 0: a replica that does not have it yet is asked again a few times.
    /// An event that this version does not understand is passed over.
    ///
    /// # Errors
    /// If the batch did not come in time or not whole: an error is never "empty".
    pub async fn read(
        &self,
        tenant: &TenantId,
        from: u64,
        max: usize,
        known: u64,
    ) -> Result<EventBatch, QueueError> {
        let from = from.max(1);
        let mut waits = if known < from { [].iter() } else { LAG.iter() };
        let request =
            json!({ "seq": from, "batch": max, "max_bytes": MAX_BYTES, "next_by_subj": of(tenant) });
        let batch = loop {
            let mut batch = self.get(&request, max).await?;
            if let Some(last) = batch.messages.last() {
                batch.more |= last.sequence < known;
                break batch;
            }
            let Some(wait) = waits.next() else { break batch };
            sleep(*wait).await;
        };
        let next = batch.messages.last().map_or(from, |last| last.sequence + 1);
        let events = batch.messages.into_iter().filter_map(|message| logged(tenant, message)).collect();
        Ok(EventBatch { events, next, more: batch.more })
    }

    /// The tenant's event of this number; `None` if EVENTS does not hold it any more.
    ///
    /// # Errors
    /// If NATS did not answer in time.
    pub async fn read_one(
        &self,
        tenant: &TenantId,
        sequence: u64,
    ) -> Result<Option<LoggedEvent>, QueueError> {
        let batch = self.read(tenant, sequence, 1, sequence).await?;
        Ok(batch.events.into_iter().find(|logged| logged.sequence == sequence))
    }

    /// The number of the tenant's first event that was stored at that time or later; `None` if there is none.
    ///
    /// # Errors
    /// If NATS did not answer in time.
    pub async fn first_since(&self, tenant: &TenantId, at: Timestamp) -> Result<Option<u64>, QueueError> {
        let request = json!({ "start_time": at.to_string(), "batch": 1, "next_by_subj": of(tenant) });
        let batch = self.get(&request, 1).await?;
        Ok(batch.messages.first().map(|message| message.sequence))
    }

    /// Where the stream begins and ends now.
    ///
    /// # Errors
    /// If NATS did not answer in time.
    pub async fn ends(&self) -> Result<EventEnds, QueueError> {
        let asking = timeout(ANSWER, self.bus.jetstream().get_stream(streams::EVENTS));
        match asking.await {
            Ok(Ok(stream)) => {
                let info = stream.cached_info();
                let made_at = i64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(i64::MAX);
                Ok(EventEnds {
                    first: info.state.first_sequence.max(1),
                    last: info.state.last_sequence,
                    made_at,
                })
            }
            Ok(Err(error)) => Err(QueueError::new("asked", error)),
            Err(_) => Err(QueueError::new("asked", "no answer in time")),
        }
    }

    /// Follows what is stored from now on: one item for each event. One may be missed, so look as well.
    ///
    /// # Errors
    /// If the subscription could not be made.
    pub async fn wakes(
        &self,
    ) -> Result<impl futures_util::Stream<Item = EventWake> + Send + Unpin + use<>, QueueError> {
        let subscriber =
            self.bus.client().subscribe(TOLD).await.map_err(|error| QueueError::new("followed", error))?;
        Ok(subscriber.filter_map(|message| {
            let number = message.headers.as_ref().and_then(|headers| said(headers, "Nats-Sequence"));
            let mut tokens = message.subject.split('.').skip(3);
            let woken = (|| {
                let (tenant, channel) = (tokens.next()?.parse().ok()?, tokens.next()?.parse().ok()?);
                Some(EventWake { tenant, channel, sequence: number.unwrap_or_default() })
            })();
            std::future::ready(woken)
        }))
    }

    async fn get(&self, request: &serde_json::Value, max: usize) -> Result<Batch, QueueError> {
        let client = self.bus.client();
        let reading = timeout(ANSWER, async {
            let inbox = client.new_inbox();
            let mut answers = client.subscribe(inbox.clone()).await?;
            let subject = format!("$JS.API.DIRECT.GET.{}", streams::EVENTS);
            client.publish_with_reply(subject, inbox, request.to_string().into()).await?;
            collect(&mut answers, max).await
        });
        match reading.await {
            Ok(batch) => batch.map_err(|error| QueueError::new("read", error)),
            Err(_) => Err(QueueError::new("read", "no answer in time")),
        }
    }
}

/// All events of a tenant.
fn of(tenant: &TenantId) -> String {
    format!("staffetta.v1.event.{tenant}.*.*")
}

fn logged(tenant: &TenantId, message: QueuedMessage) -> Option<LoggedEvent> {
    let QueuedMessage { sequence, stored, headers, payload } = message;
    match decode_event(Encoding::of(Some(&headers)), &payload) {
        Ok(event) if event.tenant == *tenant => {
            let event = Event { trace: trace_of(Some(&headers)), ..event };
            Some(LoggedEvent { sequence, stored, event })
        }
        Ok(_) => {
            warn!(sequence, "an event under another tenant's subject is passed over");
            None
        }
        Err(error) => {
            warn!(sequence, error = &error as &dyn std::error::Error, "an event is passed over");
            None
        }
    }
}
