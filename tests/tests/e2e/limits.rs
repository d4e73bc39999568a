//! Limits that the provider sets: what a number may send, its upgrades, and what channels share.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::Value;
use staffetta_simulator::{Behaviour, Detail, ThroughputLevel, Upgrade, Usage};
use staffetta_testkit::{Company, until};
use staffetta_tests::{CARE, Installation, LIMIT, Number, ORDERS, Service, Setup, Streams, rate_held};

use crate::{all, apply_lines, assert_each_sent_once_in_order, at_provider, channel_lines, commands, only};

/// What the registry allows a channel.
const RATE: u32 = 160;
/// What the provider grants at first.
const STANDARD: u32 = 80;
/// What it grants those who send more than it says. Few, so that a slow machine sends more as well.
const LESS: u32 = 5;

#[tokio::test]
async fn a_number_that_is_moved_to_a_higher_throughput_loses_nothing_and_sends_faster() {
    // No statuses: the machine is to have time for as many sends as may leave.
    let behaviour = Behaviour { statuses: Vec::new(), pair: None, ..Behaviour::default() };
    let (staffetta, up) = Installation::up(Setup { behaviour, ..Setup::default() }).await.unwrap();
    staffetta.provider.put_channel(at_provider(ORDERS, STANDARD)).unwrap();
    apply_lines(&staffetta, &channel_lines(ORDERS, RATE)).await;
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);
    let mut sent = commands("upgraded", 1_000, 50);
    acme.send_at_once(&sent).await.unwrap();
    let limit = async |rate: u32| {
        up.shows("staffetta_channel_rate_limit", &[("channel", ORDERS.channel)], &rate.to_string())
            .await
            .unwrap();
    };
    limit(STANDARD).await;
    until_accepted(&staffetta, ORDERS, 260).await;
    let upgrade = Upgrade { rate: NonZeroU32::new(1_000).unwrap(), maintenance_ms: 6_000 };
    staffetta.provider.upgrade(ORDERS.phone_number_id, upgrade).unwrap();
    accepted_at_first(&staffetta, &streams, &up, &sent).await;
    limit(RATE).await;

    let report = &staffetta.provider.report(Detail::Sends).channels[ORDERS.phone_number_id];
    assert!(report.refused[&131_057] > 0, "{:?}", report.refused);
    let sends = staffetta.sends(ORDERS);
    assert_each_sent_once_in_order(&sends, &sent);
    let pause = sends.windows(2).max_by_key(|pair| pair[1].at_us - pair[0].at_us).unwrap()[1].at_us;
    // What the provider refused as too much arrived as well: it was late, never more than the rate.
    let too_much = report.refused_at.iter().flatten().filter(|refusal| refusal.code == 130_429);
    let mut arrivals: Vec<u64> =
        sends.iter().map(|send| send.at_us).chain(too_much.map(|refusal| refusal.at_us)).collect();
    arrivals.sort_unstable();
    let (before, after) = arrivals.split_at(arrivals.partition_point(|&at| at < pause));
    rate_held(before, STANDARD, staffetta.lateness()).unwrap();
    rate_held(after, RATE, staffetta.lateness()).unwrap();
    let more = usize::try_from(STANDARD).unwrap() + 1;
    let fastest = || {
        let sends = staffetta.sends(ORDERS);
        let spans = sends.windows(more).filter(|span| span[0].at_us >= pause);
        Duration::from_micros(spans.map(|span| span[more - 1].at_us - span[0].at_us).min().unwrap())
    };
    // In the first second for which the machine has the time.
    let second = Duration::from_secs(1);
    for round in 0..10 {
        if fastest() < second {
            break;
        }
        let again = commands(&format!("again-{round}"), 300, 50);
        acme.send_at_once(&again).await.unwrap();
        accepted_at_first(&staffetta, &streams, &up, &again).await;
        sent.extend(again);
    }
    // Whoever is held to what was allowed before takes a second and no more. A machine that takes longer has the time for
    // neither, and shows nothing.
    let fastest = fastest();
    assert!(fastest < second || fastest > second * 6 / 5, "{more} sends took {fastest:?} at best");
    assert_each_sent_once_in_order(&staffetta.sends(ORDERS), &sent);
}

