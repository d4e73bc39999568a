//! What an address names.

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use super::error::GraphError;
use crate::App;

/// The object of `/graph/{version}/{id}…`. Any version is taken: the provider is asked in our own.
#[derive(Debug)]
pub(super) struct Node {
    /// As the client writes it.
    pub(super) version: String,
    pub(super) id: String,
}

impl FromRequestParts<App> for Node {
    type Rejection = GraphError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, GraphError> {
        let named: Result<Path<(String, String)>, PathRejection> = Path::from_request_parts(parts, app).await;
        let path = parts.uri.path();
        let unknown = || GraphError::unknown_path(path.trim_start_matches("/graph"));
        let Path((version, id)) = named.map_err(|_| unknown())?;
        if is_version(&version) { Ok(Self { version, id }) } else { Err(unknown()) }
    }
}

/// `v24.0` and the like.
fn is_version(text: &str) -> bool {
    let digits = |part: &str| (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = text.strip_prefix('v').and_then(|text| text.split_once('.'));
    parts.is_some_and(|(major, minor)| digits(major) && digits(minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_two_numbers() {
        assert!(is_version("v24.0") && is_version("v3.15"));
        for other in ["", "v", "24.0", "v24", "v24.", "v.0", "v24.0.1", "V24.0", "v24.x", "messages"] {
            assert!(!is_version(other), "{other}");
        }
    }
}
