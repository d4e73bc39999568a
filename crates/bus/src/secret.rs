//! Secrets of the registry: where they come from, and how literals are sealed before they are stored.

use std::path::PathBuf;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, hkdf};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret, SecretString};

/// A secret as a registry file writes it, or as the registry keeps it.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Secret {
    /// The secret itself. Stands in files only: it is sealed or digested before it is stored.
    Literal(SecretLiteral),
    /// A variable in the environment of the service that needs it.
    Env {
        /// The variable's name.
        env: String,
    },
    /// A file that the service that needs it can read. White space at its end does not count.
    File {
        /// The file's path.
        file: PathBuf,
    },
    /// A literal, sealed with the master key.
    Sealed {
        /// Nonce and sealed bytes, as base64.
        sealed: String,
    },
    /// What is left of an API key: enough to know it again.
    Digest {
        /// SHA-256, as hex.
        sha256: String,
    },
}

/// A text that does not print.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct SecretLiteral(String);

impl std::fmt::Debug for SecretLiteral {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Env { env } => write!(f, "{{ env = {env:?} }}"),
            Self::File { file } => write!(f, "{{ file = {file:?} }}"),
            Self::Literal(_) | Self::Sealed { .. } | Self::Digest { .. } => f.write_str("(secret)"),
        }
    }
}

/// Why a secret can't be had. Names the place, never the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// A literal needs sealing, or a sealed one opening, and there is no key.
    #[error("{0} is a literal secret: set master_key to seal it, or name a variable or a file")]
    NoMasterKey(String),
    /// The variable is not set.
    #[error("{place}: the variable {env} is not set")]
    NoVariable {
        /// Entry and field.
        place: String,
        /// The variable.
        env: String,
    },
    /// The file can't be read.
    #[error("{place}: the file {file} cannot be read")]
    NoFile {
        /// Entry and field.
        place: String,
        /// The file.
        file: String,
    },
    /// The master key is not the one that sealed it, or the bytes were changed or moved.
    #[error("{0} was sealed with another master key, or for another place")]
    NotOurs(String),
    /// The secret is empty.
    #[error("{0} is empty")]
    Empty(String),
}

/// Seals and opens literal secrets.
pub struct MasterKey(RandomizedNonceKey);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl MasterKey {
    /// Derives the key from the configured text.
    pub fn new(text: &SecretString) -> Self {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"staffetta master key v1");
        let mut key = [0; 32];
        let derived = salt.extract(text.expose_secret().as_bytes());
        derived
            .expand(&[b"registry secrets"], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut key))
            .expect("one block of HKDF is 32 bytes");
        Self(RandomizedNonceKey::new(&AES_256_GCM, &key).expect("the key has the cipher's length"))
    }

    fn seal(&self, place: &str, literal: &str) -> String {
        let mut bytes = literal.as_bytes().to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(place), &mut bytes)
            .expect("a secret is far below the cipher's limit");
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut bytes);
        BASE64.encode(sealed)
    }

    fn open(&self, place: &str, sealed: &str) -> Option<String> {
        let bytes = BASE64.decode(sealed).ok()?;
        let (nonce, rest) = bytes.split_at_checked(NONCE_LEN)?;
        let mut rest = rest.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.0.open_in_place(nonce, Aad::from(place), &mut rest).ok()?;
        String::from_utf8(opened.to_vec()).ok()
    }
}

impl Secret {
    /// The secret itself, as a file holds it.
    pub(crate) fn literal(text: &str) -> Self {
        Self::Literal(SecretLiteral(text.to_owned()))
    }

