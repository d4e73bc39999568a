//! `/v1/dead-letters`: what could not be processed, as far as it is known whose it is.

mod list;
mod read;
mod replay;
mod view;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse, Response};
use staffetta_bus::{DeadError, DeadStream, Letter, LetterId, PublishError};
use staffetta_domain::TenantId;
use staffetta_outbox::ReplayError;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::problem::{Kind, Problem};
use crate::query::InvalidParameter;

/// Its addresses.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list::list))
        .routes(routes!(read::read))
        .routes(routes!(replay::replay))
}

/// Why letters could not be shown or replayed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeadLetterError {
    #[error(transparent)]
    Invalid(#[from] InvalidParameter),
    #[error("none of your dead letters has this id")]
    NotFound,
    #[error("the dead letters can't be looked up")]
    Dead(#[from] DeadError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

impl IntoResponse for DeadLetterError {
    fn into_response(self) -> Response {
        match &self {
            Self::Invalid(invalid) => Problem::of(Kind::INVALID_PARAMETER, &self).field(invalid.name.clone()),
            Self::NotFound => Problem::of(Kind::NO_LETTER, &self),
            Self::Dead(_) => Problem::of(Kind::UNAVAILABLE, &self).retry_after(2),
            Self::Replay(error) => match error {
                ReplayError::NotReplayable(_) => Problem::of(Kind::NOT_REPLAYABLE, &self),
                ReplayError::Revive(cause) => Problem::of(Kind::of_store(cause), &self).retry_after(2),
                ReplayError::Publish(PublishError::Full) => {
                    Problem::of(Kind::QUEUE_FULL, &self).retry_after(10)
                }
                ReplayError::Publish(PublishError::Refused(_) | PublishError::TooLarge) => {
                    Problem::of(Kind::INTERNAL, &self)
                }
                ReplayError::Publish(PublishError::Unavailable | PublishError::TimedOut)
                | ReplayError::ReviveTimedOut
                | ReplayError::StillOpen
                | ReplayError::Contested
                | ReplayError::Stays(_) => Problem::of(Kind::UNAVAILABLE, &self).retry_after(2),
            },
        }
        .into_response()
    }
}

/// The tenant's letter that the address names. Another's is told from none in no way.
async fn own(
    app: &App,
    tenant: &TenantId,
    id: Result<Path<String>, PathRejection>,
) -> Result<Letter, DeadLetterError> {
    let id = id.ok().and_then(|Path(id)| id.parse::<LetterId>().ok()).ok_or(DeadLetterError::NotFound)?;
    let letter = DeadStream::new(app.bus.clone()).get(id).await?;
    letter.filter(|letter| letter.tenant.as_ref() == Some(tenant)).ok_or(DeadLetterError::NotFound)
}
