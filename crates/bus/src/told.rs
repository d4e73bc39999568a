//! What is told on EVENTS that decides how commands are sent.

use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::stream::DirectGetErrorKind;
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use staffetta_domain::{ChannelId, TenantId};
use tokio::time::timeout;

use crate::codec::{Encoding, decode_event};
use crate::queue::QueueError;
use crate::{Bus, streams};

/// Something that the provider told of a channel, or of one of its templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The channel.
    pub channel: ChannelId,
    /// What it is about.
    pub of: ToldOf,
}

/// What the provider told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToldOf {
    /// The number, or its account.
    Channel,
    /// A template of the account.
    Template,
}

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(2);

impl Bus {
    /// Follows what the provider tells of channels and templates from now on. One may be missed.
    ///
    /// # Errors
    /// If the connection is closed for good.
    pub async fn told(&self) -> Result<impl Stream<Item = Told> + Send + Unpin + use<>, QueueError> {
        let follow = async |kind: &str| {
            let subject = format!("staffetta.v1.event.*.*.{kind}");
            self.client().subscribe(subject).await.map_err(|error| QueueError::new("followed", error))
        };
        let channels = follow("channel-changed").await?.filter_map(|message| {
            std::future::ready(told(&message, ToldOf::Channel).filter(|_| !is_own(&message)))
        });
        let templates = follow("template-changed")
            .await?
            .filter_map(|message| std::future::ready(told(&message, ToldOf::Template)));
        Ok(futures_util::stream::select(channels, templates))
    }

    /// When a status of one of the channel's messages was last told; `None` if none is kept.
    ///
    /// # Errors
    /// If NATS does not answer.
    pub async fn last_status(
        &self,
        tenant: &TenantId,
        channel: &ChannelId,
    ) -> Result<Option<Timestamp>, QueueError> {
        let asking = async {
            let stream = self.jetstream().get_stream_no_info(streams::EVENTS).await;
            let stream = stream.map_err(async_nats::Error::from)?;
            let subject = format!("staffetta.v1.event.{tenant}.{channel}.message-status");
            match stream.direct_get_last_for_subject(subject).await {
                Ok(message) => Ok(Some(message.time)),
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
                Err(error) => Err(async_nats::Error::from(error)),
            }
        };
        let time = match timeout(ANSWER, asking).await {
            Ok(Ok(time)) => time,
            Ok(Err(error)) => return Err(QueueError::new("asked", error)),
            Err(_) => return Err(QueueError::new("asked", "no answer in time")),
        };
        Ok(time.and_then(|time| Timestamp::from_nanosecond(time.unix_timestamp_nanos()).ok()))
    }
}

fn told(message: &Message, of: ToldOf) -> Option<Told> {
    let channel = message.subject.split('.').nth(4)?.parse().ok()?;
    Some(Told { channel, of })
}

/// Whether the event tells of a hold: those are our own words.
fn is_own(message: &Message) -> bool {
    let event = decode_event(Encoding::of(message.headers.as_ref()), &message.payload);
    event.is_ok_and(|event| event.data.get("change").is_some_and(|change| change == "hold"))
}
