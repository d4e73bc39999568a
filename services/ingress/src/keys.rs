//! Each app's keys, ready to verify with.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::{constant_time, digest, hmac};
use secrecy::{ExposeSecret, SecretString};
use staffetta_bus::{App, Registry, RegistryView};

/// The keys of every app in the registry as it is now.
#[derive(Debug)]
pub(crate) struct Keys {
    registry: RegistryView,
    current: ArcSwap<Keyring>,
}

/// The keys of one state of the registry.
#[derive(Debug)]
struct Keyring {
    registry: Arc<Registry>,
    apps: HashMap<String, Arc<AppKeys>>,
}

/// One app's keys.
pub(crate) struct AppKeys {
    pub(crate) id: Arc<str>,
    secrets: Vec<hmac::Key>,
    verify_token: Option<digest::Digest>,
}

impl fmt::Debug for AppKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppKeys").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The signature that a webhook shows: `sha256=` and 64 hex digits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signature([u8; 32]);

impl Signature {
    /// Reads the header's value; `None` if it is not of that form.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(value.strip_prefix(b"sha256=")?, &mut bytes).ok()?;
        Some(Self(bytes))
    }
}

impl Keys {
    pub(crate) fn new(registry: RegistryView) -> Self {
        let current = ArcSwap::from_pointee(Keyring::of(registry.load()));
        Self { registry, current }
    }

    /// The keys of the app of that id, as the registry has them at this moment.
    pub(crate) fn of(&self, app: &str) -> Option<Arc<AppKeys>> {
        let registry = self.registry.load();
        let current = self.current.load();
        if Arc::ptr_eq(&current.registry, &registry) {
            return current.apps.get(app).cloned();
        }
        // Several requests may find the change at once; each makes the same keyring, and one of them stays.
        let fresh = Arc::new(Keyring::of(registry));
        let found = fresh.apps.get(app).cloned();
        self.current.store(fresh);
        found
    }
}

impl Keyring {
    fn of(registry: Arc<Registry>) -> Self {
        let apps = registry.apps().map(|app| (app.id.to_string(), Arc::new(AppKeys::of(app)))).collect();
        Self { registry, apps }
    }
}

impl AppKeys {
    fn of(app: &App) -> Self {
        Self {
            id: app.id.as_str().into(),
            secrets: app.secrets.iter().map(hmac_key).collect(),
            verify_token: app.verify_token.as_ref().map(|token| digest_of(token.expose_secret())),
        }
    }

    /// Whether there is anything to verify a webhook with.
    pub(crate) fn can_verify(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// Whether one of the app's secrets signed `body`.
    pub(crate) fn signed(&self, body: &[u8], signature: Signature) -> bool {
        self.secrets.iter().any(|key| hmac::verify(key, body, &signature.0).is_ok())
    }

    /// Whether `token` is the app's verify token; `None` if it has none. Digests are compared, so that the time says
    /// nothing of the token, not even its length.
    pub(crate) fn is_verify_token(&self, token: &str) -> Option<bool> {
        let expected = self.verify_token.as_ref()?;
        Some(constant_time::verify_slices_are_equal(expected.as_ref(), digest_of(token).as_ref()).is_ok())
    }
}

fn hmac_key(secret: &SecretString) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes())
}

fn digest_of(token: &str) -> digest::Digest {
    digest::digest(&digest::SHA256, token.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(secrets: &[&str]) -> AppKeys {
        let secrets: Vec<SecretString> = secrets.iter().map(|secret| (*secret).to_owned().into()).collect();
        AppKeys {
            id: "a".into(),
            secrets: secrets.iter().map(hmac_key).collect(),
            verify_token: Some(digest_of("token")),
        }
    }

    fn signature(hex: &str) -> Signature {
        Signature::parse(format!("sha256={hex}").as_bytes()).unwrap()
    }

    /// The provider signs the bytes that it sends, escapes and all.
    #[test]
    fn the_raw_bytes_are_what_is_signed() {
        let keys = app(&["0123456789abcdef0123456789abcdef"]);
        for (body, hex) in [
            (
                r#"{"object":"whatsapp_business_account","entry":[]}"#,
                "eefab58106e73358686845848feb95c56372e7391b3dc050b6a31c8c5f347ece",
            ),
            (
                r#"{"text":{"body":"Ol\u00e1 \ud83d\ude2e a\/b"}}"#,
                "2dbdf9e67ae5a028562204228f9ce471450c738c2549771808bd7780facd7403",
            ),
            (
                r#"{"text":{"body":"Olá 😮 a/b"}}"#,
                "c766e129bb5849800f8e96f7429b5905bae5e6dedf2e014384d19d20fde505db",
            ),
        ] {
            assert!(keys.signed(body.as_bytes(), signature(hex)), "{body}");
            assert!(!keys.signed(format!("{body} ").as_bytes(), signature(hex)), "{body}");
        }
    }

    #[test]
    fn a_signature_has_one_form() {
        let hex = "eefab58106e73358686845848feb95c56372e7391b3dc050b6a31c8c5f347ece";
        assert!(Signature::parse(format!("sha256={hex}").as_bytes()).is_some());
        for wrong in [
            String::new(),
            "sha256=".into(),
            hex.into(),
            format!("sha1={hex}"),
            format!("sha256={hex}00"),
            format!("sha256={}", &hex[1..]),
            format!("sha256= {}", &hex[1..]),
            format!("sha256={}", "z".repeat(64)),
        ] {
            assert!(Signature::parse(wrong.as_bytes()).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn either_secret_verifies_during_a_rotation() {
        let body = b"{}";
        let old = hmac::sign(&hmac_key(&"old".to_owned().into()), body);
        let signature = Signature(old.as_ref().try_into().unwrap());
        assert!(app(&["new", "old"]).signed(body, signature));
        assert!(!app(&["new"]).signed(body, signature));
        assert!(!app(&[]).signed(body, signature));
    }

    #[test]
    fn only_the_whole_verify_token_is_the_verify_token() {
        let keys = app(&[]);
        assert_eq!(keys.is_verify_token("token"), Some(true));
        for wrong in ["", "toke", "token ", "Token"] {
            assert_eq!(keys.is_verify_token(wrong), Some(false), "{wrong:?}");
        }
    }
}
