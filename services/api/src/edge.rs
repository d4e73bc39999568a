//! Around every request: its time limit, its measurement, and the answers where no handler is.

use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Histogram;
use staffetta_runtime::telemetry::seconds;
use tokio::time::{Instant, timeout};

use crate::problem::{Kind, Problem};
use crate::provider::UPLOAD_TIME;

/// Longest time for a request, from its head to its answer. The steps of every handler have limits of their own that
/// add up to less: this one only guards against a mistake there.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// What the requests are measured with.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    duration: Histogram<f64>,
}

impl Default for Edge {
    fn default() -> Self {
        let description = "From a request's head to its answer, by route, method and class of status.";
        Self { duration: seconds("http.server.request.duration", description) }
    }
}

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

/// Answers for `next` when it takes too long, and measures the answer.
pub(crate) async fn guard(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    // Outside text must not become a metric's label: there would be no end to them.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = method_label(request.method());
    let limit = limit(route.as_ref().map_or("", MatchedPath::as_str));
    let answered = timeout(limit, next.run(request)).await;
    let response = answered.unwrap_or_else(|_| NoAnswer::TimedOut.into_response());
    let labels = [
        KeyValue::new(
            "http.route",
            route.map_or_else(|| "none".to_owned(), |route| route.as_str().to_owned()),
        ),
        KeyValue::new("http.request.method", method),
        KeyValue::new("http.response.status_class", status_class(response.status())),
    ];
    edge.duration.record(started.elapsed().as_secs_f64(), &labels);
    response
}

/// Only files are large enough to take longer.
fn limit(route: &str) -> Duration {
    if route == "/v1/media" || route == "/graph/{version}/{id}/media" { UPLOAD_TIME } else { REQUEST_LIMIT }
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}

fn status_class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        500..600 => "5xx",
        _ => "1xx",
    }
}

/// Where no route leads.
pub(crate) async fn no_route() -> Response {
    NoAnswer::NoRoute.into_response()
}

/// Where a route does not take the method.
pub(crate) async fn no_method() -> Response {
    NoAnswer::NoMethod.into_response()
}
