//! Format `form`: flat fields, as a web service of an ERP's takes them that knows no JSON.

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::ExposeSecret;
use serde_json::Value;
use staffetta_bus::{Channel, Encoding, Webhook, event_message};
use staffetta_domain::{Event, EventType, Object};

use super::{Prepared, Unfit};
use crate::sign;

pub(super) fn write(
    webhook: &Webhook,
    event: &Event,
    channel: Option<&Channel>,
    now: Timestamp,
) -> Result<Prepared, Unfit> {
    const KIND: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
    let (_, payload) = event_message(event, Encoding::Json);
    let mut form = Form::default();
    form.add("ticket", webhook.ticket.as_ref().map(|ticket| ticket.expose_secret()).unwrap_or_default());
    form.add("context_string", webhook.context_string.as_deref().unwrap_or_default());
    for (name, value) in fields(event, channel) {
        form.add(name, &value);
    }
    form.add("payload", &String::from_utf8_lossy(&payload));
    let body = Bytes::from(form.0);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, KIND);
    sign::standard_webhooks(&mut headers, &webhook.secrets, event.id.as_str(), now, &body)?;
    Ok(Prepared { headers, body })
}

/// What an event comes down to. Every request has every field, in this order: a web service with a fixed list of
/// parameters refuses a request that lacks one.
fn fields(event: &Event, channel: Option<&Channel>) -> Vec<(&'static str, String)> {
    let data = &event.data;
    let own = channel.and_then(|channel| channel.display_phone_number.as_deref()).unwrap_or_default();
    let (from, to) = ends(event, own);
    let media = |name: &str| at(data, &["media", name]);
    vec![
        ("event", event.kind.as_str().into()),
        ("id", event.id.as_str().into()),
        ("time", event.time.to_string()),
        ("tenant", event.tenant.to_string()),
        ("channel", event.channel.to_string()),
        ("conversation_id", at(data, &["conversation_id"])),
        ("sequence", at(data, &["sequence"])),
        ("from", from),
        ("to", to),
        ("name", at(data, &["name"])),
        ("message_type", at(data, &["type"])),
        ("text", text(data)),
        ("caption", media("caption")),
        ("media_id", media("id")),
        ("media_mime_type", media("mime_type")),
        ("media_filename", media("filename")),
        ("status", at(data, &["status"])),
        ("wamid", at(data, &["wamid"])),
        ("command_id", at(data, &["command_id"])),
        ("callback_data", at(data, &["callback_data"])),
        ("error_code", first(data, &[&["error", "code"], &["errors", "0", "code"], &["code"]])),
        (
            "error_text",
            first(
                data,
                &[
                    &["error", "details"],
                    &["error", "title"],
                    &["error", "message"],
                    &["errors", "0", "title"],
                    &["reason"],
                ],
            ),
        ),
    ]
}

/// Who wrote to whom, by number, or by the business-scoped id of a user who shows none. Digits alone.
fn ends(event: &Event, own: &str) -> (String, String) {
    let data = &event.data;
    let own = || own.chars().filter(char::is_ascii_digit).collect::<String>();
    match event.kind {
        EventType::MessageReceived | EventType::MessageEdited | EventType::MessageDeleted => {
            (first(data, &[&["from"], &["user_id"]]), own())
        }
        EventType::MessageEchoed => (own(), first(data, &[&["to"], &["to_user_id"]])),
        EventType::MessageStatus | EventType::CommandAccepted => {
            (own(), first(data, &[&["recipient"], &["recipient_user_id"]]))
        }
        _ => (at(data, &["from"]), at(data, &["to"])),
    }
}

/// The words of a message, wherever its type keeps them.
fn text(data: &Object) -> String {
    first(
        data,
        &[
            &["text", "body"],
            &["reply", "title"],
            &["reaction", "emoji"],
            &["message", "text", "body"],
            &["order", "text"],
            &["system", "body"],
        ],
    )
}

/// The first of these places where something stands.
fn first(data: &Object, places: &[&[&str]]) -> String {
    places.iter().map(|place| at(data, place)).find(|text| !text.is_empty()).unwrap_or_default()
}

