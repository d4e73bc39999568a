//! The same id again.

use reqwest::header::HeaderName;
use serde_json::json;
use staffetta_bus::SendSubject;
use staffetta_domain::Lane;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::{ACME, Gateway, LANE, OTHER, WAIT, text, with};

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
    let deadline = Instant::now() + WAIT;
    let taken = gateway.bus.publish(subject.subject(), "acme:inv-1", Default::default(), "".into(), deadline);
    taken.await.unwrap();
    assert_eq!(gateway.post(&text("inv-1")).await.status, 202);
    let queue = gateway.queue().await;
    let last = queue.last().unwrap();
    assert_eq!(last.subject, "staffetta.v1.send.acme.acme-orders.normal");
    assert_eq!(last.fields.id.as_deref(), Some("inv-1"));
    assert_eq!(gateway.get_as(OTHER, "/v1/messages/inv-1").await.status, 404);
}

/// The queue has it from a publish that was never answered.
#[tokio::test]
async fn what_the_queue_has_already_is_taken_in_without_a_copy_even_if_its_lane_is_full() {
    let gateway = Gateway::start().await;
    put(&gateway, "acme:inv-1", &fields("inv-1")).await;
    for number in 1..LANE {
        assert_eq!(gateway.post(&text(&format!("n-{number}"))).await.status, 202);
    }
    assert_eq!(gateway.post(&text("inv-1")).await.status, 202);
    assert_eq!(gateway.queue().await.len(), LANE as usize);
    assert_eq!(gateway.post(&text("inv-1")).await.status, 200);
}

#[tokio::test]
async fn what_may_be_in_a_full_lane_already_is_in_doubt_and_not_refused() {
    let gateway = Gateway::start().await;
    put(&gateway, "acme:inv-1", &fields("another")).await;
    for number in 1..LANE {
        assert_eq!(gateway.post(&text(&format!("n-{number}"))).await.status, 202);
    }
    let doubtful = gateway.post(&text("inv-1")).await;
    doubtful.is_problem(503, "in-doubt");
    assert_eq!(doubtful.json["id"], "inv-1");
    assert_eq!(gateway.queue().await.len(), LANE as usize);
}

fn fields(id: &str) -> Vec<u8> {
    serde_json::to_vec(&text(id)).unwrap()
}

/// Publishes on acme's lane under this message id.
async fn put(gateway: &Gateway, message_id: &str, payload: &[u8]) {
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Content-Type", "application/json");
    let subject = "staffetta.v1.send.acme.acme-orders.normal".to_owned();
    let deadline = Instant::now() + WAIT;
    let stored = gateway.bus.publish(subject, message_id, headers, payload.to_vec().into(), deadline);
    stored.await.unwrap();
}
