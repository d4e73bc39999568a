//! API keys: what a tenant shows at the API, and what each key may do.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::snapshot::Tenant;
use crate::secret::{Secret, SecretForm};

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Send messages, take them back, mark as read, keep contacts.
    Send,
    /// Read messages, conversations, contacts, events.
    Read,
    /// Replay dead letters and events, switch endpoints.
    Admin,
}

impl Scope {
    /// All of them: what a key may do that names none.
    pub const ALL: [Self; 3] = [Self::Send, Self::Read, Self::Admin];

    /// The scope's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

/// An API key as files and the bucket hold it: a secret alone, or with what it may do and until when.
#[derive(Clone, Debug)]
pub struct ApiKeyEntry {
    /// The key. Stored as its digest, or as where it is found.
    pub secret: Secret,
    /// What people call it.
    pub name: Option<String>,
    /// What it may do; everything if none is named.
    pub scopes: Vec<Scope>,
    /// From when on it is not known any more.
    pub expires: Option<Timestamp>,
}

impl From<Secret> for ApiKeyEntry {
    fn from(secret: Secret) -> Self {
        Self { secret, name: None, scopes: Vec::new(), expires: None }
    }
}

impl Serialize for ApiKeyEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.name.is_none() && self.scopes.is_empty() && self.expires.is_none() {
            return self.secret.serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        self.secret.write(&mut map)?;
        if let Some(name) = &self.name {
            map.serialize_entry("name", name)?;
        }
        if !self.scopes.is_empty() {
            map.serialize_entry("scopes", &self.scopes)?;
        }
        if let Some(expires) = &self.expires {
            map.serialize_entry("expires", &expires.to_string())?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for ApiKeyEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = ApiKeyEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an API key: a text, or a table with key, env, file or sha256")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ApiKeyEntry, E> {
                Ok(Secret::literal(text).into())
            }

            fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<ApiKeyEntry, E> {
                Err(E::custom("an API key must be a text, or a table with key, env, file or sha256"))
            }

            fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<ApiKeyEntry, E> {
                self.visit_i64(0)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ApiKeyEntry, A::Error> {
                const KEYS: &[&str] = &["key", "env", "file", "sha256", "name", "scopes", "expires"];
                let (mut form, mut entry) = (SecretForm::default(), ApiKeyEntry::from(Secret::literal("")));
                while let Some(name) = map.next_key::<String>()? {
                    if form.take(&name, &mut map)? {
                        continue;
                    }
                    match name.as_str() {
                        "name" => entry.name = Some(map.next_value()?),
                        "scopes" => {
                            entry.scopes = map.next_value()?;
                            if entry.scopes.is_empty() {
                                return Err(A::Error::custom("scopes must name at least one"));
                            }
                        }
                        "expires" => {
                            let time = map.next_value::<Written>()?.text().parse();
                            entry.expires = Some(time.map_err(|_| {
                                A::Error::custom("expires must be a time like 2027-01-31T00:00:00Z")
                            })?);
                        }
                        other => return Err(A::Error::unknown_field(other, KEYS)),
                    }
                }
                let none = || A::Error::custom("an API key needs one of key, env, file and sha256");
                Ok(ApiKeyEntry { secret: form.finish().ok_or_else(none)?, ..entry })
            }
        }

        deserializer.deserialize_any(Reading)
    }
}

/// A time as a text, or as TOML's own.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Time(toml::value::Datetime),
}

impl Written {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Time(time) => time.to_string(),
        }
    }
}

/// An API key that somebody may show.
#[derive(Debug)]
pub struct Key {
    /// Whose it is.
    pub tenant: Arc<Tenant>,
    /// What logs and people may call it: the first characters of its digest.
    pub id: String,
    /// What people call it.
    pub name: Option<String>,
    /// What it may do; never empty.
    pub scopes: Vec<Scope>,
    /// From when on it is not known any more.
    pub expires: Option<Timestamp>,
}

impl Key {
    /// Whether it may do that.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether its time is over.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: serde_json::Value) -> Result<ApiKeyEntry, String> {
        serde_json::from_value(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_is_a_secret_alone_or_with_its_limits() {
        for json in [
            serde_json::json!({"sha256": "ab"}),
            serde_json::json!({"env": "ACME_KEY"}),
            serde_json::json!({"env": "ACME_KEY", "scopes": ["send", "read"]}),
            serde_json::json!({"sha256": "ab", "name": "till", "expires": "2027-01-31T00:00:00Z"}),
            serde_json::json!({"secret": true, "sha256": "0123456789ab"}),
        ] {
            let entry = read(json.clone()).unwrap();
            assert_eq!(serde_json::to_value(&entry).unwrap(), json);
        }
        let toml: ApiKeyEntry = toml::from_str("env = \"A\"\nexpires = 2027-01-31T00:00:00Z").unwrap();
        assert_eq!(toml.expires, Some("2027-01-31T00:00:00Z".parse().unwrap()));
        assert!(matches!(read("abc".into()).unwrap().secret, Secret::Literal(_)));
    }

    #[test]
    fn what_would_be_passed_over_is_refused() {
        for (json, word) in [
            (serde_json::json!({"env": "A", "scope": ["send"]}), "scope"),
            (serde_json::json!({"env": "A", "file": "b"}), "one of"),
            (serde_json::json!({"scopes": ["send"]}), "needs one of"),
            (serde_json::json!({"env": "A", "scopes": []}), "scopes"),
            (serde_json::json!({"env": "A", "scopes": ["root"]}), "root"),
            (serde_json::json!({"env": "A", "expires": "soon"}), "expires"),
            (serde_json::json!({"secret": "hush"}), "needs one of"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(word) && !error.contains("hush"), "{error}");
        }
    }
}
