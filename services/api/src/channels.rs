//! `/v1/channels`.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use staffetta_bus::{Channel, Provider};
use staffetta_domain::ChannelId;
use staffetta_store::{ChannelHold, StoreError};
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::caller::{Caller, Reader};
use crate::problem::{Kind, Problem};

/// Longest wait for the database.
const LIMIT: Duration = Duration::from_secs(9);

/// Its addresses.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(one))
}

/// Why channels could not be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    #[error("none of your channels has this id")]
    NotFound,
    #[error("whether the channels are stopped can't be looked up")]
    Store(#[from] StoreError),
    #[error("whether the channels are stopped could not be looked up in time")]
    TimedOut,
}

impl IntoResponse for ChannelError {
    fn into_response(self) -> Response {
        match &self {
            Self::NotFound => Problem::of(Kind::NO_CHANNEL, &self),
            Self::Store(error) => Problem::of(Kind::of_store(error), &self).retry_after(2),
            Self::TimedOut => Problem::of(Kind::UNAVAILABLE, &self).retry_after(2),
        }
        .into_response()
    }
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// What to ask for next; null on the last page.
    pub(crate) next: Option<String>,
}

/// One of your numbers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Channel)]
pub(crate) struct ChannelView {
    #[schema(example = "acme-orders")]
    id: String,
    /// Whose API it speaks: `cloud_api`, `twilio` or `on_premises`.
    #[schema(value_type = String, example = "cloud_api")]
    provider: Provider,
    /// WhatsApp's id of the number.
    phone_number_id: Option<String>,
    /// The number, for people.
    display_phone_number: Option<String>,
    /// Most messages a second, sent and received together.
    rate: u32,
    /// Null while the channel may send.
    hold: Option<HoldView>,
}

/// Why a channel has stopped.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Hold)]
struct HoldView {
    /// With what it has to do: `token` or `account`.
    class: String,
    /// WhatsApp's code.
    code: i64,
    /// WhatsApp's words.
    reason: String,
    #[schema(format = DateTime)]
    since: String,
}

impl ChannelView {
    fn of(channel: &Channel, hold: Option<ChannelHold>) -> Self {
        Self {
            id: channel.id.to_string(),
            provider: channel.provider,
            phone_number_id: channel.phone_number_id.clone(),
            display_phone_number: channel.display_phone_number.clone(),
            rate: channel.rate,
            hold: hold.map(HoldView::from),
        }
    }
}

impl From<ChannelHold> for HoldView {
    fn from(ChannelHold { class, code, reason, since, .. }: ChannelHold) -> Self {
        Self { class, code, reason, since: since.to_string() }
    }
}

/// `GET /v1/channels`: the tenant's channels, by id, all on one page.
#[utoipa::path(
    get,
    path = "/v1/channels",
    operation_id = "list_channels",
    tag = "channels",
    responses((status = 200, description = "The channels", body = Page<ChannelView>)),
)]
pub(crate) async fn list(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
) -> Result<Json<Page<ChannelView>>, ChannelError> {
    let holds = within(app.store.holds(Some(&tenant.id))).await?;
    let mut holds: HashMap<ChannelId, ChannelHold> =
        holds.into_iter().map(|hold| (hold.channel.clone(), hold)).collect();
    let registry = app.registry.load();
    let own = registry.channels().filter(|channel| channel.tenant.id == tenant.id);
    let mut items: Vec<ChannelView> =
        own.map(|channel| ChannelView::of(channel, holds.remove(&channel.id))).collect();
    items.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(Json(Page { items, next: None }))
}

/// `GET /v1/channels/{id}`: one of them.
///
/// Another tenant's is told from none in no way.
#[utoipa::path(
    get,
    path = "/v1/channels/{id}",
    operation_id = "get_channel",
    tag = "channels",
    params(("id" = String, Path, description = "The channel's id", example = "acme-orders")),
    responses(
        (status = 200, description = "The channel", body = ChannelView),
        (status = 404, description = "`channel-not-found`"),
    ),
)]
pub(crate) async fn one(
    State(app): State<App>,
    Reader(caller): Reader,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<ChannelView>, ChannelError> {
    let id = id.ok().and_then(|Path(id)| id.parse::<ChannelId>().ok()).ok_or(ChannelError::NotFound)?;
    let registry = app.registry.load();
    let channel = registry.channel(&id).filter(|_| caller.owns(&registry, &id));
    let channel = channel.ok_or(ChannelError::NotFound)?;
    let hold = within(app.store.hold(&caller.0.id, &id)).await?;
    Ok(Json(ChannelView::of(channel, hold)))
}

/// The store's answer, within the time limit.
async fn within<T>(asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, ChannelError> {
    Ok(timeout(LIMIT, asked).await.map_err(|_| ChannelError::TimedOut)??)
}
