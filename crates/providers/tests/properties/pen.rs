//! Small choices that a leaf's content is made of, all from one seed.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value};

pub(crate) type Object = Map<String, Value>;

/// Names and texts as people write them.
const TEXTS: [&str; 10] = [
    "",
    "hi",
    "Olá 😮 a/b",
    "50% <off> @noon",
    "\"quoted\"\\",
    "line\nline\ttab",
    "日本語",
    "\u{7f}\u{0}",
    "{}",
    "è",
];

/// Writes what is said, where it doesn't matter what.
#[derive(Debug)]
pub(crate) struct Pen(SmallRng);

impl Pen {
    pub(crate) fn of_seed(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    pub(crate) fn maybe(&mut self) -> bool {
        self.0.random()
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0.random_range(0..end)
    }

    pub(crate) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from.choose(&mut self.0).copied().unwrap_or_default()
    }

    pub(crate) fn text(&mut self) -> &'static str {
        self.pick(&TEXTS)
    }

    /// Unix seconds.
    pub(crate) fn time(&mut self) -> u64 {
        1_750_000_000 + self.below(1_000_000)
    }

    /// Leaves out, now and then, each of those fields that may be missing.
    pub(crate) fn thin(&mut self, mut value: Value, optional: &[&str]) -> Value {
        if let Value::Object(fields) = &mut value {
            fields.retain(|name, _| !optional.contains(&name.as_str()) || self.maybe());
        }
        value
    }
}

/// The fields of an object that was written with `json!`.
pub(crate) fn fields(value: Value) -> Object {
    match value {
        Value::Object(fields) => fields,
        _ => Object::new(),
    }
}
