//! Endpoints that fail, and what becomes of their events.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use staffetta_store::AttemptFilter;
use staffetta_testkit::until;

use crate::harness::{LIMIT, Storage, World, assert_in_order, key};
use crate::receiver::{OK, Reply, status};

#[tokio::test]
async fn a_conversation_that_fails_is_parked_across_restarts() {
    for storage in [Storage::Sqlite, Storage::Postgres] {
        let (world, delivery) = World::start(storage, &["erp"]).await;
        let well = Arc::<AtomicBool>::default();
        let now = Arc::clone(&well);
        world.receiver.answers("erp", move |seen, _| {
            if seen.conversation == "bad" && !now.load(Ordering::Relaxed) { status(422) } else { OK }
        });
        let mut events = vec![world.tell("bad").await];
        events.push(world.tell("bad").await);
        let others = world.tell_many(20, 5).await;
        world.taken("erp", &others).await;
        let parked = world.state_of("erp", |state| state.parked == 2).await;
        // What comes later stands behind it, and the others go on.
        events.push(world.tell("bad").await);
        world.state_of("erp", |state| state.parked == 3 && state.cursor > parked.cursor).await;
        delivery.kill().await;

        let delivery = world.delivery().await;
        let more = world.tell_many(20, 5).await;
        world.taken("erp", &more).await;
        assert!(world.receiver.taken("erp").iter().all(|seen| seen.conversation != "bad"));
        well.store(true, Ordering::Relaxed);
        world.taken("erp", &events).await;
        world.state_of("erp", |state| state.parked == 0).await;
        let all: Vec<_> = [events, others, more].concat();
        assert_in_order(&world.receiver.taken("erp"), &all);
        delivery.stop().await;
    }
}

#[tokio::test]
async fn a_broken_endpoint_is_tried_now_and_then_until_it_is_back() {
    let (world, delivery) = World::start(Storage::Sqlite, &["erp"]).await;
    let lease = world.begun("erp").await;
    world.receiver.answers("erp", |_, _| status(502));
    let events = world.tell_many(500, 100).await;
    let begun = world.state_of("erp", |state| state.failing_since.is_some()).await;
    until("some probes", LIMIT, async || (world.receiver.seen("erp").len() >= 9).then_some(()))
        .await
        .unwrap();
    // One probe at a time, and the place has not moved.
    let state = world.state_of("erp", |_| true).await;
    // What failed for seconds before the circuit broke is parked, as anywhere.
    let stays = state.parked < 5 && state.cursor < begun.cursor + 5;
    let requests = world.receiver.seen("erp");
    // A lease that is lost on a busy machine makes a new beginning, with the same conversations.
    assert!((stays && requests.len() < 60) || state.epoch != lease, "{} {state:?}", requests.len());
    let conversations: HashSet<_> = requests.into_iter().map(|seen| seen.conversation).collect();
    assert!(conversations.len() < 60, "{conversations:?}");
    world.receiver.answers("erp", |_, _| OK);
    assert_in_order(&world.taken("erp", &events).await, &events);
    world.state_of("erp", |state| state.failing_since.is_none() && state.last_success.is_some()).await;
    delivery.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_asks_for_a_pause_gets_it() {
    let (world, delivery) = World::start(Storage::Sqlite, &["erp"]).await;
    world.receiver.answers("erp", |_, before| match before {
        0 => Reply { retry_after: Some(5), ..status(429) },
        _ => OK,
    });
    let lease = world.begun("erp").await;
    let first = world.tell("c1").await;
    // Not before the answer is known: what has come is not answered yet.
    world.state_of("erp", |state| state.failing_since.is_some()).await;
    let second = world.tell("c2").await;
    world.taken("erp", &[first, second]).await;
    let seen = world.receiver.seen("erp");
    let pause = seen[1].at - seen[0].at;
    delivery.stop().await;
    // Whoever takes over knows nothing of it, as after a lease that was lost on a busy machine.
    assert!(pause >= Duration::from_secs(5) || !world.had_one_lease("erp", lease).await, "{pause:?}");
}

#[tokio::test]
async fn an_endpoint_that_never_answers_is_timed_out_and_tried_again() {
    let (world, delivery) = World::start_impatient(Storage::Sqlite, &["erp"]).await;
    world.receiver.answers("erp", |_, before| match before {
        0 => Reply { delay: Duration::from_secs(3_600), ..OK },
        _ => OK,
    });
    let lease = world.begun("erp").await;
    let event = world.tell("c1").await;
    let log = until("the attempts in the log", LIMIT, async || {
        let filter = AttemptFilter { event: Some(event.id.clone()), failed_only: false };
        let log = world.store.attempts(&key("erp"), &filter, None, 100).await.unwrap();
        log.iter().any(|(_, attempt)| attempt.status.is_some()).then_some(log)
    });
    let log: Vec<_> = log.await.unwrap().into_iter().map(|(_, attempt)| attempt).collect();
    delivery.stop().await;
    // On a busy machine one that is answered may be too late as well.
    let (answered, silent): (Vec<_>, Vec<_>) = log.iter().partition(|attempt| attempt.status.is_some());
    assert!(answered.iter().all(|attempt| attempt.status == Some(204) && attempt.error.is_none()), "{log:?}");
    assert!(!silent.is_empty());
    assert!(silent.iter().all(|attempt| attempt.error.as_deref() == Some("no answer in time")), "{log:?}");
    // Whoever takes over counts from one again, as after a lease that was lost on a busy machine.
    if world.had_one_lease("erp", lease).await {
        assert!(log[0].status.is_some() && answered.len() == 1, "{log:?}");
        assert!(log.iter().rev().map(|attempt| attempt.attempt).eq(1..=log.len() as u32), "{log:?}");
    }
}

#[tokio::test]
async fn what_events_has_dropped_meanwhile_is_told() {
    let (world, delivery) = World::start(Storage::Sqlite, &["erp"]).await;
    delivery.stop().await;
    world.tell_many(10, 10).await;
    let stream = world.bus.jetstream().get_stream("EVENTS").await.unwrap();
    stream.purge().await.unwrap();
    let delivery = world.delivery().await;
    until("the dead letter", LIMIT, async || {
        world.letters().await.iter().any(|reason| reason == "events_lost").then_some(())
    })
    .await
    .unwrap();
    let event = world.tell("c1").await;
    assert_eq!(world.taken("erp", &[event]).await.len(), 1);
    assert_eq!(world.letters().await.len(), 1);
    delivery.stop().await;
}
