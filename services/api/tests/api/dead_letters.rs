//! `/v1/dead-letters`: a tenant's own letters, and their way back.

use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use staffetta_bus::{DeadLetter, Encoding, Origin, encode_command};
use staffetta_domain::{CommandFields, CommandId, EventId};
use staffetta_outbox::DeadLetters;
use staffetta_testkit::NatsOptions;

use crate::harness::{ACME, Answer, Gateway, LANE, OTHER};

/// A command of acme that is no message.
pub(crate) fn rejected(id: &str) -> DeadLetter {
    DeadLetter {
        id: EventId::of(&[id]),
        service: "dispatcher",
        tenant: "acme".parse().ok(),
        channel: "acme-orders".parse().ok(),
        reason: "invalid_command",
        detail: "to: is missing".into(),
        subject: "staffetta.v1.send.acme.acme-orders.normal".into(),
        encoding: Encoding::Json,
        payload: json!({"id": id, "type": "text"}).to_string().into(),
        time: Timestamp::now(),
        origin: Origin::Command(id.parse::<CommandId>().unwrap()),
    }
}

/// A webhook's leaf that nobody owns.
fn unrouted() -> DeadLetter {
    DeadLetter {
        id: EventId::of(&["unrouted"]),
        service: "recorder",
        tenant: None,
        channel: None,
        reason: "unrouted",
        subject: "staffetta.v1.webhook.0".into(),
        origin: Origin::Other,
        ..rejected("x")
    }
}

pub(crate) async fn write(gateway: &Gateway, letters: impl IntoIterator<Item = DeadLetter>) {
    for letter in letters {
        DeadLetters::new(gateway.bus.clone()).write(&letter).await.unwrap();
    }
}

async fn replay(gateway: &Gateway, key: &str, id: &str) -> Answer {
    let path = format!("/v1/dead-letters/{id}/replay");
    Answer::of(gateway.request(Method::POST, &path).bearer_auth(key).send().await.unwrap()).await
}

