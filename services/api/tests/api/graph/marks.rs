//! Marking a message read.

use serde_json::{Value, json};
use staffetta_simulator::{Detail, InboundMessage};
use staffetta_testkit::until;

use super::world::World;
use crate::conversations::{ANNA, record, wrote};
use crate::harness::WAIT;

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
    // A database that is slow to take the mark has the provider's alone; it does no harm to set both again.
    let marks = async |mark: &Value, left: i64| {
        let marked = until("the mark here", WAIT, async || {
            let answer = world.post("1001/messages", mark).await;
            assert_eq!((answer.status.as_u16(), &answer.json), (200, &json!({"success": true})));
            (unread().await == left).then_some(())
        });
        marked.await.unwrap();
    };

    let mark = json!({"messaging_product": "whatsapp", "status": "read", "message_id": first});
    marks(&mark, 1).await;

    let typing = json!({
        "messaging_product": "whatsapp", "status": "read", "message_id": last, "typing_indicator": {"type": "text"},
    });
    marks(&typing, 0).await;
    let seen = &world.provider.report(Detail::Sends).channels["1001"];
    assert!(seen.typing >= 1 && seen.marked_read > seen.typing, "{seen:?}");
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
