//! Reads SEND without any consumer: batches by subject, settled by purging each subject up to a floor.
//!
//! A consumer per channel costs the server seconds of latency, and a shared one puts one channel's backlog in front of
//! everybody else's urgent command. A batched Direct Get takes exactly as many commands of exactly one lane as may be
//! sent now, and leaves nothing on the server that a crash could strand.

use std::str::FromStr;
use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::{HeaderMap, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde_json::json;
use tokio::time::{sleep, timeout};

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

/// A command was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wake {
    /// Its lane.
    pub lane: SendSubject,
    /// Its number in the stream; 0 if the wake-up does not tell.
    pub sequence: u64,
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
    pub(crate) fn new(what: &'static str, source: impl Into<async_nats::Error>) -> Self {
        Self { what, source: source.into() }
    }
}

/// Longest wait for one answer of the queue.
const ANSWER: Duration = Duration::from_secs(2);
/// Most bytes of one batch.
const MAX_BYTES: usize = 1 << 20;
/// Pauses before a command that is known to be stored is asked for again: any replica answers, and one may be behind.
pub(crate) const LAG: [Duration; 5] = [
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(4),
    Duration::from_millis(8),
    Duration::from_millis(16),
];
/// Single reads at a time.
const READS: usize = 16;
/// Single deletions at a time.
const DELETIONS: usize = 32;
/// Where the server says what number a command has.
const NUMBER: &str = "Nats-Sequence";

