//! `GET /v1/events`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use staffetta_bus::QueueError;
use tokio::time::timeout;

use super::feed::Feed;
use super::filter::Filter;
use super::live::TooMany;
use super::place::{self, Gone};
use crate::App;
use crate::caller::{Caller, Reader, key_of};
use crate::problem::{Kind, Problem};
use crate::query::{InvalidParameter, Parameters, RawParameters};

/// Longest time to find where a stream begins.
const LIMIT: Duration = Duration::from_secs(9);

/// Why events are not streamed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EventsError {
    #[error(transparent)]
    Invalid(#[from] InvalidParameter),
    #[error(transparent)]
    Gone(#[from] Gone),
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error("the events can't be looked up")]
    Log(#[from] QueueError),
    #[error("the events could not be looked up in time")]
    TimedOut,
}

impl IntoResponse for EventsError {
    fn into_response(self) -> Response {
        match &self {
            Self::Invalid(invalid) => Problem::of(Kind::INVALID_PARAMETER, &self).field(invalid.name.clone()),
            Self::Gone(_) => Problem::of(Kind::EVENTS_GONE, &self).field("since".into()),
            Self::TooMany(_) => Problem::of(Kind::TOO_MANY_STREAMS, &self).retry_after(10),
            Self::Log(_) | Self::TimedOut => Problem::of(Kind::UNAVAILABLE, &self).retry_after(2),
        }
        .into_response()
    }
}

/// `GET /v1/events`: the tenant's events as they happen, as server-sent events.
///
/// Each has the event's place as its `id`, its type as `event` and the CloudEvent, as JSON on one line, as `data`. A
/// stream that is cut goes on where it ended, without a gap and without a repeat, when the client sends the last `id`
/// as `Last-Event-ID`. Lines that begin with a colon only show that the connection lives.
#[utoipa::path(
    get,
    path = "/v1/events",
    operation_id = "stream_events",
    tag = "events",
    params(
        ("channel" = Option<String>, Query, description = "Only events of this channel; several separated by commas"),
        ("type" = Option<String>, Query, description = "Only events of this type, with or without `staffetta.`; `*` at the end for all that begin so; several separated by commas"),
        ("since" = Option<String>, Query, description = "Begin with the first event stored at this time or later (RFC 3339); without it, with what happens from now on"),
        ("Last-Event-ID" = Option<String>, Header, description = "The last `id` that was received: go on after it. Counts more than `since`"),
    ),
    responses(
        (status = 200, description = "Events, without end", body = String, content_type = "text/event-stream"),
        (status = 400, description = "`invalid-parameter`"),
        (status = 410, description = "`events-gone`: what followed the `Last-Event-ID` is kept no more"),
        (status = 429, description = "`too-many-streams`, or `rate-limited`"),
    ),
)]
pub(crate) async fn events(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    headers: HeaderMap,
    parameters: RawParameters,
) -> Result<Response, EventsError> {
    let mut parameters = Parameters::of(parameters, &["channel", "type", "since"])?;
    let filter = Filter::of(&mut parameters)?;
    let start = place::wanted(&headers, &mut parameters)?;
    let key = match key_of(&app, &headers) {
        Ok(key) => key,
        // It was known a moment ago.
        Err(refused) => return Ok(refused.into_response()),
    };
    let seat = app.live.enter(&key)?;
    let place = timeout(LIMIT, place::find(&app.events, &tenant.id, start)).await;
    let place = place.map_err(|_| EventsError::TimedOut)??;
    let feed = Feed::new(app, seat, &headers, filter, place);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Proxies that keep back what is small would keep back everything here.
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(feed.stream())).into_response())
}
