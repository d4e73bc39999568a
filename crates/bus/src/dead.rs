//! DEAD as it is read: pages by filter, single letters by number, and the way back of each.
//!
//! Like SEND it has no consumer: a page is a few batched Direct Gets, whatever else the stream holds.

mod letter;
mod way_back;

use std::time::Duration;

use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use jiff::Timestamp;
use serde_json::json;
use staffetta_domain::{ChannelId, TenantId};
use tokio::time::timeout;

pub use self::letter::{Letter, LetterId, ServiceName, ShownPayload};
pub use self::way_back::{NotReplayable, WayBack, replay_of};
use crate::queue::{Batch, collect, said};
use crate::{Bus, streams};

/// Longest wait for one answer of the stream.
const ANSWER: Duration = Duration::from_secs(2);
/// Most letters of one Direct Get.
const BATCH: usize = 100;
/// Most bytes of one Direct Get; a letter that is larger comes alone.
const BATCH_BYTES: usize = 1 << 20;
/// Most letters that are looked at for one page: a rare reason may be thousands of letters apart.
const PAGE_LETTERS: u64 = 1_000;
/// Most bytes that are looked at for one page.
const PAGE_BYTES: usize = 8 << 20;

/// Which letters. Empty: all of them.
#[derive(Clone, Debug, Default)]
pub struct LetterFilter {
    /// Written by this service.
    pub service: Option<ServiceName>,
    /// Known to be this tenant's.
    pub tenant: Option<TenantId>,
    /// About this channel.
    pub channel: Option<ChannelId>,
    /// Given up for this reason.
    pub reason: Option<String>,
    /// Stored at this time or later.
    pub since: Option<Timestamp>,
    /// Stored before this time.
    pub until: Option<Timestamp>,
}

impl LetterFilter {
    /// What the server can sort out by itself.
    fn subject(&self) -> String {
        let service = self.service.as_ref().map_or("*", ServiceName::as_str);
        let tenant = self.tenant.as_ref().map_or("*", TenantId::as_str);
        let channel = self.channel.as_ref().map_or("*", ChannelId::as_str);
        format!("staffetta.v1.dead.{service}.{tenant}.{channel}")
    }

    /// Whether it is one of them. A tenant's letters are known by what they say: nobody's letters have the subject of
    /// a tenant who is called `none`.
    fn takes(&self, letter: &Letter) -> bool {
        let is = |tenant: &TenantId| letter.tenant.as_ref() == Some(tenant);
        self.tenant.as_ref().is_none_or(is)
            && self.reason.as_ref().is_none_or(|reason| *reason == letter.reason)
    }
}

/// Some letters, oldest first.
#[derive(Debug, Default)]
pub struct LetterPage {
    /// The letters. May be none while there are more: few may fit the filter.
    pub letters: Vec<Letter>,
    /// Where the next page begins; none after the last.
    pub next: Option<LetterId>,
    /// How many letters were looked at.
    pub looked_at: u64,
    /// How many are left to be looked at, by the last answer.
    pub left: u64,
}

/// DEAD did not answer as it should. The same call may succeed later.
#[derive(Debug, thiserror::Error)]
#[error("the dead letters could not be {what}")]
pub struct DeadError {
    what: &'static str,
    #[source]
    source: async_nats::Error,
}

impl DeadError {
    fn new(what: &'static str, source: impl Into<async_nats::Error>) -> Self {
        Self { what, source: source.into() }
    }
}

/// The stream DEAD.
#[derive(Clone, Debug)]
pub struct DeadStream {
    bus: Bus,
}

/// What the server answers to a deletion.
#[derive(serde::Deserialize)]
struct Deleted {
    success: bool,
}

/// Where a read begins.
#[derive(Clone, Copy)]
enum Start {
    At(u64),
    Since(Timestamp),
}

impl DeadStream {
    /// DEAD on this connection.
    pub fn new(bus: Bus) -> Self {
        Self { bus }
    }

