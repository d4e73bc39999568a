//! Deliveries that come and go.

use std::time::Duration;

use crate::harness::{Storage, World, assert_in_order};
use crate::receiver::{OK, Reply, status};

const NAMES: [&str; 6] = ["erp-0", "erp-1", "erp-2", "erp-3", "erp-4", "erp-5"];

#[tokio::test]
async fn a_killed_delivery_loses_nothing() {
    for storage in [Storage::Sqlite, Storage::Postgres] {
        let (world, mut delivery) = World::start(storage, &["erp"]).await;
        world.receiver.answers("erp", |_, _| Reply { delay: Duration::from_millis(5), ..OK });
        let mut events = Vec::new();
        for _ in 0..3 {
            let some = world.tell_many(100, 10).await;
            world.taken("erp", &some[..20]).await;
            events.extend(some);
            delivery.kill().await;
            delivery = world.delivery().await;
        }
        assert_in_order(&world.taken("erp", &events).await, &events);
        delivery.stop().await;
    }
}

#[tokio::test]
async fn endpoints_move_between_deliveries_in_order() {
    for storage in [Storage::Sqlite, Storage::Postgres] {
        let (world, first) = World::start(storage, &NAMES).await;
        for name in NAMES {
            world.receiver.answers(name, |seen, before| match (seen.n + before as u64) % 13 {
                0 => status(500),
                5 => status(409),
                _ => Reply { delay: Duration::from_millis(3), ..OK },
            });
        }
        let mut events = world.tell_many(60, 6).await;
        world.taken("erp-0", &events[..10]).await;
        let second = world.delivery().await;
        events.extend(world.tell_many(60, 6).await);
        world.taken("erp-1", &events[..70]).await;
        first.stop().await;
        events.extend(world.tell_many(60, 6).await);
        let third = world.delivery().await;
        world.taken("erp-2", &events[..130]).await;
        second.kill().await;
        events.extend(world.tell_many(20, 6).await);
        for name in NAMES {
            assert_in_order(&world.taken(name, &events).await, &events);
        }
        third.stop().await;
    }
}

#[tokio::test]
async fn without_nats_everything_waits() {
    let (mut world, delivery) = World::start(Storage::Sqlite, &["erp"]).await;
    let mut events = world.tell_many(20, 4).await;
    world.taken("erp", &events).await;
    world.nats.kill().await.unwrap();
    world.nats.restart().await.unwrap();
    events.extend(world.tell_many(20, 4).await);
    assert_in_order(&world.taken("erp", &events).await, &events);
    delivery.stop().await;
}
