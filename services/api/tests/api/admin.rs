//! `/admin/v1`: the registry and how everybody's traffic stands, as operators meet it.

use std::sync::Arc;

use jiff::Timestamp;
use reqwest::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use staffetta_bus::{DeadLetter, Encoding, MasterKey, Origin};
use staffetta_domain::{CommandId, EventId};
use staffetta_outbox::DeadLetters;
use staffetta_runtime::config::ApiConfig;
use staffetta_store::{ChannelHold, EndpointKey, EndpointPlace};
use staffetta_testkit::until;

use crate::harness::{ACME, Answer, Gateway, Setup, StoodClock, WAIT, register, text};

const OPERATOR: &str = "a-key-of-an-operator";
const SECOND: &str = "another-key-of-operators";

async fn start() -> Gateway {
    let mut setup = Setup::default();
    setup.api = ApiConfig { admin_key: Some(format!("{OPERATOR}, {SECOND}").into()), ..setup.api };
    setup.master = Some(Arc::new(MasterKey::new(&"one master key of ours".to_owned().into())));
    Gateway::start_as(setup).await
}

async fn ask(
    gateway: &Gateway,
    method: Method,
    path: &str,
    body: Option<&Value>,
    header: Option<(HeaderName, &str)>,
) -> Answer {
    let mut request = gateway.request(method, &format!("/admin/v1{path}")).bearer_auth(OPERATOR);
    if let Some(body) = body {
        request = request.json(body);
    }
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    Answer::of(request.send().await.unwrap()).await
}

async fn get(gateway: &Gateway, path: &str) -> Answer {
    ask(gateway, Method::GET, path, None, None).await
}

async fn put_new(gateway: &Gateway, path: &str, body: &Value) -> Answer {
    ask(gateway, Method::PUT, path, Some(body), Some((IF_NONE_MATCH, "*"))).await
}

async fn apply(gateway: &Gateway, query: &str, toml: &str) -> Answer {
    let request = gateway.request(Method::POST, &format!("/admin/v1/apply{query}")).bearer_auth(OPERATOR);
    Answer::of(request.body(toml.to_owned()).send().await.unwrap()).await
}

