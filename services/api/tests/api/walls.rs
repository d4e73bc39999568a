//! Every route that the API's description names, with every key that may not use it. What a request of somebody else's
//! is answered is the same whether the thing is there or not.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use staffetta_runtime::config::GraphConfig;

use crate::conversations::{ANNA, record, wrote};
use crate::dead_letters::{rejected, write};
use crate::harness::{Gateway, OTHER, Setup, text};

const REGISTRY: &str = r#"
[[tenant]]
id = "acme"
api_keys = [
    "key-of-acme",
    { key = "acme-reads", scopes = ["read"] },
    { key = "acme-sends", scopes = ["send"] },
    { key = "acme-administers", scopes = ["admin"] },
    { key = "acme-is-late", expires = "2026-01-01T00:00:00Z" },
]
[[tenant]]
id = "other"
api_keys = ["key-of-other"]
[[channel]]
id = "acme-orders"
tenant = "acme"
provider = "cloud_api"
phone_number_id = "1001"
waba_id = "5001"
[[channel]]
id = "other-orders"
tenant = "other"
provider = "cloud_api"
phone_number_id = "2002"
waba_id = "6002"
[[endpoint]]
id = "acme-erp"
tenant = "acme"
kind = "webhook"
url = "https://erp.acme.example/hooks"
secret = { env = "PATH" }
"#;

/// One operation of the description.
struct Route {
    method: Method,
    path: String,
    /// `read`, `send`, `admin` or `operator`; none if it needs no key.
    scope: Option<String>,
    /// Whether its answer never ends.
    is_stream: bool,
}

async fn routes(gateway: &Gateway) -> Vec<Route> {
    let document = gateway.request(Method::GET, "/openapi.json").send().await.unwrap();
    let document: Value = document.json().await.unwrap();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let needed = operation["security"][0].as_object().unwrap().iter().next();
            let scope = |(name, scopes): (&String, &Value)| match name.as_str() {
                "key" => scopes[0].as_str().unwrap().to_owned(),
                name => name.to_owned(),
            };
            routes.push(Route {
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                scope: needed.map(scope),
                is_stream: operation["responses"]["200"]["content"]["text/event-stream"].is_object(),
            });
        }
    }
    assert!(routes.len() > 20, "{} routes", routes.len());
    routes
}

/// What addresses name.
struct Things {
    message: String,
    conversation: String,
    letter: String,
    channel: &'static str,
    endpoint: &'static str,
    number: &'static str,
    phone_number_id: &'static str,
    waba_id: &'static str,
}

impl Things {
    /// Nobody's.
    fn missing() -> Self {
        Self {
            message: "no-such".into(),
            conversation: "c999999".into(),
            letter: "d999999".into(),
            channel: "no-such",
            endpoint: "no-such",
            number: "390000000000",
            phone_number_id: "9009",
            waba_id: "9010",
        }
    }

    /// One of each, of acme's.
    async fn of_acme(gateway: &Gateway) -> Self {
        assert_eq!(gateway.post(&text("inv-1")).await.status, 202);
        record(gateway, &[wrote(ANNA, "wamid.A", 0)]).await;
        write(gateway, [rejected("inv-2")]).await;
        let contact = json!({"name": "Anna Bianchi", "whatsapp": true});
        assert_eq!(gateway.put(&format!("/v1/contacts/{ANNA}"), &contact).await.status, 201);
        let first =
            async |path: &str| gateway.get(path).await.json["items"][0]["id"].as_str().unwrap().to_owned();
        Self {
            message: "inv-1".into(),
            conversation: first("/v1/conversations").await,
            letter: first("/v1/dead-letters").await,
            channel: "acme-orders",
            endpoint: "acme-erp",
            number: ANNA,
            phone_number_id: "1001",
            waba_id: "5001",
        }
    }

