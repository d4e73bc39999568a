//! What a delivery shows of itself: the traces of the events, and its metrics, with just the labels that
//! `docs/metrics.md` names. The tests of this program share one `/metrics`, so each looks at endpoints of its own, or is
//! alone when it looks at what has no label.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use staffetta_domain::{Event, EventType};
use staffetta_runtime::config::TelemetryConfig;
use staffetta_runtime::telemetry::Telemetry;
use staffetta_testkit::{Company, until};

use crate::harness::{LIMIT, Storage, World};
use crate::receiver::{OK, status};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn without_a_collector_an_event_s_trace_is_passed_on_in_each_try() {
    let (world, delivery) = World::start(Storage::Sqlite, &["traced"]).await;
    world.receiver.answers("traced", |_, before| if before == 0 { status(422) } else { OK });
    let untraced = world.tell("c1").await;
    world.taken("traced", std::slice::from_ref(&untraced)).await;
    let untraced_id = untraced.id.clone();
    let mut event = Event { trace: Some(TRACE.parse().unwrap()), kind: EventType::MessageStatus, ..untraced };
    event.id = staffetta_domain::EventId::of(&["traced"]);
    event.data.insert("conversation_id".into(), "c2".into());
    let (id, refused) = (event.id.clone(), AtomicBool::default());
    world.receiver.answers("traced", move |seen, _| {
        let is_first = seen.id == id.as_str() && !refused.swap(true, Ordering::Relaxed);
        if is_first { status(422) } else { OK }
    });
    world.publish(&event).await;
    world.taken("traced", std::slice::from_ref(&event)).await;

    // After a lease that was lost on a busy machine an event may come more often.
    let seen = world.receiver.seen("traced");
    for (id, trace) in [(untraced_id, None), (event.id, Some(TRACE))] {
        let of = seen.iter().filter(|seen| seen.id == id.as_str());
        let traces: Vec<_> = of.map(|seen| seen.trace.as_deref()).collect();
        assert!(traces.len() >= 2 && traces.iter().all(|seen| *seen == trace), "{trace:?}: {traces:?}");
    }
    delivery.stop().await;
}

#[tokio::test]
async fn how_endpoints_fare_is_shown() {
    let telemetry = telemetry();
    let _alone = Company::nobody().await;
    let (world, delivery) = World::start(Storage::Sqlite, &["gone-erp", "shy-erp"]).await;
    world.receiver.answers("gone-erp", |_, _| status(410));
    world.receiver.answers("shy-erp", |seen, _| if seen.conversation == "bad" { status(422) } else { OK });
    world.tell("bad").await;
    let taken = world.tell("good").await;
    world.taken("shy-erp", &[taken]).await;

    let of = |id| [("endpoint_id", id), ("tenant", "acme")];
    let state = |id, state| [("endpoint_id", id), ("state", state), ("tenant", "acme")];
    let outcome = |id, outcome| [("endpoint_id", id), ("outcome", outcome), ("tenant", "acme")];
    shows(telemetry, "staffetta_endpoint_state", &state("gone-erp", "disabled"), |value| value == 1.0).await;
    shows(telemetry, "staffetta_endpoint_state", &state("shy-erp", "well"), |value| value == 1.0).await;
    shows(telemetry, "staffetta_endpoint_parked", &of("shy-erp"), |value| value == 1.0).await;
    shows(telemetry, "staffetta_endpoint_parked", &of("gone-erp"), |value| value == 0.0).await;
    shows(telemetry, "staffetta_endpoint_oldest_seconds", &of("shy-erp"), |value| value > 0.0).await;
    let attempts = "staffetta_endpoint_attempts_total";
    shows(telemetry, attempts, &outcome("gone-erp", "gone"), |value| value >= 1.0).await;
    shows(telemetry, attempts, &outcome("shy-erp", "delivered"), |value| value >= 1.0).await;
    shows(telemetry, attempts, &outcome("shy-erp", "refused"), |value| value >= 1.0).await;
    let text = telemetry.render().unwrap();
    assert_eq!(series(&text, "staffetta_endpoint_state", &state("gone-erp", "well")), None);
    shows(telemetry, "staffetta_delivery_parts", &[], |value| value >= 1.0).await;
    for state in ["well", "broken", "disabled"] {
        shows(telemetry, "staffetta_delivery_endpoints", &[("state", state)], |value| value >= 0.0).await;
    }
    let (delivered, format) = (("outcome", "delivered"), ("format", "cloudevents"));
    let (method, peer) = (("http_request_method", "POST"), ("peer", "endpoint"));
    let (answered, error) = (("http_response_status_code", "410"), ("error_type", "410"));
    for (name, labels) in [
        ("staffetta_delivery_attempts_total", &[format, delivered][..]),
        ("staffetta_delivery_duration_seconds_count", &[format]),
        ("staffetta_delivery_lag_seconds_count", &[]),
        ("staffetta_delivery_oldest_seconds", &[]),
        ("http_client_request_duration_seconds_count", &[error, method, answered, peer]),
    ] {
        shows(telemetry, name, labels, |value| value >= 0.0).await;
    }
    delivery.stop().await;
}

/// The program's only one.
fn telemetry() -> &'static Telemetry {
    static ONE: LazyLock<Telemetry> =
        LazyLock::new(|| Telemetry::start(&TelemetryConfig::default(), "test").unwrap());
    &ONE
}

/// Waits until the series with these labels and no others, in the order of their names, has such a value.
async fn shows(telemetry: &Telemetry, name: &str, labels: &[(&str, &str)], like: impl Fn(f64) -> bool) {
    let found = until(&format!("{name} {labels:?}"), LIMIT, async || {
        series(&telemetry.render().unwrap(), name, labels).filter(|value| like(*value))
    })
    .await;
    if let Err(error) = found {
        let text = telemetry.render().unwrap();
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with(name)).collect();
        panic!("{error:#}: {lines:#?}");
    }
}

/// The value of a series.
fn series(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let wanted = if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) };
    text.lines().find_map(|line| line.strip_prefix(&wanted)?.strip_prefix(' ')?.parse().ok())
}
