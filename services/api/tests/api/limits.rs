//! How much anybody may ask.

use reqwest::Method;
use staffetta_runtime::config::ApiConfig;
use staffetta_testkit::until;

use crate::harness::{ACME, Answer, Gateway, OTHER, Setup, WAIT, register};

#[tokio::test]
async fn each_answer_to_a_key_says_what_is_left_and_one_too_many_is_refused() {
    let setup = Setup::default();
    let api = ApiConfig { requests_per_second: 3, ..setup.api };
    let gateway = Gateway::start_as(Setup { api, ..setup }).await;
    let first = gateway.get("/v1/channels").await;
    assert_eq!(first.status, 200);
    assert_eq!(first.header("ratelimit-policy"), r#""default";q=3;w=1"#);
    assert_eq!(first.header("ratelimit"), r#""default";r=2;t=1"#);
    // Also what is no route, and what is refused.
    let none = gateway.get("/v1/none").await;
    assert!(none.header("ratelimit").starts_with(r#""default";r="#), "{none:?}");

    let refused = until("a request too many", WAIT, async || {
        let answer = gateway.get("/v1/channels").await;
        (answer.status == 429).then_some(answer)
    });
    let refused = refused.await.unwrap();
    refused.is_problem(429, "rate-limited");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.header("ratelimit"), r#""default";r=0;t=1"#);
    // Another key has its own.
    assert_eq!(gateway.get_as(OTHER, "/v1/channels").await.status, 200);
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
    let gateway = Gateway::start().await;
    assert_eq!(gateway.get("/v1/channels").await.status, 200);
    let stopped = async |key: &str| {
        until("the guesses to be stopped", WAIT, async || {
            // Several at a time, so that a slow machine does not forget them meanwhile.
            let guesses =
                (0..30).map(|_| gateway.request(Method::GET, "/v1/channels").bearer_auth("guess").send());
            let answers = futures_util::future::join_all(guesses).await;
            let is_spent = answers.into_iter().any(|answer| answer.unwrap().status() == 429);
            let answer = gateway.get_as(key, "/v1/channels").await;
            (is_spent && answer.status == 429).then_some(answer)
        })
        .await
        .unwrap()
    };
    let refused = stopped("guess").await;
    refused.is_problem(429, "rate-limited");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.header("ratelimit"), "");
    assert_eq!(stopped(OTHER).await.json, refused.json);
    let known = gateway.get("/v1/channels").await;
    assert_eq!(known.status, 200);
    assert_eq!(known.header("ratelimit-policy"), r#""default";q=1000;w=1"#);

    let mut elsewhere = gateway;
    elsewhere.seen_from([127, 0, 0, 2]);
    assert_eq!(elsewhere.get_as(OTHER, "/v1/channels").await.status, 200);
    let guess = elsewhere.request(Method::GET, "/v1/channels").bearer_auth("guess").send();
    Answer::of(guess.await.unwrap()).await.is_problem(401, "unauthorized");
}
