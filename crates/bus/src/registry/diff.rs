//! What differs between two forms of an entry, for people: field by field, and no secret in it.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::entry::Entry;
use super::forms::SecretRole;
use crate::secret::{MasterKey, Secret};

/// What applying a file would do, or did, to one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The entry's key.
    pub key: String,
    /// What happens to it.
    pub what: Changed,
}

/// What happens to an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is new.
    Created,
    /// These of its fields change.
    Updated(Vec<FieldChange>),
    /// It goes.
    Deleted,
}

/// What happens to a field. The texts are for people, and no secret is in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// The field.
    pub name: String,
    /// What it was, if it was there.
    pub old: Option<String>,
    /// What it will be, if it will be there.
    pub new: Option<String>,
}

impl fmt::Display for FieldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [old, new] = [&self.old, &self.new].map(|side| side.as_deref().unwrap_or("nothing"));
        write!(f, "{}: {old} → {new}", self.name)
    }
}

impl Change {
    /// The fields that change, if the entry was there and will be.
    pub fn fields(&self) -> &[FieldChange] {
        match &self.what {
            Changed::Updated(fields) => fields,
            Changed::Created | Changed::Deleted => &[],
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Changed::Created => write!(f, "+ {}", self.key),
            Changed::Updated(fields) => {
                let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
                write!(f, "~ {} ({})", self.key, names.join(", "))
            }
            Changed::Deleted => write!(f, "- {}", self.key),
        }
    }
}

/// The fields in which two entries differ in meaning.
pub(super) fn fields(old: &Entry, new: &Entry, master: Option<&MasterKey>) -> Vec<FieldChange> {
    let (old, new) = (old.clone().meaning(master), new.clone().meaning(master));
    let (old_meaning, new_meaning) = (old.public(), new.public());
    let known = old.secrets();
    let for_people = |entry: Entry, is_new: bool| {
        let entry = entry.with_secrets(|place, role, secret| {
            let is_known = known.iter().any(|(at, other)| at == place && is_same(secret, other));
            told(
                role,
                secret,
                match (is_new, is_known) {
                    (false, _) => "",
                    (true, true) => " unchanged",
                    (true, false) => " changed",
                },
            )
        });
        entry.public()
    };
    let (old_told, new_told) = (for_people(old, false), for_people(new, true));
    let names = |entry: &Value| -> BTreeSet<String> {
        entry.as_object().into_iter().flat_map(|fields| fields.keys().cloned()).collect()
    };
    let text = |entry: &Value, name: &str| entry.get(name).map(line);
    names(&new_meaning)
        .union(&names(&old_meaning))
        .filter(|name| new_meaning.get(name.as_str()) != old_meaning.get(name.as_str()))
        .map(|name| FieldChange {
            name: name.clone(),
            old: text(&old_told, name),
            new: text(&new_told, name),
        })
        .collect()
}

fn is_same(one: &Secret, other: &Secret) -> bool {
    match (one, other) {
        (Secret::Digest { sha256: one }, Secret::Digest { sha256: other }) => one == other,
        (Secret::Sealed { sealed: one }, Secret::Sealed { sealed: other }) => one == other,
        _ => false,
    }
}

/// A secret as a line for people names it: by where it is found, an API key by the beginning of its digest.
fn told(role: SecretRole, secret: &Secret, state: &str) -> Secret {
    match secret {
        Secret::Env { .. } | Secret::File { .. } => secret.clone(),
        Secret::Digest { sha256 } if role == SecretRole::Shown => {
            let id: String = sha256.chars().take(12).collect();
            Secret::literal(&format!("(secret {id}){state}"))
        }
        _ => Secret::literal(&format!("(secret){state}")),
    }
}

/// A value in one line.
fn line(value: &Value) -> String {
    match value {
        Value::String(text) if text.starts_with("(secret") => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(line).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name} = {}", line(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::RegistryFile;
    use super::*;

    #[test]
    fn a_difference_names_old_and_new_and_no_secret() {
        let master = MasterKey::new(&"one master key of ours".to_owned().into());
        let entry = |text: &str| {
            let entry = RegistryFile::parse(text).unwrap().entries().remove(0);
            entry.for_storage(None, Some(&master)).unwrap()
        };
        let told = |old: &str, new: &str| -> Vec<String> {
            let fields = fields(&entry(old), &entry(new), Some(&master));
            fields.iter().map(ToString::to_string).collect()
        };
        let channel = |more: &str| {
            format!("[[channel]]\nid = \"c\"\ntenant = \"a\"\nprovider = \"cloud_api\"\n{more}\n")
        };
        let template = "window_templates = { text = { name = \"n\", language = \"it\" } }";
        assert_eq!(
            told(
                &channel("rate = 80\nwaba_id = \"1\"\naccess_token = \"hush\""),
                &channel("access_token = \"hush2\"")
            ),
            ["access_token: (secret) → (secret) changed", "rate: 80 → 250", "waba_id: \"1\" → nothing"]
        );
        assert_eq!(
            told(&channel(""), &channel(template)),
            ["window_templates: nothing → { text = { language = \"it\", name = \"n\" } }"]
        );
        assert_eq!(
            told(
                "[[app]]\nid = \"a\"\napp_secret = \"hush\"",
                "[[app]]\nid = \"a\"\napp_secret = [\"hush\", \"hush2\"]"
            ),
            ["app_secret: [(secret)] → [(secret) unchanged, (secret) changed]"]
        );
        assert_eq!(
            told(
                "[[app]]\nid = \"a\"\napp_secret = \"hush\"",
                "[[app]]\nid = \"a\"\napp_secret = { env = \"X\" }"
            ),
            ["app_secret: [(secret)] → [{ env = \"X\" }]"]
        );
        assert_eq!(
            told(
                "[[tenant]]\nid = \"a\"\napi_keys = [\"one\"]",
                "[[tenant]]\nid = \"a\"\napi_keys = [{ key = \"one\", name = \"till\" }]"
            ),
            [
                "api_keys: [(secret 7692c3ad3540)] → [{ key = (secret 7692c3ad3540) unchanged, name = \"till\" }]"
            ]
        );
        assert_eq!(told(&channel("access_token = \"hush\""), &channel("access_token = \"hush\"")), [""; 0]);
    }
}
