//! Who asks.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use staffetta_bus::{Registry, Tenant};
use staffetta_domain::ChannelId;

use crate::App;
use crate::problem::{Kind, Problem};

/// The tenant whose key the request shows. A handler that takes one is closed to everybody else.
#[derive(Debug)]
pub(crate) struct Caller(pub(crate) Arc<Tenant>);

impl Caller {
    /// Whether the tenant owns that channel. It is not told the others' channels from those that don't exist.
    pub(crate) fn owns(&self, registry: &Registry, channel: &ChannelId) -> bool {
        registry.channel(channel).is_some_and(|channel| channel.tenant.id == self.0.id)
    }
}

/// Nobody that we know.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unauthorized {
    #[error("the header Authorization must be: Bearer, a space and an API key")]
    NoKey,
    #[error("this API key is not known")]
    UnknownKey,
}

impl IntoResponse for Unauthorized {
    fn into_response(self) -> Response {
        let challenge = match &self {
            Self::NoKey => r#"Bearer realm="staffetta""#,
            Self::UnknownKey => r#"Bearer realm="staffetta", error="invalid_token""#,
        };
        Problem::of(Kind::UNAUTHORIZED, &self).authenticate(challenge).into_response()
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Unauthorized;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Unauthorized> {
        let key = bearer_key(&parts.headers).ok_or(Unauthorized::NoKey)?;
        let tenant = app.registry.load().tenant_of_key(key).cloned();
        tenant.map(Self).ok_or(Unauthorized::UnknownKey)
    }
}

/// The key of `Authorization: Bearer <key>`; the scheme's case does not count.
fn bearer_key(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(AUTHORIZATION).map(HeaderValue::to_str)?.ok()?.split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_a_bearer_header_alone() {
        let key = |value: &'static str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
            bearer_key(&headers).map(str::to_owned)
        };
        assert_eq!(key("Bearer k1").as_deref(), Some("k1"));
        assert_eq!(key("bearer  k1 ").as_deref(), Some("k1"));
        for other in ["", "k1", "Bearer", "Bearer ", "Basic k1", "Bearerk1"] {
            assert_eq!(key(other), None, "{other}");
        }
        assert_eq!(bearer_key(&HeaderMap::new()), None);
    }
}
