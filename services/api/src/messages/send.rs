//! `POST /v1/messages`.

use std::time::Duration;

use async_nats::HeaderMap as NatsHeaders;
use axum::Json;
use axum::body::HttpBody as _;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use staffetta_bus::{Encoding, PublishError, SendSubject, command_fields, encode_command};
use staffetta_domain::{ChannelId, CommandFields, CommandId, InvalidCommand, InvalidId, Lane};
use staffetta_runtime::crash::crash_point;
use staffetta_store::{CommandRecord, NewCommand, StoreError};
use tokio::sync::SemaphorePermit;
use tokio::time::{Instant, timeout};
use tracing::warn;
use uuid::Uuid;

use super::MessageView;
use crate::App;
use crate::caller::Caller;
use crate::problem::{Kind, Problem, chain};

/// Largest body, in bytes.
pub(crate) const BODY_LIMIT: usize = 1 << 20;

/// Most bytes of bodies that are worked on at a time, in KiB: what they cost in memory is a few times that.
pub(crate) const BODIES_KIB: usize = 64 << 10;

// The steps' limits together stay below that of the whole request.
const ROOM_TIME: Duration = Duration::from_secs(1);
const BODY_TIME: Duration = Duration::from_secs(5);
const LOOK_UP_TIME: Duration = Duration::from_secs(2);
const PUBLISH_TIME: Duration = Duration::from_secs(5);
const NOTE_TIME: Duration = Duration::from_secs(1);

