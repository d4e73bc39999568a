//! Messages of users: one by one, or as a steady stream.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::chance::{Direction, Purpose, generator, happens, wamid};
use crate::limits::SECOND_US;
use crate::media::complete;
use crate::options::UserIds;
use crate::users::user_id;
use crate::validate::{is_user_id, phone};
use crate::webhooks::{Contact, Item, Profile};
use crate::world::{Channel, State, World, unix_ms};

/// No stream sends more than this at once: it is what is left of one that fell behind.
const BURST: u64 = 1_000;

/// A message that a user sends to one of the numbers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboundMessage {
    /// The number it goes to.
    pub phone_number_id: String,
    /// The user: a phone number, or a business-scoped user id.
    pub from: String,
    /// The user's name; made up from the number if missing.
    #[serde(default)]
    pub name: Option<String>,
    /// A text message with this text.
    #[serde(default)]
    pub text: Option<String>,
    /// Any message object: `type` and what goes with it. `from`, `id` and `timestamp` are added if missing, and
    /// a file for a media object that names none.
    #[serde(default)]
    pub message: Option<Map<String, Value>>,
}

/// A steady stream of text messages to one number.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboundRate {
    /// Messages a second; 0 ends the stream.
    pub per_second: f64,
    /// How many users write, in turn.
    #[serde(default = "some_users")]
    pub users: u32,
    /// How the messages lie in time.
    #[serde(default)]
    pub spread: Spread,
}

/// How a stream's messages lie in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spread {
    /// One after the other at equal distances.
    #[default]
    Even,
    /// Each whenever it likes, as of many users who know nothing of each other.
    Poisson,
}

fn some_users() -> u32 {
    100
}

/// The most that a stream may be asked for.
const MAX_RATE: f64 = 10_000.0;

/// Why a message can't arrive.
#[derive(Debug, thiserror::Error)]
pub enum InboundError {
    /// The number is not registered.
    #[error("the phone number id is not registered")]
    UnknownNumber,
    /// The number has nowhere to tell.
    #[error("the number has no webhook")]
    NoWebhook,
    /// Neither a phone number nor a business-scoped user id.
    #[error("from must be a phone number or a business-scoped user id")]
    BadUser,
    /// Both or neither of `text` and `message`, or a message without its type.
    #[error("give either text, or a message with its type")]
    BadMessage,
    /// A rate below 0 or above 10,000.
    #[error("per_second must lie between 0 and 10000")]
    BadRate,
}

/// Where a stream stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    rate: InboundRate,
    since: u64,
    sent: u64,
    /// When its next message is due, in microseconds.
    next: f64,
}

impl Stream {
    fn new(rate: InboundRate, since: u64, (seed, number): (u64, &str)) -> Self {
        let mut stream = Self { rate, since, sent: 0, next: since as f64 };
        stream.put_off((seed, number));
        stream
    }

    fn next(&self) -> u64 {
        self.next as u64
    }

    /// Sets when the message after those sent is due. The seed decides it, and nothing else.
    fn put_off(&mut self, (seed, number): (u64, &str)) {
        let gap = SECOND_US as f64 / self.rate.per_second;
        self.next = match self.rate.spread {
            Spread::Even => self.since as f64 + (self.sent + 1) as f64 * gap,
            Spread::Poisson => {
                let mut rng = generator(seed, number, Purpose::Stream, self.sent);
                // 1 - x lies above 0, and its logarithm is finite.
                self.next - (1.0 - rng.random::<f64>()).ln() * gap
            }
        };
    }
}

impl World {
    /// Makes a user's message arrive: it counts against the number's limit, opens the user's window and goes
    /// to the webhook. Gives back its wamid.
    pub(crate) fn inbound(&self, message: InboundMessage) -> Result<String, InboundError> {
        let mut state = self.state();
        let State { channels, behaviour, users, shelf, log_room, .. } = &mut *state;
        let channel =
            channels.get_mut(message.phone_number_id.as_str()).ok_or(InboundError::UnknownNumber)?;
        let behaviour = channel.behaviour.as_ref().unwrap_or(behaviour).clone();
        if channel.source.is_none() {
            return Err(InboundError::NoWebhook);
        }
        let user = User::parse(&message.from)?;
        let mut object = match (message.text, message.message) {
            (Some(text), None) => {
                let mut object = Map::new();
                object.insert("type".to_owned(), json!("text"));
                object.insert("text".to_owned(), json!({ "body": text }));
                object
            }
            (None, Some(object)) if object.get("type").is_some_and(Value::is_string) => object,
            _ => return Err(InboundError::BadMessage),
        };
        channel.inbound += 1;
        let mut rng = generator(self.seed, &message.phone_number_id, Purpose::Inbound, channel.inbound);
        let id = wamid(&mut rng, user.id(), Direction::Inbound);
        let from = if matches!(user, User::Phone(_)) { "from" } else { "from_user_id" };
        object.entry(from).or_insert_with(|| json!(user.id()));
        let shown = match (behaviour.user_ids, &user) {
            (UserIds::Shown, User::Phone(phone)) => Some(user_id(self.seed, &channel.config.waba_id, phone)),
            _ => None,
        };
        if let Some(id) = &shown {
            object.entry("from_user_id").or_insert_with(|| json!(id));
        }
        object.entry("id").or_insert_with(|| json!(id));
        object.entry("timestamp").or_insert_with(|| json!((unix_ms() / 1000).to_string()));
        let id = object.get("id").and_then(Value::as_str).map_or(id, str::to_owned);
        let at = self.now();
        complete(self.seed, channel, shelf, &mut object, (at, behaviour.media.received_ms));
        let raw = serde_json::value::to_raw_value(&object).map_err(|_| InboundError::BadMessage)?;

        channel.received.add(&id);
        channel.throughput.record(at);
        channel.windows.open(user.id(), at, behaviour.windows);
        channel.unblock(user.id(), users);
        channel.ledger.inbound(at, log_room);
        let mut contact = user.contact(message.name);
        contact.user_id = contact.user_id.or(shown);
        let duplicate = happens(&mut rng, behaviour.duplicate);
        if let Some(update) = channel.update(&behaviour, Item::Message(contact.into(), Arc::from(raw))) {
            channel.ledger.webhooks.lost += self.tell(update, Duration::ZERO, duplicate);
        }
        Ok(id)
    }

