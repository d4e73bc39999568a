//! The customer service window: what happens to a message outside it.

use std::time::SystemTime;

use serde_json::{Value, json};
use staffetta_simulator::InboundMessage;
use staffetta_tests::{Installation, ORDERS, RegistryText, SeenEvent, Setup, User};

use crate::wire::Wire;
use crate::{apply_lines, channel_lines, only, unix_seconds};

const TEMPLATES: &str = "window_templates = { text = { name = \"avviso_testo\", language = \"it\" }, \
                         document = { name = \"avviso_documento\", language = \"it\" } }\n";
/// Never wrote, wrote two days ago, has just written.
const USERS: [(&str, &str); 3] =
    [("never", "393480000001"), ("past", "393480000002"), ("now", "393480000003")];
const TWO_DAYS: i64 = 2 * 86_400;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    AsItIs,
    InTemplate,
    Rejected,
}

/// One of each kind that behaves in its own way.
fn content(kind: &str) -> Value {
    match kind {
        "text" => json!({ "body": "Fattura\npronta" }),
        "document" => {
            json!({ "link": "https://files.example/f.pdf", "filename": "f.pdf", "caption": "Fattura" })
        }
        _ => json!({ "link": "https://files.example/f.png" }),
    }
}

fn expected(user: &str, policy: &str, kind: &str) -> End {
    match (user, policy, kind) {
        ("now", ..) | (_, "absent", _) => End::AsItIs,
        (_, "template", "text" | "document") => End::InTemplate,
        _ => End::Rejected,
    }
}

#[tokio::test]
async fn outside_its_window_a_message_follows_its_policy() {
    let mut wire = Wire::lay().await;
    let staffetta =
        Installation::prepare(Setup { settings: vec![wire.setting()], ..Setup::default() }).await.unwrap();
    wire.connect(staffetta.provider.address());
    // Before the start: whoever runs follows a change a moment later.
    staffetta.apply(&RegistryText::default()).await.unwrap();
    let lines = channel_lines(ORDERS, 250);
    apply_lines(&staffetta, &format!("{lines}{TEMPLATES}")).await;
    let _up = staffetta.start("up").await.unwrap();
    let streams = staffetta.streams().await.unwrap();

    let now = unix_seconds(SystemTime::now());
    let past = User::of_phone("Bruno", USERS[1].1);
    let wrote = past.webhook(ORDERS, &[past.text("wamid.past", now - TWO_DAYS)]);
    staffetta.meta.deliver(&wrote).await.unwrap();
    let written = staffetta.provider.inbound(InboundMessage {
        phone_number_id: ORDERS.phone_number_id.into(),
        from: USERS[2].1.into(),
        name: None,
        text: Some("Buongiorno".into()),
        message: None,
    });
    let received = ["wamid.past".to_owned(), written.unwrap()].map(|wamid| ("message.received", wamid));
    staffetta.told(&streams, &received).await.unwrap();

    let acme = staffetta.tenant(ORDERS, &streams);
    let mut wanted = Vec::new();
    for (user, to) in USERS {
        for policy in ["absent", "reject", "template"] {
            for kind in ["text", "document", "image"] {
                let id = format!("{user}.{policy}.{kind}");
                let mut command = json!({ "id": id, "to": to, "type": kind });
                command[kind] = content(kind);
                if policy != "absent" {
                    command["window_policy"] = policy.into();
                }
                acme.send(&command).await.unwrap();
                let end = expected(user, policy, kind);
                let event = if end == End::Rejected { "command.rejected" } else { "command.accepted" };
                wanted.push((event, id, kind, end));
            }
        }
    }
    let all: Vec<_> = wanted.iter().map(|(event, id, ..)| (*event, id.clone())).collect();
    staffetta.told(&streams, &all).await.unwrap();
    staffetta.settled(&streams).await.unwrap();

    let events = streams.events().await.unwrap();
    let said = wire.by_command();
    for (event, id, kind, end) in wanted {
        let told = only(&events, event, &id);
        match end {
            End::Rejected => {
                assert_eq!(told.data["code"], "window_closed", "{id}: {told:#?}");
                assert!(!said.contains_key(&id), "{id}");
            }
            End::AsItIs => {
                assert_eq!(told.data["window"], Value::Null, "{id}: {told:#?}");
                assert_eq!((&said[&id].body["type"], &said[&id].body[kind]), (&kind.into(), &content(kind)));
            }
            End::InTemplate => assert_carried(told, &said[&id].body, kind),
        }
    }
    let rejected = events.iter().filter(|event| event.kind == "command.rejected").count();
    assert_eq!(streams.dead().await.unwrap().len(), rejected, "each can be replayed");
}

/// Whether a template carried the message, as the event says.
#[track_caller]
fn assert_carried(told: &SeenEvent, body: &Value, kind: &str) {
    let (name, component, left_out) = match kind {
        "text" => {
            let parameter = json!({ "type": "text", "text": "Fattura pronta" });
            ("avviso_testo", json!({ "type": "body", "parameters": [parameter] }), json!(["layout"]))
        }
        _ => {
            let file = json!({ "link": "https://files.example/f.pdf", "filename": "f.pdf" });
            let parameter = json!({ "type": "document", "document": file });
            ("avviso_documento", json!({ "type": "header", "parameters": [parameter] }), json!(["caption"]))
        }
    };
    assert_eq!(told.data["window"], json!({ "template": name, "left_out": left_out }), "{told:#?}");
    assert_eq!(body["type"], "template", "{body}");
    let template = json!({ "name": name, "language": { "code": "it" }, "components": [component] });
    assert_eq!(body["template"], template);
}
