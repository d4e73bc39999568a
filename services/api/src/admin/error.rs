//! What can go wrong for an operator.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use staffetta_bus::{DeadError, QueueError, RegistryError, RegistryStore};
use staffetta_store::StoreError;
use tokio::time::timeout;

use crate::App;
use crate::body::BodyError;
use crate::problem::{Kind, Problem};
use crate::query::InvalidParameter;

/// Longest time for what an operator asks for; with the body's it stays below that of the whole request.
const LIMIT: Duration = Duration::from_secs(9);

/// Why an operator's request was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error(transparent)]
    Invalid(#[from] InvalidParameter),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("there is nothing of this kind: there are apps, tenants, channels and endpoints")]
    NoKind,
    #[error("the registry has no such entry")]
    NoEntry,
    #[error("the tenant has no key of this id")]
    NoKey,
    #[error("no channel of this id is on hold")]
    NoHold,
    #[error(
        "say which state of the entry is meant: with If-Match and its ETag to change it, with If-None-Match: * to make it"
    )]
    NoPrecondition,
    #[error("the entry is not, or not any more, as the request says: read it again")]
    Changed,
    #[error("{0}")]
    InUse(RegistryError),
    #[error("{0} entries would change, and at most {1} may at a time: use staffetta apply")]
    TooMuch(usize, usize),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("the database can't be asked")]
    Store(#[from] StoreError),
    #[error("the queue can't be looked through")]
    Queue(#[from] QueueError),
    #[error("the dead letters can't be looked through")]
    Dead(#[from] DeadError),
    #[error("there was no answer in time: look at what has become of it, and ask again")]
    TimedOut,
}

impl IntoResponse for AdminError {
    fn into_response(self) -> Response {
        match self {
            Self::Body(error) => return error.into_response(),
            Self::Invalid(ref invalid) => {
                Problem::of(Kind::INVALID_PARAMETER, &self).field(invalid.name.clone())
            }
            Self::NoKind => Problem::of(Kind::NO_ROUTE, &self),
            Self::NoEntry => Problem::of(Kind::NO_ENTRY, &self),
            Self::NoKey => Problem::of(Kind::NO_KEY, &self),
            Self::NoHold => Problem::of(Kind::NO_HOLD, &self),
            Self::NoPrecondition => Problem::of(Kind::NO_PRECONDITION, &self),
            Self::Changed => Problem::of(Kind::CHANGED, &self),
            Self::InUse(_) => Problem::of(Kind::IN_USE, &self),
            Self::TooMuch(..) => Problem::of(Kind::INVALID_ENTRY, &self),
            Self::Registry(ref error) => match error {
                RegistryError::Wrong { key: Some(key), .. } => {
                    Problem::of(Kind::INVALID_ENTRY, &self).field(key.clone())
                }
                RegistryError::Wrong { key: None, .. }
                | RegistryError::File(_)
                | RegistryError::Secret { .. } => Problem::of(Kind::INVALID_ENTRY, &self),
                RegistryError::Conflict(_) => Problem::of(Kind::CHANGED, &self),
                RegistryError::Partly { .. } | RegistryError::Unavailable(..) => {
                    Problem::of(Kind::UNAVAILABLE, &self).retry_after(2)
                }
            },
            Self::Store(ref error) => Problem::of(Kind::of_store(error), &self).retry_after(2),
            Self::Queue(_) | Self::Dead(_) | Self::TimedOut => {
                Problem::of(Kind::UNAVAILABLE, &self).retry_after(2)
            }
        }
        .into_response()
    }
}

/// The answer, within the time limit.
pub(super) async fn within<T>(asked: impl Future<Output = Result<T, AdminError>>) -> Result<T, AdminError> {
    timeout(LIMIT, asked).await.map_err(|_| AdminError::TimedOut)?
}

/// The registry, to be read and written.
pub(super) async fn registry(app: &App) -> Result<RegistryStore, AdminError> {
    Ok(RegistryStore::open(&app.bus, app.settings.master.clone()).await?)
}
