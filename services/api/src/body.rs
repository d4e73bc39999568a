//! Small bodies of requests: whole, in time, and as they must be.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::problem::{Kind, Problem};
use crate::query::InvalidParameter;

/// Largest body that says no more than a few fields, in bytes.
pub(crate) const SMALL: usize = 16 << 10;

/// Longest wait for a body; with what a handler waits for besides it stays below the limit of the whole request.
const BODY_TIME: Duration = Duration::from_secs(5);

/// Why a body can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body may have {0} KiB at most")]
    TooLarge(usize),
    #[error("the body did not arrive within 5 seconds")]
    Slow,
    #[error("the body ended before its time")]
    Broken,
    #[error(transparent)]
    Invalid(#[from] InvalidParameter),
}

impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        match &self {
            Self::TooLarge(_) => Problem::of(Kind::TOO_LARGE, &self),
            Self::Slow => Problem::of(Kind::SLOW_BODY, &self),
            Self::Broken => Problem::of(Kind::BROKEN_BODY, &self),
            Self::Invalid(invalid) => Problem::of(Kind::INVALID_PARAMETER, &self).field(invalid.name.clone()),
        }
        .into_response()
    }
}

/// The whole body, `limit` bytes at most.
pub(crate) async fn bytes(mut request: Request, limit: usize) -> Result<Bytes, BodyError> {
    DefaultBodyLimit::max(limit).apply(&mut request);
    match timeout(BODY_TIME, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(BodyError::TooLarge(limit >> 10))
        }
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::Slow),
    }
}

/// The fields of a small JSON object; no body at all is an object without fields.
pub(crate) async fn fields<T: DeserializeOwned>(request: Request) -> Result<T, BodyError> {
    let body = bytes(request, SMALL).await?;
    let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
    let wrong = |problem: String| BodyError::from(InvalidParameter::new("payload", problem));
    let fields: Map<String, Value> =
        serde_json::from_slice(text).map_err(|_| wrong("must be a JSON object, or nothing at all".into()))?;
    serde_json::from_value(fields.into()).map_err(|error| wrong(format!("is not as it must be: {error}")))
}
