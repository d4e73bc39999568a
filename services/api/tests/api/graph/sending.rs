//! `POST /graph/{version}/{phone_number_id}/messages`.

use reqwest::Method;
use serde_json::{Value, json};
use staffetta_domain::{CommandId, command_of_facade_wamid, facade_wamid};
use staffetta_store::Settlement;

use super::world::{World, text};
use crate::harness::{ACME, Answer, LANE, with};
use crate::life::{WAMID, claim, settle};

const SEND: &str = "1001/messages";

fn wamid(answer: &Answer) -> &str {
    answer.json["messages"][0]["id"].as_str().unwrap()
}

/// Waits until the message that was taken in is known, and gives back its command's id and how it stands.
async fn known(world: &World, answer: &Answer) -> (CommandId, Answer) {
    let command = command_of_facade_wamid(wamid(answer)).unwrap();
    let known = world.gateway.known(ACME, &format!("/v1/messages/{command}")).await;
    (command, known)
}

#[tokio::test]
async fn a_message_takes_the_way_of_all_messages() {
    let world = World::start().await;
    let message =
        with(text(), &json!({"context": {"message_id": "wamid.A"}, "biz_opaque_callback_data": "order 7"}));
    let answer = world.post(SEND, &message).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let expected = json!({
        "messaging_product": "whatsapp",
        "contacts": [{"input": "+393481213456", "wa_id": "393481213456"}],
        "messages": [{"id": wamid(&answer)}],
    });
    assert_eq!(answer.json, expected);
    let (command, known) = known(&world, &answer).await;
    assert_eq!(known.json["state"], "queued");

    let queue = world.gateway.queue().await;
    let [queued] = queue.as_slice() else { panic!("{} entries", queue.len()) };
    assert_eq!(queued.subject, "staffetta.v1.send.acme.acme-orders.normal");
    assert_eq!(queued.fields.id.as_deref(), Some(command.as_str()));
    assert_eq!(queued.fields.to.as_deref(), Some("+393481213456"));
    assert_eq!(queued.fields.reply_to.as_deref(), Some("wamid.A"));
    assert_eq!(queued.fields.callback_data.as_deref(), Some("order 7"));
    assert_eq!(Value::Object(queued.fields.rest.clone()), json!({"text": {"body": "Fattura pronta"}}));
    assert!(world.provider.report(staffetta_simulator::Detail::Sends).channels["1001"].received == 0);
}

#[tokio::test]
async fn every_type_is_taken() {
    let world = World::start().await;
    let content = [
        ("text", json!({"body": "x", "preview_url": true})),
        ("image", json!({"id": "1", "caption": "c"})),
        ("audio", json!({"link": "https://a.example/a.mp3"})),
        ("video", json!({"id": "1"})),
        ("document", json!({"id": "1", "filename": "a.pdf"})),
        ("sticker", json!({"id": "1"})),
        ("location", json!({"latitude": 45.4, "longitude": "9.1", "name": "Milano"})),
        (
            "contacts",
            json!([{"name": {"formatted_name": "A B", "first_name": "A"}, "phones": [{"phone": "+39"}]}]),
        ),
        ("reaction", json!({"message_id": "wamid.A", "emoji": "👍"})),
        (
            "interactive",
            json!({
                "type": "button", "body": {"text": "x"},
                "action": {"buttons": [{"type": "reply", "reply": {"id": "1", "title": "Sì"}}]},
            }),
        ),
        ("template", json!({"name": "avviso", "language": {"code": "it"}})),
    ];
    for (n, (kind, content)) in content.into_iter().enumerate() {
        // A lane of the tests is short.
        let number = ["1001", "1003", "1004"][n % 3];
        let mut message = with(text(), &json!({"type": kind, "text": null}));
        message[kind] = content;
        let answer = world.post(&format!("{number}/messages"), &message).await;
        assert_eq!(answer.status, 200, "{kind}: {answer:?}");
        let status = &answer.json["messages"][0]["message_status"];
        assert_eq!(status.as_str(), (kind == "template").then_some("accepted"), "{kind}");
    }
}

#[tokio::test]
async fn the_same_key_is_the_same_message_and_no_key_a_new_one() {
    let world = World::start().await;
    let send = async |number: &str, key: Option<&str>| {
        let mut request = world.request(Method::POST, &format!("{number}/messages")).json(&text());
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        known(&world, &answer).await;
        answer
    };
    let first = send("1001", Some("inv-1")).await;
    assert_eq!(send("1001", Some("inv-1")).await.json, first.json);
    assert_ne!(wamid(&send("1003", Some("inv-1")).await), wamid(&first));
    assert_ne!(wamid(&send("1001", None).await), wamid(&send("1001", None).await));
    assert_eq!(world.gateway.queue().await.len(), 4);
}

