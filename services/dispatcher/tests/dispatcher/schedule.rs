//! Commands that are to be sent at a later time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use staffetta_bus::Retention;
use staffetta_domain::{CommandState, Event, EventId, EventType, Lane};
use staffetta_store::{Cancelled, Scheduled};
use staffetta_testkit::until;

use crate::harness::{
    ANNA, BRUNO, CARE, LIMIT, RegistryText, Setup, Storage, World, json_headers, text, texts,
};

fn later(mut command: Value, wait: Duration) -> Value {
    let at = Timestamp::now() + SignedDuration::try_from(wait).unwrap();
    command["send_at"] = json!(at.to_string());
    command
}

const SOON: Duration = Duration::from_secs(5);
const DAYS: Duration = Duration::from_secs(48 * 3_600);

/// A command as it waits in the database.
fn waiting(tenant: &str, channel: &str, command: &Value, due: Timestamp) -> Scheduled {
    let of = |field: &str| command[field].as_str().unwrap().to_owned();
    Scheduled {
        tenant: tenant.parse().unwrap(),
        channel: channel.parse().unwrap(),
        id: of("id").parse().unwrap(),
        lane: Lane::Normal,
        user: of("to"),
        callback_data: None,
        due,
        payload: command.to_string().into(),
        headers: vec![("Content-Type".into(), "application/json".into())],
    }
}

impl World {
    /// Waits until the command is out of the queue and in the database.
    async fn put_off(&self, id: &str) {
        until("the command to be put off", LIMIT, async || {
            self.record(id).await?;
            (self.waiting().await == 0).then_some(())
        })
        .await
        .unwrap();
    }

