//! Reads SEND without any consumer: batches by subject, settled by purging each subject up to a floor.
//!
//! A consumer per channel costs the server seconds of latency, and a shared one puts one channel's backlog in front of
//! everybody else's urgent command. A batched Direct Get takes exactly as many commands of exactly one lane as may be
//! sent now, and leaves nothing on the server that a crash could strand.

use std::str::FromStr;
use std::time::Duration;

use async_nats::{HeaderMap, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use tokio::time::timeout;

use crate::subjects::{SEND as SEND_SUBJECTS, SendSubject, WAKE};
use crate::{Bus, streams};

/// A command as it stands in the queue.
#[derive(Clone, Debug)]
pub struct QueuedMessage {
    /// Its number in the stream.
    pub sequence: u64,
    /// When it was stored.
    pub stored: Timestamp,
    /// Its headers, the publisher's own among them.
    pub headers: HeaderMap,
    /// The command.
    pub payload: Bytes,
}

impl QueuedMessage {
    /// The publisher's `Nats-Msg-Id`: the command's idempotency key where its payload holds none.
    pub fn message_id(&self) -> Option<&str> {
        Some(self.headers.get(async_nats::header::NATS_MESSAGE_ID)?.as_str())
    }
}

/// A part of one lane.
#[derive(Debug, Default)]
pub struct Batch {
    /// The commands, in order.
    pub messages: Vec<QueuedMessage>,
    /// Whether the lane held more when they were read.
    pub more: bool,
}

/// How many commands one lane holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneBacklog {
    /// The lane.
    pub subject: SendSubject,
    /// Commands in it, settled ones that are not purged yet among them.
    pub messages: u64,
}

/// The queue did not answer as it should. Nothing was moved; the same call may succeed later.
#[derive(Debug, thiserror::Error)]
#[error("the send queue could not be {what}")]
pub struct QueueError {
    what: &'static str,
    #[source]
    source: async_nats::Error,
}

impl QueueError {
    fn new(what: &'static str, source: impl Into<async_nats::Error>) -> Self {
        Self { what, source: source.into() }
    }
}

/// Longest wait for one answer of the queue.
const ANSWER: Duration = Duration::from_secs(2);
/// Most bytes of one batch.
const MAX_BYTES: usize = 1 << 20;

/// The stream SEND, as its owner reads it.
#[derive(Clone, Debug)]
pub struct SendQueue {
    bus: Bus,
}

impl SendQueue {
    /// The queue on this connection.
    pub fn new(bus: Bus) -> Self {
        Self { bus }
    }

