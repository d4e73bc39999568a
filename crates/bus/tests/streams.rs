//! The streams on a real NATS, which versions beside each other look after.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::time::Duration;

use async_nats::jetstream::stream;
use staffetta_bus::{Bus, Retention};
use staffetta_testkit::{HeldPort, NatsOptions, NatsServer, until};

const RETENTION: Retention = Retention { replicas: 1, webhooks_max_bytes: 1 << 20, lane_max_commands: 1_000 };
/// Longest wait for servers that have to agree first.
const LIMIT: Duration = Duration::from_secs(120);
const STREAMS: [&str; 6] = ["WEBHOOKS", "SEND", "EVENTS", "DEAD", "KV_REGISTRY", "KV_LEASES"];

async fn bus(nats: &NatsServer) -> Bus {
    Bus::connect(nats.url(), "test").await.unwrap()
}

/// Two servers that keep streams together, and the ports where they meet.
async fn cluster() -> ([NatsServer; 2], [HeldPort; 2]) {
    let ports = [(); 2].map(|()| HeldPort::pick().unwrap());
    let [one, other] = [&ports[0], &ports[1]].map(HeldPort::number);
    let server = |name: &str, own: u16| {
        let extra_config = format!(
            "server_name: {name}\ncluster {{ name: test, listen: \"127.0.0.1:{own}\", \
             routes: [\"nats://127.0.0.1:{one}\", \"nats://127.0.0.1:{other}\"] }}"
        );
        NatsServer::start_with(NatsOptions { extra_config, ..NatsOptions::default() })
    };
    let (one, other) = tokio::join!(server("one", one), server("other", other));
    ([one.unwrap(), other.unwrap()], ports)
}

async fn config(bus: &Bus, name: &str) -> stream::Config {
    bus.jetstream().get_stream(name).await.unwrap().cached_info().config.clone()
}

#[tokio::test]
async fn who_starts_later_finds_the_streams_as_they_should_be() {
    let nats = NatsServer::start().await.unwrap();
    let bus = bus(&nats).await;
    let (one, other) = tokio::join!(bus.set_up_streams(&RETENTION), bus.set_up_streams(&RETENTION));
    one.unwrap();
    other.unwrap();
    let mut before = Vec::new();
    for name in STREAMS {
        before.push(config(&bus, name).await);
    }
    bus.set_up_streams(&RETENTION).await.unwrap();
    for (name, before) in STREAMS.into_iter().zip(before) {
        assert_eq!(config(&bus, name).await, before);
        assert_eq!(before.metadata["staffetta-generation"], "1", "{name}");
    }
}

#[tokio::test]
async fn what_a_newer_version_made_of_a_stream_stays() {
    let nats = NatsServer::start().await.unwrap();
    let bus = bus(&nats).await;
    bus.set_up_streams(&RETENTION).await.unwrap();
    let mut newer = config(&bus, "SEND").await;
    newer.duplicate_window = Duration::from_secs(5);
    newer.max_messages_per_subject = 77;
    newer.metadata.insert("staffetta-generation".into(), "2".into());
    bus.jetstream().update_stream(newer).await.unwrap();

    bus.set_up_streams(&RETENTION).await.unwrap();
    let found = config(&bus, "SEND").await;
    assert_eq!((found.duplicate_window, found.max_messages_per_subject), (Duration::from_secs(5), 77));
}

#[tokio::test]
async fn what_nobody_asks_for_stays_and_what_the_configuration_asks_for_changes() {
    let nats = NatsServer::start().await.unwrap();
    let bus = bus(&nats).await;
    bus.set_up_streams(&RETENTION).await.unwrap();
    let mut operators = config(&bus, "SEND").await;
    operators.description = Some("moved to the fast disks".into());
    operators.max_message_size = 1 << 20;
    operators.allow_rollup = true;
    bus.jetstream().update_stream(operators).await.unwrap();

    let retention = Retention { lane_max_commands: 2_000, ..RETENTION };
    let differing = bus.stream_mismatches(&retention).await.unwrap();
    let differing: Vec<_> = differing.iter().map(|differs| (differs.stream, differs.setting)).collect();
    assert_eq!(differing, [("SEND", "max_msgs_per_subject")]);
    bus.set_up_streams(&retention).await.unwrap();
    assert_eq!(bus.stream_mismatches(&retention).await.unwrap(), []);
    let found = config(&bus, "SEND").await;
    assert_eq!(found.max_messages_per_subject, 2_000);
    assert_eq!(found.description.as_deref(), Some("moved to the fast disks"));
    assert_eq!((found.max_message_size, found.allow_rollup), (1 << 20, true));
}

#[tokio::test]
async fn a_stream_of_a_version_before_is_brought_up_to_date() {
    let nats = NatsServer::start().await.unwrap();
    let bus = bus(&nats).await;
    let before = stream::Config {
        name: "WEBHOOKS".into(),
        subjects: vec!["staffetta.v1.webhook.*".into()],
        retention: stream::RetentionPolicy::WorkQueue,
        discard: stream::DiscardPolicy::New,
        max_bytes: 1 << 16,
        ..stream::Config::default()
    };
    bus.jetstream().create_stream(before).await.unwrap();
    bus.jetstream().publish("staffetta.v1.webhook.0", "kept".into()).await.unwrap().await.unwrap();

    bus.set_up_streams(&RETENTION).await.unwrap();
    let found = bus.jetstream().get_stream("WEBHOOKS").await.unwrap();
    let info = found.cached_info();
    assert_eq!((info.config.max_bytes, info.config.allow_direct), (1 << 20, true));
    assert_eq!(info.config.metadata["staffetta-generation"], "1");
    assert_eq!(info.state.messages, 1);
}

#[tokio::test]
async fn only_a_migration_takes_copies_away() {
    let (nats, _ports) = cluster().await;
    let bus = bus(&nats[0]).await;
    let copies = async |name: &str| {
        let found = async || bus.jetstream().get_stream(name).await.ok();
        until(name, LIMIT, found).await.unwrap().cached_info().config.num_replicas
    };
    // Servers that elect a leader, at first or again, don't answer meanwhile.
    let two = Retention { replicas: 2, ..RETENTION };
    let made = async || bus.set_up_streams(&two).await.ok();
    until("the cluster to make the streams", LIMIT, made).await.unwrap();

    // A process that was told nothing of copies.
    let started = async || bus.set_up_streams(&RETENTION).await.ok();
    until("the streams to be as they should", LIMIT, started).await.unwrap();
    for name in STREAMS {
        assert_eq!(copies(name).await, 2, "{name}");
    }
    let migrated = async || bus.migrate_streams(&RETENTION).await.ok();
    until("the migration", LIMIT, migrated).await.unwrap();
    for name in STREAMS {
        assert_eq!(copies(name).await, 1, "{name}");
    }
}
