//! `GET /admin/v1/status`: how everybody's traffic stands.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use staffetta_bus::{DeadStream, LetterFilter, Registry, SendQueue, Tenant};
use staffetta_domain::{ChannelId, Lane, TenantId};
use staffetta_store::{ChannelHold, EndpointState};
use utoipa::ToSchema;

use super::error::within;
use super::{AdminError, Operator};
use crate::App;
use crate::channels::Page;
use crate::query::{InvalidParameter, Parameters, RawParameters};

/// Tenants that are looked at together.
const TOGETHER: usize = 8;

/// How a tenant's traffic stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TenantStatus {
    tenant: String,
    name: String,
    channels: Vec<ChannelStatus>,
    endpoints: EndpointsStatus,
    /// How many letters wait on DEAD.
    dead_letters: u64,
}

/// How a channel stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChannelStatus {
    id: String,
    /// Why it has stopped; null while it may send.
    hold: Option<String>,
    backlog: BacklogStatus,
}

/// How many commands wait in each lane, some among them that are just settled.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
pub(crate) struct BacklogStatus {
    urgent: u64,
    normal: u64,
    bulk: u64,
}

/// How a tenant's endpoints stand.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct EndpointsStatus {
    /// How many are registered.
    count: usize,
    /// Those to which nothing could be delivered of late.
    failing: Vec<String>,
    /// Those that were given up, or disabled by request.
    disabled: Vec<String>,
    /// Those whose secrets can't be had.
    broken: Vec<String>,
    /// Events that wait for another try.
    parked: u64,
}

/// What is looked up once for all.
struct Common {
    registry: Arc<Registry>,
    holds: HashMap<(TenantId, ChannelId), ChannelHold>,
    backlog: HashMap<(TenantId, ChannelId), BacklogStatus>,
}

/// `GET /admin/v1/status`: how each tenant's traffic stands, by the tenant's id.
#[utoipa::path(
    get,
    path = "/admin/v1/status",
    operation_id = "admin_status",
    tag = "admin",
    params(
        ("limit" = Option<u32>, Query, description = "How many tenants a page has: 1 to 200, 50 if it is not said"),
        ("cursor" = Option<String>, Query, description = "The `next` of the page before"),
    ),
    responses(
        (status = 200, description = "The tenants", body = Page<TenantStatus>),
        (status = 400, description = "`invalid-parameter`"),
    ),
)]
pub(crate) async fn status(
    State(app): State<App>,
    _: Operator,
    parameters: RawParameters,
) -> Result<Json<Page<TenantStatus>>, AdminError> {
    let mut parameters = Parameters::of(parameters, &["limit", "cursor"])?;
    let limit = parameters.limit()? as usize;
    let after = parameters.take("cursor").map(|text| text.parse::<TenantId>());
    let after =
        after.transpose().map_err(|_| InvalidParameter::new("cursor", "is none that was given here"))?;
    let registry = app.registry.load();
    let mut tenants: Vec<Arc<Tenant>> = registry.tenants().cloned().collect();
    tenants.retain(|tenant| after.as_ref().is_none_or(|after| tenant.id > *after));
    tenants.sort_by(|a, b| a.id.cmp(&b.id));
    let more = tenants.len() > limit;
    tenants.truncate(limit);
    let next = tenants.last().filter(|_| more).map(|last| last.id.to_string());
    within(async {
        let common = Common::look_up(&app, registry).await?;
        let looked = stream::iter(tenants).map(|tenant| common.of_tenant(&app, tenant));
        let items = looked.buffered(TOGETHER).try_collect().await?;
        Ok(Json(Page { items, next }))
    })
    .await
}

impl Common {
    async fn look_up(app: &App, registry: Arc<Registry>) -> Result<Self, AdminError> {
        let holds = app.store.holds(None).await?;
        let holds = holds.into_iter().map(|hold| ((hold.tenant.clone(), hold.channel.clone()), hold));
        let mut backlog: HashMap<_, BacklogStatus> = HashMap::new();
        for lane in SendQueue::new(app.bus.clone()).backlog().await? {
            let of_channel = backlog.entry((lane.subject.tenant, lane.subject.channel)).or_default();
            match lane.subject.lane {
                Lane::Urgent => of_channel.urgent += lane.messages,
                Lane::Normal => of_channel.normal += lane.messages,
                Lane::Bulk => of_channel.bulk += lane.messages,
            }
        }
        Ok(Self { registry, holds: holds.collect(), backlog })
    }

    async fn of_tenant(&self, app: &App, tenant: Arc<Tenant>) -> Result<TenantStatus, AdminError> {
        let own = self.registry.channels().filter(|channel| channel.tenant.id == tenant.id);
        let mut channels: Vec<ChannelStatus> =
            own.map(|channel| self.of_channel(&tenant.id, &channel.id)).collect();
        channels.sort_by(|a, b| a.id.cmp(&b.id));
        let states = app.store.endpoint_states(&tenant.id).await?;
        let filter = LetterFilter { tenant: Some(tenant.id.clone()), ..LetterFilter::default() };
        let letters = DeadStream::new(app.bus.clone()).page(&filter, None, 1).await?;
        Ok(TenantStatus {
            tenant: tenant.id.to_string(),
            name: tenant.name.clone(),
            channels,
            endpoints: self.of_endpoints(&tenant.id, states),
            dead_letters: letters.looked_at + letters.left,
        })
    }

    fn of_channel(&self, tenant: &TenantId, channel: &ChannelId) -> ChannelStatus {
        let key = (tenant.clone(), channel.clone());
        ChannelStatus {
            id: channel.to_string(),
            hold: self.holds.get(&key).map(|hold| hold.reason.clone()),
            backlog: self.backlog.get(&key).copied().unwrap_or_default(),
        }
    }

    fn of_endpoints(&self, tenant: &TenantId, states: Vec<EndpointState>) -> EndpointsStatus {
        let mut status = EndpointsStatus::default();
        let own = || self.registry.endpoints().filter(|endpoint| endpoint.tenant.id == *tenant);
        for endpoint in own() {
            status.count += 1;
            if endpoint.problem.is_some() {
                status.broken.push(endpoint.id.to_string());
            }
        }
        status.broken.sort();
        // What is no longer registered is about to be forgotten.
        for state in
            states.into_iter().filter(|state| own().any(|endpoint| endpoint.id == state.key.endpoint))
        {
            status.parked += state.parked;
            if state.disabled.is_some() {
                status.disabled.push(state.key.endpoint.to_string());
            } else if state.failing_since.is_some() {
                status.failing.push(state.key.endpoint.to_string());
            }
        }
        status
    }
}
