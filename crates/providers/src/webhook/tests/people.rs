//! Who is named by what comes together.

use serde_json::{Value, json};
use staffetta_domain::Reach;

use super::{change, leaf, leaves, messages, only, parts, seen, status, text};

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

#[test]
fn a_large_contact_is_known_by_its_names_and_not_repeated() {
    let contact = json!({"wa_id": "44", "user_id": "IT.1", "profile": {"name": "Ada", "username": "ada"},
                         "note": "x".repeat(8 << 10)});
    let mut message = text("wamid.A");
    message["from"] = json!("44");
    let body = messages(&json!({"contacts": [contact], "messages": [message, text("wamid.B")]}));
    let (found, broken) = parts(body.to_string().as_bytes());
    assert_eq!(broken.len(), 1);
    assert_eq!(broken[0].place, "entry[0].changes[0].value.contacts[0]");
    let told = leaf(&found[0]);
    assert_eq!((seen(&told), &told.event.data["name"]), ("p:44 u:IT.1 !".into(), &json!("Ada")));
    let names = json!({"wa_id": "44", "user_id": "IT.1", "profile": {"name": "Ada", "username": "ada"}});
    assert_eq!(told.event.data["contact"], names);
    assert!(found[0].webhook().len() < 1 << 10);
    let again = leaf(&parts(&found[0].webhook()).0[0]);
    assert_eq!((again.event.id.as_str(), &again.event.data), (told.event.id.as_str(), &told.event.data));
}

#[test]
fn of_two_contacts_of_one_name_the_first_counts() {
    let contacts =
        json!([{"wa_id": "44", "profile": {"name": "Ada"}}, {"wa_id": "44", "profile": {"name": "Eve"}}]);
    let mut message = text("wamid.A");
    message["from"] = json!("44");
    let told = only(&messages(&json!({"contacts": contacts, "messages": [message]})));
    assert_eq!(told.event.data["name"], "Ada");
}

#[test]
fn thousands_of_leaves_with_thousands_of_contacts_are_sorted_out_at_once() {
    let contacts: Vec<_> = (0..15_000).map(|n| json!({"wa_id": format!("44{n}")})).collect();
    let statuses: Vec<_> = (0..15_000)
        .rev()
        .map(|n| json!({"id": format!("wamid.{n}"), "status": "sent", "recipient_id": format!("44{n}")}))
        .collect();
    for told in leaves(&messages(&json!({"contacts": contacts, "statuses": statuses}))) {
        assert_eq!(told.event.data["contact"]["wa_id"], told.event.data["recipient"]);
    }
}

#[test]
fn a_members_status_is_the_same_with_and_without_the_members_number() {
    let mut status = json!({"id": "wamid.A", "status": "read", "recipient_id": "Y2FwaV9n", "recipient_type": "group",
                            "recipient_participant_user_id": "IT.1"});
    let without = only(&messages(&json!({"statuses": [status]})));
    status["recipient_participant_id"] = json!("44");
    let with = only(&messages(&json!({"statuses": [status]})));
    assert_eq!(with.event.id, without.event.id);
    status["recipient_participant_user_id"] = json!("IT.2");
    assert_ne!(only(&messages(&json!({"statuses": [status]}))).event.id, with.event.id);
}

#[test]
fn a_failed_status_says_whether_its_user_can_be_reached() {
    let told = |fields: Value| only(&status(&fields)).reach;
    let failed = |errors: Value| told(json!({"status": "failed", "recipient_id": "39", "errors": errors}));
    for code in [130_403, 130_472, 131_026, 131_047, 131_049, 131_050] {
        assert_eq!(failed(json!([{"code": code}])), Some(Reach::Refused { code, template: None }));
    }
    assert_eq!(failed(json!([{"code": "131026"}])), Reach::refused(131_026, None));
    // The first one is the reason.
    for errors in [
        json!([{"code": 131_053}, {"code": 131_026}]),
        json!([{"code": 131_026.5}]),
        json!([{"title": "131026"}]),
        json!([131_026]),
        json!({"code": 131_026}),
        json!([]),
        json!(null),
    ] {
        assert_eq!(failed(errors.clone()), None, "{errors}");
    }
    let errors = json!([{"code": 131_026}]);
    let others = [
        json!({"status": "sent"}),
        json!({"status": "warning"}),
        // Neither a payment nor a call is a message, and a group is not one of its members.
        json!({"status": "failed", "type": "payment"}),
        json!({"status": "FAILED", "type": "call"}),
        json!({"status": "failed", "recipient_type": "group", "recipient_participant_id": "39"}),
    ];
    for mut other in others {
        other["errors"] = errors.clone();
        assert_eq!(told(other.clone()), None, "{other}");
    }
}

#[test]
fn a_user_says_whether_marketing_is_welcome() {
    let told = |preference: Value| {
        let mut value = json!({"metadata": {"phone_number_id": "PNID"}, "user_preferences": [preference]});
        value["user_preferences"][0]["wa_id"] = json!("39");
        only(&change("user_preferences", &value)).reach
    };
    let said = |value: &str| told(json!({"category": "marketing_messages", "value": value}));
    assert_eq!(said("stop"), Some(Reach::Refused { code: 131_050, template: None }));
    assert_eq!((said("resume"), said("signup")), (Some(Reach::Agreed), Some(Reach::Agreed)));
    assert_eq!(said("perhaps"), None);
    assert_eq!(told(json!({"value": "stop"})), Reach::refused(131_050, None));
    assert_eq!(told(json!({"category": "calls", "value": "stop"})), None);
}
