//! Tenants are walls: every address that the API describes, with every key that may not use it, about everything that is
//! another's. What is another's is answered as what does not exist.

mod described;

use std::collections::BTreeSet;
use std::time::SystemTime;

use reqwest::Method;
use serde_json::{Value, json};
use staffetta_simulator::{InboundMessage, SimChannel};
use staffetta_testkit::until;
use staffetta_tests::{
    CARE, Hook, Installation, LIMIT, Number, ORDERS, Service, Setup, Streams, User, change, entry, text,
};

use self::described::{MANY, Route, Things, file, routes};
use crate::arrivals::{begun, hook_lines, takes_all, told_to_acme};
use crate::web::{Told, Web, told};
use crate::{all, apply_lines, at_provider, channel_lines, unix_seconds};

const OPERATOR: &str = "the key of whoever runs it";
const ACME: &str = "the-key-of-acme";
const GLOBEX: &str = "the-key-of-globex";
const EXPIRED: &str = "acme-is-late";
/// Each has one scope.
const SCOPED: [(&str, &str); 3] =
    [("read", "acme-reads"), ("send", "acme-sends"), ("admin", "acme-administers")];
/// A number of globex' in an account that is globex' alone.
const SALES: Number = Number {
    channel: "globex-sales",
    tenant: "globex",
    phone_number_id: "700300700300",
    display: "390281777300",
};
const SALES_WABA: &str = "811900811900";
/// Whom globex talks with.
const USER: &str = "447700900321";

/// An installation in which both tenants have one of everything. Globex' words are in nothing of acme's.
struct World {
    staffetta: Installation,
    streams: Streams,
    web: Web,
    hook: Hook,
    theirs: Things,
    own: Things,
    /// How many events there were when acme's endpoint had begun.
    from: usize,
    _up: Service,
}

impl World {
    async fn start() -> Self {
        let settings = vec![("STAFFETTA__API__ADMIN_KEY", OPERATOR.to_owned())];
        let (staffetta, up) = Installation::up(Setup { settings, ..Setup::default() }).await.unwrap();
        let streams = staffetta.streams().await.unwrap();
        let (hook, other) = (Hook::start().await.unwrap(), Hook::start().await.unwrap());
        let scoped: String = SCOPED
            .iter()
            .map(|(scope, key)| format!("{{ key = {key:?}, scopes = [{scope:?}] }}, "))
            .collect();
        let lines = [
            format!(
                "[[tenant]]\nid = \"acme\"\nname = \"acme\"\nencoding = \"json\"\n\
                 api_keys = [{ACME:?}, {scoped} {{ key = {EXPIRED:?}, expires = 2026-01-01T00:00:00Z }}]\n"
            ),
            channel_lines(SALES, 250).replace("\"900900\"", &format!("{SALES_WABA:?}")),
            hook_lines("acme-erp", hook.url()),
            hook_lines("globex-secret-erp", other.url()).replace("\"acme\"", "\"globex\""),
        ];
        apply_lines(&staffetta, &lines.concat()).await;
        staffetta
            .provider
            .put_channel(SimChannel { waba_id: SALES_WABA.into(), ..at_provider(SALES, 250) })
            .unwrap();
        let web = Web::new(&staffetta);
        let followed = async || (web.get("acme-reads", "/v1/channels").await.status == 200).then_some(());
        until("the registry to be followed", LIMIT, followed).await.unwrap();
        let from = begun(&staffetta, &streams, "begin", || !hook.posts().is_empty()).await;
        let theirs = things(&staffetta, &streams, &web, SALES, GLOBEX, "theirs", USER).await;
        let own = things(&staffetta, &streams, &web, ORDERS, ACME, "own", "393481399999").await;
        staffetta.settled(&streams).await.unwrap();
        Self { staffetta, streams, web, hook, theirs, own, from, _up: up }
    }
}