#[tokio::test]
async fn nothing_is_lost_at_the_limits_that_the_provider_sets() {
    let _company = Company::others().await;
    // Side by side: most of the time they wait for the provider.
    tokio::join!(throttled(), used_up());
}

/// A number that says HIGH and takes far less.
async fn throttled() {
    let (staffetta, up) = Installation::up(Setup::default()).await.unwrap();
    staffetta.provider.put_channel(at_provider(ORDERS, LESS)).unwrap();
    staffetta.provider.set_throughput_level(ORDERS.phone_number_id, Some(ThroughputLevel::High)).unwrap();
    apply_lines(&staffetta, &channel_lines(ORDERS, RATE)).await;
    let streams = staffetta.streams().await.unwrap();
    let commands = commands("throttled", 60, 20);
    staffetta.tenant(ORDERS, &streams).send_at_once(&commands).await.unwrap();
    accepted_at_first(&staffetta, &streams, &up, &commands).await;
    let report = &staffetta.provider.report(Detail::Figures).channels[ORDERS.phone_number_id];
    assert!(report.refused[&130_429] > 0, "{:?}", report.refused);
    assert_each_sent_once_in_order(&staffetta.sends(ORDERS), &commands);
}

/// Two channels of an app whose calls are used up.
async fn used_up() {
    let (staffetta, up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    staffetta.provider.set_usage(Usage { app: Some(100), business: None }).unwrap();
    let (first, second) = (commands("first", 20, 4), commands("second", 20, 4));
    staffetta.tenant(ORDERS, &streams).send_all(&first).await.unwrap();
    let refused = |number: Number| {
        let report = staffetta.provider.report(Detail::Figures);
        report.channels[number.phone_number_id].refused.get(&4).copied().unwrap_or_default()
    };
    let held = [("channel", ORDERS.channel), ("reason", "quota")];
    up.shows("staffetta_channel_held", &held, "1").await.unwrap();
    let asked = refused(ORDERS);
    assert!((1..=20).contains(&asked), "{asked}: what was on its way");
    // The other channel need not ask to know.
    staffetta.tenant(CARE, &streams).send_all(&second).await.unwrap();
    staffetta.provider.set_usage(Usage::default()).unwrap();
    accepted_at_first(&staffetta, &streams, &up, &[&first[..], &second].concat()).await;
    assert!(refused(CARE) == 0 || !up.kept_its_parts());
    for (number, commands) in [(ORDERS, &first), (CARE, &second)] {
        assert_each_sent_once_in_order(&staffetta.sends(number), commands);
    }
    let gap = |number: Number| staffetta.sends(number)[0].at_us;
    assert!(gap(CARE) > 30_000_000 && gap(ORDERS) > 30_000_000, "both waited for the app");
}

/// Waits until all are accepted, each in its first try: no limit spends one, only what was under way when whoever sent
/// lost the right to.
async fn accepted_at_first(staffetta: &Installation, streams: &Streams, up: &Service, commands: &[Value]) {
    let events = staffetta.told(streams, &all("command.accepted", commands)).await.unwrap();
    for (kind, id) in all("command.accepted", commands) {
        let accepted = only(&events, kind, &id);
        assert!(accepted.data["attempt"] == 1 || !up.kept_its_parts(), "{accepted:#?}");
    }
    staffetta.settled(streams).await.unwrap();
    assert_eq!(streams.dead().await.unwrap(), []);
}

async fn until_accepted(staffetta: &Installation, number: Number, count: u64) {
    let accepted = until("the provider to have accepted some", LIMIT, async || {
        let report = staffetta.provider.report(Detail::Figures);
        (report.channels[number.phone_number_id].accepted >= count).then_some(())
    });
    accepted.await.unwrap();
}
