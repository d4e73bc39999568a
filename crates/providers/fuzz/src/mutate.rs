//! One body into another, as JSON.

use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

use crate::dress::{Dress, Node};
use crate::oracle::WORDS;

/// Names that mean something to a webhook's reader, beside the words that may stand in a place.
const NAMES: &[&str] = &[
    "id",
    "time",
    "phone_number_id",
    "display_phone_number",
    "messaging_product",
    "from",
    "to",
    "from_user_id",
    "to_user_id",
    "wa_id",
    "user_id",
    "parent_user_id",
    "profile",
    "name",
    "username",
    "timestamp",
    "type",
    "status",
    "event",
    "context",
    "group_id",
    "recipient_id",
    "recipient_user_id",
    "recipient_type",
    "recipient_participant_id",
    "recipient_participant_user_id",
    "biz_opaque_callback_data",
    "system",
    "new_wa_id",
    "customer",
    "identity",
    "edit",
    "revoke",
    "original_message_id",
    "message",
    "reaction",
    "message_id",
    "history_context",
    "raw",
    "phase",
    "previous",
    "current",
    "category",
    "code",
];

/// Texts that such a reader may tell from others.
const TEXTS: &[&str] = &[
    "",
    " ",
    "messages",
    "smb_message_echoes",
    "message_echoes",
    "history",
    "calls",
    "smb_app_state_sync",
    "user_id_update",
    "user_preferences",
    "group_participants_update",
    "automatic_events",
    "message_template_status_update",
    "account_update",
    "phone_number_quality_update",
    "text",
    "system",
    "edit",
    "revoke",
    "reaction",
    "unsupported",
    "interactive",
    "user_changed_number",
    "user_changed_user_id",
    "customer_changed_number",
    "sent",
    "delivered",
    "read",
    "played",
    "failed",
    "deleted",
    "group",
    "call",
    "marketing_messages",
    "stop",
    "resume",
    "131026",
    "393481213456",
    "+39 348 121-3456",
    "IT.1349",
    "IT.ENT.1349",
    "wamid.A",
    "wamid.B",
    "1602139392",
    "1602139392000",
    "-1",
    "9223372036854775807",
    "99999999999999999999",
    "\u{0}",
    "😮",
    "\u{fffd}",
];

/// Texts that are JSON, or nearly, and that no value can be written as.
const RAW: &[&str] = &[
    "1e999",
    "-1e999",
    "1e400",
    "1e-400",
    "-0",
    "0.1e1",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "123456789012345678901234567890",
    "\"\\ud83d\"",
    "\"\\ude2e\\ud83d\"",
    "\"\\u0000\"",
    "{\"a\":1,\"a\":2}",
    "{\"id\":\"wamid.A\",\"id\":\"wamid.B\"}",
    "nul",
    "tru",
    "{",
    "]",
    "\"",
    "01",
    "[1,]",
    "",
];

/// A body that differs from this one in a place or a few; `None` where it is better changed as bytes: each second
/// time, and whenever it is no JSON. The same seed gives the same body.
pub fn mutate(body: &[u8], seed: u32) -> Option<Vec<u8>> {
    let mut rng = SmallRng::seed_from_u64(seed.into());
    if rng.random() {
        return None;
    }
    let mut value: Value = serde_json::from_slice(body).ok()?;
    let whole = value.clone();
    for _ in 0..rng.random_range(1..=3) {
        let target = any_place(&mut value, &mut rng);
        change(target, &whole, &mut rng);
    }
    let node = if rng.random_ratio(1, 4) { with_raw(&value, &mut rng) } else { Node::Plain(value) };
    let dress = if rng.random_ratio(1, 4) { Dress::of_seed(seed.into()) } else { Dress::plain() };
    let mut text = dress.write(&node).into_bytes();
    if rng.random_ratio(1, 16) {
        spoil(&mut text, &mut rng);
    }
    Some(text)
}

/// Any value of the tree: each step down is taken or not, so that near the root and far from it are both met.
fn any_place<'a>(value: &'a mut Value, rng: &mut SmallRng) -> &'a mut Value {
    let count = match &*value {
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    };
    if count == 0 || rng.random_ratio(1, 8) {
        return value;
    }
    let chosen = rng.random_range(0..count);
    match value {
        Value::Array(items) => any_place(&mut items[chosen], rng),
        Value::Object(fields) => match fields.values_mut().nth(chosen) {
            Some(field) => any_place(field, rng),
            None => unreachable!("an object has as many fields as it counts"),
        },
        _ => unreachable!("it has items"),
    }
}

fn change(target: &mut Value, whole: &Value, rng: &mut SmallRng) {
    match rng.random_range(0..12) {
        0 => *target = simple(rng),
        1 => *target = as_another_type(target),
        // A piece of the body where another one belongs, as when Meta's own samples misplace a field.
        2 => *target = any_place(&mut whole.clone(), rng).clone(),
        3 => *target = json!([target.take()]),
        4 => *target = Value::Object(Map::from_iter([(name(rng), target.take())])),
        5 => *target = nested(target, rng),
        6 => *target = Value::Array(vec![target.take(); rng.random_range(2..20)]),
        _ => change_inside(target, whole, rng),
    }
}

