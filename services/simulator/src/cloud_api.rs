//! The Cloud API over HTTP: `/<object>` and `/<object>/<edge>`, with and without a version in front.

mod accounts;
mod files;
mod numbers;
mod paging;
mod tokens;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};

use crate::graph_error::GraphError;
use crate::media::DOWNLOADS;
use crate::sends::{Answer, Verdict};
use crate::server::Cut;
use crate::validate;
use crate::world::World;

/// The largest JSON body that is read.
const BODY_LIMIT: usize = 1024 * 1024;
/// How long a body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(30);

const EDGE_PAGE: &str = "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head>\
    <body><h1>Sorry, something went wrong.</h1></body></html>";

/// What a request other than a send is answered with.
type Reply = Result<Value, GraphError>;

/// Every path that is not the control side's.
pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new().route(DOWNLOADS, get(files::download)).fallback(graph)
}

/// Who asks what of which object.
struct Call<'a> {
    world: &'a World,
    id: &'a str,
    token: Option<String>,
    query: HashMap<String, String>,
    /// How the client calls this server, for links in answers.
    host: String,
}

async fn graph(State(world): State<Arc<World>>, request: Request) -> Response {
    let arrived = Instant::now();
    let path = request.uri().path().to_owned();
    let Some((id, edge)) = object(&path) else {
        return refuse(&world, &GraphError::with(2_500, format!("Unknown path components: {path}")));
    };
    let call = Call::of(&world, id, &request);
    let method = request.method().clone();
    let reply = match (method.as_str(), edge) {
        ("POST", Some("messages")) => return send(&call, request, arrived).await,
        ("POST", Some("media")) => files::upload(&call, request).await,
        ("GET", None) if call.id == "debug_token" => tokens::debug(&call),
        ("GET", None) if call.is_number() => numbers::node(&call),
        ("GET", None) => files::look_up(&call),
        ("DELETE", None) => files::delete(&call),
        ("POST", None) => numbers::change_pin(&call, request).await,
        ("POST", Some("register")) => numbers::register(&call, request).await,
        ("POST", Some("deregister")) => numbers::deregister(&call),
        ("GET", Some("whatsapp_business_profile")) => numbers::profile(&call),
        ("POST", Some("whatsapp_business_profile")) => numbers::change_profile(&call, request).await,
        ("GET", Some("phone_numbers")) => accounts::phone_numbers(&call),
        ("GET", Some("message_templates")) => accounts::message_templates(&call),
        ("GET", Some("subscribed_apps")) => accounts::subscribed_apps(&call),
        ("POST", Some("subscribed_apps")) => accounts::subscribe(&call, request).await,
        ("DELETE", Some("subscribed_apps")) => accounts::unsubscribe(&call),
        _ => Err(GraphError::unknown_object(id)),
    };
    match reply {
        Ok(body) => axum::Json(body).into_response(),
        Err(error) => refuse(&world, &error),
    }
}

impl<'a> Call<'a> {
    fn of(world: &'a World, id: &'a str, request: &Request) -> Self {
        let query = Query::<HashMap<String, String>>::try_from_uri(request.uri());
        let query = query.map(|Query(query)| query).unwrap_or_default();
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        // As Graph does, a token is taken from the query too: links to a next page carry theirs there.
        let token =
            bearer(request.headers()).map(str::to_owned).or_else(|| query.get("access_token").cloned());
        Self { world, id, token, query, host: host.to_owned() }
    }

    fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    fn is_number(&self) -> bool {
        self.world.state().channels.contains_key(self.id)
    }

    fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }
}

/// `POST /<number>/messages`: takes a message, as far as the rules let it.
async fn send(call: &Call<'_>, request: Request, arrived: Instant) -> Response {
    let world = call.world;
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
        world.receive(call.id, call.token(), request, arrived);
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

/// The parameters in a JSON body; none where there is no body.
async fn parameters(request: Request) -> Result<Map<String, Value>, GraphError> {
    let (parts, body) = request.into_parts();
    let body = timeout(BODY_WAIT, to_bytes(body, BODY_LIMIT)).await;
    let Ok(Ok(body)) = body else {
        return Err(GraphError::parameter("The request body is too large, or did not arrive."));
    };
    if body.is_empty() || !is_json(&parts.headers) {
        return Ok(Map::new());
    }
    serde_json::from_slice(&body).map_err(|_| GraphError::parameter("The request body is not a JSON object."))
}

fn success() -> Value {
    json!({ "success": true })
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

/// The object that a path names, and its edge.
fn object(path: &str) -> Option<(&str, Option<&str>)> {
    let path = path.strip_prefix('/')?;
    let rest = match path.split_once('/') {
        Some((version, rest)) if is_version(version) => rest,
        _ => path,
    };
    let (id, edge) = rest.split_once('/').map_or((rest, None), |(id, edge)| (id, Some(edge)));
    let edge = edge.filter(|edge| !edge.is_empty());
    let whole = !id.is_empty() && !is_version(id) && edge.is_none_or(|edge| !edge.contains('/'));
    whole.then_some((id, edge))
}

/// `v23.0` and the like.
fn is_version(part: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    part.strip_prefix('v')
        .and_then(|part| part.split_once('.'))
        .is_some_and(|(major, minor)| digits(major) && digits(minor))
}

#[cfg(test)]
mod tests {
    use super::object;

    #[test]
    fn a_path_names_an_object_and_an_edge() {
        assert_eq!(object("/v23.0/100/messages"), Some(("100", Some("messages"))));
        assert_eq!(object("/100/messages"), Some(("100", Some("messages"))));
        assert_eq!(object("/v23.0/100"), Some(("100", None)));
        assert_eq!(object("/v23.0/100/"), Some(("100", None)));
        assert_eq!(object("/100"), Some(("100", None)));
        for path in ["/", "/v23.0", "/v23.0/", "/v23.0/100/a/b", "/v23.0/v24.0/100", "//100"] {
            assert_eq!(object(path), None, "{path}");
        }
    }
}
