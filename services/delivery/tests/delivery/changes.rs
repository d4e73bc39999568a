//! Endpoints that are disabled, enabled and changed while they are delivered to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::stream;
use jiff::Timestamp;
use serde_json::json;
use staffetta_domain::{Event, EventId, EventType};
use staffetta_testkit::until;

use crate::harness::{LIMIT, Storage, World, assert_in_order, key, webhook};
use crate::receiver::{OK, Reply, Seen, status};

fn enabled() -> Event {
    Event {
        id: EventId::of(&["enabled"]),
        tenant: "acme".parse().unwrap(),
        channel: "none".parse().unwrap(),
        kind: EventType::EndpointChanged,
        time: Timestamp::now(),
        subject: "erp".into(),
        data: json!({ "endpoint": "erp", "change": "enabled", "reason": "asked for" })
            .as_object()
            .unwrap()
            .clone(),
        trace: None,
    }
}

#[tokio::test]
async fn who_is_gone_is_disabled_until_somebody_enables_it() {
    for storage in [Storage::Sqlite, Storage::Postgres] {
        let (world, delivery) = World::start(storage, &["erp", "other"]).await;
        world.receiver.answers("erp", |_, _| status(410));
        let event = world.tell("c1").await;
        let state = world.state_of("erp", |state| state.disabled.is_some()).await;
        assert!(state.disabled.unwrap().reason.contains("410"));
        // Its other endpoints hear of it.
        until("the event of it", LIMIT, async || {
            let taken = world.receiver.taken("other");
            let came = |like: &dyn Fn(&Seen) -> bool| taken.iter().any(like);
            (came(&|seen| seen.id == event.id.as_str()) && came(&|seen| seen.conversation.is_empty()))
                .then_some(())
        })
        .await
        .unwrap();
        world.receiver.answers("erp", |_, _| OK);
        let events = [vec![event], world.tell_many(5, 5).await].concat();
        let requests = world.quiet("erp").await;
        assert!(world.receiver.taken("erp").is_empty());

        // It stays so across a restart.
        delivery.stop().await;
        let delivery = world.delivery().await;
        assert_eq!(world.quiet("erp").await, requests);

        let told = enabled();
        assert!(world.store.enable_endpoint(&key("erp"), told.time, &told).await.unwrap().is_some());
        world.publish(&told).await;
        world.taken("erp", &events).await;
        delivery.stop().await;
    }
}

#[tokio::test]
async fn a_changed_entry_enables_and_counts_within_moments() {
    let (world, delivery) = World::start(Storage::Sqlite, &["erp"]).await;
    world.receiver.answers("erp", |_, _| status(410));
    let first = world.tell("c1").await;
    world.state_of("erp", |state| state.disabled.is_some()).await;
    let moved = webhook(&world, "erp").replace("/erp", "/moved");
    world.apply(std::slice::from_ref(&moved)).await;
    world.taken("moved", &[first]).await;
    world.state_of("erp", |state| state.disabled.is_none()).await;

    let off = moved.replace(" }", ", enabled = false }");
    world.apply(std::slice::from_ref(&off)).await;
    // Whoever has begun with a later entry has seen this one.
    let later = webhook(&world, "later");
    world.apply(&[off, later.clone()]).await;
    world.begun("later").await;
    let held = world.tell_many(10, 3).await;
    world.taken("later", &held).await;
    world.quiet("moved").await;
    assert!(
        !world.receiver.taken("moved").iter().any(|seen| held.iter().any(|held| seen.id == held.id.as_str()))
    );
    world.apply(&[moved, later.clone()]).await;
    world.taken("moved", &held).await;

    // One that is taken away gets nothing more, and a new one begins now.
    world.apply(&[later]).await;
    world.apply(&[webhook(&world, "new")]).await;
    world.begun("new").await;
    world.quiet("moved").await;
    let before = world.receiver.seen("moved").len();
    let events = world.tell_many(10, 3).await;
    assert_in_order(&world.taken("new", &events).await, &events);
    assert_eq!(world.receiver.seen("moved").len(), before);
    delivery.stop().await;
}

#[tokio::test]
async fn an_entry_that_changes_while_nobody_delivers_enables_too() {
    let (world, delivery) = World::start(Storage::Sqlite, &["erp"]).await;
    world.receiver.answers("erp", |_, _| status(410));
    let event = world.tell("c1").await;
    world.state_of("erp", |state| state.disabled.is_some()).await;
    delivery.stop().await;
    world.apply(&[webhook(&world, "erp").replace("/erp", "/moved")]).await;
    let delivery = world.delivery().await;
    world.taken("moved", &[event]).await;
    world.state_of("erp", |state| state.disabled.is_none()).await;
    delivery.stop().await;
}

/// Between the writing that it is disabled and the telling of it.
#[tokio::test]
async fn an_entry_that_changes_while_it_is_being_disabled_enables_too() {
    let (world, delivery) = World::start(Storage::Sqlite, &["erp"]).await;
    let is_gone = Arc::new(AtomicBool::new(false));
    let answer = Arc::clone(&is_gone);
    world.receiver.answers("erp", move |_, _| status(if answer.load(Ordering::Relaxed) { 410 } else { 503 }));
    let event = world.tell("c1").await;
    world.tried("erp").await;

    // Nobody takes what would be told now: telling goes on until somebody does.
    let jetstream = world.bus.jetstream();
    let events = jetstream.get_stream("EVENTS").await.unwrap().cached_info().config.clone();
    let deaf = stream::Config { subjects: vec!["nowhere".into()], republish: None, ..events.clone() };
    jetstream.update_stream(deaf).await.unwrap();
    is_gone.store(true, Ordering::Relaxed);
    world.state_of("erp", |state| state.disabled.is_some()).await;
    let moved = webhook(&world, "erp").replace("/erp", "/moved");
    // Whoever has begun with a later entry has seen this one.
    world.apply(&[moved, webhook(&world, "later")]).await;
    world.begun("later").await;
    jetstream.update_stream(events).await.unwrap();

    world.taken("moved", &[event]).await;
    world.state_of("erp", |state| state.disabled.is_none()).await;
    delivery.stop().await;
}

#[tokio::test]
async fn an_answer_to_the_entry_of_before_does_not_disable_the_new_one() {
    let (world, delivery) = World::start(Storage::Sqlite, &["erp"]).await;
    // Time enough for the entry to change meanwhile.
    world.receiver.answers("erp", |_, _| Reply { delay: Duration::from_secs(5), ..status(410) });
    let event = world.tell("c1").await;
    world.tried("erp").await;
    world.apply(&[webhook(&world, "erp").replace("/erp", "/moved")]).await;
    world.taken("moved", &[event]).await;
    world.state_of("erp", |state| state.disabled.is_none()).await;
    delivery.stop().await;
}

#[tokio::test]
async fn who_fails_without_a_break_is_disabled() {
    let mut world = World::prepare(Storage::Sqlite).await;
    world.config.delivery.disable_after_seconds = 3;
    world.apply(&[webhook(&world, "erp")]).await;
    let delivery = world.delivery().await;
    world.begun("erp").await;
    world.receiver.answers("erp", |_, _| status(500));
    world.tell("c1").await;
    let state = world.state_of("erp", |state| state.disabled.is_some()).await;
    assert!(state.disabled.unwrap().reason.starts_with("nothing could be delivered since"));
    assert!(world.letters().await.is_empty());
    delivery.stop().await;
}
