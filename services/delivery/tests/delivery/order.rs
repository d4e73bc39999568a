//! What comes, and in which order.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use staffetta_domain::{Event, EventType};

use crate::harness::{Storage, World, assert_in_order, webhook};
use crate::receiver::{OK, Reply, Seen, status};

#[tokio::test]
async fn every_event_comes_once_and_in_order() {
    for storage in [Storage::Sqlite, Storage::Postgres] {
        let (world, delivery) = World::start(storage, &["erp"]).await;
        let lease = world.begun("erp").await;
        let events = world.tell_many(300, 20).await;
        assert_in_order(&world.taken("erp", &events).await, &events);
        let stopping = Instant::now();
        delivery.stop().await;
        let (taken, noted) =
            (world.receiver.taken("erp").len(), world.state_of("erp", |_| true).await.cursor);
        // On a busy machine the lease may be lost, and the time for the last notes may be too short.
        let busy = !world.had_one_lease("erp", lease).await || stopping.elapsed() >= Duration::from_secs(2);
        assert!(busy || (taken, noted) == (300, 301), "{taken} came, noted up to {noted}");
        // Nothing that is noted comes again.
        let delivery = world.delivery().await;
        let more = world.tell_many(5, 5).await;
        world.taken("erp", &more).await;
        delivery.stop().await;
        let mut again = world.receiver.taken("erp").split_off(taken);
        again.retain(|seen| seen.n + 1 < noted);
        assert!(again.is_empty(), "{again:?}");
    }
}

#[tokio::test]
async fn the_order_of_a_conversation_outlasts_failures() {
    for storage in [Storage::Sqlite, Storage::Postgres] {
        let (world, delivery) = World::start(storage, &["erp"]).await;
        world.receiver.answers("erp", |seen, before| match (seen.n * 7 + before as u64) % 11 {
            0 => status(500),
            3 => status(400),
            7 => Reply { delay: Duration::from_millis(50), ..OK },
            _ => OK,
        });
        let events = world.tell_many(200, 10).await;
        let taken = world.taken("erp", &events).await;
        assert_in_order(&taken, &events);
        delivery.stop().await;
    }
}

#[tokio::test]
async fn a_dead_and_a_slow_endpoint_keep_nobody_waiting() {
    let names: Vec<String> = (0..20).map(|n| format!("erp-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (world, delivery) = World::start_impatient(Storage::Sqlite, &names).await;
    world.receiver.answers("erp-0", |_, _| status(503));
    world.receiver.answers("erp-1", |_, _| Reply { delay: Duration::from_secs(3_600), ..OK });
    let events = world.tell_many(100, 10).await;
    for name in &names[2..] {
        assert_in_order(&world.taken(name, &events).await, &events);
    }
    assert!(world.receiver.taken("erp-0").is_empty());
    world.receiver.answers("erp-0", |_, _| OK);
    world.receiver.answers("erp-1", |_, _| OK);
    assert_in_order(&world.taken("erp-0", &events).await, &events);
    delivery.stop().await;
}

#[tokio::test]
async fn an_endpoint_gets_what_it_wants_and_nothing_else() {
    let world = World::prepare(Storage::Sqlite).await;
    let some = webhook(&world, "some").replace(" }", r#", types = ["message.*"] }"#);
    let none = webhook(&world, "none").replace(" }", r#", channels = ["other"] }"#);
    let entries = [
        webhook(&world, "all"),
        some,
        none.replace("[\"other\"]", "[\"acme-orders\"], types = [\"media.*\"]"),
    ];
    world.apply(&entries).await;
    let delivery = world.delivery().await;
    for id in ["all", "some", "none"] {
        world.begun(id).await;
    }
    let message = world.tell("c1").await;
    world.tell_of("beta", EventType::MessageReceived, "c1").await;
    let command = world.tell_of("acme", EventType::CommandAccepted, "c1").await;
    let status = world.tell_of("acme", EventType::MessageStatus, "c1").await;
    let ids = |taken: Vec<Seen>| taken.into_iter().map(|seen| seen.id).collect::<BTreeSet<_>>();
    let of = |events: &[&Event]| events.iter().map(|event| event.id.to_string()).collect::<BTreeSet<_>>();
    let taken = world.taken("all", &[message.clone(), command.clone(), status.clone()]).await;
    assert_eq!(ids(taken), of(&[&message, &command, &status]));
    let taken = world.taken("some", &[message.clone(), status.clone()]).await;
    assert_eq!(ids(taken), of(&[&message, &status]));
    assert!(world.receiver.seen("none").is_empty());
    delivery.stop().await;
}
