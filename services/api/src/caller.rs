//! Who asks.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use staffetta_bus::{Key, Registry, Scope, Tenant};
use staffetta_domain::ChannelId;

use crate::App;
use crate::problem::{Kind, Problem};

/// The tenant whose key the request shows.
#[derive(Clone, Debug)]
pub(crate) struct Caller(pub(crate) Arc<Tenant>);

impl Caller {
    /// Whether the tenant owns that channel. It is not told the others' channels from those that don't exist.
    pub(crate) fn owns(&self, registry: &Registry, channel: &ChannelId) -> bool {
        registry.channel(channel).is_some_and(|channel| channel.tenant.id == self.0.id)
    }
}

/// The key that a request shows, as it was found before anything else was done for the request: left in the request's
/// extensions by [`limits::guard`](crate::limits::guard).
#[derive(Clone, Debug)]
pub(crate) struct Shown(pub(crate) Result<Arc<Key>, Refused>);

impl Shown {
    /// The key, if it is known and may do that.
    pub(crate) fn key(parts: &Parts, scope: Scope) -> Result<Arc<Key>, Refused> {
        let shown = parts.extensions.get::<Self>().ok_or(Refused::NoKey)?;
        let key = shown.0.clone()?;
        if key.may(scope) { Ok(key) } else { Err(Refused::NoScope(scope)) }
    }
}

/// Nobody that may do this.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the header Authorization must be: Bearer, a space and an API key")]
    NoKey,
    #[error("this API key is not known")]
    UnknownKey,
    #[error("this API key may not do that: it lacks the scope {}", .0.as_str())]
    NoScope(Scope),
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let challenge = match &self {
            Self::NoKey => r#"Bearer realm="staffetta""#,
            Self::UnknownKey => r#"Bearer realm="staffetta", error="invalid_token""#,
            Self::NoScope(_) => {
                let challenge = r#"Bearer realm="staffetta", error="insufficient_scope""#;
                return Problem::of(Kind::FORBIDDEN, &self).authenticate(challenge).into_response();
            }
        };
        Problem::of(Kind::UNAUTHORIZED, &self).authenticate(challenge).into_response()
    }
}

/// The key that a request shows, if it is one of a tenant's and its time is not over. One that has expired is as unknown
/// as one that never was.
pub(crate) fn key_of(app: &App, headers: &HeaderMap) -> Result<Arc<Key>, Refused> {
    let shown = bearer_key(headers).ok_or(Refused::NoKey)?;
    let key = app.registry.load().key(shown).cloned().ok_or(Refused::UnknownKey)?;
    if key.has_expired(Timestamp::now()) { Err(Refused::UnknownKey) } else { Ok(key) }
}

macro_rules! callers {
    ($($(#[$doc:meta])* $name:ident = $scope:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name(pub(crate) Caller);

        impl FromRequestParts<App> for $name {
            type Rejection = Refused;

            async fn from_request_parts(parts: &mut Parts, _app: &App) -> Result<Self, Refused> {
                let key = Shown::key(parts, Scope::$scope)?;
                Ok(Self(Caller(Arc::clone(&key.tenant))))
            }
        }
    )*};
}

callers! {
    /// A tenant whose key may read. A handler that takes one is closed to everybody else.
    Reader = Read;
    /// A tenant whose key may send. A handler that takes one is closed to everybody else.
    Sender = Send;
    /// A tenant whose key may administer. A handler that takes one is closed to everybody else.
    Manager = Admin;
}

/// The key of `Authorization: Bearer <key>`; the scheme's case does not count.
pub(crate) fn bearer_key(headers: &HeaderMap) -> Option<&str> {
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