    /// Posts this body to the number's webhook as it is, signed.
    pub(crate) fn raw_webhook(&self, number: &str, body: &str) -> Result<(), InboundError> {
        let mut state = self.state();
        let State { channels, behaviour, .. } = &mut *state;
        let channel = channels.get_mut(number).ok_or(InboundError::UnknownNumber)?;
        let behaviour = channel.behaviour.as_ref().unwrap_or(behaviour).clone();
        let update = channel.update(&behaviour, Item::Raw(body.into())).ok_or(InboundError::NoWebhook)?;
        channel.ledger.webhooks.lost += self.tell(update, Duration::ZERO, false);
        Ok(())
    }

    /// Sets, replaces or ends the stream of one number.
    pub(crate) fn set_stream(&self, number: &str, rate: InboundRate) -> Result<(), InboundError> {
        if !(0.0..=MAX_RATE).contains(&rate.per_second) {
            return Err(InboundError::BadRate);
        }
        let since = self.now();
        let mut state = self.state();
        let channel = state.channels.get_mut(number).ok_or(InboundError::UnknownNumber)?;
        if channel.source.is_none() {
            return Err(InboundError::NoWebhook);
        }
        channel.stream = (rate.per_second > 0.0).then(|| Stream::new(rate, since, (self.seed, number)));
        drop(state);
        self.streams_changed.notify_one();
        Ok(())
    }

    /// Sends what streams owe by now. Gives back when the next message is due, if any stream runs.
    fn run_streams(&self) -> Option<u64> {
        let now = self.now();
        let mut owed = Vec::new();
        let mut next: Option<u64> = None;
        for (number, Channel { stream, .. }) in &mut self.state().channels {
            let Some(stream) = stream else { continue };
            let mut burst = 0;
            while stream.next() <= now && burst < BURST {
                let user = stream.sent % u64::from(stream.rate.users.max(1));
                owed.push((number.clone(), user, stream.sent));
                stream.sent += 1;
                stream.put_off((self.seed, number));
                burst += 1;
            }
            next = Some(next.map_or(stream.next(), |next| next.min(stream.next())));
        }
        for (number, user, count) in owed {
            let message = InboundMessage {
                phone_number_id: number.to_string(),
                from: format!("39333{user:07}"),
                name: None,
                text: Some(format!("message {count}")),
                message: None,
            };
            if let Err(error) = self.inbound(message) {
                tracing::debug!(%error, "a stream's message did not arrive");
            }
        }
        next
    }
}

/// Keeps the streams flowing until `stop`.
pub(crate) async fn run(world: Arc<World>, stop: CancellationToken) {
    loop {
        let next = world.run_streams();
        let due = world.started() + Duration::from_micros(next.unwrap_or(0));
        tokio::select! {
            () = stop.cancelled() => return,
            () = world.streams_changed.notified() => {}
            () = sleep_until(due.into()), if next.is_some() => {}
        }
    }
}

enum User {
    Phone(String),
    Scoped(String),
}

impl User {
    fn parse(raw: &str) -> Result<Self, InboundError> {
        if is_user_id(raw) {
            return Ok(Self::Scoped(raw.to_owned()));
        }
        phone(raw).map(Self::Phone).ok_or(InboundError::BadUser)
    }

    fn id(&self) -> &str {
        let (Self::Phone(id) | Self::Scoped(id)) = self;
        id
    }

    fn contact(self, name: Option<String>) -> Contact {
        let tail: String = self.id().chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
        let profile = Profile { name: Some(name.unwrap_or_else(|| format!("User {tail}"))) };
        match self {
            Self::Phone(phone) => Contact { profile, wa_id: Some(phone), user_id: None },
            Self::Scoped(id) => Contact { profile, wa_id: None, user_id: Some(id) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The distances of the first messages at 100 a second, in microseconds.
    fn gaps(spread: Spread) -> Vec<u64> {
        let rate = InboundRate { per_second: 100.0, users: 1, spread };
        let mut stream = Stream::new(rate, 500, (7, "100"));
        let mut last = 500;
        let gap = |_| {
            let gap = stream.next() - last;
            last = stream.next();
            stream.sent += 1;
            stream.put_off((7, "100"));
            gap
        };
        (0..10_000).map(gap).collect()
    }

    #[test]
    fn an_even_stream_keeps_its_distance() {
        assert!(gaps(Spread::Even).iter().all(|&gap| gap == 10_000));
    }

    #[test]
    fn a_poisson_stream_has_its_rate_and_no_rhythm() {
        let gaps = gaps(Spread::Poisson);
        assert_eq!(gaps, super::tests::gaps(Spread::Poisson), "the same seed, the same stream");
        let mean = gaps.iter().sum::<u64>() as f64 / gaps.len() as f64;
        assert!((9_500.0..10_500.0).contains(&mean), "on average {mean} microseconds");
        // Of exponential gaps a share of 1 - 1/e is shorter than the mean.
        let short = gaps.iter().filter(|&&gap| gap < 10_000).count();
        assert!((6_100..6_500).contains(&short), "{short} of 10,000 are short");
    }
}
