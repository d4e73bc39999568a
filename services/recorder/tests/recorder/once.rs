//! Each leaf is told once, in order, whatever comes how often.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use staffetta_domain::{Callback, CommandId, CommandState, EventType, MessageState, TenantId};
use staffetta_store::Claimed;
use staffetta_testkit::until;
use tokio::time::sleep;

use crate::harness::{FORGOTTEN_AFTER, Kind, LIMIT, World, body, claim, in_turn, status, text, turns};
use crate::on_both;

const FIRST_MESSAGE: &str = include_str!("../../../../crates/providers/tests/fixtures/first-message.json");

on_both!(
    a_message_is_recorded_and_announced_in_its_tenants_encoding,
    a_webhook_that_comes_again_and_again_is_told_once,
    two_recorders_that_race_tell_each_leaf_once,
    statuses_in_every_order_end_alike,
    order_within_a_conversation_is_kept,
);

async fn a_message_is_recorded_and_announced_in_its_tenants_encoding(kind: Kind) {
    let mut world = World::new(kind).await;
    let health = world.start_recorder().await;
    for number in ["100", "200"] {
        world.publish_raw(&[FIRST_MESSAGE.replace("PHONE_NUMBER_ID", number).into()]).await;
        world.settled().await;
    }

    let events = world.events().await;
    assert_eq!(events.len(), 2);
    for (event, channel) in events.iter().zip(["acme-orders", "beta-shop"]) {
        assert_eq!((event.kind, event.channel.as_str()), (EventType::MessageReceived, channel));
        assert_eq!(event.data["text"]["body"], "Hello!");
        assert_eq!(event.data["name"], "Kerry Fisher");
        assert_eq!(event.data["raw"]["from"], "16315555555");
        assert_eq!(event.time.to_string(), "2020-10-08T06:43:12Z");
    }
    let messages = world.messages("EVENTS").await;
    assert_eq!(messages[0].subject.as_str(), "staffetta.v1.event.acme.acme-orders.message-received");
    let types: Vec<&str> = messages
        .iter()
        .map(|message| message.headers.as_ref().unwrap().get("Content-Type").unwrap().as_str())
        .collect();
    assert_eq!(types, ["application/json", "application/protobuf"]);
    let well = [("recorder".to_owned(), true)];
    until("the recorder to be well", LIMIT, async || (health.checks() == well).then_some(())).await.unwrap();
    world.stop().await;
}

async fn a_webhook_that_comes_again_and_again_is_told_once(kind: Kind) {
    let mut world = World::new(kind).await;
    world.forget_published_ids_soon().await;
    world.start_recorder().await;
    let (one, other) = (text("39", "wamid.A"), text("44", "wamid.B"));
    let read = status("wamid.S", "read");
    let template = json!({"id": "WABA", "time": 1_739_321_024, "changes": [
        {"field": "message_template_status_update", "value": {"event": "APPROVED", "message_template_id": 7}}]});
    let rounds = [
        vec![body("100", &json!({"messages": [one]}))],
        vec![body("100", &json!({"messages": [one]})), body("100", &json!({"messages": [other, one]}))],
        vec![body("100", &json!({"messages": [other], "statuses": [read]})), json!({"entry": [template]})],
        vec![json!({"entry": [template, body("100", &json!({"statuses": [read, read]}))["entry"][0]]})],
    ];
    for bodies in &rounds {
        world.publish(bodies).await;
    }
    world.settled().await;
    sleep(FORGOTTEN_AFTER + Duration::from_secs(1)).await;
    for bodies in rounds.iter().rev() {
        world.publish(bodies).await;
    }
    world.settled().await;

    let told = world.told().await;
    assert!(told.values().all(|times| *times == 1));
    // Two messages, one status, and the template for each of the two tenants of its account.
    assert_eq!(told.len(), 5);
    world.stop().await;
}

