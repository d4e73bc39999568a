//! One letter, as it stands on DEAD.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use staffetta_domain::{ChannelId, CommandFields, CommandId, InvalidId, TenantId};
use staffetta_proto::{Message as _, v1};

use crate::codec::{Encoding, Origin, command_fields};

/// What a letter is found by, for as long as it is on DEAD: `d` and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LetterId(u64);

impl LetterId {
    pub(crate) fn of_sequence(sequence: u64) -> Self {
        Self(sequence)
    }

    /// Its number in the stream.
    pub(crate) fn sequence(self) -> u64 {
        self.0
    }
}

impl FromStr for LetterId {
    type Err = InvalidId;

    fn from_str(raw: &str) -> Result<Self, InvalidId> {
        let digits = raw.strip_prefix('d').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse().ok()).filter(|number| *number > 0);
        number.map(Self).ok_or(InvalidId { what: "dead letter id", problem: "must be d and a number" })
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{}", self.0)
    }
}

/// The name of a service, fit to be a token of a NATS subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName(Box<str>);

impl ServiceName {
    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = InvalidId;

    fn from_str(raw: &str) -> Result<Self, InvalidId> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=63).contains(&raw.len()) && raw.bytes().all(fits) {
            Ok(Self(raw.into()))
        } else {
            Err(InvalidId { what: "service", problem: "must be 1 to 63 characters of a-z, 0-9 and -" })
        }
    }
}

/// A letter on DEAD. Its payload holds personal data.
#[derive(Clone)]
pub struct Letter {
    /// What it is found by.
    pub id: LetterId,
    /// When it was stored.
    pub time: Timestamp,
    /// The service that gave up.
    pub service: String,
    /// Whose it is, if that is known.
    pub tenant: Option<TenantId>,
    /// On which channel, if that is known.
    pub channel: Option<ChannelId>,
    /// A stable code.
    pub reason: String,
    /// One line for a person, without personal data.
    pub detail: String,
    /// The subject that the payload came from.
    pub subject: String,
    /// How the payload is written.
    pub encoding: Encoding,
    /// What could not be processed; empty where it was left out.
    pub payload: Bytes,
    /// What the payload was.
    pub origin: Origin,
}

impl Letter {
    /// Reads a message of DEAD. What is no letter is one all the same: it must show.
    pub(super) fn read(id: LetterId, time: Timestamp, subject: &str, payload: Bytes) -> Self {
        let Ok(letter) = v1::DeadLetter::decode(payload.clone()) else {
            return Self {
                id,
                time,
                service: subject.split('.').nth(3).unwrap_or_default().to_owned(),
                tenant: None,
                channel: None,
                reason: "unreadable".into(),
                detail: "is not a staffetta.v1.DeadLetter".into(),
                subject: subject.to_owned(),
                encoding: Encoding::Protobuf,
                payload,
                origin: Origin::Other,
            };
        };
        let origin = origin(&letter);
        Self {
            id,
            time,
            service: letter.service,
            tenant: letter.tenant.parse().ok(),
            channel: letter.channel.parse().ok(),
            reason: letter.reason,
            detail: letter.detail,
            subject: letter.subject,
            encoding: Encoding::of_content_type(&letter.content_type),
            payload: letter.payload,
            origin,
        }
    }
}

/// A command as its publisher would write it in JSON.
fn shown_command(fields: CommandFields) -> Value {
    let texts = [
        ("id", fields.id),
        ("to", fields.to),
        ("type", fields.kind),
        ("reply_to", fields.reply_to),
        ("lane", fields.lane),
        ("send_at", fields.send_at),
        ("expires_at", fields.expires_at),
        ("window_policy", fields.window_policy),
        ("callback_data", fields.callback_data),
    ];
    let texts = texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into())));
    Value::Object(texts.chain(fields.rest).collect())
}

fn origin(letter: &v1::DeadLetter) -> Origin {
    if let Ok(id) = letter.command.parse::<CommandId>() {
        return Origin::Command(id);
    }
    match letter.provider() {
        v1::Provider::Unspecified => Origin::Other,
        provider => {
            Origin::Webhook { provider, source: letter.source.clone(), encoding: letter.body_encoding() }
        }
    }
}

/// A payload for people.
#[derive(Clone)]
pub enum ShownPayload {
    /// What is JSON, or a command in Protocol Buffers.
    Json(Value),
    /// Anything else.
    Bytes(Bytes),
}

impl Letter {
    /// The payload as it can be shown.
    pub fn shown_payload(&self) -> ShownPayload {
        let json = match self.encoding {
            Encoding::Json => serde_json::from_slice(&self.payload).ok(),
            Encoding::Protobuf if self.service == "dispatcher" => {
                command_fields(Encoding::Protobuf, &self.payload).ok().map(shown_command)
            }
            Encoding::Protobuf => None,
        };
        json.map_or_else(|| ShownPayload::Bytes(self.payload.clone()), ShownPayload::Json)
    }

    /// Whether a replay may send a second message: nobody knows whether the first one was sent.
    pub fn may_be_sent_already(&self) -> bool {
        self.reason == "outcome_unknown"
    }
}

impl fmt::Debug for ShownPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShownPayload(…)")
    }
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letter")
            .field("id", &self.id)
            .field("service", &self.service)
            .field("tenant", &self.tenant)
            .field("channel", &self.channel)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letters_id_is_read_back() {
        let id = LetterId::of_sequence(42);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "d", "42", "d0", "d-1", "d+1", "dx", "d99999999999999999999"] {
            assert!(bad.parse::<LetterId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_letter_shows_nothing_of_its_payload() {
        let time = "2026-11-21T09:30:00Z".parse().unwrap();
        let subject = "staffetta.v1.dead.recorder.none.none";
        let letter =
            Letter::read(LetterId::of_sequence(1), time, subject, Bytes::from_static(b"\xff393481213456"));
        assert_eq!((letter.service.as_str(), letter.reason.as_str()), ("recorder", "unreadable"));
        assert!(!format!("{letter:?}").contains("393"));
    }
}
