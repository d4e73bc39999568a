//! The channel's rate, as the receiver sees it.

use std::time::{Duration, Instant};

use crate::harness::{ANNA, NUMBER, RegistryText, Setup, World, text, texts};
use crate::pace::assert_rate;

const RATE: u32 = 50;

#[tokio::test]
async fn no_second_holds_more_than_the_rate() {
    let registry = RegistryText { rate: RATE, ..RegistryText::default() };
    let world = World::prepare(Setup { registry, ..Setup::default() }).await;
    let commands = texts("paced", 300, 50);
    world.send_all("bulk", &commands[..200]).await;
    world.send_all("normal", &commands[200..280]).await;
    world.send_all("urgent", &commands[280..]).await;
    let dispatcher = world.dispatcher().await;
    world.accepted(&commands).await;
    world.settled().await;
    let report = world.report(NUMBER);
    assert_rate(&world, RATE);
    assert_eq!((report.accepted, report.duplicates), (300, 0));
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_new_rate_holds_at_once() {
    let (world, dispatcher) = World::start(Setup {
        registry: RegistryText { rate: 1, ..RegistryText::default() },
        ..Setup::default()
    })
    .await;
    let commands = texts("faster", 200, 50);
    world.send_all("normal", &commands).await;
    world.sent(1).await;
    world.apply(&RegistryText { rate: RATE, ..RegistryText::default() }).await;
    world.accepted(&commands).await;
    assert_rate(&world, RATE);
    dispatcher.stop().await;
}

#[tokio::test]
async fn what_a_channel_received_before_it_sends_counts() {
    let registry = RegistryText { rate: RATE, ..RegistryText::default() };
    let (world, dispatcher) = World::start(Setup { registry, ..Setup::default() }).await;
    // The owner is at work.
    world
        .publish("acme.acme-care.normal", crate::harness::json_headers(), text("care", ANNA).to_string())
        .await;
    world.told("accepted", &["care"]).await;

    let before = Instant::now();
    let received: Vec<_> = (0..RATE).map(|n| (jiff::Timestamp::now(), u64::from(n))).collect();
    world.bus.tell_received(&"acme-orders".parse().unwrap(), &received).await;
    world.send("urgent", &text("after", ANNA)).await;
    world.told("accepted", &["after"]).await;
    // Never too early, however slow the machine is.
    assert!(before.elapsed() > Duration::from_secs(1), "{:?}", before.elapsed());
    dispatcher.stop().await;
}
