//! Announcing and dead-lettering against a real NATS.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;
use staffetta_bus::{
    Bus, DeadLetter, Encoding, RegistryFile, RegistryStore, RegistryView, Retention, Unnamed,
    decode_dead_letter,
};
use staffetta_domain::{Event, EventId, EventType, Leaf};
use staffetta_outbox::{Announcer, DeadLetters, Published};
use staffetta_store::{Announcement, Store, StoreOptions};
use staffetta_testkit::{NatsOptions, NatsServer, until};
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(60);
const MAX_PAYLOAD: u32 = 64 << 10;

struct World {
    nats: NatsServer,
    bus: Bus,
    store: Store,
    announcer: Announcer,
    stop: CancellationToken,
}

impl World {
    async fn new() -> Self {
        let options = NatsOptions { max_payload: MAX_PAYLOAD, ..NatsOptions::default() };
        let nats = NatsServer::start_with(options).await.unwrap();
        let bus = Bus::connect(nats.url(), "test").await.unwrap();
        let retention = Retention { replicas: 1, webhooks_max_bytes: 1 << 30, lane_max_commands: 1_000 };
        bus.set_up_streams(&retention).await.unwrap();
        let registry = RegistryStore::open(&bus, None).await.unwrap();
        let file = RegistryFile::parse("tenant = [{ id = \"acme\" }]").unwrap();
        registry.apply(registry.plan(vec![file], Unnamed::Keep).await.unwrap()).await.unwrap();
        let stop = CancellationToken::new();
        // The registry stays as it is read first: nobody needs to follow it here.
        let (view, _) = RegistryView::follow(&bus, None, stop.clone()).await.unwrap();
        let store = Store::connect("sqlite::memory:", &StoreOptions::default()).await.unwrap();
        store.migrate().await.unwrap();
        let announcer = Announcer::new(bus.clone(), view, store.clone());
        Self { nats, bus, store, announcer, stop }
    }

    /// Commits an event, and nothing more: as whoever died right after it.
    async fn commit(&self, name: &str, bytes: usize) -> Announcement {
        let event = Event {
            id: EventId::of(&[name]),
            tenant: "acme".parse().unwrap(),
            channel: "acme-orders".parse().unwrap(),
            kind: EventType::WebhookOther,
            time: Timestamp::now(),
            subject: name.into(),
            data: json!({"text": "x".repeat(bytes)}).as_object().unwrap().clone(),
        };
        let leaf = Leaf { event, message: None, settles: None };
        self.store.record(&[leaf]).await.unwrap().remove(0)
    }

    async fn unannounced(&self) -> usize {
        self.store.unannounced(Timestamp::now(), 10).await.unwrap().len()
    }

    async fn count(&self, stream: &str) -> u64 {
        self.bus.jetstream().get_stream(stream).await.unwrap().cached_info().state.messages
    }
}

#[tokio::test]
async fn what_was_committed_and_never_announced_is_swept_up() {
    let world = World::new().await;
    world.commit("a", 1).await;
    world.commit("b", 1).await;
    let sweeping = tokio::spawn(world.announcer.clone().sweep(world.stop.clone()));
    until("the sweep", LIMIT, async || (world.unannounced().await == 0).then_some(())).await.unwrap();
    assert_eq!(world.count("EVENTS").await, 2);
    world.stop.cancel();
    tokio::time::timeout(LIMIT, sweeping).await.unwrap().unwrap();
}

#[tokio::test]
async fn announcing_again_tells_nothing_twice() {
    let world = World::new().await;
    let announcement = world.commit("a", 1).await;
    world.announcer.announce(&[announcement.clone(), announcement]).await;
    world.announcer.catch_up(&world.stop).await;
    assert_eq!((world.count("EVENTS").await, world.unannounced().await), (1, 0));
}

#[tokio::test]
async fn while_nats_is_away_events_wait() {
    let mut world = World::new().await;
    let announcement = world.commit("a", 1).await;
    world.nats.kill().await.unwrap();
    let published = world.announcer.publish(&[announcement]).await;
    assert_eq!(published, Published { seqs: Vec::new(), left: 1 });
    assert_eq!(world.unannounced().await, 1);

    world.nats.restart().await.unwrap();
    until("the connection", LIMIT, async || world.bus.is_connected().then_some(())).await.unwrap();
    world.announcer.catch_up(&world.stop).await;
    assert_eq!((world.count("EVENTS").await, world.unannounced().await), (1, 0));
}

#[tokio::test]
async fn an_event_that_fits_no_message_does_not_stop_the_others() {
    let world = World::new().await;
    let large = world.commit("large", MAX_PAYLOAD as usize).await;
    let small = world.commit("small", 1).await;
    world.announcer.announce(&[large, small]).await;
    assert_eq!((world.count("EVENTS").await, world.count("DEAD").await), (1, 1));
    assert_eq!(world.unannounced().await, 0);
}

#[tokio::test]
async fn a_letter_that_fits_no_message_is_written_without_its_payload() {
    let world = World::new().await;
    let letter = DeadLetter {
        id: EventId::of(&["letter"]),
        service: "recorder",
        tenant: None,
        channel: None,
        reason: "malformed",
        detail: "body is not a JSON object".into(),
        subject: "staffetta.v1.webhook.0".into(),
        encoding: Encoding::Json,
        payload: Bytes::from(vec![b'x'; MAX_PAYLOAD as usize]),
        time: Timestamp::now(),
    };
    DeadLetters::new(world.bus.clone()).write(&letter).await.unwrap();
    let stream = world.bus.jetstream().get_stream("DEAD").await.unwrap();
    let stored = decode_dead_letter(&stream.get_raw_message(1).await.unwrap().payload).unwrap();
    assert_eq!(stored.detail, "body is not a JSON object (a payload of 65536 bytes is left out)");
    assert!(stored.payload.is_empty());
}
