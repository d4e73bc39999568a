//! What bodies become, told from outside.

mod fixtures;
mod people;
mod walks;

use std::slice;

use jiff::Timestamp;
use serde_json::{Value, json};
use staffetta_domain::{
    ChannelId, CommandId, EventType, Leaf, MessageState, Reach, Sighting, TenantId, Touch,
};

use super::{Broken, Found, LeafKind, Part, lenient, parse};

const FIRST_MESSAGE: &[u8] = include_bytes!("../../tests/fixtures/first-message.json");

fn arrival() -> Timestamp {
    "2026-11-21T09:30:00Z".parse().unwrap()
}

fn acme() -> (TenantId, ChannelId) {
    ("acme".parse().unwrap(), "acme-orders".parse().unwrap())
}

fn leaf(found: &Found) -> Leaf {
    let (tenant, channel) = acme();
    found.leaf(&tenant, &channel)
}

/// The leaves and the broken parts of a body.
fn parts(body: &[u8]) -> (Vec<Found>, Vec<Broken>) {
    let (mut found, mut broken) = (Vec::new(), Vec::new());
    for part in parse(body, arrival()) {
        match part {
            Part::Found(part) => found.push(part),
            Part::Broken(part) => broken.push(part),
        }
    }
    (found, broken)
}

fn leaves(body: &Value) -> Vec<Leaf> {
    let (found, broken) = parts(body.to_string().as_bytes());
    assert!(broken.is_empty(), "{broken:?}");
    found.iter().map(leaf).collect()
}

/// What a leaf does to its message, in a few words.
fn touched(leaf: &Leaf) -> String {
    match &leaf.touch {
        None => "nothing".into(),
        Some(Touch::Brought { direction, kind, state, unread, .. }) => {
            let unread = if *unread { " unread" } else { "" };
            format!("brought {} {kind} {}{unread}", direction.as_str(), state.as_str())
        }
        Some(Touch::Moved { state: None, .. }) => "moved nowhere".into(),
        Some(Touch::Moved { state: Some(state), .. }) => format!("moved {}", state.as_str()),
        Some(Touch::Edited { direction, wamid, .. }) => {
            format!("edited {} {}", direction.as_str(), wamid.as_str())
        }
        Some(Touch::Withdrawn { direction, wamid, .. }) => {
            format!("withdrawn {} {}", direction.as_str(), wamid.as_str())
        }
    }
}

/// Whom a leaf saw: names of now, names of before behind `<`, `!` for one who wrote, and whether they can be reached.
fn seen(leaf: &Leaf) -> String {
    let mut seen = Vec::new();
    match &leaf.sighting {
        None => seen.push("nobody".to_owned()),
        Some(Sighting { aliases, former, wrote, .. }) => {
            seen.extend(aliases.iter().map(staffetta_domain::Alias::key));
            seen.extend(former.iter().map(|alias| format!("<{}", alias.key())));
            seen.extend(wrote.then(|| "!".to_owned()));
        }
    }
    seen.extend(leaf.reach.as_ref().map(|reach| match reach {
        Reach::Refused { code, .. } => format!("refused {code}"),
        Reach::Agreed => "agreed".to_owned(),
    }));
    seen.join(" ")
}

fn only(body: &Value) -> Leaf {
    let mut leaves = leaves(body);
    assert_eq!(leaves.len(), 1);
    leaves.remove(0)
}

fn change(field: &str, value: &Value) -> Value {
    json!({"object": "whatsapp_business_account",
           "entry": [{"id": "WABA", "time": 1_739_321_024, "changes": [{"field": field, "value": value}]}]})
}

fn messages(fields: &Value) -> Value {
    let mut value = json!({"messaging_product": "whatsapp",
                           "metadata": {"display_phone_number": "39020202", "phone_number_id": "PNID"}});
    value.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    change("messages", &value)
}

fn message(wamid: &str, kind: &str, content: Value) -> Value {
    json!({"from": "393481213456", "id": wamid, "timestamp": "1602139392", "type": kind, kind: content})
}

fn text(wamid: &str) -> Value {
    message(wamid, "text", json!({"body": "ciao"}))
}

fn status(fields: &Value) -> Value {
    let mut status = json!({"id": "wamid.S", "status": "sent", "timestamp": "1602139392"});
    status.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    messages(&json!({"statuses": [status]}))
}

