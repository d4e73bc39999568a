//! `/admin/v1`: the registry, for operators.

use utoipa_axum::router::OpenApiRouter;

use crate::App;

/// Its addresses.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
}
