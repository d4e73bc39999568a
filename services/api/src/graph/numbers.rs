//! A number itself, and its business profile.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use staffetta_domain::TenantId;

use super::error::GraphError;
use super::fields::{NUMBER, PROFILE, RawQuery, keep, known, wanted};
use super::node::Node;
use crate::App;
use crate::body::{BodyError, SMALL, bytes};
use crate::caller::{Caller, Reader, Sender};
use crate::provider::{self, AskError, Line};

/// What a client may say of its business.
const PROFILE_CHANGES: [&str; 8] = [
    "messaging_product",
    "about",
    "address",
    "description",
    "email",
    "websites",
    "vertical",
    "profile_picture_handle",
];

/// What the provider knows of a number.
pub(super) async fn read(
    app: &App,
    tenant: &TenantId,
    line: &Line,
    query: RawQuery,
) -> Result<Value, GraphError> {
    let query = known(query, &["fields"])?;
    let mut number = asked(app, tenant, line, &[], wanted(&query, &NUMBER)).await?;
    keep(&mut number, &NUMBER);
    Ok(number)
}

/// The number's business profile.
#[utoipa::path(
    get,
    path = "/graph/{version}/{id}/whatsapp_business_profile",
    operation_id = "graph_profile",
    tag = "graph",
    params(
        ("version" = String, Path, description = "Any version of the Graph API, as `v24.0`"),
        ("id" = String, Path, description = "The number's id (`phone_number_id`), one of your channels'"),
        ("fields" = Option<String>, Query, description = "As Meta's"),
    ),
    responses((status = 200, description = "As Meta's", body = Value), (status = "4XX", description = "As Meta's")),
)]
pub(crate) async fn profile(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    number: Node,
    query: RawQuery,
) -> Result<Json<Value>, GraphError> {
    let query = known(query, &["fields"])?;
    let line = provider::of_number(&app.registry.load(), &tenant.id, &number.id)
        .map_err(|error| GraphError::of_ask(error, &Method::GET, &number.id))?;
    let edge = ["whatsapp_business_profile"];
    let mut answer = asked(&app, &tenant.id, &line, &edge, wanted(&query, &PROFILE)).await?;
    let mut profiles = answer["data"].take();
    if let Value::Array(profiles) = &mut profiles {
        profiles.iter_mut().for_each(|profile| keep(profile, &PROFILE));
    }
    Ok(Json(json!({ "data": profiles })))
}

/// Changes the number's business profile.
#[utoipa::path(
    post,
    path = "/graph/{version}/{id}/whatsapp_business_profile",
    operation_id = "graph_change_profile",
    tag = "graph",
    params(
        ("version" = String, Path, description = "Any version of the Graph API, as `v24.0`"),
        ("id" = String, Path, description = "The number's id (`phone_number_id`), one of your channels'"),
    ),
    request_body = Value,
    responses((status = 200, description = "As Meta's", body = Value), (status = "4XX", description = "As Meta's")),
)]
pub(crate) async fn change_profile(
    State(app): State<App>,
    Sender(Caller(tenant)): Sender,
    number: Node,
    request: Request,
) -> Result<Json<Value>, Response> {
    let refused = |error: AskError| GraphError::of_ask(error, &Method::POST, &number.id).into_response();
    let line = provider::of_number(&app.registry.load(), &tenant.id, &number.id).map_err(refused)?;
    let body = bytes(request, SMALL).await.map_err(BodyError::into_response)?;
    let Ok(mut changes) = serde_json::from_slice::<Map<String, Value>>(&body) else {
        return Err(GraphError::parameter("The request body must be a JSON object.").into_response());
    };
    if let Some(name) = changes.keys().find(|name| !PROFILE_CHANGES.contains(&name.as_str())) {
        let short: String = name.chars().take(40).collect();
        let unexpected = format!("Unexpected key \"{short}\" on param \"request\".");
        return Err(GraphError::parameter(unexpected).into_response());
    }
    changes.entry("messaging_product").or_insert_with(|| json!("whatsapp"));
    let _turn = app.turns.take(&tenant.id).map_err(refused)?;
    let path = [line.number.as_str(), "whatsapp_business_profile"];
    let answer = app.graph.post(&line.token, &path, &Value::Object(changes)).await;
    answer.map(Json).map_err(|error| refused(AskError::of(&line, error)))
}

/// What the provider answers of the number, or of what hangs on it.
async fn asked(
    app: &App,
    tenant: &TenantId,
    line: &Line,
    edge: &[&str],
    fields: Option<String>,
) -> Result<Value, GraphError> {
    let refused = |error: AskError| GraphError::of_ask(error, &Method::GET, &line.number);
    let _turn = app.turns.take(tenant).map_err(refused)?;
    let path = [&[line.number.as_str()], edge].concat();
    let query: Vec<(&str, &str)> = fields.iter().map(|fields| ("fields", fields.as_str())).collect();
    let answer = app.graph.get(&line.token, &path, &query).await;
    answer.map_err(|error| refused(AskError::of(line, error)))
}
