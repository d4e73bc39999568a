//! How much anybody may ask.

use staffetta_runtime::config::ApiConfig;
use staffetta_testkit::until;

use crate::harness::{ACME, Gateway, OTHER, Setup, StoodClock, WAIT, register};

#[tokio::test]
async fn each_answer_to_a_key_says_what_is_left_and_one_too_many_is_refused() {
    let setup = Setup::default();
    let api = ApiConfig { requests_per_second: 3, ..setup.api };
    let gateway = Gateway::start_as(Setup { api, ..setup }).await;
    let still = StoodClock::stop();
    let first = gateway.get("/v1/channels").await;
    assert_eq!(first.status, 200);
    assert_eq!(first.header("ratelimit-policy"), r#""default";q=3;w=1"#);
    assert_eq!(first.header("ratelimit"), r#""default";r=2;t=1"#);
    // Also what is no route, and what is refused.
    let none = gateway.get("/v1/none").await;
    assert_eq!(none.header("ratelimit"), r#""default";r=1;t=1"#);
    assert_eq!(gateway.get("/v1/channels").await.header("ratelimit"), r#""default";r=0;t=1"#);
    let refused = gateway.get("/v1/channels").await;
    refused.is_problem(429, "rate-limited");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.header("ratelimit"), r#""default";r=0;t=1"#);
    // Another key has its own.
    assert_eq!(gateway.get_as(OTHER, "/v1/channels").await.status, 200);
    drop(still);
    let again = until("the next second", WAIT, async || {
        (gateway.get("/v1/channels").await.status == 200).then_some(())
    });
    again.await.unwrap();
}

#[tokio::test]
async fn a_tenants_own_limit_counts_and_follows_the_registry() {
    let gateway = Gateway::start().await;
    let policy =
        async |key: &str| gateway.get_as(key, "/v1/channels").await.header("ratelimit-policy").to_owned();
    assert_eq!(policy(ACME).await, r#""default";q=1000;w=1"#);
    let own = "[[tenant]]\nid = \"acme\"\napi_keys = [\"key-of-acme\"]\napi_requests_per_second = 7";
    register(&gateway.bus, own).await;
    let followed = until("the tenant's own limit", WAIT, async || {
        (policy(ACME).await == r#""default";q=7;w=1"#).then_some(())
    });
    followed.await.unwrap();
    assert_eq!(policy(OTHER).await, r#""default";q=1000;w=1"#);
}

/// Whoever tries keys is stopped, and learns nothing from then on, not even by the right one; who was there before goes on.
#[tokio::test]
async fn keys_cannot_be_guessed_at_speed() {
    let mut gateway = Gateway::start().await;
    assert_eq!(gateway.get("/v1/channels").await.status, 200);
    let still = StoodClock::stop();
    for _ in 0..20 {
        gateway.get_as("guess", "/v1/channels").await.is_problem(401, "unauthorized");
    }
    let refused = gateway.get_as("guess", "/v1/channels").await;
    refused.is_problem(429, "rate-limited");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.header("ratelimit"), "");
    assert_eq!(gateway.get_as(OTHER, "/v1/channels").await.json, refused.json);
    let known = gateway.get("/v1/channels").await;
    assert_eq!(known.status, 200);
    assert_eq!(known.header("ratelimit-policy"), r#""default";q=1000;w=1"#);

    gateway.seen_from([127, 0, 0, 2]);
    assert_eq!(gateway.get_as(OTHER, "/v1/channels").await.status, 200);
    gateway.get_as("guess", "/v1/channels").await.is_problem(401, "unauthorized");
    drop(still);
}
