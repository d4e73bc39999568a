//! What can go wrong, as tenants are told: `application/problem+json` (RFC 9457).

use std::error::Error;
use std::fmt::Write as _;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use staffetta_domain::CommandId;
use staffetta_store::StoreError;
use tracing::{error, warn};

/// A kind of problem. Its status, and its `type` made of the slug, never change: tenants' programs decide by them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $status:ident, $slug:literal, $title:literal;)*) => {
        impl Kind {
            $(pub(crate) const $name: Self = Self { status: StatusCode::$status, slug: $slug, title: $title };)*

            /// All kinds.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

kinds! {
    UNAUTHORIZED = UNAUTHORIZED, "unauthorized", "A valid API key is needed";
    FORBIDDEN = FORBIDDEN, "forbidden", "The API key may not do this";
    NO_ROUTE = NOT_FOUND, "not-found", "There is nothing at this address";
    NO_METHOD = METHOD_NOT_ALLOWED, "method-not-allowed", "This address does not take this method";
    NO_CHANNEL = NOT_FOUND, "channel-not-found", "There is no such channel";
    NO_MESSAGE = NOT_FOUND, "message-not-found", "There is no such message";
    NO_CONVERSATION = NOT_FOUND, "conversation-not-found", "There is no such conversation";
    INVALID_PARAMETER = BAD_REQUEST, "invalid-parameter", "The request can't be understood as it is";
    NO_MEDIA = NOT_FOUND, "media-not-found", "There is no such file";
    NO_LETTER = NOT_FOUND, "dead-letter-not-found", "There is no such dead letter";
    NOT_REPLAYABLE = CONFLICT, "not-replayable", "The dead letter can't be replayed";
    TOO_LATE = CONFLICT, "too-late", "The message can't be taken back any more";
    BROKEN_BODY = BAD_REQUEST, "broken-body", "The body could not be read";
    SLOW_BODY = REQUEST_TIMEOUT, "slow-body", "The body did not arrive in time";
    TOO_LARGE = PAYLOAD_TOO_LARGE, "too-large", "The message is too large";
    INVALID_MESSAGE = UNPROCESSABLE_ENTITY, "invalid-message", "The message can't be sent as it is";
    RATE_LIMITED = TOO_MANY_REQUESTS, "rate-limited", "There are too many requests at a time";
    SWITCHED_OFF = UNPROCESSABLE_ENTITY, "recipient-switched-off", "The recipient's switch is off";
    NO_CONTACT = NOT_FOUND, "contact-not-found", "There is no such contact";
    QUEUE_FULL = TOO_MANY_REQUESTS, "queue-full", "The channel's lane is full";
    PROVIDER_REFUSES = UNPROCESSABLE_ENTITY, "provider-refuses", "WhatsApp refuses this";
    PROVIDER_AWAY = SERVICE_UNAVAILABLE, "provider-unavailable", "WhatsApp can't be asked right now";
    UNAVAILABLE = SERVICE_UNAVAILABLE, "unavailable", "Staffetta can't do this right now";
    IN_DOUBT = SERVICE_UNAVAILABLE, "in-doubt", "The message may have been taken, or not";
    EVENTS_GONE = GONE, "events-gone", "Events that should follow are kept no more";
    TOO_MANY_STREAMS = TOO_MANY_REQUESTS, "too-many-streams", "Too many streams of events are open";
    NO_ENDPOINT = NOT_FOUND, "endpoint-not-found", "There is no such endpoint";
    NOT_DELIVERED = CONFLICT, "endpoint-not-delivered", "Nothing is delivered to this endpoint";
    NOTHING_TO_REPLAY = CONFLICT, "nothing-to-replay", "No events were stored in this time";
    TOO_MANY_REPLAYS = TOO_MANY_REQUESTS, "too-many-replays", "Too many replays have not ended";
    NO_ENTRY = NOT_FOUND, "entry-not-found", "The registry has no such entry";
    INVALID_ENTRY = UNPROCESSABLE_ENTITY, "invalid-entry", "The entry can't be stored as it is";
    IN_USE = CONFLICT, "in-use", "Other entries need this one";
    CHANGED = PRECONDITION_FAILED, "changed-meanwhile", "The entry is not as the request expects";
    NO_PRECONDITION = PRECONDITION_REQUIRED, "precondition-required", "The request must say which state it is meant for";
    NO_KEY = NOT_FOUND, "key-not-found", "There is no such API key";
    NO_HOLD = NOT_FOUND, "hold-not-found", "There is no such hold";
    INTERNAL = INTERNAL_SERVER_ERROR, "internal", "Something is wrong in Staffetta";
}

impl Kind {
    /// Its `type`.
    pub(crate) fn address(self) -> String {
        format!("/problems/{}", self.slug)
    }

    /// What a failure of the database means for whoever asked.
    pub(crate) fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::UNAVAILABLE,
            StoreError::UnknownDatabase
            | StoreError::Refused(_)
            | StoreError::Migration(_)
            | StoreError::Corrupt(_) => Self::INTERNAL,
        }
    }
}

/// One problem, on its way to the tenant.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    field: Option<String>,
    id: Option<CommandId>,
    state: Option<&'static str>,
    retry_after: Option<u32>,
    authenticate: Option<&'static str>,
}

impl Problem {
    /// The problem that `error` is. One that is Staffetta's own fault is logged here, with its causes; nobody else
    /// logs it.
    pub(crate) fn of(kind: Kind, error: &dyn Error) -> Self {
        if kind.status == StatusCode::INTERNAL_SERVER_ERROR {
            error!(problem = kind.slug, error = chain(error), "a request failed");
        } else if kind.status.is_server_error() {
            warn!(problem = kind.slug, error = chain(error), "a request failed");
        }
        let detail = error.to_string();
        Self { kind, detail, field: None, id: None, state: None, retry_after: None, authenticate: None }
    }

    /// Names the field that is wrong.
    pub(crate) fn field(self, field: String) -> Self {
        Self { field: Some(field), ..self }
    }

    /// Names the command, so that it can be repeated under the same id.
    pub(crate) fn id(self, id: CommandId) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Says how far the message has come.
    pub(crate) fn state(self, state: &'static str) -> Self {
        Self { state: Some(state), ..self }
    }

    /// Says after how many seconds the same request may do better.
    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Says how to show who one is.
    pub(crate) fn authenticate(self, challenge: &'static str) -> Self {
        Self { authenticate: Some(challenge), ..self }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a str>,
}

/// What a problem said, left in its answer's extensions for whoever says it in other words.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) slug: &'static str,
    pub(crate) detail: String,
    pub(crate) field: Option<String>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = Document {
            r#type: self.kind.address(),
            title: self.kind.title,
            status: self.kind.status.as_u16(),
            detail: &self.detail,
            field: self.field.as_deref(),
            id: self.id.as_ref().map(CommandId::as_str),
            state: self.state,
        };
        let mut response = (self.kind.status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = self.authenticate {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        let Self { kind, detail, field, .. } = self;
        response.extensions_mut().insert(Told { slug: kind.slug, detail, field });
        response
    }
}

/// An error with all its causes, on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_lists_every_kind_of_problem_with_its_status() {
        let guide = include_str!("../../../docs/api.md");
        for kind in Kind::ALL {
            let row = format!("| {} | `/problems/{}` |", kind.status.as_u16(), kind.slug);
            assert!(guide.contains(&row), "docs/api.md has no row {row}");
        }
    }
}