#[tokio::test]
async fn an_id_of_ours_stands_for_the_providers_once_it_is_known() {
    let world = World::start().await;
    let first = world.post(SEND, &text()).await;
    let (ours, (command, _)) = (wamid(&first), known(&world, &first).await);
    let reply = with(text(), &json!({"context": {"message_id": ours}}));
    let reaction =
        with(text(), &json!({"type": "reaction", "reaction": {"message_id": ours, "emoji": "👍"}}));
    for early in [&reply, &reaction] {
        let answer = world.post(SEND, early).await;
        answer.is_graph_error(400, 131_009);
        assert!(answer.json["error"]["error_data"]["details"].as_str().unwrap().contains("message_id"));
    }
    claim(&world.gateway, command.as_str()).await;
    settle(&world.gateway, command.as_str(), Settlement::Accepted(WAMID.parse().unwrap())).await;
    assert_eq!(world.post(SEND, &reply).await.status, 200);
    assert_eq!(world.post(SEND, &reaction).await.status, 200);
    let queue = world.gateway.queue().await;
    assert_eq!(queue[1].fields.reply_to.as_deref(), Some(WAMID));
    assert_eq!(queue[2].fields.rest["reaction"]["message_id"], WAMID);
    // From another number, and of no message, it says nothing.
    world.post("1003/messages", &reply).await.is_graph_error(400, 131_009);
    let nobodys = facade_wamid(&"graph-0".parse().unwrap());
    let nobodys = with(text(), &json!({"context": {"message_id": nobodys}}));
    world.post(SEND, &nobodys).await.is_graph_error(400, 131_009);
}

#[tokio::test]
async fn what_is_wrong_is_said_in_metas_words_and_nothing_is_queued() {
    let world = World::start().await;
    for (change, code, word) in [
        (json!({"messaging_product": null}), 100, "messaging_product is required"),
        (json!({"messaging_product": "sms"}), 100, "messaging_product"),
        (json!({"to": null}), 100, "to is required"),
        (json!({"to": "12"}), 131_009, "'to'"),
        (json!({"recipient_type": "group"}), 100, "recipient_type"),
        (json!({"type": "fax"}), 100, "type"),
        (json!({"type": "image"}), 131_008, "'image'"),
        (json!({"text": {"body": ""}}), 131_008, "'text.body'"),
        (json!({"text": {"body": "x".repeat(4097)}}), 131_009, "'text.body'"),
        (json!({"context": {"message_id": ""}}), 131_009, "'context.message_id'"),
        (json!({"biz_opaque_callback_data": "x".repeat(513)}), 131_009, "'biz_opaque_callback_data'"),
        (json!({"recipient_identity_key_hash": "abc"}), 100, "recipient_identity_key_hash"),
        (json!({"status": "delivered"}), 100, "status"),
        (json!({"status": "read"}), 100, "message_id is required"),
    ] {
        let answer = world.post(SEND, &with(text(), &change)).await;
        answer.is_graph_error(400, code);
        let details = answer.json["error"]["error_data"]["details"].as_str().unwrap();
        assert!(details.contains(word), "{change}: {details}");
    }
    for body in ["", "[]", "to=1&text=x"] {
        let request = world.request(Method::POST, SEND).body(body);
        Answer::of(request.send().await.unwrap()).await.is_graph_error(400, 100);
    }
    let large = world.request(Method::POST, SEND).body("x".repeat((1 << 20) + 1));
    Answer::of(large.send().await.unwrap()).await.is_graph_error(400, 100);
    assert!(world.gateway.queue().await.is_empty());
}

#[tokio::test]
async fn a_full_lane_is_metas_throughput_limit() {
    let world = World::start().await;
    for _ in 0..LANE {
        assert_eq!(world.post(SEND, &text()).await.status, 200);
    }
    let full = world.post(SEND, &text()).await;
    full.is_graph_error(429, 130_429);
    assert!(!full.header("retry-after").is_empty() && !full.header("ratelimit").is_empty());
    assert_eq!(world.post("1003/messages", &text()).await.status, 200);
}

#[tokio::test]
async fn a_number_whose_token_cant_be_had_still_takes_messages() {
    let world = World::start().await;
    assert_eq!(world.post("1004/messages", &text()).await.status, 200);
    world.ask(Method::GET, "1004").await.is_graph_error(503, 2);
}

#[tokio::test]
async fn without_the_queue_the_service_is_unavailable() {
    let world = World::start().await;
    world.gateway.wire.cut().await.unwrap();
    let answer = world.post(SEND, &text()).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!([2, 131_000].map(Value::from).contains(&answer.json["error"]["code"]), "{answer:?}");
}
