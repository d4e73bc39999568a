//! `GET`, `PUT` and `DELETE /v1/contacts/{number}`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use staffetta_store::Contact;
use utoipa::ToSchema;

use super::{ContactError, ContactView, named, within};
use crate::App;
use crate::body;
use crate::caller::{Caller, Reader, Sender};
use crate::query::InvalidParameter;

/// Longest name, of a person or a company, in characters.
const LONGEST: usize = 200;

/// What you know of somebody.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ContactFields, example = json!({"name": "Anna Bianchi", "company": "Bianchi S.r.l.", "whatsapp": true}))]
pub(crate) struct ContactFields {
    #[schema(min_length = 1, max_length = 200)]
    name: String,
    #[schema(min_length = 1, max_length = 200)]
    company: Option<String>,
    /// `false`: a message to the number is refused.
    #[serde(default = "yes")]
    #[schema(default = true)]
    whatsapp: bool,
}

fn yes() -> bool {
    true
}

/// `GET /v1/contacts/{number}`: one contact.
#[utoipa::path(
    get,
    path = "/v1/contacts/{number}",
    operation_id = "get_contact",
    tag = "contacts",
    params(("number" = String, Path, description = "With its country code", example = "393481213456")),
    responses(
        (status = 200, description = "The contact", body = ContactView),
        (status = 404, description = "`contact-not-found`"),
    ),
)]
pub(crate) async fn get(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    number: Result<Path<String>, PathRejection>,
) -> Result<Json<ContactView>, ContactError> {
    let number = named(number).ok_or(ContactError::NotFound)?;
    let found = within(app.store.contact(&tenant.id, &number)).await?;
    found.map(|contact| Json(contact.into())).ok_or(ContactError::NotFound)
}

/// `PUT /v1/contacts/{number}`: keeps a contact, in place of what was known of the number.
///
/// While `whatsapp` is false, a message to the number is refused with `recipient-switched-off`; one that waits already is
/// rejected when its turn comes.
#[utoipa::path(
    put,
    path = "/v1/contacts/{number}",
    operation_id = "put_contact",
    tag = "contacts",
    params(("number" = String, Path, description = "With its country code, with or without `+`", example = "393481213456")),
    request_body = ContactFields,
    responses(
        (status = 201, description = "The contact: it is new", body = ContactView),
        (status = 200, description = "The contact, as it is now", body = ContactView),
        (status = 400, description = "`invalid-parameter`, `broken-body`"),
        (status = 408, description = "`slow-body`"),
        (status = 413, description = "`too-large`: the body is over 16 KiB"),
    ),
)]
pub(crate) async fn put(
    State(app): State<App>,
    Sender(Caller(tenant)): Sender,
    number: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<(StatusCode, Json<ContactView>), ContactError> {
    let problem = "must be a phone number with its country code, 7 to 15 digits";
    let number = named(number).ok_or_else(|| InvalidParameter::new("number", problem))?;
    let ContactFields { name, company, whatsapp } = body::fields(request).await?;
    check("name", &name)?;
    company.as_deref().map(|company| check("company", company)).transpose()?;
    let now = Timestamp::now();
    // The database keeps no more, and one time of the change shall be seen, not two.
    let updated = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
    let contact = Contact { number, name, company, whatsapp, updated };
    let is_new = within(app.store.put_contact(&tenant.id, &contact)).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(contact.into())))
}

fn check(field: &str, text: &str) -> Result<(), InvalidParameter> {
    if (1..=LONGEST).contains(&text.chars().count()) && !text.contains(char::is_control) {
        Ok(())
    } else {
        let problem = format!("must be 1 to {LONGEST} characters, without control characters");
        Err(InvalidParameter::new(field, problem))
    }
}

/// `DELETE /v1/contacts/{number}`: forgets a contact. Conversations stay as they are.
#[utoipa::path(
    delete,
    path = "/v1/contacts/{number}",
    operation_id = "delete_contact",
    tag = "contacts",
    params(("number" = String, Path, description = "With its country code", example = "393481213456")),
    responses(
        (status = 204, description = "It is forgotten"),
        (status = 404, description = "`contact-not-found`"),
    ),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    Sender(Caller(tenant)): Sender,
    number: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, ContactError> {
    let number = named(number).ok_or(ContactError::NotFound)?;
    if within(app.store.delete_contact(&tenant.id, &number)).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ContactError::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_length_and_nothing_that_does_not_print() {
        for good in ["A", "Perù & Co.", &"è".repeat(200)] {
            assert_eq!(check("name", good), Ok(()));
        }
        for bad in ["", "a\0b", "a\nb", &"x".repeat(201)] {
            assert_eq!(check("name", bad).unwrap_err().name, "name");
        }
    }
}
