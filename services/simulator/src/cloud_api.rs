//! The Cloud API over HTTP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::graph_error::GraphError;
use crate::sends::{Answer, Verdict};
use crate::server::Cut;
use crate::validate;
use crate::world::World;

/// The largest body of a send that is read.
const BODY_LIMIT: usize = 1024 * 1024;
/// How long a body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(30);

const EDGE_PAGE: &str = "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head>\
    <body><h1>Sorry, something went wrong.</h1></body></html>";

/// `/<number>…`, with and without a version in front.
pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/{number}/messages", post(send).fallback(unsupported))
        .route("/{version}/{number}/messages", post(send_versioned).fallback(unsupported))
        .route("/{number}", get(number).fallback(unsupported))
        .route("/{version}/{number}", get(number_versioned).fallback(unsupported))
        .fallback(unknown_path)
}

/// `POST /<number>/messages`: takes a message, as far as the rules let it.
async fn send(State(world): State<Arc<World>>, Path(number): Path<String>, request: Request) -> Response {
    answer_send(&world, &number, request, Instant::now()).await
}

async fn send_versioned(
    State(world): State<Arc<World>>,
    Path((version, number)): Path<(String, String)>,
    request: Request,
) -> Response {
    let arrived = Instant::now();
    if !is_version(&version) {
        return unknown_path(State(world), request.uri().clone()).await;
    }
    answer_send(&world, &number, request, arrived).await
}

async fn answer_send(world: &World, number: &str, request: Request, arrived: Instant) -> Response {
    let (parts, body) = request.into_parts();
    let body = match timeout(BODY_WAIT, to_bytes(body, BODY_LIMIT)).await {
        Ok(Ok(body)) => body,
        // The client went away, or sent more than any message needs.
        Ok(Err(_)) => return refuse(world, &GraphError::parameter("The request body is too large.")),
        Err(_) => return cut(),
    };
    let request = if is_json(&parts.headers) {
        validate::parse(&body)
    } else {
        // Only JSON is understood here: any other body holds no parameters.
        Err(GraphError::required("messaging_product"))
    };
    let Verdict { delay, answer, retry_after_s, usage } =
        world.receive(number, bearer(&parts.headers), request, arrived);
    if !delay.is_zero() {
        sleep(delay).await;
    }
    let retry_after = retry_after_s.map(HeaderValue::from);
    let (mut response, retry_after) = match answer {
        Answer::Ok(body) => (axum::Json(body).into_response(), None),
        Answer::Error(error) => (refuse(world, &error), retry_after),
        Answer::Html502 => {
            let kind = [(CONTENT_TYPE, "text/html; charset=utf-8")];
            ((StatusCode::BAD_GATEWAY, kind, EDGE_PAGE).into_response(), retry_after)
        }
        Answer::Cut => return cut(),
    };
    response.headers_mut().extend(retry_after.map(|seconds| (RETRY_AFTER, seconds)));
    if let Some(usage) = usage {
        response.headers_mut().extend(usage);
    }
    response
}

#[derive(Debug, Deserialize)]
struct Fields {
    fields: Option<String>,
}

/// `GET /<number>`: what is known of a number, or the `fields` asked for.
async fn number(
    State(world): State<Arc<World>>,
    Path(number): Path<String>,
    Query(Fields { fields }): Query<Fields>,
    headers: HeaderMap,
) -> Response {
    let known = {
        let (now, state) = (world.now(), world.state());
        state.authorise(&number, bearer(&headers)).map(|()| {
            state.channels.get(number.as_str()).map(|channel| {
                json!({
                    "id": number,
                    "display_phone_number": channel.config.display_phone_number,
                    "verified_name": channel.config.verified_name,
                    "quality_rating": "GREEN",
                    "throughput": { "level": channel.level_at(now) },
                })
            })
        })
    };
    match known {
        Ok(Some(mut known)) => {
            if let (Some(fields), Some(known)) = (fields, known.as_object_mut()) {
                known.retain(|name, _| name == "id" || fields.split(',').any(|field| field.trim() == name));
            }
            axum::Json(known).into_response()
        }
        Ok(None) => refuse(&world, &GraphError::unknown_object(&number)),
        Err(error) => refuse(&world, &error),
    }
}

async fn number_versioned(
    State(world): State<Arc<World>>,
    Path((version, number)): Path<(String, String)>,
    query: Query<Fields>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    if !is_version(&version) {
        return unknown_path(State(world), uri).await;
    }
    self::number(State(world), Path(number), query, headers).await
}

async fn unsupported(State(world): State<Arc<World>>, uri: Uri) -> Response {
    let id = uri.path().trim_start_matches('/').split('/').find(|part| !is_version(part)).unwrap_or_default();
    refuse(&world, &GraphError::unknown_object(id))
}

async fn unknown_path(State(world): State<Arc<World>>, uri: Uri) -> Response {
    let error = GraphError::with(2_500, format!("Unknown path components: {}", uri.path()));
    refuse(&world, &error)
}

fn refuse(world: &World, error: &GraphError) -> Response {
    (error.status(), axum::Json(error.body(&world.trace_id()))).into_response()
}

/// Makes the server close the connection instead of answering.
fn cut() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Cut);
    response
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// `v23.0` and the like.
fn is_version(part: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    part.strip_prefix('v')
        .and_then(|part| part.split_once('.'))
        .is_some_and(|(major, minor)| digits(major) && digits(minor))
}