    /// The path with these things in it.
    fn in_path(&self, path: &str) -> String {
        let id = match path.split('/').nth(2).unwrap_or_default() {
            "messages" => &self.message,
            "conversations" => &self.conversation,
            "dead-letters" => &self.letter,
            "channels" => self.channel,
            "endpoints" => self.endpoint,
            _ if path.ends_with("/phone_numbers") || path.ends_with("/message_templates") => self.waba_id,
            // On the provider's side everything is a number.
            _ => self.phone_number_id,
        };
        path.replace("{number}", self.number)
            .replace("{version}", "v23.0")
            .replace("{phone_number_id}", self.phone_number_id)
            .replace("{waba_id}", self.waba_id)
            .replace("{kind}", "tenants")
            .replace("{channel}", self.channel)
            .replace("{key}", "0123456789ab")
            .replace("{media_id}", self.phone_number_id)
            .replace("{id}", id)
    }

    /// A text without their names.
    fn left_out(&self, text: &str) -> String {
        [
            &self.message,
            &self.conversation,
            &self.letter,
            self.channel,
            self.endpoint,
            self.number,
            self.phone_number_id,
            self.waba_id,
        ]
        .into_iter()
        .fold(text.to_owned(), |text, name| text.replace(name, "…"))
    }
}

/// A gateway with the registry above, whose provider is not there.
async fn start() -> Gateway {
    let graph = GraphConfig { base_url: "http://127.0.0.1:1".into(), ..GraphConfig::default() };
    Gateway::start_as(Setup { registry: REGISTRY, graph, ..Setup::default() }).await
}

/// What a request was answered, as far as it may tell anything.
#[derive(Debug, PartialEq)]
struct Told {
    status: u16,
    challenge: Option<String>,
    body: String,
}

async fn told(request: RequestBuilder) -> Told {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let challenge = answer.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
    let mut body = answer.text().await.unwrap();
    // Meta's errors have a number of their own each time.
    if let Some((before, rest)) = body.split_once(r#""fbtrace_id":""#) {
        body = format!("{before}{}", rest.split_once('"').unwrap().1);
    }
    Told { status, challenge, body }
}