/// What the server answers to a deletion.
#[derive(serde::Deserialize)]
struct Deleted {
    success: bool,
}

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

    pub(crate) fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The first commands of a lane whose number is at least `from`, at most `max` of them, in order. `known` is the
    /// highest number that a wake-up told of this lane, or 0: a replica that does not have it yet is asked again a few
    /// times, and if it then answers in part, [`Batch::more`] says that there is more. None if there are none.
    ///
    /// # Errors
    /// If the batch did not come in time or not whole: an error is never "empty".
    pub async fn read(
        &self,
        lane: &SendSubject,
        from: u64,
        max: usize,
        known: u64,
    ) -> Result<Batch, QueueError> {
        let from = from.max(1);
        let mut waits = if known < from { [].iter() } else { LAG.iter() };
        loop {
            let mut batch = self.read_now(lane, from, max).await?;
            if let Some(last) = batch.messages.last() {
                batch.more |= last.sequence < known;
                return Ok(batch);
            }
            let Some(wait) = waits.next() else { return Ok(batch) };
            sleep(*wait).await;
        }
    }

    async fn read_now(&self, lane: &SendSubject, from: u64, max: usize) -> Result<Batch, QueueError> {
        let request =
            json!({ "seq": from, "batch": max, "max_bytes": MAX_BYTES, "next_by_subj": lane.subject() });
        let client = self.bus.client();
        let reading = timeout(ANSWER, async {
            let inbox = client.new_inbox();
            let mut answers = client.subscribe(inbox.clone()).await?;
            let subject = format!("$JS.API.DIRECT.GET.{}", streams::SEND);
            client.publish_with_reply(subject, inbox, request.to_string().into()).await?;
            collect(&mut answers, max).await
        });
        match reading.await {
            Ok(batch) => batch.map_err(|error| QueueError::new("read", error)),
            Err(_) => Err(QueueError::new("read", "no answer in time")),
        }
    }

    /// The command of a lane with this number; `None` if the queue does not hold it any more, or never did.
    ///
    /// # Errors
    /// If the queue did not answer in time: an error is never "not there".
    pub async fn read_one(
        &self,
        lane: &SendSubject,
        sequence: u64,
    ) -> Result<Option<QueuedMessage>, QueueError> {
        let mut waits = LAG.iter();
        loop {
            let first = self.read_now(lane, sequence, 1).await?.messages.pop();
            if first.is_some() {
                // Who has a later one would have this one too.
                return Ok(first.filter(|first| first.sequence == sequence));
            }
            let Some(wait) = waits.next() else { break };
            sleep(*wait).await;
        }
        let Some(message) = self.get_of_leader(sequence).await? else { return Ok(None) };
        let stored = Timestamp::from_nanosecond(message.time.unix_timestamp_nanos());
        let stored = stored.map_err(|error| QueueError::new("read", error))?;
        let StreamMessage { subject, headers, payload, .. } = message;
        let queued = QueuedMessage { sequence, stored, headers, payload };
        Ok((subject.as_str() == lane.subject()).then_some(queued))
    }

    /// The commands of a lane with these numbers, as [`read_one`](Self::read_one) finds them, in this order.
    pub async fn read_each(
        &self,
        lane: &SendSubject,
        sequences: &[u64],
    ) -> Vec<(u64, Result<Option<QueuedMessage>, QueueError>)> {
        let reads = stream::iter(sequences.to_vec())
            .map(|sequence| async move { (sequence, self.read_one(lane, sequence).await) });
        reads.buffered(READS).collect().await
    }

    /// As the stream's leader has it, who has all that was ever acknowledged: what it does not hold is gone.
    async fn get_of_leader(&self, sequence: u64) -> Result<Option<StreamMessage>, QueueError> {
        let stream = self.bus.jetstream().get_stream_no_info(streams::SEND).await;
        let stream = stream.map_err(|error| QueueError::new("read", error))?;
        match timeout(ANSWER, stream.get_raw_message(sequence)).await {
            Ok(Ok(message)) => Ok(Some(message)),
            Ok(Err(error)) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Ok(Err(error)) => Err(QueueError::new("read", error)),
            Err(_) => Err(QueueError::new("read", "no answer in time")),
        }
    }

    /// Removes single commands, whatever their lane, and tells which of these numbers the queue does not hold any
    /// more, whoever took them away. The others may be there or not; repeating it is harmless.
    ///
    /// # Errors
    /// If it is not sure of any of them that it is gone. What was asked for may still be done, as soon as NATS is back.
    pub async fn delete(&self, sequences: &[u64]) -> Result<Vec<u64>, QueueError> {
        let deletions = stream::iter(sequences.to_vec())
            .map(|sequence| async move { (sequence, self.delete_one(sequence).await) });
        let deletions: Vec<_> = deletions.buffered(DELETIONS).collect().await;
        let (mut gone, mut failure) = (Vec::new(), None);
        for (sequence, deleted) in deletions {
            match deleted {
                Ok(()) => gone.push(sequence),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.filter(|_| gone.is_empty()).map_or(Ok(gone), Err)
    }

    async fn delete_one(&self, sequence: u64) -> Result<(), QueueError> {
        // Overwritten first, as the server does unless it is told not to, a command costs ten times as much.
        let request = json!({ "seq": sequence, "no_erase": true });
        let subject = format!("STREAM.MSG.DELETE.{}", streams::SEND);
        let deleting = self.bus.jetstream().request::<_, _, Response<Deleted>>(subject, &request);
        match timeout(ANSWER, deleting).await {
            Ok(Ok(Response::Ok(Deleted { success: true }))) => Ok(()),
            // The server has many words for what is not there.
            Ok(Ok(_)) if self.get_of_leader(sequence).await?.is_none() => Ok(()),
            Ok(Ok(Response::Err { error })) => Err(QueueError::new("settled", error)),
            Ok(Ok(Response::Ok(_))) => Err(QueueError::new("settled", "the server did not")),
            Ok(Err(error)) => Err(QueueError::new("settled", error)),
            Err(_) => Err(QueueError::new("settled", "no answer in time")),
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

    /// Follows the wake-ups: one for each command that is stored from now on. One may be missed, so look through the
    /// backlog as well.
    ///
    /// # Errors
    /// If the subscription could not be made.
    pub async fn wakes(
        &self,
    ) -> Result<impl futures_util::Stream<Item = Wake> + Send + Unpin + use<>, QueueError> {
        let subscriber =
            self.bus.client().subscribe(WAKE).await.map_err(|error| QueueError::new("followed", error))?;
        Ok(subscriber.filter_map(|message| {
            let number = message.headers.as_ref().and_then(|headers| said(headers, NUMBER));
            let sequence = number.unwrap_or_default();
            std::future::ready(SendSubject::parse(&message.subject).map(|lane| Wake { lane, sequence }))
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
    answer.headers.as_ref().is_some_and(|headers| headers.get(NUMBER).is_some())
}

fn queued(answer: Message) -> Result<QueuedMessage, async_nats::Error> {
    let headers = answer.headers.ok_or("a command without its number")?;
    let sequence = said(&headers, NUMBER).ok_or("a command without its number")?;
    let stored = said(&headers, "Nats-Time-Stamp").ok_or("a command without its time")?;
    Ok(QueuedMessage { sequence, stored, headers, payload: answer.payload })
}

/// What the server says. Its headers stand behind the publisher's own, which may have the same names.
pub(crate) fn said<T: FromStr>(headers: &HeaderMap, name: &'static str) -> Option<T> {
    headers.get_last(name)?.as_str().parse().ok()
}
