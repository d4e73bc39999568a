//! What a channel receives is told to whoever sends on it, at once, and nothing else is.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use serde_json::{Value, json};
use staffetta_bus::Receipt;
use staffetta_proto::json::to_timestamp;
use staffetta_proto::v1::{Provider, RawWebhook, WebhookEnvelope};

use crate::faults::start_recorder_behind_proxy;
use crate::harness::{Kind, LIMIT, World, body, status, text};
use crate::replays::{letters, replay_for_new_channel};

/// What receipts are told before one of this message.
const LAST: &str = "wamid.LAST";

/// When something was received that will not be too old to be told, however slow the machine is.
fn fresh() -> Timestamp {
    Timestamp::now() + Duration::from_secs(600)
}

/// One webhook of a number's messages, as it came through that app.
fn webhook(app: &str, body: &Value, received_at: Timestamp) -> RawWebhook {
    RawWebhook {
        id: "w".into(),
        provider: Provider::Meta.into(),
        source: app.into(),
        received_at: Some(to_timestamp(received_at)),
        body: body.to_string().into(),
        ..RawWebhook::default()
    }
}

async fn publish(world: &World, webhooks: impl IntoIterator<Item = RawWebhook>) {
    world.publish_envelope(&WebhookEnvelope { webhooks: webhooks.into_iter().collect() }).await;
}

async fn next(receipts: &mut (impl Stream<Item = Receipt> + Unpin)) -> Receipt {
    tokio::time::timeout(LIMIT, receipts.next()).await.unwrap().unwrap()
}

/// All that was told so far: whatever is told later is told after the message that this sends.
async fn so_far(world: &World, receipts: &mut (impl Stream<Item = Receipt> + Unpin)) -> Vec<Receipt> {
    let at = fresh();
    publish(world, [webhook("meta-main", &body("200", &json!({"messages": [text("39", LAST)]})), at)]).await;
    let mut told = Vec::new();
    loop {
        let receipt = next(receipts).await;
        if receipt.channel.as_str() == "beta-shop" {
            return told;
        }
        told.push(receipt);
    }
}

fn changes(field: &str, value: &Value) -> Value {
    let mut value = value.clone();
    value["metadata"] = json!({"phone_number_id": "100"});
    json!({"entry": [{"id": "WABA", "changes": [{"field": field, "value": value}]}]})
}