#[test]
fn the_first_message_of_the_handbook_is_told_fully() {
    let (found, broken) = parts(FIRST_MESSAGE);
    assert!(broken.is_empty());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].kind(), LeafKind::Message);
    assert_eq!(found[0].address().phone_number_id, Some("PHONE_NUMBER_ID"));
    let leaf = leaf(&found[0]);
    assert_eq!(leaf.event.kind, EventType::MessageReceived);
    assert_eq!(leaf.event.time.to_string(), "2020-10-08T06:43:12Z");
    assert_eq!(leaf.event.subject, "wamid.ABGGFlA5FpafAgo6tHcNmNjXmuSf");
    let contact = json!({"profile": {"name": "Kerry Fisher"}, "wa_id": "16315555555"});
    let raw = json!({"from": "16315555555", "id": "wamid.ABGGFlA5FpafAgo6tHcNmNjXmuSf", "timestamp": "1602139392",
                     "text": {"body": "Hello!"}, "type": "text"});
    assert_eq!(
        Value::Object(leaf.event.data.clone()),
        json!({"wamid": "wamid.ABGGFlA5FpafAgo6tHcNmNjXmuSf", "from": "16315555555", "name": "Kerry Fisher",
               "timestamp": "2020-10-08T06:43:12Z", "type": "text", "text": {"body": "Hello!"},
               "phone_number_id": "PHONE_NUMBER_ID", "waba_id": "WHATSAPP_BUSINESS_ACCOUNT_ID",
               "contact": contact, "raw": raw})
    );
    assert_eq!(touched(&leaf), "brought in text received unread");
    assert_eq!(seen(&leaf), "p:16315555555 !");
    assert_eq!(leaf.sighting.unwrap().name.as_deref(), Some("Kerry Fisher"));
}

#[test]
fn every_entry_change_message_status_and_error_is_a_leaf() {
    let value = |fields: &Value| messages(fields)["entry"][0]["changes"][0].clone();
    let body = json!({"entry": [
        {"id": "1", "changes": [
            value(&json!({"messages": [text("wamid.A"), text("wamid.B")], "errors": [{"code": 130_429}]})),
            value(&json!({"statuses": [{"id": "wamid.S", "status": "read", "timestamp": "1602139392"}]})),
        ]},
        {"id": "2", "changes": [{"field": "security", "value": {"event": "PIN_CHANGED"}}]},
    ]});
    let kinds: Vec<EventType> = leaves(&body).iter().map(|leaf| leaf.event.kind).collect();
    assert_eq!(
        kinds,
        [
            EventType::MessageReceived,
            EventType::MessageReceived,
            EventType::WebhookOther,
            EventType::MessageStatus,
            EventType::ChannelChanged,
        ]
    );
}

#[test]
fn a_broken_leaf_costs_only_itself() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let long = "x".repeat(513);
    let body = format!(
        r#"{{"entry":[null,{{"id":"W","changes":[7,{{"field":"messages","value":{{
            "metadata":{{"phone_number_id":"PNID"}},
            "contacts":[{{"wa_id":"\ud83d"}},{{"wa_id":"39"}}],
            "messages":[{{"id":"wamid.A","type":"text","text":{{"body":"a"}}}},5,{{"id":"wamid.B","body":"\ud83d"}},
                        {{"id":"wamid.C","n":1e999}},{{"id":"wamid.D","deep":{deep}}},{{"id":"{long}"}},
                        {{"id":"wamid.E","type":"text"}}],
            "statuses":{{}}}}}}]}}]}}"#
    );
    let (found, broken) = parts(body.as_bytes());
    let told: Vec<String> = found.iter().map(|found| leaf(found).event.subject).collect();
    assert_eq!(told, ["wamid.A", "wamid.E"]);
    let places: Vec<&str> = broken.iter().map(|broken| broken.place.as_str()).collect();
    assert_eq!(
        places,
        [
            "entry[0]",
            "entry[1].changes[0]",
            "entry[1].changes[1].value.messages[1]",
            "entry[1].changes[1].value.messages[2]",
            "entry[1].changes[1].value.messages[3]",
            "entry[1].changes[1].value.messages[4]",
            "entry[1].changes[1].value.messages[5]",
            "entry[1].changes[1].value.statuses",
        ]
    );
    assert_eq!(broken[3].payload, br#"{"id":"wamid.B","body":"\ud83d"}"#.as_slice());
}

