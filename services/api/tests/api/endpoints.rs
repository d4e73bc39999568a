//! `/v1/endpoints`: where a tenant's events go, and how that is going: the same on both databases.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use staffetta_bus::{Encoding, event_message, event_subject};
use staffetta_domain::{Event, EventId, EventType, Object};
use staffetta_store::{Attempt, EndpointKey, EndpointPlace, Parked};
use staffetta_testkit::{Postgres, until};

use crate::harness::{ACME, Answer, Gateway, OTHER, WAIT, register};

const ENDPOINTS: &str = r#"
[[tenant]]
id = "acme"
api_keys = ["key-of-acme", { key = "reader-of-acme", scopes = ["read", "send"] }]
[[endpoint]]
id = "acme-erp"
tenant = "acme"
kind = "webhook"
url = "https://me:hush@erp.acme.example/hooks?token=hush"
types = ["message.*"]
[[endpoint]]
id = "acme-folder"
tenant = "acme"
kind = "spool"
path = "/spool/acme"
channels = ["acme-orders"]
enabled = false
[[endpoint]]
id = "acme-own"
tenant = "acme"
kind = "nats"
[[endpoint]]
id = "other-erp"
tenant = "other"
kind = "webhook"
url = "https://erp.other.example/hooks"
"#;

async fn start() -> Gateway {
    with_endpoints(Gateway::start().await).await
}

async fn with_endpoints(gateway: Gateway) -> Gateway {
    register(&gateway.bus, ENDPOINTS).await;
    for (key, endpoint) in [
        (ACME, "acme-erp"),
        (ACME, "acme-folder"),
        (ACME, "acme-own"),
        (OTHER, "other-erp"),
        ("reader-of-acme", "acme-erp"),
    ] {
        let there = until("the endpoints and the keys", WAIT, async || {
            let answer = gateway.get_as(key, &format!("/v1/endpoints/{endpoint}")).await;
            (answer.status == 200).then_some(())
        });
        there.await.unwrap();
    }
    gateway
}

fn key(endpoint: &str) -> EndpointKey {
    EndpointKey { tenant: "acme".parse().unwrap(), endpoint: endpoint.parse().unwrap() }
}

fn time(second: i64) -> Timestamp {
    "2026-11-21T09:30:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(second)
}

fn place(endpoint: &str, cursor: u64) -> EndpointPlace {
    let (failing_since, last_success) = (Some(time(60)), Some(time(30)));
    EndpointPlace {
        key: key(endpoint),
        epoch: 1,
        cursor,
        log: None,
        failing_since,
        last_success,
        last_error: Some("503".into()),
    }
}

fn event(name: &str, kind: EventType) -> Event {
    Event {
        id: EventId::of(&[name]),
        tenant: "acme".parse().unwrap(),
        channel: "acme-orders".parse().unwrap(),
        kind,
        time: time(0),
        subject: name.into(),
        data: Object::new(),
        trace: None,
    }
}

async fn publish(gateway: &Gateway, event: &Event) -> u64 {
    let (headers, payload) = event_message(event, Encoding::Json);
    let publishing = gateway.bus.jetstream().publish_with_headers(event_subject(event), headers, payload);
    publishing.await.unwrap().await.unwrap().sequence
}

async fn post(gateway: &Gateway, key: &str, path: &str, body: &Value) -> Answer {
    let request = gateway.request(Method::POST, &format!("/v1/endpoints/{path}")).bearer_auth(key);
    Answer::of(request.json(body).send().await.unwrap()).await
}

