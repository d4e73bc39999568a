//! The world around Staffetta: Acme's ERP, and Meta. It knows the contract and nothing else.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use async_nats::{HeaderMap, Subscriber, jetstream};
use aws_lc_rs::hmac;
use futures_util::StreamExt;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::sample::{CHANNEL, PHONE_NUMBER_ID, Sample, TENANT};

/// Longest wait for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Longest time from `apply` until every service has heard of it.
const FOLLOW_LIMIT: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(20);

/// Where Acme's commands of middling urgency go.
pub(super) const SEND_SUBJECT: &str = "staffetta.v1.send.acme.acme-orders.normal";

/// A client for loopback, whatever proxy the environment names.
pub(super) fn http_client() -> anyhow::Result<reqwest::Client> {
    let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_LIMIT).build();
    client.context("the HTTP client can't be made")
}

/// An event as a tenant reads it.
#[derive(Debug)]
pub(super) struct Event {
    /// When it was here.
    pub(super) at: Instant,
    pub(super) kind: String,
    pub(super) subject: String,
    pub(super) data: Value,
}

impl Event {
    /// A text field of its data; empty when missing.
    pub(super) fn text(&self, field: &str) -> &str {
        self.data[field].as_str().unwrap_or_default()
    }
}

/// Acme's events, as they come.
#[derive(Debug)]
pub(super) struct Events(Subscriber);

impl Events {
    /// The next one. Fails when it is none, or when the connection is closed for good.
    pub(super) async fn next(&mut self) -> anyhow::Result<Event> {
        let message = self.0.next().await.context("the subscription to Acme's events has ended")?;
        let at = Instant::now();
        let mut event: Value = serde_json::from_slice(&message.payload)
            .with_context(|| format!("what came on {} is not JSON", message.subject))?;
        let text = |name: &str| event[name].as_str().map(str::to_owned);
        let (Some(kind), Some(subject)) = (text("type"), text("subject")) else {
            bail!("what came on {} is no event", message.subject);
        };
        Ok(Event { at, kind, subject, data: event["data"].take() })
    }
}

/// Acme and Meta, connected.
pub(super) struct Outside<'a> {
    pub(super) sample: &'a Sample,
    http: reqwest::Client,
    jetstream: jetstream::Context,
}

impl<'a> Outside<'a> {
    /// Connects to NATS and listens to Acme's events.
    pub(super) async fn connect(sample: &'a Sample, http: reqwest::Client) -> anyhow::Result<(Self, Events)> {
        let connecting = async_nats::ConnectOptions::new().name("staffetta demo").connect(sample.nats());
        let nats = timeout(ANSWER_LIMIT, connecting).await.context("NATS does not answer")??;
        let events = nats.subscribe(format!("staffetta.v1.event.{TENANT}.>")).await?;
        timeout(ANSWER_LIMIT, nats.flush()).await.context("NATS does not answer")??;
        let jetstream = jetstream::ContextBuilder::new().ack_timeout(ANSWER_LIMIT).build(nats);
        Ok((Self { sample, http, jetstream }, Events(events)))
    }

    /// Registers the number at the simulator, whose users take a moment to read.
    pub(super) async fn prepare_simulator(&self) -> anyhow::Result<()> {
        let delays = json!({"sent_ms": 40, "delivered_ms": 250, "read_ms": 900});
        self.put(&format!("/_sim/channels/{PHONE_NUMBER_ID}"), &self.sample.simulated_number()).await?;
        self.put("/_sim/behaviour", &json!({ "delays": delays })).await
    }

    /// Users write from here on, this many messages a second.
    pub(super) async fn users_write(&self, per_second: u32) -> anyhow::Result<()> {
        let rate = json!({"per_second": per_second, "users": 20});
        self.put(&format!("/_sim/inbound/{PHONE_NUMBER_ID}"), &rate).await
    }

    async fn put(&self, path: &str, body: &Value) -> anyhow::Result<()> {
        let answer = self.http.put(format!("{}{path}", self.sample.simulator())).json(body).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "the simulator refuses {path} with {status}: {}", answer.text().await?);
        Ok(())
    }

    /// Asks as Meta does before it posts to an address, until ingress knows the app; and as Acme does, until the API
    /// knows the key.
    pub(super) async fn until_known(&self) -> anyhow::Result<()> {
        let verify = [
            ("hub.mode", "subscribe"),
            ("hub.verify_token", &self.sample.verify_token),
            ("hub.challenge", "1158201444"),
        ];
        let webhook = self.http.get(self.sample.webhook()).query(&verify);
        self.until_ok("ingress does not know the app", webhook).await?;
        let channels =
            self.http.get(format!("{}/v1/channels", self.sample.api())).bearer_auth(&self.sample.api_key);
        self.until_ok("the API does not know the key", channels).await
    }

    async fn until_ok(
        &self,
        otherwise: &'static str,
        request: reqwest::RequestBuilder,
    ) -> anyhow::Result<()> {
        let asking = async {
            loop {
                let request = request.try_clone().context("a request without a body can be repeated")?;
                if request.send().await?.status() == StatusCode::OK {
                    return anyhow::Ok(());
                }
                sleep(PAUSE).await;
            }
        };
        timeout(FOLLOW_LIMIT, asking).await.context(otherwise)?
    }

    /// Posts a webhook, signed with the app's secret, and gives back the answer's status.
    pub(super) async fn post_webhook(&self, body: String) -> anyhow::Result<StatusCode> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.sample.app_secret.as_bytes());
        let signature = format!("sha256={}", hex::encode(hmac::sign(&key, body.as_bytes())));
        let request = self
            .http
            .post(self.sample.webhook())
            .header("Content-Type", "application/json")
            .header("X-Hub-Signature-256", signature)
            .body(body);
        Ok(request.send().await?.status())
    }

    /// Publishes a command. What comes back resolves to its place in the stream once that has it on disk.
    pub(super) async fn publish(
        &self,
        id: &str,
        command: &Value,
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<u64>> + use<>> {
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", "application/json");
        headers.insert("Nats-Msg-Id", id);
        let publishing =
            self.jetstream.publish_with_headers(SEND_SUBJECT, headers, command.to_string().into());
        let stored = timeout(ANSWER_LIMIT, publishing).await.context("NATS takes nothing")??;
        Ok(async move { Ok(stored.await?.sequence) })
    }

    /// Posts a command to the API; gives back status and answer.
    pub(super) async fn post_message(&self, command: &Value) -> anyhow::Result<(StatusCode, Value)> {
        let mut command = command.clone();
        command["channel"] = CHANNEL.into();
        let url = format!("{}/v1/messages", self.sample.api());
        let answer = self.http.post(url).bearer_auth(&self.sample.api_key).json(&command).send().await?;
        Ok((answer.status(), answer.json().await?))
    }

    /// The state of a message, as the API tells it.
    pub(super) async fn state(&self, id: &str) -> anyhow::Result<String> {
        let url = format!("{}/v1/messages/{id}", self.sample.api());
        let answer = self.http.get(url).bearer_auth(&self.sample.api_key).send().await?.error_for_status()?;
        let message: Value = answer.json().await?;
        Ok(message["state"].as_str().unwrap_or_default().to_owned())
    }
}

/// A command that sends a text.
pub(super) fn text_command(id: &str, to: &str, text: &str) -> Value {
    json!({"id": id, "to": to, "type": "text", "text": {"body": text}})
}
