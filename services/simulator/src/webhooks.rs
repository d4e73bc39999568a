//! Webhook bodies: the envelope, its form on the wire, its signature.

use std::sync::Arc;

use aws_lc_rs::hmac;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::escape::escape;
use crate::graph_error::StatusError;
use crate::options::{Behaviour, Signing, WebhookTarget};

/// One thing to tell a webhook: a status or a message of one number.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    pub(crate) source: Arc<Source>,
    pub(crate) behaviour: Arc<Behaviour>,
    pub(crate) item: Item,
}

/// Whose updates they are, and where they go.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) phone_number_id: Arc<str>,
    pub(crate) display_phone_number: String,
    pub(crate) waba_id: String,
    pub(crate) target: WebhookTarget,
}

#[derive(Clone, Debug)]
pub(crate) enum Item {
    Status(Arc<Status>),
    Message(Arc<Contact>, Arc<RawValue>),
    /// A whole body, as given: signed and posted as it is.
    Raw(Arc<str>),
}

/// An element of `statuses[]`.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    pub(crate) id: String,
    pub(crate) status: &'static str,
    pub(crate) timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recipient_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recipient_user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) biz_opaque_callback_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pricing: Option<Pricing>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<StatusError>,
}

/// What a message costs.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Pricing {
    pub(crate) billable: bool,
    pub(crate) pricing_model: &'static str,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) category: &'static str,
}

/// An element of `contacts[]`.
#[derive(Debug, Serialize)]
pub(crate) struct Contact {
    pub(crate) profile: Profile,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wa_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_id: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Profile {
    pub(crate) name: String,
}

#[derive(Serialize)]
struct Envelope<'a> {
    object: &'static str,
    entry: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    id: &'a str,
    changes: Vec<Change<'a>>,
}

#[derive(Serialize)]
struct Change<'a> {
    value: Value<'a>,
    field: &'static str,
}

#[derive(Serialize)]
struct Value<'a> {
    messaging_product: &'static str,
    metadata: Metadata<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contacts: Vec<&'a Contact>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<&'a RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statuses: Vec<&'a Status>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    display_phone_number: &'a str,
    phone_number_id: &'a str,
}

/// The bytes of a POST that carries these updates: an entry per account, a change per number.
///
/// A raw body stands alone: only the first of `updates` counts then.
pub(crate) fn body(updates: &[Update], signing: Signing) -> Result<String, serde_json::Error> {
    if let Some(Update { item: Item::Raw(body), .. }) = updates.first() {
        return Ok(body.to_string());
    }
    let mut envelope = Envelope { object: "whatsapp_business_account", entry: Vec::new() };
    for update in updates {
        update.put_into(&mut envelope);
    }
    let json = serde_json::to_string(&envelope)?;
    Ok(match signing {
        Signing::Escaped => escape(&json),
        Signing::Utf8 => json,
    })
}

impl Update {
    fn put_into<'a>(&'a self, envelope: &mut Envelope<'a>) {
        let source = &*self.source;
        let entries = &mut envelope.entry;
        let at = entries.iter().position(|entry| entry.id == source.waba_id).unwrap_or_else(|| {
            entries.push(Entry { id: &source.waba_id, changes: Vec::new() });
            entries.len() - 1
        });
        let changes = &mut entries[at].changes;
        let same = |change: &Change<'_>| change.value.metadata.phone_number_id == &*source.phone_number_id;
        let at = changes.iter().position(same).unwrap_or_else(|| {
            changes.push(Change { value: Value::of(source), field: "messages" });
            changes.len() - 1
        });
        let value = &mut changes[at].value;
        match &self.item {
            Item::Status(status) => value.statuses.push(status),
            Item::Message(contact, message) => {
                value.contacts.push(contact);
                value.messages.push(message);
            }
            Item::Raw(_) => {} // never shares a body
        }
    }
}

impl<'a> Value<'a> {
    fn of(source: &'a Source) -> Self {
        Self {
            messaging_product: "whatsapp",
            metadata: Metadata {
                display_phone_number: &source.display_phone_number,
                phone_number_id: &source.phone_number_id,
            },
            contacts: Vec::new(),
            messages: Vec::new(),
            statuses: Vec::new(),
        }
    }
}

/// The value of `X-Hub-Signature-256` for exactly these bytes.
pub(crate) fn signature(app_secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, app_secret.as_bytes());
    format!("sha256={}", hex::encode(hmac::sign(&key, body)))
}
