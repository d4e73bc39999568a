//! Files, as Meta's clients upload and download them.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use serde_json::{Value, json};
use staffetta_domain::TenantId;

use super::error::GraphError;
use super::fields::{RawQuery, known, value};
use super::lists::{origin, with_query};
use super::node::Node;
use crate::App;
use crate::caller::{Caller, Reader, Sender};
use crate::provider::{self, AskError, Manner};

/// Uploads a file for one of the numbers.
#[utoipa::path(
    post,
    path = "/graph/{version}/{id}/media",
    operation_id = "graph_upload_file",
    tag = "graph",
    params(
        ("version" = String, Path, description = "Any version of the Graph API, as `v24.0`"),
        ("id" = String, Path, description = "The number's id (`phone_number_id`), one of your channels'"),
    ),
    request_body(content = Value, content_type = "multipart/form-data", description = "As Meta's: `messaging_product`, `file`, `type`"),
    responses((status = 200, description = "As Meta's: the file's `id`", body = Value), (status = "4XX", description = "As Meta's")),
)]
pub(crate) async fn upload(
    State(app): State<App>,
    Sender(Caller(tenant)): Sender,
    number: Node,
    request: Request,
) -> Result<Json<Value>, GraphError> {
    let refused = |error: AskError| GraphError::of_ask(error, &Method::POST, &number.id);
    let line = provider::of_number(&app.registry.load(), &tenant.id, &number.id).map_err(refused)?;
    let _turn = app.turns.take(&tenant.id).map_err(refused)?;
    let uploaded = provider::upload(&app, &line, Manner::CloudApi, request).await;
    let uploaded = uploaded.map_err(|error| GraphError::of_upload(error, &number.id))?;
    Ok(Json(json!({ "id": uploaded["id"] })))
}

/// What is known of a file. Its address is one of ours: the provider's asks for the provider's token.
pub(super) async fn look_up(
    app: &App,
    tenant: &TenantId,
    file: &Node,
    headers: &HeaderMap,
    query: RawQuery,
) -> Result<Value, GraphError> {
    let query = known(query, &["phone_number_id"])?;
    let refused = |error: AskError| GraphError::of_ask(error, &Method::GET, &file.id);
    let _turn = app.turns.take(tenant).map_err(refused)?;
    let found = provider::find(app, tenant, &file.id, value(&query, "phone_number_id")).await;
    let (line, known) = found.map_err(refused)?;
    let Node { version, id } = file;
    let address = format!("{}/graph/{version}/{id}/content", origin(&app.settings.api, headers));
    Ok(json!({
        "messaging_product": "whatsapp",
        "url": with_query(&address, [("phone_number_id", line.number.as_str())]),
        "mime_type": known["mime_type"],
        "sha256": known["sha256"],
        "file_size": known["file_size"],
        "id": id,
    }))
}

/// A file's bytes: where the `url` of its look-up leads.
#[utoipa::path(
    get,
    path = "/graph/{version}/{id}/content",
    operation_id = "graph_download_file",
    tag = "graph",
    params(
        ("version" = String, Path, description = "Any version of the Graph API, as `v24.0`"),
        ("id" = String, Path, description = "The id of a file of one of your numbers'"),
        ("phone_number_id" = Option<String>, Query, description = "The number; without it your numbers are tried"),
    ),
    responses((status = 200, description = "The file", body = Vec<u8>, content_type = "application/octet-stream"), (status = "4XX", description = "As Meta's")),
)]
pub(crate) async fn content(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    file: Node,
    query: RawQuery,
) -> Result<Response, GraphError> {
    let query = known(query, &["phone_number_id"])?;
    let refused = |error: AskError| GraphError::of_ask(error, &Method::GET, &file.id);
    let turn = app.turns.take(&tenant.id).map_err(refused)?;
    let number = value(&query, "phone_number_id");
    provider::download(&app, &tenant.id, &file.id, number, turn).await.map_err(refused)
}
