//! `/v1/conversations`: the same on both databases.

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use staffetta_domain::{
    Alias, Direction, Event, EventId, EventType, Lane, Leaf, MessageState, Object, Sighting, Touch,
};
use staffetta_store::{Claim, Outcome, Settlement};
use staffetta_testkit::Postgres;

use crate::harness::{ACME, Answer, Gateway, OTHER};

pub(crate) const ANNA: &str = "393481213456";

#[tokio::test]
async fn a_conversation_is_shown_from_sqlite() {
    a_conversation_is_shown(&Gateway::start().await).await;
}

#[tokio::test]
async fn a_conversation_is_shown_from_postgresql() {
    let database = Postgres::shared().await.unwrap().database().await.unwrap();
    a_conversation_is_shown(&Gateway::start_with_database(database.url()).await).await;
}

async fn a_conversation_is_shown(gateway: &Gateway) {
    let empty = gateway.get("/v1/conversations").await;
    assert_eq!((empty.status.as_u16(), &empty.json), (200, &json!({"items": [], "next": null})));

    record(gateway, &[wrote(ANNA, "wamid.A", 0), edited(ANNA, "wamid.A", 5)]).await;
    sent(gateway, "inv-1", "wamid.B", 10).await;
    record(gateway, &[failed("wamid.B", 12), wrote(ANNA, "wamid.C", 20), withdrawn(ANNA, "wamid.C", 21)])
        .await;

    let list = gateway.get("/v1/conversations").await.json;
    let conversation = list["items"][0].clone();
    let id = conversation["id"].as_str().unwrap();
    let withdrawn = json!({
        "wamid": "wamid.C", "direction": "in", "type": "text", "state": "received", "at": time(20), "from": ANNA,
        "name": "Anna", "withdrawn_at": time(21),
    });
    let expected = json!({
        "id": id, "channel": "acme-orders", "user": {"phone": ANNA, "name": "Anna"}, "unread": 2,
        "window_closes_at": (at(21) + SignedDuration::from_hours(24)).to_string(), "last_at": time(20),
        "last_message": withdrawn, "sequence": 6, "created": conversation["created"],
    });
    assert_eq!(conversation, expected);
    assert_eq!(list["next"], Value::Null);
    assert_eq!(gateway.get(&format!("/v1/conversations/{id}")).await.json, expected);

    let messages = gateway.get(&format!("/v1/conversations/{id}/messages")).await.json;
    let error = json!({"code": 131_026, "title": "Message undeliverable", "hint": "It was not delivered."});
    let expected = json!({"next": null, "items": [
        withdrawn,
        {
            "wamid": "wamid.B", "direction": "out", "type": "text", "state": "failed", "at": time(12),
            "content": {"body": "Fattura pronta"}, "command_id": "inv-1", "callback_data": "order 7",
            "statuses": [{"status": "failed", "at": time(12), "error": error}], "error": error,
        },
        {
            "wamid": "wamid.A", "direction": "in", "type": "text", "state": "received", "at": time(0), "from": ANNA,
            "name": "Anna", "content": {"body": "text of wamid.A"},
            "edited": {"at": time(5), "type": "text", "content": {"body": "better"}},
        },
    ]});
    assert_eq!(messages, expected);
}

#[tokio::test]
async fn pages_lead_from_one_to_the_next() {
    let gateway = Gateway::start().await;
    let leaves: Vec<_> =
        (0..25).map(|n| wrote(&format!("3934800000{n:02}"), &format!("wamid.{n}"), 0)).collect();
    record(&gateway, &leaves).await;
    let numbers = pages(&gateway, "/v1/conversations?limit=10", 3).await;
    let mut phones: Vec<_> = numbers.iter().map(|item| item["user"]["phone"].as_str().unwrap()).collect();
    phones.sort_unstable();
    phones.dedup();
    assert_eq!((numbers.len(), phones.len()), (25, 25));
    assert_eq!(pages(&gateway, "/v1/conversations?limit=25", 1).await, numbers);
    assert_eq!(pages(&gateway, "/v1/conversations?limit=4&number=%2B39+348-00000+1", 3).await.len(), 10);

    let said: Vec<_> = (0..25).map(|n| wrote(ANNA, &format!("wamid.said.{n}"), n / 10)).collect();
    record(&gateway, &said).await;
    let id = gateway.get(&format!("/v1/conversations?number={ANNA}")).await.json["items"][0]["id"].clone();
    let path = format!("/v1/conversations/{}/messages", id.as_str().unwrap());
    let messages = pages(&gateway, &format!("{path}?limit=7"), 4).await;
    let wamids: Vec<_> = messages.iter().map(|item| item["wamid"].as_str().unwrap().to_owned()).collect();
    assert_eq!(wamids, (0..25).rev().map(|n| format!("wamid.said.{n}")).collect::<Vec<_>>());
}

