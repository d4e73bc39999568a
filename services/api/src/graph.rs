//! The Cloud API's own addresses, for clients that were written for it: with another base URL, and an API key in place of
//! Meta's token, they go on as they are.
//!
//! Messages take the way of all messages: through the queue, at the channel's rate, with its retries. What is the
//! provider's own (files, templates, the number, its profile) is asked of the provider with the channel's token.

mod accounts;
mod error;
mod fields;
mod files;
mod lists;
mod marks;
mod messages;
mod node;
mod numbers;
mod objects;

use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::error::GraphError;
pub(crate) use self::fields::{TEMPLATE, keep};
pub(crate) use self::lists::after;
use crate::App;
use crate::messages::BODY_LIMIT;
use crate::problem::Told;
use crate::provider::UPLOAD_LIMIT;

/// What its addresses begin with.
const ROOT: &str = "/graph/";

/// Its addresses.
pub(crate) fn routes() -> OpenApiRouter<App> {
    let messages =
        OpenApiRouter::new().routes(routes!(messages::messages)).layer(DefaultBodyLimit::max(BODY_LIMIT));
    let files =
        OpenApiRouter::new().routes(routes!(files::upload)).layer(DefaultBodyLimit::max(UPLOAD_LIMIT));
    OpenApiRouter::new()
        .merge(messages)
        .merge(files)
        .routes(routes!(objects::read, objects::delete))
        .routes(routes!(files::content))
        .routes(routes!(numbers::profile, numbers::change_profile))
        .routes(routes!(accounts::phone_numbers))
        .routes(routes!(accounts::message_templates))
}

/// Says in Meta's words what is wrong with a request to one of these addresses, whoever found it.
pub(crate) async fn speak(request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with(ROOT) {
        return next.run(request).await;
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let Some(told) = response.extensions_mut().remove::<Told>() else { return response };
    let mut translated = GraphError::translated(response.status(), &told, &method, &path).into_response();
    // What other headers say of the request holds in every language.
    for (name, value) in response.headers() {
        if !translated.headers().contains_key(name) {
            translated.headers_mut().insert(name, value.clone());
        }
    }
    translated
}
