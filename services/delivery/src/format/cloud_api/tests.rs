//! Against everything that Meta sends: what goes in as a webhook comes out as one that says the same.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use serde_json::json;
use staffetta_bus::{Encoding, EndpointFormat, decode_event, event_message};
use staffetta_domain::{ChannelId, EventId, Lane, TenantId};
use staffetta_providers::webhook::{Found, Part, parse};
use staffetta_store::{NewCommand, StoreOptions};

use super::*;

fn webhook() -> Webhook {
    Webhook {
        url: "https://erp.acme.example/webhook".into(),
        format: EndpointFormat::CloudApi,
        secrets: vec!["0123456789abcdef0123456789abcdef".into()],
        ticket: None,
        context_string: None,
    }
}

fn around() -> Around {
    Around {
        waba_id: Some("800100200300400".into()),
        phone_number_id: Some("900100200300400".into()),
        display_phone_number: Some("12025550100".into()),
        ..Around::default()
    }
}

fn event(kind: EventType, subject: &str, data: Value) -> Event {
    Event {
        id: EventId::of(&["e"]),
        tenant: "acme".parse().unwrap(),
        channel: "acme-orders".parse().unwrap(),
        kind,
        time: "2026-11-21T09:30:00Z".parse().unwrap(),
        subject: subject.into(),
        data: data.as_object().unwrap().clone(),
        trace: None,
    }
}

fn told(event: &Event, around: &Around) -> Option<Value> {
    envelope::body(event, around).map(|body| serde_json::from_str(&body).unwrap())
}

fn leaves(body: &[u8]) -> Vec<Found> {
    let parts = parse(body, Timestamp::UNIX_EPOCH).into_iter();
    parts.filter_map(|part| if let Part::Found(found) = part { Some(found) } else { None }).collect()
}

fn event_of(found: &Found) -> Event {
    let (tenant, channel): (TenantId, ChannelId) = ("acme".parse().unwrap(), "acme-orders".parse().unwrap());
    found.leaf(&tenant, &channel).event
}

#[test]
fn what_meta_sends_comes_out_as_meta_sent_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/providers/tests/fixtures");
    let mut seen = 0;
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        for found in leaves(&fs::read(&file).unwrap()) {
            let before = event_of(&found);
            let mut expected = before.data.clone();
            let text = expected["raw"].get("biz_opaque_callback_data").and_then(Value::as_str);
            if text.and_then(Callback::decode).is_some() {
                expected["raw"].as_object_mut().unwrap().remove("biz_opaque_callback_data");
            }
            let around = Around {
                display_phone_number: found.address().display_phone_number.map(str::to_owned),
                ..Around::default()
            };
            let on_the_bus = [Encoding::Json, Encoding::Protobuf]
                .map(|encoding| decode_event(encoding, &event_message(&before, encoding).1).unwrap());
            for event in on_the_bus {
                let body = envelope::body(&event, &around).unwrap();
                let mut after = leaves(body.as_bytes());
                assert_eq!(after.len(), 1, "{file:?} {body}");
                let after = event_of(&after.remove(0));
                assert_eq!(after.kind, before.kind, "{file:?}");
                assert_eq!(after.subject, before.subject, "{file:?}");
                assert_eq!(Value::Object(after.data), Value::Object(expected.clone()), "{file:?}");
                seen += 1;
            }
        }
    }
    assert!(seen > 200, "{seen}");
}

#[test]
fn the_envelope_is_meta_s_and_signed_as_meta_signs() {
    let raw = json!({"from": "447700900123", "id": "wamid.A", "timestamp": "1790000000", "type": "text",
                     "text": {"body": "Olá"}, "not_known": [1, {"deep": null}]});
    let contact = json!({"profile": {"name": "Ada"}, "wa_id": "447700900123"});
    let data = json!({"waba_id": "1", "phone_number_id": "2", "contact": contact, "raw": raw});
    let event = event(EventType::MessageReceived, "wamid.A", data);
    let Prepared { headers, body } = write(&webhook(), &event, &around()).unwrap();
    assert_eq!(headers[CONTENT_TYPE], "application/json");
    assert_eq!(headers[USER_AGENT], "facebookexternalua");
    assert!(headers["x-hub-signature-256"].to_str().unwrap().starts_with("sha256="));
    assert!(body.is_ascii());
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap(),
        json!({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "12025550100", "phone_number_id": "2"},
            "contacts": [contact], "messages": [raw]}}]}]})
    );
}

