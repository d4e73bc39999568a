//! `GET /v1/conversations/{id}/messages`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use jiff::Timestamp;
use staffetta_domain::{ConversationId, MessageState, TenantId, Wamid};
use staffetta_store::{MessageCursor, MessageRecord, Store, StoreError};

use super::view::MessageView;
use super::{ReadError, named, within};
use crate::App;
use crate::caller::{Caller, Reader};
use crate::channels::Page;
use crate::cursor;
use crate::query::{InvalidParameter, Parameters, RawParameters};

/// How many messages are read at a time where only some are wanted, and how often.
const READ: u32 = 250;
const READS: usize = 4;

/// `GET /v1/conversations/{id}/messages`: what was said, the last message first.
///
/// With `state` or `wamid` a page may hold fewer than `limit`, even none, and still have a `next`.
#[utoipa::path(
    get,
    path = "/v1/conversations/{id}/messages",
    operation_id = "list_conversation_messages",
    tag = "conversations",
    params(
        ("id" = String, Path, description = "The conversation's id", example = "c42"),
        ("state" = Option<String>, Query, example = "failed",
            description = "Those of this state: `received`, or how far a message of yours has come"),
        ("wamid" = Option<String>, Query, description = "The one that WhatsApp calls so"),
        ("since" = Option<String>, Query, format = DateTime, description = "Those said at this time or later"),
        ("until" = Option<String>, Query, format = DateTime, description = "Those said before this time"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Most on a page; 50 if not given"),
        ("cursor" = Option<String>, Query, description = "The `next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page of messages", body = Page<MessageView>),
        (status = 400, description = "`invalid-parameter`"),
        (status = 404, description = "`conversation-not-found`"),
    ),
)]
pub(crate) async fn messages(
    State(app): State<App>,
    Reader(Caller(tenant)): Reader,
    id: Result<Path<String>, PathRejection>,
    parameters: RawParameters,
) -> Result<Json<Page<MessageView>>, ReadError> {
    let id = named(id).ok_or(ReadError::NotFound)?;
    let known = ["state", "wamid", "since", "until", "limit", "cursor"];
    let mut parameters = Parameters::of(parameters, &known)?;
    let wanted = WantedMessages::of(&mut parameters)?;
    let limit = parameters.limit()? as usize;
    let name = id.to_string();
    let list = [tenant.id.as_str(), "messages", &name];
    let after = parameters.take("cursor").map(|text| cursor::read(&list, &text)).transpose()?;
    let after = after.map(|(at, place)| MessageCursor { at, place });
    let (found, next) =
        within(wanted.page(&app.store, &tenant.id, id, after, limit)).await?.ok_or(ReadError::NotFound)?;
    let next = next.map(|last| cursor::write(&list, last.at, last.place));
    Ok(Json(Page { items: found.into_iter().map(Into::into).collect(), next }))
}

/// Some messages, and where they end if there may be more.
type Part = (Vec<MessageRecord>, Option<MessageCursor>);

/// Which messages are wanted.
struct WantedMessages {
    state: Option<MessageState>,
    wamid: Option<Wamid>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl WantedMessages {
    fn of(parameters: &mut Parameters) -> Result<Self, InvalidParameter> {
        Ok(Self {
            state: parameters.take("state").map(|text| state(&text)).transpose()?,
            wamid: parameters.id("wamid")?,
            since: parameters.moment("since")?,
            until: parameters.moment("until")?,
        })
    }

    fn suits(&self, message: &MessageRecord) -> bool {
        self.state.is_none_or(|state| message.state == state)
            && self.wamid.as_ref().is_none_or(|wamid| message.wamid == *wamid)
    }

    /// Messages of the conversation, `limit` at most; `None` if the tenant has no such conversation.
    async fn page(
        &self,
        store: &Store,
        tenant: &TenantId,
        id: ConversationId,
        after: Option<MessageCursor>,
        limit: usize,
    ) -> Result<Option<Part>, StoreError> {
        let mut found: Vec<MessageRecord> = Vec::new();
        let mut after = self.start(after);
        let all = self.state.is_none() && self.wamid.is_none();
        // One more than the page holds tells whether there is a next one.
        let (size, reads) = if all { (limit as u32 + 1, 1) } else { (READ, READS) };
        for _ in 0..reads {
            let Some(read) = store.conversation_messages(tenant, id, after, size).await? else {
                return Ok(None);
            };
            let is_last = read.len() < size as usize;
            for message in read {
                if self.since.is_some_and(|since| message.at < since) {
                    return Ok(Some((found, None)));
                }
                after = Some(message.cursor());
                if !self.suits(&message) {
                    continue;
                }
                if found.len() == limit {
                    let last = found.last().map(MessageRecord::cursor);
                    return Ok(Some((found, last)));
                }
                found.push(message);
            }
            if is_last {
                return Ok(Some((found, None)));
            }
        }
        Ok(Some((found, after)))
    }

    /// Where the page begins. Before the first message of a moment stands a place that no message has.
    fn start(&self, after: Option<MessageCursor>) -> Option<MessageCursor> {
        let until = self.until.map(|at| MessageCursor { at, place: i64::MIN });
        match (after, until) {
            (Some(after), Some(until)) if until.at <= after.at => Some(until),
            (None, until) => until,
            (after, _) => after,
        }
    }
}

fn state(text: &str) -> Result<MessageState, InvalidParameter> {
    MessageState::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
        let all: Vec<&str> = MessageState::ALL.into_iter().map(MessageState::as_str).collect();
        InvalidParameter::new("state", format!("must be one of {}", all.join(", ")))
    })
}
