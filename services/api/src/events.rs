//! `/v1/events`: a tenant's events as they happen.

use utoipa_axum::router::OpenApiRouter;

use crate::App;

/// Its addresses.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
}
