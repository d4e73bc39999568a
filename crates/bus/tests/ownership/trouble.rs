//! Owners that die, freeze, or lose NATS.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use jiff::Timestamp;
use staffetta_bus::{Bus, Group, Lease, PARTS, boot_time};
use staffetta_testkit::{FaultProxy, until};

use crate::support::{LIMIT, Replica, SILENCE, WINDOW, World};

/// What the wall clock may be set by while a test looks at it.
const CLOCKS: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_killed_owners_parts_are_taken_after_its_silence() {
    let world = World::new().await;
    let dies = world.replica("a").await;
    world.judge.even(&["a"]).await;
    let takes = world.replica("b").await;
    world.judge.even(&["a", "b"]).await;
    let own = takes.book.lock().unwrap().gained;

    takes.book.lock().unwrap().first_gain = None;
    let bucket = world.bus.jetstream().get_key_value("LEASES").await.unwrap();
    let beaten = bucket.entry("member.a/0").await.unwrap().map(|entry| entry.created.unix_timestamp_nanos());
    // Both clocks at once, or nearly: a pause in between would be missing from the silence if it came before this.
    let died_at = boot_time();
    let silent_for = beaten.map(|at| Timestamp::now().as_nanosecond() - at);
    dies.kill().await;
    world.judge.even(&["b"]).await;
    if world.calm.holds() {
        let book = takes.book.lock().unwrap();
        let silent_for = Duration::from_nanos(silent_for.unwrap().try_into().unwrap());
        let waited = book.first_gain.unwrap() - died_at + silent_for;
        assert!(waited >= SILENCE - CLOCKS, "taken after {waited:?} without a heartbeat");
        assert_eq!(book.gained - own, usize::from(PARTS) / 2);
        assert_eq!(book.handovers.values().filter(|handover| handover.is_none()).count(), own);
    }
}

#[tokio::test]
async fn who_loses_nats_stops_before_another_begins_and_comes_back() {
    let world = World::new().await;
    let proxy = FaultProxy::before(world.address()).await.unwrap();
    let cut_off = world.replica_by("a", &format!("nats://{}", proxy.address())).await;
    world.judge.even(&["a"]).await;
    let leases: Vec<_> = cut_off.book.lock().unwrap().leases.values().cloned().collect();
    let other = world.replica("b").await;
    world.judge.even(&["a", "b"]).await;

    for fault in ["cut", "stall"] {
        match fault {
            "cut" => proxy.cut().await.unwrap(),
            _ => proxy.stall().await.unwrap(),
        }
        until("the leases to be lost", LIMIT, async || {
            world.judge.look();
            leases.iter().all(|lease| lease.lost().is_cancelled()).then_some(())
        })
        .await
        .unwrap();
        assert!(leases.iter().all(|lease| !lease.is_valid()));
        world.judge.even(&["b"]).await;
        proxy.heal().await.unwrap();
        world.judge.even(&["a", "b"]).await;
        assert!(leases.iter().all(|lease| !lease.is_valid()), "a lost lease never comes back");
    }
    let members: Vec<String> = world.members().await.into_keys().collect();
    assert!(members.iter().any(|id| id.starts_with("a/") && id != "a/0"), "{members:?}");
    cut_off.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn alone_after_a_short_loss_it_takes_its_own_parts_again() {
    let world = World::new().await;
    let proxy = FaultProxy::before(world.address()).await.unwrap();
    let alone = world.replica_by("a", &format!("nats://{}", proxy.address())).await;
    world.judge.even(&["a"]).await;
    proxy.cut().await.unwrap();
    // Seen from here the loss comes late on a busy machine, so what counts is when a lease was last valid.
    let mut last_valid = Duration::ZERO;
    until("the leases to be lost", LIMIT, async || {
        let (now, book) = (boot_time(), alone.book.lock().unwrap());
        if book.leases.values().any(Lease::is_valid) {
            last_valid = now;
        }
        book.leases.values().all(|lease| lease.lost().is_cancelled()).then_some(())
    })
    .await
    .unwrap();
    alone.book.lock().unwrap().first_gain = None;
    proxy.heal().await.unwrap();
    world.judge.even(&["a"]).await;
    let waited = alone.book.lock().unwrap().first_gain.unwrap() - last_valid;
    assert!(waited >= WINDOW, "own parts are free after a window: {waited:?}");
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_owner_wakes_up_without_its_right() {
    let world = World::new().await;
    let (wake, frozen) = mpsc::channel::<()>();
    let (freeze, freezing) = tokio::sync::oneshot::channel::<()>();
    let (say, said) = tokio::sync::oneshot::channel::<()>();
    let (url, judge) = (world.nats.url().to_owned(), Arc::clone(&world.judge));
    let on_waking = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&on_waking);
    // All of this owner lives on one thread, which can be held.
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bus = Bus::connect(&url, "a").await.unwrap();
            let owner = Replica::start(bus, "a", judge).await;
            freezing.await.unwrap();
            say.send(()).unwrap();
            frozen.recv_timeout(LIMIT * 2).unwrap();
            let leases: Vec<_> = owner.book.lock().unwrap().leases.values().cloned().collect();
            *seen.lock().unwrap() =
                Some((leases.len(), leases.iter().filter(|lease| lease.is_valid()).count()));
            owner.stop().await;
        });
    });
    world.judge.even(&["a"]).await;
    freeze.send(()).unwrap();
    tokio::time::timeout(LIMIT, said).await.unwrap().unwrap();
    let other = world.replica("b").await;
    world.judge.even(&["b"]).await;
    wake.send(()).unwrap();
    tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
    assert_eq!(*on_waking.lock().unwrap(), Some((usize::from(PARTS), 0)));
    world.judge.even(&["b"]).await;
    other.stop().await;
}