#[test]
fn a_body_that_is_none_is_one_broken_part() {
    for body in
        ["", "hello", "[]", "{", r#"{"entry":7}"#, r#"{"object":"whatsapp_business_account","entry":[]}"#]
    {
        let (found, broken) = parts(body.as_bytes());
        assert_eq!((found.len(), broken.len()), (0, 1), "{body}");
        assert_eq!(broken[0].payload, body.as_bytes());
    }
}

#[test]
fn a_byte_that_is_no_text_costs_its_character() {
    let mut body = messages(&json!({"messages": [text("wamid.A")]})).to_string().into_bytes();
    let at = body.windows(4).position(|bytes| bytes == b"ciao").unwrap();
    body[at] = 0xff;
    let (found, broken) = parts(&body);
    assert!(broken.is_empty());
    assert_eq!(leaf(&found[0]).event.data["text"]["body"], "\u{fffd}iao");
}

#[test]
fn without_a_number_a_message_is_nobodys() {
    let body = change("messages", &json!({"messages": [text("wamid.A")], "statuses": []}));
    let (found, broken) = parts(body.to_string().as_bytes());
    assert!(found.is_empty());
    assert_eq!(broken[0].place, "entry[0].changes[0].value.messages[0]");
    assert_eq!(broken[0].problem, "has no metadata.phone_number_id beside it");
}

#[test]
fn a_leaf_keeps_its_id_in_every_company_and_layout() {
    let alone = only(&messages(&json!({"messages": [text("wamid.A")]}))).event.id;
    let together = leaves(&messages(&json!({"statuses": [{"id": "wamid.A", "status": "sent"}],
                                            "messages": [text("wamid.B"), text("wamid.A")]})));
    assert_eq!(together[1].event.id, alone);
    assert_ne!(together[0].event.id, alone);
    assert_ne!(together[2].event.id, alone);

    let one = br#"{"entry":[{"id":"W","time":7,"changes":[{"field":"flows","value":{"event":"X","flow_id":"1"}}]}]}"#;
    let other = br#"{"entry": [{"time": 7, "changes": [
        {"value": {"flow_id": "1",  "event": "\u0058"}, "field": "flows"}], "id": "W"}], "object": "w"}"#;
    let id = |body: &[u8]| leaf(&parts(body).0[0]).event.id;
    assert_eq!(id(one), id(other));
    assert_eq!(
        id(FIRST_MESSAGE),
        id(serde_json::from_slice::<Value>(FIRST_MESSAGE).unwrap().to_string().as_bytes())
    );
}

#[test]
fn what_happens_again_later_is_told_again() {
    let at = |time: i64| {
        let mut body = change("message_template_status_update", &json!({"event": "APPROVED"}));
        body["entry"][0]["time"] = json!(time);
        only(&body).event
    };
    assert_eq!(at(1).id, at(1).id);
    assert_ne!(at(1).id, at(2).id);
    assert_eq!(at(1_739_321_024).time.to_string(), "2025-02-12T00:43:44Z");
}

#[test]
fn an_accounts_leaf_has_an_id_for_each_tenant() {
    let body = change("account_update", &json!({"event": "ACCOUNT_DELETED"})).to_string();
    let (found, _) = parts(body.as_bytes());
    let to = |tenant: &str| found[0].leaf(&tenant.parse().unwrap(), &"c".parse().unwrap()).event.id;
    assert_ne!(to("acme"), to("other"));
}

#[test]
fn a_status_is_told_once_however_it_names_its_recipient() {
    let id = |fields: Value| only(&status(&fields)).event.id;
    let plain = id(json!({}));
    assert_eq!(id(json!({"recipient_id": "393481213456"})), plain);
    assert_eq!(id(json!({"timestamp": 1_602_139_399})), plain);
    assert_ne!(id(json!({"status": "read"})), plain);
    assert_ne!(id(json!({"recipient_participant_id": "39"})), plain);
    assert_ne!(id(json!({"recipient_participant_id": "39"})), id(json!({"recipient_participant_id": "44"})));
}

#[test]
fn a_status_that_names_a_command_proves_it() {
    let fields =
        json!({"biz_opaque_callback_data": "st1:2:inv-1", "recipient_id": "39", "status": "delivered"});
    let leaf = only(&status(&fields));
    assert_eq!(seen(&leaf), "p:39");
    let Some(Touch::Moved { state, command, .. }) = &leaf.touch else { panic!("{:?}", leaf.touch) };
    assert_eq!(*state, Some(MessageState::Delivered));
    assert_eq!(command.as_ref().map(CommandId::as_str), Some("inv-1"));
    let settles = leaf.settles.unwrap();
    assert_eq!(settles.command.as_str(), "inv-1");
    assert_eq!(settles.accepted.subject, "inv-1");
    assert_eq!(
        Value::Object(settles.accepted.data),
        json!({"command_id": "inv-1", "wamid": "wamid.S", "recipient": "39", "attempt": 2, "settled_by": "status"})
    );
    assert!(only(&status(&json!({"biz_opaque_callback_data": "somebody else's"}))).settles.is_none());
}

