//! Events that an endpoint is to be sent once more.

use staffetta_store::{ReplayJob, Store};

use crate::endpoints::{erp, key};
use crate::support::{at, on_both};

on_both!(a_replay_goes_on_until_it_ends, replays_belong_to_one_endpoint);

async fn a_replay_goes_on_until_it_ends(store: Store) {
    assert_eq!(store.replays(&erp()).await.unwrap(), []);
    let first = store.add_replay(&erp(), 10, 99, at(0), at(60), at(100)).await.unwrap();
    let second = store.add_replay(&erp(), 5, 7, at(1), at(2), at(50)).await.unwrap();
    assert_ne!(first, second);
    let job = |id, next, last, from, until, asked| ReplayJob {
        id,
        key: erp(),
        next,
        last,
        from: at(from),
        until: at(until),
        asked: at(asked),
    };
    let other = job(second, 5, 7, 1, 2, 50);
    assert_eq!(store.replays(&erp()).await.unwrap(), [job(first, 10, 99, 0, 60, 100), other.clone()]);
    for next in [40, 40, 20] {
        store.move_replay(first, next).await.unwrap();
        assert_eq!(store.replays(&erp()).await.unwrap()[0].next, 40, "never back");
    }
    for _ in 0..2 {
        store.end_replay(first).await.unwrap();
        store.move_replay(first, 50).await.unwrap();
        assert_eq!(store.replays(&erp()).await.unwrap(), std::slice::from_ref(&other));
    }
    let third = store.add_replay(&erp(), 1, 2, at(0), at(1), at(2)).await.unwrap();
    assert_ne!(third, first, "a number is used once");
}

async fn replays_belong_to_one_endpoint(store: Store) {
    let keys = [erp(), key("acme", "acme-shop"), key("beta", "acme-erp")];
    for (key, next) in keys.iter().zip(1..) {
        store.add_replay(key, next, 9, at(0), at(1), at(2)).await.unwrap();
    }
    for (key, next) in keys.iter().zip(1..) {
        let jobs = store.replays(key).await.unwrap();
        assert_eq!(jobs.iter().map(|job| (&job.key, job.next)).collect::<Vec<_>>(), [(key, next)]);
    }
}
