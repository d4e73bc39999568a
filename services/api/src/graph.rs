//! The Cloud API's own addresses, for clients that were written for it; and media and templates, which are the provider's.

use utoipa_axum::router::OpenApiRouter;

use crate::App;

/// Its addresses.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
}
