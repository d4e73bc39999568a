//! What a tenant is told while NATS or the database is away.

use serde_json::json;
use sqlx::{Connection, SqliteConnection};
use staffetta_testkit::until;

use crate::harness::{ACME, Gateway, WAIT, text, with};

#[tokio::test]
async fn without_nats_nothing_is_taken_in_and_what_was_can_still_be_read() {
    let mut gateway = Gateway::start().await;
    assert_eq!(gateway.post(&text("before")).await.status, 202);
    gateway.nats.kill().await.unwrap();
    let refused = gateway.post(&text("during")).await;
    assert!(
        ["/problems/unavailable", "/problems/in-doubt"].contains(&refused.json["type"].as_str().unwrap())
    );
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), "2");
    let refused = gateway.post(&text("during")).await;
    refused.is_problem(503, "unavailable");
    assert_eq!(gateway.get("/v1/messages/before").await.json["state"], "queued");
    assert_eq!(gateway.get("/v1/messages/during").await.status, 404);

    gateway.nats.restart().await.unwrap();
    let taken = until("the message to be taken in", WAIT, async || {
        let answer = gateway.post(&text("during")).await;
        answer.status.is_success().then_some(answer)
    });
    assert_eq!(taken.await.unwrap().json["state"], "queued");
    let mut ids: Vec<Option<String>> =
        gateway.queue().await.into_iter().map(|queued| queued.fields.id).collect();
    // The client may have held the first try back and sent it after all: the dispatcher knows it by its id.
    ids.dedup();
    assert_eq!(ids, [Some("before".into()), Some("during".into())]);
}

#[tokio::test]
async fn a_publish_without_an_answer_is_told_apart_and_can_be_repeated() {
    let gateway = Gateway::start().await;
    gateway.wire.stall().await.unwrap();
    let doubtful = until("a message that gets as far as NATS", WAIT, async || {
        let answer = gateway.post(&with(text("x"), &json!({"id": null}))).await;
        // The database may be slower to look it up, on a busy machine, than a request waits for it.
        let looked_up =
            !answer.json["detail"].as_str().is_some_and(|detail| detail.contains("known already"));
        looked_up.then_some(answer)
    });
    let doubtful = doubtful.await.unwrap();
    gateway.wire.heal().await.unwrap();
    doubtful.is_problem(503, "in-doubt");
    assert_eq!(doubtful.header("retry-after"), "2");
    let id = doubtful.json["id"].as_str().unwrap();
    let repeated = until("the repeat to be taken in", WAIT, async || {
        let answer = gateway.post(&text(id)).await;
        answer.status.is_success().then_some(answer)
    });
    assert_eq!(repeated.await.unwrap().json["id"], id);
    assert!(gateway.queue().await.iter().all(|queued| queued.fields.id.as_deref() == Some(id)));
}

#[tokio::test]
async fn without_the_database_nothing_is_taken_in() {
    let gateway = Gateway::start().await;
    gateway.store.close().await;
    let refused = gateway.post(&text("a")).await;
    refused.is_problem(503, "unavailable");
    assert_eq!(refused.header("retry-after"), "2");
    for path in ["/v1/messages/a", "/v1/channels", "/v1/channels/acme-orders"] {
        gateway.get(path).await.is_problem(503, "unavailable");
    }
    gateway.delete("/v1/messages/a").await.is_problem(503, "unavailable");
    assert!(gateway.queue().await.is_empty());
}

#[tokio::test]
async fn what_the_queue_has_is_taken_in_even_if_the_database_can_not_note_it() {
    let gateway = Gateway::start().await;
    let url = format!("sqlite:{}", gateway.database_file().display());
    let mut writer = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut writer).await.unwrap();
    assert_eq!(gateway.post_once(&text("a"), &[]).await.status, 202);
    sqlx::query("ROLLBACK").execute(&mut writer).await.unwrap();
    assert_eq!(gateway.queue().await.len(), 1);
    // The note has waited for longer than the request.
    gateway.known(ACME, "/v1/messages/a").await;
}
