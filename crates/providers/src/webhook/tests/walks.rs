//! Lists within lists, and what stands beside them.

use serde_json::{Value, json};
use staffetta_domain::EventType;

use super::{change, leaf, leaves, messages, only, parts, status, text, touched};

fn history(items: &Value) -> Value {
    let metadata = json!({"phone_number_id": "PNID", "display_phone_number": "39020202"});
    change("history", &json!({"metadata": metadata, "history": items}))
}

#[test]
fn a_broken_message_of_the_history_costs_only_itself() {
    let body = history(&json!([
        {"threads": [{"id": "44", "messages": [text("wamid.A"), 7]}, null, {"id": "39", "messages": {}}]},
        "x",
        {"threads": [{"id": "39", "messages": [text("wamid.B")]}], "errors": [{"code": 1}, []]},
    ]));
    let (found, broken) = parts(body.to_string().as_bytes());
    let told: Vec<String> = found.iter().map(|found| leaf(found).event.subject).collect();
    assert_eq!(told, ["wamid.A", "wamid.B", "history"]);
    let places: Vec<&str> = broken.iter().map(|broken| broken.place.as_str()).collect();
    let item = "entry[0].changes[0].value.history";
    assert_eq!(
        places,
        [
            format!("{item}[0].threads[0].messages[1]"),
            format!("{item}[0].threads[1]"),
            format!("{item}[0].threads[2].messages"),
            format!("{item}[1]"),
            format!("{item}[2].errors[1]"),
        ]
    );
}

#[test]
fn what_nobody_knows_in_the_history_is_told_beside_its_messages() {
    let item = json!({"metadata": {"phase": 1}, "polls": [1],
                      "threads": [{"id": "44", "mood": "blue", "messages": [text("wamid.A")]}]});
    let body = history(&json!([item]));
    let told = leaves(&body);
    assert_eq!(told[1].event.data["raw"], json!({"metadata": {"phase": 1}, "polls": [1]}));
    for found in parts(body.to_string().as_bytes()).0 {
        let again = parts(&found.webhook()).0;
        assert_eq!((again.len(), leaf(&again[0]).event.id), (1, leaf(&found).event.id));
    }
}

#[test]
fn a_message_of_the_history_is_the_message_that_came_before() {
    let body = history(&json!([{"threads": [{"id": "393481213456", "messages": [text("wamid.A")]}]}]));
    let before = only(&messages(&json!({"messages": [text("wamid.A")]})));
    assert_eq!(only(&body).event.id, before.event.id);
}

#[test]
fn who_wrote_a_message_of_the_history_is_told_by_the_message() {
    let touched_by = |fields: Value| {
        let mut message = json!({"id": "wamid.A", "timestamp": "1602139392", "type": "text"});
        message.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        touched(&only(&history(&json!([{"threads": [{"id": "44", "messages": [message]}]}]))))
    };
    assert_eq!(touched_by(json!({"from": "44"})), "brought in text received");
    assert_eq!(touched_by(json!({"from": "+39 02 02 02"})), "brought out text sent");
    assert_eq!(touched_by(json!({"from": "33", "to": "44"})), "brought out text sent");
    assert_eq!(
        touched_by(json!({"history_context": {"from_me": false}, "from": "39020202"})),
        "brought in text received"
    );
    for (status, state) in [("PENDING", "accepted"), ("PLAYED", "played"), ("SOMETIME", "sent")] {
        let fields = json!({"history_context": {"from_me": true, "status": status}});
        assert_eq!(touched_by(fields), format!("brought out text {state}"));
    }
}

#[test]
fn an_object_that_nobody_knows_is_told_and_a_text_is_not() {
    let told = leaves(&messages(
        &json!({"messages": [text("wamid.A")], "weather": {"sky": "grey"}, "mood": "blue"}),
    ));
    assert_eq!(told.len(), 2);
    assert_eq!(told[1].event.data["raw"]["weather"], json!({"sky": "grey"}));
    assert!(told[1].event.data["raw"].get("mood").is_none());
}

#[test]
fn what_is_one_users_needs_a_number_and_the_rest_an_account() {
    for (field, list) in [("calls", "calls"), ("message_echoes", "message_echoes"), ("messages", "statuses")]
    {
        let (found, broken) = parts(change(field, &json!({list: [{"id": "1"}]})).to_string().as_bytes());
        assert_eq!((found.len(), broken.len()), (0, 1), "{field}");
    }
    for (field, list) in [("messages", "errors"), ("user_id_update", "user_id_update"), ("group_x", "groups")]
    {
        let leaf = only(&change(field, &json!({list: [{"code": 1}]})));
        assert_eq!((leaf.event.kind, &leaf.event.data["waba_id"]), (EventType::WebhookOther, &json!("WABA")));
    }
}

#[test]
fn the_time_of_an_entry_may_be_a_text() {
    let mut body = change("flows", &json!({"event": "X"}));
    let number = only(&body).event;
    body["entry"][0]["time"] = json!("1739321024");
    assert!(only(&body).event == number);
}

#[test]
fn a_payment_that_failed_is_no_message_that_failed() {
    let message = only(&status(&json!({"status": "failed"})));
    let payment = only(&status(&json!({"status": "failed", "type": "payment",
                                       "biz_opaque_callback_data": "st1:1:inv-1"})));
    assert_ne!(payment.event.id, message.event.id);
    assert_eq!((touched(&payment).as_str(), payment.settles.is_none()), ("nothing", true));
    assert_eq!(only(&status(&json!({"status": "failed", "type": "message"}))).event.id, message.event.id);
}

