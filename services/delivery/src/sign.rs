//! Signatures by which a tenant knows that a request is ours: Standard Webhooks, and Meta's own.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD as BASE64};
use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// One of the endpoint's secrets is not what it says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("secret: {0}")]
pub(crate) struct SecretProblem(&'static str);

const NO_SYMMETRIC_KEY: SecretProblem = SecretProblem("what follows whsec_ must be a key as base64");
const NO_PRIVATE_KEY: SecretProblem =
    SecretProblem("what follows whsk_ must be an ed25519 private key as base64: 32 or 64 bytes");
const EMPTY: SecretProblem = SecretProblem("is empty");

/// People copy keys with and without the `=` at their end.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One secret's signature as Standard Webhooks writes it, its version first.
fn signature(secret: &SecretString, signed: &[u8]) -> Result<String, SecretProblem> {
    let text = secret.expose_secret();
    if let Some(encoded) = text.strip_prefix("whsec_") {
        let key = LENIENT.decode(encoded).map(Zeroizing::new).map_err(|_| NO_SYMMETRIC_KEY)?;
        return if key.is_empty() { Err(NO_SYMMETRIC_KEY) } else { Ok(symmetric(&key, signed)) };
    }
    if let Some(encoded) = text.strip_prefix("whsk_") {
        let bytes = LENIENT.decode(encoded).map(Zeroizing::new).map_err(|_| NO_PRIVATE_KEY)?;
        let pair = match bytes.split_at_checked(32) {
            Some((seed, [])) => Ed25519KeyPair::from_seed_unchecked(seed),
            Some((seed, public)) => Ed25519KeyPair::from_seed_and_public_key(seed, public),
            None => return Err(NO_PRIVATE_KEY),
        };
        let pair = pair.map_err(|_| NO_PRIVATE_KEY)?;
        return Ok(format!("v1a,{}", BASE64.encode(pair.sign(signed))));
    }
    if text.is_empty() { Err(EMPTY) } else { Ok(symmetric(text.as_bytes(), signed)) }
}

fn symmetric(key: &[u8], signed: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    format!("v1,{}", BASE64.encode(hmac::sign(&key, signed)))
}

/// Adds the headers of Standard Webhooks, with one signature for each secret; without any secret, nothing is signed. The
/// time in them is that of the attempt: a receiver refuses what is old.
///
/// # Errors
/// If one of the secrets can't be read: a tenant that replaces one must not find out when the old one goes.
pub(crate) fn standard_webhooks(
    headers: &mut HeaderMap,
    secrets: &[SecretString],
    id: &str,
    now: Timestamp,
    body: &[u8],
) -> Result<(), SecretProblem> {
    let seconds = now.as_second().to_string();
    if !secrets.is_empty() {
        let signed = [id.as_bytes(), b".", seconds.as_bytes(), b".", body].concat();
        let signatures: Result<Vec<_>, _> = secrets.iter().map(|secret| signature(secret, &signed)).collect();
        headers.insert(HeaderName::from_static("webhook-signature"), plain(&signatures?.join(" ")));
    }
    headers.insert(HeaderName::from_static("webhook-id"), plain(id));
    headers.insert(HeaderName::from_static("webhook-timestamp"), plain(&seconds));
    Ok(())
}

/// Adds Meta's own header. Meta knows one secret an app, whose characters are the key: the first one signs.
pub(crate) fn meta(headers: &mut HeaderMap, secrets: &[SecretString], body: &[u8]) {
    let Some(secret) = secrets.first() else { return };
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
    let signature = format!("sha256={}", hex::encode(hmac::sign(&key, body)));
    headers.insert(HeaderName::from_static("x-hub-signature-256"), plain(&signature));
}

fn plain(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("letters, digits and a few signs fit into a header")
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, KeyPair, UnparsedPublicKey};

    use super::*;

    /// The example of the Standard Webhooks specification.
    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const AT: i64 = 1_649_367_553;
    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;
    const SIGNATURE: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";

    fn signed(secrets: &[&str], id: &str, at: Timestamp, body: &[u8]) -> Result<HeaderMap, SecretProblem> {
        let secrets: Vec<_> = secrets.iter().map(|secret| SecretString::from(*secret)).collect();
        let mut headers = HeaderMap::new();
        standard_webhooks(&mut headers, &secrets, id, at, body).map(|()| headers)
    }

    fn signatures(secrets: &[&str]) -> String {
        let at = Timestamp::from_second(AT).unwrap();
        signed(secrets, ID, at, BODY).unwrap()["webhook-signature"].to_str().unwrap().to_owned()
    }

    #[test]
    fn the_specification_s_example_is_signed_as_it_says() {
        assert_eq!(signatures(&[SECRET]), SIGNATURE);
        let headers = signed(&[SECRET], ID, Timestamp::from_second(AT).unwrap(), BODY).unwrap();
        assert_eq!(headers["webhook-id"], ID);
        assert_eq!(headers["webhook-timestamp"], AT.to_string());
    }

    #[test]
    fn another_library_takes_what_is_signed() {
        for (secret, key) in [
            (SECRET, standardwebhooks::Webhook::new(SECRET).unwrap()),
            ("any words", standardwebhooks::Webhook::from_bytes(b"any words".to_vec()).unwrap()),
        ] {
            for body in [BODY, "{\"text\":\"Olá 😮\"}".as_bytes(), b""] {
                let headers = signed(&["another", secret], "e1", Timestamp::now(), body).unwrap();
                key.verify(body, &headers).unwrap();
            }
        }
    }

    #[test]
    fn while_one_secret_replaces_another_both_sign() {
        let [old, new] = [signatures(&[SECRET]), signatures(&["whsec_MDEyMzQ1Njc4OWFiY2RlZg=="])];
        assert_eq!(signatures(&[SECRET, "whsec_MDEyMzQ1Njc4OWFiY2RlZg"]), format!("{old} {new}"));
    }

    #[test]
    fn an_ed25519_key_signs_with_or_without_its_public_half() {
        // RFC 8032, test 1.
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let public = hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").unwrap();
        let short = format!("whsk_{}", BASE64.encode(&seed));
        let long = format!("whsk_{}", BASE64.encode([&seed[..], &public[..]].concat()));
        let signature = signatures(&[&short]);
        assert_eq!(signatures(&[&long]), signature);
        let raw = BASE64.decode(signature.strip_prefix("v1a,").unwrap()).unwrap();
        let text = [ID.as_bytes(), b".", AT.to_string().as_bytes(), b".", BODY].concat();
        UnparsedPublicKey::new(&ED25519, &public).verify(&text, &raw).unwrap();
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        assert_eq!(pair.public_key().as_ref(), public);
    }

    #[test]
    fn a_secret_that_can_t_be_read_is_named_and_not_shown() {
        for secret in ["whsec_", "whsec_!!geheim!!", "whsk_geheim", "whsk_AAAA", ""] {
            let problem = signed(&[SECRET, secret], ID, Timestamp::now(), BODY).unwrap_err().to_string();
            assert!(problem.starts_with("secret: "), "{problem}");
            assert!(!problem.contains("geheim") && !problem.contains("AAAA"), "{problem}");
        }
    }

    #[test]
    fn without_a_secret_nothing_is_signed() {
        let headers = signed(&[], ID, Timestamp::now(), BODY).unwrap();
        assert!(!headers.contains_key("webhook-signature") && headers.contains_key("webhook-id"));
        let mut headers = HeaderMap::new();
        meta(&mut headers, &[], BODY);
        assert!(headers.is_empty());
    }

    #[test]
    fn meta_s_signature_is_over_the_bytes_that_are_sent() {
        let secret = SecretString::from("0123456789abcdef0123456789abcdef");
        for (body, digest) in [
            (
                r#"{"object":"whatsapp_business_account","entry":[]}"#,
                "eefab58106e73358686845848feb95c56372e7391b3dc050b6a31c8c5f347ece",
            ),
            (
                r#"{"text":{"body":"Ol\u00e1 \ud83d\ude2e a\/b"}}"#,
                "2dbdf9e67ae5a028562204228f9ce471450c738c2549771808bd7780facd7403",
            ),
        ] {
            let mut headers = HeaderMap::new();
            meta(&mut headers, &[secret.clone(), "unused".into()], body.as_bytes());
            assert_eq!(headers["x-hub-signature-256"], format!("sha256={digest}"));
        }
    }
}
