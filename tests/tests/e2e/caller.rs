//! A tenant's HTTP client, with the methods that take something back.

use reqwest::{Method, StatusCode};
use serde_json::Value;
use staffetta_testkit::until;
use staffetta_tests::{ANSWER, LIMIT, Number, free_port};

/// The tenant of a number, and where the API listens for it.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    number: Number,
    address: String,
    http: reqwest::Client,
}

impl Caller {
    /// Nobody listens there yet: whoever runs the API is told by [`setting`](Self::setting).
    pub(crate) fn new(number: Number) -> Self {
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER).build().unwrap();
        Self { number, address, http }
    }

    /// Lets the API listen there.
    pub(crate) fn setting(&self) -> (&'static str, String) {
        ("STAFFETTA__API__LISTEN", self.address.clone())
    }

    /// `POST /v1/messages`.
    pub(crate) async fn post(&self, command: &Value) -> (u16, Value) {
        let mut body = command.clone();
        body["channel"] = self.number.channel.into();
        self.ask(Method::POST, "/v1/messages", Some(body)).await
    }

    /// `GET /v1/messages/{id}`.
    pub(crate) async fn get(&self, id: &str) -> (u16, Value) {
        self.ask(Method::GET, &format!("/v1/messages/{id}"), None).await
    }

    /// `DELETE /v1/messages/{id}`.
    pub(crate) async fn take_back(&self, id: &str) -> (u16, Value) {
        self.ask(Method::DELETE, &format!("/v1/messages/{id}"), None).await
    }

    /// Waits until the API says that the message is in this state.
    pub(crate) async fn until_state(&self, id: &str, state: &str) {
        let what = format!("{id} to be {state}");
        let reached = async || (self.get(id).await.1["state"] == state).then_some(());
        until(&what, LIMIT, reached).await.unwrap();
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let key = format!("the-key-of-{}", self.number.tenant);
        let mut request =
            self.http.request(method, format!("http://{}{path}", self.address)).bearer_auth(key);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let status: StatusCode = answer.status();
        (status.as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }
}