#[test]
fn each_step_of_a_call_is_told_once() {
    let metadata = json!({"phone_number_id": "PNID"});
    let id = |fields: Value| only(&change("calls", &json!({"metadata": metadata, "calls": [fields]}))).event;
    let connect = id(json!({"id": "wacid.1", "event": "connect", "from": "44"}));
    assert_eq!(connect.subject, "wacid.1");
    assert_eq!(id(json!({"id": "wacid.1", "event": "connect", "timestamp": "1602139392"})).id, connect.id);
    assert_ne!(id(json!({"id": "wacid.1", "event": "terminate", "from": "44"})).id, connect.id);
    assert_ne!(id(json!({"id": "wacid.2", "event": "connect", "from": "44"})).id, connect.id);
}

#[test]
fn a_leaf_keeps_its_address_when_it_is_rebuilt() {
    let value = json!({"display_phone_number": "39020202", "groups": [{"group_id": "g"}], "waves": [1]});
    let (found, _) = parts(change("group_status_update", &value).to_string().as_bytes());
    assert_eq!(found.len(), 2);
    for found in found {
        let (again, _) = parts(&found.webhook());
        assert_eq!((again.len(), again[0].address()), (1, found.address()));
        assert_eq!(found.address().display_phone_number, Some("39020202"));
    }
}

#[test]
fn the_guide_names_every_type_of_event_and_its_examples_are_json() {
    let guide = include_str!("../../../../../docs/events.md");
    for kind in EventType::ALL {
        assert!(guide.contains(&format!("`{}`", kind.as_str())), "{}", kind.as_str());
    }
    let examples: Vec<&str> =
        guide.split("```json").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() > 8);
    for example in examples {
        assert!(serde_json::from_str::<Value>(example).is_ok(), "{example}");
    }
}

#[test]
fn a_body_of_nothing_but_brackets_is_not_a_million_leaves() {
    let many = |item: &str| format!("[{}]", vec![item; 200_000].join(","));
    let lists = [
        format!(r#"{{"entry":{}}}"#, many("{}")),
        format!(r#"{{"entry":[{{"changes":{}}}]}}"#, many("7")),
        messages(&json!({"messages": "MANY"})).to_string().replace(r#""MANY""#, &many("{}")),
        history(&json!([{"threads": [{"messages": "MANY"}]}])).to_string().replace(r#""MANY""#, &many("{}")),
    ];
    for body in lists {
        let (found, broken) = parts(body.as_bytes());
        assert_eq!(found.len() + broken.len(), 30_001);
        let rest = broken.last().unwrap();
        assert_eq!((rest.place.as_str(), rest.payload.len()), ("body", body.len()));
        assert_eq!(rest.problem, "has more than 30000 parts: the later ones are not told");
    }
}

#[test]
fn a_body_that_is_as_full_as_may_be_is_whole() {
    let items = vec![json!({"id": "wamid.A"}); 30_000];
    let (found, broken) = parts(messages(&json!({"messages": items})).to_string().as_bytes());
    assert_eq!((found.len(), broken.len()), (30_000, 0));
}

#[test]
fn what_is_around_leaves_is_not_repeated_without_a_limit() {
    let long = "x".repeat(2 << 10);
    let metadata = |more: &str| json!({"phone_number_id": "PNID", "note": more});
    let value = json!({"metadata": metadata(&long), "messages": [text("wamid.A"), text("wamid.B")]});
    let thread = json!([{"threads": [{"id": "44", "note": long, "messages": [text("wamid.A")]},
                                     {"id": "44", "messages": [text("wamid.B")]}]}]);
    let mut entry = messages(&json!({"messages": [text("wamid.A")]}));
    entry["entry"][0]["id"] = json!(long);
    let cases = [
        (change("messages", &value), "entry[0].changes[0].value", 0),
        (history(&thread), "entry[0].changes[0].value.history[0].threads[0]", 1),
        (
            history(&json!([{"metadata": {"note": long}, "threads": []}])),
            "entry[0].changes[0].value.history[0]",
            0,
        ),
        (entry, "entry[0]", 0),
    ];
    for (body, place, left) in cases {
        let (found, broken) = parts(body.to_string().as_bytes());
        assert_eq!((found.len(), broken.len()), (left, 1), "{place}");
        assert_eq!(
            (broken[0].place.as_str(), broken[0].problem),
            (place, "has more than 2 KiB around its leaves")
        );
    }
}

#[test]
fn a_file_of_the_history_that_comes_later_is_told_too() {
    let of_type = |message: Value| {
        only(&history(&json!([{"threads": [{"id": "393481213456", "messages": [message]}]}])))
    };
    let mut message = text("wamid.A");
    message["type"] = json!("media_placeholder");
    let placeholder = of_type(message.clone());
    message["type"] = json!("image");
    message["image"] = json!({"id": "77"});
    let image = of_type(message.clone());
    assert_ne!(placeholder.event.id, image.event.id);
    // Live, it is the message that it is.
    assert_eq!(image.event.id, only(&messages(&json!({"messages": [message]}))).event.id);
}

#[test]
fn an_account_that_a_partners_entry_names_is_whose_it_is() {
    let mut body =
        change("account_update", &json!({"event": "PARTNER_ADDED", "waba_info": {"waba_id": "WABA"}}));
    body["entry"][0]["id"] = json!("a portfolio");
    let found = parts(body.to_string().as_bytes()).0.remove(0);
    assert_eq!((found.address().waba_id, found.address().told_waba_id), (Some("a portfolio"), Some("WABA")));
    let again = parts(&found.webhook()).0.remove(0);
    assert_eq!((again.address(), leaf(&again).event.id), (found.address(), leaf(&found).event.id));
}