/// NATS keeps its memory here: what one of them is just telling, the other one tells too while it catches up.
async fn two_recorders_that_race_tell_each_leaf_once(kind: Kind) {
    let mut world = World::new(kind).await;
    world.start_recorder().await;
    world.start_recorder().await;
    let batch = |from: usize| {
        let messages: Vec<Value> = (from..from + 40).map(|n| text("39", &format!("wamid.{n}"))).collect();
        body("100", &json!({"messages": messages}))
    };
    // Every message stands in four envelopes.
    for from in (0..400).step_by(10) {
        world.publish(&[batch(from)]).await;
    }
    world.settled().await;

    let told = world.told().await;
    assert_eq!(told.len(), 430);
    assert!(told.values().all(|times| *times == 1));
    assert_eq!(told.into_keys().collect::<BTreeSet<_>>(), world.recorded().await);
    turns(&world.events().await);
    world.stop().await;
}

async fn statuses_in_every_order_end_alike(kind: Kind) {
    let mut world = World::new(kind).await;
    world.start_recorder().await;
    let tenant: TenantId = "acme".parse().unwrap();
    let mut expected = Vec::new();
    for (index, order) in permutations(&["sent", "delivered", "read", "failed"]).iter().enumerate() {
        let id: CommandId = format!("order-{index}").parse().unwrap();
        let (claimed, _) = world.store.claim(&[claim(id.as_str())]).await.unwrap();
        assert!(matches!(claimed[..], [Claimed::Granted { attempt: 1, .. }]), "{claimed:?}");
        let callback = Callback::new(&"acme".parse().unwrap(), id.clone(), 1).encode();
        let bodies: Vec<Value> = order
            .iter()
            .map(|name| {
                let mut status = status(&format!("wamid.{index}"), name);
                status["biz_opaque_callback_data"] = json!(callback);
                body("100", &json!({"statuses": [status]}))
            })
            .collect();
        // Together or one by one, it makes no difference.
        if index % 2 == 0 {
            world.publish(&bodies).await;
        } else {
            for body in bodies {
                world.publish(&[body]).await;
            }
        }
        expected.push(id);
    }
    world.settled().await;

    for id in &expected {
        let command = world.store.command(&tenant, id).await.unwrap().unwrap();
        assert_eq!(command.state, CommandState::Accepted);
        assert_eq!(command.message, Some(MessageState::Read), "{id}");
    }
    let events = world.events().await;
    for id in &expected {
        let own: Vec<EventType> = events
            .iter()
            .filter(|event| event.data.get("command_id").and_then(Value::as_str) == Some(id.as_str()))
            .map(|event| {
                assert_eq!(event.data["callback_data"], "the tenant's own");
                event.kind
            })
            .collect();
        assert_eq!(
            own[0],
            EventType::CommandAccepted,
            "the acceptance comes before the status that proves it"
        );
        assert_eq!(own[1..], [EventType::MessageStatus; 4]);
    }
    world.stop().await;
}

async fn order_within_a_conversation_is_kept(kind: Kind) {
    let mut world = World::new(kind).await;
    let bodies: Vec<Value> = (0..600)
        .map(|n| body("100", &json!({"messages": [text(&format!("39{}", n % 7), &format!("wamid.{n:04}"))]})))
        .collect();
    for chunk in bodies.chunks(70) {
        world.publish(chunk).await;
    }
    world.start_recorder().await;
    world.settled().await;

    let events = world.events().await;
    assert_eq!(events.len(), 600);
    in_turn(&events);
    for user in 0..7 {
        let user = json!(format!("39{user}"));
        let own: Vec<&str> = events
            .iter()
            .filter(|event| event.data["from"] == user)
            .map(|event| event.subject.as_str())
            .collect();
        assert!(own.is_sorted(), "{own:?}");
    }
    world.stop().await;
}

fn permutations(items: &[&'static str]) -> Vec<Vec<&'static str>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (index, first) in items.iter().enumerate() {
        let rest: Vec<&'static str> =
            items.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, item)| *item).collect();
        for mut tail in permutations(&rest) {
            tail.insert(0, first);
            all.push(tail);
        }
    }
    all
}
