//! What comes, and in which order.

use std::time::Duration;

use staffetta_domain::EventType;

use crate::harness::{Storage, World, assert_in_order, webhook};
use crate::receiver::{OK, Reply, status};

#[tokio::test]
async fn every_event_comes_once_and_in_order() {
    for storage in [Storage::Sqlite, Storage::Postgres] {
        let (world, delivery) = World::start(storage, &["erp"]).await;
        let events = world.tell_many(300, 20).await;
        let taken = world.taken("erp", &events).await;
        assert_in_order(&taken, &events);
        assert_eq!(taken.len(), 300);
        delivery.stop().await;
        // Nothing of it comes again.
        let delivery = world.delivery().await;
        let more = world.tell_many(5, 5).await;
        assert_eq!(world.taken("erp", &more).await.len(), 305);
        delivery.stop().await;
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
    let (world, delivery) = World::start(Storage::Sqlite, &names).await;
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
    assert_eq!(world.taken("all", &[message.clone(), command, status.clone()]).await.len(), 3);
    assert_eq!(world.taken("some", &[message, status]).await.len(), 2);
    assert!(world.receiver.seen("none").is_empty());
    delivery.stop().await;
}
