//! `POST /v1/endpoints/{id}/enable` and `…/disable`. The service `delivery` looks for such changes every few seconds.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use staffetta_bus::Endpoint;
use staffetta_domain::{ChannelId, Event, EventId, EventType, Object};
use staffetta_runtime::crash::crash_point;
use staffetta_store::Announcement;
use tokio::time::timeout;
use tracing::{info, warn};
use utoipa::ToSchema;

use super::list::shown;
use super::view::EndpointView;
use super::{EndpointError, key_of, own_delivered, within};
use crate::App;
use crate::body;
use crate::caller::{Caller, Manager};
use crate::query::InvalidParameter;

/// Longest time to tell at once what is committed.
const ANNOUNCE_TIME: Duration = Duration::from_secs(2);
/// Longest reason, in characters.
const REASON_LIMIT: usize = 200;

/// Why an endpoint is disabled.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Disabling {
    /// Shown wherever the endpoint is; 200 characters at most.
    #[serde(default)]
    reason: Option<String>,
}

/// `POST /v1/endpoints/{id}/enable`: delivers to the endpoint again, from where it stopped.
///
/// One that is not disabled stays as it is.
#[utoipa::path(
    post,
    path = "/v1/endpoints/{id}/enable",
    operation_id = "enable_endpoint",
    tag = "endpoints",
    security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The endpoint's id")),
    responses(
        (status = 200, description = "The endpoint as it is now", body = EndpointView),
        (status = 404, description = "`endpoint-not-found`"),
        (status = 409, description = "`endpoint-not-delivered`: it is of kind `nats`"),
    ),
)]
pub(crate) async fn enable(
    State(app): State<App>,
    Manager(Caller(tenant)): Manager,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<EndpointView>, EndpointError> {
    let endpoint = own_delivered(&app, &tenant.id, id)?;
    let now = Timestamp::now();
    let event = changed(&endpoint, "enabled", "enabled through the API", now);
    let enabled = within(app.store.enable_endpoint(&key_of(&endpoint), now, &event)).await?;
    if let Some(announcements) = enabled {
        info!(tenant = %tenant.id, endpoint = %endpoint.id, "an endpoint was enabled through the API");
        announce(&app, &announcements).await;
    }
    shown(&app, &endpoint).await.map(Json)
}

/// `POST /v1/endpoints/{id}/disable`: stops the delivery until the endpoint is enabled again.
///
/// What happens meanwhile is delivered then, as far as it is still kept. A change of its entry in the registry enables it
/// too.
#[utoipa::path(
    post,
    path = "/v1/endpoints/{id}/disable",
    operation_id = "disable_endpoint",
    tag = "endpoints",
    security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The endpoint's id")),
    request_body(content = Option<Disabling>, description = "Why, if anybody is to know"),
    responses(
        (status = 200, description = "The endpoint as it is now", body = EndpointView),
        (status = 400, description = "`invalid-parameter`"),
        (status = 404, description = "`endpoint-not-found`"),
        (status = 409, description = "`endpoint-not-delivered`: it is of kind `nats`"),
    ),
)]
pub(crate) async fn disable(
    State(app): State<App>,
    Manager(Caller(tenant)): Manager,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<EndpointView>, EndpointError> {
    let endpoint = own_delivered(&app, &tenant.id, id)?;
    let reason = body::fields::<Disabling>(request).await?.reason;
    let reason = reason.unwrap_or_else(|| "disabled through the API".to_owned());
    if reason.chars().count() > REASON_LIMIT || reason.chars().any(char::is_control) {
        let problem = format!("must have at most {REASON_LIMIT} characters, on one line");
        return Err(InvalidParameter::new("reason", problem).into());
    }
    let now = Timestamp::now();
    let event = changed(&endpoint, "disabled", &reason, now);
    let key = key_of(&endpoint);
    let disabling = app.store.disable_endpoint(&key, &reason, endpoint.revision, now, &event);
    let announcements = within(disabling).await?;
    if !announcements.is_empty() {
        info!(tenant = %tenant.id, endpoint = %endpoint.id, "an endpoint was disabled through the API");
    }
    announce(&app, &announcements).await;
    shown(&app, &endpoint).await.map(Json)
}

fn changed(endpoint: &Endpoint, change: &str, reason: &str, time: Timestamp) -> Event {
    let (tenant, id) = (&endpoint.tenant.id, &endpoint.id);
    let data = [("endpoint", json!(id.as_str())), ("change", json!(change)), ("reason", json!(reason))];
    Event {
        // An endpoint is disabled and enabled again and again: each time is another event.
        id: EventId::of(&["endpoint", tenant.as_str(), id.as_str(), change, &time.to_string()]),
        tenant: tenant.clone(),
        channel: "none".parse::<ChannelId>().expect("a channel's id may be this word"),
        kind: EventType::EndpointChanged,
        time,
        subject: id.to_string(),
        data: Object::from_iter(data.map(|(name, value)| (name.to_owned(), value))),
        trace: None,
    }
}

/// Tells at once what is committed. What takes longer is left to the sweep.
async fn announce(app: &App, announcements: &[Announcement]) {
    if announcements.is_empty() {
        return;
    }
    crash_point("api.endpoint-changed");
    if timeout(ANNOUNCE_TIME, app.announcer.announce(announcements)).await.is_err() {
        warn!("an endpoint's event could not be announced yet");
    }
}
