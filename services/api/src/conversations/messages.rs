//! `GET /v1/conversations/{id}/messages`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use staffetta_store::MessageCursor;

use super::view::MessageView;
use super::{ReadError, cursor, named, within};
use crate::App;
use crate::caller::{Caller, Reader};
use crate::channels::Page;
use crate::query::{Parameters, RawParameters};

/// `GET /v1/conversations/{id}/messages`: what was said, the last message first.
pub(crate) async fn messages(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    id: Result<Path<String>, PathRejection>,
    parameters: RawParameters,
) -> Result<Json<Page<MessageView>>, ReadError> {
    let id = named(id).ok_or(ReadError::NotFound)?;
    let mut parameters = Parameters::of(parameters, &["limit", "cursor"])?;
    let limit = parameters.limit()?;
    let name = id.to_string();
    let list = [tenant.id.as_str(), "messages", &name];
    let after = parameters.take("cursor").map(|text| cursor::read(&list, &text)).transpose()?;
    let after = after.map(|(at, place)| MessageCursor { at, place });
    // One more than the page holds tells whether there is a next one.
    let found = within(app.store.conversation_messages(&tenant.id, id, after, limit + 1)).await?;
    let mut found = found.ok_or(ReadError::NotFound)?;
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let last = found.last().filter(|_| more).map(|record| record.cursor());
    let next = last.map(|last| cursor::write(&list, last.at, last.place));
    Ok(Json(Page { items: found.into_iter().map(Into::into).collect(), next }))
}
