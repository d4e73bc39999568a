//! Errors inside webhooks, with a word on what to do about them.

use serde_json::Value;
use staffetta_domain::{Object, hint};

use super::lenient;

/// The error in short: `code`, `title`, `details`, `hint`, as far as they are known.
pub(super) fn short(error: &Value) -> Option<Value> {
    let error = error.as_object()?;
    let mut short = Object::new();
    if let Some(code) = error.get("code").and_then(lenient::number) {
        short.insert("code".into(), code);
    }
    let title = lenient::text(error, "title").or_else(|| lenient::text(error, "message"));
    lenient::set(&mut short, "title", title);
    let details = match error.get("error_data") {
        Some(Value::Object(data)) => lenient::text(data, "details"),
        Some(Value::String(text)) => Some(text.as_str()).filter(|text| !text.is_empty()),
        _ => lenient::text(error, "details"),
    };
    lenient::set(&mut short, "details", details);
    lenient::set(&mut short, "hint", hint_of(error));
    Some(Value::Object(short))
}

/// The errors as they came, each with its `hint`.
pub(super) fn with_hints(errors: &Value) -> Value {
    let Value::Array(errors) = errors else { return errors.clone() };
    let with_hint = |error: &Value| {
        let mut error = error.clone();
        if let Value::Object(fields) = &mut error {
            let hint = hint_of(fields);
            lenient::set(fields, "hint", hint);
        }
        error
    };
    errors.iter().map(with_hint).collect()
}

fn hint_of(error: &Object) -> Option<&'static str> {
    code(error).and_then(hint)
}

/// The error's code, if it is a whole number.
pub(super) fn code(error: &Object) -> Option<i64> {
    error.get("code").and_then(lenient::number)?.as_i64()
}
