//! `/v1/contacts`: whom an ERP knows.

mod list;
mod one;

use std::time::Duration;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use staffetta_domain::Recipient;
use staffetta_store::{Contact, StoreError};
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use crate::body::BodyError;
use crate::problem::{Kind, Problem};
use crate::query::InvalidParameter;

/// Longest wait for the database.
const LIMIT: Duration = Duration::from_secs(9);

/// Its addresses.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list::list)).routes(routes!(one::get, one::put, one::delete))
}

/// Why contacts could not be shown or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContactError {
    #[error(transparent)]
    Invalid(#[from] InvalidParameter),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("none of your contacts has this number")]
    NotFound,
    #[error("the contacts can't be looked up or changed")]
    Store(#[from] StoreError),
    #[error("the contacts could not be looked up or changed in time")]
    TimedOut,
}

impl IntoResponse for ContactError {
    fn into_response(self) -> Response {
        match self {
            Self::Body(error) => return error.into_response(),
            Self::Invalid(ref invalid) => {
                Problem::of(Kind::INVALID_PARAMETER, &self).field(invalid.name.clone())
            }
            Self::NotFound => Problem::of(Kind::NO_CONTACT, &self),
            Self::Store(ref error) => Problem::of(Kind::of_store(error), &self).retry_after(2),
            Self::TimedOut => Problem::of(Kind::UNAVAILABLE, &self).retry_after(2),
        }
        .into_response()
    }
}

/// Somebody whom you know by number.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Contact)]
pub(crate) struct ContactView {
    /// With its country code, digits alone.
    #[schema(example = "393481213456")]
    number: String,
    #[schema(example = "Anna Bianchi")]
    name: String,
    #[schema(example = "Bianchi S.r.l.")]
    company: Option<String>,
    /// `false`: nothing is sent to the number.
    whatsapp: bool,
    #[schema(format = DateTime)]
    updated: String,
}

impl From<Contact> for ContactView {
    fn from(Contact { number, name, company, whatsapp, updated }: Contact) -> Self {
        Self { number, name, company, whatsapp, updated: updated.to_string() }
    }
}

/// The digits of the number that the address names, if it can be one.
fn named(number: Result<Path<String>, PathRejection>) -> Option<String> {
    match number.ok()?.parse().ok()? {
        Recipient::Phone(digits) => Some(digits.into()),
        Recipient::User(_) => None,
    }
}

/// The store's answer, within the time limit.
async fn within<T>(asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, ContactError> {
    Ok(timeout(LIMIT, asked).await.map_err(|_| ContactError::TimedOut)??)
}
