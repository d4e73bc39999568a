//! Signatures of webhooks, made into proofs by those who get them.

use anyhow::{Context, ensure};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::hook::HookPost;

/// A secret of an endpoint, and how its tenant checks with it.
#[derive(Debug)]
pub enum SigningKey {
    /// Both sides have the same key.
    Shared(Vec<u8>),
    /// The tenant has the public half; this is the seed of the other.
    Ed25519([u8; 32]),
}

impl SigningKey {
    /// The secret as the registry takes it.
    #[must_use]
    pub fn secret(&self) -> String {
        match self {
            Self::Shared(key) => format!("whsec_{}", STANDARD.encode(key)),
            Self::Ed25519(seed) => format!("whsk_{}", STANDARD.encode(seed)),
        }
    }

    /// Checks the signature that Standard Webhooks describes, over the body as it came.
    ///
    /// # Errors
    /// When a header is missing, or none of the signatures is this key's.
    pub fn check(&self, post: &HookPost) -> anyhow::Result<()> {
        let header = |name: &str| -> anyhow::Result<&str> {
            Ok(post.headers.get(name).with_context(|| format!("no header {name}"))?.to_str()?)
        };
        let (id, time) = (header("webhook-id")?, header("webhook-timestamp")?);
        let signed = format!("{id}.{time}.{}", post.body);
        let ours = |signature: &str| match (self, signature.split_once(',')) {
            (Self::Shared(key), Some(("v1", value))) => STANDARD.decode(value).is_ok_and(|tag| {
                let key = hmac::Key::new(hmac::HMAC_SHA256, key);
                hmac::verify(&key, signed.as_bytes(), &tag).is_ok()
            }),
            (Self::Ed25519(seed), Some(("v1a", value))) => STANDARD.decode(value).is_ok_and(|tag| {
                let pair = Ed25519KeyPair::from_seed_unchecked(seed);
                pair.is_ok_and(|pair| {
                    let public = UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref());
                    public.verify(signed.as_bytes(), &tag).is_ok()
                })
            }),
            _ => false,
        };
        ensure!(header("webhook-signature")?.split(' ').any(ours), "no signature is of this key");
        Ok(())
    }
}
