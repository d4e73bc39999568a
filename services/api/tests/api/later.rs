//! Messages that are to be sent at a later time.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use staffetta_domain::Lane;
use staffetta_store::Scheduled;

use crate::harness::{Gateway, text, with};

/// So many hours from now, as a tenant writes it.
fn hours(hours: i64) -> String {
    format!("{:.0}", Timestamp::now() + SignedDuration::from_hours(hours))
}

#[tokio::test]
async fn a_message_for_later_goes_on_send_with_its_time_and_can_be_taken_back() {
    let gateway = Gateway::start().await;
    let at = hours(24 * 60);
    let answer = gateway.post(&with(text("a"), &json!({"send_at": at, "window_policy": "template"}))).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json["state"], "queued");
    assert_eq!(answer.json["send_at"], at);
    let queue = gateway.queue().await;
    let fields = &queue[0].fields;
    assert_eq!(fields.send_at.as_deref(), Some(at.as_str()));
    assert_eq!(fields.window_policy.as_deref(), Some("template"));

    // The dispatcher moves it into the database.
    let scheduled = Scheduled {
        tenant: "acme".parse().unwrap(),
        channel: "acme-orders".parse().unwrap(),
        id: "a".parse().unwrap(),
        lane: Lane::Normal,
        user: "393481213456".into(),
        callback_data: Some("row 7".into()),
        due: at.parse().unwrap(),
        payload: b"{}".to_vec(),
        headers: Vec::new(),
    };
    assert_eq!(gateway.store.schedule(&[scheduled]).await.unwrap(), [true]);
    gateway.bus.jetstream().get_stream("SEND").await.unwrap().purge().await.unwrap();
    let waiting = gateway.get("/v1/messages/a").await.json;
    assert_eq!((&waiting["state"], &waiting["send_at"]), (&json!("queued"), &json!(at)));
    assert_eq!(gateway.get("/v1/messages").await.json["items"][0], waiting);
    assert_eq!(gateway.post(&text("a")).await.status, 200);
    assert!(gateway.queue().await.is_empty());

    assert_eq!(gateway.delete("/v1/messages/a").await.json["state"], "cancelled");
    let due = at.parse::<Timestamp>().unwrap() + SignedDuration::from_hours(1);
    assert!(gateway.store.due(due, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_time_is_written_in_any_zone_and_shown_in_utc() {
    let gateway = Gateway::start().await;
    let answer = gateway.post(&with(text("a"), &json!({"send_at": "2020-11-22T10:30:00+01:00"}))).await;
    assert_eq!((answer.status.as_u16(), &answer.json["send_at"]), (202, &json!("2020-11-22T09:30:00Z")));
}

#[tokio::test]
async fn times_that_make_no_sense_are_refused() {
    let gateway = Gateway::start().await;
    for (change, field) in [
        (json!({"send_at": hours(24 * 367)}), "send_at"),
        (json!({"send_at": "9999-12-31T23:59:59Z"}), "send_at"),
        (json!({"send_at": "10000-01-01T00:00:00Z"}), "send_at"),
        (json!({"send_at": "tomorrow"}), "send_at"),
        (json!({"send_at": hours(2), "expires_at": hours(1)}), "expires_at"),
    ] {
        let answer = gateway.post(&with(text("a"), &change)).await;
        answer.is_problem(422, "invalid-message");
        assert_eq!(answer.json["field"], field, "{answer:?}");
    }
    assert!(gateway.queue().await.is_empty());
}