fn ids(answer: &Answer) -> Vec<&str> {
    answer.json["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

/// Every address for operators.
fn addresses() -> Vec<(Method, &'static str)> {
    vec![
        (Method::GET, "/apps"),
        (Method::GET, "/tenants"),
        (Method::GET, "/nothing"),
        (Method::GET, "/tenants/acme"),
        (Method::PUT, "/tenants/acme"),
        (Method::DELETE, "/tenants/acme"),
        (Method::GET, "/tenants/acme/keys"),
        (Method::POST, "/tenants/acme/keys"),
        (Method::DELETE, "/tenants/acme/keys/abc"),
        (Method::POST, "/apply"),
        (Method::GET, "/export"),
        (Method::GET, "/holds"),
        (Method::DELETE, "/holds/acme-orders"),
        (Method::GET, "/status"),
    ]
}

#[tokio::test]
async fn nobody_but_an_operator_gets_in() {
    let gateway = start().await;
    for (method, path) in addresses() {
        for shown in [None, Some(ACME), Some("a-key-of-an-operato"), Some("")] {
            // So many wrong keys from one address are too many for a while.
            let refused = until("an answer", WAIT, async || {
                let mut request = gateway.request(method.clone(), &format!("/admin/v1{path}"));
                if let Some(shown) = shown {
                    request = request.bearer_auth(shown);
                }
                let answer = Answer::of(request.send().await.unwrap()).await;
                (answer.status != StatusCode::TOO_MANY_REQUESTS).then_some(answer)
            });
            refused.await.unwrap().is_problem(401, "unauthorized");
        }
    }
    for shown in [OPERATOR, SECOND] {
        let request = gateway.request(Method::GET, "/admin/v1/tenants").bearer_auth(shown);
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let stranger = until("an answer", WAIT, async || {
        let answer = gateway.get_as(OPERATOR, "/v1/channels").await;
        (answer.status != StatusCode::TOO_MANY_REQUESTS).then_some(answer)
    });
    stranger.await.unwrap().is_problem(401, "unauthorized");
}

#[tokio::test]
async fn where_no_key_is_configured_no_key_opens() {
    let gateway = Gateway::start().await;
    for shown in ["", OPERATOR, ACME] {
        let request = gateway.request(Method::GET, "/admin/v1/tenants").bearer_auth(shown);
        Answer::of(request.send().await.unwrap()).await.is_problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn keys_cannot_be_guessed_at_speed_and_the_right_one_is_not_made_to_wait() {
    let gateway = start().await;
    let guess = async || {
        let request = gateway.request(Method::GET, "/admin/v1/tenants").bearer_auth("a-wrong-key-of-mine");
        Answer::of(request.send().await.unwrap()).await
    };
    let _still = StoodClock::stop();
    for _ in 0..20 {
        guess().await.is_problem(401, "unauthorized");
    }
    guess().await.is_problem(429, "rate-limited");
    assert_eq!(get(&gateway, "/tenants").await.status, 200);
}

#[tokio::test]
async fn entries_are_made_read_changed_and_taken_out() {
    let gateway = start().await;
    let entry = json!({
        "id": "acme-erp", "tenant": "acme", "kind": "webhook", "url": "https://erp.acme.example/hooks",
        "secret": ["hush-hush", {"env": "ACME_HOOK"}],
    });
    let made = put_new(&gateway, "/endpoints/acme-erp", &entry).await;
    assert_eq!(made.status, 201, "{made:?}");
    let etag = made.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}");
    assert!(!made.json.to_string().contains("hush"), "{made:?}");
    assert_eq!(made.json["secret"][1], json!({"env": "ACME_HOOK"}));
    let read = get(&gateway, "/endpoints/acme-erp").await;
    assert_eq!((read.header("etag"), &read.json), (etag.as_str(), &made.json));
    let followed = until("the API to follow", WAIT, async || {
        (gateway.get("/v1/endpoints/acme-erp").await.status == 200).then_some(())
    });
    followed.await.unwrap();

    // What was read goes back in with a change, and the secret stays.
    let mut changed = read.json.clone();
    changed["types"] = json!(["message.*"]);
    let path = "/endpoints/acme-erp";
    let stale = ask(&gateway, Method::PUT, path, Some(&changed), Some((IF_MATCH, "\"1\""))).await;
    stale.is_problem(412, "changed-meanwhile");
    let unsaid = ask(&gateway, Method::PUT, path, Some(&changed), None).await;
    unsaid.is_problem(428, "precondition-required");
    put_new(&gateway, path, &changed).await.is_problem(412, "changed-meanwhile");
    let written = ask(&gateway, Method::PUT, path, Some(&changed), Some((IF_MATCH, &etag))).await;
    assert_eq!(written.status, 200, "{written:?}");
    assert_ne!(written.header("etag"), etag);
    assert_eq!(written.json, changed);
    let gone =
        ask(&gateway, Method::PUT, "/endpoints/no-such", Some(&json!({})), Some((IF_MATCH, "*"))).await;
    gone.is_problem(422, "invalid-entry");

    for header in [None, Some((IF_MATCH, etag.as_str()))] {
        let refused = ask(&gateway, Method::DELETE, path, None, header).await;
        assert!([412, 428].contains(&refused.status.as_u16()), "{refused:?}");
    }
    let etag = written.header("etag").to_owned();
    let deleted = ask(&gateway, Method::DELETE, path, None, Some((IF_MATCH, &etag))).await;
    assert_eq!(deleted.status, 204);
    get(&gateway, path).await.is_problem(404, "entry-not-found");
    let again = ask(&gateway, Method::DELETE, path, None, Some((IF_MATCH, &etag))).await;
    again.is_problem(404, "entry-not-found");
    // It may come anew.
    assert_eq!(put_new(&gateway, path, &entry).await.status, 201);
}

#[tokio::test]
async fn of_two_who_change_the_same_entry_one_learns_of_the_other() {
    let gateway = start().await;
    let tenant = get(&gateway, "/tenants/acme").await;
    let named = |name: &str| {
        let mut changed = tenant.json.clone();
        changed["name"] = json!(name);
        changed
    };
    let (one, other) = (named("One"), named("Other"));
    let write = |body| {
        ask(&gateway, Method::PUT, "/tenants/acme", Some(body), Some((IF_MATCH, tenant.header("etag"))))
    };
    let (one, other) = tokio::join!(write(&one), write(&other));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412], "{one:?} {other:?}");
    // The key was sent as it was shown, and still opens.
    assert_eq!(gateway.get("/v1/channels").await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_by_name_and_without_secrets() {
    let gateway = start().await;
    let channel = |extra: Value| {
        let mut channel = json!({"tenant": "acme", "provider": "cloud_api", "access_token": "hush-hush"});
        channel.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        channel
    };
    for (path, body, field) in [
        ("/channels/acme-new", channel(json!({"tenant": "nobody"})), Some("tenant")),
        ("/channels/acme-new", channel(json!({"rate": 0})), Some("rate")),
        ("/channels/acme-new", channel(json!({"rat": 7})), Some("rat")),
        ("/channels/acme-new", channel(json!({"app": "no-such"})), Some("app")),
        ("/endpoints/acme-new", json!({"tenant": "acme", "kind": "webhook"}), Some("url")),
        ("/tenants/acme-new", json!({"retention_days": 1}), Some("retention_days")),
    ] {
        let wrong = put_new(&gateway, path, &body).await;
        wrong.is_problem(422, "invalid-entry");
        assert_eq!(wrong.json["field"].as_str(), field, "{body} {wrong:?}");
        assert!(!wrong.json.to_string().contains("hush"));
    }
    for (body, field) in [(json!([]), "payload"), (json!({"id": "other"}), "id"), (json!({"id": 7}), "id")] {
        let wrong = put_new(&gateway, "/tenants/acme-new", &body).await;
        wrong.is_problem(400, "invalid-parameter");
        assert_eq!(wrong.json["field"], field, "{body}");
    }
    for path in ["/tenants/A", "/tenants/a.b", "/tenants/%FF", &format!("/tenants/{}", "x".repeat(64))] {
        get(&gateway, path).await.is_problem(404, "entry-not-found");
        put_new(&gateway, path, &json!({})).await.is_problem(404, "entry-not-found");
    }
    get(&gateway, "/rules").await.is_problem(404, "not-found");
    get(&gateway, "/rules/a").await.is_problem(404, "not-found");

    let tenant = get(&gateway, "/tenants/acme").await;
    let used =
        ask(&gateway, Method::DELETE, "/tenants/acme", None, Some((IF_MATCH, tenant.header("etag")))).await;
    used.is_problem(409, "in-use");
    assert!(used.json["detail"].as_str().unwrap().contains("channel.acme-orders"), "{used:?}");
}

#[tokio::test]
async fn lists_are_by_id_and_go_on_where_they_ended() {
    let gateway = start().await;
    let channels = get(&gateway, "/channels").await;
    assert_eq!(ids(&channels), ["acme-bills", "acme-orders", "other-orders"]);
    assert_eq!(channels.json["items"][1]["entry"]["phone_number_id"], "1001");
    assert!(channels.json["items"][1]["revision"].is_u64());
    let page = get(&gateway, "/channels?limit=2").await;
    assert_eq!((ids(&page), &page.json["next"]), (vec!["acme-bills", "acme-orders"], &json!("acme-orders")));
    let page = get(&gateway, "/channels?limit=2&cursor=acme-orders").await;
    assert_eq!((ids(&page), &page.json["next"]), (vec!["other-orders"], &Value::Null));
    assert_eq!(ids(&get(&gateway, "/apps").await), [""; 0]);
    assert!(!get(&gateway, "/tenants").await.json.to_string().contains(ACME));
    get(&gateway, "/tenants?limit=0").await.is_problem(400, "invalid-parameter");
}

#[tokio::test]
async fn a_file_is_applied_as_the_command_does_it() {
    let gateway = start().await;
    let file = "[[tenant]]\nid = \"acme\"\nname = \"Acme S.p.A.\"\napi_keys = [\"key-of-acme\"]\n\
                [[app]]\nid = \"meta-main\"\napp_secret = \"hush-hush\"\n";
    let dry = apply(&gateway, "?dry_run=true", file).await;
    assert_eq!(dry.status, 200, "{dry:?}");
    assert_eq!(dry.json["applied"], false);
    get(&gateway, "/apps/meta-main").await.is_problem(404, "entry-not-found");
    let done = apply(&gateway, "", file).await;
    assert_eq!((&done.json["applied"], &done.json["changes"]), (&json!(true), &dry.json["changes"]));
    let change = |key: &str| {
        let changes = done.json["changes"].as_array().unwrap();
        changes.iter().find(|change| change["entry"] == key).unwrap().clone()
    };
    assert_eq!(change("app.meta-main")["change"], "created");
    let tenant = change("tenant.acme");
    assert_eq!((&tenant["change"], &tenant["fields"][0]["name"]), (&json!("updated"), &json!("name")));
    assert!(!done.json.to_string().contains("hush"));
    assert_eq!(apply(&gateway, "", file).await.json["changes"], json!([]));
    assert_eq!(get(&gateway, "/channels/acme-orders").await.status, 200);

    let pruned = apply(&gateway, "?prune=true&dry_run=true", file).await;
    let deleted = pruned.json["changes"].as_array().unwrap();
    assert!(deleted.iter().any(|change| change["entry"] == "tenant.other" && change["change"] == "deleted"));

    let wrong = apply(&gateway, "", "[[tenant]]\nid = \"acme\"\nnam = \"hush\"\n").await;
    wrong.is_problem(422, "invalid-entry");
    let detail = wrong.json["detail"].as_str().unwrap();
    assert!(detail.contains("line 3") && detail.contains("nam") && !detail.contains("hush"), "{detail}");
    apply(&gateway, "?dry_run=yes", file).await.is_problem(400, "invalid-parameter");
}

#[tokio::test]
async fn an_export_is_a_file_that_changes_nothing() {
    let gateway = start().await;
    let app = json!({"app_secret": "hush-hush", "verify_token": {"env": "META_VERIFY_TOKEN"}});
    assert_eq!(put_new(&gateway, "/apps/meta-main", &app).await.status, 201);
    let request = gateway.request(Method::GET, "/admin/v1/export").bearer_auth(OPERATOR);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/toml");
    let exported = answer.text().await.unwrap();
    assert!(exported.contains("meta-main") && exported.contains("acme-orders"), "{exported}");
    assert!(!exported.contains("hush") && !exported.contains(ACME));
    let applied = apply(&gateway, "?prune=true", &exported).await;
    assert_eq!((applied.status.as_u16(), &applied.json["changes"]), (200, &json!([])), "{applied:?}");
}

#[tokio::test]
async fn a_key_is_made_shown_once_used_and_taken_away() {
    let gateway = start().await;
    // Whoever was there before goes on when an address has shown too many keys that do not open.
    assert_eq!(gateway.get("/v1/channels").await.status, 200);
    let wanted = json!({"name": "till", "scopes": ["read"], "expires": "2099-01-01T00:00:00Z"});
    let made = ask(&gateway, Method::POST, "/tenants/acme/keys", Some(&wanted), None).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.header("cache-control"), "no-store");
    let key = made.json["key"].as_str().unwrap().to_owned();
    let id = made.json["id"].as_str().unwrap().to_owned();
    assert_eq!(made.json["scopes"], json!(["read"]));
    let opens = until("the key to open", WAIT, async || {
        (gateway.get_as(&key, "/v1/channels").await.status == 200).then_some(())
    });
    opens.await.unwrap();
    let send = gateway.request(Method::POST, "/v1/messages").bearer_auth(&key).json(&text("a"));
    assert_eq!(send.send().await.unwrap().status(), 403);

    let keys = get(&gateway, "/tenants/acme/keys").await;
    let expected = json!({
        "id": id, "name": "till", "scopes": ["read"], "expires": "2099-01-01T00:00:00Z", "kept": "digest",
    });
    assert_eq!(keys.json["items"][1], expected);
    assert_eq!(keys.json["items"][0]["scopes"], json!(["send", "read", "admin"]));
    assert!(!get(&gateway, "/tenants/acme").await.json.to_string().contains(&key));

    let path = format!("/tenants/acme/keys/{id}");
    assert_eq!(ask(&gateway, Method::DELETE, &path, None, None).await.status, 204);
    ask(&gateway, Method::DELETE, &path, None, None).await.is_problem(404, "key-not-found");
    let shut = until("the key to open no more", WAIT, async || {
        (gateway.get_as(&key, "/v1/channels").await.status == 401).then_some(())
    });
    shut.await.unwrap();
    assert_eq!(gateway.get("/v1/channels").await.status, 200);

    let everything = ask(&gateway, Method::POST, "/tenants/acme/keys", None, None).await;
    assert_eq!(everything.json["scopes"], json!(["send", "read", "admin"]));
    for (body, field) in [
        (json!({"scopes": ["root"]}), "payload"),
        (json!({"scopes": []}), "scopes"),
        (json!({"expires": "2020-01-01T00:00:00Z"}), "expires"),
        (json!({"key": "mine"}), "payload"),
    ] {
        let wrong = ask(&gateway, Method::POST, "/tenants/acme/keys", Some(&body), None).await;
        wrong.is_problem(400, "invalid-parameter");
        assert_eq!(wrong.json["field"], field, "{body}");
    }
    for id in ["nobody", "A", "%FF"] {
        let none = ask(&gateway, Method::POST, &format!("/tenants/{id}/keys"), None, None).await;
        none.is_problem(404, "entry-not-found");
    }
}

#[tokio::test]
async fn many_keys_made_at_the_same_time_are_all_there() {
    let gateway = start().await;
    let make = || ask(&gateway, Method::POST, "/tenants/acme/keys", None, None);
    let made = tokio::join!(make(), make(), make());
    let mut ids = Vec::new();
    for answer in [made.0, made.1, made.2] {
        match answer.status.as_u16() {
            201 => ids.push(answer.json["id"].clone()),
            // Whoever was slower three times is told, and made nothing.
            _ => answer.is_problem(412, "changed-meanwhile"),
        }
    }
    let keys = get(&gateway, "/tenants/acme/keys").await;
    let kept: Vec<Value> =
        keys.json["items"].as_array().unwrap().iter().map(|key| key["id"].clone()).collect();
    assert!(ids.iter().all(|id| kept.contains(id)) && kept.len() == ids.len() + 1, "{ids:?} {kept:?}");
}

#[tokio::test]
async fn holds_are_seen_and_lifted() {
    let gateway = start().await;
    let hold = ChannelHold {
        tenant: "acme".parse().unwrap(),
        channel: "acme-orders".parse().unwrap(),
        class: "token".into(),
        code: 190,
        reason: "Error validating access token".into(),
        since: "2026-11-21T09:30:00Z".parse().unwrap(),
    };
    gateway.store.put_hold(&hold).await.unwrap();
    let expected = json!({
        "tenant": "acme", "channel": "acme-orders", "class": "token", "code": 190,
        "reason": "Error validating access token", "since": "2026-11-21T09:30:00Z",
    });
    let list = get(&gateway, "/holds").await;
    assert_eq!(list.json, json!({"items": [expected], "next": null}));
    ask(&gateway, Method::DELETE, "/holds/acme-bills", None, None).await.is_problem(404, "hold-not-found");
    let lifted = ask(&gateway, Method::DELETE, "/holds/acme-orders", None, None).await;
    assert_eq!((lifted.status.as_u16(), &lifted.json), (200, &list.json));
    ask(&gateway, Method::DELETE, "/holds/acme-orders", None, None).await.is_problem(404, "hold-not-found");
    assert_eq!(gateway.store.holds(None).await.unwrap(), []);
}

#[tokio::test]
async fn how_everybodys_traffic_stands_is_one_look() {
    let gateway = start().await;
    let endpoint = |id: &str| {
        format!(
            "[[endpoint]]\nid = \"{id}\"\ntenant = \"acme\"\nkind = \"webhook\"\nurl = \"https://a.example\"\n"
        )
    };
    let broken = "[[endpoint]]\nid = \"broken\"\ntenant = \"acme\"\nkind = \"webhook\"\nurl = \"https://a.example\"\n\
                  secret = { env = \"NO_SUCH_VARIABLE_OF_OURS\" }\n";
    register(&gateway.bus, &(endpoint("failing") + &endpoint("fine") + &endpoint("off") + broken)).await;
    let key = |id: &str| EndpointKey { tenant: "acme".parse().unwrap(), endpoint: id.parse().unwrap() };
    let now = Timestamp::now();
    let place = EndpointPlace {
        key: key("failing"),
        epoch: 1,
        cursor: 1,
        log: None,
        failing_since: Some(now),
        last_success: None,
        last_error: Some("503".into()),
    };
    gateway.store.keep_places(&[place]).await.unwrap();
    let there = until("the endpoints", WAIT, async || {
        let gone = gateway.request(Method::POST, "/v1/endpoints/off/disable").bearer_auth(ACME);
        (gone.send().await.unwrap().status() == 200).then_some(())
    });
    there.await.unwrap();
    let letter = |id: &str| DeadLetter {
        id: EventId::of(&[id]),
        service: "dispatcher",
        tenant: "acme".parse().ok(),
        channel: "acme-orders".parse().ok(),
        reason: "invalid_command",
        detail: "to: is missing".into(),
        subject: "staffetta.v1.send.acme.acme-orders.normal".into(),
        encoding: Encoding::Json,
        payload: "{}".into(),
        time: now,
        origin: Origin::Command(id.parse::<CommandId>().unwrap()),
    };
    for id in ["a", "b", "c"] {
        DeadLetters::new(gateway.bus.clone()).write(&letter(id)).await.unwrap();
    }
    assert_eq!(gateway.post(&text("waiting")).await.status, 202);

    // The other entries may be known a moment after the one that was waited for.
    let status = until("all endpoints", WAIT, async || {
        let status = get(&gateway, "/status").await;
        (status.json["items"][0]["endpoints"]["count"] == 4).then_some(status)
    });
    let status = status.await.unwrap();
    let nothing = json!({"urgent": 0, "normal": 0, "bulk": 0});
    let acme = json!({
        "tenant": "acme", "name": "", "dead_letters": 3,
        "channels": [
            {"id": "acme-bills", "hold": null, "backlog": nothing},
            {"id": "acme-orders", "hold": null, "backlog": {"urgent": 0, "normal": 1, "bulk": 0}},
        ],
        "endpoints": {"count": 4, "failing": ["failing"], "disabled": ["off"], "broken": ["broken"], "parked": 0},
    });
    assert_eq!(status.json["items"][0], acme);
    assert_eq!(status.json["items"][1]["dead_letters"], 0);
    let page = get(&gateway, "/status?limit=1").await;
    assert_eq!((&page.json["items"][0]["tenant"], &page.json["next"]), (&json!("acme"), &json!("acme")));
    let page = get(&gateway, "/status?limit=1&cursor=acme").await;
    assert_eq!((&page.json["items"][0]["tenant"], &page.json["next"]), (&json!("other"), &Value::Null));
}
