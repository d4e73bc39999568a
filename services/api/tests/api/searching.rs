//! `GET /v1/messages`: the same on both databases.

use jiff::Timestamp;
use serde_json::{Value, json};
use staffetta_domain::MessageState;
use staffetta_store::Settlement;
use staffetta_testkit::Postgres;

use crate::conversations::{ANNA, record, wrote};
use crate::harness::{Gateway, OTHER, text, with};
use crate::life::{WAMID, claim, settle, status};

#[tokio::test]
async fn messages_are_found_by_what_is_asked_for_on_sqlite() {
    messages_are_found_by_what_is_asked_for(&Gateway::start().await).await;
}

#[tokio::test]
async fn messages_are_found_by_what_is_asked_for_on_postgresql() {
    let database = Postgres::shared().await.unwrap().database().await.unwrap();
    messages_are_found_by_what_is_asked_for(&Gateway::start_with_database(database.url()).await).await;
}

/// The ids of a page.
async fn ids(gateway: &Gateway, parameters: &str) -> Vec<String> {
    let answer = gateway.get(&format!("/v1/messages?{parameters}")).await;
    assert_eq!(answer.status, 200, "{parameters}: {answer:?}");
    let items = answer.json["items"].as_array().unwrap();
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

async fn messages_are_found_by_what_is_asked_for(gateway: &Gateway) {
    assert_eq!(ids(gateway, "").await, [""; 0]);
    let post = async |id: &str, change: Value| {
        assert_eq!(gateway.post(&with(text(id), &change)).await.status, 202, "{id}");
    };
    post("a", json!({"callback_data": "order 7"})).await;
    post("b", json!({"to": "+39 348 0000001", "lane": "urgent"})).await;
    let between = Timestamp::now();
    post("c", json!({"channel": "acme-bills", "to": "393480000002"})).await;
    post("d", json!({"to": "IT.1349", "lane": "bulk"})).await;

    claim(gateway, "a").await;
    settle(gateway, "a", Settlement::Accepted(WAMID.parse().unwrap())).await;
    gateway.store.record(&[status(MessageState::Delivered)]).await.unwrap();
    claim(gateway, "b").await;
    settle(gateway, "b", Settlement::Failed("no such user".into())).await;
    record(gateway, &[wrote(ANNA, "wamid.W", 0)]).await;
    gateway
        .put("/v1/contacts/393480000001", &json!({"name": "Bruno Verdi", "company": "Anna & Figli"}))
        .await;

    for (parameters, expected) in [
        ("", &["d", "c", "b", "a"][..]),
        ("channel=acme-bills", &["c"]),
        ("channel=no-such", &[]),
        ("number=39348", &["c", "b", "a"]),
        ("number=%2B39+348+000", &["c", "b"]),
        ("state=queued", &["d", "c"]),
        ("state=delivered", &["a"]),
        ("state=accepted", &[]),
        ("state=failed", &["b"]),
        (&format!("wamid={WAMID}"), &["a"]),
        ("wamid=wamid.none", &[]),
        (&format!("since={between}"), &["d", "c"]),
        (&format!("until={between}"), &["b", "a"]),
        ("name=anna", &["b", "a"]),
        ("name=verdi", &["b"]),
        ("name=nobody", &[]),
        ("name=anna&state=delivered", &["a"]),
        ("state=queued&channel=acme-orders", &["d"]),
    ] {
        assert_eq!(ids(gateway, parameters).await, expected, "{parameters}");
    }
    let all = gateway.get("/v1/messages").await.json;
    let first = &all["items"][3];
    assert_eq!(*first, gateway.get("/v1/messages/a").await.json);
    assert_eq!((&first["to"], &first["callback_data"]), (&json!(ANNA), &json!("order 7")));
    assert_eq!(gateway.get_as(OTHER, "/v1/messages").await.json, json!({"items": [], "next": null}));
}

#[tokio::test]
async fn pages_of_messages_lead_from_one_to_the_next() {
    let gateway = Gateway::start().await;
    let expected: Vec<String> = (0..7).rev().map(|number| format!("m/{number}")).collect();
    for id in expected.iter().rev() {
        let lane = if id > &expected[3] { "urgent" } else { "normal" };
        assert_eq!(gateway.post(&with(text(id), &json!({"lane": lane}))).await.status, 202);
    }
    for parameters in ["limit=2", "limit=3&state=queued", "limit=7", "limit=1&number=393"] {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let answer = gateway.get(&format!("/v1/messages?{parameters}{cursor}")).await.json;
            let items = answer["items"].as_array().unwrap();
            found.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            let Some(next) = answer["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(found, expected, "{parameters}");
    }
    let next = gateway.get("/v1/messages?limit=2").await.json["next"].as_str().unwrap().to_owned();
    let stolen = gateway.get_as(OTHER, &format!("/v1/messages?cursor={next}")).await;
    stolen.is_problem(400, "invalid-parameter");
    assert_eq!(stolen.json["field"], "cursor");
}

#[tokio::test]
async fn a_filter_that_is_not_as_it_must_be_is_named() {
    let gateway = Gateway::start().await;
    for (parameters, field) in [
        ("channel=No%20Id", "channel"),
        ("number=x", "number"),
        ("name=", "name"),
        ("state=received", "state"),
        ("wamid=", "wamid"),
        ("since=yesterday", "since"),
        ("until=1", "until"),
        ("limit=201", "limit"),
        ("cursor=00", "cursor"),
        ("user=1", "user"),
    ] {
        let answer = gateway.get(&format!("/v1/messages?{parameters}")).await;
        answer.is_problem(400, "invalid-parameter");
        assert_eq!(answer.json["field"], field);
    }
}

#[tokio::test]
async fn what_was_said_in_a_conversation_is_found_by_time_and_state() {
    let gateway = Gateway::start().await;
    let leaves: Vec<_> = (0..5).map(|n| wrote(ANNA, &format!("wamid.{n}"), n)).collect();
    record(&gateway, &leaves).await;
    let conversation = gateway.get("/v1/conversations").await.json["items"][0].clone();
    let at = |n: usize| {
        let second = conversation["last_at"].as_str().unwrap().parse::<Timestamp>().unwrap();
        (second - jiff::SignedDuration::from_secs(4 - n as i64)).to_string()
    };
    let path = format!("/v1/conversations/{}/messages", conversation["id"].as_str().unwrap());
    let said = async |parameters: &str| {
        let (mut said, mut cursor) = (Vec::new(), String::new());
        loop {
            let answer = gateway.get(&format!("{path}?{parameters}{cursor}")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let items = answer.json["items"].as_array().unwrap();
            said.extend(items.iter().map(|item| item["wamid"].as_str().unwrap()[6..].to_owned()));
            let Some(next) = answer.json["next"].as_str() else { return said.join(" ") };
            cursor = format!("&cursor={next}");
        }
    };
    assert_eq!(said("").await, "4 3 2 1 0");
    assert_eq!(said(&format!("since={}", at(2))).await, "4 3 2");
    assert_eq!(said(&format!("until={}", at(2))).await, "1 0");
    assert_eq!(said(&format!("since={}&until={}&limit=1", at(1), at(4))).await, "3 2 1");
    assert_eq!(said("state=received&limit=2").await, "4 3 2 1 0");
    assert_eq!(said("state=delivered").await, "");
    assert_eq!(said("wamid=wamid.3").await, "3");
    let wrong = gateway.get(&format!("{path}?state=queued")).await;
    wrong.is_problem(400, "invalid-parameter");
}
