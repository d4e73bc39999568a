//! Parts spread, and move when a process comes or goes.

use std::collections::BTreeSet;

use staffetta_bus::{Group, Ownership, OwnershipChange, PARTS};
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
    assert_eq!(alone.book.lock().unwrap().gained, usize::from(PARTS));
    alone.stop().await;
    assert!(world.judge.owners().is_empty());
    assert!(world.members().await.is_empty());
}

#[tokio::test]
async fn three_share_evenly_and_a_fourth_moves_no_more_than_its_share() {
    let world = World::new().await;
    let three = [world.replica("a").await, world.replica("b").await, world.replica("c").await];
    world.judge.even(&["a", "b", "c"]).await;
    let before = world.judge.owners();

    let fourth = world.replica("d").await;
    world.judge.even(&["a", "b", "c", "d"]).await;
    let with_four = world.judge.owners();
    let moved = with_four.iter().filter(|(part, owner)| before[part] != **owner).count();
    assert_eq!(moved, 8, "only what the fourth owns moved");

    fourth.stop().await;
    world.judge.even(&["a", "b", "c"]).await;
    let after = world.judge.owners();
    let moved = after.iter().filter(|(part, owner)| with_four[part] != **owner).count();
    assert_eq!(moved, 8, "only what the fourth owned moved");
    for replica in three {
        replica.stop().await;
    }
    assert!(world.members().await.is_empty());
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
    let book = b.book.lock().unwrap();
    for part in 0..PARTS {
        let handover = book.handovers[&part].as_deref();
        assert_eq!(handover, Some(format!("a:{part}").as_bytes()), "part {part}");
    }
    assert_eq!((book.gained, book.asked_back), (usize::from(PARTS), 0));
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
    assert_eq!(handover.as_deref(), Some(b"a:3".as_slice()));
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
        (members.len() == 1 && members.contains_key("a/0")).then_some(())
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
        let mut parts = BTreeSet::new();
        while parts.len() < usize::from(PARTS) {
            match timeout(LIMIT, seen.recv()).await.unwrap().unwrap() {
                OwnershipChange::Gained { part, lease, .. } => {
                    assert!(lease.is_valid() && parts.insert(part));
                }
                OwnershipChange::GiveBack { .. } => panic!("nobody else is there"),
            }
        }
        kept.push((running, seen, giving));
    }
    let bucket = world.bus.jetstream().get_key_value("LEASES").await.unwrap();
    for key in ["part.0", "part.31", "member.a/0", "deliver.part.0", "deliver.part.31", "deliver.member.a/0"]
    {
        assert!(bucket.get(key).await.unwrap().is_some(), "{key}");
    }
    for (running, mut seen, giving) in kept {
        assert!(seen.try_recv().is_err(), "nothing is lost or asked back");
        drop(giving);
        running.abort();
    }
}
