//! `/admin/v1/holds`: channels that have stopped until somebody acts.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::Serialize;
use staffetta_domain::ChannelId;
use staffetta_store::ChannelHold;
use tracing::info;
use utoipa::ToSchema;

use super::error::within;
use super::{AdminError, Operator};
use crate::App;
use crate::channels::Page;

/// A channel that has stopped.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChannelHold)]
pub(crate) struct OperatorsHoldView {
    tenant: String,
    channel: String,
    /// What sort of error stopped it.
    class: String,
    /// The provider's code.
    code: i64,
    reason: String,
    since: String,
}

impl From<ChannelHold> for OperatorsHoldView {
    fn from(ChannelHold { tenant, channel, class, code, reason, since }: ChannelHold) -> Self {
        let (tenant, channel) = (tenant.to_string(), channel.to_string());
        Self { tenant, channel, class, code, reason, since: since.to_string() }
    }
}

/// `GET /admin/v1/holds`: all channels that have stopped until somebody acts.
#[utoipa::path(
    get,
    path = "/admin/v1/holds",
    operation_id = "admin_list_holds",
    tag = "admin",
    responses(
        (status = 200, description = "The holds, all on one page", body = Page<OperatorsHoldView>),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    _: Operator,
) -> Result<Json<Page<OperatorsHoldView>>, AdminError> {
    let holds = within(async { Ok(app.store.holds(None).await?) }).await?;
    Ok(Json(Page { items: holds.into_iter().map(OperatorsHoldView::from).collect(), next: None }))
}

/// `DELETE /admin/v1/holds/{channel}`: lets a channel try again, once the cause is gone.
///
/// The dispatcher looks for lifted holds every other second.
#[utoipa::path(
    delete,
    path = "/admin/v1/holds/{channel}",
    operation_id = "admin_lift_hold",
    tag = "admin",
    params(("channel" = String, Path, description = "The channel's id")),
    responses(
        (status = 200, description = "What was lifted; more than one where the channel has had more than one tenant", body = Page<OperatorsHoldView>),
        (status = 404, description = "`hold-not-found`"),
    ),
)]
pub(crate) async fn lift(
    State(app): State<App>,
    operator: Operator,
    channel: Result<Path<String>, PathRejection>,
) -> Result<Json<Page<OperatorsHoldView>>, AdminError> {
    let channel = channel.ok().and_then(|Path(id)| id.parse::<ChannelId>().ok()).ok_or(AdminError::NoHold)?;
    within(async {
        let mut items = Vec::new();
        for hold in app.store.holds(None).await? {
            if hold.channel == channel && app.store.lift_hold(&hold.tenant, &channel).await? {
                info!(operator = operator.id, tenant = %hold.tenant, %channel, "an operator lifted a hold");
                items.push(OperatorsHoldView::from(hold));
            }
        }
        if items.is_empty() { Err(AdminError::NoHold) } else { Ok(Json(Page { items, next: None })) }
    })
    .await
}
