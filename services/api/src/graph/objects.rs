//! `/graph/{version}/{id}`: a number, or a file.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Method};
use serde_json::Value;

use super::error::GraphError;
use super::fields::{RawQuery, known, value};
use super::node::Node;
use super::{files, numbers};
use crate::App;
use crate::caller::{Caller, Reader, Sender};
use crate::provider::{self, AskError};

/// What is known of a phone number, or of a file: its type, its size, and where to download it.
#[utoipa::path(
    get,
    path = "/graph/{version}/{id}",
    operation_id = "graph_object",
    tag = "graph",
    params(
        ("version" = String, Path, description = "Any version of the Graph API, as `v24.0`"),
        ("id" = String, Path, description = "One of your channels' `phone_number_id`, or the id of a file of theirs"),
        ("fields" = Option<String>, Query, description = "As Meta's, of a number"),
        ("phone_number_id" = Option<String>, Query, description = "As Meta's, of a file; without it your numbers are tried"),
    ),
    responses((status = 200, description = "As Meta's", body = Value), (status = "4XX", description = "As Meta's")),
)]
pub(crate) async fn read(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    object: Node,
    headers: HeaderMap,
    query: RawQuery,
) -> Result<Json<Value>, GraphError> {
    let line = provider::of_number(&app.registry.load(), &tenant.id, &object.id);
    match line {
        Ok(line) => numbers::read(&app, &tenant.id, &line, query).await.map(Json),
        Err(AskError::NotYours) => files::look_up(&app, &tenant.id, &object, &headers, query).await.map(Json),
        Err(error) => Err(GraphError::of_ask(error, &Method::GET, &object.id)),
    }
}

/// Deletes a file.
#[utoipa::path(
    delete,
    path = "/graph/{version}/{id}",
    operation_id = "graph_delete_file",
    tag = "graph",
    params(
        ("version" = String, Path, description = "Any version of the Graph API, as `v24.0`"),
        ("id" = String, Path, description = "The id of a file of one of your numbers'"),
        ("phone_number_id" = Option<String>, Query, description = "As Meta's; without it your numbers are tried"),
    ),
    responses((status = 200, description = "As Meta's", body = Value), (status = "4XX", description = "As Meta's")),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    Sender(Caller(tenant)): Sender,
    file: Node,
    query: RawQuery,
) -> Result<Json<Value>, GraphError> {
    let query = known(query, &["phone_number_id"])?;
    let refused = |error: AskError| GraphError::of_ask(error, &Method::DELETE, &file.id);
    let _turn = app.turns.take(&tenant.id).map_err(refused)?;
    let deleted = provider::delete(&app, &tenant.id, &file.id, value(&query, "phone_number_id")).await;
    deleted.map(Json).map_err(refused)
}
