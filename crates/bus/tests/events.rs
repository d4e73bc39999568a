//! Reading EVENTS, against a real server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::time::Duration;

use async_nats::HeaderMap;
use futures_util::StreamExt;
use jiff::Timestamp;
use staffetta_bus::{Bus, Encoding, EventLog, Outgoing, Retention, event_message, event_subject};
use staffetta_domain::{Event, EventId, EventType, Object};
use staffetta_testkit::NatsServer;
use tokio::time::{Instant, timeout};

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(60);

fn event(tenant: &str, n: u32) -> Event {
    Event {
        id: EventId::of(&[tenant, &n.to_string()]),
        tenant: tenant.parse().unwrap(),
        channel: "orders".parse().unwrap(),
        kind: EventType::MessageReceived,
        time: Timestamp::now(),
        subject: format!("wamid.{n}"),
        data: Object::new(),
        trace: None,
    }
}

async fn tell(bus: &Bus, event: &Event, encoding: Encoding) {
    let (headers, payload) = event_message(event, encoding);
    let deadline = Instant::now() + LIMIT;
    bus.publish(event_subject(event), event.id.as_str(), headers, payload, deadline).await.unwrap();
}

async fn world() -> (NatsServer, Bus, EventLog) {
    let server = NatsServer::start().await.unwrap();
    let bus = Bus::connect(server.url(), "test").await.unwrap();
    let retention = Retention { replicas: 1, webhooks_max_bytes: 1 << 20, lane_max_commands: 100 };
    bus.set_up_streams(&retention).await.unwrap();
    let log = EventLog::new(bus.clone());
    (server, bus, log)
}

#[tokio::test]
async fn a_reader_sees_its_tenants_events_alone_and_from_its_place_on() {
    let (_server, bus, log) = world().await;
    let before = Timestamp::now();
    for n in 0..10 {
        tell(&bus, &event("acme", n), Encoding::Json).await;
        tell(&bus, &event("other", n), Encoding::Protobuf).await;
    }
    let acme = "acme".parse().unwrap();
    let first = log.read(&acme, 0, 4, 0).await.unwrap();
    assert!(first.more);
    let rest = log.read(&acme, first.next, 100, 0).await.unwrap();
    assert!(!rest.more);
    let subjects: Vec<_> =
        first.events.iter().chain(&rest.events).map(|logged| logged.event.subject.clone()).collect();
    assert_eq!(subjects, (0..10).map(|n| format!("wamid.{n}")).collect::<Vec<_>>());
    assert!(log.read(&acme, rest.next, 100, 0).await.unwrap().events.is_empty());
    assert_eq!(log.ends().await.unwrap().last, 20);
    assert_eq!(log.first_since(&acme, before).await.unwrap(), Some(1));
    let later = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    assert_eq!(log.first_since(&acme, later).await.unwrap(), None);
    assert_eq!(log.read_one(&acme, 3).await.unwrap().unwrap().event.subject, "wamid.1");
    assert!(log.read_one(&acme, 2).await.unwrap().is_none(), "that is another tenant's");
}

#[tokio::test]
async fn what_nobody_understands_is_passed_over() {
    let (_server, bus, log) = world().await;
    let deadline = Instant::now() + LIMIT;
    let subject = "staffetta.v1.event.acme.orders.message-received".to_owned();
    bus.publish(subject, "odd", HeaderMap::new(), "odd".into(), deadline).await.unwrap();
    tell(&bus, &event("acme", 1), Encoding::Json).await;
    let batch = log.read(&"acme".parse().unwrap(), 1, 100, 0).await.unwrap();
    assert_eq!((batch.events.len(), batch.next), (1, 3));
}

#[tokio::test]
async fn readers_are_woken_by_what_is_stored_together_too() {
    let (_server, bus, log) = world().await;
    let mut wakes = log.wakes().await.unwrap();
    tell(&bus, &event("acme", 0), Encoding::Json).await;
    let outgoing = (1..4).map(|n| {
        let event = event("acme", n);
        let (headers, payload) = event_message(&event, Encoding::Json);
        Outgoing { subject: event_subject(&event), id: event.id.to_string(), headers, payload }
    });
    let deadline = Instant::now() + LIMIT;
    bus.publish_together(outgoing.collect(), deadline).await.unwrap();
    for sequence in 1..5 {
        let wake = timeout(LIMIT, wakes.next()).await.unwrap().unwrap();
        assert_eq!((wake.tenant.as_str(), wake.sequence), ("acme", sequence));
    }
}
