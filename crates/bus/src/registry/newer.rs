//! Entries that a newer version wrote: what this one does not know of them is kept, and does not matter to it.
//!
//! Versions run side by side while one replaces the other, and a field that only the newer one knows must not take a
//! tenant's channels away from the older one. A field without which an entry would mean too much, as one that narrows a
//! right, is written with [`NEEDS`] beside it: who is older then leaves the whole entry alone. See docs/decisions/0021.

use serde::de::value::Error;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

/// The fields of an entry, by their names.
pub(super) type Fields = Map<String, Value>;

/// The generation of whom an entry is for, where not everybody may read it.
const NEEDS: &str = "needs";
/// How the form of a sealed secret is known.
const SEALED: &str = "sealed";
/// Ours: grows with each field that must not be passed over.
const GENERATION: u64 = 1;

/// Whether this version understands enough of the entry to use it.
pub(super) fn is_for_us(fields: &Fields) -> bool {
    match fields.get(NEEDS) {
        None => true,
        Some(needs) => needs.as_u64().is_some_and(|generation| generation <= GENERATION),
    }
}

/// Takes out of `fields` what is not one of `T`'s.
pub(super) fn take_unknown<T: DeserializeOwned>(fields: &mut Fields) -> Fields {
    let mut known: &'static [&'static str] = &[];
    // It ends with an error, always: there is nothing to read.
    let _ = T::deserialize(Names(&mut known));
    let (ours, unknown) = std::mem::take(fields).into_iter().partition(|(name, _)| known.contains(&&**name));
    *fields = ours;
    unknown
}

/// Whether a secret stands in there that was sealed with a master key: who does not know the field can't seal it anew.
pub(super) fn holds_sealed(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.contains_key(SEALED) || fields.values().any(holds_sealed),
        Value::Array(values) => values.iter().any(holds_sealed),
        _ => false,
    }
}

/// Learns the names of the fields that a struct reads.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("only a struct has fields"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::entry::Entry;
    use super::super::file::RegistryFile;
    use super::*;

    fn stored(json: &Value) -> Option<Entry> {
        Entry::read("app.a", json.to_string().as_bytes())
    }

    #[test]
    fn what_is_not_known_does_not_matter_and_stays() {
        let newer = json!({ "id": "a", "verify_token": { "env": "V" }, "colour": { "sealed": "x" } });
        let entry = stored(&newer).unwrap();
        assert_eq!(entry.to_json(), newer);
        // People see what they may send back.
        assert_eq!(entry.shown(), json!({ "id": "a", "verify_token": { "env": "V" } }));
        let file = "[[app]]\nid = \"a\"\nverify_token = { env = \"W\" }\n";
        let written = RegistryFile::parse(file).unwrap().entries().remove(0);
        let written = written.for_storage(Some(&entry), None).unwrap();
        assert_eq!(
            written.to_json(),
            json!({ "id": "a", "verify_token": { "env": "W" }, "colour": { "sealed": "x" } })
        );
    }

    #[test]
    fn an_entry_that_needs_a_newer_version_is_left_alone() {
        assert!(stored(&json!({ "id": "a", "needs": 1 })).is_some());
        assert!(stored(&json!({ "id": "a", "needs": 2 })).is_none());
        assert!(stored(&json!({ "id": "a", "needs": "more" })).is_none());
    }

    #[test]
    fn a_known_field_must_still_be_right() {
        assert!(stored(&json!({ "id": "A B", "colour": "red" })).is_none());
        assert!(Entry::from_json("app", json!({ "id": "a", "colour": "red" })).is_err());
    }
}
