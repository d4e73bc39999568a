//! Parts spread, and move when a process comes or goes.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use staffetta_bus::{Group, Lease, Ownership, OwnershipChange, PARTS};
use staffetta_testkit::until;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::{LIMIT, World};

#[tokio::test]
async fn one_alone_owns_everything() {
    let world = World::new().await;
    let alone = world.replica("a").await;
    world.judge.even(&["a"]).await;
    let gained = alone.book.lock().unwrap().gained;
    if world.calm.holds() {
        assert_eq!(gained, usize::from(PARTS));
    }
    world.stop(alone).await;
    assert!(world.judge.owners().is_empty());
    world.nobody_is_left().await;
}

#[tokio::test]
async fn three_share_evenly_and_a_fourth_moves_no_more_than_its_share() {
    let world = World::new().await;
    let three = [world.replica("a").await, world.replica("b").await, world.replica("c").await];
    let before = world.judge.even(&["a", "b", "c"]).await;

    let fourth = world.replica("d").await;
    let with_four = world.judge.even(&["a", "b", "c", "d"]).await;
    let moved = with_four.iter().filter(|(part, owner)| before[part] != **owner).count();
    if world.calm.holds() {
        assert_eq!(moved, 8, "only what the fourth owns moved");
    }

    world.stop(fourth).await;
    let after = world.judge.even(&["a", "b", "c"]).await;
    let moved = after.iter().filter(|(part, owner)| with_four[part] != **owner).count();
    if world.calm.holds() {
        assert_eq!(moved, 8, "only what the fourth owned moved");
    }
    for replica in three {
        world.stop(replica).await;
    }
    world.nobody_is_left().await;
}

#[tokio::test]
async fn a_stop_hands_every_part_over_with_what_the_next_one_must_know() {
    let world = World::new().await;
    let a = world.replica("a").await;
    world.judge.even(&["a"]).await;
    let b = world.replica("b").await;
    world.judge.even(&["a", "b"]).await;
    a.stop().await;
    world.judge.even(&["b"]).await;
    let (book, calm) = (b.book.lock().unwrap(), world.calm.holds());
    for part in 0..PARTS {
        let handover = book.handovers[&part].as_deref();
        let own = Some(format!("a:{part}"));
        // Of a part that was lost nobody knows anything.
        assert!(handover == own.as_deref().map(str::as_bytes) || !calm, "part {part}: {handover:?}");
    }
    if calm {
        assert_eq!((book.gained, book.asked_back), (usize::from(PARTS), 0));
    }
}

#[tokio::test]
async fn the_last_one_leaves_its_handover_for_whoever_comes_next() {
    let world = World::new().await;
    let first = world.replica("a").await;
    world.judge.even(&["a"]).await;
    first.stop().await;
    let next = world.replica("b").await;
    world.judge.even(&["b"]).await;
    let handover = next.book.lock().unwrap().handovers[&3].clone();
    assert!(handover.as_deref() == Some(b"a:3".as_slice()) || !world.calm.holds(), "{handover:?}");
}

#[tokio::test]
async fn what_is_left_of_those_who_went_is_tidied_up() {
    let world = World::new().await;
    let stays = world.replica("a").await;
    world.judge.even(&["a"]).await;
    let goes = world.replica("b").await;
    world.judge.even(&["a", "b"]).await;
    goes.kill().await;
    world.judge.even(&["a"]).await;
    until("the dead one's entry to go", LIMIT, async || {
        let members = world.members().await;
        (members.len() == 1 && members.keys().all(|id| id.starts_with("a/"))).then_some(())
    })
    .await
    .unwrap();
    stays.stop().await;
}

#[tokio::test]
async fn two_groups_own_their_parts_beside_each_other() {
    let world = World::new().await;
    let mut kept = Vec::new();
    for group in [Group::Send, Group::Deliver] {
        // One process may be in both, under one name.
        let ownership = Ownership::open(&world.bus, group, "a").await.unwrap();
        let (changes, mut seen) = mpsc::channel(64);
        let (giving, returned) = mpsc::channel(64);
        let running = tokio::spawn(ownership.run(changes, returned, CancellationToken::new()));
        let mut held = BTreeMap::<u16, Lease>::new();
        while held.len() < usize::from(PARTS) || !held.values().all(Lease::is_valid) {
            match timeout(LIMIT, seen.recv()).await.unwrap().unwrap() {
                OwnershipChange::Gained { part, lease, .. } => {
                    let before = held.insert(part, lease);
                    assert!(before.is_none_or(|before| !before.is_valid()), "part {part} came twice");
                }
                OwnershipChange::GiveBack { .. } => panic!("nobody else is there"),
            }
        }
        assert_eq!(held.len(), usize::from(PARTS));
        kept.push((running, seen, giving));
    }
    let bucket = world.bus.jetstream().get_key_value("LEASES").await.unwrap();
    for key in ["part.0", "part.31", "deliver.part.0", "deliver.part.31"] {
        assert!(bucket.get(key).await.unwrap().is_some(), "{key}");
    }
    for member in ["member.a/", "deliver.member.a/"] {
        until(member, LIMIT, async || {
            let keys: Vec<String> = bucket.keys().await.unwrap().try_collect().await.unwrap();
            keys.iter().any(|key| key.starts_with(member)).then_some(())
        })
        .await
        .unwrap();
    }
    for (running, mut seen, giving) in kept {
        let more = seen.try_recv();
        assert!(more.is_err() || !world.calm.holds(), "nothing is lost or asked back: {more:?}");
        drop(giving);
        running.abort();
    }
}
