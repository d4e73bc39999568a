//! Marking a message read.

use serde_json::json;
use staffetta_simulator::{Detail, InboundMessage};

use super::world::World;
use crate::conversations::{ANNA, record, wrote};

fn inbound() -> InboundMessage {
    InboundMessage {
        phone_number_id: "1001".into(),
        from: ANNA.into(),
        name: None,
        text: Some("ciao".into()),
        message: None,
    }
}

#[tokio::test]
async fn a_message_is_marked_read_at_the_provider_and_here() {
    let world = World::start().await;
    let (first, last) =
        (world.provider.inbound(inbound()).unwrap(), world.provider.inbound(inbound()).unwrap());
    record(&world.gateway, &[wrote(ANNA, &first, 0), wrote(ANNA, &last, 5)]).await;
    let unread = async || world.gateway.get("/v1/conversations").await.json["items"][0]["unread"].clone();
    assert_eq!(unread().await, 2);

    let mark = json!({"messaging_product": "whatsapp", "status": "read", "message_id": first});
    let answer = world.post("1001/messages", &mark).await;
    assert_eq!((answer.status.as_u16(), &answer.json), (200, &json!({"success": true})));
    assert_eq!(unread().await, 1);

    let typing = json!({
        "messaging_product": "whatsapp", "status": "read", "message_id": last, "typing_indicator": {"type": "text"},
    });
    assert_eq!(world.post("1001/messages", &typing).await.status, 200);
    assert_eq!(unread().await, 0);
    let seen = world.provider.report(Detail::Sends);
    assert_eq!((seen.channels["1001"].marked_read, seen.channels["1001"].typing), (2, 1));
    assert!(world.gateway.queue().await.is_empty());
}

#[tokio::test]
async fn a_message_that_the_provider_does_not_know_is_marked_nowhere() {
    let world = World::start().await;
    record(&world.gateway, &[wrote(ANNA, "wamid.unknown", 0)]).await;
    let mark = json!({"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.unknown"});
    let answer = world.post("1001/messages", &mark).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.json["error"]["code"].is_number());
    assert_eq!(world.gateway.get("/v1/conversations").await.json["items"][0]["unread"], 1);
}