fn ids(answer: &Answer) -> Vec<&str> {
    answer.json["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_tenant_sees_its_own_letters_alone() {
    let gateway = Gateway::start().await;
    let theirs = DeadLetter {
        tenant: "other".parse().ok(),
        channel: "other-orders".parse().ok(),
        subject: "staffetta.v1.send.other.other-orders.normal".into(),
        ..rejected("theirs")
    };
    write(&gateway, [unrouted(), theirs, rejected("inv-1")]).await;

    let list = gateway.get("/v1/dead-letters").await;
    assert_eq!(list.status, 200);
    let expected = json!({"items": [{
        "id": "d3", "time": list.json["items"][0]["time"], "service": "dispatcher", "channel": "acme-orders",
        "reason": "invalid_command", "detail": "to: is missing",
        "subject": "staffetta.v1.send.acme.acme-orders.normal", "size": 28, "replayable": true,
    }], "next": null});
    assert_eq!(list.json, expected);
    assert_eq!(ids(&gateway.get_as(OTHER, "/v1/dead-letters").await), ["d2"]);

    let none = gateway.get("/v1/dead-letters/d99").await;
    none.is_problem(404, "dead-letter-not-found");
    for foreign in ["d1", "d2", "d0", "x", "%FF"] {
        assert_eq!(gateway.get(&format!("/v1/dead-letters/{foreign}")).await.json, none.json, "{foreign}");
        assert_eq!(replay(&gateway, ACME, foreign).await.json, none.json, "{foreign}");
    }
    let keyless = Answer::of(gateway.request(Method::GET, "/v1/dead-letters").send().await.unwrap()).await;
    keyless.is_problem(401, "unauthorized");
    assert!(gateway.queue().await.is_empty());
    assert_eq!(ids(&gateway.get_as(OTHER, "/v1/dead-letters").await), ["d2"]);
}

#[tokio::test]
async fn a_list_is_filtered_and_goes_on_where_it_ended() {
    let gateway = Gateway::start().await;
    let failed = |n: u32| DeadLetter { reason: "refused", ..rejected(&format!("failed-{n}")) };
    let wrong = |n: u32| DeadLetter { channel: "acme-bills".parse().ok(), ..rejected(&format!("wrong-{n}")) };
    write(&gateway, (0..3).flat_map(|n| [failed(n), wrong(n)])).await;

    let mut seen = Vec::new();
    let mut path = "/v1/dead-letters?limit=2".to_owned();
    loop {
        let page = gateway.get(&path).await;
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(next) = page.json["next"].as_str() else { break };
        path = format!("/v1/dead-letters?limit=2&cursor={next}");
    }
    assert_eq!(seen, ["d1", "d2", "d3", "d4", "d5", "d6"]);

    let third = gateway.get("/v1/dead-letters/d3").await.json["time"].as_str().unwrap().to_owned();
    for (query, expected) in [
        ("reason=refused", vec!["d1", "d3", "d5"]),
        ("channel=acme-bills", vec!["d2", "d4", "d6"]),
        ("service=recorder", vec![]),
        ("service=dispatcher&reason=refused&channel=acme-bills", vec![]),
        (&format!("since={third}"), vec!["d3", "d4", "d5", "d6"]),
        (&format!("until={third}"), vec!["d1", "d2"]),
    ] {
        let list = gateway.get(&format!("/v1/dead-letters?{query}")).await;
        assert_eq!((ids(&list), &list.json["next"]), (expected, &Value::Null), "{query}");
    }
    for (query, field) in [
        ("tenant=other", "tenant"),
        ("since=yesterday", "since"),
        ("until=2026", "until"),
        ("limit=0", "limit"),
        ("cursor=7", "cursor"),
        ("service=*", "service"),
        ("channel=a.b", "channel"),
    ] {
        let wrong = gateway.get(&format!("/v1/dead-letters?{query}")).await;
        wrong.is_problem(400, "invalid-parameter");
        assert_eq!(wrong.json["field"], field, "{query}");
    }
}

#[tokio::test]
async fn a_letter_shows_its_payload_as_far_as_it_can_be_read() {
    let gateway = Gateway::start().await;
    let fields = CommandFields { id: Some("b".into()), to: Some("39".into()), ..CommandFields::default() };
    let protobuf =
        DeadLetter { encoding: Encoding::Protobuf, payload: encode_command(&fields), ..rejected("b") };
    let broken = DeadLetter { payload: "{".into(), ..rejected("c") };
    write(&gateway, [rejected("a"), protobuf, broken]).await;
    let payload = async |id: &str| {
        let json = gateway.get(&format!("/v1/dead-letters/{id}")).await.json;
        (json["payload"].clone(), json["payload_base64"].clone())
    };
    assert_eq!(payload("d1").await, (json!({"id": "a", "type": "text"}), Value::Null));
    assert_eq!(payload("d2").await, (json!({"id": "b", "to": "39"}), Value::Null));
    assert_eq!(payload("d3").await, (Value::Null, json!("ew==")));
}

#[tokio::test]
async fn a_replayed_command_is_queued_again() {
    let gateway = Gateway::start().await;
    write(&gateway, [rejected("inv-1")]).await;
    let answer = replay(&gateway, ACME, "d1").await;
    assert_eq!(answer.status, 202);
    let subject = "staffetta.v1.send.acme.acme-orders.normal";
    assert_eq!(answer.json, json!({"id": "d1", "subject": subject, "message": "inv-1"}));
    let queue = gateway.queue().await;
    assert_eq!((queue.len(), queue[0].subject.as_str()), (1, subject));
    assert_eq!(queue[0].fields.id.as_deref(), Some("inv-1"));
    replay(&gateway, ACME, "d1").await.is_problem(404, "dead-letter-not-found");
}

#[tokio::test]
async fn what_cannot_be_replayed_says_why_and_stays() {
    let gateway = Gateway::start_with_nats(NatsOptions::default()).await;
    let event = DeadLetter {
        service: "outbox",
        reason: "too_large",
        payload: Default::default(),
        origin: Origin::Other,
        ..rejected("event")
    };
    let left_out = DeadLetter { payload: Default::default(), ..rejected("left-out") };
    let lane = usize::try_from(LANE).unwrap();
    write(&gateway, [event, left_out].into_iter().chain((0..=lane).map(|n| rejected(&format!("inv-{n}")))))
        .await;
    for id in ["d1", "d2"] {
        replay(&gateway, ACME, id).await.is_problem(409, "not-replayable");
        assert_eq!(gateway.get(&format!("/v1/dead-letters/{id}")).await.json["replayable"], false);
    }
    for n in 0..lane {
        assert_eq!(replay(&gateway, ACME, &format!("d{}", n + 3)).await.status, 202);
    }
    let last = format!("d{}", lane + 3);
    let full = replay(&gateway, ACME, &last).await;
    full.is_problem(429, "queue-full");
    assert_eq!(full.header("retry-after"), "10");
    assert_eq!(ids(&gateway.get("/v1/dead-letters").await), ["d1", "d2", &last]);
}

#[tokio::test]
async fn without_nats_letters_are_not_there_rather_than_none() {
    let mut gateway = Gateway::start().await;
    write(&gateway, [rejected("inv-1")]).await;
    gateway.nats.kill().await.unwrap();
    for path in ["/v1/dead-letters", "/v1/dead-letters/d1"] {
        gateway.get(path).await.is_problem(503, "unavailable");
    }
    replay(&gateway, ACME, "d1").await.is_problem(503, "unavailable");
}
