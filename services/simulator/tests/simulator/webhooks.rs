//! What a webhook gets, and how often.

use std::num::NonZeroUsize;

use axum::http::StatusCode;
use reqwest::Method;
use serde_json::json;
use staffetta_simulator::{Behaviour, Detail, UserIds, UserState, WebhookRetry};

use crate::harness::{NUMBER, Post, USER, World, text};
use crate::{inbound, names};

#[tokio::test]
async fn users_can_be_named_by_ids_too() {
    let behaviour = Behaviour { user_ids: UserIds::Shown, ..Behaviour::default() };
    let world = World::with(behaviour, 80).await;
    let message = json!({"phone_number_id": NUMBER, "from": USER, "text": "ciao"});
    world.control(Method::POST, "/_sim/inbound", message).await;
    let posts = world.receiver.until(|posts| posts.len() == 1).await;
    let (contact, message) = (&posts[0].all("contacts")[0], &posts[0].all("messages")[0]);
    let id = contact["user_id"].as_str().unwrap();
    assert!(id.starts_with("IT."), "{id}");
    assert_eq!(
        (&contact["wa_id"], &message["from"], &message["from_user_id"]),
        (&json!(USER), &json!(USER), &json!(id))
    );

    world.send(&text(USER, "x")).await;
    let posts = world.receiver.until(|posts| posts.len() == 4).await;
    for post in &posts[1..] {
        assert_eq!(post.all("contacts"), [json!({"profile": {}, "wa_id": USER, "user_id": id})]);
        let status = &post.all("statuses")[0];
        assert_eq!((&status["recipient_id"], &status["recipient_user_id"]), (&json!(USER), &json!(id)));
    }
    world.simulator.put_user(USER, UserState::Unreachable, None).unwrap();
    world.send(&text(USER, "y")).await;
    let posts = world.receiver.until(|posts| posts.len() == 5).await;
    assert_eq!(
        (posts[4].all("contacts").len(), posts[4].all("statuses")[0].get("recipient_user_id")),
        (0, None)
    );
}

#[tokio::test]
async fn a_users_message_arrives_whatever_its_type() {
    let world = World::start().await;
    let id = world.simulator.inbound(inbound("ciao")).unwrap();
    let posts = world.receiver.until(|posts| posts.len() == 1).await;
    let message = &posts[0].all("messages")[0];
    assert_eq!(
        (&message["id"], &message["from"], &message["text"]["body"]),
        (&json!(id), &json!(USER), &json!("ciao"))
    );
    assert_eq!(posts[0].all("contacts")[0]["wa_id"], USER);

    let raw = json!({"phone_number_id": NUMBER, "from": "US.1349", "name": "Ana",
        "message": {"type": "hologram", "hologram": {"depth": 3}}});
    assert_eq!(world.control(Method::POST, "/_sim/inbound", raw).await.0, 200);
    let posts = world.receiver.until(|posts| posts.len() == 2).await;
    assert_eq!(posts[1].all("messages")[0]["hologram"]["depth"], 3);
    assert_eq!(posts[1].all("messages")[0]["from_user_id"], "US.1349");
    assert_eq!(posts[1].all("contacts")[0]["profile"]["name"], "Ana");
    assert!(posts.iter().all(Post::verifies));

    let raw = r#"{"object":"whatsapp_business_account","entry":[ ]}"#;
    let url = world.url(&format!("/_sim/webhook/{NUMBER}"));
    assert!(world.client.post(url).body(raw).send().await.unwrap().status().is_success());
    let posts = world.receiver.until(|posts| posts.len() == 3).await;
    assert_eq!(posts[2].body, raw);
    assert!(posts[2].verifies());
}

#[tokio::test]
async fn a_webhook_comes_again_until_it_is_answered_with_200() {
    let world = World::start().await;
    world.receiver.answers([StatusCode::SERVICE_UNAVAILABLE, StatusCode::ACCEPTED]);
    world.simulator.inbound(inbound("ciao")).unwrap();
    let posts = world.receiver.until(|posts| posts.len() == 3).await;
    assert!(posts.iter().all(|post| post.body == posts[0].body), "the same bytes each time");
    world.until_report(|report| report.webhooks_waiting == 0).await;
    let webhooks = world.simulator.report(Detail::Figures).channels[NUMBER].webhooks;
    assert_eq!((webhooks.sent, webhooks.retried, webhooks.lost), (1, 2, 0));
}

#[tokio::test]
async fn a_webhook_nobody_takes_is_lost_in_the_end() {
    let retry = WebhookRetry { base_ms: 1, cap_ms: 1, give_up_ms: 0, timeout_ms: 1_000 };
    let world = World::with(Behaviour { retry, ..Behaviour::default() }, 80).await;
    world.receiver.answers([StatusCode::INTERNAL_SERVER_ERROR]);
    world.simulator.inbound(inbound("ciao")).unwrap();
    world.until_report(|report| report.channels[NUMBER].webhooks.lost == 1).await;
}

#[tokio::test]
async fn webhooks_come_twice_and_together_when_asked_to() {
    let behaviour = Behaviour {
        duplicate: 1.0,
        batch: NonZeroUsize::new(1_000).unwrap(),
        batch_wait_ms: 200,
        ..Behaviour::default()
    };
    let world = World::with(behaviour, 80).await;
    for at in 0..10 {
        assert_eq!(world.send(&text(USER, &at.to_string())).await.0, 200);
    }
    let statuses = world.receiver.statuses(60).await;
    assert_eq!(names(&statuses).iter().filter(|name| **name == "read").count(), 20);
    let posts = world.receiver.until(|_| true).await;
    assert!(posts.len() < 60 && posts.iter().any(|post| post.all("statuses").len() > 1));
    assert!(posts.iter().all(Post::verifies));
}
