//! A service that dies between any two of its steps loses nothing and does nothing twice.

use std::collections::BTreeSet;

use futures_util::future::{join_all, try_join_all};
use serde_json::Value;
use staffetta_testkit::Company;
use staffetta_tests::{
    Installation, ORDERS, RegistryText, SeenEvent, Setup, Storage, message, status, webhook,
};

use crate::{all, assert_each_sent_once_in_order, commands, only};

/// Between each two steps of the recorder, for the first batch.
const RECORDER: [&str; 5] =
    ["recorder.fetched", "recorder.recorded", "recorder.announced", "recorder.marked", "recorder.acked"];

/// Between each two steps of the dispatcher, in the midst of its work.
const DISPATCHER: [&str; 5] = [
    "dispatcher.claimed",
    "dispatcher.sending:7",
    "dispatcher.answered:7",
    "dispatcher.settled:2",
    "dispatcher.purged",
];

// The points side by side: most of the time each waits for what the dead process held to come free.

#[tokio::test]
async fn the_recorder_may_die_anywhere() {
    let _company = Company::others().await;
    join_all(RECORDER.map(recorder_dies_at)).await;
}

#[tokio::test]
async fn the_dispatcher_may_die_anywhere() {
    let _company = Company::others().await;
    join_all(DISPATCHER.map(dispatcher_dies_at)).await;
}

async fn recorder_dies_at(point: &'static str) {
    let staffetta =
        Installation::prepare(Setup { storage: Storage::Postgres, ..Setup::default() }).await.unwrap();
    staffetta.apply(&RegistryText::default()).await.unwrap();
    let _ingress = staffetta.start("ingress").await.unwrap();
    let mut recorder = staffetta.service("recorder").unwrap();
    recorder.start_to_crash_at(point).await.unwrap();

    deliver(&staffetta, 0..40).await;
    assert_eq!(recorder.ended().await.unwrap().code(), None, "{point}: it aborts");
    deliver(&staffetta, 40..60).await;
    recorder.start().await.unwrap();

    let streams = staffetta.streams().await.unwrap();
    let wamids: Vec<String> = (0..60).map(wamid).collect();
    let told_of = |wamid: &String| [("message.received", wamid.clone()), ("message.status", out(wamid))];
    let wanted: Vec<_> = wamids.iter().flat_map(told_of).collect();
    staffetta.told(&streams, &wanted).await.unwrap();
    staffetta.settled(&streams).await.unwrap();
    let events = streams.events().await.unwrap();
    for wamid in &wamids {
        only(&events, "message.received", wamid);
        let mut statuses = statuses(&events, &out(wamid));
        statuses.sort_unstable();
        assert_eq!(statuses, ["delivered", "sent"], "{point}: {wamid}");
    }
    let ids: BTreeSet<&str> = events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!((ids.len(), events.len()), (180, 180), "{point}");
    assert_eq!(streams.dead().await.unwrap(), [], "{point}");
    recorder.stop().await.unwrap();
}

/// Webhooks with a message and two statuses each; every one is taken.
async fn deliver(staffetta: &Installation, numbers: std::ops::Range<usize>) {
    let bodies: Vec<Value> = numbers
        .map(|n| {
            let out = out(&wamid(n));
            webhook(ORDERS, &[message(&wamid(n))], &[status(&out, "sent"), status(&out, "delivered")])
        })
        .collect();
    try_join_all(bodies.iter().map(|body| staffetta.meta.deliver(body))).await.unwrap();
}

fn wamid(n: usize) -> String {
    format!("wamid.in-{n}")
}

fn out(wamid: &str) -> String {
    wamid.replace("in-", "out-")
}

fn statuses<'a>(events: &'a [SeenEvent], wamid: &str) -> Vec<&'a str> {
    let of_it = events.iter().filter(|event| event.is("message.status", wamid));
    of_it.filter_map(|event| event.data["status"].as_str()).collect()
}

async fn dispatcher_dies_at(point: &'static str) {
    // What never reached the provider is sent again after this wait; what did is settled by its status long before.
    let settings = vec![("STAFFETTA__DISPATCHER__DOUBT_WAIT_SECONDS", "15".to_owned())];
    let setup = Setup { storage: Storage::Postgres, settings, ..Setup::default() };
    let staffetta = Installation::prepare(setup).await.unwrap();
    staffetta.apply(&RegistryText::default()).await.unwrap();
    let _ingress = staffetta.start("ingress").await.unwrap();
    let _recorder = staffetta.start("recorder").await.unwrap();
    let mut dispatcher = staffetta.service("dispatcher").unwrap();
    dispatcher.start_to_crash_at(point).await.unwrap();

    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);
    let commands = commands("crash", 60, 20);
    acme.send_all(&commands[..40]).await.unwrap();
    assert_eq!(dispatcher.ended().await.unwrap().code(), None, "{point}: it aborts");
    acme.send_all(&commands[40..]).await.unwrap();
    dispatcher.start().await.unwrap();

    staffetta.told(&streams, &all("command.accepted", &commands)).await.unwrap();
    staffetta.settled(&streams).await.unwrap();
    let events = streams.events().await.unwrap();
    for (kind, id) in all("command.accepted", &commands) {
        only(&events, kind, &id);
    }
    let other_ends =
        events.iter().filter(|event| ["command.failed", "command.rejected"].contains(&event.kind.as_str()));
    assert_eq!(other_ends.count(), 0, "{point}");
    assert_each_sent_once_in_order(&staffetta.sends(ORDERS), &commands);
    assert_eq!(streams.dead().await.unwrap(), [], "{point}");
    dispatcher.stop().await.unwrap();
}
