//! How a letter's payload gets back to where it came from.

use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use staffetta_domain::{CommandId, TenantId};
use staffetta_proto::json::to_timestamp;
use staffetta_proto::{Message as _, v1};

use super::Letter;
use crate::codec::{Encoding, Origin, command_fields};
use crate::subjects::{SendSubject, webhook_subject};

/// The header that names the letter of which a message is a replay.
const REPLAY_OF: &str = "Staffetta-Replay-Of";

/// The letter of which a message is a replay; empty for any other message.
pub fn replay_of(headers: Option<&HeaderMap>) -> &str {
    headers.and_then(|headers| headers.get(REPLAY_OF)).map_or("", HeaderValue::as_str)
}

/// The message that a replay publishes.
#[derive(Clone, Debug)]
pub struct WayBack {
    /// Where it goes.
    pub subject: String,
    /// Its `Nats-Msg-Id`. The same each time the same letter is replayed, so that a repeat soon after is stored once.
    pub message_id: String,
    /// Whether others may publish under the same `Nats-Msg-Id`: then one that NATS knows need not be this message.
    pub shared_id: bool,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its payload.
    pub payload: Bytes,
    /// The command that must be queued again before it is published.
    pub command: Option<(TenantId, CommandId)>,
}

/// Why a letter can't be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReplayable {
    /// There is nothing to publish.
    #[error("its payload was left out, because it fits into no message")]
    NoPayload,
    /// Its payload did not come from a stream.
    #[error("it is kept to be seen only: its payload did not come from WEBHOOKS or SEND")]
    NoWayBack,
    /// The subject is not one of its tenant's.
    #[error("its subject is not a lane of its tenant")]
    ForeignSubject,
    /// Neither letter nor payload name the command.
    #[error("nothing tells the id of its command")]
    NoCommandId,
}

impl Letter {
    /// What a replay of this letter publishes.
    ///
    /// # Errors
    /// If it can't be replayed, ever.
    pub fn way_back(&self) -> Result<WayBack, NotReplayable> {
        match self.service.as_str() {
            _ if self.reason == "too_large" || self.reason == "unreadable" => Err(NotReplayable::NoWayBack),
            "recorder" | "dispatcher" if self.payload.is_empty() => Err(NotReplayable::NoPayload),
            "recorder" => Ok(self.to_webhooks()),
            "dispatcher" => self.to_send(),
            _ => Err(NotReplayable::NoWayBack),
        }
    }

    fn to_webhooks(&self) -> WayBack {
        let mut headers = HeaderMap::new();
        headers.insert(REPLAY_OF, self.id.to_string());
        let payload = match (&self.origin, self.encoding) {
            // An envelope that could not be read at all.
            (Origin::Other, Encoding::Protobuf) => self.payload.clone(),
            (origin, _) => self.envelope(origin).encode_to_vec().into(),
        };
        WayBack {
            subject: webhook_subject(0),
            message_id: format!("replay:{}", self.id),
            shared_id: false,
            headers,
            payload,
            command: None,
        }
    }

    fn envelope(&self, origin: &Origin) -> v1::WebhookEnvelope {
        let (provider, source, encoding) = match origin {
            Origin::Webhook { provider, source, encoding } => (*provider, source.clone(), *encoding),
            Origin::Command(_) | Origin::Other => {
                (v1::Provider::Meta, String::new(), v1::BodyEncoding::Unspecified)
            }
        };
        let webhook = v1::RawWebhook {
            id: format!("replay-{}", self.id),
            provider: provider.into(),
            source,
            received_at: Some(to_timestamp(self.time)),
            body: self.payload.clone(),
            encoding: encoding.into(),
            replay_of: self.id.to_string(),
            traceparent: String::new(),
        };
        v1::WebhookEnvelope { webhooks: vec![webhook] }
    }

