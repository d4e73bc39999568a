//! `POST /v1/messages`.

use std::time::Duration;

use axum::Json;
use axum::body::HttpBody as _;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use staffetta_bus::PublishError;
use staffetta_domain::{CommandId, InvalidCommand};
use staffetta_runtime::crash::crash_point;
use staffetta_store::{CommandRecord, Contact, NewCommand, StoreError};
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::form::SendCommand;
use super::publish::publish;
use super::{MessageView, Wanted};
use crate::App;
use crate::caller::Sender;
use crate::problem::{Kind, Problem};

/// Largest body, in bytes.
pub(crate) const BODY_LIMIT: usize = 1 << 20;

/// Most bytes of bodies that are worked on at a time, in KiB: what they cost in memory is a few times that.
pub(crate) const BODIES_KIB: usize = 64 << 10;

// The steps' limits together stay below that of the whole request.
const ROOM_TIME: Duration = Duration::from_secs(1);
const BODY_TIME: Duration = Duration::from_secs(5);
const LOOK_UP_TIME: Duration = Duration::from_secs(2);
pub(super) const PUBLISH_TIME: Duration = Duration::from_secs(5);

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
    #[error("the switch of the contact with this number is off: nothing is sent to it")]
    SwitchedOff,
    #[error("whether the message is known already can't be told: it was not queued")]
    Store(#[from] StoreError),
    #[error("whether the message is known already could not be told in time: it was not queued")]
    StoreTimedOut,
    #[error("as many messages as this lane holds wait already: this one was not queued")]
    QueueFull,
    #[error("the queue can't be reached: the message was not queued")]
    QueueUnavailable(#[source] PublishError),
    #[error(
        "whether the queue took the message can't be told: repeat the request with the id given here, and it is sent once"
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
            Self::SwitchedOff => Problem::of(Kind::SWITCHED_OFF, &self).field("to".into()),
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
    Queued(Wanted),
    /// It was taken in before: nothing was done.
    Known(CommandRecord),
}

impl IntoResponse for Sent {
    fn into_response(self) -> Response {
        match self {
            Self::Queued(wanted) => {
                let location = [(header::LOCATION, location(&wanted.command.id))];
                (StatusCode::ACCEPTED, location, Json(MessageView::from(&wanted))).into_response()
            }
            Self::Known(record) => Json(MessageView::from(record)).into_response(),
        }
    }
}

/// `POST /v1/messages`: takes the message in once, and answers before it is sent.
///
/// The same id again is answered with the message as it stands, and sent once.
#[utoipa::path(
    post,
    path = "/v1/messages",
    operation_id = "send_message",
    tag = "messages",
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "The message's `id`, if the body holds none"),
        ("traceparent" = Option<String>, Header, description = "W3C Trace Context: passed on with the message"),
    ),
    request_body = SendCommand,
    responses(
        (status = 202, description = "It is stored safely, and will be sent", body = MessageView,
            headers(("Location" = String, description = "The message's address"))),
        (status = 200, description = "It was taken in before: nothing was done", body = MessageView),
        (status = 400, description = "`broken-body`"),
        (status = 404, description = "`channel-not-found`"),
        (status = 408, description = "`slow-body`"),
        (status = 413, description = "`too-large`: the body is over 1 MiB, or the queue's own limit"),
        (status = 422, description = "`invalid-message`: `field` names what is wrong; `recipient-switched-off`"),
        (status = 429, description = "`queue-full`, `rate-limited`: repeat after `Retry-After` seconds"),
        (status = 503, description = "`unavailable`: nothing was queued; `in-doubt`: repeat with the `id` given"),
    ),
)]
pub(crate) async fn send(
    State(app): State<App>,
    Sender(caller): Sender,
    request: Request,
) -> Result<Sent, SendMessageError> {
    let headers = request.headers().clone();
    let (_room, body) = take_body(&app, request).await?;
    let wanted = Wanted::parse(&app.registry.load(), &caller, &headers, &body)?;
    take_in(&app, wanted).await
}

/// The body of a request for a message, and the room in memory that it takes until it is dropped.
pub(crate) async fn take_body(
    app: &App,
    request: Request,
) -> Result<(SemaphorePermit<'_>, Bytes), SendMessageError> {
    let room = room(app, kib(&request)?).await?;
    Ok((room, whole_body(request).await?))
}

/// Puts the message on SEND, unless it is known already.
pub(crate) async fn take_in(app: &App, wanted: Wanted) -> Result<Sent, SendMessageError> {
    if let Some(known) = look_up(app, &wanted.command).await? {
        return Ok(Sent::Known(known));
    }
    crash_point("api.before-publish");
    publish(app, &wanted).await?;
    crash_point("api.after-publish");
    app.notes.note(&wanted.command).await;
    Ok(Sent::Queued(wanted))
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

/// The command, if it is known already. One that is not must not be to a contact whose switch is off.
async fn look_up(app: &App, command: &NewCommand) -> Result<Option<CommandRecord>, SendMessageError> {
    let NewCommand { tenant, id, user, .. } = command;
    let looking = async { tokio::try_join!(app.store.command(tenant, id), app.store.contact(tenant, user)) };
    let (known, contact) =
        timeout(LOOK_UP_TIME, looking).await.map_err(|_| SendMessageError::StoreTimedOut)??;
    match contact {
        Some(Contact { whatsapp: false, .. }) if known.is_none() => Err(SendMessageError::SwitchedOff),
        _ => Ok(known),
    }
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
}
