//! Who may ask, and for what.

use reqwest::Method;
use serde_json::json;

use crate::harness::{ACME, Answer, Gateway, OTHER, text, with};

#[tokio::test]
async fn without_a_key_that_is_known_nothing_is_served() {
    let gateway = Gateway::start().await;
    for (method, path) in [
        (Method::POST, "/v1/messages"),
        (Method::GET, "/v1/messages/a"),
        (Method::DELETE, "/v1/messages/a"),
        (Method::GET, "/v1/channels"),
        (Method::GET, "/v1/channels/acme-orders"),
    ] {
        let ask = || gateway.request(method.clone(), path);
        let none = Answer::of(ask().send().await.unwrap()).await;
        none.is_problem(401, "unauthorized");
        assert_eq!(none.header("www-authenticate"), r#"Bearer realm="staffetta""#);
        let unknown = Answer::of(ask().bearer_auth("guess").send().await.unwrap()).await;
        unknown.is_problem(401, "unauthorized");
        assert_eq!(unknown.header("www-authenticate"), r#"Bearer realm="staffetta", error="invalid_token""#);
        let basic = Answer::of(ask().basic_auth("acme", Some(ACME)).send().await.unwrap()).await;
        basic.is_problem(401, "unauthorized");
    }
    assert!(gateway.queue().await.is_empty());
}

#[tokio::test]
async fn another_tenants_channel_and_message_look_like_none_at_all() {
    let gateway = Gateway::start().await;
    let foreign = gateway.post(&with(text("a"), &json!({"channel": "other-orders"}))).await;
    foreign.is_problem(404, "channel-not-found");
    let none = gateway.post(&with(text("a"), &json!({"channel": "no-such"}))).await;
    assert_eq!(foreign.json, none.json);
    assert!(gateway.queue().await.is_empty());

    assert_eq!(gateway.post(&text("mine")).await.status, 202);
    assert_eq!(gateway.get("/v1/messages/mine").await.status, 200);
    let foreign = gateway.get_as(OTHER, "/v1/messages/mine").await;
    foreign.is_problem(404, "message-not-found");
    assert_eq!(foreign.json, gateway.get_as(OTHER, "/v1/messages/no-such").await.json);
}

#[tokio::test]
async fn two_tenants_may_use_the_same_id() {
    let gateway = Gateway::start().await;
    assert_eq!(gateway.post(&text("inv-1")).await.status, 202);
    let theirs = with(text("inv-1"), &json!({"channel": "other-orders"}));
    let request = gateway.request(Method::POST, "/v1/messages").bearer_auth(OTHER).json(&theirs);
    assert_eq!(Answer::of(request.send().await.unwrap()).await.status, 202);
    let subjects: Vec<String> = gateway.queue().await.into_iter().map(|queued| queued.subject).collect();
    assert_eq!(
        subjects,
        ["staffetta.v1.send.acme.acme-orders.normal", "staffetta.v1.send.other.other-orders.normal"]
    );
    assert_eq!(gateway.known(OTHER, "/v1/messages/inv-1").await.json["channel"], "other-orders");
}
