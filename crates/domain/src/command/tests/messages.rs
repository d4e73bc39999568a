//! Messages that may be sent and messages that may not, kind by kind.

use serde_json::{Value, json};

use super::check;
use super::interactive::interactive;

/// The field that is complained of, and how; `None` for a message that may be sent.
fn complaint(kind: &str, message: &Value) -> Option<(String, String)> {
    let command = json!({"to": "393481213456", "type": kind, kind: message});
    check(command).err().map(|invalid| (invalid.field, invalid.problem))
}

pub(super) fn takes(kind: &str, messages: &[Value]) {
    for message in messages {
        assert_eq!(complaint(kind, message), None, "{kind} {message}");
    }
}

/// Each with the field that is named.
pub(super) fn refuses(kind: &str, messages: &[(Value, &str)]) {
    for (message, field) in messages {
        let named = complaint(kind, message).map(|(field, _)| field);
        assert_eq!(named.as_deref(), Some(*field), "{kind} {message}");
    }
}

pub(super) fn long(characters: usize) -> String {
    "é".repeat(characters)
}

#[test]
fn texts() {
    takes(
        "text",
        &[
            json!({"body": "x", "preview_url": true}),
            json!({"body": long(4096)}),
            json!({"body": "x", "preview_url": null, "new": {"field": [1]}}),
        ],
    );
    refuses(
        "text",
        &[
            (json!("x"), "text"),
            (json!(null), "text"),
            (json!({}), "text.body"),
            (json!({"body": 7}), "text.body"),
            (json!({"body": " \n "}), "text.body"),
            (json!({"body": long(4097)}), "text.body"),
            (json!({"body": "x", "preview_url": "yes"}), "text.preview_url"),
            (json!({"body": "x", "more": "x".repeat(64 << 10)}), "text"),
        ],
    );
}

#[test]
fn files() {
    for kind in ["image", "video", "audio", "document", "sticker"] {
        takes(
            kind,
            &[json!({"id": "1"}), json!({"link": "https://a.example/x?y"}), json!({"id": "1", "x": 1})],
        );
        refuses(
            kind,
            &[
                (json!([]), kind),
                (json!({}), kind),
                (json!({"id": " "}), kind),
                (json!({"id": "1", "link": "https://a.example"}), kind),
                (json!({"id": 1}), &format!("{kind}.id")),
                (json!({"link": "a.example/x.pdf"}), &format!("{kind}.link")),
                (json!({"link": ""}), &format!("{kind}.link")),
                (json!({"id": "1", "caption": 1}), &format!("{kind}.caption")),
            ],
        );
    }
    takes("audio", &[json!({"id": "1", "voice": true})]);
    takes("document", &[json!({"id": "1", "caption": long(1024), "filename": "a.pdf"})]);
    takes("image", &[json!({"id": "1", "caption": ""})]);
    takes("video", &[json!({"id": "1", "caption": long(1024)})]);
    refuses("document", &[(json!({"id": "1", "filename": 1}), "document.filename")]);
    refuses("audio", &[(json!({"id": "1", "voice": "yes"}), "audio.voice")]);
    for kind in ["image", "video", "document"] {
        refuses(kind, &[(json!({"id": "1", "caption": long(1025)}), &format!("{kind}.caption"))]);
        refuses(kind, &[(json!({"id": "1", "voice": true}), &format!("{kind}.voice"))]);
    }
    for kind in ["audio", "sticker"] {
        refuses(kind, &[(json!({"id": "1", "caption": "x"}), &format!("{kind}.caption"))]);
    }
    for kind in ["image", "video", "audio", "sticker"] {
        refuses(kind, &[(json!({"id": "1", "filename": "x"}), &format!("{kind}.filename"))]);
    }
}

#[test]
fn places() {
    takes(
        "location",
        &[
            json!({"latitude": 45.5, "longitude": "-122.25", "name": "x", "address": ""}),
            json!({"latitude": -90, "longitude": 180}),
        ],
    );
    refuses(
        "location",
        &[
            (json!({"longitude": 1}), "location.latitude"),
            (json!({"latitude": 1}), "location.longitude"),
            (json!({"latitude": 90.5, "longitude": 1}), "location.latitude"),
            (json!({"latitude": "NaN", "longitude": 1}), "location.latitude"),
            (json!({"latitude": "north", "longitude": 1}), "location.latitude"),
            (json!({"latitude": 1, "longitude": -181}), "location.longitude"),
            (json!({"latitude": 1, "longitude": [1]}), "location.longitude"),
            (json!({"latitude": 1, "longitude": 1, "name": 1}), "location.name"),
        ],
    );
}