#[tokio::test]
async fn a_bucket_made_anew_ends_all_leases_and_starts_higher_epochs() {
    let world = World::new().await;
    let owner = world.replica("a").await;
    world.judge.even(&["a"]).await;
    let before = world.judge.latest_epochs();
    // Else it would pass for the first one ever made.
    until("the bucket to be older than the first seconds", LIMIT, async || {
        let made = world.bus.jetstream().get_stream("SEND").await.unwrap().cached_info().created;
        (jiff::Timestamp::now().as_second() - made.unix_timestamp() > 3).then_some(())
    })
    .await
    .unwrap();
    let leases: Vec<_> = owner.book.lock().unwrap().leases.values().cloned().collect();
    world.bus.jetstream().delete_key_value("LEASES").await.unwrap();
    world.set_up().await;
    let newcomer = world.replica("b").await;
    until("the old leases to be lost", LIMIT, async || {
        leases.iter().all(|lease| lease.lost().is_cancelled()).then_some(())
    })
    .await
    .unwrap();
    world.judge.even(&["a", "b"]).await;
    for (part, epoch) in world.judge.latest_epochs() {
        assert!(epoch > before[&part], "part {part}");
    }
    newcomer.stop().await;
    owner.stop().await;
}

#[tokio::test]
async fn a_part_that_is_not_given_back_in_order_stays() {
    use staffetta_bus::{Ownership, OwnershipChange, Returned};
    let world = World::new().await;
    let bus = Bus::connect(world.nats.url(), "a").await.unwrap();
    let ownership = Ownership::open(&bus, Group::Send, "a").await.unwrap();
    let (changes, mut seen) = tokio::sync::mpsc::channel(64);
    let (giving, returned) = tokio::sync::mpsc::channel(64);
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(ownership.run(changes, returned, stop.clone()));
    let mut leases = BTreeMap::<u16, Lease>::new();
    while leases.len() < usize::from(PARTS) || !leases.values().all(Lease::is_valid) {
        match tokio::time::timeout(LIMIT, seen.recv()).await.unwrap().unwrap() {
            OwnershipChange::Gained { part, lease, .. } => {
                leases.insert(part, lease);
            }
            OwnershipChange::GiveBack { .. } => panic!("nobody else is there"),
        }
    }
    // The first comes back while its lease is valid: it may be the return of an older one. The second is in order.
    let (early, in_order) = (leases[&0].clone(), leases[&1].clone());
    giving.send(Returned { part: 0, handover: None }).await.unwrap();
    in_order.end();
    giving.send(Returned { part: 1, handover: Some("x".into()) }).await.unwrap();
    match tokio::time::timeout(LIMIT, seen.recv()).await.unwrap().unwrap() {
        OwnershipChange::Gained { part, lease, handover } if world.calm.holds() => {
            assert_eq!((part, handover.as_deref()), (1, Some(b"x".as_slice())));
            assert!(lease.epoch() > in_order.epoch());
            if !(lease.is_valid() && early.is_valid()) {
                let told = async || (!world.calm.holds()).then_some(());
                until("the owner to say that it lost its parts", LIMIT, told).await.unwrap();
            }
        }
        OwnershipChange::Gained { .. } => {}
        other @ OwnershipChange::GiveBack { .. } => panic!("{other:?}"),
    }
    // Nobody is left to give anything back: it ends by itself, and no lease outlives it.
    drop(giving);
    tokio::time::timeout(LIMIT, running).await.unwrap().unwrap();
    assert!(!early.is_valid() && early.lost().is_cancelled());
}
