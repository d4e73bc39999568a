//! Around every request: its time limit, its measurement, and the answers where no handler is.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use staffetta_bus::TRACEPARENT;
use staffetta_domain::TraceParent;
use staffetta_runtime::telemetry::{Served, method_label};
use staffetta_runtime::trace::{Span, Step};
use tokio::time::{Instant, timeout};

use crate::problem::{Kind, Problem};
use crate::provider::UPLOAD_TIME;

/// Longest time for a request, from its head to its answer. The steps of every handler have limits of their own that
/// add up to less: this one only guards against a mistake there.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("nothing is served at this address")]
    NoRoute,
    #[error("the header Allow names the methods that this address takes")]
    NoMethod,
    #[error("there was no answer in time: ask again")]
    TimedOut,
}

impl IntoResponse for NoAnswer {
    fn into_response(self) -> Response {
        match &self {
            Self::NoRoute => Problem::of(Kind::NO_ROUTE, &self),
            Self::NoMethod => Problem::of(Kind::NO_METHOD, &self),
            Self::TimedOut => Problem::of(Kind::UNAVAILABLE, &self).retry_after(2),
        }
        .into_response()
    }
}

/// Answers for `next` when it takes too long, and measures the answer. What `next` does belongs to the request's step in
/// its trace, which stands in the header `traceparent` from here on.
pub(crate) async fn guard(State(served): State<Served>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    // Outside text must not become a metric's label: there would be no end to them.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let method = method_label(request.method());
    let mut span = begin(&mut request, method, route);
    let limit = limit(route);
    let answered = timeout(limit, next.run(request)).await;
    let response = answered.unwrap_or_else(|_| NoAnswer::TimedOut.into_response());
    let status = response.status();
    span.set("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.fail(status.as_str().to_owned());
    }
    served.answered(method, route.to_owned(), status, started.elapsed());
    response
}

fn begin(request: &mut Request, method: &'static str, route: &str) -> Span {
    let parent = request.headers().get(TRACEPARENT).and_then(|parent| parent.to_str().ok()?.parse().ok());
    let mut span = Span::start(Step::Server, format!("{method} {route}"), parent);
    span.set("http.request.method", method);
    span.set("http.route", route.to_owned());
    match span.context().and_then(|here: TraceParent| HeaderValue::from_str(&here.to_string()).ok()) {
        Some(here) => request.headers_mut().insert(TRACEPARENT, here),
        None => request.headers_mut().remove(TRACEPARENT),
    };
    span
}

/// Only files are large enough to take longer.
fn limit(route: &str) -> Duration {
    if route == "/v1/media" || route == "/graph/{version}/{id}/media" { UPLOAD_TIME } else { REQUEST_LIMIT }
}

/// Where no route leads.
pub(crate) async fn no_route() -> Response {
    NoAnswer::NoRoute.into_response()
}

/// Where a route does not take the method.
pub(crate) async fn no_method() -> Response {
    NoAnswer::NoMethod.into_response()
}
