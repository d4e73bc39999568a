//! `GET /v1/messages/{id}`.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use staffetta_store::StoreError;
use tokio::time::timeout;

use super::{MessageView, named};
use crate::App;
use crate::caller::{Caller, Reader};
use crate::problem::{Kind, Problem};

/// Longest wait for the database.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a message could not be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadMessageError {
    #[error("none of your messages has this id")]
    NotFound,
    #[error("the message can't be looked up")]
    Store(#[from] StoreError),
    #[error("the message could not be looked up in time")]
    TimedOut,
}

impl IntoResponse for ReadMessageError {
    fn into_response(self) -> Response {
        match &self {
            Self::NotFound => Problem::of(Kind::NO_MESSAGE, &self),
            Self::Store(error) => Problem::of(Kind::of_store(error), &self).retry_after(2),
            Self::TimedOut => Problem::of(Kind::UNAVAILABLE, &self).retry_after(2),
        }
        .into_response()
    }
}

/// `GET /v1/messages/{id}`: how far the message has come.
#[utoipa::path(
    get,
    path = "/v1/messages/{id}",
    operation_id = "get_message",
    tag = "messages",
    params(("id" = String, Path, description = "Your id of the message, escaped as URLs need it", example = "inv-2026-0042")),
    responses(
        (status = 200, description = "The message", body = MessageView),
        (status = 404, description = "`message-not-found`"),
    ),
)]
pub(crate) async fn read(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<MessageView>, ReadMessageError> {
    let id = named(id).ok_or(ReadMessageError::NotFound)?;
    let found = timeout(LIMIT, app.store.command(&tenant.id, &id)).await;
    let found = found.map_err(|_| ReadMessageError::TimedOut)??;
    found.map(|record| Json(record.into())).ok_or(ReadMessageError::NotFound)
}
