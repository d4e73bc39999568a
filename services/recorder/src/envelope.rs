//! From envelopes to leaves, and to letters about what can't become one.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::sync::Arc;

use async_nats::jetstream::Message;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use prost::Message as _;
use staffetta_bus::{Channel, DeadLetter, Encoding, Registry, replay_of};
use staffetta_domain::{EventId, Leaf, TraceParent};
use staffetta_proto::json::from_timestamp;
use staffetta_proto::v1::{BodyEncoding, Provider, RawWebhook, WebhookEnvelope};
use staffetta_providers::webhook::{Found, LeafKind, Part, parse};
use staffetta_runtime::trace::{Span, Step};

use crate::routing::{hears, owners};

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
    /// The work on each webhook, where somebody wants to know of it.
    pub(crate) spans: Vec<Span>,
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
    /// When ingress received it; when it was taken apart if nothing says so.
    pub(crate) received_at: Timestamp,
    /// The work on it, in its trace.
    pub(crate) trace: Option<TraceParent>,
}

impl Carrier {
    fn of(subject: &str, webhook: &RawWebhook, trace: Option<TraceParent>) -> Self {
        Self {
            trace,
            subject: subject.to_owned(),
            webhook: webhook.id.clone(),
            provider: webhook.provider(),
            source: webhook.source.clone(),
            replay_of: webhook.replay_of.clone(),
            received_at: webhook.received_at.as_ref().and_then(from_timestamp).unwrap_or_else(Timestamp::now),
        }
    }

    pub(crate) fn is_replay(&self) -> bool {
        !self.replay_of.is_empty()
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
        let mut span = process_span(&webhook);
        let before = self.leaves.len();
        self.take_apart(Carrier::of(subject, &webhook, span.context()), &webhook, registry);
        if span.is_recording() {
            span.set("staffetta.webhook.leaves", (self.leaves.len() - before) as i64);
            self.spans.push(span);
        }
    }

    fn take_apart(&mut self, carrier: Carrier, webhook: &RawWebhook, registry: &Registry) {
        // How long a replayed one lay on DEAD is nobody's lag.
        if !carrier.is_replay() {
            self.arrivals.push(carrier.received_at);
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
        let body = match body(webhook) {
            Ok(body) => body,
            Err(problem) => {
                let detail = format!("webhook {}: {problem}", webhook.id);
                return self.letters.push(packed("malformed", detail, webhook.body.clone()));
            }
        };
        let came = self.carriers.len();
        for part in parse(&body, carrier.received_at) {
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
        let heard = |channel: &Arc<Channel>| hears(registry, &carrier.source, channel);
        let owners: Vec<_> = owners.into_iter().filter(heard).collect();
        if owners.is_empty() {
            let detail = format!(
                "webhook {}: its app is not registered, or belongs to a tenant that does not own the number or account of this {} leaf",
                carrier.webhook,
                found.kind().as_str()
            );
            return self.letters.push(letter("foreign_app", detail, carrier, found.webhook()));
        }
        for channel in owners {
            let mut leaf = found.leaf(&channel.tenant.id, &channel.id);
            leaf.event.trace = carrier.trace;
            if let Some(settles) = &mut leaf.settles {
                settles.accepted.trace = carrier.trace;
            }
            self.leaves.push(leaf);
            self.origins.push(Origin { kind: found.kind(), found: self.found.len(), came });
        }
        self.found.push(found);
    }
}

/// The work on a webhook, in the trace of the request that brought it.
fn process_span(webhook: &RawWebhook) -> Span {
    let mut span = Span::start(Step::Consumer, "process WEBHOOKS", webhook.traceparent.parse().ok());
    if span.is_recording() {
        span.processes("WEBHOOKS");
        span.set("messaging.consumer.group.name", "recorder");
        span.set("staffetta.webhook.id", webhook.id.clone());
    }
    span
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

/// How many bytes an envelope's bodies have, unpacked: in packed ones a thousand may stand for one.
pub(crate) fn weight(envelope: &Message) -> usize {
    let Ok(envelope) = WebhookEnvelope::decode(envelope.payload.clone()) else {
        return envelope.payload.len();
    };
    envelope.webhooks.iter().map(unpacked_len).sum()
}

/// A packed body ends with its length.
fn unpacked_len(webhook: &RawWebhook) -> usize {
    match (webhook.encoding(), webhook.body.last_chunk()) {
        (BodyEncoding::Gzip, Some(length)) => u64::from(u32::from_le_bytes(*length)).min(MAX_BODY) as usize,
        _ => webhook.body.len(),
    }
}

/// What of a message is not a letter's payload, at most.
const BESIDE_PAYLOAD: usize = 8 << 10;

/// The letter, its payload packed if it would not fit into a message of `largest` bytes otherwise: ingress may have
/// packed the body too.
pub(crate) fn fitting(letter: &DeadLetter, largest: usize) -> Cow<'_, DeadLetter> {
    let packed = match &letter.origin {
        staffetta_bus::Origin::Webhook { provider, source, encoding: BodyEncoding::Unspecified }
            if letter.payload.len() + BESIDE_PAYLOAD > largest =>
        {
            let (provider, source, encoding) = (*provider, source.clone(), BodyEncoding::Gzip);
            let origin = staffetta_bus::Origin::Webhook { provider, source, encoding };
            pack(&letter.payload).ok().map(|payload| DeadLetter { payload, origin, ..letter.clone() })
        }
        _ => None,
    };
    packed.map_or(Cow::Borrowed(letter), Cow::Owned)
}

fn pack(body: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body)?;
    Ok(encoder.finish()?.into())
}

/// A letter about something that nobody is known to own. The same payload given up for the same reason is the same
/// letter, but not the letter that was replayed and has died again: that one is deleted by its number, and a new one
/// under its id would be taken for a repeat.
pub(crate) fn letter(reason: &'static str, detail: String, carrier: &Carrier, payload: Bytes) -> DeadLetter {
    let exact = exact(&payload);
    let mut key = vec!["dead", "recorder", reason, &exact];
    // What Meta sends is the same through whichever app. What others send says nowhere for whom it is.
    let foreign = !matches!(carrier.provider, Provider::Meta | Provider::Unspecified);
    if foreign {
        key.extend([carrier.provider.as_str_name(), &carrier.source]);
    }
    if carrier.is_replay() {
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

/// The bytes as a text that no other bytes have.
fn exact(bytes: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => "not a text: ".chars().chain(bytes.iter().map(|byte| char::from(*byte))).collect(),
    }
}

/// A letter about a leaf that the database refuses. An account's leaf may be refused to several tenants: each has its
/// own.
pub(crate) fn refusal(contents: &Contents, index: usize) -> DeadLetter {
    let origin = &contents.origins[index];
    let event = &contents.leaves[index].event;
    let payload = contents.found[origin.found].webhook();
    let detail = format!("event {} is refused by the database", event.id);
    let carrier = &contents.carriers[origin.came];
    DeadLetter {
        id: EventId::of(&["dead", "recorder", "refused", event.id.as_str(), &carrier.replay_of]),
        tenant: Some(event.tenant.clone()),
        channel: Some(event.channel.clone()),
        ..letter("refused", detail, carrier, payload)
    }
}
