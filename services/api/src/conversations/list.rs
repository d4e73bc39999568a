//! `GET /v1/conversations` and `GET /v1/conversations/{id}`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use staffetta_domain::ConversationId;
use staffetta_store::{ConversationCursor, ConversationFilter};

use super::view::ConversationView;
use super::{ReadError, cursor, named, within};
use crate::App;
use crate::caller::{Caller, Reader};
use crate::channels::Page;
use crate::query::{InvalidParameter, Parameters, RawParameters};

/// Longest part of a name that is looked for, in characters.
const NAME_LIMIT: usize = 100;

/// Most digits of a phone number.
const NUMBER_LIMIT: usize = 15;

/// `GET /v1/conversations`: the tenant's conversations, newest first.
pub(crate) async fn list(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    parameters: RawParameters,
) -> Result<Json<Page<ConversationView>>, ReadError> {
    let known = ["channel", "name", "number", "unread", "limit", "cursor"];
    let mut parameters = Parameters::of(parameters, &known)?;
    let filter = filter(&mut parameters)?;
    let limit = parameters.limit()?;
    let list = [tenant.id.as_str(), "conversations"];
    let after = parameters.take("cursor").map(|text| cursor::read(&list, &text)).transpose()?;
    let after =
        after.map(|(last_at, number)| ConversationCursor { last_at, id: ConversationId::of_number(number) });
    // One more than the page holds tells whether there is a next one.
    let mut found = within(app.store.conversations(&tenant.id, &filter, after, limit + 1)).await?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let last = found.last().filter(|_| more).map(|record| record.cursor());
    let next = last.map(|last| cursor::write(&list, last.last_at, last.id.number()));
    Ok(Json(Page { items: found.into_iter().map(Into::into).collect(), next }))
}

fn filter(parameters: &mut Parameters) -> Result<ConversationFilter, InvalidParameter> {
    let unread_only = match parameters.take("unread").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(InvalidParameter::new("unread", "must be true or false")),
    };
    Ok(ConversationFilter {
        channel: parameters.id("channel")?,
        name: parameters.take("name").map(name).transpose()?,
        number: parameters.take("number").map(|raw| number(&raw)).transpose()?,
        unread_only,
    })
}

fn name(raw: String) -> Result<String, InvalidParameter> {
    if (1..=NAME_LIMIT).contains(&raw.chars().count()) {
        Ok(raw)
    } else {
        Err(InvalidParameter::new("name", format!("must be 1 to {NAME_LIMIT} characters")))
    }
}

/// The digits. A `+` that was not escaped comes as a space.
fn number(raw: &str) -> Result<String, InvalidParameter> {
    let digits: String = raw.chars().filter(char::is_ascii_digit).collect();
    let fits = raw.chars().all(|sign| sign.is_ascii_digit() || "+-(). ".contains(sign));
    if fits && (1..=NUMBER_LIMIT).contains(&digits.len()) {
        Ok(digits)
    } else {
        let problem = "must be the beginning of a phone number with its country code, 1 to 15 digits";
        Err(InvalidParameter::new("number", problem))
    }
}

/// `GET /v1/conversations/{id}`: one conversation. One that has gone into another is shown as that one.
pub(crate) async fn one(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<ConversationView>, ReadError> {
    let id = named(id).ok_or(ReadError::NotFound)?;
    let found = within(app.store.conversation(&tenant.id, id)).await?;
    found.map(|record| Json(record.into())).ok_or(ReadError::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_in_many_dresses() {
        for raw in ["39348", "+39 348", " 39348", "+39 (3)4-8"] {
            assert_eq!(number(raw).as_deref(), Ok("39348"), "{raw}");
        }
        for wrong in ["", "+", "x39", "1234567890123456", "３９"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
    }
}