    /// Waits until nothing waits in the database any more.
    async fn nothing_due(&self) {
        until("nothing to be due", LIMIT, async || {
            self.store.next_due().await.unwrap().is_none().then_some(())
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_command_waits_in_the_database_through_a_restart_and_is_sent_once() {
    for storage in [Storage::Sqlite, Storage::Postgres] {
        let (world, dispatcher) = World::start(Setup { storage, ..Setup::default() }).await;
        let mut nameless = later(text("x", BRUNO), SOON);
        nameless.as_object_mut().unwrap().remove("id");
        let mut forged = json_headers();
        forged.insert("Nats-Msg-Id", "by-header");
        forged.insert("Nats-Expected-Last-Subject-Sequence", "0");
        world.publish("acme.acme-orders.normal", forged, nameless.to_string()).await;
        let command = later(text("later", ANNA), SOON);
        world.send("normal", &command).await;
        world.send("normal", &command).await;
        world.send("bulk", &command).await;
        world.send("normal", &text("now", ANNA)).await;
        world.told("accepted", &["now"]).await;
        world.put_off("later").await;
        dispatcher.stop().await;

        let dispatcher = world.dispatcher().await;
        let told = world.told("accepted", &["later", "by-header"]).await;
        let due: Timestamp = command["send_at"].as_str().unwrap().parse().unwrap();
        assert!(told.iter().find(|event| event.subject == "later").unwrap().time >= due);
        world.settled().await;
        world.nothing_due().await;
        assert_eq!(world.sends().len(), 3);
        assert_eq!(world.told("accepted", &[]).await.len(), 3);
        dispatcher.stop().await;
    }
}

#[tokio::test]
async fn two_tenants_may_use_one_id_for_the_same_second() {
    let mut setup = Setup::default();
    setup.registry.owner = "beta";
    let world = World::prepare(setup).await;
    let due = Timestamp::now() - SignedDuration::from_secs(1);
    let both = ["acme", "beta"].into_iter().zip(["acme-care", "acme-orders"]);
    let both: Vec<_> =
        both.map(|(tenant, channel)| waiting(tenant, channel, &text("reminder", ANNA), due)).collect();
    assert_eq!(world.store.schedule(&both).await.unwrap(), [true, true]);
    let dispatcher = world.dispatcher().await;
    until("both to be sent", LIMIT, async || {
        let told = world.told("accepted", &["reminder"]).await;
        (told.len() == 2).then_some(())
    })
    .await
    .unwrap();
    world.settled().await;
    assert_eq!((world.sends().len(), world.report(CARE).accepted), (1, 1));
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_burst_keeps_each_recipient_s_order_and_a_full_lane_holds_nobody_else_back() {
    let world = World::prepare(Setup::default()).await;
    let now = Timestamp::now();
    let burst = texts("burst", 450, 15);
    let due = |n: usize| now - SignedDuration::from_millis(10_000 - n as i64);
    let place = |(n, command): (usize, &Value)| waiting("acme", "acme-orders", command, due(n));
    let mut all: Vec<_> = burst.iter().enumerate().map(place).collect();
    all.push(waiting("acme", "acme-care", &text("care", ANNA), now));
    world.store.schedule(&all).await.unwrap();
    // The burst's lane holds nothing more; the other channel's is free.
    let retention = |lane| Retention { replicas: 1, webhooks_max_bytes: 1 << 30, lane_max_commands: lane };
    world.bus.set_up_streams(&retention(2)).await.unwrap();
    world.provider.set_token(crate::harness::NUMBER, "second").unwrap();
    let dispatcher = world.dispatcher().await;
    world.told("accepted", &["care"]).await;
    assert!(world.sends().is_empty());
    world.bus.set_up_streams(&retention(100_000)).await.unwrap();
    world.apply(&RegistryText { token: "second", ..RegistryText::default() }).await;
    world.accepted(&burst).await;
    world.settled().await;
    crate::harness::assert_once_in_order(&world.sends(), &burst);
    dispatcher.stop().await;
}

#[tokio::test]
async fn what_cannot_be_queued_any_more_ends_with_its_event() {
    let world = World::prepare(Setup::default()).await;
    let now = Timestamp::now();
    let long_ago = now - SignedDuration::from_hours(1);
    let mut expired = text("expired", ANNA);
    expired["expires_at"] = json!((now - SignedDuration::from_secs(1)).to_string());
    let large = json!({ "id": "large", "to": ANNA, "type": "text", "text": { "body": "x".repeat(9 << 20) } });
    let commands = [expired, large, text("unreadable", ANNA), text("fine", ANNA)];
    let mut waiting = commands.map(|command| waiting("acme", "acme-orders", &command, long_ago));
    waiting[2].payload = b"{".to_vec();
    world.store.schedule(&waiting).await.unwrap();
    let dispatcher = world.dispatcher().await;
    world.told("expired", &["expired"]).await;
    let failed = world.told("failed", &["large"]).await;
    assert_eq!(failed[0].data["code"], "too_large");
    world.told("rejected", &["unreadable"]).await;
    world.told("accepted", &["fine"]).await;
    world.nothing_due().await;
    world.settled().await;
    let mut reasons = world.reasons().await;
    reasons.sort();
    assert_eq!(reasons, ["invalid_command", "too_large"]);
    assert_eq!(world.record("expired").await.unwrap().state, CommandState::Expired);
    assert_eq!(world.record("large").await.unwrap().state, CommandState::Failed);
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_command_that_was_cancelled_or_sent_is_not_put_off() {
    let (world, dispatcher) = World::start(Setup::default()).await;
    let mut forged = json_headers();
    forged.insert("Staffetta-Was-Due", "2026-01-01T00:00:00Z");
    let wanted = later(text("cancelled", ANNA), DAYS);
    world.publish("acme.acme-orders.normal", forged, wanted.to_string()).await;
    world.put_off("cancelled").await;
    let (acme, id) = ("acme".parse().unwrap(), "cancelled".parse().unwrap());
    let cancelled = world.store.cancel(&acme, &id, |channel| Event {
        id: EventId::of(&["command", "acme", "cancelled", "cancelled"]),
        tenant: "acme".parse().unwrap(),
        channel: channel.clone(),
        kind: EventType::CommandCancelled,
        time: Timestamp::now(),
        subject: "cancelled".into(),
        data: serde_json::Map::new(),
        trace: None,
    });
    assert!(matches!(cancelled.await.unwrap(), Cancelled::Done(told) if told.len() == 1));
    world.send("normal", &text("sent", ANNA)).await;
    world.told("accepted", &["sent"]).await;
    // Its recipient's next ones do not wait for a copy that is due later.
    world.send("normal", &later(text("sent", ANNA), DAYS)).await;
    world.send("normal", &later(text("cancelled", ANNA), SOON)).await;
    world.send("normal", &text("after", ANNA)).await;
    world.told("accepted", &["after"]).await;
    world.settled().await;
    world.nothing_due().await;
    assert_eq!(world.texts(), ["sent", "after"]);
    assert_eq!(world.record("cancelled").await.unwrap().state, CommandState::Cancelled);
    dispatcher.stop().await;
}
