//! What answers say of the call limits, and how long to wait.

use reqwest::Method;
use serde_json::{Value, json};
use staffetta_simulator::{Fault, FaultKind};

use crate::harness::{USER, World, text};

async fn put_usage(world: &World, usage: Value) {
    assert_eq!(world.control(Method::PUT, "/_sim/usage", usage).await.0, 200);
}

/// Status, code if refused, and the two headers.
async fn ask(world: &World) -> (u16, Option<u64>, Option<Value>, Option<Value>) {
    let response = world.try_send(&text(USER, "x")).await.unwrap();
    let header = |name: &str| {
        let value = response.headers().get(name)?.to_str().unwrap();
        Some(serde_json::from_str::<Value>(value).unwrap())
    };
    let (status, app) = (response.status().as_u16(), header("x-app-usage"));
    let business = header("x-business-use-case-usage");
    let answer: Value = response.json().await.unwrap();
    (status, answer["error"]["code"].as_u64(), app, business)
}

#[tokio::test]
async fn answers_tell_how_much_is_used_and_the_end_of_it() {
    let world = World::start().await;
    assert_eq!(ask(&world).await, (200, None, None, None));

    put_usage(&world, json!({"app": 28})).await;
    let app = json!({"call_count": 28, "total_time": 14, "total_cputime": 14});
    assert_eq!(ask(&world).await, (200, None, Some(app), None));

    put_usage(&world, json!({"app": 100})).await;
    let (status, code, app, _) = ask(&world).await;
    assert_eq!((status, code, &app.unwrap()["call_count"]), (400, Some(4), &json!(100)));

    put_usage(&world, json!({"business": {"call_count": 100, "estimated_time_to_regain_access": 19}})).await;
    let business = json!({"102290129340398": [{
        "type": "whatsapp", "call_count": 100, "total_cputime": 0, "total_time": 0,
        "estimated_time_to_regain_access": 19,
    }]});
    assert_eq!(ask(&world).await, (400, Some(80_007), None, Some(business)));

    put_usage(&world, json!({"business": {"total_time": 100, "waba_id": "7"}})).await;
    assert_eq!(ask(&world).await, (200, None, None, None), "another account's");

    put_usage(&world, json!({})).await;
    assert_eq!(ask(&world).await, (200, None, None, None));
    assert_eq!(world.control(Method::PUT, "/_sim/usage", json!({"app": 101})).await.0, 400);
}

#[tokio::test]
async fn a_refusal_can_say_how_long_to_wait() {
    let world = World::start().await;
    let fault = json!({"kind": "error", "code": 130_429, "count": 1, "retry_after_s": 7});
    assert_eq!(world.control(Method::POST, "/_sim/faults", fault).await.0, 200);
    let response = world.try_send(&text(USER, "x")).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (400, &"7".parse().unwrap())
    );

    let fault = Fault { retry_after_s: Some(2), ..Fault::times(FaultKind::Html502, 1) };
    world.simulator.add_fault(fault).unwrap();
    let response = world.try_send(&text(USER, "x")).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (502, &"2".parse().unwrap())
    );
    assert!(!world.try_send(&text(USER, "x")).await.unwrap().headers().contains_key("retry-after"));
}
