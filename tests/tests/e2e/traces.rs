//! One trace from a webhook to the tenant's callback, and one from a command to the status `read`, through the streams.

use serde_json::Value;
use staffetta_simulator::InboundMessage;
use staffetta_tests::{
    Collected, Collector, Hook, HookPost, Installation, ORDERS, RegistryText, SeenSpan, Service, Setup,
    Storage, text,
};

use crate::apply_lines;
use crate::arrivals::{hook_lines, shown_as};

const USER: &str = "393481213456";
const WORDS: &str = "Quando arriva la merce?";
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

/// A process for each service, and a tenant that is told everything.
async fn started(settings: Vec<(&'static str, String)>) -> (Installation, Vec<Service>, Hook) {
    let setup = Setup { storage: Storage::Postgres, settings, ..Setup::default() };
    let staffetta = Installation::prepare(setup).await.unwrap();
    assert_eq!(staffetta.run(&["migrate"]).await.unwrap().code, Some(0));
    staffetta.apply(&RegistryText::default()).await.unwrap();
    let hook = Hook::start().await.unwrap();
    apply_lines(&staffetta, &hook_lines("acme-erp", hook.url())).await;
    let mut services = Vec::new();
    for role in ["ingress", "recorder", "dispatcher", "delivery", "api"] {
        services.push(staffetta.start(role).await.unwrap());
    }
    // The endpoint begins with what happens from then on.
    shown_as(&services[3], "acme-erp", "well").await;
    (staffetta, services, hook)
}

async fn ask(staffetta: &Installation, id: &str, traceparent: Option<&str>) {
    let mut command = text(id, USER);
    command["channel"] = ORDERS.channel.into();
    let address = format!("{}/v1/messages", staffetta.api_url());
    let mut request = reqwest::Client::new().post(address).bearer_auth("the-key-of-acme").json(&command);
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    assert_eq!(request.send().await.unwrap().status().as_u16(), 202);
}

fn writes(staffetta: &Installation) -> String {
    let message = InboundMessage {
        phone_number_id: ORDERS.phone_number_id.into(),
        from: USER.into(),
        name: Some("Anna".into()),
        text: Some(WORDS.into()),
        message: None,
    };
    staffetta.provider.inbound(message).unwrap()
}

/// The POST that told this: the type, and the status if it is one.
fn of<'a>(posts: &'a [HookPost], kind: &str, status: &str) -> Option<&'a HookPost> {
    posts.iter().find(|post| {
        let told = post.json();
        told["type"] == format!("staffetta.{kind}") && (status.is_empty() || told["data"]["status"] == status)
    })
}

fn traceparent(post: &HookPost) -> (String, String) {
    let header = post.headers.get("traceparent").map(|header| header.to_str().unwrap().to_owned());
    let header = header.unwrap_or_else(|| panic!("no traceparent beside {}", post.json()["type"]));
    let parts: Vec<&str> = header.split('-').collect();
    (parts[1].to_owned(), parts[2].to_owned())
}

/// The names of the spans from the first of the trace to this one.
fn way<'a>(spans: &[&'a SeenSpan], last: &str) -> Vec<&'a str> {
    let mut names = Vec::new();
    let mut next = last.to_owned();
    while let Some(span) = spans.iter().find(|span| span.id == next) {
        names.push(span.name.as_str());
        next = span.parent.clone();
    }
    assert_eq!(next, "", "the way to the first span has a gap after {names:?}");
    names.reverse();
    names
}

#[track_caller]
fn has(spans: &[&SeenSpan], service: &str, kind: i32) {
    let found = spans.iter().any(|span| span.service == format!("staffetta-{service}") && span.kind == kind);
    let seen: Vec<_> = spans.iter().map(|span| (&span.service, span.kind, &span.name)).collect();
    assert!(found, "no span of kind {kind} by {service}: {seen:#?}");
}

const STATUSES: [&str; 3] = ["sent", "delivered", "read"];

/// Whatever order they came in.
fn statuses_are_told(posts: &[HookPost]) -> bool {
    STATUSES.iter().all(|status| of(posts, "message.status", status).is_some())
}

