//! `GET /v1/messages/{id}`: the same on both databases.

use serde_json::{Value, json};
use staffetta_domain::MessageState;
use staffetta_store::Settlement;
use staffetta_testkit::Postgres;

use crate::harness::{Gateway, text, with};
use crate::life::{WAMID, claim, settle, status};

#[tokio::test]
async fn a_message_is_shown_in_each_of_its_states_from_sqlite() {
    every_state_is_shown(&Gateway::start().await).await;
}

#[tokio::test]
async fn a_message_is_shown_in_each_of_its_states_from_postgresql() {
    let database = Postgres::shared().await.unwrap().database().await.unwrap();
    every_state_is_shown(&Gateway::start_with_database(database.url()).await).await;
}

async fn every_state_is_shown(gateway: &Gateway) {
    assert_eq!(gateway.post(&with(text("a"), &json!({"lane": "urgent"}))).await.status, 202);
    let queued = gateway.get("/v1/messages/a").await;
    assert_eq!(queued.status, 200);
    let (created, updated) = (&queued.json["created"], &queued.json["updated"]);
    let expected = json!({
        "id": "a", "channel": "acme-orders", "to": "393481213456", "lane": "urgent", "state": "queued", "attempt": 0,
        "created": created, "updated": updated,
    });
    assert_eq!(queued.json, expected);

    claim(gateway, "a").await;
    assert_eq!(shown(gateway, "a").await, ("sending".into(), json!(1), Value::Null));
    settle(gateway, "a", Settlement::Retry("throttled".into())).await;
    assert_eq!(shown(gateway, "a").await, ("queued".into(), json!(1), json!("throttled")));
    claim(gateway, "a").await;
    settle(gateway, "a", Settlement::InDoubt("no answer".into())).await;
    assert_eq!(shown(gateway, "a").await, ("in_doubt".into(), json!(2), json!("no answer")));
    settle(gateway, "a", Settlement::Accepted(WAMID.parse().unwrap())).await;
    let accepted = gateway.get("/v1/messages/a").await.json;
    assert_eq!((&accepted["state"], &accepted["wamid"]), (&json!("accepted"), &json!(WAMID)));
    for state in [
        MessageState::Sent,
        MessageState::Failed,
        MessageState::Delivered,
        MessageState::Read,
        MessageState::Played,
    ] {
        gateway.store.record(&[status(state)]).await.unwrap();
        assert_eq!(shown(gateway, "a").await.0, state.as_str());
    }

    for (settlement, state) in [
        (Settlement::Rejected("unknown recipient".into()), "rejected"),
        (Settlement::Failed("too many tries".into()), "failed"),
        (Settlement::Expired, "expired"),
    ] {
        assert_eq!(gateway.post(&with(text(state), &json!({"lane": "bulk"}))).await.status, 202);
        claim(gateway, state).await;
        let reason = settlement.reason().map_or(Value::Null, |why| json!(why));
        settle(gateway, state, settlement).await;
        assert_eq!(shown(gateway, state).await, (state.to_owned(), json!(1), reason));
    }
}

#[tokio::test]
async fn what_can_be_no_id_is_no_message() {
    let gateway = Gateway::start().await;
    for path in ["/v1/messages/%FF", "/v1/messages/a%20b", "/v1/messages/%C3%A8", "/v1/messages/none"] {
        gateway.get(path).await.is_problem(404, "message-not-found");
    }
}

/// State, attempt, reason.
async fn shown(gateway: &Gateway, id: &str) -> (String, Value, Value) {
    let json = gateway.get(&format!("/v1/messages/{id}")).await.json;
    (json["state"].as_str().unwrap().to_owned(), json["attempt"].clone(), json["reason"].clone())
}
