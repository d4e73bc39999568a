//! Small questions to JSON that somebody else wrote.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;
use staffetta_domain::Object;

/// Deepest nesting of one leaf. What Meta sends has ten levels at most; Protocol Buffers, as which the leaf may be told,
/// are read to a hundred, of which one level of JSON takes three.
pub(super) const MAX_DEPTH: usize = 24;

/// An object whose fields are not looked into yet.
pub(super) fn skim_object(text: &str) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_str(text).ok()
}

/// A list whose items are not looked into yet.
pub(super) fn skim_list(text: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(text).ok()
}

/// The whole value, if it can be read and is nested no deeper than [`MAX_DEPTH`].
pub(super) fn read(text: &str) -> Result<Value, &'static str> {
    let value: Value = serde_json::from_str(text).map_err(|_| "cannot be read")?;
    if is_deeper(&value, MAX_DEPTH) { Err("is nested too deeply") } else { Ok(value) }
}

fn is_deeper(value: &Value, levels: usize) -> bool {
    let Some(rest) = levels.checked_sub(1) else { return value.is_array() || value.is_object() };
    match value {
        Value::Array(items) => items.iter().any(|item| is_deeper(item, rest)),
        Value::Object(fields) => fields.values().any(|field| is_deeper(field, rest)),
        _ => false,
    }
}

/// A field that holds a text, unless that is empty: Meta leaves some out and empties others.
pub(super) fn text<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// An id, written as a text or as a number.
pub(super) fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A whole number, written as a text or as a number, as a number.
pub(super) fn number(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => text.parse::<i64>().ok().map(Value::from),
        Value::Number(_) => Some(value.clone()),
        _ => None,
    }
}

/// The value with every id in it as a text: not every reader of JSON keeps all digits of a number.
pub(super) fn with_text_ids(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(with_text_ids).collect(),
        Value::Object(fields) => Value::Object(
            fields.iter().map(|(name, value)| (name.clone(), with_text_ids_in(name, value))).collect(),
        ),
        plain => plain.clone(),
    }
}

/// The same for the field of that name.
pub(super) fn with_text_ids_in(name: &str, value: &Value) -> Value {
    let is_id = name == "id" || name == "ids" || name.ends_with("_id") || name.ends_with("_ids");
    match value {
        Value::Number(number) if is_id => number.to_string().into(),
        Value::Array(items) if is_id => items.iter().map(|item| with_text_ids_in(name, item)).collect(),
        value => with_text_ids(value),
    }
}

/// Sets a field to a text if there is one.
pub(super) fn set(object: &mut Object, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        object.insert(name.into(), text.into());
    }
}

/// Copies fields as they are, where they are.
pub(super) fn copy(from: &Object, to: &mut Object, names: &[&str]) {
    for name in names {
        if let Some(value) = from.get(*name) {
            to.insert((*name).into(), value.clone());
        }
    }
}

/// Seconds since 1970, as a text or as a number; milliseconds have been seen too.
pub(super) fn moment(value: &Value) -> Option<Timestamp> {
    const FIRST_MILLISECONDS: i64 = 1_000_000_000_000;
    let number = match value {
        Value::String(text) => text.parse().ok()?,
        value => value.as_i64()?,
    };
    match number {
        ..=0 => None,
        FIRST_MILLISECONDS.. => Timestamp::from_millisecond(number).ok(),
        seconds => Timestamp::from_second(seconds).ok(),
    }
}

/// The value as a text in which neither white space nor the order of fields plays a part.
pub(super) fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Object(fields) => {
            // Sorted here, because the map's own order hangs on a feature that any crate may switch on.
            let fields: BTreeMap<&String, &Value> = fields.iter().collect();
            text.push('{');
            for (name, value) in fields {
                let _ = write!(text, "{}:", Value::from(name.as_str()));
                write(value, text);
                text.push(',');
            }
            text.push('}');
        }
        plain => {
            let _ = write!(text, "{plain}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_come_as_texts_numbers_and_milliseconds() {
        let expected = "2020-10-08T06:03:12Z".parse::<Timestamp>().unwrap();
        for value in [json!("1602136992"), json!(1_602_136_992), json!("1602136992000")] {
            assert_eq!(moment(&value), Some(expected), "{value}");
        }
        for value in [json!(""), json!("soon"), json!(-1), json!(0), json!(null), json!(i64::MAX)] {
            assert_eq!(moment(&value), None, "{value}");
        }
    }

    #[test]
    fn neither_order_nor_white_space_plays_a_part() {
        let one: Value = serde_json::from_str(r#"{"a":[1,{"x":"\u00e9","y":null}],"b":{}}"#).unwrap();
        let other: Value =
            serde_json::from_str("{ \"b\": {}, \"a\": [1, {\"y\": null, \"x\": \"é\"}]}").unwrap();
        assert_eq!(canonical(&one), canonical(&other));
        assert_ne!(canonical(&json!(["a", "b"])), canonical(&json!(["a,b"])));
    }

    #[test]
    fn ids_are_texts_however_deep_they_stand() {
        let value =
            json!({"id": 9_007_199_254_740_993_u64, "code": 1, "in": [{"app_id": 2, "x_ids": [3, "4"]}]});
        let expected =
            json!({"id": "9007199254740993", "code": 1, "in": [{"app_id": "2", "x_ids": ["3", "4"]}]});
        assert_eq!(with_text_ids(&value), expected);
    }

    #[test]
    fn depth_is_counted_in_levels() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(read(&nested(MAX_DEPTH + 1)), Err("is nested too deeply"));
        assert_eq!(read(&nested(1_000)), Err("cannot be read"));
    }
}
