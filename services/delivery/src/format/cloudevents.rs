//! Format `cloudevents`: a CloudEvent in structured JSON, with the headers of Standard Webhooks.

use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use staffetta_bus::{Encoding, Webhook, event_message};
use staffetta_domain::Event;

use super::{Prepared, Unfit};
use crate::sign;

pub(super) fn write(webhook: &Webhook, event: &Event, now: Timestamp) -> Result<Prepared, Unfit> {
    const KIND: HeaderValue = HeaderValue::from_static("application/cloudevents+json; charset=utf-8");
    let (_, body) = event_message(event, Encoding::Json);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, KIND);
    sign::standard_webhooks(&mut headers, &webhook.secrets, event.id.as_str(), now, &body)?;
    Ok(Prepared { headers, body })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use staffetta_bus::{EndpointFormat, decode_event};
    use staffetta_domain::{EventId, EventType};

    use super::*;

    #[test]
    fn an_event_is_told_whole_and_signed_for_this_attempt() {
        let webhook = Webhook {
            url: "https://erp.acme.example/hooks".into(),
            format: EndpointFormat::CloudEvents,
            secrets: vec!["geheim".into()],
            ticket: None,
            context_string: None,
        };
        let event = Event {
            id: EventId::of(&["e"]),
            tenant: "acme".parse().unwrap(),
            channel: "acme-orders".parse().unwrap(),
            kind: EventType::MessageReceived,
            time: "2026-11-21T09:30:00Z".parse().unwrap(),
            subject: "wamid.A".into(),
            data: json!({"type": "text", "text": {"body": "Olá"}}).as_object().unwrap().clone(),
            trace: None,
        };
        let now = Timestamp::now();
        let Prepared { headers, body } = write(&webhook, &event, now).unwrap();
        assert_eq!(headers[CONTENT_TYPE], "application/cloudevents+json; charset=utf-8");
        assert_eq!(headers["webhook-id"], event.id.as_str());
        assert_eq!(headers["webhook-timestamp"], now.as_second().to_string());
        assert!(decode_event(Encoding::Json, &body).unwrap() == event);
        let key = standardwebhooks::Webhook::from_bytes(b"geheim".to_vec()).unwrap();
        key.verify(&body, &headers).unwrap();
    }
}