#[tokio::test]
async fn what_is_received_is_told_before_it_is_recorded() {
    let mut world = World::new(Kind::Postgres).await;
    let mut receipts = pin!(world.bus.received().await.unwrap());
    let (proxy, _) = start_recorder_behind_proxy(&mut world).await;
    proxy.stall().await.unwrap();

    let at = fresh();
    let messages = body("100", &json!({"messages": [text("39", "wamid.A"), text("44", "wamid.B")]}));
    publish(&world, [webhook("meta-main", &messages, at)]).await;
    let told = [next(&mut receipts).await, next(&mut receipts).await];
    assert!(told.iter().all(|receipt| receipt.channel.as_str() == "acme-orders"));
    assert!(told.iter().all(|receipt| receipt.at.as_microsecond() == at.as_microsecond()));
    assert_ne!(told[0].key, told[1].key);
    assert!(world.recorded().await.is_empty() && world.events().await.is_empty());

    proxy.heal().await.unwrap();
    world.settled().await;
    assert_eq!(world.told().await.len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn a_message_has_the_same_key_through_whichever_app_and_another_one_another() {
    let mut world = World::new(Kind::Sqlite).await;
    let mut receipts = pin!(world.bus.received().await.unwrap());
    world.start_recorder().await;
    let first = fresh();
    let later = first + Duration::from_millis(7);
    let message = |number: &str, wamid: &str| body(number, &json!({"messages": [text("39", wamid)]}));
    publish(&world, [webhook("meta-main", &message("100", "wamid.A"), first)]).await;
    publish(&world, [webhook("meta-other", &message("100", "wamid.A"), later)]).await;
    // The same wamid to another number is another message.
    publish(&world, [webhook("meta-main", &message("101", "wamid.A"), first)]).await;
    publish(&world, [webhook("meta-main", &message("100", "wamid.B"), first)]).await;
    world.settled().await;

    let mut told = so_far(&world, &mut receipts).await;
    assert_eq!(told.len(), 4);
    told.sort_by_key(|receipt| (receipt.key, receipt.at));
    let again = told.windows(2).find(|two| two[0].key == two[1].key).unwrap();
    assert_eq!([&again[0].channel, &again[1].channel].map(|channel| channel.as_str()), ["acme-orders"; 2]);
    assert_eq!(again[1].at.duration_since(again[0].at).as_millis(), 7);
    assert_eq!(told.iter().map(|receipt| receipt.key).collect::<BTreeSet<_>>().len(), 3);
    world.stop().await;
}

#[tokio::test]
async fn every_type_of_message_counts_and_nothing_else_does() {
    let mut world = World::new(Kind::Sqlite).await;
    let mut receipts = pin!(world.bus.received().await.unwrap());
    world.start_recorder().await;
    let typed = |kind: &str, content: Value| json!({"from": "39", "id": format!("wamid.{kind}"), "type": kind, kind: content});
    let messages = json!([
        text("39", "wamid.A"),
        typed("reaction", json!({"message_id": "wamid.A", "emoji": "👍"})),
        typed("edit", json!({"original_message_id": "wamid.A", "message": {"type": "text"}})),
        typed("revoke", json!({"original_message_id": "wamid.A"})),
        typed("unsupported", json!({})),
        typed("pondered", json!({})),
        7,
    ]);
    let statuses = json!([status("wamid.S", "read"), {"id": "wacid.1", "type": "call", "status": "RINGING"}]);
    let lists = json!({"messages": messages, "statuses": statuses, "errors": [{"code": 130_429}]});
    let call = json!({"calls": [{"id": "wacid.1", "from": "39", "event": "connect"}]});
    let echo = json!({"message_echoes": [{"from": "100", "to": "39", "id": "wamid.E", "type": "text"}]});
    let threads = json!([{"id": "39", "messages": [text("39", "wamid.H")]}]);
    let history = json!({"history": [{"metadata": {"phase": 0}, "threads": threads}]});
    let at = fresh();
    let bodies = [
        body("100", &lists),
        changes("calls", &call),
        changes("smb_message_echoes", &echo),
        changes("history", &history),
        changes("account_update", &json!({"event": "VERIFIED_ACCOUNT"})),
        body("999", &json!({"messages": [text("39", "wamid.nobodys")]})),
    ];
    publish(&world, bodies.iter().map(|body| webhook("meta-main", body, at))).await;
    world.settled().await;

    let told = so_far(&world, &mut receipts).await;
    assert_eq!(told.len(), 6);
    assert!(told.iter().all(|receipt| receipt.channel.as_str() == "acme-orders"));
    assert_eq!(told.iter().map(|receipt| receipt.key).collect::<BTreeSet<_>>().len(), 6);
    world.stop().await;
}

#[tokio::test]
async fn what_was_received_long_ago_is_not_told() {
    let mut world = World::new(Kind::Sqlite).await;
    let mut receipts = pin!(world.bus.received().await.unwrap());
    world.start_recorder().await;
    let message = |number: &str, wamid: &str| body(number, &json!({"messages": [text("39", wamid)]}));
    // Out of a backlog, and back from DEAD.
    let long_ago = Timestamp::now() - Duration::from_secs(11);
    publish(&world, [webhook("meta-main", &message("100", "wamid.A"), long_ago)]).await;
    publish(&world, [webhook("meta-main", &message("999", "wamid.B"), fresh())]).await;
    world.settled().await;
    assert_eq!(letters(&world).await.len(), 1);
    replay_for_new_channel(&world).await;

    assert_eq!(so_far(&world, &mut receipts).await, []);
    world.settled().await;
    assert_eq!(world.told().await.len(), 3);
    world.stop().await;
}