/// Takes away, adds, doubles and swaps what a list or an object holds.
fn change_inside(target: &mut Value, whole: &Value, rng: &mut SmallRng) {
    match target {
        Value::Array(items) if !items.is_empty() => {
            let (one, other) = (rng.random_range(0..items.len()), rng.random_range(0..items.len()));
            match rng.random_range(0..4) {
                0 => drop(items.remove(one)),
                1 => items.swap(one, other),
                2 => items.insert(one, items[other].clone()),
                _ => items.insert(one, simple(rng)),
            }
        }
        Value::Object(fields) => {
            let names: Vec<String> = fields.keys().cloned().collect();
            let Some(one) = names.choose(rng) else {
                fields.insert(name(rng), simple(rng));
                return;
            };
            let value = fields.get(one).cloned().unwrap_or_default();
            match rng.random_range(0..5) {
                0 => drop(fields.remove(one)),
                1 => drop(fields.insert(name(rng), simple(rng))),
                2 => drop(fields.insert(name(rng), value)),
                3 => drop(fields.insert(name(rng), any_place(&mut whole.clone(), rng).clone())),
                _ => {
                    let other = names.choose(rng).unwrap_or(one);
                    let theirs = fields.insert(other.clone(), value).unwrap_or_default();
                    fields.insert(one.clone(), theirs);
                }
            }
        }
        _ => *target = simple(rng),
    }
}

fn as_another_type(value: &Value) -> Value {
    match value {
        Value::Null => json!([]),
        Value::Bool(yes) => json!(yes.to_string()),
        Value::Number(number) => json!(number.to_string()),
        Value::String(text) => text.parse::<i64>().map_or(Value::Null, Value::from),
        Value::Array(items) => items.first().cloned().unwrap_or_default(),
        Value::Object(fields) => fields.values().cloned().collect(),
    }
}

fn simple(rng: &mut SmallRng) -> Value {
    match rng.random_range(0..8) {
        0 => Value::Null,
        1 => json!(rng.random::<bool>()),
        2 => json!(rng.random::<i64>() >> rng.random_range(0..63)),
        3 => json!(f64::from_bits(rng.random())),
        4 => json!([]),
        5 => json!({}),
        6 => json!("x".repeat(*[255, 256, 257, 511, 512, 513].choose(rng).unwrap_or(&1))),
        _ => json!(TEXTS.choose(rng)),
    }
}

fn name(rng: &mut SmallRng) -> String {
    WORDS.iter().chain(NAMES).choose(rng).copied().unwrap_or_default().to_owned()
}

/// Around the depths at which readers give up.
fn nested(value: &mut Value, rng: &mut SmallRng) -> Value {
    let depth = *[2, 18, 20, 22, 23, 24, 25, 26, 60, 120].choose(rng).unwrap_or(&2);
    let name = rng.random::<bool>().then(|| name(rng));
    (0..depth).fold(value.take(), |inner, _| match &name {
        Some(name) => Value::Object(Map::from_iter([(name.clone(), inner)])),
        None => json!([inner]),
    })
}

/// The value with a text in it that no value can be written as.
fn with_raw(value: &Value, rng: &mut SmallRng) -> Node {
    let count = match value {
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        _ => 0,
    };
    if count == 0 || rng.random_ratio(1, 8) {
        return Node::Raw(RAW.choose(rng).copied().unwrap_or_default().to_owned());
    }
    let chosen = rng.random_range(0..count);
    let mut next = 0..;
    let mut node = |value: &Value| match next.next() == Some(chosen) {
        true => with_raw(value, rng),
        false => Node::Plain(value.clone()),
    };
    match value {
        Value::Array(items) => Node::List(items.iter().map(node).collect()),
        Value::Object(fields) => {
            Node::Object(fields.iter().map(|(name, value)| (name.clone(), node(value))).collect())
        }
        _ => unreachable!("it has items"),
    }
}

/// Cut off, or with bytes in it that are no text.
fn spoil(text: &mut Vec<u8>, rng: &mut SmallRng) {
    if text.is_empty() {
        return;
    }
    let at = rng.random_range(0..text.len());
    if rng.random() {
        text.truncate(at);
    } else {
        text.splice(at..at, [0xff, 0xc3, 0xed, 0xa0, 0x80].into_iter().take(rng.random_range(1..=5)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;

    const FIRST_MESSAGE: &[u8] = include_bytes!("../../tests/fixtures/first-message.json");

    #[test]
    fn bodies_grown_from_one_are_many_and_each_is_taken_apart() {
        let mut bodies = vec![FIRST_MESSAGE.to_vec()];
        for seed in 0..4000 {
            let body = &bodies[seed as usize % bodies.len()];
            if let Some(body) = mutate(body, seed).filter(|body| body.len() < 8192) {
                check(&body);
                bodies.push(body);
            }
        }
        bodies.sort();
        bodies.dedup();
        assert!(bodies.len() > 1000, "{}", bodies.len());
    }
}
