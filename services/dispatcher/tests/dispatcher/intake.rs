//! Commands that can't be sent.

use serde_json::json;

use crate::harness::{ANNA, BRUNO, NUMBER, RegistryText, Setup, World, json_headers, text};

#[tokio::test]
async fn an_invalid_command_is_rejected_by_its_field_and_costs_nobody_else() {
    let (world, dispatcher) = World::start(Setup::default()).await;
    world.send("normal", &text("before", ANNA)).await;
    let wrong = [
        (json!({ "id": "w1", "type": "text", "text": { "body": "x" } }), "to"),
        (json!({ "id": "w2", "to": ANNA, "type": "fax", "fax": {} }), "type"),
        (json!({ "id": "w3", "to": ANNA, "type": "text", "text": {} }), "text.body"),
        (json!({ "id": "w4", "to": 39348, "type": "text", "text": { "body": "x" } }), "to"),
        (json!({ "id": "w5", "to": ANNA, "type": "image", "image": "x" }), "image"),
    ];
    for (command, _) in &wrong {
        world.send("normal", command).await;
    }
    let mut headers = json_headers();
    headers.insert("Nats-Msg-Id", "w6");
    world.publish("acme.acme-orders.normal", headers, "{\"id\":").await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", "w7");
    world.publish("acme.acme-orders.normal", headers, "not a command").await;
    world.send("normal", &text("after", ANNA)).await;

    world.told("accepted", &["before", "after"]).await;
    let rejected = world.told("rejected", &["w1", "w2", "w3", "w6", "w7"]).await;
    for (command, field) in &wrong {
        let Some(event) = rejected.iter().find(|event| event.subject == command["id"]) else {
            // An id cannot be read out of a command whose types are wrong.
            assert_eq!(command["id"], "w4");
            continue;
        };
        assert_eq!(event.data["error"]["field"], *field);
        assert!(!format!("{:?}", event.data).contains(ANNA), "names nobody");
    }
    for id in ["w6", "w7"] {
        let event = rejected.iter().find(|event| event.subject == id).unwrap();
        assert_eq!(event.data["error"]["field"], "payload");
    }
    world.settled().await;
    assert_eq!(world.told("rejected", &[]).await.len(), 7);
    assert_eq!(world.reasons().await, vec!["invalid_command"; 7]);
    assert_eq!(world.texts(), ["before", "after"]);
    dispatcher.stop().await;
}

#[tokio::test]
async fn headers_that_look_like_the_server_s_own_change_nothing() {
    let (world, dispatcher) = World::start(Setup::default()).await;
    for (id, sequence) in [("low", "0"), ("high", "18446744073709551615"), ("none", "x")] {
        let mut headers = json_headers();
        headers.insert("Nats-Sequence", sequence);
        headers.insert("Nats-Num-Pending", "7");
        headers.insert("Nats-Time-Stamp", "1970-01-01T00:00:00Z");
        world.publish("acme.acme-orders.normal", headers, text(id, ANNA).to_string()).await;
    }
    world.send("normal", &text("after", BRUNO)).await;
    world.told("accepted", &["low", "high", "none", "after"]).await;
    world.settled().await;
    assert_eq!(world.report(NUMBER).received, 4);
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_command_that_fills_more_than_a_batch_is_read_too() {
    let (world, dispatcher) = World::start(Setup::default()).await;
    let large = json!({ "id": "large", "to": ANNA, "type": "text", "text": { "body": "x".repeat(3 << 20) } });
    world.send_all("normal", &[text("before", ANNA), large, text("after", ANNA)]).await;
    let rejected = world.told("rejected", &["large"]).await;
    assert_eq!(rejected[0].data["error"]["field"], "text.body");
    world.told("accepted", &["before", "after"]).await;
    world.settled().await;
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_channel_that_the_tenant_does_not_have_rejects_whoever_has_it() {
    let world = World::prepare(Setup::default()).await;
    for (place, id) in [("beta.acme-orders.normal", "foreign"), ("acme.no-such.urgent", "nowhere")] {
        world.publish(place, json_headers(), text(id, ANNA).to_string()).await;
    }
    let dispatcher = world.dispatcher().await;
    let rejected = world.told("rejected", &["foreign", "nowhere"]).await;
    assert!(rejected.iter().all(|event| event.data["code"] == "unknown_channel"));
    assert_eq!(rejected[0].data["reason"], rejected[1].data["reason"]);
    world.settled().await;
    assert_eq!(world.reasons().await, ["unknown_channel"; 2]);
    assert_eq!(world.report(NUMBER).received, 0);
    dispatcher.stop().await;
}

#[tokio::test]
async fn a_channel_that_moves_takes_no_command_along() {
    let (world, dispatcher) = World::start(Setup::default()).await;
    world.provider.set_token(NUMBER, "second").unwrap();
    world.send("normal", &text("left", ANNA)).await;
    world.holds(1).await;
    world.apply(&RegistryText { owner: "beta", token: "second", ..RegistryText::default() }).await;
    world.publish("beta.acme-orders.normal", json_headers(), text("new", ANNA).to_string()).await;
    world.told("accepted", &["new"]).await;
    world.told("rejected", &["left"]).await;
    world.settled().await;
    assert_eq!(world.texts(), ["new"]);
    let letters = world.letters().await;
    assert_eq!((letters.len(), letters[0].reason.as_str()), (1, "unknown_channel"));
    dispatcher.stop().await;
}