/// All items from all pages.
async fn pages(gateway: &Gateway, path: &str, expected: usize) -> Vec<Value> {
    let mut items = Vec::new();
    let mut address = path.to_owned();
    for page in 1.. {
        let answer = gateway.get(&address).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        items.extend(answer.json["items"].as_array().unwrap().clone());
        match answer.json["next"].as_str() {
            Some(next) => {
                let sign = if path.contains('?') { '&' } else { '?' };
                address = format!("{path}{sign}cursor={next}");
            }
            None => {
                assert_eq!(page, expected, "{path}");
                break;
            }
        }
    }
    items
}

#[tokio::test]
async fn filters_find_what_they_name() {
    let gateway = Gateway::start().await;
    record(&gateway, &[wrote(ANNA, "wamid.A", 0), wrote("447700900123", "wamid.B", 1)]).await;
    let count = async |query: &str| {
        let answer = gateway.get(&format!("/v1/conversations?{query}")).await;
        answer.json["items"].as_array().map_or_else(|| panic!("{answer:?}"), Vec::len)
    };
    assert_eq!(count("number=44").await, 1);
    assert_eq!(count("name=ANN").await, 2);
    assert_eq!(count("name=%00").await, 0);
    assert_eq!(count("channel=acme-orders&unread=true").await, 2);
    assert_eq!(count("channel=other-orders").await, 0);
    assert_eq!(count("unread=false&name=nobody").await, 0);
}

#[tokio::test]
async fn a_parameter_that_is_not_as_it_must_be_is_named() {
    let gateway = Gateway::start().await;
    record(&gateway, &[wrote(ANNA, "wamid.A", 0)]).await;
    let id = gateway.get("/v1/conversations").await.json["items"][0]["id"].as_str().unwrap().to_owned();
    let messages = format!("/v1/conversations/{id}/messages");
    let long = "x".repeat(101);
    for (path, query, field) in [
        ("/v1/conversations", "limit=0", "limit"),
        ("/v1/conversations", "limit=201", "limit"),
        ("/v1/conversations", "limit=", "limit"),
        ("/v1/conversations", "unread=yes", "unread"),
        ("/v1/conversations", "channel=A.B", "channel"),
        ("/v1/conversations", "number=anna", "number"),
        ("/v1/conversations", "number=", "number"),
        ("/v1/conversations", "name=", "name"),
        ("/v1/conversations", &format!("name={long}"), "name"),
        ("/v1/conversations", "page=2", "page"),
        ("/v1/conversations", "limit=1&limit=2", "limit"),
        ("/v1/conversations", "cursor=", "cursor"),
        ("/v1/conversations", "cursor=%FF%00", "cursor"),
        ("/v1/conversations", "cursor=00000000000000000000000000000000000000000000000000", "cursor"),
        (&messages, "limit=x", "limit"),
        (&messages, "unread=true", "unread"),
        (&messages, "cursor=zz", "cursor"),
    ] {
        let answer = gateway.get(&format!("{path}?{query}")).await;
        answer.is_problem(400, "invalid-parameter");
        assert_eq!(answer.json["field"], field, "{query}");
    }
}

#[tokio::test]
async fn a_cursor_serves_its_own_list_alone() {
    let gateway = Gateway::start().await;
    let theirs =
        [of_other(wrote("447700900123", "wamid.X", 0)), of_other(wrote("447700900124", "wamid.Y", 0))];
    record(&gateway, &theirs).await;
    record(
        &gateway,
        &[wrote(ANNA, "wamid.A", 0), wrote(ANNA, "wamid.B", 1), wrote("393480000001", "wamid.C", 2)],
    )
    .await;
    let next = async |key: &str, path: &str| {
        let page = gateway.get_as(key, &format!("{path}?limit=1")).await.json;
        page["next"].as_str().unwrap_or_else(|| panic!("{page}")).to_owned()
    };
    let list = next(ACME, "/v1/conversations").await;
    let foreign = next(OTHER, "/v1/conversations").await;
    let id = gateway.get(&format!("/v1/conversations?number={ANNA}")).await.json["items"][0]["id"].clone();
    let messages = format!("/v1/conversations/{}/messages", id.as_str().unwrap());
    let said = next(ACME, &messages).await;
    for (path, cursor) in
        [("/v1/conversations", &foreign), ("/v1/conversations", &said), (messages.as_str(), &list)]
    {
        gateway.get(&format!("{path}?cursor={cursor}")).await.is_problem(400, "invalid-parameter");
    }
    for (path, cursor) in [("/v1/conversations", &list), (messages.as_str(), &said)] {
        assert_eq!(
            gateway.get(&format!("{path}?cursor={cursor}")).await.json["items"].as_array().unwrap().len(),
            1
        );
    }
}

