//! `/admin/v1`: the registry and how everybody's traffic stands, for operators.
//!
//! It writes the same registry as `staffetta apply`. Whoever asks shows one of the configured operators' keys; without
//! one, the answer is 401 whatever was asked for and whether any key is configured or not. Not 404: an operator whose
//! installation has no key is to learn what is missing, and that these addresses exist is no secret.

mod apply;
mod entries;
mod error;
mod export;
mod holds;
mod keys;
mod kind;
mod operator;
mod precondition;
mod status;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::error::AdminError;
use self::kind::Kind;
use self::operator::Operator;
use crate::App;

/// Its addresses.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(entries::list))
        .routes(routes!(entries::read, entries::write, entries::delete))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::delete))
        .routes(routes!(apply::apply))
        .routes(routes!(export::export))
        .routes(routes!(holds::list))
        .routes(routes!(holds::lift))
        .routes(routes!(status::status))
}