/// Makes one of everything for the tenant of a number.
async fn things(
    staffetta: &Installation,
    streams: &Streams,
    web: &Web,
    number: Number,
    key: &str,
    name: &str,
    user: &str,
) -> Things {
    let tenant = staffetta.tenant(number, streams);
    let wamid = format!("wamid.{name}");
    let someone = User::of_phone(&format!("{name}-person"), user);
    let message = someone.text(&wamid, unix_seconds(SystemTime::now()));
    let mut body = someone.webhook(number, &[message]);
    if number == SALES {
        body["entry"][0]["id"] = SALES_WABA.into();
    }
    staffetta.meta.deliver(&body).await.unwrap();
    let mut command = text(&format!("{name}-1"), user);
    command["callback_data"] = format!("{name}-callback").into();
    assert_eq!(tenant.post(&command).await.unwrap().0.as_u16(), 202);
    let mut bad = text(&format!("{name}-bad"), "12");
    bad["text"]["body"] = format!("{name}-body").into();
    tenant.send(&bad).await.unwrap();
    let contact = web
        .ask(
            key,
            Method::PUT,
            &format!("/v1/contacts/{user}"),
            &json!({ "name": format!("{name}-contact"), "company": format!("{name}-company") }),
        )
        .await;
    assert_eq!(contact.status, 201, "{contact:?}");
    let file = told(file(
        web.request(Method::POST, &format!("/v1/media?channel={}", number.channel)).bearer_auth(key),
        &[],
    ))
    .await;
    assert_eq!(file.status, 201, "{file:?}");
    let wanted = [
        ("message.received", wamid.clone()),
        ("command.accepted", format!("{name}-1")),
        ("command.rejected", format!("{name}-bad")),
    ];
    staffetta.told(streams, &wanted).await.unwrap();
    let first = async |path: &str| {
        let found = until(path, LIMIT, async || {
            web.get(key, path).await.json()["items"][0]["id"].as_str().map(str::to_owned)
        });
        found.await.unwrap()
    };
    Things {
        message: format!("{name}-1"),
        conversation: first(&format!("/v1/conversations?number={user}")).await,
        letter: first("/v1/dead-letters").await,
        channel: number.channel.into(),
        endpoint: if number == SALES { "globex-secret-erp".into() } else { "acme-erp".into() },
        contact: user.into(),
        number: number.phone_number_id.into(),
        account: if number == SALES { SALES_WABA.into() } else { "900900".into() },
        file: file.json()["id"].as_str().unwrap().into(),
        wamid,
    }
}