fn ids(answer: &Answer) -> Vec<&str> {
    answer.json["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_tenant_sees_its_own_endpoints_without_secrets() {
    let gateway = start().await;
    let list = gateway.get("/v1/endpoints").await;
    assert_eq!(list.status, 200);
    assert_eq!(ids(&list), ["acme-erp", "acme-folder", "acme-own"]);
    let expected = json!({
        "id": "acme-erp", "kind": "webhook", "url": "https://erp.acme.example/hooks?…", "format": "cloudevents",
        "channels": [], "types": ["message.*"], "state": "delivering", "disabled": null, "failing_since": null,
        "last_success": null, "last_error": null, "parked": 0,
    });
    assert_eq!(list.json["items"][0], expected);
    let folder = &list.json["items"][1];
    assert_eq!(
        (&folder["kind"], &folder["path"], &folder["state"]),
        (&json!("spool"), &json!("/spool/acme"), &json!("off"))
    );
    assert_eq!(list.json["items"][2]["kind"], "nats");
    assert!(!list.json.to_string().contains("hush"));

    let page = gateway.get("/v1/endpoints?limit=2").await;
    assert_eq!((ids(&page), &page.json["next"]), (vec!["acme-erp", "acme-folder"], &json!("acme-folder")));
    let page = gateway.get("/v1/endpoints?limit=2&cursor=acme-folder").await;
    assert_eq!((ids(&page), &page.json["next"]), (vec!["acme-own"], &Value::Null));
    assert_eq!(ids(&gateway.get_as(OTHER, "/v1/endpoints").await), ["other-erp"]);
}

#[tokio::test]
async fn another_tenants_endpoint_looks_like_none_at_all() {
    let gateway = start().await;
    for (method, path) in [
        (Method::GET, ""),
        (Method::GET, "/attempts"),
        (Method::GET, "/replays"),
        (Method::POST, "/enable"),
        (Method::POST, "/disable"),
        (Method::POST, "/replay"),
    ] {
        let ask = async |id: &str| {
            let request = gateway.request(method.clone(), &format!("/v1/endpoints/{id}{path}"));
            Answer::of(request.bearer_auth(ACME).send().await.unwrap()).await
        };
        let none = ask("no-such").await;
        none.is_problem(404, "endpoint-not-found");
        for id in ["other-erp", "%FF", "A"] {
            assert_eq!(ask(id).await.json, none.json, "{method} {id}{path}");
        }
    }
    assert_eq!(gateway.store.endpoint_states(&"other".parse().unwrap()).await.unwrap(), []);
    assert_eq!(gateway.events().await.len(), 0);
}

#[tokio::test]
async fn how_the_delivery_goes_is_shown_from_sqlite() {
    how_the_delivery_goes_is_shown(&start().await).await;
}

#[tokio::test]
async fn how_the_delivery_goes_is_shown_from_postgresql() {
    let database = Postgres::shared().await.unwrap().database().await.unwrap();
    let gateway = Gateway::start_with_database(database.url()).await;
    how_the_delivery_goes_is_shown(&with_endpoints(gateway).await).await;
}

async fn how_the_delivery_goes_is_shown(gateway: &Gateway) {
    publish(gateway, &event("unwanted", EventType::CommandFailed)).await;
    publish(gateway, &event("wanted", EventType::MessageReceived)).await;
    let parked = Parked {
        sequence: 1,
        conversation: "c1".into(),
        attempts: 3,
        since: time(60),
        due: time(90),
        error: "503".into(),
    };
    assert!(gateway.store.park(&place("acme-erp", 1), &[parked]).await.unwrap());
    let erp = gateway.get("/v1/endpoints/acme-erp").await.json;
    let stored = erp["waiting_since"].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert!(stored <= Timestamp::now());
    let expected = json!({
        "id": "acme-erp", "kind": "webhook", "url": "https://erp.acme.example/hooks?…", "format": "cloudevents",
        "channels": [], "types": ["message.*"], "state": "failing", "disabled": null,
        "failing_since": time(60).to_string(), "last_success": time(30).to_string(), "last_error": "503",
        "parked": 1, "waiting_since": erp["waiting_since"],
    });
    assert_eq!(erp, expected);
    gateway.store.keep_places(&[place("acme-erp", 3)]).await.unwrap();
    assert_eq!(gateway.get("/v1/endpoints/acme-erp").await.json["waiting_since"], Value::Null);

    let attempt = |number: u32, failed: bool| Attempt {
        key: key("acme-erp"),
        event: EventId::of(&[if number < 3 { "a" } else { "b" }]),
        kind: EventType::MessageReceived,
        at: time(i64::from(number)),
        attempt: number,
        duration: Duration::from_millis(12),
        status: failed.then_some(503).or(Some(200)),
        error: failed.then(|| "HTTP 503".into()),
    };
    let attempts: Vec<Attempt> = (1..=5).map(|number| attempt(number, number != 2)).collect();
    gateway.store.log_attempts(&attempts).await.unwrap();
    let numbers = |answer: &Answer| -> Vec<u64> {
        let items = answer.json["items"].as_array().unwrap();
        items.iter().map(|item| item["attempt"].as_u64().unwrap()).collect()
    };
    let list = gateway.get("/v1/endpoints/acme-erp/attempts").await;
    assert_eq!(numbers(&list), [5, 4, 3, 2, 1]);
    let expected = json!({
        "event": EventId::of(&["b"]).as_str(), "type": "staffetta.message.received", "time": time(5).to_string(),
        "attempt": 5, "duration_ms": 12, "status": 503, "error": "HTTP 503",
    });
    assert_eq!(list.json["items"][0], expected);
    let (mut seen, mut path) = (Vec::new(), "/v1/endpoints/acme-erp/attempts?limit=2".to_owned());
    loop {
        let page = gateway.get(&path).await;
        seen.extend(numbers(&page));
        let Some(next) = page.json["next"].as_str() else { break };
        path = format!("/v1/endpoints/acme-erp/attempts?limit=2&cursor={next}");
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
    let of_a = format!("/v1/endpoints/acme-erp/attempts?event={}", EventId::of(&["a"]));
    assert_eq!(numbers(&gateway.get(&of_a).await), [2, 1]);
    assert_eq!(numbers(&gateway.get(&format!("{of_a}&failed=true")).await), [1]);
    assert_eq!(numbers(&gateway.get("/v1/endpoints/acme-folder/attempts").await), [0; 0]);
    for (query, field) in
        [("failed=yes", "failed"), ("event=", "event"), ("cursor=7", "cursor"), ("limit=0", "limit")]
    {
        let wrong = gateway.get(&format!("/v1/endpoints/acme-erp/attempts?{query}")).await;
        wrong.is_problem(400, "invalid-parameter");
        assert_eq!(wrong.json["field"], field, "{query}");
    }
}

#[tokio::test]
async fn an_endpoint_is_disabled_and_enabled_and_each_is_told_once() {
    let gateway = start().await;
    let disabled = post(&gateway, ACME, "acme-erp/disable", &json!({"reason": "maintenance"})).await;
    assert_eq!(disabled.status, 200, "{disabled:?}");
    assert_eq!(disabled.json["state"], "disabled");
    assert_eq!(disabled.json["disabled"]["reason"], "maintenance");
    let again = post(&gateway, ACME, "acme-erp/disable", &json!({})).await;
    assert_eq!(again.json, disabled.json);
    let enabled = post(&gateway, ACME, "acme-erp/enable", &json!({})).await;
    assert_eq!((&enabled.json["state"], &enabled.json["disabled"]), (&json!("delivering"), &Value::Null));
    assert_eq!(post(&gateway, ACME, "acme-erp/enable", &json!({})).await.json, enabled.json);
    let disabled = gateway.request(Method::POST, "/v1/endpoints/acme-erp/disable").bearer_auth(ACME);
    let disabled = Answer::of(disabled.send().await.unwrap()).await;
    assert_eq!(disabled.json["disabled"]["reason"], "disabled through the API");

    // One that took long to tell may stand behind the next.
    let mut events = gateway.told(3).await;
    events.sort_by_key(|event| event.time);
    let told: Vec<(&str, &str, &str, &Value)> = events
        .iter()
        .map(|event| {
            (event.kind.as_str(), event.channel.as_str(), event.subject.as_str(), &event.data["change"])
        })
        .collect();
    let change = |change: &'static str| Value::from(change);
    let (disabled, enabled) = (change("disabled"), change("enabled"));
    let changed = "staffetta.endpoint.changed";
    assert_eq!(told, [&disabled, &enabled, &disabled].map(|change| (changed, "none", "acme-erp", change)));
    assert_eq!(events[0].data["reason"], "maintenance");
    assert_eq!(events[0].data["endpoint"], "acme-erp");
}

#[tokio::test]
async fn only_an_admin_key_changes_endpoints_and_only_those_that_are_delivered_to() {
    let gateway = start().await;
    for path in ["acme-erp/disable", "acme-erp/enable", "acme-erp/replay"] {
        post(&gateway, "reader-of-acme", path, &json!({})).await.is_problem(403, "forbidden");
    }
    assert_eq!(gateway.get_as("reader-of-acme", "/v1/endpoints/acme-erp").await.json["state"], "delivering");
    for path in ["acme-own/disable", "acme-own/enable", "acme-own/replay"] {
        let own = post(&gateway, ACME, path, &json!({"from": "2026-01-01T00:00:00Z"})).await;
        own.is_problem(409, "endpoint-not-delivered");
    }
    for (body, field) in [
        (json!({"reason": "x".repeat(201)}), "reason"),
        (json!({"reason": "a\nb"}), "reason"),
        (json!({"because": "x"}), "payload"),
        (json!([]), "payload"),
    ] {
        let wrong = post(&gateway, ACME, "acme-erp/disable", &body).await;
        wrong.is_problem(400, "invalid-parameter");
        assert_eq!(wrong.json["field"], field, "{body}");
    }
    post(&gateway, ACME, "acme-erp/disable", &json!({"reason": "x".repeat(20_000)}))
        .await
        .is_problem(413, "too-large");
    assert!(gateway.events().await.is_empty());
}

#[tokio::test]
async fn events_of_a_time_are_replayed() {
    let gateway = start().await;
    let nothing = post(&gateway, ACME, "acme-erp/replay", &json!({"from": "2026-01-01T00:00:00Z"})).await;
    nothing.is_problem(409, "nothing-to-replay");
    publish(&gateway, &event("a", EventType::MessageReceived)).await;
    let between = Timestamp::now();
    for name in ["b", "c"] {
        publish(&gateway, &event(name, EventType::MessageReceived)).await;
    }
    let theirs = Event {
        tenant: "other".parse().unwrap(),
        channel: "other-orders".parse().unwrap(),
        ..event("theirs", EventType::MessageReceived)
    };
    publish(&gateway, &theirs).await;

    let all = post(&gateway, ACME, "acme-erp/replay", &json!({"from": "2026-01-01T00:00:00Z"})).await;
    assert_eq!(all.status, 202, "{all:?}");
    assert_eq!((&all.json["next"], &all.json["last"]), (&json!(1), &json!(4)));
    let early = json!({"from": "2026-01-01T00:00:00Z", "until": between.to_string()});
    let early = post(&gateway, ACME, "acme-erp/replay", &early).await;
    assert_eq!((&early.json["next"], &early.json["last"]), (&json!(1), &json!(1)));
    let late = post(&gateway, ACME, "acme-erp/replay", &json!({"from": between.to_string()})).await;
    assert_eq!((&late.json["next"], &late.json["last"]), (&json!(2), &json!(4)));
    let list = gateway.get("/v1/endpoints/acme-erp/replays").await;
    assert_eq!(list.json, json!({"items": [all.json, early.json, late.json], "next": null}));
    assert_eq!(gateway.get("/v1/endpoints/acme-folder/replays").await.json["items"], json!([]));

    for _ in 0..2 {
        let more = post(&gateway, ACME, "acme-erp/replay", &json!({"from": between.to_string()})).await;
        assert_eq!(more.status, 202);
    }
    let full = post(&gateway, ACME, "acme-erp/replay", &json!({"from": between.to_string()})).await;
    full.is_problem(429, "too-many-replays");
    gateway.store.end_replay(all.json["id"].as_i64().unwrap()).await.unwrap();
    let room = post(&gateway, ACME, "acme-erp/replay", &json!({"from": between.to_string()})).await;
    assert_eq!(room.status, 202);
    for body in [
        json!({}),
        json!({"from": "soon"}),
        json!({"from": "2026-01-01T00:00:00Z", "until": "2025-01-01T00:00:00Z"}),
    ] {
        post(&gateway, ACME, "acme-folder/replay", &body).await.is_problem(400, "invalid-parameter");
    }
}

#[tokio::test]
async fn an_endpoint_whose_secret_cannot_be_had_is_the_operators_to_mend() {
    let gateway = start().await;
    let entry = "[[endpoint]]\nid = \"acme-erp\"\ntenant = \"acme\"\nkind = \"webhook\"\n\
                 url = \"https://erp.acme.example\"\nsecret = { env = \"NO_SUCH_VARIABLE_OF_OURS\" }\n";
    register(&gateway.bus, entry).await;
    let broken = until("the change", WAIT, async || {
        let endpoint = gateway.get("/v1/endpoints/acme-erp").await.json;
        (endpoint["state"] == "broken").then_some(endpoint)
    });
    assert!(!broken.await.unwrap().to_string().contains("NO_SUCH_VARIABLE"));
}
