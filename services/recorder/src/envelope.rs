//! From envelopes to leaves, and to letters about what can't become one.

use std::io::Read;

use async_nats::jetstream::Message;
use bytes::Bytes;
use flate2::read::GzDecoder;
use jiff::Timestamp;
use prost::Message as _;
use staffetta_bus::{DeadLetter, Encoding, Registry, replay_of};
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
    /// The webhooks that the leaves came in.
    pub(crate) carriers: Vec<Carrier>,
    /// When each webhook that is not a replay arrived.
    pub(crate) arrivals: Vec<Timestamp>,
}

/// Where a leaf came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) kind: LeafKind,
    /// Its place among the found.
    pub(crate) found: usize,
    /// Its webhook's place among the carriers.
    pub(crate) came: usize,
}

/// The webhook that something came in, as letters name it.
#[derive(Debug, Default)]
pub(crate) struct Carrier {
    subject: String,
    webhook: String,
    provider: Provider,
    source: String,
    /// The letter that it was before it was replayed; empty if it was none.
    replay_of: String,
}

impl Carrier {
    fn of(subject: &str, webhook: &RawWebhook) -> Self {
        Self {
            subject: subject.to_owned(),
            webhook: webhook.id.clone(),
            provider: webhook.provider(),
            source: webhook.source.clone(),
            replay_of: webhook.replay_of.clone(),
        }
    }

    fn origin(&self, encoding: BodyEncoding) -> staffetta_bus::Origin {
        staffetta_bus::Origin::Webhook { provider: self.provider, source: self.source.clone(), encoding }
    }
}

impl Contents {
    /// Takes the envelopes apart. A leaf goes to whoever owns its number in `registry`.
    pub(crate) fn of(envelopes: &[Message], registry: &Registry) -> Self {
        let mut contents = Self::default();
        for message in envelopes {
            contents.add_envelope(message, registry);
        }
        contents
    }

    fn add_envelope(&mut self, message: &Message, registry: &Registry) {
        let (subject, payload) = (&message.subject, &message.payload);
        match WebhookEnvelope::decode(payload.clone()) {
            Ok(envelope) => {
                for webhook in envelope.webhooks {
                    self.add_webhook(subject, webhook, registry);
                }
            }
            Err(_) => {
                let carrier = Carrier {
                    subject: subject.to_string(),
                    replay_of: replay_of(message.headers.as_ref()).to_owned(),
                    ..Carrier::default()
                };
                let detail = "is not a staffetta.v1.WebhookEnvelope".to_owned();
                self.letters.push(DeadLetter {
                    encoding: Encoding::Protobuf,
                    origin: staffetta_bus::Origin::Other,
                    ..letter("malformed", detail, &carrier, payload.clone())
                });
            }
        }
    }

    fn add_webhook(&mut self, subject: &str, webhook: RawWebhook, registry: &Registry) {
        let carrier = Carrier::of(subject, &webhook);
        let received_at =
            webhook.received_at.as_ref().and_then(from_timestamp).unwrap_or_else(Timestamp::now);
        // How long a replayed one lay on DEAD is nobody's lag.
        if carrier.replay_of.is_empty() {
            self.arrivals.push(received_at);
        }
        // Packed as it came, where it can't be unpacked.
        let packed = |reason, detail, body| DeadLetter {
            origin: carrier.origin(webhook.encoding()),
            ..letter(reason, detail, &carrier, body)
        };
        if webhook.provider() != Provider::Meta {
            let detail = format!("webhook {} is of a provider that is not supported yet", webhook.id);
            return self.letters.push(packed("unsupported_provider", detail, webhook.body.clone()));
        }
        let body = match body(&webhook) {
            Ok(body) => body,
            Err(problem) => {
                let detail = format!("webhook {}: {problem}", webhook.id);
                return self.letters.push(packed("malformed", detail, webhook.body.clone()));
            }
        };
        let came = self.carriers.len();
        for part in parse(&body, received_at) {
            match part {
                Part::Found(found) => self.add_found(&carrier, came, found, registry),
                Part::Broken(broken) => {
                    let detail = format!("webhook {}: {} {}", webhook.id, broken.place, broken.problem);
                    self.letters.push(letter("malformed", detail, &carrier, broken.payload));
                }
            }
        }
        self.carriers.push(carrier);
    }

    fn add_found(&mut self, carrier: &Carrier, came: usize, found: Found, registry: &Registry) {
        let owners = owners(registry, &found.address());
        if owners.is_empty() {
            let detail = format!(
                "webhook {}: no channel has the number or account of this {} leaf",
                carrier.webhook,
                found.kind().as_str()
            );
            return self.letters.push(letter("unrouted", detail, carrier, found.webhook()));
        }
        for channel in owners {
            self.leaves.push(found.leaf(&channel.tenant.id, &channel.id));
            self.origins.push(Origin { kind: found.kind(), found: self.found.len(), came });
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
/// letter, but not the letter that was replayed and has died again: that one is deleted by its number, and a new one
/// under its id would be taken for a repeat.
pub(crate) fn letter(reason: &'static str, detail: String, carrier: &Carrier, payload: Bytes) -> DeadLetter {
    let text = String::from_utf8_lossy(&payload);
    let mut key = vec!["dead", "recorder", reason, &text];
    if !carrier.replay_of.is_empty() {
        key.push(&carrier.replay_of);
    }
    DeadLetter {
        id: EventId::of(&key),
        service: "recorder",
        tenant: None,
        channel: None,
        reason,
        detail,
        subject: carrier.subject.clone(),
        encoding: Encoding::Json,
        origin: carrier.origin(BodyEncoding::Unspecified),
        payload,
        time: Timestamp::now(),
    }
}

/// A letter about a leaf that the database refuses.
pub(crate) fn refusal(contents: &Contents, index: usize) -> DeadLetter {
    let origin = &contents.origins[index];
    let event = &contents.leaves[index].event;
    let payload = contents.found[origin.found].webhook();
    let detail = format!("event {} is refused by the database", event.id);
    DeadLetter {
        tenant: Some(event.tenant.clone()),
        channel: Some(event.channel.clone()),
        ..letter("refused", detail, &contents.carriers[origin.came], payload)
    }
}
