//! Comings, goings, deaths and partitions in any order: no part ever has two owners.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use staffetta_bus::Bus;
use staffetta_testkit::FaultProxy;
use tokio_util::sync::CancellationToken;

use crate::support::{Replica, World};

#[derive(Clone, Copy, Debug)]
enum Event {
    Join,
    Stop(usize),
    Kill(usize),
    Cut(usize),
    Stall(usize),
    Heal(usize),
}

fn events() -> impl Strategy<Value = Vec<(Event, u64)>> {
    let which = 0..4_usize;
    let event = prop_oneof![
        4 => Just(Event::Join),
        1 => which.clone().prop_map(Event::Stop),
        1 => which.clone().prop_map(Event::Kill),
        1 => which.clone().prop_map(Event::Cut),
        1 => which.clone().prop_map(Event::Stall),
        2 => which.prop_map(Event::Heal),
    ];
    prop::collection::vec((event, 0..1_500_u64), 24)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_no_part_has_two_owners() {
    let world = World::new().await;
    let story = events().new_tree(&mut TestRunner::default()).unwrap().current();
    println!("{story:?}");
    let done = CancellationToken::new();
    let watching = tokio::spawn(Arc::clone(&world.judge).watch(done.clone()));
    let mut replicas: Vec<(Replica, FaultProxy)> = Vec::new();
    let mut names = 0..;
    for (event, pause) in story {
        match event {
            Event::Join if replicas.len() < 5 => {
                let name = format!("r{}", names.next().unwrap());
                let proxy = FaultProxy::before(world.address()).await.unwrap();
                let bus = Bus::connect(&format!("nats://{}", proxy.address()), &name).await.unwrap();
                replicas.push((Replica::start(bus, &name, Arc::clone(&world.judge)).await, proxy));
            }
            Event::Stop(which) if which < replicas.len() => replicas.remove(which).0.stop().await,
            Event::Kill(which) if which < replicas.len() => replicas.remove(which).0.kill().await,
            Event::Cut(which) if which < replicas.len() => replicas[which].1.cut().await.unwrap(),
            Event::Stall(which) if which < replicas.len() => replicas[which].1.stall().await.unwrap(),
            Event::Heal(which) if which < replicas.len() => replicas[which].1.heal().await.unwrap(),
            _ => {}
        }
        // Not for anything to have happened by then: so that it happens at any moment of what goes on.
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    // In the end those who are left share everything.
    for (_, proxy) in &replicas {
        proxy.heal().await.unwrap();
    }
    let last = world.replica("z").await;
    let mut owners: Vec<String> = replicas.iter().map(|(replica, _)| replica.name.clone()).collect();
    owners.push("z".into());
    owners.sort();
    world.judge.even(&owners.iter().map(String::as_str).collect::<Vec<_>>()).await;
    done.cancel();
    assert!(watching.await.unwrap() > 100);
    drop(last);
}
