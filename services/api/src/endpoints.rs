//! `/v1/endpoints`: where a tenant's events go, and how that is going.

mod attempts;
mod list;
mod replay;
mod switch;
mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse, Response};
use staffetta_bus::{Endpoint, QueueError, Target};
use staffetta_domain::{EndpointId, TenantId};
use staffetta_store::{EndpointKey, StoreError};
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::body::BodyError;
use crate::problem::{Kind, Problem};
use crate::query::InvalidParameter;

/// Longest wait for the database, and for EVENTS.
const LIMIT: Duration = Duration::from_secs(4);

/// Its addresses.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list))
        .routes(routes!(list::one))
        .routes(routes!(attempts::attempts))
        .routes(routes!(switch::enable))
        .routes(routes!(switch::disable))
        .routes(routes!(replay::list))
        .routes(routes!(replay::replay))
}

/// Why endpoints could not be shown or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EndpointError {
    #[error(transparent)]
    Invalid(#[from] InvalidParameter),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("none of your endpoints has this id")]
    NotFound,
    #[error("nothing is delivered to an endpoint of kind nats: you fetch its events yourself")]
    NotDelivered,
    #[error("no event that is still kept was stored in this time")]
    NothingToReplay,
    #[error("{0} replays of this endpoint have not ended yet, the most that there may be")]
    TooManyReplays(usize),
    #[error("how the endpoint stands can't be looked up or changed")]
    Store(#[from] StoreError),
    #[error("the events can't be looked up")]
    Log(#[from] QueueError),
    #[error("there was no answer in time: ask again")]
    TimedOut,
}

impl IntoResponse for EndpointError {
    fn into_response(self) -> Response {
        match self {
            Self::Body(error) => return error.into_response(),
            Self::Invalid(ref invalid) => {
                Problem::of(Kind::INVALID_PARAMETER, &self).field(invalid.name.clone())
            }
            Self::NotFound => Problem::of(Kind::NO_ENDPOINT, &self),
            Self::NotDelivered => Problem::of(Kind::NOT_DELIVERED, &self),
            Self::NothingToReplay => Problem::of(Kind::NOTHING_TO_REPLAY, &self),
            Self::TooManyReplays(_) => Problem::of(Kind::TOO_MANY_REPLAYS, &self).retry_after(60),
            Self::Store(ref error) => Problem::of(Kind::of_store(error), &self).retry_after(2),
            Self::Log(_) | Self::TimedOut => Problem::of(Kind::UNAVAILABLE, &self).retry_after(2),
        }
        .into_response()
    }
}

/// The tenant's endpoint that the address names. Another's is told from none in no way.
fn own(
    app: &App,
    tenant: &TenantId,
    id: Result<Path<String>, PathRejection>,
) -> Result<Arc<Endpoint>, EndpointError> {
    let id = id.ok().and_then(|Path(id)| id.parse::<EndpointId>().ok()).ok_or(EndpointError::NotFound)?;
    let registry = app.registry.load();
    let endpoint = registry.endpoint(&id).filter(|endpoint| endpoint.tenant.id == *tenant);
    endpoint.cloned().ok_or(EndpointError::NotFound)
}

/// The same, if events are delivered to it.
fn own_delivered(
    app: &App,
    tenant: &TenantId,
    id: Result<Path<String>, PathRejection>,
) -> Result<Arc<Endpoint>, EndpointError> {
    let endpoint = own(app, tenant, id)?;
    match endpoint.target {
        Target::Webhook(_) | Target::Spool(_) => Ok(endpoint),
        Target::Nats => Err(EndpointError::NotDelivered),
    }
}

fn key_of(endpoint: &Endpoint) -> EndpointKey {
    EndpointKey { tenant: endpoint.tenant.id.clone(), endpoint: endpoint.id.clone() }
}

/// The answer, within the time limit.
async fn within<T, E>(asked: impl Future<Output = Result<T, E>>) -> Result<T, EndpointError>
where
    EndpointError: From<E>,
{
    Ok(timeout(LIMIT, asked).await.map_err(|_| EndpointError::TimedOut)??)
}
