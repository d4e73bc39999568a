//! Messages of any shape: nothing makes the checks panic, and no error repeats what a tenant wrote.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::KINDS;
use super::check;
use crate::window::{WindowTemplateRef, wrap};

/// What must not be repeated. It stands in every text and every unknown name.
const SECRET: &str = "393481213456";

/// Names that the checks look at, so that random objects lead somewhere.
const NAMES: [&str; 38] = [
    "body",
    "preview_url",
    "id",
    "link",
    "caption",
    "filename",
    "voice",
    "latitude",
    "longitude",
    "name",
    "formatted_name",
    "first_name",
    "phones",
    "birthday",
    "message_id",
    "emoji",
    "type",
    "text",
    "header",
    "footer",
    "action",
    "buttons",
    "reply",
    "title",
    "sections",
    "rows",
    "parameters",
    "url",
    "language",
    "code",
    "components",
    "cards",
    "card_index",
    "index",
    "image",
    "document",
    "sub_type",
    "button",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just(SECRET.to_owned()),
        (0..5000_usize).prop_map(|length| SECRET.repeat(length / SECRET.len() + 1)),
        "\\PC{0,8}".prop_map(|text| format!("{text}{SECRET}\n\t      {text}")),
        Just(format!("https://{SECRET}.example/")),
        prop::sample::select(
            &["text", "button", "list", "reply", "flow", "carousel", "header", "body", "3"][..]
        )
        .prop_map(str::to_owned),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    let name = prop_oneof![
        8 => prop::sample::select(&NAMES[..]).prop_map(str::to_owned),
        1 => Just(SECRET.to_owned()),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Messages that may be sent, to be spoilt in one place.
fn sound() -> Vec<(&'static str, Value)> {
    let button = |id: &str| json!({"type": "reply", "reply": {"id": id, "title": id}});
    let rows = json!([{"id": "a", "title": "x", "description": "y"}, {"id": "b", "title": "x"}]);
    vec![
        ("text", json!({"body": SECRET, "preview_url": true})),
        ("image", json!({"link": "https://a.example/x.png", "caption": SECRET})),
        ("document", json!({"id": SECRET, "caption": SECRET, "filename": "a.pdf"})),
        ("location", json!({"latitude": 45.5, "longitude": "9", "name": SECRET, "address": "x"})),
        (
            "contacts",
            json!([{"name": {"formatted_name": SECRET, "first_name": "A"}, "birthday": "1999-01-31",
            "phones": [{"phone": SECRET}], "org": {"company": "x"}}]),
        ),
        ("reaction", json!({"message_id": SECRET, "emoji": "\u{1f44d}"})),
        (
            "interactive",
            json!({"type": "button", "header": {"type": "image", "image": {"id": "1"}},
            "body": {"text": SECRET}, "footer": {"text": "x"}, "action": {"buttons": [button("a"), button("b")]}}),
        ),
        (
            "interactive",
            json!({"type": "list", "body": {"text": SECRET},
            "action": {"button": "x", "sections": [{"title": "x", "rows": rows}]}}),
        ),
        (
            "interactive",
            json!({"type": "flow", "body": {"text": "x"}, "action": {"name": "flow", "parameters":
            {"flow_message_version": "3", "flow_id": "1", "flow_cta": "x", "flow_action": "navigate"}}}),
        ),
        (
            "template",
            json!({"name": "ok", "language": {"code": "it"}, "components": [
            {"type": "header", "parameters": [{"type": "document", "document": {"id": SECRET}}]},
            {"type": "button", "sub_type": "url", "index": "0", "parameters": [{"type": "text", "text": SECRET}]},
            {"type": "carousel", "cards": [{"card_index": 0, "components": [{"type": "body"}]}]}]}),
        ),
    ]
}

/// Puts `spoiler` in the place to which `turns` lead.
fn spoil(message: &mut Value, turns: &[usize], spoiler: Value) {
    let below = match (turns.first(), &mut *message) {
        (Some(turn), Value::Array(items)) if !items.is_empty() => {
            let at = turn % items.len();
            items.get_mut(at)
        }
        (Some(turn), Value::Object(fields)) if !fields.is_empty() => {
            let at = turn % fields.len();
            fields.values_mut().nth(at)
        }
        _ => None,
    };
    match below {
        Some(below) => spoil(below, &turns[1..], spoiler),
        None => *message = spoiler,
    }
}

fn looks_well(kind: &str, message: &Value) {
    let command = json!({"id": "a", "to": "447700900123", "type": kind, kind: message});
    match check(command) {
        Ok(command) => {
            assert_eq!(&command.content, message, "what is sent is what was published");
            let template = WindowTemplateRef { name: "avviso", language: "it" };
            if let Ok(wrapped) = wrap(&command, template) {
                let carried = json!({"to": "447700900123", "type": "template", "template": wrapped.content});
                assert!(check(carried).is_ok(), "what a template carries may be sent");
            }
        }
        Err(invalid) => {
            assert!(!invalid.to_string().contains(SECRET), "{}", invalid.field);
            assert!(invalid.field.starts_with(kind));
        }
    }
}

#[test]
fn the_sound_messages_are_sound() {
    for (kind, message) in sound() {
        assert!(check(json!({"to": "447700900123", "type": kind, kind: message})).is_ok(), "{message}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn any_json_is_taken_or_refused(kind in prop::sample::select(&KINDS[..]), message in value()) {
        looks_well(kind, &message);
    }

    #[test]
    fn a_sound_message_spoilt_somewhere_is_taken_or_refused(
        which in any::<prop::sample::Index>(),
        turns in prop::collection::vec(0..16_usize, 0..8),
        spoiler in value(),
    ) {
        let mut samples = sound();
        let at = which.index(samples.len());
        let (kind, mut message) = samples.swap_remove(at);
        looks_well(kind, &message);
        spoil(&mut message, &turns, spoiler);
        looks_well(kind, &message);
    }
}