#[tokio::test]
async fn without_a_key_that_may_nothing_is_served() {
    let mut gateway = start().await;
    for (number, route) in routes(&gateway).await.into_iter().enumerate() {
        let Some(scope) = &route.scope else { continue };
        // Strangers are counted: each route is asked from an address of its own.
        gateway.seen_from([127, 0, 1, u8::try_from(number + 1).unwrap()]);
        let path = Things::missing().in_path(&route.path);
        assert!(!path.contains('{'), "say what stands in {path}");
        let place = format!("{} {path}", route.method);
        let ask = || gateway.request(route.method.clone(), &path).json(&json!({}));

        let none = told(ask()).await;
        assert_eq!(none.status, 401, "{place}: {none:?}");
        assert_eq!(none.challenge.as_deref(), Some(r#"Bearer realm="staffetta""#), "{place}");
        assert_eq!(told(ask().basic_auth("acme", Some("key-of-acme"))).await, none, "{place}");
        let unknown = told(ask().bearer_auth("guess")).await;
        assert_eq!(unknown.status, 401, "{place}: {unknown:?}");
        let challenge = r#"Bearer realm="staffetta", error="invalid_token""#;
        assert_eq!(unknown.challenge.as_deref(), Some(challenge), "{place}");
        assert_eq!(told(ask().bearer_auth("acme-is-late")).await, unknown, "{place}");
        assert_eq!(told(ask().bearer_auth("KEY-OF-ACME")).await, unknown, "{place}");

        let keys = [("read", "acme-reads"), ("send", "acme-sends"), ("admin", "acme-administers")];
        for (_, key) in keys.into_iter().filter(|(own, _)| own != scope) {
            let refused = told(ask().bearer_auth(key)).await;
            if scope == "operator" {
                assert_eq!(refused, unknown, "{place} with {key}");
            } else {
                assert_eq!(refused.status, 403, "{place} with {key}: {refused:?}");
                assert!(refused.challenge.unwrap().contains("insufficient_scope"), "{place}");
            }
        }
    }
    assert!(gateway.queue().await.is_empty());
    assert!(gateway.events().await.is_empty());
}

#[tokio::test]
async fn an_address_takes_the_methods_that_are_described_and_no_other() {
    let gateway = start().await;
    let mut described: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for route in routes(&gateway).await {
        let methods = described.entry(Things::missing().in_path(&route.path)).or_default();
        methods.insert(route.method.to_string());
        if route.method == Method::GET {
            methods.insert("HEAD".into());
        }
    }
    for (path, methods) in described {
        let request = gateway.request("PROPFIND".parse().unwrap(), &path).bearer_auth("key-of-acme");
        let answer = request.send().await.unwrap();
        // Meta has no other word for it.
        assert_eq!(answer.status(), if path.starts_with("/graph/") { 400 } else { 405 }, "{path}");
        let allowed = answer.headers()["allow"].to_str().unwrap().split(',').map(str::to_owned);
        assert_eq!(allowed.collect::<BTreeSet<_>>(), methods, "{path}");
    }
}

#[tokio::test]
async fn what_is_another_tenants_is_told_from_nothing_in_no_way() {
    let gateway = start().await;
    let (theirs, missing) = (Things::of_acme(&gateway).await, Things::missing());
    let before = state(&gateway, &theirs).await;
    let mut asked = 0;
    for route in routes(&gateway).await {
        if !route.path.contains('{') || route.scope.is_none_or(|scope| scope == "operator") {
            continue;
        }
        let ask = async |things: &Things| {
            let body = body(&route.path, things);
            let request = gateway.request(route.method.clone(), &things.in_path(&route.path));
            let mut told = told(request.bearer_auth(OTHER).json(&body)).await;
            told.body = things.left_out(&told.body);
            told
        };
        // A contact of the same number is one's own.
        if (route.method.clone(), route.path.as_str()) == (Method::PUT, "/v1/contacts/{number}") {
            assert_eq!(ask(&theirs).await.status, 201);
            assert_eq!(gateway.delete_as(OTHER, &theirs.in_path(&route.path)).await.status, 204);
            continue;
        }
        let (of_theirs, of_none) = (ask(&theirs).await, ask(&missing).await);
        assert_eq!(of_theirs, of_none, "{} {}", route.method, route.path);
        assert!((400..=503).contains(&of_none.status), "{} {}: {of_none:?}", route.method, route.path);
        asked += 1;
    }
    assert!(asked > 12, "{asked} routes");
    assert_eq!(state(&gateway, &theirs).await, before);
}

#[tokio::test]
async fn a_list_of_another_tenants_channel_is_told_from_one_of_none_in_no_way() {
    let gateway = start().await;
    Things::of_acme(&gateway).await;
    let filters = [("channel", "acme-orders"), ("name", "Anna"), ("number", "39348"), ("wamid", "wamid.A")];
    for route in routes(&gateway).await {
        let is_list = route.method == Method::GET && !route.path.contains('{') && !route.is_stream;
        if !is_list || route.scope.as_deref() != Some("read") {
            continue;
        }
        for (name, theirs) in filters {
            let ask = async |value: &str| {
                let path = format!("{}?{name}={value}", route.path);
                let mut told = told(gateway.request(Method::GET, &path).bearer_auth(OTHER)).await;
                told.body = told.body.replace(value, "…");
                told
            };
            assert_eq!(ask(theirs).await, ask("000").await, "{} by {name}", route.path);
        }
    }
}

/// A body that the route would take.
fn body(path: &str, things: &Things) -> Value {
    match path {
        "/v1/conversations/{id}/read" => json!({"up_to": "wamid.A"}),
        "/v1/endpoints/{id}/replay" => json!({"from": "2026-01-01T00:00:00Z"}),
        path if path.starts_with("/graph/") => json!({
            "messaging_product": "whatsapp", "to": things.number, "type": "text", "text": {"body": "x"},
        }),
        _ => json!({"name": "Anna"}),
    }
}

/// What somebody else could have changed.
async fn state(gateway: &Gateway, things: &Things) -> Vec<Value> {
    let mut state = Vec::new();
    for path in [
        "/v1/messages/{id}",
        "/v1/conversations/{id}",
        "/v1/conversations/{id}/messages",
        "/v1/contacts/{number}",
        "/v1/dead-letters/{id}",
        "/v1/endpoints/{id}",
        "/v1/endpoints/{id}/replays",
    ] {
        let answer = gateway.get(&things.in_path(path)).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        state.push(answer.json);
    }
    state.push(json!(gateway.queue().await.len()));
    state
}