    /// The secret in a form that may be stored: a literal sealed for `place` (entry and field), the rest as it is.
    ///
    /// # Errors
    /// If it is a literal and there is no master key, or if it is empty.
    pub fn for_storage(&self, place: &str, master: Option<&MasterKey>) -> Result<Self, SecretError> {
        match self {
            Self::Literal(SecretLiteral(text)) if text.is_empty() => Err(SecretError::Empty(place.into())),
            Self::Literal(SecretLiteral(text)) => match master {
                Some(master) => Ok(Self::Sealed { sealed: master.seal(place, text) }),
                None => Err(SecretError::NoMasterKey(place.into())),
            },
            other => Ok(other.clone()),
        }
    }

    /// An API key in the form that is stored: a literal as its digest, the rest as it is.
    pub fn as_digest(&self) -> Self {
        match self {
            Self::Literal(SecretLiteral(text)) => Self::Digest { sha256: key_digest(text) },
            other => other.clone(),
        }
    }

    /// The secret itself.
    ///
    /// # Errors
    /// Says which of its sources failed.
    pub fn resolve(&self, place: &str, master: Option<&MasterKey>) -> Result<SecretString, SecretError> {
        let text = match self {
            Self::Literal(SecretLiteral(text)) => text.clone(),
            Self::Env { env } => std::env::var(env)
                .map_err(|_| SecretError::NoVariable { place: place.into(), env: env.clone() })?,
            Self::File { file } => std::fs::read_to_string(file)
                .map_err(|_| SecretError::NoFile { place: place.into(), file: file.display().to_string() })?
                .trim_end()
                .to_owned(),
            Self::Sealed { sealed } => master
                .ok_or_else(|| SecretError::NoMasterKey(place.into()))?
                .open(place, sealed)
                .ok_or_else(|| SecretError::NotOurs(place.into()))?,
            Self::Digest { .. } => return Err(SecretError::NotOurs(place.into())),
        };
        if text.is_empty() { Err(SecretError::Empty(place.into())) } else { Ok(text.into()) }
    }

    /// The digest of an API key, wherever it comes from.
    ///
    /// # Errors
    /// Says which of its sources failed.
    pub fn digest(&self, place: &str, master: Option<&MasterKey>) -> Result<String, SecretError> {
        match self {
            Self::Digest { sha256 } => Ok(sha256.clone()),
            other => Ok(key_digest(other.resolve(place, master)?.expose_secret())),
        }
    }
}

/// What the registry knows of an API key.
pub(crate) fn key_digest(key: &str) -> String {
    hex::encode(digest::digest(&digest::SHA256, key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Secret {
        Secret::Literal(SecretLiteral(text.into()))
    }

    #[test]
    fn a_sealed_secret_opens_only_in_its_place_and_with_its_key() {
        let master = MasterKey::new(&"one master key of ours".to_owned().into());
        let stored = literal("s3cret").for_storage("app.a/app_secret", Some(&master)).unwrap();
        assert!(!serde_json::to_string(&stored).unwrap().contains("s3cret"));
        assert_eq!(stored.resolve("app.a/app_secret", Some(&master)).unwrap().expose_secret(), "s3cret");
        assert!(stored.resolve("app.b/app_secret", Some(&master)).is_err());
        let other = MasterKey::new(&"another master key".to_owned().into());
        assert!(stored.resolve("app.a/app_secret", Some(&other)).is_err());
    }

    #[test]
    fn a_literal_is_never_stored_as_it_is() {
        assert!(literal("x").for_storage("app.a/app_secret", None).is_err());
        assert!(matches!(literal("x").as_digest(), Secret::Digest { .. }));
    }

    #[test]
    fn a_secret_does_not_print() {
        assert_eq!(format!("{:?}", literal("s3cret")), "(secret)");
    }

    #[test]
    fn files_may_end_in_a_newline() {
        let file = std::env::temp_dir().join(format!("staffetta-secret-{}", std::process::id()));
        std::fs::write(&file, "token\n").unwrap();
        let secret = Secret::File { file: file.clone() };
        assert_eq!(secret.resolve("x", None).unwrap().expose_secret(), "token");
        std::fs::remove_file(file).unwrap();
    }
}