#[tokio::test]
async fn without_a_key_that_may_nothing_is_served() {
    let world = World::start().await;
    let before = state(&world).await;
    let mut asked = 0;
    for (number, route) in routes(&world.web).await.into_iter().enumerate() {
        let Some(scope) = route.scope.clone() else { continue };
        let web = Web::seen_from(&world.staffetta, number + 1);
        let is_operators = scope == "operator";
        // What is there and one's own, so that the key alone stands in the way.
        let path = match route.path.as_str() {
            path if is_operators => path
                .replace("{kind}", "tenants")
                .replace("{id}", "acme")
                .replace("{channel}", ORDERS.channel)
                .replace("{key}", "0123456789ab"),
            path => world.own.paths(path).remove(0),
        };
        let place = format!("{} {path}", route.method);
        let ask = || world.own.body(web.request(route.method.clone(), &path), &route);

        let none = told(ask()).await;
        assert_eq!(
            (none.status, none.challenge.as_deref()),
            (401, Some("Bearer realm=\"staffetta\"")),
            "{place}: {none:?}"
        );
        assert_eq!(told(ask().basic_auth("acme", Some(ACME))).await, none, "{place}");
        let garbage = told(ask().bearer_auth("guess")).await;
        assert_eq!(garbage.status, 401, "{place}: {garbage:?}");
        assert_eq!(told(ask().bearer_auth(EXPIRED)).await, garbage, "{place}: an expired key");
        assert_eq!(told(ask().bearer_auth(ACME.to_uppercase())).await, garbage, "{place}");
        let stranger = if is_operators { ACME } else { OPERATOR };
        assert_eq!(told(ask().bearer_auth(stranger)).await, garbage, "{place}: {stranger}");
        for (_, key) in SCOPED.into_iter().filter(|(own, _)| *own != scope) {
            let refused = told(ask().bearer_auth(key)).await;
            if is_operators {
                assert_eq!(refused, garbage, "{place}: {key}");
            } else {
                assert_eq!(refused.status, 403, "{place}: {key}: {refused:?}");
            }
        }
        asked += 1;
    }
    assert!(asked >= MANY, "{asked}");
    assert_eq!(state(&world).await, before);
    assert_eq!(world.streams.waiting("SEND").await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_another_tenants_does_not_exist() {
    let world = World::start().await;
    let (theirs, missing) = (&world.theirs, Things::missing());
    let before = state(&world).await;
    let mut asked = 0;
    for route in routes(&world.web).await {
        let names_something =
            route.path.contains('{') || route.path == "/v1/messages" && route.method == Method::POST;
        if !names_something || route.scope.as_deref().is_none_or(|scope| scope == "operator") {
            continue;
        }
        if (route.method.as_str(), route.path.as_str()) == ("PUT", "/v1/contacts/{number}") {
            // A contact of that number is one's own.
            continue;
        }
        for (of_theirs, of_none) in theirs.paths(&route.path).into_iter().zip(missing.paths(&route.path)) {
            let ask = async |things: &Things, path: &str| {
                let request = things.body(world.web.request(route.method.clone(), path), &route);
                let told = told(request.bearer_auth(ACME)).await;
                Told { body: things.left_out(&told.body), ..told }
            };
            let (seen, wanted) = (ask(theirs, &of_theirs).await, ask(&missing, &of_none).await);
            assert_eq!(seen, wanted, "{} {of_theirs}", route.method);
            assert!((400..500).contains(&wanted.status), "{} {of_none}: {wanted:?}", route.method);
            asked += 1;
        }
    }
    assert!(asked > 25, "{asked}");

    // Nor by the names that stand in a query.
    let queries = [
        ("channel", &theirs.channel, &missing.channel),
        ("number", &theirs.contact, &missing.contact),
        ("wamid", &theirs.wamid, &missing.wamid),
        ("name", &"theirs".to_owned(), &"nobody's".to_owned()),
    ];
    for route in routes(&world.web).await.into_iter().filter(Route::is_list) {
        for (name, of_theirs, of_none) in queries {
            let ask = async |value: &str| {
                let told = world.web.get(ACME, &format!("{}?{name}={value}", route.path)).await;
                Told { body: told.body.replace(value, "…"), ..told }
            };
            assert_eq!(ask(of_theirs).await, ask(of_none).await, "{} by {name}", route.path);
        }
    }
    for query in ["channel", "phone_number_id"] {
        let ask = async |things: &Things| {
            let value = if query == "channel" { &things.channel } else { &things.number };
            let path = format!("/v1/media/{}?{query}={value}", things.file);
            let told = world.web.get(ACME, &path).await;
            Told { body: things.left_out(&told.body), ..told }
        };
        assert_eq!(ask(theirs).await, ask(&missing).await, "media by {query}");
        let upload = async |things: &Things| {
            let path = format!("/v1/media?channel={}", things.channel);
            let told = told(file(world.web.request(Method::POST, &path).bearer_auth(ACME), &[])).await;
            Told { body: things.left_out(&told.body), ..told }
        };
        assert_eq!(upload(theirs).await, upload(&missing).await);
    }
    // Nor may a message name a file of theirs: that is the provider's to refuse.
    assert_eq!(state(&world).await, before);
    assert!(world.staffetta.sends(SALES).iter().all(|send| send.text.as_deref() == Some("theirs-1")));
}

/// What somebody else could have changed.
async fn state(world: &World) -> Vec<Value> {
    let mut state = Vec::new();
    for path in [
        "/v1/messages/{id}",
        "/v1/conversations/{id}",
        "/v1/conversations/{id}/messages",
        "/v1/contacts/{number}",
        "/v1/dead-letters/{id}",
        "/v1/channels/{id}",
        "/v1/endpoints/{id}/replays",
        "/graph/{version}/{id}/whatsapp_business_profile",
    ] {
        for (key, things) in [(GLOBEX, &world.theirs), (ACME, &world.own)] {
            let path = things.paths(path).remove(0);
            let answer = world.web.get(key, &path).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            state.push(answer.json());
        }
    }
    let endpoint = world.web.get(GLOBEX, "/v1/endpoints/globex-secret-erp").await.json();
    state.push(endpoint["disabled"].clone());
    state
}

#[tokio::test]
async fn nothing_of_another_tenant_is_in_any_answer() {
    let world = World::start().await;
    // Both know one user: each by its own name.
    let shared = "447700900777";
    for (number, key, name) in [(SALES, GLOBEX, "theirs-shared"), (ORDERS, ACME, "ours-shared")] {
        let put = world
            .web
            .ask(key, Method::PUT, &format!("/v1/contacts/{shared}"), &json!({ "name": name }))
            .await;
        assert_eq!(put.status, 201);
        let wamid = world.staffetta.provider.inbound(InboundMessage {
            phone_number_id: number.phone_number_id.into(),
            from: shared.into(),
            name: Some(format!("{name}-profile")),
            text: Some(format!("{name}-text")),
            message: None,
        });
        world.staffetta.told(&world.streams, &[("message.received", wamid.unwrap())]).await.unwrap();
    }
    // What concerns an account or a number of theirs.
    let quality =
        json!({ "display_phone_number": SALES.display, "event": "FLAGGED", "current_limit": "TIER_250" });
    let mut webhook = entry(&[json!({ "field": "phone_number_quality_update", "value": quality })]);
    webhook["id"] = SALES_WABA.into();
    world.staffetta.meta.deliver(&staffetta_tests::body(&[webhook])).await.unwrap();
    let care = change(CARE, "unheard_of", json!({ "what": "theirs-other" }));
    world.staffetta.meta.deliver(&staffetta_tests::body(&[entry(&[care])])).await.unwrap();
    world.staffetta.settled(&world.streams).await.unwrap();
    let others = until("theirs to be told", LIMIT, async || {
        let events = world.streams.events().await.ok()?;
        events.iter().any(|event| event.data.to_string().contains("theirs-other")).then_some(())
    });
    others.await.unwrap();

    let theirs = world.theirs.all().map(str::to_owned);
    let mut words: BTreeSet<String> = theirs.into_iter().filter(|word| word.len() > 4).collect();
    words.extend(["theirs", "globex", CARE.display, SALES.display].map(str::to_owned));
    words.insert(format!("{:?}", CARE.phone_number_id));
    let told_events = world.streams.events().await.unwrap();
    let of_globex = told_events.iter().filter(|event| event.source.starts_with("/tenants/globex/"));
    words.extend(of_globex.map(|event| event.id.clone()));
    assert!(words.len() > 15, "{words:?}");
    let clean = |place: &str, text: &str| {
        for word in &words {
            // Whoever asks may be told what they asked.
            assert!(
                !text.contains(word.as_str()) || place.contains(word.as_str()),
                "{word} is in {place}: {text}"
            );
        }
    };

    let mut read = 0;
    for route in routes(&world.web).await {
        if route.method != Method::GET || route.scope.as_deref() != Some("read") || route.path == "/v1/events"
        {
            continue;
        }
        for path in world.own.paths(&route.path) {
            let limit = if route.is_list() { "?limit=200" } else { "" };
            let answer = world.web.get(ACME, &format!("{path}{limit}")).await;
            clean(&path, &answer.body);
            read += usize::from(answer.status == 200);
        }
        if route.path.contains('{') {
            for path in world.theirs.paths(&route.path) {
                clean(&path, &world.web.get(ACME, &path).await.body);
            }
        }
    }
    assert!(read > 20, "{read}");
    let live = live_events(&world).await;
    clean("/v1/events", &live);
    assert!(live.contains("wamid.own"), "{live}");
    let told = told_to_acme(&world.streams, world.from).await;
    for post in takes_all(&world.hook, &told).await {
        clean("acme-erp", &post.body);
    }
    // What an operator sees holds both, so the words are right.
    let seen = told_by_operator(&world).await;
    assert!(seen.contains("globex-secret-erp") && seen.contains(SALES.phone_number_id), "{seen}");
}

async fn told_by_operator(world: &World) -> String {
    world.web.get(OPERATOR, "/admin/v1/export").await.body
}

/// Acme's live events from the first on, until one that was told after all else.
async fn live_events(world: &World) -> String {
    let last = text("very-last", "393481300001");
    world.staffetta.tenant(ORDERS, &world.streams).send(&last).await.unwrap();
    world.staffetta.told(&world.streams, &all("command.accepted", &[last])).await.unwrap();
    let request = world.web.request(Method::GET, "/v1/events?since=2026-01-01T00:00:00Z").bearer_auth(ACME);
    let mut answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut live = Vec::new();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        live.extend(chunk);
        if String::from_utf8_lossy(&live).contains("very-last") {
            break;
        }
    }
    String::from_utf8(live).unwrap()
}
