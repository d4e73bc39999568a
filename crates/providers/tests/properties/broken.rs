//! What cannot be understood, each alone.

use proptest::prelude::*;
use serde_json::json;

use crate::leaf::{ACCOUNTS, Item, Leaf, NUMBERS, Stand};
use crate::message::received;
use crate::pen::Object;

/// Lists in which only objects make sense.
const LISTS: [(&str, &str); 6] = [
    ("messages", "messages"),
    ("messages", "statuses"),
    ("messages", "errors"),
    ("smb_message_echoes", "message_echoes"),
    ("calls", "calls"),
    ("smb_app_state_sync", "state_sync"),
];

/// Something that costs itself, and nothing else.
pub(crate) fn of_any_kind() -> impl Strategy<Value = Leaf> {
    prop_oneof![
        4 => (0..NUMBERS, 0..LISTS.len(), item()).prop_map(|(number, list, text)| {
            let (field, list) = LISTS[list];
            raw(Leaf::in_list(number, field, list, Object::new()), text)
        }),
        1 => (0..NUMBERS, item()).prop_map(|(number, text)| {
            let mut leaf = Leaf::in_list(number, "history", "history", Object::new());
            leaf.stand = Stand::Thread { chunk: 0, thread: "393481213450".into() };
            raw(leaf, text)
        }),
        1 => (0..NUMBERS, 0..2_usize).prop_map(|(number, list)| {
            let (field, list) = LISTS[list];
            raw(Leaf::in_list(number, field, list, Object::new()), format!(r#"{{"id":"{}"}}"#, "x".repeat(513)))
        }),
        1 => (0..NUMBERS, any::<u64>()).prop_map(|(number, seed)| {
            // A message to nobody knows which number.
            let mut leaf = received(number, 0, seed);
            leaf.number = None;
            leaf
        }),
        1 => (0..ACCOUNTS, at(Stand::Change, &["7", "null", "{}", r#"{"field":"messages"}"#]))
            .prop_map(|(account, leaf)| Leaf { account, ..leaf }),
        1 => at(Stand::Entry, &["7", "null", "{}", r#"{"id":"1","changes":{}}"#, r#"{"changes":[]}"#]),
    ]
}

fn item() -> impl Strategy<Value = String> {
    let deep = format!(r#"{{"id":"wamid.D","deep":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    prop::sample::select(vec![
        "5".to_owned(),
        "\"message\"".to_owned(),
        "[]".to_owned(),
        "true".to_owned(),
        r#"{"id":"wamid.B","text":{"body":"\ud83d"}}"#.to_owned(),
        r#"{"id":"wamid.C","n":1e999}"#.to_owned(),
        deep,
    ])
}

fn at(stand: Stand, texts: &'static [&'static str]) -> impl Strategy<Value = Leaf> {
    prop::sample::select(texts).prop_map(move |text| {
        let mut leaf = Leaf::of_account(0, "messages", json!(null), 0);
        (leaf.time, leaf.stand) = (None, stand.clone());
        raw(leaf, text.to_owned())
    })
}

fn raw(leaf: Leaf, text: String) -> Leaf {
    Leaf { item: Item::Raw(text), ..leaf }
}