    /// The first commands of a lane whose number is at least `from`, at most `max` of them, in order. None if there
    /// are none; on a replicated stream also if the replica that answered does not have them yet.
    ///
    /// # Errors
    /// If the batch did not come in time or not whole: an error is never "empty".
    pub async fn read(&self, lane: &SendSubject, from: u64, max: usize) -> Result<Batch, QueueError> {
        let failed = |source: async_nats::Error| QueueError { what: "read", source };
        let request = serde_json::json!({
            "seq": from.max(1),
            "batch": max,
            "max_bytes": MAX_BYTES,
            "next_by_subj": lane.subject(),
        });
        let client = self.bus.client();
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| failed(error.into()))?;
        let subject = format!("$JS.API.DIRECT.GET.{}", streams::SEND);
        client
            .publish_with_reply(subject, inbox, request.to_string().into())
            .await
            .map_err(|error| failed(error.into()))?;
        match timeout(ANSWER, collect(&mut answers, max)).await {
            Ok(batch) => batch.map_err(failed),
            Err(_) => Err(failed("no answer in time".into())),
        }
    }

    /// Removes every command of a lane whose number is below `floor`. Repeating it is harmless.
    ///
    /// # Errors
    /// If NATS did not say that it is done.
    pub async fn purge_below(&self, lane: &SendSubject, floor: u64) -> Result<(), QueueError> {
        let stream = self.bus.jetstream().get_stream_no_info(streams::SEND).await;
        let stream = stream.map_err(|error| QueueError::new("settled", error))?;
        let purge = stream.purge().sequence(floor).filter(lane.subject());
        match timeout(ANSWER, purge).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(QueueError::new("settled", error)),
            Err(_) => Err(QueueError::new("settled", "no answer in time")),
        }
    }

    /// Every lane that holds anything.
    ///
    /// # Errors
    /// If NATS did not answer.
    pub async fn backlog(&self) -> Result<Vec<LaneBacklog>, QueueError> {
        let looking = timeout(ANSWER * 3, async {
            let stream = self.bus.jetstream().get_stream_no_info(streams::SEND).await;
            let stream = stream.map_err(async_nats::Error::from)?;
            let subjects = stream.info_with_subjects(SEND_SUBJECTS).await.map_err(async_nats::Error::from)?;
            let subjects: Vec<(String, usize)> =
                subjects.try_collect().await.map_err(async_nats::Error::from)?;
            Ok::<_, async_nats::Error>(subjects)
        });
        let subjects = match looking.await {
            Ok(Ok(subjects)) => subjects,
            Ok(Err(error)) => return Err(QueueError::new("looked through", error)),
            Err(_) => return Err(QueueError::new("looked through", "no answer in time")),
        };
        let lanes = subjects.into_iter().filter_map(|(subject, messages)| {
            Some(LaneBacklog { subject: SendSubject::parse(&subject)?, messages: messages as u64 })
        });
        Ok(lanes.collect())
    }

    /// Follows the wake-ups: the lane of each command that is stored from now on. One may be missed, so look through
    /// the backlog as well.
    ///
    /// # Errors
    /// If the subscription could not be made.
    pub async fn wakes(
        &self,
    ) -> Result<impl futures_util::Stream<Item = SendSubject> + Send + Unpin + use<>, QueueError> {
        let subscriber =
            self.bus.client().subscribe(WAKE).await.map_err(|error| QueueError::new("followed", error))?;
        Ok(subscriber.filter_map(|message| std::future::ready(SendSubject::parse(&message.subject))))
    }

    /// Follows the messages that channels receive: one item for each, as its event is announced.
    ///
    /// # Errors
    /// If the subscription could not be made.
    pub async fn received(
        &self,
    ) -> Result<
        impl futures_util::Stream<Item = staffetta_domain::ChannelId> + Send + Unpin + use<>,
        QueueError,
    > {
        let subject = "staffetta.v1.event.*.*.message-received";
        let subscriber =
            self.bus.client().subscribe(subject).await.map_err(|error| QueueError::new("followed", error))?;
        Ok(subscriber.filter_map(|message| {
            std::future::ready(message.subject.split('.').nth(4).and_then(|channel| channel.parse().ok()))
        }))
    }
}

pub(crate) async fn collect(answers: &mut Subscriber, max: usize) -> Result<Batch, async_nats::Error> {
    let mut batch = Batch::default();
    loop {
        let answer = answers.next().await.ok_or("the answers ended")?;
        let left = answer.headers.as_ref().and_then(|headers| said(headers, "Nats-Num-Pending"));
        match answer.status {
            // A publisher may have put a status of its own into a command: what has a number is a command.
            status if status.is_none() || is_command(&answer) => {
                batch.more = left.is_some_and(|left: u64| left > 0);
                batch.messages.push(queued(answer)?);
                if batch.messages.len() >= max {
                    break;
                }
            }
            // Nothing there.
            Some(StatusCode::NOT_FOUND) => break,
            // The end of the batch.
            Some(status) if status.as_u16() == 204 => {
                batch.more = left.is_some_and(|left: u64| left > 0);
                break;
            }
            Some(status) => return Err(format!("status {status}").into()),
            None => return Err("an answer without a status".into()),
        }
    }
    Ok(batch)
}

fn is_command(answer: &Message) -> bool {
    answer.headers.as_ref().is_some_and(|headers| headers.get("Nats-Sequence").is_some())
}

fn queued(answer: Message) -> Result<QueuedMessage, async_nats::Error> {
    let headers = answer.headers.ok_or("a command without its number")?;
    let sequence = said(&headers, "Nats-Sequence").ok_or("a command without its number")?;
    let stored = said(&headers, "Nats-Time-Stamp").ok_or("a command without its time")?;
    Ok(QueuedMessage { sequence, stored, headers, payload: answer.payload })
}

/// What the server says. Its headers stand behind the publisher's own, which may have the same names.
pub(crate) fn said<T: FromStr>(headers: &HeaderMap, name: &'static str) -> Option<T> {
    headers.get_last(name)?.as_str().parse().ok()
}
