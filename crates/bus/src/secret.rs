//! Secrets of the registry: where they come from, and how literals are sealed before they are stored.

mod form;

use std::path::PathBuf;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{digest, hkdf};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret, SecretString};

pub(crate) use form::SecretForm;

/// A secret as a registry file writes it, or as the registry keeps it.
#[derive(Clone)]
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
    /// A stored secret as people are shown it. Given back, it stands for the one that is stored.
    Marker(Marker),
}

/// How a stored secret begins: enough to tell it from its neighbours, and nothing of the secret itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marker {
    /// A sealed literal, by its first characters: a part of a random number.
    Sealed(String),
    /// A digest, by its first characters.
    Digest(String),
}

/// A text that does not print.
#[derive(Clone, PartialEq, Eq)]
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
            Self::Literal(_) | Self::Sealed { .. } | Self::Digest { .. } | Self::Marker(_) => {
                f.write_str("(secret)")
            }
        }
    }
}

/// Why a secret can't be had. Names the place, never the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// A literal needs sealing, and there is no key.
    #[error("{0} is a literal secret: set master_key to seal it, or name a variable or a file")]
    NoMasterKey(String),
    /// A sealed secret needs opening, and there is no key.
    #[error("{0} is sealed: set master_key to open it")]
    SealedWithoutKey(String),
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
    /// Only the secret itself is of use here.
    #[error("{0} needs the secret itself: a digest cannot be shown to anybody")]
    OnlyADigest(String),
    /// It is no SHA-256.
    #[error("{0}: sha256 must be 64 hexadecimal digits")]
    NoDigest(String),
    /// It stands for a stored secret, and none begins like that.
    #[error("{0} stands for a stored secret that is not there: write the secret itself")]
    NotStored(String),
}

impl SecretError {
    /// The place of the secret: entry and field, as `app.meta-main/app_secret`.
    pub fn place(&self) -> &str {
        match self {
            Self::NoMasterKey(place)
            | Self::SealedWithoutKey(place)
            | Self::NoVariable { place, .. }
            | Self::NoFile { place, .. }
            | Self::NotOurs(place)
            | Self::Empty(place)
            | Self::OnlyADigest(place)
            | Self::NoDigest(place)
            | Self::NotStored(place) => place,
        }
    }

    /// The field.
    pub fn field(&self) -> Option<&str> {
        Some(self.place().split_once('/')?.1)
    }
}

/// Seals and opens literal secrets. While one master key replaces another it opens with either, and seals with the new.
pub struct MasterKey {
    current: RandomizedNonceKey,
    previous: Option<RandomizedNonceKey>,
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

/// Which of the keys opened something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SealedWith {
    Current,
    Previous,
}

impl MasterKey {
    /// Derives the key from the configured text.
    pub fn new(text: &SecretString) -> Self {
        Self { current: derive(text), previous: None }
    }

    /// The same with the key before it, which opens and seals nothing.
    #[must_use]
    pub fn with_previous(self, text: &SecretString) -> Self {
        Self { previous: Some(derive(text)), ..self }
    }

    /// Whether there is a key before the current one.
    pub fn has_previous(&self) -> bool {
        self.previous.is_some()
    }

    fn seal(&self, place: &str, literal: &str) -> String {
        let mut bytes = literal.as_bytes().to_vec();
        let nonce = self
            .current
            .seal_in_place_append_tag(Aad::from(place), &mut bytes)
            .expect("a secret is far below the cipher's limit");
        let mut sealed = nonce.as_ref().to_vec();
        sealed.append(&mut bytes);
        BASE64.encode(sealed)
    }

    fn open(&self, place: &str, sealed: &str) -> Option<(String, SealedWith)> {
        let bytes = BASE64.decode(sealed).ok()?;
        let with = |key: &RandomizedNonceKey| open(key, place, &bytes);
        let current = with(&self.current).map(|text| (text, SealedWith::Current));
        current.or_else(|| {
            let text = self.previous.as_ref().and_then(with)?;
            Some((text, SealedWith::Previous))
        })
    }
}

fn derive(text: &SecretString) -> RandomizedNonceKey {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"staffetta master key v1");
    let mut key = [0; 32];
    let derived = salt.extract(text.expose_secret().as_bytes());
    derived
        .expand(&[b"registry secrets"], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut key))
        .expect("one block of HKDF is 32 bytes");
    RandomizedNonceKey::new(&AES_256_GCM, &key).expect("the key has the cipher's length")
}

fn open(key: &RandomizedNonceKey, place: &str, bytes: &[u8]) -> Option<String> {
    let (nonce, rest) = bytes.split_at_checked(NONCE_LEN)?;
    let mut rest = rest.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let opened = key.open_in_place(nonce, Aad::from(place), &mut rest).ok()?;
    String::from_utf8(opened.to_vec()).ok()
}

impl Secret {
    /// The secret itself, as a file holds it.
    pub(crate) fn literal(text: &str) -> Self {
        Self::Literal(SecretLiteral(text.to_owned()))
    }

