//! `POST /v1/messages`, while everything works.

use reqwest::header::HeaderName;
use serde_json::json;
use staffetta_bus::Encoding;

use crate::harness::{Answer, Gateway, LANE, text, with};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

#[tokio::test]
async fn a_message_that_was_taken_in_is_on_send_as_it_was_written() {
    let gateway = Gateway::start().await;
    let message = json!({
        "id": "inv-2026-0042", "channel": "acme-orders", "lane": "urgent", "to": "+39 348 121 3456",
        "type": "template", "template": {"name": "avviso", "language": {"code": "it"}, "components": [{"type": "body"}]},
        "reply_to": "wamid.A", "expires_at": "2099-11-21T09:30:00Z", "window_policy": "template",
        "callback_data": "order 7", "text": {"body": "not what is sent"},
    });
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = gateway.post_with(&message, &[(HeaderName::from_static("traceparent"), parent)]).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("location"), "/v1/messages/inv-2026-0042");
    let created = answer.json["created"].as_str().unwrap();
    let expected = json!({
        "id": "inv-2026-0042", "channel": "acme-orders", "to": "393481213456", "lane": "urgent", "state": "queued",
        "callback_data": "order 7", "created": created,
    });
    assert_eq!(answer.json, expected);

    let queue = gateway.queue().await;
    let [queued] = queue.as_slice() else { panic!("{} entries", queue.len()) };
    assert_eq!(queued.subject, "staffetta.v1.send.acme.acme-orders.urgent");
    assert_eq!(queued.encoding, Encoding::Protobuf);
    assert_eq!(queued.headers.get("Nats-Msg-Id").unwrap().as_str(), "acme:inv-2026-0042");
    assert_eq!(queued.headers.get("traceparent").unwrap().as_str(), parent);
    let fields = &queued.fields;
    assert_eq!(fields.id.as_deref(), Some("inv-2026-0042"));
    assert_eq!(fields.to.as_deref(), Some("+39 348 121 3456"));
    assert_eq!(fields.kind.as_deref(), Some("template"));
    assert_eq!(fields.reply_to.as_deref(), Some("wamid.A"));
    assert_eq!(fields.expires_at.as_deref(), Some("2099-11-21T09:30:00Z"));
    assert_eq!(fields.window_policy.as_deref(), Some("template"));
    assert_eq!(fields.callback_data.as_deref(), Some("order 7"));
    assert_eq!(fields.rest.len(), 1);
    assert_eq!(fields.rest["template"], message["template"]);
}

#[tokio::test]
async fn the_address_in_the_answer_leads_to_the_message() {
    let gateway = Gateway::start().await;
    for id in ["inv-1", "2026/42?x=#1_%2F", r#""quoted""#] {
        let answer = gateway.post(&text(id)).await;
        assert_eq!(answer.status, 202, "{id}");
        let found = gateway.get(answer.header("location")).await;
        assert_eq!(found.status, 200, "{id}");
        assert_eq!(found.json["id"], id);
        assert_eq!(found.json["created"], answer.json["created"]);
    }
}

