//! What a tenant no longer keeps goes by itself.

use serde_json::json;
use staffetta_testkit::until;

use crate::harness::{Kind, LIMIT, World, body, text};

#[tokio::test]
async fn each_tenant_keeps_its_events_for_its_own_time() {
    let mut world = World::new(Kind::Postgres).await;
    world.start_recorder().await;
    for number in ["100", "200"] {
        world.publish(&[body(number, &json!({"messages": [text("39", "wamid.old")]}))]).await;
    }
    world.settled().await;
    let count = async |tenant: &str| {
        let rows: Vec<(String,)> = world.rows("SELECT tenant FROM events", "").await;
        rows.into_iter().filter(|(of,)| of == tenant).count()
    };
    assert_eq!((count("acme").await, count("beta").await), (1, 1));

    world.sql("UPDATE events SET recorded_at = recorded_at - interval '9 days'").await;
    until("acme's event to be forgotten", LIMIT, async || (count("acme").await == 0).then_some(()))
        .await
        .unwrap();
    assert_eq!(count("beta").await, 1);
    world.stop().await;
}
