//! `GET /v1/conversations` and `GET /v1/conversations/{id}`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use staffetta_domain::ConversationId;
use staffetta_store::{ConversationCursor, ConversationFilter};

use super::view::ConversationView;
use super::{ReadError, named, within};
use crate::App;
use crate::caller::{Caller, Reader};
use crate::channels::Page;
use crate::cursor;
use crate::query::{InvalidParameter, Parameters, RawParameters};

/// `GET /v1/conversations`: the tenant's conversations, newest first.
///
/// While you page, a conversation in which somebody writes moves to the top of the list; nothing comes twice.
#[utoipa::path(
    get,
    path = "/v1/conversations",
    operation_id = "list_conversations",
    tag = "conversations",
    params(
        ("channel" = Option<String>, Query, description = "Those of this channel"),
        ("name" = Option<String>, Query, max_length = 100,
            description = "Those whose user's or contact's name, username or company contains this, in any case"),
        ("number" = Option<String>, Query, example = "39348",
            description = "Those whose user has a phone number that begins so"),
        ("unread" = Option<bool>, Query, description = "`true`: only those with something unread"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Most on a page; 50 if not given"),
        ("cursor" = Option<String>, Query, description = "The `next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of conversations", body = Page<ConversationView>),
        (status = 400, description = "`invalid-parameter`"),
    ),
)]
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
        name: parameters.name()?,
        number: parameters.number()?,
        unread_only,
    })
}

/// `GET /v1/conversations/{id}`: one conversation.
///
/// One that has gone into another is shown as that one.
#[utoipa::path(
    get,
    path = "/v1/conversations/{id}",
    operation_id = "get_conversation",
    tag = "conversations",
    params(("id" = String, Path, description = "The conversation's id", example = "c42")),
    responses(
        (status = 200, description = "The conversation", body = ConversationView),
        (status = 404, description = "`conversation-not-found`"),
    ),
)]
pub(crate) async fn one(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<ConversationView>, ReadError> {
    let id = named(id).ok_or(ReadError::NotFound)?;
    let found = within(app.store.conversation(&tenant.id, id)).await?;
    found.map(|record| Json(record.into())).ok_or(ReadError::NotFound)
}