#[test]
fn contact_cards() {
    let card = json!({"name": {"formatted_name": "A B", "first_name": "A"}});
    takes(
        "contacts",
        &[
            json!([card]),
            Value::Array(vec![card.clone(); 257]),
            json!([{
                "name": {"formatted_name": "A B", "last_name": "B"}, "birthday": "2024-02-29",
                "phones": [{"phone": "+39 1", "type": "WORK", "wa_id": "391"}], "emails": [{"email": "a@b.example"}],
                "addresses": [{"street": "x", "zip": "1"}], "urls": [{"url": "a.example"}], "org": {"company": "x"},
            }]),
            json!([{"name": card["name"], "phones": [], "org": null}]),
        ],
    );
    let with = |field: &str, value: Value| {
        let mut card = card.clone();
        card[field] = value;
        json!([card])
    };
    refuses(
        "contacts",
        &[
            (json!({}), "contacts"),
            (json!([]), "contacts"),
            (Value::Array(vec![card.clone(); 258]), "contacts"),
            (json!([card, 7]), "contacts[1]"),
            (json!([{}]), "contacts[0].name"),
            (json!([{"name": "A"}]), "contacts[0].name"),
            (json!([{"name": {"first_name": "A"}}]), "contacts[0].name.formatted_name"),
            (json!([card, {"name": {"formatted_name": "A"}}]), "contacts[1].name"),
            (json!([{"name": {"formatted_name": "A", "suffix": 1}}]), "contacts[0].name.suffix"),
            (with("phones", json!({})), "contacts[0].phones"),
            (with("phones", json!([{"phone": "1"}, "2"])), "contacts[0].phones[1]"),
            (with("phones", json!([{"phone": 391}])), "contacts[0].phones[0].phone"),
            (with("org", json!("x")), "contacts[0].org"),
            (with("birthday", json!("31/01/1999")), "contacts[0].birthday"),
            (with("birthday", json!("1999-1-31")), "contacts[0].birthday"),
            (with("birthday", json!("1999-02-30")), "contacts[0].birthday"),
            (with("birthday", json!("+999-01-31")), "contacts[0].birthday"),
        ],
    );
}

#[test]
fn reactions() {
    takes(
        "reaction",
        &[
            json!({"message_id": "wamid.A", "emoji": "👍"}),
            json!({"message_id": "wamid.A", "emoji": ""}),
            json!({"message_id": "wamid.A", "emoji": "👩🏽‍❤️‍💋‍👨🏿"}),
        ],
    );
    refuses(
        "reaction",
        &[
            (json!({"emoji": "👍"}), "reaction.message_id"),
            (json!({"message_id": "", "emoji": "👍"}), "reaction.message_id"),
            (json!({"message_id": "wamid.A"}), "reaction.emoji"),
            (json!({"message_id": "wamid.A", "emoji": null}), "reaction.emoji"),
            (json!({"message_id": "wamid.A", "emoji": long(33)}), "reaction.emoji"),
        ],
    );
}

