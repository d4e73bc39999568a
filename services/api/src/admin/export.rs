//! `GET /admin/v1/export`.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use tracing::info;

use super::error::{registry, within};
use super::{AdminError, Operator};
use crate::App;

/// `GET /admin/v1/export`: everything as a registry file that `staffetta apply` takes.
///
/// Sealed secrets stay sealed, API keys are digests. Still, keep it from others' eyes.
#[utoipa::path(
    get,
    path = "/admin/v1/export",
    operation_id = "admin_export",
    tag = "admin",
    responses(
        (status = 200, description = "A registry file", body = String, content_type = "application/toml"),
    ),
)]
pub(crate) async fn export(State(app): State<App>, operator: Operator) -> Result<Response, AdminError> {
    let text = within(async { Ok(registry(&app).await?.export().await?) }).await?;
    info!(operator = operator.id, "an operator exported the registry");
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/toml")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, text).into_response())
}
