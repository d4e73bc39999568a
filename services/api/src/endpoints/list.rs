//! `GET /v1/endpoints` and `GET /v1/endpoints/{id}`.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use staffetta_bus::{Endpoint, Target};
use staffetta_domain::EndpointId;
use staffetta_store::EndpointState;

use super::view::EndpointView;
use super::{EndpointError, key_of, own, within};
use crate::App;
use crate::caller::{Caller, Reader};
use crate::channels::Page;
use crate::query::{InvalidParameter, Parameters, RawParameters};

/// Most events that are looked through for the first that an endpoint waits for.
const LOOKED_THROUGH: usize = 100;

/// `GET /v1/endpoints`: the tenant's endpoints, by id.
#[utoipa::path(
    get,
    path = "/v1/endpoints",
    operation_id = "list_endpoints",
    tag = "endpoints",
    params(
        ("limit" = Option<u32>, Query, description = "How many endpoints a page has: 1 to 200, 50 if it is not said"),
        ("cursor" = Option<String>, Query, description = "The `next` of the page before"),
    ),
    responses(
        (status = 200, description = "The endpoints", body = Page<EndpointView>),
        (status = 400, description = "`invalid-parameter`"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    parameters: RawParameters,
) -> Result<Json<Page<EndpointView>>, EndpointError> {
    let mut parameters = Parameters::of(parameters, &["limit", "cursor"])?;
    let limit = parameters.limit()? as usize;
    let after = parameters.take("cursor").map(|text| text.parse::<EndpointId>());
    let after =
        after.transpose().map_err(|_| InvalidParameter::new("cursor", "is none that was given here"))?;
    let states = within(app.store.endpoint_states(&tenant.id)).await?;
    let mut states: HashMap<EndpointId, EndpointState> =
        states.into_iter().map(|state| (state.key.endpoint.clone(), state)).collect();
    let registry = app.registry.load();
    let own = registry.endpoints().filter(|endpoint| endpoint.tenant.id == tenant.id);
    let mut own: Vec<&Arc<Endpoint>> =
        own.filter(|endpoint| after.as_ref().is_none_or(|after| endpoint.id > *after)).collect();
    own.sort_by(|a, b| a.id.cmp(&b.id));
    let more = own.len() > limit;
    own.truncate(limit);
    let next = own.last().filter(|_| more).map(|last| last.id.to_string());
    let view = |endpoint: &Arc<Endpoint>| EndpointView::of(endpoint, states.remove(&endpoint.id));
    Ok(Json(Page { items: own.into_iter().map(view).collect(), next }))
}

/// `GET /v1/endpoints/{id}`: one of them, and since when events wait for it.
///
/// Another tenant's is told from none in no way.
#[utoipa::path(
    get,
    path = "/v1/endpoints/{id}",
    operation_id = "get_endpoint",
    tag = "endpoints",
    params(("id" = String, Path, description = "The endpoint's id")),
    responses(
        (status = 200, description = "The endpoint", body = EndpointView),
        (status = 404, description = "`endpoint-not-found`"),
    ),
)]
pub(crate) async fn one(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<EndpointView>, EndpointError> {
    let endpoint = own(&app, &tenant.id, id)?;
    shown(&app, &endpoint).await.map(Json)
}

/// The endpoint as it stands now.
pub(super) async fn shown(app: &App, endpoint: &Endpoint) -> Result<EndpointView, EndpointError> {
    let state = within(app.store.endpoint_state(&key_of(endpoint))).await?;
    let cursor = state.as_ref().map_or(0, |state| state.cursor);
    let view = EndpointView::of(endpoint, state);
    if matches!(endpoint.target, Target::Nats) || cursor == 0 {
        return Ok(view);
    }
    let batch = within(app.events.read(&endpoint.tenant.id, cursor, LOOKED_THROUGH, 0)).await?;
    let oldest = batch.events.iter().find(|logged| endpoint.wants(&logged.event));
    Ok(view.waiting_since(oldest.map(|logged| logged.stored.to_string())))
}
