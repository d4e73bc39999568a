//! Who is let in, in Meta's words.

use reqwest::Method;
use serde_json::Value;

use super::world::{READS, World, text};
use crate::harness::{Answer, OTHER, StoodClock};

async fn send_as(world: &World, key: Option<&str>, path: &str) -> Answer {
    let request = world.gateway.request(Method::POST, path).json(&text());
    let request = match key {
        Some(key) => request.bearer_auth(key),
        None => request,
    };
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn nobody_gets_in_without_a_key_that_may() {
    let world = World::start().await;
    let path = "/graph/v23.0/1001/messages";
    let none = send_as(&world, None, path).await;
    none.is_graph_error(401, 190);
    assert_eq!(none.json["error"]["type"], "OAuthException");
    send_as(&world, Some("EAAshared"), path).await.is_graph_error(401, 190);
    send_as(&world, Some(READS), path).await.is_graph_error(403, 10);
    assert_eq!(world.gateway.get_as(READS, "/graph/v23.0/1001").await.status, 200);
    assert!(world.gateway.queue().await.is_empty());
}

#[tokio::test]
async fn anothers_number_is_told_from_none_in_no_way() {
    let world = World::start().await;
    let told = |mut answer: Answer, id: &str| {
        answer.is_not_there();
        answer.json["error"]["fbtrace_id"] = Value::Null;
        answer.json.to_string().replace(id, "…")
    };
    for (method, rest) in [
        (Method::POST, "/messages"),
        (Method::POST, "/media"),
        (Method::POST, "/whatsapp_business_profile"),
        (Method::GET, "/whatsapp_business_profile"),
        (Method::GET, ""),
        (Method::DELETE, ""),
        (Method::GET, "/content"),
        (Method::GET, "/phone_numbers"),
        (Method::GET, "/message_templates"),
    ] {
        let ask = async |id: &str| {
            let request = world.gateway.request(method.clone(), &format!("/graph/v23.0/{id}{rest}"));
            told(Answer::of(request.bearer_auth(OTHER).json(&text()).send().await.unwrap()).await, id)
        };
        assert_eq!(ask("1001").await, ask("9999").await, "{method} {rest}");
        assert_eq!(ask("5003").await, ask("9999").await, "{method} {rest}");
    }
    assert!(world.gateway.queue().await.is_empty());
}

#[tokio::test]
async fn what_is_not_served_is_said_in_metas_words() {
    let world = World::start().await;
    for path in ["1001/calls", "1001/messages/x", ""] {
        world.ask(Method::GET, path).await.is_graph_error(400, 2_500);
    }
    for version in ["latest", "v23", "23.0"] {
        let path = format!("/graph/{version}/1001/messages");
        send_as(&world, Some("key-of-acme"), &path).await.is_graph_error(400, 2_500);
    }
    world.ask(Method::GET, "1001/messages").await.is_not_there();
    world.ask(Method::DELETE, "1001/media").await.is_not_there();
}

#[tokio::test]
async fn strangers_are_counted_here_too() {
    let world = World::start().await;
    let _still = StoodClock::stop();
    let guess = async || send_as(&world, Some("guess"), "/graph/v23.0/1001/messages").await;
    for _ in 0..20 {
        guess().await.is_graph_error(401, 190);
    }
    let limited = guess().await;
    limited.is_graph_error(429, 4);
    assert_eq!(limited.header("retry-after"), "1");
}
