//! `POST /v1/dead-letters/{id}/replay`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use staffetta_outbox::Replayed;
use utoipa::ToSchema;

use super::{DeadLetterError, own};
use crate::App;
use crate::caller::{Caller, Manager};

/// What was done with a letter.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Replayed)]
pub(crate) struct ReplayedView {
    id: String,
    /// Where its payload is now.
    subject: String,
    /// The message that is sent again, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// `POST /v1/dead-letters/{id}/replay`: puts the payload back where it came from, and takes the letter away.
///
/// What is still wrong dies again, as a letter of its own.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/{id}/replay",
    operation_id = "replay_dead_letter",
    tag = "dead letters",
    security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The letter's id", example = "d42")),
    responses(
        (status = 202, description = "It is back where it came from", body = ReplayedView),
        (status = 404, description = "`dead-letter-not-found`"),
        (status = 409, description = "`not-replayable`"),
    ),
)]
pub(crate) async fn replay(
    State(app): State<App>,
    Manager(Caller(tenant)): Manager,
    id: Result<Path<String>, PathRejection>,
) -> Result<(StatusCode, Json<ReplayedView>), DeadLetterError> {
    let letter = own(&app, &tenant.id, id).await?;
    let outcome = app.replays.replay(std::slice::from_ref(&letter)).await.pop();
    let Replayed { subject, command } = outcome.ok_or(DeadLetterError::NotFound)??;
    let message = command.map(|id| id.to_string());
    Ok((StatusCode::ACCEPTED, Json(ReplayedView { id: letter.id.to_string(), subject, message })))
}