#[tokio::test]
async fn an_id_comes_from_the_body_or_the_header_or_is_made_up() {
    let gateway = Gateway::start().await;
    let unnamed = with(text("x"), &json!({"id": null}));
    assert_eq!(gateway.post_with(&unnamed, &[(KEY, "from-header")]).await.json["id"], "from-header");
    assert_eq!(gateway.post_with(&text("same"), &[(KEY, "same")]).await.json["id"], "same");
    let (one, two) = (gateway.post(&unnamed).await, gateway.post(&unnamed).await);
    let made_up = |answer: &Answer| answer.json["id"].as_str().unwrap().to_owned();
    assert!(made_up(&one).starts_with("c-") && made_up(&one) != made_up(&two));
    let ids: Vec<Option<String>> = gateway.queue().await.into_iter().map(|queued| queued.fields.id).collect();
    assert_eq!(
        ids,
        [Some("from-header".into()), Some("same".into()), Some(made_up(&one)), Some(made_up(&two))]
    );
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nothing_is_queued() {
    let gateway = Gateway::start().await;
    let mut deep = json!({"body": "x"});
    for _ in 0..60 {
        deep = json!({ "body": "x", "more": deep });
    }
    for (change, field) in [
        (json!({"channel": null}), "channel"),
        (json!({"channel": 7}), "channel"),
        (json!({"channel": "Acme Orders"}), "channel"),
        (json!({"lane": "slow"}), "lane"),
        (json!({"lane": 1}), "lane"),
        (json!({"id": ""}), "id"),
        (json!({"id": "a b"}), "id"),
        (json!({"id": "x".repeat(129)}), "id"),
        (json!({"id": 42}), "id"),
        (json!({"to": null}), "to"),
        (json!({"to": "12"}), "to"),
        (json!({"to": 393481213456_u64}), "to"),
        (json!({"type": null}), "type"),
        (json!({"type": "fax"}), "type"),
        (json!({"type": "image"}), "image"),
        (json!({"text": "x"}), "text"),
        (json!({"text": deep}), "text"),
        (json!({"text": {"body": ""}}), "text.body"),
        (json!({"text": {"body": "x".repeat(4097)}}), "text.body"),
        (json!({"type": "contacts", "contacts": []}), "contacts"),
        (json!({"reply_to": ""}), "reply_to"),
        (json!({"send_at": "soon"}), "send_at"),
        (json!({"send_at": "2099-11-21T09:30:00Z"}), "send_at"),
        (json!({"expires_at": "soon"}), "expires_at"),
        (json!({"window_policy": "?"}), "window_policy"),
        (json!({"callback_data": "x".repeat(513)}), "callback_data"),
    ] {
        let answer = gateway.post(&with(text("a"), &change)).await;
        answer.is_problem(422, "invalid-message");
        assert_eq!(answer.json["field"], field, "{answer:?}");
    }
    let both = gateway.post_with(&text("a"), &[(KEY, "b")]).await;
    both.is_problem(422, "invalid-message");
    assert_eq!(both.json["field"], "id");
    for no_object in [json!([text("a")]), json!("a")] {
        let answer = gateway.post(&no_object).await;
        answer.is_problem(422, "invalid-message");
        assert_eq!(answer.json["field"], "payload");
    }
    assert!(gateway.queue().await.is_empty());
    assert_eq!(gateway.get("/v1/messages/a").await.status, 404);
}

#[tokio::test]
async fn a_problem_repeats_nothing_of_the_message() {
    let gateway = Gateway::start().await;
    let answer = gateway.post(&with(text("a"), &json!({"to": "39348x1213456"}))).await;
    answer.is_problem(422, "invalid-message");
    assert!(!answer.json.to_string().contains("1213456"), "{answer:?}");
}

#[tokio::test]
async fn a_full_lane_refuses_and_the_others_do_not() {
    let gateway = Gateway::start().await;
    for number in 0..LANE {
        assert_eq!(gateway.post(&text(&format!("n-{number}"))).await.status, 202);
    }
    let refused = gateway.post(&text("one-too-many")).await;
    refused.is_problem(429, "queue-full");
    assert_eq!(refused.header("retry-after"), "10");
    assert_eq!(gateway.get("/v1/messages/one-too-many").await.status, 404);
    assert_eq!(gateway.post(&with(text("urgent"), &json!({"lane": "urgent"}))).await.status, 202);
    assert_eq!(gateway.post(&with(text("bill"), &json!({"channel": "acme-bills"}))).await.status, 202);

    gateway.bus.jetstream().get_stream("SEND").await.unwrap().purge().await.unwrap();
    assert_eq!(gateway.post(&text("one-too-many")).await.status, 202);
}
