//! A tenant: publishes commands, asks the API.

use anyhow::{Context, ensure};
use async_nats::HeaderMap;
use reqwest::StatusCode;
use serde_json::{Map, Value, json};
use staffetta_proto::json::to_struct;
use staffetta_proto::{Message as _, v1};

use crate::registry::{Number, RegistryText};
use crate::streams::Streams;

/// The tenant of a number.
#[derive(Clone, Debug)]
pub struct Tenant {
    number: Number,
    streams: Streams,
    api: String,
    http: reqwest::Client,
}

/// A command to send a text, which is the command's own id: so that it is known again at the provider.
#[must_use]
pub fn text(id: &str, to: &str) -> Value {
    json!({ "id": id, "to": to, "type": "text", "text": { "body": id } })
}

fn headers(id: Option<&str>, content_type: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", content_type);
    if let Some(id) = id {
        headers.insert("Nats-Msg-Id", id);
    }
    headers
}

impl Tenant {
    pub(crate) fn new(number: Number, streams: Streams, api: &str, http: reqwest::Client) -> Self {
        Self { number, streams, api: format!("http://{api}"), http }
    }

    /// The subject of a lane of a channel.
    #[must_use]
    pub fn subject(&self, channel: &str, lane: &str) -> String {
        format!("staffetta.v1.send.{}.{channel}.{lane}", self.number.tenant)
    }

    /// Publishes a command in JSON; it is on SEND afterwards.
    ///
    /// # Errors
    /// When NATS does not acknowledge it: it may be on SEND all the same.
    pub async fn send(&self, command: &Value) -> anyhow::Result<()> {
        let subject = self.subject(self.number.channel, "normal");
        self.send_bytes(subject, command["id"].as_str(), "application/json", command.to_string().into()).await
    }

    /// Publishes commands in JSON, one after the other.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_all(&self, commands: &[Value]) -> anyhow::Result<()> {
        for command in commands {
            self.send(command).await?;
        }
        Ok(())
    }

    /// Publishes commands in JSON, all at once and in this order: where the time that it takes matters.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_at_once(&self, commands: &[Value]) -> anyhow::Result<()> {
        let subject = self.subject(self.number.channel, "normal");
        let publishes = commands.iter().map(|command| {
            let headers = headers(command["id"].as_str(), "application/json");
            (subject.clone(), headers, command.to_string().into())
        });
        self.streams.publish_all(publishes.collect()).await
    }

    /// Publishes a text command in Protocol Buffers.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_protobuf(&self, command: &Value) -> anyhow::Result<()> {
        let field = |name: &str| command[name].as_str().unwrap_or_default().to_owned();
        let text = command["text"].as_object().cloned().unwrap_or_else(Map::new);
        let message = v1::SendCommand {
            id: field("id"),
            to: field("to"),
            r#type: field("type"),
            text: Some(to_struct(&text)),
            ..v1::SendCommand::default()
        };
        let subject = self.subject(self.number.channel, "normal");
        let payload = message.encode_to_vec();
        self.send_bytes(subject, command["id"].as_str(), "application/protobuf", payload).await
    }

    /// Publishes any bytes as a command.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn send_bytes(
        &self,
        subject: String,
        id: Option<&str>,
        content_type: &str,
        payload: Vec<u8>,
    ) -> anyhow::Result<()> {
        self.streams.publish(subject, headers(id, content_type), payload).await
    }

    /// `POST /v1/messages`: status and body of the answer.
    ///
    /// # Errors
    /// When there is none, or it is not JSON.
    pub async fn post(&self, command: &Value) -> anyhow::Result<(StatusCode, Value)> {
        let mut body = command.clone();
        body["channel"] = self.number.channel.into();
        let request = self.http.post(format!("{}/v1/messages", self.api)).body(body.to_string());
        self.ask(request).await
    }

    /// `GET /v1/messages/{id}`: status and body of the answer.
    ///
    /// # Errors
    /// When there is none, or it is not JSON.
    pub async fn get(&self, id: &str) -> anyhow::Result<(StatusCode, Value)> {
        self.ask(self.http.get(format!("{}/v1/messages/{id}", self.api))).await
    }

    /// `GET` of any path: status and body of the answer.
    ///
    /// # Errors
    /// When there is none, or it is not JSON.
    pub async fn read(&self, path: &str) -> anyhow::Result<(StatusCode, Value)> {
        self.ask(self.http.get(format!("{}{path}", self.api))).await
    }

    /// `POST` to any path: status and body of the answer.
    ///
    /// # Errors
    /// When there is none, or it is not JSON.
    pub async fn write(&self, path: &str, body: &Value) -> anyhow::Result<(StatusCode, Value)> {
        self.ask(self.http.post(format!("{}{path}", self.api)).body(body.to_string())).await
    }

    /// All items of the list at this path, read in pages of `limit`.
    ///
    /// # Errors
    /// When a page is not answered with 200, or is larger than it may be.
    pub async fn list(&self, path: &str, limit: usize) -> anyhow::Result<Vec<Value>> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let first = format!("{path}{separator}limit={limit}");
        let mut items = Vec::new();
        let mut page = first.clone();
        loop {
            let (status, answer) = self.read(&page).await?;
            ensure!(status == StatusCode::OK, "{page} is answered with {status}: {answer}");
            let found = answer["items"].as_array().with_context(|| format!("{page} has no items"))?;
            ensure!(found.len() <= limit, "{page} has {} items", found.len());
            items.extend(found.iter().cloned());
            match answer["next"].as_str() {
                Some(next) => page = format!("{first}&cursor={next}"),
                None => return Ok(items),
            }
        }
    }

    /// The state of a message, if the API knows it.
    pub async fn state(&self, id: &str) -> Option<String> {
        let (_, body) = self.get(id).await.ok()?;
        body["state"].as_str().map(str::to_owned)
    }

    async fn ask(&self, request: reqwest::RequestBuilder) -> anyhow::Result<(StatusCode, Value)> {
        let request = request.bearer_auth(RegistryText::api_key(self.number.tenant));
        let answer = request.send().await.context("the API did not answer")?;
        let status = answer.status();
        Ok((status, serde_json::from_slice(&answer.bytes().await?).context("the API answered with no JSON")?))
    }
}
