//! API keys: what a tenant shows at the API, and what each key may do.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::snapshot::Tenant;
use crate::secret::Secret;

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
        match &self.secret {
            Secret::Literal(literal) => map.serialize_entry("key", literal)?,
            Secret::Env { env } => map.serialize_entry("env", env)?,
            Secret::File { file } => map.serialize_entry("file", file)?,
            Secret::Sealed { sealed } => map.serialize_entry("sealed", sealed)?,
            Secret::Digest { sha256 } => map.serialize_entry("sha256", sha256)?,
        }
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

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ApiKeyEntry, A::Error> {
                const KEYS: &[&str] = &["key", "env", "file", "sha256", "name", "scopes", "expires"];
                let (mut secret, mut entry) = (None, ApiKeyEntry::from(Secret::literal("")));
                while let Some(name) = map.next_key::<String>()? {
                    let found = match name.as_str() {
                        "key" => Some(Secret::literal(&map.next_value::<String>()?)),
                        "env" => Some(Secret::Env { env: map.next_value()? }),
                        "file" => Some(Secret::File { file: map.next_value()? }),
                        "sealed" => Some(Secret::Sealed { sealed: map.next_value()? }),
                        "sha256" => Some(Secret::Digest { sha256: map.next_value()? }),
                        "name" => {
                            entry.name = Some(map.next_value()?);
                            None
                        }
                        "scopes" => {
                            entry.scopes = map.next_value()?;
                            if entry.scopes.is_empty() {
                                return Err(A::Error::custom("scopes must name at least one"));
                            }
                            None
                        }
                        "expires" => {
                            let text: String = map.next_value()?;
                            let time = text.parse();
                            entry.expires = Some(time.map_err(|_| {
                                A::Error::custom("expires must be a time like 2027-01-31T00:00:00Z")
                            })?);
                            None
                        }
                        other => return Err(A::Error::unknown_field(other, KEYS)),
                    };
                    if found.is_some() && secret.replace(found).is_some() {
                        return Err(A::Error::custom("an API key has one of key, env, file and sha256"));
                    }
                }
                let secret = secret.flatten();
                let none = || A::Error::custom("an API key needs one of key, env, file and sha256");
                Ok(ApiKeyEntry { secret: secret.ok_or_else(none)?, ..entry })
            }
        }

        deserializer.deserialize_any(Reading)
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
        ] {
            let entry = read(json.clone()).unwrap();
            assert_eq!(serde_json::to_value(&entry).unwrap(), json);
        }
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
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
