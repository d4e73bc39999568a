//! From envelopes to leaves, and to letters about what can't become one.

use std::io::Read;

use async_nats::jetstream::Message;
use bytes::Bytes;
use flate2::read::GzDecoder;
use jiff::Timestamp;
use prost::Message as _;
use staffetta_bus::{DeadLetter, Encoding, Registry};
use staffetta_domain::{EventId, Leaf};
use staffetta_proto::json::from_timestamp;
use staffetta_proto::v1::{BodyEncoding, Provider, RawWebhook, WebhookEnvelope};
use staffetta_providers::webhook::{Found, LeafKind, Part, parse};

use crate::routing::owners;

/// Largest body that Meta sends, and that ingress takes.
const MAX_BODY: u64 = 3 << 20;

/// What some envelopes held, in order.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) leaves: Vec<Leaf>,
    /// Where each leaf came from.
    pub(crate) origins: Vec<Origin>,
    pub(crate) found: Vec<Found>,
    pub(crate) letters: Vec<DeadLetter>,
    /// When each webhook arrived.
    pub(crate) arrivals: Vec<Timestamp>,
}

/// Where a leaf came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) kind: LeafKind,
    /// Its place among the found.
    pub(crate) found: usize,
}

impl Contents {
    /// Takes the envelopes apart. A leaf goes to whoever owns its number in `registry`.
    pub(crate) fn of(envelopes: &[Message], registry: &Registry) -> Self {
        let mut contents = Self::default();
        for message in envelopes {
            contents.add_envelope(&message.subject, &message.payload, registry);
        }
        contents
    }

    fn add_envelope(&mut self, subject: &str, payload: &Bytes, registry: &Registry) {
        match WebhookEnvelope::decode(payload.clone()) {
            Ok(envelope) => {
                for webhook in envelope.webhooks {
                    self.add_webhook(subject, webhook, registry);
                }
            }
            Err(_) => {
                let detail = "is not a staffetta.v1.WebhookEnvelope".to_owned();
                self.letters.push(DeadLetter {
                    encoding: Encoding::Protobuf,
                    ..letter("malformed", detail, subject, payload.clone())
                });
            }
        }
    }

    fn add_webhook(&mut self, subject: &str, webhook: RawWebhook, registry: &Registry) {
        let received_at =
            webhook.received_at.as_ref().and_then(from_timestamp).unwrap_or_else(Timestamp::now);
        self.arrivals.push(received_at);
        if webhook.provider() != Provider::Meta {
            let detail = format!("webhook {} is of a provider that is not supported yet", webhook.id);
            return self.letters.push(letter("unsupported_provider", detail, subject, webhook.body));
        }
        let body = match body(&webhook) {
            Ok(body) => body,
            Err(problem) => {
                let detail = format!("webhook {}: {problem}", webhook.id);
                return self.letters.push(letter("malformed", detail, subject, webhook.body));
            }
        };
        for part in parse(&body, received_at) {
            match part {
                Part::Found(found) => self.add_found(subject, &webhook.id, found, registry),
                Part::Broken(broken) => {
                    let detail = format!("webhook {}: {} {}", webhook.id, broken.place, broken.problem);
                    self.letters.push(letter("malformed", detail, subject, broken.payload));
                }
            }
        }
    }

    fn add_found(&mut self, subject: &str, webhook: &str, found: Found, registry: &Registry) {
        let owners = owners(registry, &found.address());
        if owners.is_empty() {
            let detail = format!(
                "webhook {webhook}: no channel has the number or account of this {} leaf",
                found.kind().as_str()
            );
            return self.letters.push(letter("unrouted", detail, subject, found.webhook()));
        }
        for channel in owners {
            self.leaves.push(found.leaf(&channel.tenant.id, &channel.id));
            self.origins.push(Origin { kind: found.kind(), found: self.found.len() });
        }
        self.found.push(found);
    }
}

/// The body as it came to ingress.
fn body(webhook: &RawWebhook) -> Result<Bytes, &'static str> {
    match BodyEncoding::try_from(webhook.encoding) {
        Ok(BodyEncoding::Unspecified) => Ok(webhook.body.clone()),
        Ok(BodyEncoding::Gzip) => {
            let mut body = Vec::new();
            let unpacked = GzDecoder::new(&*webhook.body).take(MAX_BODY + 1).read_to_end(&mut body);
            unpacked.map_err(|_| "its body can't be unpacked")?;
            if body.len() as u64 > MAX_BODY { Err("its body is larger than 3 MiB") } else { Ok(body.into()) }
        }
        Err(_) => Err("its body is written in an unknown way"),
    }
}

/// A letter about something that nobody is known to own. The same payload given up for the same reason is the same
/// letter.
pub(crate) fn letter(reason: &'static str, detail: String, subject: &str, payload: Bytes) -> DeadLetter {
    DeadLetter {
        id: EventId::of(&["dead", "recorder", reason, &String::from_utf8_lossy(&payload)]),
        service: "recorder",
        tenant: None,
        channel: None,
        reason,
        detail,
        subject: subject.to_owned(),
        encoding: Encoding::Json,
        payload,
        time: Timestamp::now(),
    }
}
