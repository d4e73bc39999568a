//! `GET /v1/endpoints/{id}/attempts`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use serde::Serialize;
use staffetta_domain::EventId;
use staffetta_store::{Attempt, AttemptCursor, AttemptFilter};
use utoipa::ToSchema;

use super::{EndpointError, key_of, own, within};
use crate::App;
use crate::caller::{Caller, Reader};
use crate::channels::Page;
use crate::cursor;
use crate::query::{InvalidParameter, Parameters, RawParameters};

/// Longest id of an event.
const EVENT_LIMIT: usize = 64;

/// One try to deliver an event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryAttempt)]
pub(crate) struct AttemptView {
    /// The event's id.
    event: String,
    r#type: &'static str,
    /// When the try began.
    time: String,
    /// Which try of this event it was, from 1.
    attempt: u32,
    duration_ms: u64,
    /// The HTTP status of the answer; null if there was none.
    status: Option<u16>,
    /// Why it failed; null if it did not.
    error: Option<String>,
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            event: attempt.event.to_string(),
            r#type: attempt.kind.as_str(),
            time: attempt.at.to_string(),
            attempt: attempt.attempt,
            duration_ms: u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX),
            status: attempt.status,
            error: attempt.error,
        }
    }
}

/// `GET /v1/endpoints/{id}/attempts`: the tries of the last seven days to deliver events to it, newest first.
#[utoipa::path(
    get,
    path = "/v1/endpoints/{id}/attempts",
    operation_id = "list_attempts",
    tag = "endpoints",
    params(
        ("id" = String, Path, description = "The endpoint's id"),
        ("event" = Option<String>, Query, description = "Only tries of the event of this id"),
        ("failed" = Option<bool>, Query, description = "`true`: only tries that failed"),
        ("limit" = Option<u32>, Query, description = "How many tries a page has: 1 to 200, 50 if it is not said"),
        ("cursor" = Option<String>, Query, description = "The `next` of the page before"),
    ),
    responses(
        (status = 200, description = "The tries", body = Page<AttemptView>),
        (status = 400, description = "`invalid-parameter`"),
        (status = 404, description = "`endpoint-not-found`"),
    ),
)]
pub(crate) async fn attempts(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    id: Result<Path<String>, PathRejection>,
    parameters: RawParameters,
) -> Result<Json<Page<AttemptView>>, EndpointError> {
    let endpoint = own(&app, &tenant.id, id)?;
    let mut parameters = Parameters::of(parameters, &["event", "failed", "limit", "cursor"])?;
    let filter = filter(&mut parameters)?;
    let limit = parameters.limit()?;
    let list = [tenant.id.as_str(), "attempts", endpoint.id.as_str()];
    let after = parameters.take("cursor").map(|text| cursor::read(&list, &text)).transpose()?;
    let after = after.map(|(at, id)| AttemptCursor { at, id });
    let mut found = within(app.store.attempts(&key_of(&endpoint), &filter, after, limit + 1)).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| more).map(|(last, _)| cursor::write(&list, last.at, last.id));
    Ok(Json(Page { items: found.into_iter().map(|(_, attempt)| attempt.into()).collect(), next }))
}

fn filter(parameters: &mut Parameters) -> Result<AttemptFilter, InvalidParameter> {
    let event = match parameters.take("event") {
        Some(id)
            if id.is_empty() || id.len() > EVENT_LIMIT || !id.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            return Err(InvalidParameter::new("event", "must be an event's id"));
        }
        event => event.map(|id| EventId::kept(&id)),
    };
    let failed_only = match parameters.take("failed").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(InvalidParameter::new("failed", "must be true or false")),
    };
    Ok(AttemptFilter { event, failed_only })
}
