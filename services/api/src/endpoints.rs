//! `/v1/endpoints`: where a tenant's events go, and how that is going.

use utoipa_axum::router::OpenApiRouter;

use crate::App;

/// Its addresses.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
}
