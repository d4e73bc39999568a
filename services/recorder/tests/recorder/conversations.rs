//! Who is who, seen from outside.

use serde_json::json;
use staffetta_domain::TenantId;
use staffetta_store::ConversationFilter;

use crate::harness::{Kind, World, body, in_turn, status, text, turn};
use crate::on_both;

on_both!(
    a_number_and_a_users_id_become_one_conversation,
    a_status_belongs_to_the_conversation_of_its_message,
);

const USER: &str = "IT.13491208655302741918";

async fn a_number_and_a_users_id_become_one_conversation(kind: Kind) {
    let mut world = World::new(kind).await;
    world.start_recorder().await;
    let mut unnamed = text("", "wamid.B");
    unnamed["from_user_id"] = json!(USER);
    let mut tied = text("393481213456", "wamid.D");
    tied["from_user_id"] = json!(USER);
    for message in [text("393481213456", "wamid.A"), unnamed, text("393481213456", "wamid.C"), tied] {
        world.publish(&[body("100", &json!({"messages": [message]}))]).await;
        world.settled().await;
    }

    let events = world.events().await;
    in_turn(&events);
    let turns: Vec<(String, u64)> = events.iter().filter_map(turn).collect();
    let (phone, user) = (&turns[0].0, &turns[1].0);
    assert_ne!(phone, user);
    assert_eq!((&turns[2], &turns[3]), (&(phone.clone(), 2), &(phone.clone(), 3)));
    assert_eq!(events[3].data["merged"], json!([{"conversation_id": user, "sequence": 1}]));
    assert!(events[..3].iter().all(|event| !event.data.contains_key("merged")));

    let tenant: TenantId = "acme".parse().unwrap();
    let there = world.store.conversations(&tenant, &ConversationFilter::default(), None, 10).await.unwrap();
    assert_eq!(there.len(), 1);
    assert_eq!((there[0].id.to_string(), there[0].unread, there[0].sequence), (phone.clone(), 4, 3));
    let messages = world.store.conversation_messages(&tenant, there[0].id, None, 10).await.unwrap().unwrap();
    assert_eq!(messages.len(), 4);
    world.stop().await;
}

async fn a_status_belongs_to_the_conversation_of_its_message(kind: Kind) {
    let mut world = World::new(kind).await;
    world.start_recorder().await;
    let mut nameless = status("wamid.S", "delivered");
    nameless.as_object_mut().unwrap().remove("recipient_id");
    for one in [status("wamid.S", "sent"), nameless] {
        world.publish(&[body("100", &json!({"statuses": [one]}))]).await;
        world.settled().await;
    }
    world.publish(&[body("100", &json!({"messages": [text("393481213456", "wamid.A")]}))]).await;
    world.settled().await;

    let events = world.events().await;
    in_turn(&events);
    let last = turn(&events[2]).unwrap();
    assert_eq!(turn(&events[1]).unwrap(), (last.0.clone(), 2));
    assert_eq!(last.1, 3);
    world.stop().await;
}
