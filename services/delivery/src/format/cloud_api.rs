//! Format `cloud_api`: what Meta itself would send, so that webhook code written for Meta works unchanged.
//!
//! An event keeps what WhatsApp sent in `raw`; that comes out again as it went in, in an envelope of its own. Two things
//! are told differently: our own text in `biz_opaque_callback_data` gives way to the tenant's, and a message that was
//! sent through the facade bears the id that the facade answered, for its client knows no other.

mod envelope;
mod failed;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use serde_json::Value;
use staffetta_bus::{Channel, Webhook};
use staffetta_domain::{Callback, CommandId, Event, EventType, FACADE_PREFIX, Object, Wamid, facade_wamid};
use staffetta_store::{SentFilter, Store, StoreError};

use super::{Prepared, Unfit};
use crate::sign;

/// What an event does not say itself, and Meta would.
#[derive(Default)]
pub(super) struct Around {
    waba_id: Option<String>,
    phone_number_id: Option<String>,
    display_phone_number: Option<String>,
    /// The facade's command whose message the event refers to.
    referred: Option<CommandId>,
    /// To whom the event's command goes.
    recipient: Option<String>,
}

impl Around {
    /// Looks up what is missing: nothing for most events.
    pub(super) async fn of(
        event: &Event,
        channel: Option<&Channel>,
        store: &Store,
    ) -> Result<Self, StoreError> {
        let mut around = Self::of_channel(channel);
        if let Some(command) = ended_command(event) {
            let record = store.command(&event.tenant, &command).await?;
            around.recipient = record.and_then(|record| record.user);
        } else if let Some(wamid) = referred_wamid(event) {
            let filter = SentFilter {
                channel: Some(event.channel.clone()),
                wamid: Some(wamid),
                ..SentFilter::default()
            };
            let page = store.sent(&event.tenant, &filter, None, 1).await?;
            let command = page.records.into_iter().next().map(|record| record.id);
            around.referred = command.filter(is_of_facade);
        }
        Ok(around)
    }

    fn of_channel(channel: Option<&Channel>) -> Self {
        let Some(channel) = channel else { return Self::default() };
        Self {
            waba_id: channel.waba_id.clone(),
            phone_number_id: channel.phone_number_id.clone(),
            display_phone_number: channel.display_phone_number.clone(),
            ..Self::default()
        }
    }
}

pub(super) fn write(webhook: &Webhook, event: &Event, around: &Around) -> Result<Prepared, Unfit> {
    const KIND: HeaderValue = HeaderValue::from_static("application/json");
    // By which some receivers know Meta.
    const AGENT: HeaderValue = HeaderValue::from_static("facebookexternalua");
    let body: Bytes = envelope::body(event, around).ok_or(Unfit::NoWords)?.into();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, KIND);
    headers.insert(USER_AGENT, AGENT);
    sign::meta(&mut headers, &webhook.secrets, &body);
    Ok(Prepared { headers, body })
}

fn is_of_facade(command: &CommandId) -> bool {
    command.as_str().starts_with(FACADE_PREFIX)
}

/// The command of the facade that ended here without a word from WhatsApp.
fn ended_command(event: &Event) -> Option<CommandId> {
    use EventType::{CommandExpired, CommandFailed, CommandRejected};
    let ended = matches!(event.kind, CommandExpired | CommandFailed | CommandRejected);
    let command: CommandId = event.subject.parse().ok().filter(|_| ended)?;
    Some(command).filter(is_of_facade)
}

/// The message of ours that the event refers to, where the event does not say whose it is.
fn referred_wamid(event: &Event) -> Option<Wamid> {
    let raw = event.data.get("raw")?;
    let place = match event.kind {
        EventType::MessageReceived | EventType::MessageEdited | EventType::MessageEchoed => {
            reference(raw).and_then(|(object, name)| raw.get(object)?.get(name))
        }
        // What is not the message's own status names no command.
        EventType::MessageStatus if event.data.contains_key("type") => raw.get("id"),
        _ => None,
    };
    place?.as_str()?.parse().ok()
}

/// Where a message names another one, by the names of the object and of its field.
fn reference(raw: &Value) -> Option<(&'static str, &'static str)> {
    [("context", "id"), ("reaction", "message_id")]
        .into_iter()
        .find(|(object, name)| raw.get(object).is_some_and(|object| object.get(name).is_some()))
}

/// What WhatsApp sent of a message, for a client that may know the message it refers to by another id.
fn message(event: &Event, around: &Around) -> Option<Value> {
    let mut raw = event.data.get("raw")?.clone();
    if let (Some(command), Some((object, name))) = (&around.referred, reference(&raw)) {
        raw[object][name] = facade_wamid(command).into();
    }
    Some(raw)
}

/// What WhatsApp sent of a status, its text and id as the tenant knows them.
fn status(event: &Event, around: &Around) -> Option<Value> {
    const TEXT: &str = "biz_opaque_callback_data";
    let mut raw = event.data.get("raw")?.clone();
    let fields = raw.as_object_mut()?;
    let ours = fields.get(TEXT).and_then(Value::as_str).and_then(Callback::decode);
    if ours.is_some() {
        match event.data.get("callback_data") {
            Some(own) => fields.insert(TEXT.into(), own.clone()),
            None => fields.remove(TEXT),
        };
    }
    let told = text(&event.data, "command_id").and_then(|id| id.parse().ok());
    let command = told.or(ours.map(|ours| ours.command)).or_else(|| around.referred.clone());
    if let Some(command) = command.filter(is_of_facade) {
        fields.insert("id".into(), facade_wamid(&command).into());
    }
    Some(raw)
}

/// A field that holds a text.
fn text<'a>(data: &'a Object, name: &str) -> Option<&'a str> {
    data.get(name)?.as_str()
}

#[cfg(test)]
mod tests;
