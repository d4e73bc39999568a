//! Webhooks of an exact size, signed before anything is measured.

use std::net::SocketAddr;

use anyhow::ensure;
use aws_lc_rs::hmac;
use bytes::Bytes;

/// The app that they are for.
pub(super) const APP: &str = "bench";

/// What signs them.
pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// So many different ones take turns.
const DIFFERENT: usize = 64;

/// The same webhooks, as bodies and as whole requests.
#[derive(Debug)]
pub(super) struct Payloads {
    bodies: Vec<Bytes>,
    requests: Vec<Bytes>,
}

impl Payloads {
    /// Fails when a webhook of Meta's form can't be that small.
    pub(super) fn of(size: usize, ingress: SocketAddr) -> anyhow::Result<Self> {
        let bodies: Vec<Bytes> = (0..DIFFERENT).map(|n| body(n, size)).collect::<anyhow::Result<_>>()?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let requests = bodies.iter().map(|body| request(body, ingress, &key)).collect();
        Ok(Self { bodies, requests })
    }

    /// The body of the `n`th, round and round.
    pub(super) fn body(&self, n: usize) -> &Bytes {
        &self.bodies[n % self.bodies.len()]
    }

    /// The whole request of the `n`th, round and round.
    pub(super) fn request(&self, n: usize) -> &Bytes {
        &self.requests[n % self.requests.len()]
    }
}

/// A user's text message, as long as it has to be.
fn body(n: usize, size: usize) -> anyhow::Result<Bytes> {
    let before = format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"102290129340398","changes":[{{"value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"390600000000","phone_number_id":"106540352242922"}},"contacts":[{{"profile":{{"name":"Giulia Bianchi"}},"wa_id":"3934812{n:05}"}}],"messages":[{{"from":"3934812{n:05}","id":"wamid.HBgLMzkzNDgxMjM0NTYVAgASGBQzQTdDMEY5RkQ3{n:05}","timestamp":"1763712000","text":{{"body":""#
    );
    let after = r#""},"type":"text"}]},"field":"messages"}]}]}"#;
    let least = before.len() + after.len();
    ensure!(size > least, "a webhook has at least {} bytes", least + 1);
    Ok(format!("{before}{}{after}", "x".repeat(size - least)).into())
}

fn request(body: &[u8], ingress: SocketAddr, key: &hmac::Key) -> Bytes {
    let signature = hex::encode(hmac::sign(key, body));
    let head = format!(
        "POST /webhooks/meta/{APP} HTTP/1.1\r\nHost: {ingress}\r\nContent-Type: application/json\r\n\
         X-Hub-Signature-256: sha256={signature}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_of_the_size_asked_for() {
        for size in [700, 2048] {
            let payloads = Payloads::of(size, SocketAddr::from(([127, 0, 0, 1], 1))).unwrap();
            for n in 0..DIFFERENT {
                assert_eq!(payloads.body(n).len(), size);
                serde_json::from_slice::<serde_json::Value>(payloads.body(n)).unwrap();
                assert!(payloads.request(n).ends_with(payloads.body(n)));
            }
        }
        assert!(Payloads::of(100, SocketAddr::from(([127, 0, 0, 1], 1))).is_err());
    }
}
