//! Nothing is lost and nothing told twice when something goes away in the middle.

use std::collections::BTreeSet;
use std::env;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use staffetta_runtime::Health;
use staffetta_testkit::{FaultProxy, Signal, until};
use tokio::task::yield_now;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::harness::{
    Kind, LIMIT, World, body, claim, fit, impatient_store, in_turn, recorder, status, store, text, turns,
};
use crate::on_both;

on_both!(
    a_recorder_killed_between_any_two_steps_loses_nothing,
    a_recorder_killed_beside_another_one_loses_nothing,
    while_events_is_full_nothing_newer_is_told,
);

/// What the recorder does in turn; it dies right after one of them.
const STEPS: [&str; 6] = [
    "recorder.fetched",
    "recorder.recorded",
    "recorder.staged",
    "recorder.announced",
    "recorder.marked",
    "recorder.acked",
];

/// Tells the copy of this test program that gets killed where its world is.
const VICTIM_VARIABLE: &str = "STAFFETTA_RECORDER_VICTIM";

async fn a_recorder_killed_between_any_two_steps_loses_nothing(kind: Kind) {
    for step in STEPS {
        let mut world = World::new(kind).await;
        let mut proof = status("wamid.S", "read");
        proof["biz_opaque_callback_data"] = json!("st1:1:order-1");
        let lists =
            json!({"messages": [text("39", "wamid.A"), text("39", "wamid.B"), 7], "statuses": [proof]});
        world.store.claim(&[claim("order-1")]).await.unwrap();
        world.publish(&[body("100", &lists)]).await;
        world.publish(&[body("200", &lists)]).await;

        killed(&world, step, 1).await;

        // Otherwise NATS would wait its 30 seconds before it hands the envelopes to the next recorder.
        world.forget_consumer().await;
        world.start_recorder().await;
        world.settled().await;
        let told = world.told().await;
        assert_eq!(
            told.len(),
            7,
            "{step}: two messages and a status of each tenant, and one command accepted"
        );
        assert!(told.values().all(|times| *times == 1), "{step}");
        in_turn(&world.events().await);
        assert_eq!(world.letters().await.len(), 1, "{step}");
        world.stop().await;
    }
}

/// The same leaves come through two apps, to two recorders; one of them dies in the middle of it.
async fn a_recorder_killed_beside_another_one_loses_nothing(kind: Kind) {
    let races = STEPS.iter().enumerate().map(async |(index, step)| {
        let mut world = World::new(kind).await;
        let health = world.start_recorder().await;
        let mut batches = 0;
        let publishing = async {
            // Without an end: the one that is to die must get its share.
            loop {
                let leaf = |n: usize| text(&format!("39{}", n % 4), &format!("wamid.{:06}", batches * 5 + n));
                let batch = body("100", &json!({"messages": (0..10).map(leaf).collect::<Vec<_>>()}));
                for _ in 0..2 {
                    world.publish(std::slice::from_ref(&batch)).await;
                }
                batches += 1;
            }
        };
        tokio::select! {
            () = killed(&world, step, index % 2 + 1) => {}
            never = publishing => match never {},
        }
        world.forget_consumer().await;
        world.settled().await;

        let told = world.told().await;
        // The last one may or may not have been published when the other died.
        let published = [batches * 5 + 5, batches * 5 + 10];
        assert!(published.contains(&told.len()), "{step}: {} of {published:?}", told.len());
        assert!(told.values().all(|times| *times == 1), "{step}");
        assert_eq!(told.into_keys().collect::<BTreeSet<_>>(), world.recorded().await, "{step}");
        assert_eq!(turns(&world.events().await).len(), 4, "{step}");
        until("the other recorder to be fit", LIMIT, async || fit(&health).then_some(())).await.unwrap();
        world.stop().await;
    });
    join_all(races).await;
}

/// Runs a recorder that dies when it reaches that step for the n-th time.
async fn killed(world: &World, step: &str, times: usize) {
    let mut victim = tokio::process::Command::new(env::current_exe().unwrap());
    victim.args(["--exact", "faults::victim", "--nocapture"]).kill_on_drop(true);
    victim.env("STAFFETTA_CRASH_AT", format!("{step}:{times}"));
    victim.env(VICTIM_VARIABLE, format!("{} {}", world.nats.url(), world.database_url));
    let output = tokio::time::timeout(LIMIT, victim.output()).await.unwrap().unwrap();
    assert_eq!(output.status.signal(), Some(Signal::ABORT.as_raw()), "{step}: {output:?}");
}

/// Started by the tests above; on its own it does nothing.
#[tokio::test]
async fn victim() {
    let Ok(place) = env::var(VICTIM_VARIABLE) else { return };
    let (nats, database) = place.split_once(' ').unwrap();
    let stop = CancellationToken::new();
    let (store, health) = (store(database).await, Health::default());
    let made = recorder(nats, store, &health, stop.clone());
    let (follow, _, recorder) = Box::pin(made).await;
    let ((), ended) = tokio::join!(follow, recorder.run(stop));
    ended.unwrap();
}

