//! Users who write at a rate.

use reqwest::Method;
use serde_json::json;
use staffetta_simulator::Detail;

use crate::harness::{NUMBER, World};

#[tokio::test]
async fn users_write_at_a_steady_rate_until_told_to_stop() {
    let world = World::start().await;
    let path = format!("/_sim/inbound/{NUMBER}");
    // Slow enough for any machine: what comes faster than it is delivered only piles up.
    let (status, _) = world.control(Method::PUT, &path, json!({"per_second": 20, "users": 3})).await;
    assert_eq!(status, 200);
    world.receiver.until(|posts| posts.len() >= 20).await;
    assert_eq!(world.control(Method::PUT, &path, json!({"per_second": 0})).await.0, 200);
    world.until_report(|report| report.webhooks_waiting == 0).await;
    let channel = &world.simulator.report(Detail::Figures).channels[NUMBER];
    assert_eq!(channel.inbound, channel.webhooks.sent);
}

#[tokio::test]
async fn users_can_write_whenever_they_like() {
    let world = World::start().await;
    let path = format!("/_sim/inbound/{NUMBER}");
    let stream = json!({"per_second": 50, "users": 3, "spread": "poisson"});
    assert_eq!(world.control(Method::PUT, &path, stream).await.0, 200);
    world.receiver.until(|posts| posts.len() >= 50).await;
    let (status, _) = world.control(Method::PUT, &path, json!({"per_second": 1, "spread": "lumpy"})).await;
    assert_eq!(status, 400);
}