    fn to_send(&self) -> Result<WayBack, NotReplayable> {
        let lane = SendSubject::parse(&self.subject)
            .filter(|lane| lane.subject() == self.subject && Some(&lane.tenant) == self.tenant.as_ref())
            .ok_or(NotReplayable::ForeignSubject)?;
        let own = command_fields(self.encoding, &self.payload).ok().and_then(|fields| fields.id);
        let id = match &self.origin {
            Origin::Command(id) => id.clone(),
            _ => own.as_ref().and_then(|id| id.parse().ok()).ok_or(NotReplayable::NoCommandId)?,
        };
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", self.encoding.content_type());
        // A command that does not name itself is named by its `Nats-Msg-Id`, now as before.
        let message_id = if own.is_some() { format!("replay:{}", self.id) } else { id.to_string() };
        Ok(WayBack {
            subject: self.subject.clone(),
            message_id,
            shared_id: own.is_none(),
            headers,
            payload: self.payload.clone(),
            // An id that could not be used was given up with its place in the queue.
            command: own.is_none_or(|own| own == id.as_str()).then_some((lane.tenant, id)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead::LetterId;

    fn letter(service: &str, subject: &str, payload: &'static [u8], origin: Origin) -> Letter {
        Letter {
            id: "d7".parse::<LetterId>().unwrap(),
            time: "2026-11-21T09:30:00Z".parse().unwrap(),
            service: service.into(),
            tenant: "acme".parse().ok(),
            channel: "acme-orders".parse().ok(),
            reason: "r".into(),
            detail: String::new(),
            subject: subject.into(),
            encoding: Encoding::Json,
            payload: Bytes::from_static(payload),
            origin,
        }
    }

    const LANE: &str = "staffetta.v1.send.acme.acme-orders.normal";

    #[test]
    fn a_webhook_goes_back_as_it_came_and_says_what_it_replays() {
        let origin = Origin::Webhook {
            provider: v1::Provider::Twilio,
            source: "acme-crm".into(),
            encoding: v1::BodyEncoding::Gzip,
        };
        let back = letter("recorder", "staffetta.v1.webhook.3", b"packed", origin).way_back().unwrap();
        let webhook = v1::WebhookEnvelope::decode(back.payload).unwrap().webhooks.remove(0);
        assert_eq!((webhook.provider(), webhook.source.as_str()), (v1::Provider::Twilio, "acme-crm"));
        assert_eq!((webhook.encoding(), &webhook.body[..]), (v1::BodyEncoding::Gzip, &b"packed"[..]));
        assert_eq!((webhook.replay_of.as_str(), replay_of(Some(&back.headers))), ("d7", "d7"));
    }

    #[test]
    fn a_command_keeps_its_id_wherever_it_stood() {
        let id: CommandId = "inv-1".parse().unwrap();
        let named = letter("dispatcher", LANE, br#"{"id":"inv-1"}"#, Origin::Command(id.clone()));
        let back = named.way_back().unwrap();
        assert_eq!((back.message_id.as_str(), back.shared_id), ("replay:d7", false));
        assert_eq!(back.command.unwrap().1, id);
        // It stood in the header alone.
        for payload in [&b"{}"[..], b"no JSON"] {
            let back = letter("dispatcher", LANE, payload, Origin::Command(id.clone())).way_back().unwrap();
            assert_eq!((back.message_id.as_str(), back.shared_id), ("inv-1", true));
            assert_eq!(back.command.unwrap().1, id);
        }
        // It could be nobody's id: the command gets another when it is read again.
        let back = letter("dispatcher", LANE, br#"{"id":"a b"}"#, Origin::Command(id)).way_back().unwrap();
        assert_eq!(back.command, None);
    }

    #[test]
    fn what_has_no_way_back_says_why() {
        let why = |service: &str, subject: &str, payload: &'static [u8]| {
            letter(service, subject, payload, Origin::Other).way_back().unwrap_err()
        };
        assert_eq!(why("recorder", "staffetta.v1.webhook.0", b""), NotReplayable::NoPayload);
        assert_eq!(why("outbox", "staffetta.v1.event.acme.x.y", b"{}"), NotReplayable::NoWayBack);
        assert_eq!(why("dispatcher", LANE, b"{}"), NotReplayable::NoCommandId);
        for subject in [
            "staffetta.v1.send.other.acme-orders.normal",
            "staffetta.v1.wake.acme.acme-orders.normal",
            "staffetta.v1.webhook.0",
        ] {
            assert_eq!(why("dispatcher", subject, br#"{"id":"a"}"#), NotReplayable::ForeignSubject);
        }
    }
}
