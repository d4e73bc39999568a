//! `POST /v1/endpoints/{id}/replay` and `GET /v1/endpoints/{id}/replays`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use staffetta_domain::TenantId;
use staffetta_store::ReplayJob;
use tracing::info;
use utoipa::ToSchema;

use super::{EndpointError, key_of, own, own_delivered, within};
use crate::App;
use crate::body;
use crate::caller::{Caller, Manager, Reader};
use crate::channels::Page;
use crate::query::InvalidParameter;

/// Most replays of an endpoint that have not ended.
const MOST: usize = 5;

/// Which events are to be delivered once more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replaying {
    /// Events that were stored at this time or later (RFC 3339).
    #[serde(default)]
    from: Option<String>,
    /// Events that were stored before this time; now if it is not said.
    #[serde(default)]
    until: Option<String>,
}

/// Events that are being delivered once more.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventReplay)]
pub(crate) struct ReplayView {
    id: i64,
    from: String,
    until: String,
    asked: String,
    /// The place on EVENTS of the next event that is looked at.
    next: u64,
    /// The place of the last one.
    last: u64,
}

impl From<ReplayJob> for ReplayView {
    fn from(ReplayJob { id, next, last, from, until, asked, .. }: ReplayJob) -> Self {
        Self { id, from: from.to_string(), until: until.to_string(), asked: asked.to_string(), next, last }
    }
}

/// `GET /v1/endpoints/{id}/replays`: those that have not ended, oldest first.
#[utoipa::path(
    get,
    path = "/v1/endpoints/{id}/replays",
    operation_id = "list_replays",
    tag = "endpoints",
    params(("id" = String, Path, description = "The endpoint's id")),
    responses(
        (status = 200, description = "The replays, all on one page", body = Page<ReplayView>),
        (status = 404, description = "`endpoint-not-found`"),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Page<ReplayView>>, EndpointError> {
    let endpoint = own(&app, &tenant.id, id)?;
    let jobs = within(app.store.replays(&key_of(&endpoint))).await?;
    Ok(Json(Page { items: jobs.into_iter().map(ReplayView::from).collect(), next: None }))
}

/// `POST /v1/endpoints/{id}/replay`: delivers the events of a time once more, under the same ids.
///
/// As far as they are still kept. What happens meanwhile goes before.
#[utoipa::path(
    post,
    path = "/v1/endpoints/{id}/replay",
    operation_id = "replay_events",
    tag = "endpoints",
    security(("key" = ["admin"])),
    params(("id" = String, Path, description = "The endpoint's id")),
    request_body = Replaying,
    responses(
        (status = 202, description = "It will be done", body = ReplayView),
        (status = 400, description = "`invalid-parameter`"),
        (status = 404, description = "`endpoint-not-found`"),
        (status = 409, description = "`endpoint-not-delivered`: it is of kind `nats`; `nothing-to-replay`"),
        (status = 429, description = "`too-many-replays`"),
    ),
)]
pub(crate) async fn replay(
    State(app): State<App>,
    Manager(Caller(tenant)): Manager,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<(StatusCode, Json<ReplayView>), EndpointError> {
    let endpoint = own_delivered(&app, &tenant.id, id)?;
    let now = whole_micros(Timestamp::now());
    let (from, until) = range(&body::fields(request).await?, now)?;
    let key = key_of(&endpoint);
    let open = within(app.store.replays(&key)).await?.len();
    if open >= MOST {
        return Err(EndpointError::TooManyReplays(open));
    }
    let (next, last) = within(places(&app, &tenant.id, from, until)).await?;
    let id = within(app.store.add_replay(&key, next, last, from, until, now)).await?;
    info!(tenant = %tenant.id, endpoint = %endpoint.id, next, last, "a replay was asked for");
    let job = ReplayJob { id, key, next, last, from, until, asked: now };
    Ok((StatusCode::ACCEPTED, Json(job.into())))
}

fn range(asked: &Replaying, now: Timestamp) -> Result<(Timestamp, Timestamp), InvalidParameter> {
    let time = |name: &str, text: &str| {
        text.parse::<Timestamp>()
            .map(whole_micros)
            .map_err(|_| InvalidParameter::new(name, "must be a time like 2026-11-21T09:30:00Z"))
    };
    let from = asked.from.as_deref().ok_or_else(|| InvalidParameter::new("from", "is missing"))?;
    let from = time("from", from)?;
    let until = asked.until.as_deref().map(|until| time("until", until)).transpose()?;
    // What happens later is delivered as it happens.
    let until = until.map_or(now, |until| until.min(now));
    match from < until {
        true => Ok((from, until)),
        false => Err(InvalidParameter::new("from", "must be before until, and in the past")),
    }
}

/// As the database keeps it.
fn whole_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// The first and the last place of what was stored in a time.
async fn places(
    app: &App,
    tenant: &TenantId,
    from: Timestamp,
    until: Timestamp,
) -> Result<(u64, u64), EndpointError> {
    let ends = app.events.ends().await?;
    let first = app.events.first_since(tenant, from).await?.ok_or(EndpointError::NothingToReplay)?;
    let after = app.events.first_since(tenant, until).await?;
    let last = after.map_or(ends.last, |after| after - 1);
    if first <= last { Ok((first, last)) } else { Err(EndpointError::NothingToReplay) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_lies_in_the_past_and_has_two_ends() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let read = |from: Option<&str>, until: Option<&str>| {
            let asked = Replaying { from: from.map(Into::into), until: until.map(Into::into) };
            range(&asked, now).map_err(|invalid| invalid.name)
        };
        let (early, late) = ("2026-11-21T09:00:00Z", "2026-11-21T10:00:00Z");
        let times = (early.parse().unwrap(), late.parse().unwrap());
        assert_eq!(read(Some(early), Some(late)), Ok(times));
        assert_eq!(read(Some(early), None), Ok((times.0, now)));
        assert_eq!(read(Some(early), Some("2027-01-01T00:00:00Z")), Ok((times.0, now)));
        for (from, until, field) in [
            (None, Some(late), "from"),
            (Some(late), Some(early), "from"),
            (Some(late), Some(late), "from"),
            (Some("2027-01-01T00:00:00Z"), None, "from"),
            (Some("soon"), None, "from"),
            (Some(early), Some("soon"), "until"),
        ] {
            assert_eq!(read(from, until), Err(field.into()), "{from:?} {until:?}");
        }
    }
}