    /// The first letters of `filter` from the letter `from` on, or else from the oldest on; at most `max`. What it
    /// costs does not depend on how many letters there are: where few of them fit, a page ends early.
    ///
    /// # Errors
    /// If an answer did not come in time or not whole: an error is never "empty".
    pub async fn page(
        &self,
        filter: &LetterFilter,
        from: Option<LetterId>,
        max: usize,
    ) -> Result<LetterPage, DeadError> {
        let mut page = LetterPage::default();
        let mut bytes = 0;
        let mut start = match (from, filter.since) {
            (Some(from), _) => Start::At(from.sequence()),
            (None, Some(since)) => Start::Since(since),
            (None, None) => Start::At(1),
        };
        while page.letters.len() < max {
            // Where each letter fits, none is read in vain.
            let missing = max - page.letters.len();
            let wanted = if filter.reason.is_none() { missing.min(BATCH) } else { BATCH };
            let batch = self.read(filter, start, wanted).await?;
            if let Some(last) = batch.messages.last() {
                page.left = said(&last.headers, "Nats-Num-Pending").unwrap_or_default();
            }
            for message in batch.messages {
                let id = LetterId::of_sequence(message.sequence);
                if filter.until.is_some_and(|until| message.stored >= until) {
                    page.next = None;
                    page.left = 0;
                    return Ok(page);
                }
                if page.letters.len() == max {
                    page.next = Some(id);
                    return Ok(page);
                }
                page.looked_at += 1;
                bytes += message.payload.len();
                start = Start::At(message.sequence + 1);
                let subject: String = said(&message.headers, "Nats-Subject").unwrap_or_default();
                let letter = Letter::read(id, message.stored, &subject, message.payload);
                if filter.takes(&letter) {
                    page.letters.push(letter);
                }
            }
            let Start::At(next) = start else { return Ok(page) };
            page.next = batch.more.then(|| LetterId::of_sequence(next));
            if !batch.more || page.looked_at >= PAGE_LETTERS || bytes >= PAGE_BYTES {
                return Ok(page);
            }
        }
        Ok(page)
    }

    async fn read(&self, filter: &LetterFilter, start: Start, max: usize) -> Result<Batch, DeadError> {
        let mut request = json!({ "batch": max, "max_bytes": BATCH_BYTES, "next_by_subj": filter.subject() });
        match start {
            Start::At(sequence) => request["seq"] = sequence.into(),
            Start::Since(time) => request["start_time"] = time.to_string().into(),
        }
        let client = self.bus.client();
        let reading = timeout(ANSWER, async {
            let inbox = client.new_inbox();
            let mut answers = client.subscribe(inbox.clone()).await?;
            let subject = format!("$JS.API.DIRECT.GET.{}", streams::DEAD);
            client.publish_with_reply(subject, inbox, request.to_string().into()).await?;
            collect(&mut answers, max).await
        });
        match reading.await {
            Ok(batch) => batch.map_err(|error| DeadError::new("read", error)),
            Err(_) => Err(DeadError::new("read", "no answer in time")),
        }
    }

    /// One letter; `None` if it is not on DEAD, or not any more.
    ///
    /// # Errors
    /// If NATS does not answer.
    pub async fn get(&self, id: LetterId) -> Result<Option<Letter>, DeadError> {
        let stream = self.stream("read").await?;
        match timeout(ANSWER, stream.get_raw_message(id.sequence())).await {
            Ok(Ok(message)) => {
                let time = Timestamp::from_nanosecond(message.time.unix_timestamp_nanos());
                let time = time.map_err(|error| DeadError::new("read", error))?;
                Ok(Some(Letter::read(id, time, &message.subject, message.payload)))
            }
            Ok(Err(error)) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Ok(Err(error)) => Err(DeadError::new("read", error)),
            Err(_) => Err(DeadError::new("read", "no answer in time")),
        }
    }

    /// The youngest letter's id, or that of one that was younger and is gone; `None` if there never was one.
    ///
    /// # Errors
    /// If NATS does not answer.
    pub async fn last(&self) -> Result<Option<LetterId>, DeadError> {
        let stream = self.bus.jetstream().get_stream(streams::DEAD);
        match timeout(ANSWER, stream).await {
            Ok(Ok(stream)) => {
                let last = stream.cached_info().state.last_sequence;
                Ok((last > 0).then(|| LetterId::of_sequence(last)))
            }
            Ok(Err(error)) => Err(DeadError::new("looked through", error)),
            Err(_) => Err(DeadError::new("looked through", "no answer in time")),
        }
    }

    /// Afterwards the letter is not on DEAD, whoever took it away.
    ///
    /// # Errors
    /// If NATS did not say so: the letter may be there or not.
    pub async fn delete(&self, id: LetterId) -> Result<(), DeadError> {
        // Overwritten first, as the server does unless it is told not to, a letter costs ten times as much.
        let request = json!({ "seq": id.sequence(), "no_erase": true });
        let subject = format!("STREAM.MSG.DELETE.{}", streams::DEAD);
        let deleting = self.bus.jetstream().request::<_, _, Response<Deleted>>(subject, &request);
        match timeout(ANSWER, deleting).await {
            Ok(Ok(Response::Ok(Deleted { success: true }))) => Ok(()),
            // The server has many words for what is not there.
            Ok(Ok(_)) if self.get(id).await?.is_none() => Ok(()),
            Ok(Ok(Response::Err { error })) => Err(DeadError::new("deleted", error)),
            Ok(Ok(Response::Ok(_))) => Err(DeadError::new("deleted", "the server did not")),
            Ok(Err(error)) => Err(DeadError::new("deleted", error)),
            Err(_) => Err(DeadError::new("deleted", "no answer in time")),
        }
    }

    async fn stream(&self, what: &'static str) -> Result<Stream<()>, DeadError> {
        let stream = self.bus.jetstream().get_stream_no_info(streams::DEAD).await;
        stream.map_err(|error| DeadError::new(what, error))
    }
}
