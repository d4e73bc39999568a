//! How a secret is written: in registry files, in the bucket, and where people are shown it.

use std::fmt;
use std::path::PathBuf;

use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Marker, Secret, SecretLiteral};

/// Characters of a sealed secret or of a digest that are shown.
const SHOWN: usize = 12;

/// A secret's table, key by key. Shared by what holds more than a secret, as an API key does.
#[derive(Default)]
pub(crate) struct SecretForm {
    found: Option<Secret>,
    is_marker: bool,
}

/// The text of a secret. An error about anything else does not show it.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;
        impl Visitor<'_> for Reading {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Text, E> {
                Err(E::custom("a secret must be a text"))
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Text, E> {
                self.visit_i64(0)
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Text, E> {
                self.visit_i64(0)
            }
        }
        deserializer.deserialize_any(Reading)
    }
}

impl SecretForm {
    /// Takes the value of one key; `false` if that key is none of a secret's.
    pub(crate) fn take<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        let mut text = || map.next_value::<Text>().map(|text| text.0);
        let found = match key {
            "key" => Secret::literal(&text()?),
            "env" => Secret::Env { env: text()? },
            "file" => Secret::File { file: PathBuf::from(text()?) },
            "sealed" => Secret::Sealed { sealed: text()? },
            "sha256" => Secret::Digest { sha256: text()? },
            "secret" => {
                // Whatever stands there: an error would show it.
                map.next_value::<IgnoredAny>()?;
                self.is_marker = true;
                return Ok(true);
            }
            _ => return Ok(false),
        };
        match self.found.replace(found) {
            Some(_) => Err(A::Error::custom("a secret has one of env, file, sealed and sha256")),
            None => Ok(true),
        }
    }

    /// The secret, if there was one.
    pub(crate) fn finish(self) -> Option<Secret> {
        Some(match self.found? {
            Secret::Sealed { sealed } if self.is_marker => Secret::Marker(Marker::Sealed(sealed)),
            Secret::Digest { sha256 } if self.is_marker => Secret::Marker(Marker::Digest(sha256)),
            found => found,
        })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret: a text, or a table with env or file")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::literal(text))
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Secret, E> {
                Err(E::custom("a secret must be a text, or a table with env or file"))
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Secret, E> {
                self.visit_i64(0)
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Secret, E> {
                self.visit_i64(0)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
                const KEYS: &[&str] = &["env", "file", "sealed"];
                let mut form = SecretForm::default();
                while let Some(key) = map.next_key::<String>()? {
                    if !form.take(&key, &mut map)? {
                        return Err(A::Error::unknown_field(&key, KEYS));
                    }
                }
                form.finish().ok_or_else(|| A::Error::custom("a secret has one of env, file and sealed"))
            }
        }

        deserializer.deserialize_any(Reading)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Self::Literal(SecretLiteral(text)) = self {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(None)?;
        self.write(&mut map)?;
        map.end()
    }
}

impl Secret {
    /// Adds what the secret is to a table.
    pub(crate) fn write<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        match self {
            Self::Literal(SecretLiteral(text)) => map.serialize_entry("key", text),
            Self::Env { env } => map.serialize_entry("env", env),
            Self::File { file } => map.serialize_entry("file", file),
            Self::Sealed { sealed } => map.serialize_entry("sealed", sealed),
            Self::Digest { sha256 } => map.serialize_entry("sha256", sha256),
            Self::Marker(marker) => {
                map.serialize_entry("secret", &true)?;
                match marker {
                    Marker::Sealed(beginning) => map.serialize_entry("sealed", beginning),
                    Marker::Digest(beginning) => map.serialize_entry("sha256", beginning),
                }
            }
        }
    }

    /// What people are shown of it.
    pub(crate) fn shown(&self) -> Self {
        let beginning = |text: &str| text.chars().take(SHOWN).collect();
        match self {
            Self::Sealed { sealed } => Self::Marker(Marker::Sealed(beginning(sealed))),
            Self::Digest { sha256 } => Self::Marker(Marker::Digest(beginning(sha256))),
            // Never stored; an empty marker shows nothing.
            Self::Literal(_) => Self::Marker(Marker::Sealed(String::new())),
            Self::Env { .. } | Self::File { .. } | Self::Marker(_) => self.clone(),
        }
    }

    /// Whether it is the stored secret that `marker` shows.
    pub(crate) fn is_shown_as(&self, marker: &Marker) -> bool {
        match (self, marker) {
            (Self::Sealed { sealed: text }, Marker::Sealed(beginning))
            | (Self::Digest { sha256: text }, Marker::Digest(beginning)) => {
                beginning.len() >= SHOWN && text.starts_with(beginning.as_str())
            }
            _ => false,
        }
    }
}