/// Why a message was not taken in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendMessageError {
    #[error("the body may have 1 MiB at most")]
    TooLarge,
    #[error("too much is being taken in at the moment: the message was not queued")]
    NoRoom,
    #[error("the body did not arrive within 5 seconds")]
    SlowBody,
    #[error("the body ended before its time")]
    BrokenBody,
    #[error(transparent)]
    Invalid(#[from] InvalidCommand),
    #[error("none of your channels has this id")]
    NoChannel,
    #[error("whether the message is known already can't be told: it was not queued")]
    Store(#[from] StoreError),
    #[error("whether the message is known already could not be told in time: it was not queued")]
    StoreTimedOut,
    #[error("as many messages as this lane holds wait already: this one was not queued")]
    QueueFull,
    #[error("the queue can't be reached: the message was not queued")]
    QueueUnavailable(#[source] PublishError),
    #[error(
        "the queue did not answer in time: repeat the request with the id given here, and it is sent once"
    )]
    InDoubt(CommandId, #[source] PublishError),
    #[error("the message is larger than the queue takes")]
    TooLargeForQueue,
    #[error("the queue does not take the message")]
    QueueRefused(#[source] PublishError),
}

impl IntoResponse for SendMessageError {
    fn into_response(self) -> Response {
        match &self {
            Self::TooLarge | Self::TooLargeForQueue => Problem::of(Kind::TOO_LARGE, &self),
            Self::NoRoom => Problem::of(Kind::UNAVAILABLE, &self).retry_after(1),
            Self::SlowBody => Problem::of(Kind::SLOW_BODY, &self),
            Self::BrokenBody => Problem::of(Kind::BROKEN_BODY, &self),
            Self::Invalid(invalid) => Problem::of(Kind::INVALID_MESSAGE, &self).field(invalid.field.clone()),
            Self::NoChannel => Problem::of(Kind::NO_CHANNEL, &self).field("channel".into()),
            Self::Store(error) => Problem::of(Kind::of_store(error), &self).retry_after(2),
            Self::StoreTimedOut => Problem::of(Kind::UNAVAILABLE, &self).retry_after(2),
            Self::QueueFull => Problem::of(Kind::QUEUE_FULL, &self).retry_after(10),
            Self::QueueUnavailable(_) => Problem::of(Kind::UNAVAILABLE, &self).retry_after(2),
            Self::InDoubt(id, _) => Problem::of(Kind::IN_DOUBT, &self).id(id.clone()).retry_after(2),
            Self::QueueRefused(_) => Problem::of(Kind::INTERNAL, &self),
        }
        .into_response()
    }
}

/// What became of the request.
#[derive(Debug)]
pub(crate) enum Sent {
    /// It is on SEND.
    Queued(NewCommand),
    /// It was taken in before: nothing was done.
    Known(CommandRecord),
}

impl IntoResponse for Sent {
    fn into_response(self) -> Response {
        match self {
            Self::Queued(command) => {
                let location = [(header::LOCATION, location(&command.id))];
                (StatusCode::ACCEPTED, location, Json(MessageView::from(&command))).into_response()
            }
            Self::Known(record) => Json(MessageView::from(record)).into_response(),
        }
    }
}

/// `POST /v1/messages`: takes the message in once, and answers before it is sent.
pub(crate) async fn send(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<Sent, SendMessageError> {
    let headers = request.headers().clone();
    let _room = room(&app, kib(&request)?).await?;
    let body = whole_body(request).await?;
    let wanted = Wanted::parse(&app, &caller, &headers, &body)?;
    if let Some(known) = look_up(&app, &wanted.command).await? {
        return Ok(Sent::Known(known));
    }
    crash_point("api.before-publish");
    publish(&app, &wanted).await?;
    crash_point("api.after-publish");
    note(&app, &wanted.command).await;
    Ok(Sent::Queued(wanted.command))
}

/// How much the body takes, in KiB. One that does not tell its length takes what the largest does.
fn kib(request: &Request) -> Result<u32, SendMessageError> {
    let told = request.body().size_hint();
    if told.lower() > BODY_LIMIT as u64 {
        return Err(SendMessageError::TooLarge);
    }
    let bytes = told.exact().unwrap_or(BODY_LIMIT as u64);
    u32::try_from(bytes.div_ceil(1024)).map_err(|_| SendMessageError::TooLarge)
}

/// Room in memory, for as long as the request runs.
async fn room(app: &App, kib: u32) -> Result<SemaphorePermit<'_>, SendMessageError> {
    match timeout(ROOM_TIME, app.bodies.acquire_many(kib)).await {
        Ok(Ok(room)) => Ok(room),
        Ok(Err(_)) | Err(_) => Err(SendMessageError::NoRoom),
    }
}

async fn whole_body(request: Request) -> Result<Bytes, SendMessageError> {
    match timeout(BODY_TIME, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(SendMessageError::TooLarge)
        }
        Ok(Err(_)) => Err(SendMessageError::BrokenBody),
        Err(_) => Err(SendMessageError::SlowBody),
    }
}

/// A command that was checked, and how it is written on SEND.
struct Wanted {
    command: NewCommand,
    headers: NatsHeaders,
    payload: Bytes,
}

impl Wanted {
    fn parse(app: &App, caller: &Caller, headers: &HeaderMap, body: &[u8]) -> Result<Self, SendMessageError> {
        let mut fields = command_fields(Encoding::Json, body)?;
        let channel = take_channel(&mut fields)?;
        if !caller.owns(&app.registry.load(), &channel) {
            return Err(SendMessageError::NoChannel);
        }
        let lane = lane(&fields)?;
        fields.id = one_id(fields.id.take(), headers.get("Idempotency-Key"))?;
        let checked = fields.clone().check(&caller.0.id, &channel, lane, made_up_id)?;
        fields.id = Some(checked.id.to_string());
        fields.rest.retain(|name, _| *name == checked.kind);
        let command = NewCommand {
            tenant: caller.0.id.clone(),
            channel,
            id: checked.id,
            lane,
            at: now_to_the_microsecond(),
        };
        Ok(Self { command, headers: nats_headers(headers), payload: encode(&fields, &checked.kind)? })
    }
}

fn take_channel(fields: &mut CommandFields) -> Result<ChannelId, InvalidCommand> {
    match fields.rest.remove("channel") {
        None | Some(Value::Null) => Err(InvalidCommand::new("channel", "is missing")),
        Some(Value::String(id)) => {
            id.parse().map_err(|invalid: InvalidId| InvalidCommand::new("channel", invalid.problem))
        }
        Some(_) => Err(InvalidCommand::new("channel", "must be a text")),
    }
}

fn lane(fields: &CommandFields) -> Result<Lane, InvalidCommand> {
    let Some(name) = &fields.lane else { return Ok(Lane::default()) };
    name.parse().map_err(|invalid: InvalidId| InvalidCommand::new("lane", invalid.problem))
}

/// The id of the body, or else that of the header; both may stand if they are the same.
fn one_id(body: Option<String>, header: Option<&HeaderValue>) -> Result<Option<String>, InvalidCommand> {
    let Some(header) = header else { return Ok(body) };
    let Ok(key) = header.to_str() else {
        return Err(InvalidCommand::new("id", "the header Idempotency-Key must be printable ASCII"));
    };
    match body {
        Some(id) if id != key => Err(InvalidCommand::new("id", "differs from the header Idempotency-Key")),
        _ => Ok(Some(key.to_owned())),
    }
}

fn made_up_id() -> CommandId {
    format!("c-{}", Uuid::now_v7().simple()).parse().expect("34 letters, digits and a dash are an id")
}

/// The database keeps no more, and a tenant shall see one time of creation, not two.
fn now_to_the_microsecond() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

fn encode(fields: &CommandFields, kind: &str) -> Result<Bytes, InvalidCommand> {
    let payload = encode_command(fields);
    // Protocol Buffers are read to a lesser depth than JSON: the dispatcher must be able to read it.
    match command_fields(Encoding::Protobuf, &payload) {
        Ok(_) => Ok(payload),
        Err(_) => Err(InvalidCommand::new(kind, "is nested too deeply")),
    }
}

fn nats_headers(headers: &HeaderMap) -> NatsHeaders {
    let mut taken = NatsHeaders::new();
    taken.insert("Content-Type", Encoding::Protobuf.content_type());
    let parent = headers.get("traceparent").and_then(|parent| parent.to_str().ok());
    if let Some(parent) = parent.filter(|parent| is_trace_parent(parent)) {
        taken.insert("traceparent", parent);
    }
    taken
}

/// `00-<32 hex>-<16 hex>-<2 hex>`, as W3C Trace Context has it.
fn is_trace_parent(text: &str) -> bool {
    let mut parts = text.split('-');
    let lengths = [2, 32, 16, 2];
    let hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    lengths.iter().all(|length| parts.next().is_some_and(|part| part.len() == *length && hex(part)))
        && parts.next().is_none()
}

async fn look_up(app: &App, command: &NewCommand) -> Result<Option<CommandRecord>, SendMessageError> {
    let known = timeout(LOOK_UP_TIME, app.store.command(&command.tenant, &command.id)).await;
    Ok(known.map_err(|_| SendMessageError::StoreTimedOut)??)
}

/// Puts the command on SEND.
async fn publish(app: &App, wanted: &Wanted) -> Result<(), SendMessageError> {
    let NewCommand { tenant, channel, id, lane, .. } = &wanted.command;
    let subject = SendSubject { tenant: tenant.clone(), channel: channel.clone(), lane: *lane }.subject();
    let deadline = Instant::now() + PUBLISH_TIME;
    let publish = async |message_id: &str| {
        let (headers, payload) = (wanted.headers.clone(), wanted.payload.clone());
        app.bus.publish(subject.clone(), message_id, headers, payload, deadline).await
    };
    let failed = |error| match error {
        PublishError::Full => SendMessageError::QueueFull,
        PublishError::TooLarge => SendMessageError::TooLargeForQueue,
        PublishError::Unavailable => SendMessageError::QueueUnavailable(error),
        PublishError::TimedOut => SendMessageError::InDoubt(id.clone(), error),
        PublishError::Refused(_) => SendMessageError::QueueRefused(error),
    };
    let message_id = format!("{tenant}:{id}");
    if publish(&message_id).await.map_err(failed)?.duplicate {
        // Whoever may publish on SEND may have used this id a moment ago, on a subject of their own: one window
        // serves all tenants. A second entry of the same command is sent once, a swallowed one never.
        publish(&format!("{message_id}:{}", Uuid::now_v7().simple())).await.map_err(failed)?;
    }
    Ok(())
}

/// Makes the command known before the dispatcher has seen it. The queue has it already: without this it is only
/// known a little later.
async fn note(app: &App, command: &NewCommand) {
    let noted = timeout(NOTE_TIME, app.store.enqueue(std::slice::from_ref(command))).await;
    let error = match noted {
        Ok(Ok(())) => return,
        Ok(Err(error)) => chain(&error),
        Err(_) => "no answer in time".into(),
    };
    warn!(tenant = %command.tenant, command = %command.id, error, "a queued command could not be noted");
}

/// The message's address. An id may hold any printable character, so most are escaped.
fn location(id: &CommandId) -> HeaderValue {
    let mut path = String::from("/v1/messages/");
    for byte in id.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    HeaderValue::from_str(&path).expect("letters, digits and % fit into a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_escaped_in_their_address() {
        let of = |id: &str| location(&id.parse().unwrap()).to_str().unwrap().to_owned();
        assert_eq!(of("inv-2026_0042.1~"), "/v1/messages/inv-2026_0042.1~");
        assert_eq!(of("a/b?c#d%e"), "/v1/messages/a%2Fb%3Fc%23d%25e");
    }

    #[test]
    fn the_header_serves_as_id_and_may_not_contradict_the_body() {
        let key = HeaderValue::from_static("k");
        assert_eq!(one_id(None, Some(&key)).unwrap().as_deref(), Some("k"));
        assert_eq!(one_id(Some("k".into()), Some(&key)).unwrap().as_deref(), Some("k"));
        assert_eq!(one_id(Some("b".into()), None).unwrap().as_deref(), Some("b"));
        assert_eq!(one_id(None, None).unwrap(), None);
        assert_eq!(one_id(Some("b".into()), Some(&key)).unwrap_err().field, "id");
        assert_eq!(one_id(None, Some(&HeaderValue::from_bytes(b"\xff").unwrap())).unwrap_err().field, "id");
    }

    #[test]
    fn only_a_well_formed_trace_parent_is_passed_on() {
        assert!(is_trace_parent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
        for other in
            ["", "00-4bf9-00f0-01", "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "x\r\ny"]
        {
            assert!(!is_trace_parent(other), "{other}");
        }
    }

    #[test]
    fn made_up_ids_are_told_apart() {
        assert_ne!(made_up_id(), made_up_id());
        assert!(made_up_id().as_str().starts_with("c-"));
    }
}
