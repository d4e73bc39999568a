//! `GET /v1/dead-letters/{id}`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};

use super::view::WholeLetterView;
use super::{DeadLetterError, own};
use crate::App;
use crate::caller::{Caller, Reader};

/// `GET /v1/dead-letters/{id}`: the letter with its payload.
#[utoipa::path(
    get,
    path = "/v1/dead-letters/{id}",
    operation_id = "get_dead_letter",
    tag = "dead letters",
    params(("id" = String, Path, description = "The letter's id", example = "d42")),
    responses(
        (status = 200, description = "The letter", body = WholeLetterView),
        (status = 404, description = "`dead-letter-not-found`"),
    ),
)]
pub(crate) async fn read(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<WholeLetterView>, DeadLetterError> {
    let letter = own(&app, &tenant.id, id).await?;
    Ok(Json(WholeLetterView::from(&letter)))
}
