//! What a dispatcher shows of itself: the traces of its commands, and its metrics, with just the labels that
//! `docs/metrics.md` names. The tests of this program share one `/metrics`, so each looks at channels of its own, or is
//! alone when it looks at what has no label.

use std::num::NonZeroU32;
use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use staffetta_domain::Event;
use staffetta_runtime::config::TelemetryConfig;
use staffetta_runtime::telemetry::Telemetry;
use staffetta_simulator::SimChannel;
use staffetta_testkit::{Company, until};

use crate::harness::{ANNA, BRUNO, LIMIT, Setup, World, json_headers, text, texts};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn without_a_collector_a_command_s_trace_is_that_of_its_events() {
    let (world, dispatcher) = World::start(Setup::default()).await;
    let mut traced = json_headers();
    traced.insert("traceparent", TRACE);
    let lane = "acme.acme-orders.normal";
    world.publish(lane, traced.clone(), text("traced", ANNA).to_string()).await;
    world.publish(lane, traced.clone(), r#"{"id":"invalid"}"#).await;
    let mut later = text("later", ANNA);
    later["send_at"] = (Timestamp::now() + SignedDuration::from_millis(2_500)).to_string().into();
    world.publish(lane, traced.clone(), later.to_string()).await;
    world.publish("acme.nowhere.normal", traced, text("orphan", ANNA).to_string()).await;
    world.send("normal", &text("untraced", BRUNO)).await;

    let mut events = world.told("accepted", &["traced", "later", "untraced"]).await;
    events.extend(world.told("rejected", &["invalid", "orphan"]).await);
    let traces = |events: &[Event], id: &str| {
        let of = events.iter().filter(|event| event.subject == id);
        of.map(|event| event.trace.map(|trace| trace.to_string())).collect::<Vec<_>>()
    };
    for id in ["traced", "later", "invalid", "orphan"] {
        assert_eq!(traces(&events, id), [Some(TRACE.to_owned())], "{id}");
    }
    assert_eq!(traces(&events, "untraced"), [None]);
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_channel_without_commands_is_shown_as_held_after_a_restart() {
    let telemetry = telemetry();
    let mut setup = Setup::default();
    setup.registry.more = r#", { id = "held", tenant = "acme", provider = "cloud_api", waba_id = "W", phone_number_id = "102", access_token = "old" }"#;
    let world = Box::pin(World::prepare(setup)).await;
    world.provider.put_channel(number("102", "new")).unwrap();
    let dispatcher = Box::pin(world.dispatcher()).await;
    world.publish("acme.held.normal", json_headers(), text("waits", ANNA).to_string()).await;

    let held = [("channel", "held"), ("reason", "token"), ("tenant", "acme")];
    let in_lane = [("channel", "held"), ("lane", "normal"), ("tenant", "acme")];
    world.shows(telemetry, "staffetta_channel_held", &held, |value| value == 1.0).await;
    world.shows(telemetry, "staffetta_channel_waiting", &in_lane, |value| value == 1.0).await;
    world.shows(telemetry, "staffetta_channel_oldest_seconds", &in_lane, |value| value > 0.0).await;
    let refused = [("channel", "held"), ("outcome", "token"), ("tenant", "acme")];
    world.shows(telemetry, "staffetta_channel_sends_total", &refused, |value| value >= 1.0).await;

    dispatcher.stop().await;
    let text = telemetry.render().unwrap();
    assert_eq!(series(&text, "staffetta_channel_held", &held), None, "whoever owns it shows it");
    world.bus.jetstream().get_stream("SEND").await.unwrap().purge().await.unwrap();
    let dispatcher = Box::pin(world.dispatcher()).await;
    world.shows(telemetry, "staffetta_channel_held", &held, |value| value == 1.0).await;
    let text = telemetry.render().unwrap();
    assert_eq!(series(&text, "staffetta_channel_waiting", &in_lane), None, "it has no actor");
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_backlog_is_shown_whole() {
    let telemetry = telemetry();
    let mut setup = Setup::default();
    setup.registry.more = r#", { id = "slow", tenant = "acme", provider = "cloud_api", waba_id = "W", phone_number_id = "103", access_token = "slow-token", rate = 2 }"#;
    let _alone = Company::nobody().await;
    let world = Box::pin(World::prepare(setup)).await;
    world.provider.put_channel(number("103", "slow-token")).unwrap();
    let end = Timestamp::now() + SignedDuration::from_hours(48);
    world.provider.set_token_end("103", Some(end.as_second().unsigned_abs())).unwrap();
    // More than is read ahead.
    for command in texts("slow", 1_300, 1_300) {
        world.publish("acme.slow.bulk", json_headers(), command.to_string()).await;
    }
    let dispatcher = Box::pin(world.dispatcher()).await;

    let of = [("channel", "slow"), ("tenant", "acme")];
    let in_lane = |lane| [("channel", "slow"), ("lane", lane), ("tenant", "acme")];
    world.shows(telemetry, "staffetta_channel_waiting", &in_lane("bulk"), |value| value > 1_200.0).await;
    world.shows(telemetry, "staffetta_channel_waiting", &in_lane("urgent"), |value| value == 0.0).await;
    world.shows(telemetry, "staffetta_channel_oldest_seconds", &in_lane("bulk"), |value| value > 0.0).await;
    world
        .shows(telemetry, "staffetta_channel_oldest_seconds", &in_lane("urgent"), |value| value == 0.0)
        .await;
    world.shows(telemetry, "staffetta_channel_rate_limit", &of, |value| value == 2.0).await;
    world.shows(telemetry, "staffetta_channel_rate_used", &of, |value| value >= 1.0).await;
    world.shows(telemetry, "staffetta_channel_doubt", &of, |value| value == 0.0).await;
    let accepted = [("channel", "slow"), ("outcome", "accepted"), ("tenant", "acme")];
    world.shows(telemetry, "staffetta_channel_sends_total", &accepted, |value| value >= 1.0).await;
    let left = |value: f64| (1.0..=48.0 * 3_600.0).contains(&value);
    world.shows(telemetry, "staffetta_channel_token_expiry_seconds", &of, left).await;
    world.shows(telemetry, "staffetta_dispatcher_parts", &[], |value| value >= 1.0).await;
    world.shows(telemetry, "staffetta_dispatcher_channels", &[], |value| value >= 1.0).await;
    let answered =
        [("http_request_method", "POST"), ("http_response_status_code", "200"), ("peer", "provider")];
    let requests = "http_client_request_duration_seconds_count";
    world.shows(telemetry, requests, &answered, |value| value >= 1.0).await;
    for (name, labels) in [
        ("staffetta_dispatcher_sends_total", &[("outcome", "accepted")][..]),
        ("staffetta_dispatcher_send_duration_seconds_count", &[]),
        ("staffetta_dispatcher_lag_seconds_count", &[("lane", "bulk")]),
    ] {
        world.shows(telemetry, name, labels, |value| value >= 1.0).await;
    }
    dispatcher.stop().await;
}

/// The program's only one.
fn telemetry() -> &'static Telemetry {
    static ONE: LazyLock<Telemetry> =
        LazyLock::new(|| Telemetry::start(&TelemetryConfig::default(), "test").unwrap());
    &ONE
}

fn number(id: &str, token: &str) -> SimChannel {
    SimChannel {
        phone_number_id: id.into(),
        access_token: token.into(),
        display_phone_number: format!("39061{id}"),
        waba_id: "W".into(),
        verified_name: "Acme".into(),
        rate: NonZeroU32::new(10_000).unwrap(),
        webhook: None,
    }
}

impl World {
    /// Waits until the series with these labels and no others, in the order of their names, has such a value.
    async fn shows(
        &self,
        telemetry: &Telemetry,
        name: &str,
        labels: &[(&str, &str)],
        like: impl Fn(f64) -> bool,
    ) {
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
}

/// The value of a series.
fn series(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let wanted = if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) };
    text.lines().find_map(|line| line.strip_prefix(&wanted)?.strip_prefix(' ')?.parse().ok())
}
