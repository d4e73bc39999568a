//! Events that are delivered once more.

use std::collections::BTreeMap;

use jiff::Timestamp;
use staffetta_testkit::until;

use crate::harness::{LIMIT, Storage, World, key};

#[tokio::test]
async fn a_range_comes_once_more_under_the_same_ids() {
    for storage in [Storage::Sqlite, Storage::Postgres] {
        let (world, delivery) = World::start(storage, &["erp", "other"]).await;
        let lease = world.begun("erp").await;
        let events = world.tell_many(50, 5).await;
        world.taken("erp", &events).await;
        world.taken("other", &events).await;
        let (at, key) = (Timestamp::now(), key("erp"));
        world.store.add_replay(&key, 11, 30, at, at, at).await.unwrap();
        until("the replay to end", LIMIT, async || {
            world.store.replays(&key).await.unwrap().is_empty().then_some(())
        })
        .await
        .unwrap();
        delivery.stop().await;
        let busy = !world.had_one_lease("erp", lease).await;
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for seen in world.receiver.taken("erp") {
            *times.entry(seen.id).or_default() += 1;
        }
        let first = world.bus.jetstream().get_stream("EVENTS").await.unwrap();
        assert_eq!(first.cached_info().state.messages, 50);
        for (n, event) in events.iter().enumerate() {
            let wanted = if (10..30).contains(&n) { 2 } else { 1 };
            let came = times[event.id.as_str()];
            assert!(came == wanted || (busy && came > wanted), "event {n} came {came} times, not {wanted}");
        }
        let others = world.receiver.taken("other").len();
        assert!(others == 50 || (busy && others > 50), "{others} came to the other one");
    }
}