fn first<'a>(body: &'a Value, list: &str) -> &'a Value {
    &body["entry"][0]["changes"][0]["value"][list][0]
}

#[test]
fn a_status_says_the_tenant_s_text_and_not_ours() {
    let raw = json!({"id": "wamid.A", "status": "sent", "biz_opaque_callback_data": "st1:1:inv-1"});
    let mut event = event(
        EventType::MessageStatus,
        "wamid.A",
        json!({"raw": raw, "command_id": "inv-1", "callback_data": "order 7"}),
    );
    let status = json!({"id": "wamid.A", "status": "sent", "biz_opaque_callback_data": "order 7"});
    assert_eq!(first(&told(&event, &around()).unwrap(), "statuses"), &status);
    event.data.remove("callback_data");
    let status = json!({"id": "wamid.A", "status": "sent"});
    assert_eq!(first(&told(&event, &around()).unwrap(), "statuses"), &status);
    // Somebody else's message, with somebody else's text.
    event.data["raw"]["biz_opaque_callback_data"] = "theirs".into();
    event.data.remove("command_id");
    let told = told(&event, &around()).unwrap();
    assert_eq!(first(&told, "statuses")["biz_opaque_callback_data"], "theirs");
}

#[test]
fn a_message_of_the_facade_bears_the_facade_s_id() {
    let command: CommandId = "graph-0198c0ffee0074a0b1d2e3f405162738".parse().unwrap();
    let ours = facade_wamid(&command);
    // By what the event says, and by what came back with the status.
    for data in [
        json!({"raw": {"id": "wamid.A", "status": "read"}, "command_id": command.as_str()}),
        json!({"raw": {"id": "wamid.A", "status": "read",
                       "biz_opaque_callback_data": format!("st1:2:{command}")}}),
    ] {
        let told = told(&event(EventType::MessageStatus, "wamid.A", data), &around()).unwrap();
        assert_eq!(first(&told, "statuses"), &json!({"id": ours, "status": "read"}));
    }
    let around = Around { referred: Some(command), ..around() };
    for (raw, place) in [
        (json!({"id": "wamid.B", "context": {"from": "1", "id": "wamid.A"}}), "/context/id"),
        (
            json!({"id": "wamid.B", "type": "reaction", "reaction": {"message_id": "wamid.A"}}),
            "/reaction/message_id",
        ),
    ] {
        let event = event(EventType::MessageReceived, "wamid.B", json!({"raw": raw}));
        assert_eq!(referred_wamid(&event).unwrap().as_str(), "wamid.A");
        let told = told(&event, &around).unwrap();
        let message = first(&told, "messages");
        assert_eq!(message.pointer(place).unwrap(), &ours);
        assert_eq!(message["id"], "wamid.B");
    }
}

