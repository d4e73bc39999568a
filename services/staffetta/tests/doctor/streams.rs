//! NATS as it should not be.

use staffetta_bus::Retention;
use staffetta_testkit::{NatsOptions, NatsServer, until};

use crate::world::{LIMIT, ROOM, World};

const NATS: [&str; 2] = ["--only", "nats"];

#[tokio::test]
async fn a_stream_that_is_gone_or_changed_is_named() {
    let world = World::new().await;
    let jetstream = world.bus.jetstream();
    jetstream.delete_stream("EVENTS").await.unwrap();
    let mut send = jetstream.get_stream("SEND").await.unwrap().cached_info().config.clone();
    send.subjects = vec!["staffetta.v1.send.acme.>".into()];
    jetstream.update_stream(send).await.unwrap();
    let mut dead = jetstream.get_stream("DEAD").await.unwrap().cached_info().config.clone();
    dead.max_age = std::time::Duration::from_secs(3_600);
    jetstream.update_stream(dead).await.unwrap();
    let said = world.doctor(&NATS).await;
    assert_eq!(said.code, 2);
    said.says("error", "nats.stream", Some("EVENTS"), "not there");
    said.says("error", "nats.setting", Some("SEND"), "subjects is staffetta.v1.send.acme.>");
    said.says("warning", "nats.setting", Some("DEAD"), "max_age is 3600 s");
    said.says("ok", "nats.stream", Some("WEBHOOKS"), "0 messages");

    assert_eq!(world.runs(&["migrate"]).await.0, 0);
    let said = world.doctor(&NATS).await;
    assert_eq!(said.findings().iter().filter(|finding| finding["check"] == "nats.setting").count(), 0);
    said.says("ok", "nats.stream", Some("EVENTS"), "0 messages");
}

#[tokio::test]
async fn every_setting_is_as_it_should_be_right_after_a_migration() {
    let world = World::new().await;
    let retention = Retention { replicas: 1, webhooks_max_bytes: ROOM, lane_max_commands: 1_000_000 };
    let mismatches = async |retention: &Retention| {
        let told = async || world.bus.stream_mismatches(retention).await.ok();
        until("NATS to answer in time", LIMIT, told).await.unwrap()
    };
    assert_eq!(mismatches(&retention).await, []);
    let fewer = Retention { lane_max_commands: 10, ..retention };
    let mismatches = mismatches(&fewer).await;
    assert_eq!(mismatches.len(), 1, "{mismatches:?}");
    assert_eq!((mismatches[0].stream, mismatches[0].setting), ("SEND", "max_msgs_per_subject"));
    let states = until("NATS to answer in time", LIMIT, async || {
        let states = world.bus.stream_states().await;
        states.iter().all(|(_, state)| state.is_ok()).then_some(states)
    });
    let states = states.await.unwrap();
    assert_eq!(states.iter().map(|(name, _)| *name).collect::<Vec<_>>(), staffetta_bus::STREAMS);
    for (name, state) in states {
        let state = state.unwrap().unwrap();
        assert_eq!((state.current, state.replicas, state.clock.is_some()), (1, 1, true), "{name}");
    }
}

#[tokio::test]
async fn a_recorder_that_was_never_there_and_one_that_is_away_are_told_apart() {
    let world = World::new().await;
    let said = world.doctor(&NATS).await;
    said.says("error", "nats.recorder", None, "no consumer `recorder`");
    said.says("error", "nats.owners", Some("dispatcher"), "0 of 32");
    world.bus.webhook_consumer().await.unwrap();
    let webhook = world.bus.jetstream().publish("staffetta.v1.webhook.0", "a webhook".into());
    webhook.await.unwrap().await.unwrap();
    let said = world.doctor(&NATS).await;
    said.says(
        "error",
        "nats.recorder",
        None,
        "1 envelopes wait, 0 are at work, 0 of them not for the first time; nobody",
    );
}

#[tokio::test]
async fn dead_letters_are_counted_by_who_gave_up_and_why() {
    let world = World::new().await;
    for (subject, reason) in
        [("recorder.acme.acme-orders", "unreadable"), ("recorder.none.none", "unreadable")]
    {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Staffetta-Reason", reason);
        let subject = format!("staffetta.v1.dead.{subject}");
        let stored = world.bus.jetstream().publish_with_headers(subject, headers, "what it was".into());
        stored.await.unwrap().await.unwrap();
    }
    let said = world.doctor(&NATS).await;
    said.says("warning", "nats.dead", Some("recorder"), "2 in the last 24 hours");
    assert!(
        said.finding("nats.dead", Some("recorder"))["do"].as_str().unwrap().contains("staffetta dead replay")
    );
}

#[tokio::test]
async fn a_server_that_takes_no_full_webhook_is_told_of() {
    let mut world = World::new().await;
    let small = NatsServer::start_with(NatsOptions { max_payload: 1 << 20, ..NatsOptions::default() });
    let small = small.await.unwrap();
    world.set("STAFFETTA__NATS__URL", small.url());
    let said = world.doctor(&NATS).await;
    said.says("error", "nats.payload", None, "max_payload is 1.0 MiB");
    said.says("error", "nats.stream", Some("WEBHOOKS"), "not there");
}
