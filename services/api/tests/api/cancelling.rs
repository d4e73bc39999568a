//! `DELETE /v1/messages/{id}`.

use serde_json::{Value, json};
use staffetta_domain::{CommandState, EventId, EventType, MessageState};
use staffetta_store::{Claimed, Settlement};
use staffetta_testkit::{Postgres, until};

use crate::harness::{Gateway, OTHER, WAIT, text};
use crate::life::{WAMID, claim, settle, status};

#[tokio::test]
async fn a_message_that_waits_is_taken_back_once_on_sqlite() {
    it_is_taken_back_once(&Gateway::start().await).await;
}

#[tokio::test]
async fn a_message_that_waits_is_taken_back_once_on_postgresql() {
    let database = Postgres::shared().await.unwrap().database().await.unwrap();
    it_is_taken_back_once(&Gateway::start_with_database(database.url()).await).await;
}

async fn it_is_taken_back_once(gateway: &Gateway) {
    let created = gateway.post(&text("inv-1")).await.json["created"].clone();
    let cancelled = gateway.delete("/v1/messages/inv-1").await;
    assert_eq!(cancelled.status, 200);
    let expected = json!({
        "id": "inv-1", "channel": "acme-orders", "to": "393481213456", "lane": "normal", "state": "cancelled",
        "attempt": 0,
        "created": created, "updated": cancelled.json["updated"],
    });
    assert_eq!(cancelled.json, expected);
    for again in [
        gateway.delete("/v1/messages/inv-1").await,
        gateway.get("/v1/messages/inv-1").await,
        gateway.post(&text("inv-1")).await,
    ] {
        assert_eq!((again.status.as_u16(), again.json), (200, expected.clone()));
    }

    let events = gateway.told(1).await;
    let [event] = events.as_slice() else { panic!("{} events", events.len()) };
    assert_eq!(event.kind, EventType::CommandCancelled);
    assert_eq!(event.id, EventId::of(&["command", "acme", "inv-1", "cancelled"]));
    assert_eq!((event.tenant.as_str(), event.channel.as_str()), ("acme", "acme-orders"));
    assert_eq!((event.subject.as_str(), &event.data["command_id"]), ("inv-1", &json!("inv-1")));
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    until("the event to be told and done with", WAIT, async || {
        gateway.store.unannounced(later, 10).await.unwrap().is_empty().then_some(())
    })
    .await
    .unwrap();

    // The dispatcher meets it on SEND, and drops it.
    assert_eq!(gateway.queue().await.len(), 1);
    assert_eq!(claim(gateway, "inv-1").await, Claimed::Known(CommandState::Cancelled));
}

#[tokio::test]
async fn a_message_that_waits_for_another_try_is_taken_back() {
    let gateway = Gateway::start().await;
    assert_eq!(gateway.post(&text("a")).await.status, 202);
    claim(&gateway, "a").await;
    settle(&gateway, "a", Settlement::Retry("throttled".into())).await;
    let cancelled = gateway.delete("/v1/messages/a").await;
    assert_eq!((cancelled.status.as_u16(), &cancelled.json["state"]), (200, &json!("cancelled")));
    assert_eq!(cancelled.json["attempt"], 1);
}

#[tokio::test]
async fn what_is_on_its_way_or_has_ended_is_too_late_to_take_back() {
    let gateway = Gateway::start().await;
    assert_eq!(gateway.post(&text("a")).await.status, 202);
    claim(&gateway, "a").await;
    too_late(&gateway, "a", "sending").await;
    settle(&gateway, "a", Settlement::InDoubt("no answer".into())).await;
    too_late(&gateway, "a", "in_doubt").await;
    settle(&gateway, "a", Settlement::Accepted(WAMID.parse().unwrap())).await;
    too_late(&gateway, "a", "accepted").await;
    gateway.store.record(&[status(MessageState::Delivered)]).await.unwrap();
    too_late(&gateway, "a", "delivered").await;
    for (settlement, state) in [
        (Settlement::Rejected("unknown recipient".into()), "rejected"),
        (Settlement::Failed("too many tries".into()), "failed"),
        (Settlement::Expired, "expired"),
    ] {
        assert_eq!(gateway.post(&text(state)).await.status, 202);
        claim(&gateway, state).await;
        settle(&gateway, state, settlement).await;
        too_late(&gateway, state, state).await;
    }
    let events = gateway.events().await;
    assert!(events.iter().all(|event| event.kind != EventType::CommandCancelled));
}

async fn too_late(gateway: &Gateway, id: &str, state: &str) {
    let path = format!("/v1/messages/{id}");
    let answer = gateway.delete(&path).await;
    answer.is_problem(409, "too-late");
    assert_eq!(answer.json["state"], state);
    assert_eq!(gateway.get(&path).await.json["state"], state);
}

#[tokio::test]
async fn nobody_takes_back_what_is_not_theirs_or_not_there() {
    let gateway = Gateway::start().await;
    assert_eq!(gateway.post(&text("mine")).await.status, 202);
    let foreign = gateway.delete_as(OTHER, "/v1/messages/mine").await;
    foreign.is_problem(404, "message-not-found");
    for path in ["/v1/messages/none", "/v1/messages/%FF", "/v1/messages/a%20b"] {
        assert_eq!(gateway.delete_as(OTHER, path).await.json, foreign.json, "{path}");
    }
    assert_eq!(gateway.get("/v1/messages/mine").await.json["state"], "queued");
}

#[tokio::test]
async fn without_nats_a_message_is_taken_back_and_its_event_waits_to_be_told() {
    let mut gateway = Gateway::start().await;
    assert_eq!(gateway.post(&text("a")).await.status, 202);
    gateway.nats.kill().await.unwrap();
    let cancelled = gateway.delete("/v1/messages/a").await;
    assert_eq!((cancelled.status.as_u16(), &cancelled.json["state"]), (200, &json!("cancelled")));
    assert_eq!(cancelled.json["reason"], Value::Null);
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let waiting = gateway.store.unannounced(later, 10).await.unwrap();
    let [waiting] = waiting.as_slice() else { panic!("{} events", waiting.len()) };
    assert_eq!(waiting.event.kind, EventType::CommandCancelled);
}
