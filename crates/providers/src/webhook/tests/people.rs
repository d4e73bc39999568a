//! Who is named by what comes together.

use serde_json::json;

use super::{leaves, messages, only, seen, text};

#[test]
fn each_message_has_its_own_contact() {
    let contacts = json!([{"wa_id": "44", "profile": {"name": "Ada"}},
                          {"wa_id": "39", "user_id": "IT.1", "profile": {"name": "Bea", "username": "bea"}}]);
    let mut by_user = text("wamid.B");
    by_user.as_object_mut().unwrap().remove("from");
    by_user["from_user_id"] = json!("IT.1");
    let mut by_number = text("wamid.A");
    by_number["from"] = json!("44");
    let told =
        leaves(&messages(&json!({"contacts": contacts, "messages": [by_number, by_user, text("wamid.C")]})));
    assert_eq!(told[0].event.data["name"], "Ada");
    let bea = &told[1].event.data;
    assert_eq!((&bea["name"], &bea["username"]), (&json!("Bea"), &json!("bea")));
    assert_eq!((&bea["user_id"], &bea["from"]), (&json!("IT.1"), &json!("39")));
    assert_eq!(seen(&told[1]), "u:IT.1 p:39 !");
    assert!(!told[2].event.data.contains_key("contact"));
}

#[test]
fn a_contact_that_comes_alone_is_its_messages_unless_ids_say_otherwise() {
    let with = |contact, id| {
        let mut message = text("wamid.A");
        message["from_user_id"] = json!(id);
        only(&messages(&json!({"contacts": [contact], "messages": [message]})))
    };
    let spelled_differently = with(json!({"wa_id": "5511999990000"}), "");
    assert_eq!(seen(&spelled_differently), "p:393481213456 p:5511999990000 !");
    let somebody_else = with(json!({"wa_id": "44", "user_id": "IT.2"}), "IT.1");
    assert_eq!(seen(&somebody_else), "p:393481213456 u:IT.1 !");
    assert!(!somebody_else.event.data.contains_key("contact"));
}

#[test]
fn a_contact_in_company_is_nobodys_unless_it_is_named() {
    let status = json!({"id": "wamid.S", "status": "sent", "recipient_id": "44"});
    let body = messages(
        &json!({"contacts": [{"wa_id": "393481213456"}], "messages": [text("wamid.A")], "statuses": [status]}),
    );
    let told = leaves(&body);
    assert_eq!((seen(&told[0]), seen(&told[1])), ("p:393481213456 !".into(), "p:44".into()));
}

#[test]
fn a_name_that_reads_like_an_id_is_not_taken_for_one() {
    let named = |body: &str| {
        let system = json!({"body": body, "user_id": "IT.2", "type": "user_changed_user_id"});
        let message = json!({"id": "wamid.A", "type": "system", "system": system});
        seen(&only(&messages(&json!({"messages": [message]}))))
    };
    assert_eq!(named("User Ada changed from IT.1 to IT.2."), "u:IT.2 <u:IT.1");
    assert_eq!(named("User from IT.7 to IT.2 changed from IT.1 to IT.2"), "u:IT.2 <u:IT.1");
    assert_eq!(named("User from IT.7 to IT.2 has a new id"), "u:IT.2");
    assert_eq!(named("User Ada changed from her old id to IT.2"), "u:IT.2");
}

#[test]
fn the_parent_of_a_user_is_told_by_its_place() {
    let mut message = text("wamid.A");
    message["from_parent_user_id"] = json!("IT.9");
    assert_eq!(seen(&only(&messages(&json!({"messages": [message]})))), "p:393481213456 e:IT.9 !");
}