#[test]
fn templates() {
    let template =
        |components: Value| json!({"name": "ok_1", "language": {"code": "it"}, "components": components});
    let body = |parameter: Value| template(json!([{"type": "body", "parameters": [parameter]}]));
    let card = json!({"card_index": 0, "components": [{"type": "body"}]});
    takes(
        "template",
        &[
            json!({"name": "a".repeat(512), "language": {"code": "pt_BR", "policy": "deterministic"}}),
            template(json!([
                {"type": "header", "parameters": [{"type": "document", "document": {"id": "1", "filename": "a"}}]},
                {"type": "BODY", "parameters": [{"type": "text", "parameter_name": "first_name", "text": "A    B"}]},
                {"type": "button", "sub_type": "quick_reply", "index": "0",
                 "parameters": [{"type": "payload", "payload": "P1"}]},
                {"type": "button", "sub_type": "of next year", "index": 9},
                {"type": "carousel", "cards": [card]},
                {"type": "limited_time_offer", "parameters": [
                    {"type": "limited_time_offer", "limited_time_offer": {"expiration_time_ms": 1}}]},
            ])),
            body(
                json!({"type": "currency", "currency": {"fallback_value": "1", "code": "EUR", "amount_1000": 1000}}),
            ),
            body(json!({"type": "date_time", "date_time": {"fallback_value": "today"}})),
            body(json!({"type": "of next year"})),
        ],
    );
    let at = |rest: &str| format!("template.components[0]{rest}");
    refuses(
        "template",
        &[
            (json!({"language": {"code": "it"}}), "template.name"),
            (json!({"name": "Not ok", "language": {"code": "it"}}), "template.name"),
            (json!({"name": "è", "language": {"code": "it"}}), "template.name"),
            (json!({"name": "a".repeat(513), "language": {"code": "it"}}), "template.name"),
            (json!({"name": "ok"}), "template.language"),
            (json!({"name": "ok", "language": "it"}), "template.language"),
            (json!({"name": "ok", "language": {}}), "template.language.code"),
            (
                json!({"name": "ok", "language": {"code": "it", "policy": "fallback"}}),
                "template.language.policy",
            ),
            (template(json!({})), "template.components"),
            (template(json!(["x"])), &at("")),
            (template(json!([{}])), &at(".type")),
            (template(json!([{"type": "boddy"}])), &at(".type")),
            (template(json!([{"type": "body", "parameters": "x"}])), &at(".parameters")),
            (template(json!([{"type": "button", "index": 0}])), &at(".sub_type")),
            (template(json!([{"type": "button", "sub_type": "url"}])), &at(".index")),
            (template(json!([{"type": "button", "sub_type": "url", "index": "x"}])), &at(".index")),
            (template(json!([{"type": "button", "sub_type": "url", "index": 10}])), &at(".index")),
            (template(json!([{"type": "carousel"}])), &at(".cards")),
            (template(json!([{"type": "carousel", "cards": []}])), &at(".cards")),
            (
                template(json!([{"type": "carousel", "cards": [{"components": []}]}])),
                &at(".cards[0].card_index"),
            ),
            (
                template(json!([{"type": "carousel", "cards": [
                    {"card_index": 0, "components": [{"type": "carousel", "cards": []}]}]}])),
                &at(".cards[0].components[0].type"),
            ),
            (body(json!({})), &at(".parameters[0].type")),
            (body(json!({"type": "text"})), &at(".parameters[0].text")),
            (body(json!({"type": "text", "text": "a\nb"})), &at(".parameters[0].text")),
            (body(json!({"type": "text", "text": "a\tb"})), &at(".parameters[0].text")),
            (body(json!({"type": "text", "text": "a     b"})), &at(".parameters[0].text")),
            (
                body(json!({"type": "text", "text": "a", "parameter_name": 1})),
                &at(".parameters[0].parameter_name"),
            ),
            (body(json!({"type": "image", "image": {"link": "x"}})), &at(".parameters[0].image.link")),
            (body(json!({"type": "location", "location": {}})), &at(".parameters[0].location.latitude")),
            (
                body(json!({"type": "currency", "currency": {}})),
                &at(".parameters[0].currency.fallback_value"),
            ),
            (body(json!({"type": "payload"})), &at(".parameters[0].payload")),
            (body(json!({"type": "coupon_code", "coupon_code": 1})), &at(".parameters[0].coupon_code")),
            (body(json!({"type": "action"})), &at(".parameters[0].action")),
        ],
    );
}

#[test]
fn an_error_says_what_the_field_must_be() {
    let button = |title: &str| json!({"type": "reply", "reply": {"id": title, "title": title}});
    let buttons = json!({"buttons": [button("A"), button("B"), button(&long(21))]});
    for (kind, message, said) in [
        ("text", json!({"body": 1}), ("text.body", "must be a text")),
        ("text", json!({}), ("text.body", "is missing or empty")),
        ("contacts", json!([]), ("contacts", "must be a list of 1 to 257")),
        ("image", json!({"id": "1", "link": "x"}), ("image", "must have either id or link, not both")),
        ("location", json!({"latitude": 91}), ("location.latitude", "must be a number from -90 to 90")),
        (
            "interactive",
            interactive("button", buttons),
            ("interactive.action.buttons[2].reply.title", "must be at most 20 characters"),
        ),
    ] {
        let (field, problem) = complaint(kind, &message).unwrap();
        assert_eq!((field.as_str(), problem.as_str()), said);
    }
}