#[tokio::test]
async fn a_database_that_goes_away_and_comes_back_loses_nothing() {
    let mut world = World::new(Kind::Postgres).await;
    let (proxy, health) = start_recorder_behind_proxy(&mut world).await;

    proxy.cut().await.unwrap();
    for n in 0..20 {
        world.publish(&[body("100", &json!({"messages": [text("39", &format!("wamid.{n}"))]}))]).await;
    }
    until("the recorder to say that it is stuck", LIMIT, async || (!fit(&health)).then_some(()))
        .await
        .unwrap();
    assert!(world.events().await.is_empty());
    proxy.heal().await.unwrap();
    world.settled().await;

    assert_eq!(world.told().await.len(), 20);
    until("the recorder to be fit again", LIMIT, async || fit(&health).then_some(())).await.unwrap();

    // And once more with answers that never come.
    proxy.stall().await.unwrap();
    for n in 20..40 {
        world.publish(&[body("100", &json!({"messages": [text("39", &format!("wamid.{n}"))]}))]).await;
    }
    until("the recorder to say that it is stuck", LIMIT, async || (!fit(&health)).then_some(()))
        .await
        .unwrap();
    proxy.heal().await.unwrap();
    world.settled().await;
    let told = world.told().await;
    assert_eq!(told.len(), 40);
    assert!(told.values().all(|times| *times == 1));
    in_turn(&world.events().await);
    world.stop().await;
}

#[tokio::test]
async fn nats_restarted_in_the_middle_loses_nothing() {
    let mut world = World::new(Kind::Sqlite).await;
    let batch = |n: usize| {
        body("100", &json!({"messages": [text(&format!("39{}", n % 5), &format!("wamid.{n:04}"))]}))
    };
    for n in 0..1_000 {
        world.publish(&[batch(n)]).await;
    }
    world.start_recorder().await;
    until("the recorder to be at work", LIMIT, async || (world.count("EVENTS").await >= 50).then_some(()))
        .await
        .unwrap();
    world.nats.kill().await.unwrap();
    world.nats.restart().await.unwrap();
    world.settled().await;
    let told = world.told().await;
    assert_eq!(told.len(), 1_000);
    assert!(told.values().all(|times| *times == 1));
    in_turn(&world.events().await);
    world.stop().await;
}

/// What can't be told holds back what is newer, also in the envelopes after it.
async fn while_events_is_full_nothing_newer_is_told(kind: Kind) {
    let mut world = World::new(kind).await;
    world.limit_events(30).await;
    let health = world.start_recorder().await;
    let publish = async |from: usize, to: usize| {
        for n in from..to {
            let leaf = text(&format!("39{}", n % 5), &format!("wamid.{n:04}"));
            world.publish(&[body("100", &json!({"messages": [leaf]}))]).await;
        }
    };
    publish(0, 300).await;
    until("the recorder to be behind", LIMIT, async || (!fit(&health)).then_some(())).await.unwrap();
    assert!(world.count("EVENTS").await <= 30);
    world.limit_events(-1).await;
    publish(300, 400).await;
    world.settled().await;

    assert_eq!(world.told().await.len(), 400);
    in_turn(&world.events().await);
    until("the recorder to be fit again", LIMIT, async || fit(&health).then_some(())).await.unwrap();
    world.stop().await;
}

#[tokio::test]
async fn a_recorder_told_to_stop_gives_back_what_it_cannot_finish() {
    let mut world = World::new(Kind::Postgres).await;
    let (proxy, health) = start_recorder_behind_proxy(&mut world).await;
    proxy.cut().await.unwrap();
    world.publish(&[body("100", &json!({"messages": [text("39", "wamid.A")]}))]).await;
    until("the recorder to be stuck", LIMIT, async || (!fit(&health)).then_some(())).await.unwrap();
    world.stop().await;

    world.start_recorder().await;
    world.settled().await;
    assert_eq!(world.told().await.len(), 1);
    world.stop().await;
}

/// Nobody else would get what NATS hands to a recorder that has stopped listening, for as long as the consumer waits.
#[tokio::test]
async fn what_comes_around_a_stop_is_recorded_or_left_to_the_next() {
    let mut world = World::new(Kind::Sqlite).await;
    // The stop comes at first before the webhook, at last after it; the webhook comes at first at once, at last when NATS
    // has ended the recorder's request.
    let near = (0..60).map(|n| (n * 10, 0));
    let later = [2, 5, 20, 60, 150, 400, 700, 950, 1_000, 1_050].map(|millis| (0, millis));
    let rounds: Vec<(u32, u64)> = near.chain(later).collect();
    for (n, (yields, millis)) in rounds.iter().copied().enumerate() {
        world.start_recorder().await;
        until("the recorder to wait", LIMIT, async || (world.consumer().await.num_waiting > 0).then_some(()))
            .await
            .unwrap();
        let stopping = async {
            for _ in 0..yields {
                yield_now().await;
            }
            world.tell_to_stop();
        };
        let publishing = async {
            sleep(Duration::from_millis(millis)).await;
            world.publish(&[body("100", &json!({"messages": [text("39", &format!("wamid.{n}"))]}))]).await;
        };
        tokio::join!(stopping, publishing);
        world.stop().await;
        assert_eq!(world.consumer().await.num_ack_pending, 0, "{yields} {millis}");
    }

    world.start_recorder().await;
    world.settled().await;
    assert_eq!(world.told().await.len(), rounds.len());
    world.stop().await;
}

/// A recorder whose way to PostgreSQL can be broken.
pub(crate) async fn start_recorder_behind_proxy(world: &mut World) -> (FaultProxy, Health) {
    let address =
        world.database_url.split(['@', '/']).find_map(|part| part.parse::<SocketAddr>().ok()).unwrap();
    let proxy = FaultProxy::before(address).await.unwrap();
    let through = world.database_url.replace(&address.to_string(), &proxy.address().to_string());
    let health = world.start_recorder_on(impatient_store(&through).await).await;
    (proxy, health)
}