#[test]
fn the_end_of_a_facade_s_command_is_a_failed_status() {
    let data = json!({"command_id": "graph-1", "code": "refused", "reason": "the provider refused it",
                      "callback_data": "order 7",
                      "error": {"code": 131026, "message": "(#131026) Message undeliverable", "hint": "…"}});
    let failed = event(EventType::CommandFailed, "graph-1", data);
    let around = Around { recipient: Some("447700900123".into()), ..around() };
    let body = told(&failed, &around).unwrap();
    let value = &body["entry"][0]["changes"][0]["value"];
    assert_eq!(value["metadata"]["phone_number_id"], "900100200300400");
    assert_eq!(
        first(&body, "statuses"),
        &json!({"id": facade_wamid(&"graph-1".parse().unwrap()), "status": "failed", "timestamp": "1795253400",
                "recipient_id": "447700900123", "biz_opaque_callback_data": "order 7",
                "errors": [{"code": 131026, "title": "Message undeliverable", "message": "Message undeliverable",
                            "error_data": {"details": "the provider refused it"},
                            "href": "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/"}]})
    );
    for (kind, data, code) in [
        (EventType::CommandRejected, json!({"code": "window_closed", "reason": "shut"}), 131_047),
        (EventType::CommandRejected, json!({"code": "recipient_held", "error": {"code": 131050}}), 131_050),
        (EventType::CommandExpired, json!({"code": "expired"}), 131_026),
        (EventType::CommandFailed, json!({"code": "outcome_unknown", "error": null}), 131_000),
    ] {
        let told = told(&event(kind, "graph-1", data), &around).unwrap();
        assert_eq!(first(&told, "statuses")["errors"][0]["code"], code);
    }
}

#[test]
fn for_our_own_matters_meta_has_no_words() {
    for (kind, subject, data) in [
        (EventType::CommandAccepted, "graph-1", json!({"wamid": "wamid.A"})),
        (EventType::CommandFailed, "inv-1", json!({"code": "refused"})),
        (EventType::CommandCancelled, "graph-1", json!({})),
        (EventType::CommandInDoubt, "graph-1", json!({})),
        (EventType::MediaStored, "m", json!({})),
        (EventType::EndpointChanged, "acme-erp", json!({"change": "disabled"})),
        (EventType::ChannelChanged, "acme-orders", json!({"change": "hold"})),
    ] {
        let event = event(kind, subject, data);
        assert!(matches!(write(&webhook(), &event, &around()), Err(Unfit::NoWords)), "{kind:?}");
    }
}

#[tokio::test]
async fn what_an_event_does_not_say_is_looked_up() {
    let folder = tempfile::TempDir::new().unwrap();
    let url = format!("sqlite:{}", folder.path().join("format.db").display());
    let store = Store::connect(&url, &StoreOptions::default()).await.unwrap();
    store.migrate().await.unwrap();
    let (tenant, channel): (TenantId, ChannelId) = ("acme".parse().unwrap(), "acme-orders".parse().unwrap());
    let commands = ["graph-1", "inv-2"].map(|id| NewCommand {
        tenant: tenant.clone(),
        channel: channel.clone(),
        id: id.parse().unwrap(),
        lane: Lane::Normal,
        user: "447700900123".into(),
        callback_data: None,
        at: Timestamp::now(),
    });
    store.enqueue(&commands).await.unwrap();
    for (command, wamid) in [("graph-1", "wamid.A"), ("inv-2", "wamid.B")] {
        let status = json!({"id": wamid, "status": "sent", "timestamp": "1790000100", "recipient_id": "447700900123",
                            "biz_opaque_callback_data": format!("st1:1:{command}")});
        let value = json!({"messaging_product": "whatsapp", "statuses": [status],
                           "metadata": {"display_phone_number": "12025550100", "phone_number_id": "2"}});
        let body =
            json!({"entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]}).to_string();
        let leaves: Vec<_> =
            leaves(body.as_bytes()).iter().map(|found| found.leaf(&tenant, &channel)).collect();
        store.record(&leaves).await.unwrap();
    }
    let of = async |event: &Event| Around::of(event, None, &store).await.unwrap();
    let reply = |wamid: &str| {
        let raw = json!({"id": "wamid.C", "context": {"id": wamid}});
        event(EventType::MessageReceived, "wamid.C", json!({"raw": raw}))
    };
    assert_eq!(of(&reply("wamid.A")).await.referred, Some("graph-1".parse().unwrap()));
    assert_eq!(of(&reply("wamid.B")).await.referred, None);
    assert_eq!(of(&reply("wamid.X")).await.referred, None);
    let expired = event(EventType::CommandExpired, "graph-1", json!({"code": "expired"}));
    assert_eq!(of(&expired).await.recipient.as_deref(), Some("447700900123"));
}
