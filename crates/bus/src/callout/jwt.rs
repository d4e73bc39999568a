//! NATS' own JSON Web Tokens: signed by Ed25519 keys that name themselves.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use nkeys::KeyPair;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Every token of NATS begins with this.
const HEADER: &str = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;

/// A token that is none, or whose signature is not its issuer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct InvalidToken(&'static str);

/// The claims as a token, signed by `key`.
pub(super) fn signed(claims: &impl Serialize, key: &KeyPair) -> Result<String, nkeys::error::Error> {
    let claims = serde_json::to_string(claims).unwrap_or_default();
    let text = format!("{}.{}", BASE64.encode(HEADER), BASE64.encode(claims));
    let signature = key.sign(text.as_bytes())?;
    Ok(format!("{text}.{}", BASE64.encode(signature)))
}

/// The claims of a token that its issuer signed. `issuers` begin with this letter: `N` are servers.
pub(super) fn verified<T: DeserializeOwned>(token: &[u8], issuers: char) -> Result<T, InvalidToken> {
    let token = str::from_utf8(token).map_err(|_| InvalidToken("is not a text"))?;
    let (text, signature) = token.rsplit_once('.').ok_or(InvalidToken("has no signature"))?;
    let (header, claims) = text.split_once('.').ok_or(InvalidToken("has no claims"))?;
    let part = |part: &str| BASE64.decode(part).map_err(|_| InvalidToken("is not base64"));
    let header: Value = serde_json::from_slice(&part(header)?).map_err(|_| InvalidToken("has no header"))?;
    if header["alg"] != "ed25519-nkey" {
        return Err(InvalidToken("is signed in another way"));
    }
    let claims = part(claims)?;
    let value: Value = serde_json::from_slice(&claims).map_err(|_| InvalidToken("has no claims"))?;
    let issuer = value["iss"].as_str().filter(|issuer| issuer.starts_with(issuers));
    let issuer = issuer.ok_or(InvalidToken("is not issued by a server"))?;
    let key = KeyPair::from_public_key(issuer).map_err(|_| InvalidToken("names no issuer"))?;
    key.verify(text.as_bytes(), &part(signature)?)
        .map_err(|_| InvalidToken("is not signed by its issuer"))?;
    serde_json::from_value(value).map_err(|_| InvalidToken("has other claims"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_a_changed_one_is_not() {
        let server = KeyPair::new_server();
        let claims = serde_json::json!({ "iss": server.public_key(), "sub": "U" });
        let token = signed(&claims, &server).unwrap();
        assert_eq!(verified::<Value>(token.as_bytes(), 'N').unwrap(), claims);
        let (text, signature) = token.rsplit_once('.').unwrap();
        let other = serde_json::json!({ "iss": server.public_key(), "sub": "V" });
        let forged =
            format!("{}.{}.{signature}", text.split_once('.').unwrap().0, BASE64.encode(other.to_string()));
        assert!(verified::<Value>(forged.as_bytes(), 'N').is_err());
        let account = KeyPair::new_account();
        let claims = serde_json::json!({ "iss": account.public_key() });
        assert!(verified::<Value>(signed(&claims, &account).unwrap().as_bytes(), 'N').is_err());
        for broken in ["", "a", "a.b", "a.b.c", "....", "é.é.é"] {
            assert!(verified::<Value>(broken.as_bytes(), 'N').is_err(), "{broken}");
        }
    }
}
