//! Between Protocol Buffers' own `Struct` and `Timestamp`, and JSON and time as the rest of the code knows them.

use jiff::Timestamp;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

/// A JSON object as a `Struct`. Numbers become doubles, as `Struct` has no others.
pub fn to_struct(object: &serde_json::Map<String, serde_json::Value>) -> Struct {
    Struct { fields: object.iter().map(|(name, value)| (name.clone(), to_value(value))).collect() }
}

/// A JSON array as a `ListValue`.
pub fn to_list(items: &[serde_json::Value]) -> ListValue {
    ListValue { values: items.iter().map(to_value).collect() }
}

fn to_value(value: &serde_json::Value) -> Value {
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(flag) => Kind::BoolValue(*flag),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text.clone()),
        serde_json::Value::Array(items) => Kind::ListValue(to_list(items)),
        serde_json::Value::Object(object) => Kind::StructValue(to_struct(object)),
    };
    Value { kind: Some(kind) }
}

/// A `Struct` as a JSON object. Doubles without a fraction become integers again.
pub fn from_struct(object: Struct) -> serde_json::Map<String, serde_json::Value> {
    object.fields.into_iter().map(|(name, value)| (name, from_value(value))).collect()
}

/// A `ListValue` as a JSON array.
pub fn from_list(list: ListValue) -> Vec<serde_json::Value> {
    list.values.into_iter().map(from_value).collect()
}

/// The largest integer that a double holds exactly, with all below it.
const EXACT: f64 = 9_007_199_254_740_992.0;

#[expect(clippy::cast_possible_truncation, reason = "checked against EXACT")]
fn from_value(value: Value) -> serde_json::Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(flag)) => flag.into(),
        Some(Kind::NumberValue(number)) if number.fract() == 0.0 && number.abs() <= EXACT => {
            (number as i64).into()
        }
        Some(Kind::NumberValue(number)) => number.into(),
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::ListValue(list)) => from_list(list).into(),
        Some(Kind::StructValue(object)) => from_struct(object).into(),
    }
}

/// A moment as Protocol Buffers write it.
pub fn to_timestamp(time: Timestamp) -> prost_types::Timestamp {
    let nanos = time.as_nanosecond();
    let seconds = nanos.div_euclid(1_000_000_000);
    prost_types::Timestamp {
        seconds: i64::try_from(seconds).expect("a jiff timestamp's seconds fit into 64 bits"),
        nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).expect("below a thousand million"),
    }
}

/// A moment from Protocol Buffers; `None` if it is outside the years −9999 to 9999.
pub fn from_timestamp(time: &prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_survives_the_way_through_a_struct() {
        let before = serde_json::json!({"a": 1, "b": [true, null, "x"], "c": {"d": 1.5}, "e": -3});
        let object = before.as_object().unwrap().clone();
        assert_eq!(serde_json::Value::Object(from_struct(to_struct(&object))), before);
    }

    #[test]
    fn times_before_1970_keep_their_nanoseconds_positive() {
        let time = Timestamp::from_nanosecond(-1).unwrap();
        let wire = to_timestamp(time);
        assert_eq!((wire.seconds, wire.nanos), (-1, 999_999_999));
        assert_eq!(from_timestamp(&wire), Some(time));
    }
}
