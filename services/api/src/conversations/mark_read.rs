//! `POST /v1/conversations/{id}/read`.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use staffetta_domain::{InvalidId, Wamid};
use staffetta_store::Marked;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::view::ConversationView;
use super::{ReadError, named, within};
use crate::App;
use crate::caller::{Caller, Sender};
use crate::problem::{Kind, Problem};
use crate::query::InvalidParameter;

/// Largest body, in bytes.
pub(crate) const BODY_LIMIT: usize = 4 << 10;

/// Longest wait for the body; with the database's limit it stays below that of the whole request.
const BODY_TIME: Duration = Duration::from_secs(5);

/// What to mark as read.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it says what the body looks like; the body is read field by field")]
pub(crate) struct UpTo {
    /// The last message that somebody has seen: what stands after it stays unread.
    #[schema(example = "wamid.HBgM…")]
    up_to: Option<String>,
}

/// Why a conversation was not marked read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MarkReadError {
    #[error("the body may have 4 KiB at most")]
    TooLarge,
    #[error("the body did not arrive within 5 seconds")]
    SlowBody,
    #[error("the body ended before its time")]
    BrokenBody,
    #[error("up_to: the conversation has no such message")]
    NoMessage,
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<InvalidParameter> for MarkReadError {
    fn from(invalid: InvalidParameter) -> Self {
        Self::Read(invalid.into())
    }
}

impl IntoResponse for MarkReadError {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::TooLarge => Problem::of(Kind::TOO_LARGE, &self),
            Self::SlowBody => Problem::of(Kind::SLOW_BODY, &self),
            Self::BrokenBody => Problem::of(Kind::BROKEN_BODY, &self),
            Self::NoMessage => Problem::of(Kind::NO_MESSAGE, &self).field("up_to".into()),
            Self::Read(error) => return error.into_response(),
        };
        problem.into_response()
    }
}

/// `POST /v1/conversations/{id}/read`: nothing is unread up to that message, or at all.
///
/// Without a body everything is read. Only your own count changes: the user is not told.
#[utoipa::path(
    post,
    path = "/v1/conversations/{id}/read",
    operation_id = "mark_read",
    tag = "conversations",
    params(("id" = String, Path, description = "The conversation's id", example = "c42")),
    request_body = Option<UpTo>,
    responses(
        (status = 200, description = "The conversation", body = ConversationView),
        (status = 400, description = "`invalid-parameter`, `broken-body`"),
        (status = 404, description = "`conversation-not-found`; `message-not-found` with the field `up_to`"),
        (status = 408, description = "`slow-body`"),
        (status = 413, description = "`too-large`: the body is over 4 KiB"),
    ),
)]
pub(crate) async fn mark_read(
    State(app): State<App>,
    Sender(Caller(tenant)): Sender,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<ConversationView>, MarkReadError> {
    let id = named(id).ok_or(ReadError::NotFound)?;
    let up_to = up_to(&whole_body(request).await?)?;
    match within(app.store.mark_read(&tenant.id, id, up_to.as_ref())).await? {
        Marked::Read(record) => Ok(Json((*record).into())),
        Marked::NoConversation => Err(ReadError::NotFound.into()),
        Marked::NoMessage => Err(MarkReadError::NoMessage),
    }
}

async fn whole_body(request: Request) -> Result<Bytes, MarkReadError> {
    match timeout(BODY_TIME, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(MarkReadError::TooLarge)
        }
        Ok(Err(_)) => Err(MarkReadError::BrokenBody),
        Err(_) => Err(MarkReadError::SlowBody),
    }
}

/// The message of a body like `{"up_to":"wamid.…"}`; no body at all and `{}` name none.
fn up_to(body: &[u8]) -> Result<Option<Wamid>, InvalidParameter> {
    if body.is_empty() {
        return Ok(None);
    }
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
        return Err(InvalidParameter::new("payload", "must be a JSON object, or nothing at all"));
    };
    if let Some(name) = fields.keys().find(|name| *name != "up_to") {
        let short: String = name.chars().take(40).collect();
        return Err(InvalidParameter::new(&short, "is no field here; there is up_to"));
    }
    match fields.get("up_to") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(wamid)) => {
            let parsed =
                wamid.parse().map_err(|invalid: InvalidId| InvalidParameter::new("up_to", invalid.problem));
            parsed.map(Some)
        }
        Some(_) => Err(InvalidParameter::new("up_to", "must be a text: a message's wamid")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_names_a_message_or_none() {
        for none in ["", "{}", r#"{"up_to":null}"#] {
            assert_eq!(up_to(none.as_bytes()), Ok(None), "{none}");
        }
        let wamid: Wamid = "wamid.A".parse().unwrap();
        assert_eq!(up_to(br#"{"up_to":"wamid.A"}"#), Ok(Some(wamid)));
        for (wrong, field) in [
            ("x", "payload"),
            ("[]", "payload"),
            (r#"{"up_to":7}"#, "up_to"),
            (r#"{"up_to":""}"#, "up_to"),
            (r#"{"upto":""}"#, "upto"),
        ] {
            assert_eq!(up_to(wrong.as_bytes()).unwrap_err().name, field, "{wrong}");
        }
    }
}
