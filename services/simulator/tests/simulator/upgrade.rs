//! Throughput that changes.

use std::num::NonZeroU32;

use reqwest::Method;
use serde_json::{Value, json};
use staffetta_simulator::{Behaviour, Detail, Upgrade};

use crate::code;
use crate::harness::{NUMBER, TOKEN, USER, World, text};

async fn level(world: &World) -> Value {
    let url = world.url(&format!("/v24.0/{NUMBER}?fields=throughput"));
    let known: Value = world.client.get(url).bearer_auth(TOKEN).send().await.unwrap().json().await.unwrap();
    known["throughput"]["level"].clone()
}

#[tokio::test]
async fn an_upgrade_keeps_sends_out_for_a_while_and_then_lets_more_through() {
    let world = World::with(Behaviour { statuses: Vec::new(), ..Behaviour::default() }, 80).await;
    assert_eq!(world.send(&text(USER, "before")).await.0, 200);
    let path = format!("/_sim/upgrade/{NUMBER}");
    // Long enough for what is asked meanwhile.
    let upgrade = json!({"rate": 1000, "maintenance_ms": 10_000});
    assert_eq!(world.control(Method::POST, &path, upgrade).await.0, 200);
    let (status, answer) = world.send(&text(USER, "during")).await;
    assert_eq!((status, code(&answer)), (500, 131_057));
    assert_eq!(level(&world).await, "STANDARD", "it is not over yet");

    let posts = world.receiver.until(|posts| posts.len() == 1).await;
    assert!(posts[0].verifies());
    let body: Value = serde_json::from_slice(&posts[0].body).unwrap();
    let entry = &body["entry"][0];
    assert_eq!(entry["id"], "102290129340398");
    assert!(entry["time"].as_u64().unwrap() > 1_600_000_000, "seconds, as a number");
    assert_eq!(
        entry["changes"],
        json!([{"field": "phone_number_quality_update", "value": {
            "display_phone_number": "15550783881", "event": "THROUGHPUT_UPGRADE",
            "max_daily_conversations_per_business": "TIER_UNLIMITED",
        }}])
    );
    assert_eq!(world.send(&text(USER, "after")).await.0, 200);
    assert_eq!(level(&world).await, "HIGH");
    let channel = &world.simulator.report(Detail::Figures).channels[NUMBER];
    assert_eq!((channel.rate, channel.accepted, channel.refused[&131_057]), (1_000, 2, 1));
}

#[tokio::test]
async fn an_upgraded_number_takes_its_new_rate() {
    let world = World::with(Behaviour { pair: None, statuses: Vec::new(), ..Behaviour::default() }, 1).await;
    let upgrade = Upgrade { rate: NonZeroU32::new(10_000).unwrap(), maintenance_ms: 0 };
    world.simulator.upgrade(NUMBER, upgrade).unwrap();
    for at in 0..30 {
        assert_eq!(world.send(&text(USER, &at.to_string())).await.0, 200);
    }
}

#[tokio::test]
async fn an_upgrade_takes_nothing_away() {
    let world = World::start().await;
    let path = format!("/_sim/upgrade/{NUMBER}");
    let (status, answer) = world.control(Method::POST, &path, json!({"rate": 80})).await;
    assert_eq!(
        (status, &answer["error"]),
        (400, &json!("an upgrade's rate must not be below the one before"))
    );
    assert_eq!(world.control(Method::POST, "/_sim/upgrade/9", json!({"rate": 80})).await.0, 404);
}

#[tokio::test]
async fn a_number_reports_the_level_it_is_told_to() {
    let world = World::start().await;
    let config = |level: Option<&str>| {
        let mut config =
            json!({"access_token": TOKEN, "display_phone_number": "15550783881", "waba_id": "7", "rate": 20});
        if let Some(level) = level {
            config["throughput_level"] = json!(level);
        }
        config
    };
    let path = format!("/_sim/channels/{NUMBER}");
    assert_eq!(level(&world).await, "HIGH");
    for name in ["NOT_APPLICABLE", "HIGH", "STANDARD"] {
        assert_eq!(world.control(Method::PUT, &path, config(Some(name))).await.0, 200);
        assert_eq!(level(&world).await, name);
    }
    assert_eq!(world.control(Method::PUT, &path, config(Some("FAST"))).await.0, 400);
    assert_eq!(world.control(Method::PUT, &path, config(None)).await.0, 200);
    assert_eq!(level(&world).await, "STANDARD", "as its rate says");
}