#[tokio::test]
async fn another_tenants_conversation_looks_like_none_at_all() {
    let gateway = Gateway::start().await;
    record(&gateway, &[wrote(ANNA, "wamid.A", 0)]).await;
    let id = gateway.get("/v1/conversations").await.json["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(gateway.get_as(OTHER, "/v1/conversations").await.json, json!({"items": [], "next": null}));
    for unknown in ["c999", "c", "x", "c-1", "c99999999999999999999", "%FF", "c1%2F2"] {
        for (method, rest) in [(Method::GET, ""), (Method::GET, "/messages"), (Method::POST, "/read")] {
            let ask = async |id: &str| {
                let path = format!("/v1/conversations/{id}{rest}");
                Answer::of(gateway.request(method.clone(), &path).bearer_auth(OTHER).send().await.unwrap())
                    .await
            };
            let foreign = ask(&id).await;
            foreign.is_problem(404, "conversation-not-found");
            assert_eq!(foreign.json, ask(unknown).await.json, "{unknown}");
        }
    }
    assert_eq!(gateway.get(&format!("/v1/conversations/{id}")).await.json["unread"], 1);
    let path = format!("/v1/conversations/{id}");
    Answer::of(gateway.request(Method::GET, &path).send().await.unwrap())
        .await
        .is_problem(401, "unauthorized");
}

#[tokio::test]
async fn reading_leaves_what_came_after() {
    let gateway = Gateway::start().await;
    let leaves: Vec<_> = (0..4).map(|n| wrote(ANNA, &format!("wamid.{n}"), n)).collect();
    record(&gateway, &leaves).await;
    record(&gateway, &[wrote("393480000001", "wamid.elsewhere", 0)]).await;
    let id = gateway.get(&format!("/v1/conversations?number={ANNA}")).await.json["items"][0]["id"].clone();
    let path = format!("/v1/conversations/{}/read", id.as_str().unwrap());
    let read = async |body: &str| {
        let request = gateway.request(Method::POST, &path).bearer_auth(ACME).body(body.to_owned());
        Answer::of(request.send().await.unwrap()).await
    };
    let part = read(r#"{"up_to":"wamid.1"}"#).await;
    assert_eq!((part.status.as_u16(), &part.json["id"], &part.json["unread"]), (200, &id, &json!(2)));
    for (body, field) in [
        ("x", "payload"),
        ("[]", "payload"),
        (r#"{"up_to":1}"#, "up_to"),
        (r#"{"up_to":""}"#, "up_to"),
        (r#"{"upto":"wamid.3"}"#, "upto"),
    ] {
        let answer = read(body).await;
        answer.is_problem(400, "invalid-parameter");
        assert_eq!(answer.json["field"], field);
    }
    for unknown in [r#"{"up_to":"wamid.none"}"#, r#"{"up_to":"wamid.elsewhere"}"#] {
        let answer = read(unknown).await;
        answer.is_problem(404, "message-not-found");
        assert_eq!(answer.json["field"], "up_to");
    }
    read(&"x".repeat(5_000)).await.is_problem(413, "too-large");
    assert_eq!(read("{}").await.json["unread"], 0);
    assert_eq!(read("").await.json["unread"], 0);
    let unread = gateway.get("/v1/conversations?unread=true").await.json;
    assert_eq!(unread["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn without_the_database_nothing_is_shown() {
    let gateway = Gateway::start().await;
    gateway.store.close().await;
    for path in ["/v1/conversations", "/v1/conversations/c1", "/v1/conversations/c1/messages"] {
        let answer = gateway.get(path).await;
        answer.is_problem(503, "unavailable");
        assert_eq!(answer.header("retry-after"), "2");
    }
}

pub(crate) async fn record(gateway: &Gateway, leaves: &[Leaf]) {
    gateway.store.record(leaves).await.unwrap();
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

fn time(seconds: i64) -> String {
    at(seconds).to_string()
}

fn event(kind: EventType, subject: &str, seconds: i64, data: Value) -> Event {
    let Value::Object(data) = data else { panic!("the data of an event is an object") };
    Event {
        id: EventId::of(&[kind.as_str(), subject]),
        tenant: "acme".parse().unwrap(),
        channel: "acme-orders".parse().unwrap(),
        kind,
        time: at(seconds),
        subject: subject.into(),
        data,
        trace: None,
    }
}

fn seen(number: &str, seconds: i64) -> Sighting {
    Sighting {
        aliases: Alias::of_user(number).into_iter().collect(),
        former: Vec::new(),
        name: Some("Anna".into()),
        username: None,
        at: at(seconds),
        wrote: true,
    }
}

/// What the recorder makes of a user's text.
pub(crate) fn wrote(number: &str, wamid: &str, seconds: i64) -> Leaf {
    let raw = json!({"type": "text", "text": {"body": format!("text of {wamid}")}});
    let data = json!({"type": "text", "from": number, "name": "Anna", "raw": raw});
    let touch = Touch::Brought {
        wamid: wamid.parse().unwrap(),
        direction: Direction::In,
        kind: "text".into(),
        state: MessageState::Received,
        at: at(seconds),
        unread: true,
    };
    Leaf {
        sighting: Some(seen(number, seconds)),
        touch: Some(touch),
        ..Leaf::of_event(event(EventType::MessageReceived, wamid, seconds, data))
    }
}

/// The same, written to the other tenant.
fn of_other(mut leaf: Leaf) -> Leaf {
    leaf.event.tenant = "other".parse().unwrap();
    leaf.event.channel = "other-orders".parse().unwrap();
    leaf
}

fn edited(number: &str, wamid: &str, seconds: i64) -> Leaf {
    let data = json!({"message": {"type": "text", "text": {"body": "better"}}});
    let touch = Touch::Edited { wamid: wamid.parse().unwrap(), direction: Direction::In, at: at(seconds) };
    Leaf {
        sighting: Some(seen(number, seconds)),
        touch: Some(touch),
        ..Leaf::of_event(event(EventType::MessageEdited, wamid, seconds, data))
    }
}

fn withdrawn(number: &str, wamid: &str, seconds: i64) -> Leaf {
    let touch = Touch::Withdrawn { wamid: wamid.parse().unwrap(), direction: Direction::In, at: at(seconds) };
    Leaf {
        sighting: Some(seen(number, seconds)),
        touch: Some(touch),
        ..Leaf::of_event(event(EventType::MessageDeleted, wamid, seconds, json!({})))
    }
}

fn failed(wamid: &str, seconds: i64) -> Leaf {
    let error = json!({"code": 131_026, "title": "Message undeliverable", "hint": "It was not delivered."});
    let data = json!({"status": "failed", "error": error});
    let touch = Touch::Moved {
        wamid: wamid.parse().unwrap(),
        state: Some(MessageState::Failed),
        at: at(seconds),
        command: None,
    };
    let sighting = Sighting { wrote: false, name: None, ..seen(ANNA, seconds) };
    Leaf {
        sighting: Some(sighting),
        touch: Some(touch),
        ..Leaf::of_event(event(EventType::MessageStatus, wamid, seconds, data))
    }
}

/// What the dispatcher does.
async fn sent(gateway: &Gateway, id: &str, wamid: &str, seconds: i64) {
    let (tenant, channel) = ("acme".parse().unwrap(), "acme-orders".parse().unwrap());
    let claim = Claim {
        tenant,
        channel,
        id: id.parse().unwrap(),
        lane: Lane::Normal,
        user: ANNA.into(),
        kind: "text".into(),
        content: r#"{"body":"Fattura pronta"}"#.into(),
        callback_data: Some("order 7".into()),
        epoch: 1,
        sequence: 1,
        at: at(seconds),
        in_doubt: event(EventType::CommandInDoubt, id, seconds, Object::new().into()),
        trace: None,
    };
    gateway.store.claim(std::slice::from_ref(&claim)).await.unwrap();
    let outcome = Outcome {
        tenant: claim.tenant,
        channel: claim.channel,
        id: claim.id,
        epoch: 1,
        lane: Lane::Normal,
        user: Some(ANNA.into()),
        called: None,
        at: at(seconds),
        settlement: Settlement::Accepted(wamid.parse().unwrap()),
        event: Some(event(EventType::CommandAccepted, id, seconds, Object::new().into())),
        reach: None,
    };
    gateway.store.settle(&[outcome]).await.unwrap();
}
