//! EVENTS is lost and made anew, and counts from 1 again.

use async_nats::jetstream::consumer::PullConsumer;
use staffetta_bus::Retention;
use staffetta_store::EndpointPlace;
use staffetta_testkit::until;

use crate::harness::{LIMIT, Storage, World, key, webhook};

/// EVENTS is gone, and there is an empty one in its place.
async fn lose_events(world: &World) {
    world.bus.jetstream().delete_stream("EVENTS").await.unwrap();
    let retention = Retention { replicas: 1, webhooks_max_bytes: 1 << 30, lane_max_commands: 100_000 };
    world.bus.set_up_streams(&retention).await.unwrap();
}

#[tokio::test]
async fn whoever_serves_endpoints_meanwhile_goes_on_with_the_new_one() {
    let world = World::prepare(Storage::Sqlite).await;
    let pull = r#"{ id = "pull", tenant = "acme", kind = "nats" }"#.to_owned();
    world.apply(&[webhook(&world, "erp"), pull]).await;
    let delivery = world.delivery().await;
    world.begun("erp").await;
    let before = world.tell_many(20, 5).await;
    world.taken("erp", &before).await;
    let place = world.state_of("erp", |state| state.cursor > 20).await;
    let had = world.receiver.taken("erp").len();

    lose_events(&world).await;
    // More than there ever were: the place of the old one is in the midst of them.
    let after = world.tell_many(30, 5).await;
    let taken = world.taken("erp", &after).await;
    for event in &before {
        assert!(
            !taken[had..].iter().any(|seen| seen.id == event.id.as_str()),
            "{} came again",
            event.subject
        );
    }
    let now = world.state_of("erp", |state| state.cursor == 31).await;
    assert!(now.log.is_some() && now.log != place.log, "{now:?}");
    assert_eq!(world.letters().await, ["events_lost"]);
    let stream = world.bus.jetstream().get_stream("EVENTS").await.unwrap();
    let consumer = async || -> Option<PullConsumer> { stream.get_consumer("endpoint-pull").await.ok() };
    until("the consumer to be made again", LIMIT, consumer).await.unwrap();
    delivery.stop().await;
}

#[tokio::test]
async fn a_place_that_does_not_say_of_which_is_left_when_the_stream_has_not_come_so_far() {
    let world = World::prepare(Storage::Postgres).await;
    world.apply(&[webhook(&world, "here"), webhook(&world, "beyond")]).await;
    let events = world.tell_many(4, 2).await;
    // As a version kept it that did not say more.
    let place = |id: &str, cursor: u64| EndpointPlace {
        key: key(id),
        epoch: 1,
        cursor,
        log: None,
        failing_since: None,
        last_success: None,
        last_error: None,
    };
    world.store.keep_places(&[place("here", 5), place("beyond", 6)]).await.unwrap();
    let delivery = world.delivery().await;
    world.taken("beyond", &events).await;
    let more = world.tell_many(4, 2).await;
    let here = world.taken("here", &more).await;
    assert!(here.iter().all(|seen| seen.n >= 4), "where it was, it goes on");
    assert_eq!(world.letters().await, ["events_lost"]);
    delivery.stop().await;
}
