//! Webhook bodies: the envelope, its form on the wire, its signature.

use std::sync::Arc;

use aws_lc_rs::hmac;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::escape::escape;
use crate::graph_error::StatusError;
use crate::options::{Behaviour, Signing, WebhookTarget};
use crate::templates::TemplateCategory;

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
    /// A status, with its user where that is told.
    Status(Option<Arc<Contact>>, Arc<Status>),
    Message(Arc<Contact>, Arc<RawValue>),
    /// A change that is neither a message nor a status.
    Notice(Arc<Notice>),
    /// A whole body, as given: signed and posted as it is.
    Raw(Arc<str>),
}

/// A change of a field other than `messages`, with the time that its entry carries.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) field: &'static str,
    pub(crate) time: u64,
    pub(crate) value: serde_json::Value,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Pricing {
    pub(crate) billable: bool,
    pub(crate) pricing_model: &'static str,
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) category: &'static str,
}

impl Pricing {
    /// What a template of this category costs, or a free-form message.
    pub(crate) fn of(template: Option<TemplateCategory>) -> Self {
        let (billable, kind, category) = match template {
            None => (false, "free_customer_service", "service"),
            Some(category) => (true, "regular", category.name()),
        };
        Self { billable, pricing_model: "PMP", kind, category }
    }
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

#[derive(Debug, Default, Serialize)]
pub(crate) struct Profile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    object: &'static str,
    entry: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<u64>,
    changes: Vec<Change<'a>>,
}

#[derive(Serialize)]
struct Change<'a> {
    value: Value<'a>,
    field: &'static str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Value<'a> {
    Messages(Messages<'a>),
    Notice(&'a serde_json::Value),
}

#[derive(Serialize)]
struct Messages<'a> {
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
        match &self.item {
            Item::Status(contact, status) => {
                let value = envelope.messages(source);
                value.contacts.extend(contact.as_deref());
                value.statuses.push(status);
            }
            Item::Message(contact, message) => {
                let value = envelope.messages(source);
                value.contacts.push(contact);
                value.messages.push(message);
            }
            Item::Notice(notice) => {
                let change = Change { value: Value::Notice(&notice.value), field: notice.field };
                let time = Some(notice.time);
                envelope.entry.push(Entry { id: &source.waba_id, time, changes: vec![change] });
            }
            Item::Raw(_) => {} // never shares a body
        }
    }
}

impl<'a> Envelope<'a> {
    /// Where the messages and statuses of this number go.
    fn messages(&mut self, source: &'a Source) -> &mut Messages<'a> {
        // Entries with a time are notices.
        let same = |entry: &Entry<'_>| entry.id == source.waba_id && entry.time.is_none();
        let at = self.entry.iter().position(same).unwrap_or_else(|| {
            self.entry.push(Entry { id: &source.waba_id, time: None, changes: Vec::new() });
            self.entry.len() - 1
        });
        let changes = &mut self.entry[at].changes;
        let same = |change: &Change<'_>| match &change.value {
            Value::Messages(value) => value.metadata.phone_number_id == &*source.phone_number_id,
            Value::Notice(_) => false,
        };
        let at = changes.iter().position(same).unwrap_or_else(|| {
            changes.push(Change { value: Value::Messages(Messages::of(source)), field: "messages" });
            changes.len() - 1
        });
        match &mut changes[at].value {
            Value::Messages(value) => value,
            Value::Notice(_) => unreachable!("the place was found or made as one of messages"),
        }
    }
}

impl<'a> Messages<'a> {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_shares_a_post_but_no_entry_with_messages() {
        let target = WebhookTarget { url: "http://localhost/".to_owned(), app_secret: "s".to_owned() };
        let source = Arc::new(Source {
            phone_number_id: "100".into(),
            display_phone_number: "39".to_owned(),
            waba_id: "9".to_owned(),
            target,
        });
        let behaviour = Arc::new(Behaviour::default());
        let update = |item| Update { source: source.clone(), behaviour: behaviour.clone(), item };
        let message = |text: &str| {
            let contact = Contact { profile: Profile::default(), wa_id: None, user_id: None };
            let message = serde_json::value::to_raw_value(text).unwrap();
            update(Item::Message(contact.into(), message.into()))
        };
        let notice = Notice { field: "user_preferences", time: 5, value: json!({ "a": 1 }) };
        let updates = [message("1"), update(Item::Notice(notice.into())), message("2")];
        let body: serde_json::Value =
            serde_json::from_str(&body(&updates, Signing::Escaped).unwrap()).unwrap();
        let [messages, notice] = body["entry"].as_array().unwrap().as_slice() else { panic!("two entries") };
        assert_eq!((&messages["id"], &messages["time"]), (&json!("9"), &json!(null)));
        assert_eq!(messages["changes"][0]["value"]["messages"], json!(["1", "2"]));
        let changes = json!([{ "value": { "a": 1 }, "field": "user_preferences" }]);
        assert_eq!(*notice, json!({ "id": "9", "time": 5, "changes": changes }));
    }
}
