//! The same id again.

use reqwest::header::HeaderName;
use serde_json::json;
use staffetta_bus::SendSubject;
use staffetta_domain::Lane;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use crate::harness::{ACME, Gateway, OTHER, text, with};

#[tokio::test]
async fn the_same_id_twice_is_queued_once_and_answered_with_how_it_stands() {
    let gateway = Gateway::start().await;
    let first = gateway.post(&text("inv-1")).await;
    assert_eq!(first.status, 202);
    let key = HeaderName::from_static("idempotency-key");
    let elsewhere = json!({"id": null, "channel": "acme-bills", "lane": "bulk"});
    for again in [
        gateway.post(&text("inv-1")).await,
        gateway.post_with(&with(text("inv-1"), &elsewhere), &[(key, "inv-1")]).await,
    ] {
        assert_eq!(again.status, 200);
        assert_eq!(again.json, gateway.get("/v1/messages/inv-1").await.json);
        assert_eq!(again.json["created"], first.json["created"]);
        assert_eq!(again.json["channel"], "acme-orders");
    }
    assert_eq!(gateway.queue().await.len(), 1);
}

#[tokio::test]
async fn posts_of_one_id_at_the_same_time_all_succeed_and_name_one_message() {
    let gateway = Gateway::start().await;
    let mut posts = JoinSet::new();
    for _ in 0..4 {
        let request =
            gateway.request(reqwest::Method::POST, "/v1/messages").bearer_auth(ACME).json(&text("inv-1"));
        posts.spawn(async { request.send().await.unwrap().status().as_u16() });
    }
    let statuses = posts.join_all().await;
    assert!(statuses.iter().all(|status| [200, 202].contains(status)), "{statuses:?}");
    assert!(statuses.contains(&202));
    let queue = gateway.queue().await;
    assert!(!queue.is_empty());
    assert!(queue.iter().all(|queued| queued.fields.id.as_deref() == Some("inv-1")));
}

/// One window of message ids serves the whole stream: whoever used an id a moment ago must not make another
/// tenant's command vanish.
#[tokio::test]
async fn a_message_id_that_someone_else_took_first_swallows_nothing() {
    let gateway = Gateway::start().await;
    let subject = SendSubject {
        tenant: "other".parse().unwrap(),
        channel: "other-orders".parse().unwrap(),
        lane: Lane::Bulk,
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    let taken = gateway.bus.publish(subject.subject(), "acme:inv-1", Default::default(), "".into(), deadline);
    taken.await.unwrap();
    assert_eq!(gateway.post(&text("inv-1")).await.status, 202);
    let queue = gateway.queue().await;
    let last = queue.last().unwrap();
    assert_eq!(last.subject, "staffetta.v1.send.acme.acme-orders.normal");
    assert_eq!(last.fields.id.as_deref(), Some("inv-1"));
    assert_eq!(gateway.get_as(OTHER, "/v1/messages/inv-1").await.status, 404);
}
