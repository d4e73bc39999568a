//! Meta's side of the webhooks: bodies, signed.

use anyhow::Context;
use aws_lc_rs::hmac;
use reqwest::StatusCode;
use serde_json::{Value, json};
use staffetta_testkit::until;

use crate::registry::{APP, Number, RegistryText, WABA};
use crate::{LIMIT, free_port};

/// Posts webhooks to ingress.
#[derive(Clone, Debug)]
pub struct Meta {
    address: String,
    http: reqwest::Client,
}

impl Meta {
    pub(crate) fn new(http: reqwest::Client) -> anyhow::Result<Self> {
        Ok(Self { address: format!("127.0.0.1:{}", free_port()?), http })
    }

    /// Where ingress is to listen.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn url(&self, app: &str) -> String {
        format!("http://{}/webhooks/meta/{app}", self.address)
    }

    /// Posts a body for the app [`APP`], rightly signed.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(&self, body: &Value) -> anyhow::Result<StatusCode> {
        self.post_text(APP, body.to_string()).await
    }

    /// Posts these bytes for any app, rightly signed.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post_text(&self, app: &str, body: String) -> anyhow::Result<StatusCode> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, RegistryText::app_secret(app).as_bytes());
        let signature = format!("sha256={}", hex::encode(hmac::sign(&key, body.as_bytes())));
        let request = self.http.post(self.url(app)).header("X-Hub-Signature-256", signature).body(body);
        let answer = request.send().await.context("a webhook got no answer")?;
        Ok(answer.status())
    }

    /// Posts a body until it is answered with 200, as Meta does.
    ///
    /// # Errors
    /// When that does not come.
    pub async fn deliver(&self, body: &Value) -> anyhow::Result<()> {
        self.deliver_through(APP, body).await
    }

    /// Posts a body for any app until it is answered with 200.
    ///
    /// # Errors
    /// When that does not come.
    pub async fn deliver_through(&self, app: &str, body: &Value) -> anyhow::Result<()> {
        let text = body.to_string();
        let answered = until("a webhook to be taken", LIMIT, async || {
            let answer = self.post_text(app, text.clone()).await;
            answer.is_ok_and(|status| status == StatusCode::OK).then_some(())
        });
        answered.await
    }
}

/// A webhook's body about one number: messages of users, statuses of messages to them.
#[must_use]
pub fn webhook(number: Number, messages: &[Value], statuses: &[Value]) -> Value {
    let mut value = json!({});
    if !messages.is_empty() {
        value["contacts"] = json!([{ "profile": { "name": "Anna" }, "wa_id": "393481213456" }]);
        value["messages"] = messages.into();
    }
    if !statuses.is_empty() {
        value["statuses"] = statuses.into();
    }
    body(&[entry(&[change(number, "messages", value)])])
}

/// A change of a webhook field about one number. `value` has what the field holds; the number is added.
#[must_use]
pub fn change(number: Number, field: &str, mut value: Value) -> Value {
    value["messaging_product"] = "whatsapp".into();
    value["metadata"] =
        json!({ "display_phone_number": number.display, "phone_number_id": number.phone_number_id });
    json!({ "field": field, "value": value })
}

/// An entry of the account that all numbers of these tests are in.
#[must_use]
pub fn entry(changes: &[Value]) -> Value {
    json!({ "id": WABA, "time": 1_790_000_000, "changes": changes })
}

/// A webhook's body.
#[must_use]
pub fn body(entries: &[Value]) -> Value {
    json!({ "object": "whatsapp_business_account", "entry": entries })
}

/// A text message of a user.
#[must_use]
pub fn message(wamid: &str) -> Value {
    json!({ "from": "393481213456", "id": wamid, "timestamp": "1795257000", "type": "text",
            "text": { "body": format!("ciao da {wamid}") } })
}

/// A status of a message to a user.
#[must_use]
pub fn status(wamid: &str, status: &str) -> Value {
    let mut status =
        json!({ "id": wamid, "status": status, "timestamp": "1795257000", "recipient_id": "393481213456" });
    if status["status"] == "failed" {
        status["errors"] = json!([{ "code": 131_026, "title": "Message undeliverable" }]);
    }
    status
}
