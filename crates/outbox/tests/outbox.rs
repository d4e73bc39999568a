//! Announcing and dead-lettering against a real NATS.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;
use staffetta_bus::{
    Bus, DeadLetter, Encoding, Origin, RegistryFile, RegistryStore, RegistryView, Retention, Unnamed,
    decode_dead_letter, decode_event, trace_of,
};
use staffetta_domain::{Event, EventId, EventType, Leaf, TraceParent};
use staffetta_outbox::{Announcer, DeadLetters, Published};
use staffetta_store::{Announcement, Store, StoreOptions};
use staffetta_testkit::{NatsOptions, NatsServer, until};
use tokio_util::sync::CancellationToken;

const LIMIT: Duration = Duration::from_secs(60);
const MAX_PAYLOAD: u32 = 64 << 10;
const RETENTION: Retention = Retention { replicas: 1, webhooks_max_bytes: 1 << 30, lane_max_commands: 1_000 };

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
        bus.set_up_streams(&RETENTION).await.unwrap();
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
        self.store.record(&[Leaf::of_event(event(name, bytes))]).await.unwrap().remove(0)
    }

    async fn commit_many(&self, count: usize) -> Vec<Announcement> {
        let leaves: Vec<Leaf> = names(count).iter().map(|name| Leaf::of_event(event(name, 100))).collect();
        let mut announcements = Vec::new();
        for chunk in leaves.chunks(500) {
            announcements.extend(self.store.record(chunk).await.unwrap());
        }
        announcements
    }

    async fn unannounced(&self) -> usize {
        self.store.unannounced(Timestamp::now(), 10_000).await.unwrap().len()
    }

    /// Of all that is on EVENTS, in order.
    async fn subjects(&self) -> Vec<String> {
        let stream = self.bus.jetstream().get_stream("EVENTS").await.unwrap();
        let mut subjects = Vec::new();
        for number in 1..=stream.cached_info().state.messages {
            let message = stream.get_raw_message(number).await.unwrap();
            let event = decode_event(Encoding::of(Some(&message.headers)), &message.payload).unwrap();
            subjects.push(event.subject);
        }
        subjects
    }

    async fn count(&self, stream: &str) -> u64 {
        self.bus.jetstream().get_stream(stream).await.unwrap().cached_info().state.messages
    }
}

fn event(name: &str, bytes: usize) -> Event {
    Event {
        id: EventId::of(&[name]),
        tenant: "acme".parse().unwrap(),
        channel: "acme-orders".parse().unwrap(),
        kind: EventType::WebhookOther,
        time: Timestamp::now(),
        subject: name.into(),
        data: json!({"text": "x".repeat(bytes)}).as_object().unwrap().clone(),
        trace: None,
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{number:05}")).collect()
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
async fn whoever_tells_an_event_tells_the_trace_that_it_was_committed_with() {
    let world = World::new().await;
    let trace = TraceParent::new([1; 16], [2; 8], 1);
    let commit = async |name: &str, trace| {
        let event = Event { trace, ..event(name, 1) };
        world.store.record(&[Leaf::of_event(event)]).await.unwrap().remove(0)
    };
    let announcement = commit("a", trace).await;
    world.announcer.announce(&[announcement]).await;
    for (name, trace) in [("b", trace), ("c", None)] {
        commit(name, trace).await;
    }
    assert!(world.announcer.catch_up(&world.stop).await);
    let stream = world.bus.jetstream().get_stream("EVENTS").await.unwrap();
    for (number, trace) in [(1, trace), (2, trace), (3, None)] {
        let message = stream.get_raw_message(number).await.unwrap();
        assert_eq!(trace_of(Some(&message.headers)), trace);
    }
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
    assert_eq!(published, Published { places: Vec::new(), left: 1 });
    assert_eq!(world.unannounced().await, 1);

    world.nats.restart().await.unwrap();
    until("the connection", LIMIT, async || world.bus.is_connected().then_some(())).await.unwrap();
    world.announcer.catch_up(&world.stop).await;
    assert_eq!((world.count("EVENTS").await, world.unannounced().await), (1, 0));
}

#[tokio::test]
async fn many_events_are_told_in_their_order() {
    let world = World::new().await;
    let announcements = world.commit_many(1_200).await;
    world.announcer.announce(&announcements).await;
    assert_eq!((world.subjects().await, world.unannounced().await), (names(1_200), 0));
}

#[tokio::test]
async fn many_events_of_which_some_were_told_before_are_told_once() {
    let world = World::new().await;
    let announcements = world.commit_many(300).await;
    world.announcer.publish(&announcements[100..120]).await;
    world.announcer.announce(&announcements).await;
    let mut told = world.subjects().await;
    assert_eq!(told[..20], names(300)[100..120]);
    told.sort();
    assert_eq!((told, world.unannounced().await), (names(300), 0));
}

#[tokio::test]
async fn a_stream_of_before_that_takes_none_together_takes_them_one_by_one() {
    let world = World::new().await;
    let stream = world.bus.jetstream().get_stream("EVENTS").await.unwrap();
    let mut config = stream.cached_info().config.clone();
    config.allow_atomic_publish = false;
    world.bus.jetstream().update_stream(&config).await.unwrap();
    let announcements = world.commit_many(100).await;
    world.announcer.announce(&announcements).await;
    let mut told = world.subjects().await;
    told.sort();
    assert_eq!((told, world.unannounced().await), (names(100), 0));

    world.bus.set_up_streams(&RETENTION).await.unwrap();
    let stream = world.bus.jetstream().get_stream("EVENTS").await.unwrap();
    assert!(stream.cached_info().config.allow_atomic_publish);
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
        origin: Origin::Other,
    };
    DeadLetters::new(world.bus.clone()).write(&letter).await.unwrap();
    let stream = world.bus.jetstream().get_stream("DEAD").await.unwrap();
    let stored = decode_dead_letter(&stream.get_raw_message(1).await.unwrap().payload).unwrap();
    assert_eq!(stored.detail, "body is not a JSON object (a payload of 65536 bytes is left out)");
    assert!(stored.payload.is_empty());
}