#[test]
fn an_unknown_status_is_told_and_moves_nothing() {
    let leaf = only(&status(&json!({"status": "pondered"})));
    assert_eq!(leaf.event.data["status"], "pondered");
    assert_eq!(touched(&leaf), "moved nowhere");
    for status_that_moves_nothing in ["deleted", "warning"] {
        assert_eq!(touched(&only(&status(&json!({"status": status_that_moves_nothing})))), "moved nowhere");
    }
    let leaf = only(&status(&json!({"status": "pondered", "biz_opaque_callback_data": "st1:1:a"})));
    assert_eq!(touched(&leaf), "moved accepted");
}

#[test]
fn a_type_that_nobody_knows_is_received_whatever_its_name() {
    let names_of_ours = ["raw", "wamid", "from", "conversation_id", "sequence", "merged", "media"];
    for kind in ["hologram"].into_iter().chain(names_of_ours) {
        let original = message("wamid.A", kind, json!({"id": "1"}));
        let leaf = only(&messages(&json!({"messages": [original]})));
        assert_eq!(leaf.event.kind, EventType::MessageReceived, "{kind}");
        assert_eq!(touched(&leaf), format!("brought in {kind} received unread"));
        assert_eq!(leaf.event.data["type"], kind);
        assert_eq!(leaf.event.data["raw"], original);
        assert_ne!(leaf.event.data.get(kind), Some(&json!({"id": "1"})).filter(|_| kind != "hologram"));
    }
}

#[test]
fn the_number_of_a_value_without_metadata_is_found_in_the_value() {
    let body = change("security", &json!({"display_phone_number": "39020202"})).to_string();
    let (found, _) = parts(body.as_bytes());
    assert_eq!(found[0].address().display_phone_number, Some("39020202"));
    assert_eq!(found[0].address().waba_id, Some("WABA"));
}

#[test]
fn a_list_that_nobody_knows_is_told_too() {
    let told = leaves(&messages(&json!({"messages": [text("wamid.A")], "waves": [{"id": 1}], "empty": []})));
    assert_eq!(told.len(), 2);
    assert_eq!(told[1].event.kind, EventType::WebhookOther);
    assert_eq!(told[1].event.data["raw"]["waves"], json!([{"id": 1}]));
    assert!(told[1].event.data["raw"].get("messages").is_none());

    let alone = only(&messages(&json!({"waves": [{"id": 1}]})));
    assert_eq!(alone.event.id, told[1].event.id);
    assert_eq!((alone.event.kind, alone.event.subject.as_str()), (EventType::WebhookOther, "messages"));
}

#[test]
fn a_leaf_rebuilt_as_a_webhook_is_the_same_leaf() {
    let contacts = json!([{"wa_id": "393481213456", "profile": {"name": "Ada"}}, {"wa_id": "44"}]);
    let batch = messages(&json!({"contacts": contacts, "messages": [text("wamid.A"), text("wamid.B")],
        "errors": [{"code": 1}], "statuses": [{"id": "wamid.S", "status": "read", "timestamp": "1602139392"}]}));
    let other = change("account_update", &json!({"event": "ACCOUNT_DELETED"}));
    for body in [batch, other] {
        for found in &parts(body.to_string().as_bytes()).0 {
            let (again, broken) = parts(&found.webhook());
            assert!(broken.is_empty());
            assert!(leaf(slice::from_ref(&again[0]).first().unwrap()).event == leaf(found).event);
            assert_eq!(again.len(), 1);
        }
    }
}

#[test]
fn nested_as_deeply_as_may_be_it_is_still_read() {
    let inner = (0..lenient::MAX_DEPTH - 2).fold(json!({}), |inner, _| json!({"x": inner}));
    let leaf = only(&messages(&json!({"messages": [message("wamid.A", "text", inner)]})));
    let text = serde_json::to_string(&leaf.event.data).unwrap();
    assert!(serde_json::from_str::<Value>(&text).is_ok());
}
