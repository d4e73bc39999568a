//! A simulator with one number, and a webhook receiver that keeps what it got.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use staffetta_simulator::{Behaviour, Options, SimChannel, Simulator, WebhookTarget, start};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const NUMBER: &str = "106540352242922";
pub(crate) const TOKEN: &str = "token-a";
pub(crate) const USER: &str = "393481213456";
const WAIT: Duration = Duration::from_secs(60);

/// A webhook endpoint. It answers as it was told to, then 200.
#[derive(Debug)]
pub(crate) struct Receiver {
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    posts: watch::Sender<Vec<Post>>,
    answers: Mutex<VecDeque<StatusCode>>,
}

/// One POST as it came.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) body: Bytes,
    pub(crate) signature: String,
}

impl Post {
    /// Whether the signature fits the raw bytes.
    pub(crate) fn verifies(&self) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let tag = hex::decode(self.signature.strip_prefix("sha256=").unwrap()).unwrap();
        hmac::verify(&key, &self.body, &tag).is_ok()
    }

    /// The elements of all lists of this name, in every entry and change.
    pub(crate) fn all(&self, list: &str) -> Vec<Value> {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        let entries = body["entry"].as_array().unwrap().iter();
        let changes = entries.flat_map(|entry| entry["changes"].as_array().unwrap());
        changes.flat_map(|change| change["value"][list].as_array().cloned().unwrap_or_default()).collect()
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let signature = headers["x-hub-signature-256"].to_str().unwrap().to_owned();
    shared.posts.send_modify(|posts| posts.push(Post { body, signature }));
    shared.answers.lock().unwrap().pop_front().unwrap_or(StatusCode::OK)
}

impl Receiver {
    async fn start() -> (Self, SocketAddr) {
        let shared = Arc::new(Shared { posts: watch::Sender::default(), answers: Mutex::default() });
        let router = Router::new().route("/hook", post(take)).with_state(shared.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        (Self { shared, _serving: serving }, address)
    }

    /// The answers to the next POSTs.
    pub(crate) fn answers(&self, answers: impl IntoIterator<Item = StatusCode>) {
        self.shared.answers.lock().unwrap().extend(answers);
    }

    /// Waits until `enough` holds for the POSTs so far, and gives them back.
    pub(crate) async fn until(&self, enough: impl Fn(&[Post]) -> bool) -> Vec<Post> {
        let mut posts = self.shared.posts.subscribe();
        let waited = timeout(WAIT, posts.wait_for(|posts| enough(posts))).await;
        waited.expect("the webhooks came in time").unwrap().clone()
    }

    /// Waits for so many statuses, and gives them back in the order of arrival.
    pub(crate) async fn statuses(&self, count: usize) -> Vec<Value> {
        let all = |posts: &[Post]| posts.iter().flat_map(|post| post.all("statuses")).collect::<Vec<_>>();
        all(&self.until(|posts| all(posts).len() >= count).await)
    }
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) simulator: Simulator,
    pub(crate) receiver: Receiver,
    pub(crate) client: reqwest::Client,
}

pub(crate) fn channel(rate: u32) -> SimChannel {
    SimChannel {
        phone_number_id: NUMBER.to_owned(),
        access_token: TOKEN.to_owned(),
        display_phone_number: "15550783881".to_owned(),
        waba_id: "102290129340398".to_owned(),
        verified_name: "Acme".to_owned(),
        rate: NonZeroU32::new(rate).unwrap(),
        webhook: None,
    }
}

pub(crate) fn text(to: &str, body: &str) -> Value {
    json!({"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": body}})
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(Behaviour::default(), 1_000).await
    }

    pub(crate) async fn with(mut behaviour: Behaviour, rate: u32) -> Self {
        // A webhook that a slow machine answers late would come again, and be counted twice.
        behaviour.retry.timeout_ms = u64::try_from(WAIT.as_millis()).unwrap();
        let (receiver, address) = Receiver::start().await;
        let webhook = WebhookTarget { url: format!("http://{address}/hook"), app_secret: SECRET.to_owned() };
        let options = Options {
            seed: 42,
            webhook: Some(webhook),
            channels: vec![channel(rate)],
            behaviour,
            ..Options::default()
        };
        let simulator = start(options).await.unwrap();
        let client = reqwest::Client::builder().no_proxy().timeout(WAIT).build().unwrap();
        Self { simulator, receiver, client }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.simulator.base_url())
    }

    /// Sends a body from the number; status and JSON of the answer.
    pub(crate) async fn send(&self, body: &Value) -> (u16, Value) {
        let response = self.try_send(body).await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap())
    }

    pub(crate) async fn try_send(&self, body: &Value) -> reqwest::Result<reqwest::Response> {
        let url = self.url(&format!("/v23.0/{NUMBER}/messages"));
        self.client.post(url).bearer_auth(TOKEN).json(body).send().await
    }

    /// A control request; status and JSON of the answer.
    pub(crate) async fn control(&self, method: reqwest::Method, path: &str, body: Value) -> (u16, Value) {
        let response = self.client.request(method, self.url(path)).json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Waits until the report is as wanted.
    pub(crate) async fn until_report(&self, wanted: impl Fn(&staffetta_simulator::Report) -> bool) {
        let seen = async {
            while !wanted(&self.simulator.report(staffetta_simulator::Detail::Figures)) {
                tokio::time::sleep(Duration::from_millis(5)).await; // between looks, not instead of one
            }
        };
        timeout(WAIT, seen).await.expect("the report came to be as wanted in time");
    }
}