    /// The secret in a form that may be stored: a literal sealed for `place` (entry and field), a sealed one as it is
    /// or, if the key before the current one sealed it, sealed anew.
    ///
    /// # Errors
    /// If it has to be sealed or opened and that can't be, if it is empty, or if it is none that could ever be used.
    pub fn for_storage(&self, place: &str, master: Option<&MasterKey>) -> Result<Self, SecretError> {
        match self {
            Self::Literal(SecretLiteral(text)) if text.is_empty() => Err(SecretError::Empty(place.into())),
            Self::Literal(SecretLiteral(text)) => {
                let master = master.ok_or_else(|| SecretError::NoMasterKey(place.into()))?;
                Ok(Self::Sealed { sealed: master.seal(place, text) })
            }
            Self::Sealed { .. } => Ok(self.sealed_anew(place, master)?.unwrap_or_else(|| self.clone())),
            Self::Env { .. } | Self::File { .. } => Ok(self.clone()),
            Self::Digest { .. } => Err(SecretError::OnlyADigest(place.into())),
            Self::Marker(_) => Err(SecretError::NotStored(place.into())),
        }
    }

    /// The secret sealed with the current key, if the one before it sealed it.
    ///
    /// # Errors
    /// If it is sealed, and neither opens it.
    pub(crate) fn sealed_anew(
        &self,
        place: &str,
        master: Option<&MasterKey>,
    ) -> Result<Option<Self>, SecretError> {
        let Self::Sealed { sealed } = self else { return Ok(None) };
        let master = master.ok_or_else(|| SecretError::SealedWithoutKey(place.into()))?;
        match master.open(place, sealed).ok_or_else(|| SecretError::NotOurs(place.into()))? {
            (_, SealedWith::Current) => Ok(None),
            (text, SealedWith::Previous) => Ok(Some(Self::Sealed { sealed: master.seal(place, &text) })),
        }
    }

    /// An API key in the form that is stored: a literal as its digest, the rest as it is.
    ///
    /// # Errors
    /// If it is empty, or if it is none that could ever be known.
    pub fn as_digest(&self, place: &str, master: Option<&MasterKey>) -> Result<Self, SecretError> {
        match self {
            Self::Literal(SecretLiteral(text)) if text.is_empty() => Err(SecretError::Empty(place.into())),
            Self::Literal(SecretLiteral(text)) => Ok(Self::Digest { sha256: key_digest(text) }),
            Self::Digest { sha256 } => {
                let sha256 = sha256.to_ascii_lowercase();
                match hex::decode(&sha256) {
                    Ok(bytes) if bytes.len() == 32 => Ok(Self::Digest { sha256 }),
                    _ => Err(SecretError::NoDigest(place.into())),
                }
            }
            // It was sealed by somebody's hand; nothing but its digest is needed.
            Self::Sealed { .. } => Ok(Self::Digest { sha256: self.digest(place, master)? }),
            Self::Env { .. } | Self::File { .. } => Ok(self.clone()),
            Self::Marker(_) => Err(SecretError::NotStored(place.into())),
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
            Self::Sealed { sealed } => {
                let master = master.ok_or_else(|| SecretError::SealedWithoutKey(place.into()))?;
                master.open(place, sealed).ok_or_else(|| SecretError::NotOurs(place.into()))?.0
            }
            Self::Digest { .. } => return Err(SecretError::OnlyADigest(place.into())),
            Self::Marker(_) => return Err(SecretError::NotStored(place.into())),
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

    fn text(text: &str) -> SecretString {
        text.to_owned().into()
    }

    fn key(of: &str) -> MasterKey {
        MasterKey::new(&text(of))
    }

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
    fn while_one_key_replaces_another_either_opens_and_the_new_one_seals() {
        let (old, new) = (key("the master key of last year"), key("the master key of this year"));
        let ring = key("the master key of this year").with_previous(&text("the master key of last year"));
        let place = "app.a/app_secret";
        let before = literal("s3cret").for_storage(place, Some(&old)).unwrap();
        assert_eq!(before.resolve(place, Some(&ring)).unwrap().expose_secret(), "s3cret");
        assert!(before.resolve(place, Some(&new)).is_err());
        let after = before.sealed_anew(place, Some(&ring)).unwrap().unwrap();
        assert_eq!(after.resolve(place, Some(&new)).unwrap().expose_secret(), "s3cret");
        assert!(after.resolve(place, Some(&old)).is_err());
        assert!(after.sealed_anew(place, Some(&ring)).unwrap().is_none(), "it is done");
        let fresh = literal("other").for_storage(place, Some(&ring)).unwrap();
        assert!(fresh.resolve(place, Some(&new)).is_ok());
    }

    #[test]
    fn what_could_never_be_used_is_refused() {
        let master = key("one master key of ours");
        let digest = Secret::Digest { sha256: key_digest("k") };
        assert!(digest.for_storage("app.a/app_secret", Some(&master)).is_err());
        assert!(digest.as_digest("tenant.a/api_keys", None).is_ok());
        assert!(Secret::Digest { sha256: "ab".into() }.as_digest("tenant.a/api_keys", None).is_err());
        let elsewhere = literal("s").for_storage("app.b/app_secret", Some(&master)).unwrap();
        assert!(elsewhere.for_storage("app.a/app_secret", Some(&master)).is_err());
    }

    #[test]
    fn a_literal_is_never_stored_as_it_is() {
        assert!(literal("x").for_storage("app.a/app_secret", None).is_err());
        assert!(matches!(literal("x").as_digest("tenant.a/api_keys", None), Ok(Secret::Digest { .. })));
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
