//! `/v1/events`: a tenant's events as they happen.

mod feed;
mod filter;
mod live;
mod place;
mod stream;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::live::Live;
use crate::App;

/// Its addresses.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(stream::events))
}
