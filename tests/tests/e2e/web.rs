//! Requests to the API with any key, from any address of this machine.

use std::net::{IpAddr, Ipv4Addr};

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use staffetta_tests::{ANSWER, Installation};

/// Who asks.
#[derive(Debug)]
pub(crate) struct Web {
    base: String,
    http: Client,
}

/// What a request was answered, as far as it may tell anything.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) challenge: Option<String>,
    pub(crate) body: String,
}

impl Told {
    /// The body as JSON; null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

impl Web {
    pub(crate) fn new(staffetta: &Installation) -> Self {
        Self::seen_from(staffetta, 0)
    }

    /// One whose requests come from an address of its own: who shows no key is counted by that.
    pub(crate) fn seen_from(staffetta: &Installation, address: usize) -> Self {
        let low = u8::try_from(address + 1).unwrap();
        let http = Client::builder()
            .no_proxy()
            .timeout(ANSWER)
            .local_address(IpAddr::V4(Ipv4Addr::new(127, 0, 2, low)));
        Self { base: staffetta.api_url(), http: http.build().unwrap() }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, key: &str, path: &str) -> Told {
        told(self.request(Method::GET, path).bearer_auth(key)).await
    }

    pub(crate) async fn ask(&self, key: &str, method: Method, path: &str, body: &Value) -> Told {
        told(self.request(method, path).bearer_auth(key).body(body.to_string())).await
    }
}

/// Sends it.
pub(crate) async fn told(request: RequestBuilder) -> Told {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let challenge = answer.headers().get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
    let mut body = String::from_utf8_lossy(&answer.bytes().await.unwrap()).into_owned();
    // Meta's errors have a number of their own each time.
    if let Some((before, rest)) = body.split_once(r#""fbtrace_id":""#) {
        body = format!(r#"{before}"fbtrace_id":"{}"#, rest.split_at(rest.find('"').unwrap()).1);
    }
    Told { status, challenge, body }
}
