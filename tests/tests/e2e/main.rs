//! The promises, end to end: real processes, a real NATS, a real database, an emulated provider.
//!
//! What can only be seen when something dies is in `crashes`, `outages`, `failover`, `replicas` and `drain`.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod allowance;
mod arrivals;
mod backpressure;
mod bad_commands;
mod broken_webhooks;
mod caller;
mod conversations;
mod crashes;
mod dead;
mod delivery;
mod doubts;
mod drain;
mod endpoints;
mod facade;
mod failover;
mod holds;
mod identity;
mod inbound;
mod limits;
mod live;
mod once;
mod outages;
mod pairs;
mod processes;
mod rate;
mod replicas;
mod restore;
mod spine;
mod spool;
mod statuses;
mod tenants;
mod times;
mod token;
mod traces;
mod walls;
mod web;
mod window;
mod wire;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU32;
use std::time::{SystemTime, UNIX_EPOCH};

use staffetta_simulator::{SendSeen, SimChannel};
use staffetta_tests::{APP, Installation, Number, ORDERS, RegistryText, SeenEvent, Streams, rate_held};

/// The only event of this type about this wamid or command.
#[track_caller]
fn only<'a>(events: &'a [SeenEvent], kind: &str, subject: &str) -> &'a SeenEvent {
    let found: Vec<&SeenEvent> = events.iter().filter(|event| event.is(kind, subject)).collect();
    assert_eq!(found.len(), 1, "{kind} about {subject}: {found:#?}");
    found[0]
}

/// Whether the events of each conversation are numbered from 1 without a gap, whatever was told twice. Gives back how
/// many each conversation has.
#[track_caller]
fn assert_numbered_without_gaps(events: &[SeenEvent]) -> BTreeMap<String, u64> {
    let mut told = BTreeMap::new();
    let mut numbers = BTreeMap::<String, Vec<u64>>::new();
    for event in events {
        if let Some(before) = told.insert(event.id.as_str(), event) {
            assert_eq!(before, event, "the same id, told again as something else");
        } else if let Some(conversation) = event.data["conversation_id"].as_str() {
            let number = event.data["sequence"].as_u64().unwrap();
            numbers.entry(conversation.to_owned()).or_default().push(number);
        }
    }
    let check = |(conversation, mut numbers): (String, Vec<u64>)| {
        numbers.sort_unstable();
        let count = u64::try_from(numbers.len()).unwrap();
        assert_eq!(numbers, (1..=count).collect::<Vec<_>>(), "{conversation}");
        (conversation, count)
    };
    numbers.into_iter().map(check).collect()
}

/// Whether the provider got each of these commands once and nothing else, and each recipient its own in this order.
#[track_caller]
fn assert_each_sent_once_in_order(sends: &[SendSeen], commands: &[serde_json::Value]) {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let mut wanted = BTreeMap::<String, Vec<String>>::new();
    for command in commands {
        wanted.entry(text(&command["to"])).or_default().push(text(&command["id"]));
    }
    let mut got = BTreeMap::<String, Vec<String>>::new();
    for send in sends {
        got.entry(send.to.clone()).or_default().push(send.text.clone().unwrap());
    }
    assert_eq!(got, wanted);
}

/// Waits until each command is accepted and each webhook told; then nothing of them is left, was told twice, was sent
/// twice or out of order, or died. Gives back all events.
async fn each_told_and_sent_once(
    staffetta: &Installation,
    streams: &Streams,
    commands: &[serde_json::Value],
    webhooks: Vec<String>,
) -> Vec<SeenEvent> {
    let mut wanted = all("command.accepted", commands);
    wanted.extend(webhooks.into_iter().map(|wamid| ("message.received", wamid)));
    staffetta.told(streams, &wanted).await.unwrap();
    staffetta.settled(streams).await.unwrap();
    let events = streams.events().await.unwrap();
    for (kind, subject) in &wanted {
        only(&events, kind, subject);
    }
    assert_each_sent_once_in_order(&staffetta.sends(ORDERS), commands);
    assert_eq!(streams.dead().await.unwrap(), []);
    events
}

/// Whether the channel kept its rate.
#[track_caller]
fn assert_rate_held(staffetta: &Installation, sends: &[SendSeen], rate: u32) {
    let arrivals: Vec<u64> = sends.iter().map(|send| send.at_us).collect();
    rate_held(&arrivals, rate, staffetta.lateness()).unwrap();
}

/// Commands to some users in turn.
fn commands(prefix: &str, count: usize, users: usize) -> Vec<serde_json::Value> {
    let to = |n: usize| format!("3934812{:05}", n % users);
    (0..count).map(|n| staffetta_tests::text(&format!("{prefix}-{n}"), &to(n))).collect()
}

/// Applies these lines to the registry; what they don't name stays.
async fn apply_lines(staffetta: &Installation, toml: &str) {
    let file = staffetta.folder().join("more.toml");
    fs::write(&file, toml).unwrap();
    let answer = staffetta.run(&["apply", "-f", file.to_str().unwrap()]).await.unwrap();
    assert_eq!(answer.code, Some(0), "{answer:?}");
}

/// A channel as the registry has it; what else it has may follow.
fn channel_lines(number: Number, rate: u32) -> String {
    let Number { channel, tenant, phone_number_id, display } = number;
    let token = RegistryText::default().token_of(number);
    format!(
        "[[channel]]\nid = {channel:?}\ntenant = {tenant:?}\nprovider = \"cloud_api\"\napp = {APP:?}\n\
         waba_id = \"900900\"\nphone_number_id = {phone_number_id:?}\ndisplay_phone_number = {display:?}\n\
         access_token = {token:?}\nrate = {rate}\n"
    )
}

/// The same at the provider, which lets it send so many a second.
fn at_provider(number: Number, rate: u32) -> SimChannel {
    SimChannel {
        phone_number_id: number.phone_number_id.into(),
        access_token: RegistryText::default().token_of(number),
        display_phone_number: number.display.into(),
        waba_id: "900900".into(),
        verified_name: number.tenant.into(),
        rate: NonZeroU32::new(rate).unwrap(),
        webhook: None,
    }
}

/// Seconds since 1970, as the provider counts.
fn unix_seconds(at: SystemTime) -> i64 {
    i64::try_from(at.duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// The ids of commands, each with this type of event.
fn all<'a>(kind: &'a str, commands: &[serde_json::Value]) -> Vec<(&'a str, String)> {
    commands.iter().map(|command| (kind, command["id"].as_str().unwrap().to_owned())).collect()
}

/// Every order of these.
fn orders<T: Copy>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut found = Vec::new();
    for (index, first) in items.iter().enumerate() {
        let rest = [&items[..index], &items[index + 1..]].concat();
        for mut order in orders(&rest) {
            order.insert(0, *first);
            found.push(order);
        }
    }
    found
}
