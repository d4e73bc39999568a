//! `/v1/contacts`: whom an ERP knows.

use utoipa_axum::router::OpenApiRouter;

use crate::App;

/// Its addresses.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
}