/// The text or the number at that place; nothing where there is neither.
fn at(data: &Object, place: &[&str]) -> String {
    let Some((name, rest)) = place.split_first() else { return String::new() };
    let inner = rest.iter().try_fold(data.get(*name), |value, name| match value? {
        Value::Array(items) => name.parse::<usize>().ok().map(|index| items.get(index)),
        value => Some(value.get(*name)),
    });
    match inner.flatten() {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// Fields as `application/x-www-form-urlencoded` has them.
#[derive(Default)]
struct Form(String);

impl Form {
    fn add(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.escaped(name);
        self.0.push('=');
        self.escaped(value);
    }

    fn escaped(&mut self, text: &str) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        for byte in text.bytes() {
            match byte {
                b' ' => self.0.push('+'),
                b'*' | b'-' | b'.' | b'_' => self.0.push(char::from(byte)),
                _ if byte.is_ascii_alphanumeric() => self.0.push(char::from(byte)),
                _ => {
                    let digits = [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
                    self.0.push('%');
                    self.0.extend(digits.map(char::from));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use reqwest::Url;
    use serde_json::json;
    use staffetta_bus::{EndpointFormat, decode_event};
    use staffetta_domain::EventId;

    use super::*;

    fn webhook(secrets: Vec<secrecy::SecretString>) -> Webhook {
        Webhook {
            url: "https://erp.example/WebHook.asmx/Receive".into(),
            format: EndpointFormat::Form,
            secrets,
            ticket: Some("T-1 & Söhne".into()),
            context_string: Some("azienda=1;anno=2026".into()),
        }
    }

    fn event(kind: EventType, data: Value) -> Event {
        Event {
            id: EventId::of(&["e"]),
            tenant: "acme".parse().unwrap(),
            channel: "acme-orders".parse().unwrap(),
            kind,
            time: "2026-11-21T09:30:00Z".parse().unwrap(),
            subject: "wamid.A".into(),
            data: data.as_object().unwrap().clone(),
            trace: None,
        }
    }

    /// The fields as another program reads them.
    fn read(body: &[u8]) -> BTreeMap<String, String> {
        let query = std::str::from_utf8(body).unwrap();
        let url = Url::parse(&format!("http://a.example/?{query}")).unwrap();
        url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }

    #[test]
    fn a_message_is_told_in_flat_fields() {
        let data = json!({"conversation_id": "c42", "sequence": 7, "type": "document", "from": "447700900123",
                          "name": "Ada & Sons +1", "wamid": "wamid.A=",
                          "media": {"id": "m1", "mime_type": "application/pdf", "filename": "Fattura n° 7.pdf",
                                    "caption": "ecco 100% 😮\nriga"}});
        let event = event(EventType::MessageReceived, data);
        let Prepared { headers, body } = write(&webhook(vec![]), &event, None, Timestamp::now()).unwrap();
        assert_eq!(headers[CONTENT_TYPE], "application/x-www-form-urlencoded");
        assert!(!headers.contains_key("webhook-signature"));
        let fields = read(&body);
        for (name, value) in [
            ("ticket", "T-1 & Söhne"),
            ("context_string", "azienda=1;anno=2026"),
            ("event", "staffetta.message.received"),
            ("id", event.id.as_str()),
            ("time", "2026-11-21T09:30:00Z"),
            ("tenant", "acme"),
            ("channel", "acme-orders"),
            ("conversation_id", "c42"),
            ("sequence", "7"),
            ("from", "447700900123"),
            ("to", ""),
            ("name", "Ada & Sons +1"),
            ("message_type", "document"),
            ("text", ""),
            ("caption", "ecco 100% 😮\nriga"),
            ("media_id", "m1"),
            ("media_mime_type", "application/pdf"),
            ("media_filename", "Fattura n° 7.pdf"),
            ("wamid", "wamid.A="),
            ("status", ""),
        ] {
            assert_eq!(fields[name], value, "{name}");
        }
        assert!(decode_event(Encoding::Json, fields["payload"].as_bytes()).unwrap() == event);
    }

    #[test]
    fn every_request_has_the_same_fields() {
        let names = |kind, data| {
            let body = write(&webhook(vec![]), &event(kind, data), None, Timestamp::now()).unwrap().body;
            read(&body).into_keys().collect::<Vec<_>>()
        };
        let least = names(EventType::TemplateChanged, json!({}));
        assert_eq!(least.len(), 25);
        assert_eq!(least, names(EventType::MessageReceived, json!({"type": "text", "text": {"body": "a"}})));
    }

    #[test]
    fn an_error_and_whom_it_is_about_are_told() {
        let of = |kind, data| {
            let body = write(&webhook(vec![]), &event(kind, data), None, Timestamp::now()).unwrap().body;
            read(&body)
        };
        let status = of(
            EventType::MessageStatus,
            json!({"status": "failed", "recipient": "447700900123", "command_id": "inv-1",
                   "error": {"code": 131047, "title": "Re-engagement message", "details": "More than 24 hours"}}),
        );
        assert_eq!((&*status["to"], &*status["status"]), ("447700900123", "failed"));
        assert_eq!((&*status["error_code"], &*status["error_text"]), ("131047", "More than 24 hours"));
        let ended = of(
            EventType::CommandRejected,
            json!({"command_id": "inv-1", "code": "window_closed", "reason": "the window is shut"}),
        );
        assert_eq!((&*ended["error_code"], &*ended["error_text"]), ("window_closed", "the window is shut"));
        assert_eq!(ended["command_id"], "inv-1");
    }

    #[test]
    fn with_a_secret_it_is_signed() {
        let event = event(EventType::MessageReceived, json!({}));
        let prepared = write(&webhook(vec!["geheim".into()]), &event, None, Timestamp::now()).unwrap();
        let key = standardwebhooks::Webhook::from_bytes(b"geheim".to_vec()).unwrap();
        key.verify(&prepared.body, &prepared.headers).unwrap();
    }
}
