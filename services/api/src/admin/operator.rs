//! Who runs the installation.

use std::net::Ipv6Addr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;
use staffetta_runtime::config::ApiConfig;
use staffetta_runtime::http::Peer;
use tokio::time::Instant;
use tracing::warn;

use crate::App;
use crate::caller::{Refused, bearer_key};
use crate::limits::TooMany;

/// An operator. A handler that takes one is closed to everybody else.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    /// What logs call the key: the first characters of its digest.
    pub(super) id: String,
}

/// Nobody that may do this.
#[derive(Debug)]
pub(crate) enum NoOperator {
    Refused(Refused),
    TooMany(TooMany),
}

impl IntoResponse for NoOperator {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(refused) => refused.into_response(),
            Self::TooMany(too_many) => too_many.into_response(),
        }
    }
}

impl FromRequestParts<App> for Operator {
    type Rejection = NoOperator;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, NoOperator> {
        let shown = bearer_key(&parts.headers);
        if let Some(operator) = shown.and_then(|shown| known(&app.settings.api, shown)) {
            return Ok(operator);
        }
        let peer = parts.extensions.get::<Peer>().copied();
        let peer = peer.unwrap_or(Peer((Ipv6Addr::UNSPECIFIED, 0).into()));
        // The right key is never made to wait for others' guesses: it is too long to be guessed.
        app.gate.stranger(peer, Instant::now().into_std()).map_err(NoOperator::TooMany)?;
        let refused = if shown.is_some() { Refused::UnknownKey } else { Refused::NoKey };
        warn!(peer = %peer.0.ip(), path = parts.uri.path(), "somebody without an operator's key was refused");
        Err(NoOperator::Refused(refused))
    }
}

/// The operator whose key that is. How long it takes says nothing of a key: digests are compared, and each whole.
fn known(config: &ApiConfig, shown: &str) -> Option<Operator> {
    let keys = config.admin_key.as_ref()?;
    let shown = digest(&SHA256, shown.as_bytes());
    let mut found = false;
    for key in keys.expose_secret().split(',').map(str::trim).filter(|key| !key.is_empty()) {
        found |= verify_slices_are_equal(digest(&SHA256, key.as_bytes()).as_ref(), shown.as_ref()).is_ok();
    }
    found.then(|| Operator { id: hex::encode(&shown.as_ref()[..6]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_the_configured_keys_is_an_operators_and_nothing_else() {
        let config = |keys: Option<&str>| ApiConfig {
            admin_key: keys.map(|keys| keys.to_owned().into()),
            ..ApiConfig::default()
        };
        let two = config(Some("first-key-of-ours, second-key-of-ours"));
        let first = known(&two, "first-key-of-ours").unwrap();
        let second = known(&two, "second-key-of-ours").unwrap();
        assert_ne!(first.id, second.id);
        assert_eq!(first.id.len(), 12);
        for wrong in ["", "first-key-of-our", "first-key-of-ours,", "first-key-of-ours, second-key-of-ours"] {
            assert!(known(&two, wrong).is_none(), "{wrong}");
        }
        for none in [config(None), config(Some("")), config(Some(","))] {
            assert!(known(&none, "").is_none() && known(&none, "first-key-of-ours").is_none());
        }
    }
}
