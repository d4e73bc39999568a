//! `/v1/conversations`.

mod list;
mod mark_read;
mod messages;
mod view;

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Path};
use axum::response::{IntoResponse, Response};
use staffetta_domain::ConversationId;
use staffetta_store::StoreError;
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::problem::{Kind, Problem};
use crate::query::InvalidParameter;

/// Its addresses.
pub(crate) fn routes() -> OpenApiRouter<App> {
    let small = OpenApiRouter::new().routes(routes!(mark_read::mark_read));
    OpenApiRouter::new()
        .routes(routes!(list::list))
        .routes(routes!(list::one))
        .routes(routes!(messages::messages))
        .merge(small.layer(DefaultBodyLimit::max(mark_read::BODY_LIMIT)))
}

/// Longest wait for the database.
const LIMIT: Duration = Duration::from_secs(9);

/// Why conversations or messages could not be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error(transparent)]
    Invalid(#[from] InvalidParameter),
    #[error("none of your conversations has this id")]
    NotFound,
    #[error("the conversations can't be looked up")]
    Store(#[from] StoreError),
    #[error("the conversations could not be looked up in time")]
    TimedOut,
}

impl IntoResponse for ReadError {
    fn into_response(self) -> Response {
        match &self {
            Self::Invalid(invalid) => Problem::of(Kind::INVALID_PARAMETER, &self).field(invalid.name.clone()),
            Self::NotFound => Problem::of(Kind::NO_CONVERSATION, &self),
            Self::Store(error) => Problem::of(Kind::of_store(error), &self).retry_after(2),
            Self::TimedOut => Problem::of(Kind::UNAVAILABLE, &self).retry_after(2),
        }
        .into_response()
    }
}

/// The conversation that the address names. What can't be an id is nobody's id.
fn named(id: Result<Path<String>, PathRejection>) -> Option<ConversationId> {
    id.ok()?.parse().ok()
}

/// The store's answer, within the time limit.
async fn within<T>(asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, ReadError> {
    Ok(timeout(LIMIT, asked).await.map_err(|_| ReadError::TimedOut)??)
}