#[tokio::test]
async fn a_trace_goes_from_the_webhook_to_the_callback_and_from_the_command_to_read() {
    let collector = Collector::start().await.unwrap();
    let settings = vec![
        ("STAFFETTA__TELEMETRY__OTLP_ENDPOINT", collector.url().to_owned()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
        ("OTEL_BLRP_SCHEDULE_DELAY", "100".to_owned()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500".to_owned()),
    ];
    let (staffetta, mut services, hook) = started(settings).await;
    let wamid = writes(&staffetta);
    hook.until(|posts| of(posts, "message.received", "").is_some()).await.unwrap();
    ask(&staffetta, "traced", None).await;
    let told = hook.until(statuses_are_told).await.unwrap();
    for service in &mut services {
        // What was not sent yet is sent at the end.
        service.stop().await.unwrap();
    }
    let seen = collector.seen();

    let (trace, last) = traceparent(of(&told, "message.received", "").unwrap());
    let spans = seen.trace(&trace);
    for (service, kind) in
        [("ingress", SERVER), ("recorder", CONSUMER), ("delivery", CONSUMER), ("delivery", CLIENT)]
    {
        has(&spans, service, kind);
    }
    let names = way(&spans, &last);
    assert_eq!(names.first(), Some(&"POST /webhooks/meta/{app}"), "{names:?}");

    let (trace, _) = traceparent(of(&told, "command.accepted", "").unwrap());
    let spans = seen.trace(&trace);
    for (service, kind) in [
        ("api", SERVER),
        ("api", PRODUCER),
        ("dispatcher", CONSUMER),
        ("dispatcher", CLIENT),
        ("recorder", CONSUMER),
        ("delivery", CLIENT),
    ] {
        has(&spans, service, kind);
    }
    for status in STATUSES {
        let post = of(&told, "message.status", status).unwrap();
        let (its_trace, last) = traceparent(post);
        assert_eq!(its_trace, trace, "the status {status} is told in another trace");
        let names = way(&spans, &last);
        assert_eq!(names.first(), Some(&"POST /v1/messages"), "{names:?}");
    }

    everybody_tells(&seen);
    for secret in
        [USER, WORDS, wamid.as_str(), &RegistryText::default().token_of(ORDERS), "the-key-of-acme", "Anna"]
    {
        assert!(!contains(&seen.raw, secret), "telemetry names {secret}");
    }
}

/// Metrics and logs come from each service, by name.
fn everybody_tells(seen: &Collected) {
    for service in ["ingress", "recorder", "dispatcher", "delivery", "api"] {
        let service = format!("staffetta-{service}");
        let measured =
            |name: &str| seen.metrics.iter().any(|metric| metric == &(service.clone(), name.into()));
        assert!(measured("staffetta.component.info"), "{service} measures nothing");
        assert!(seen.logs.iter().any(|(who, _)| *who == service), "{service} logs nothing");
    }
}

fn contains(all: &[u8], part: &str) -> bool {
    all.windows(part.len()).any(|window| window == part.as_bytes())
}

#[tokio::test]
async fn without_a_collector_the_publishers_trace_reaches_the_callback_all_the_same() {
    let (staffetta, _services, hook) = started(Vec::new()).await;
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    ask(&staffetta, "from-outside", Some(given)).await;
    let told = hook.until(statuses_are_told).await.unwrap();
    for (kind, status) in [
        ("command.accepted", ""),
        ("message.status", "sent"),
        ("message.status", "delivered"),
        ("message.status", "read"),
    ] {
        let post = of(&told, kind, status).unwrap();
        assert_eq!(
            post.headers.get("traceparent").map(|header| header.to_str().unwrap()),
            Some(given),
            "{kind}"
        );
    }

    writes(&staffetta);
    let told = hook.until(|posts| of(posts, "message.received", "").is_some()).await.unwrap();
    let post = of(&told, "message.received", "").unwrap();
    assert_eq!(post.headers.get("traceparent"), None);
    assert_eq!(post.json().get("traceparent"), None::<&Value>);
}
