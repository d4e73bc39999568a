//! `DELETE /v1/messages/{id}`.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::json;
use staffetta_domain::{ChannelId, CommandId, CommandState, Event, EventId, EventType, Object, TenantId};
use staffetta_runtime::crash::crash_point;
use staffetta_store::{Announcement, Cancelled, CommandRecord, StoreError};
use tokio::time::timeout;
use tracing::warn;

use super::{MessageView, named};
use crate::App;
use crate::caller::{Caller, Sender};
use crate::problem::{Kind, Problem};

// The steps' limits together stay below that of the whole request.
const CANCEL_TIME: Duration = Duration::from_secs(4);
const ANNOUNCE_TIME: Duration = Duration::from_secs(2);
const LOOK_UP_TIME: Duration = Duration::from_secs(3);

/// Why a message was not taken back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CancelMessageError {
    #[error("none of your messages has this id")]
    NotFound,
    #[error("the message is {0}: it can't be taken back")]
    TooLate(&'static str),
    #[error("the message can't be taken back")]
    Store(#[from] StoreError),
    #[error("whether the message was taken back could not be told in time: repeat the request")]
    TimedOut,
}

impl IntoResponse for CancelMessageError {
    fn into_response(self) -> Response {
        match &self {
            Self::NotFound => Problem::of(Kind::NO_MESSAGE, &self),
            Self::TooLate(state) => Problem::of(Kind::TOO_LATE, &self).state(state),
            Self::Store(error) => Problem::of(Kind::of_store(error), &self).retry_after(2),
            Self::TimedOut => Problem::of(Kind::UNAVAILABLE, &self).retry_after(2),
        }
        .into_response()
    }
}

/// `DELETE /v1/messages/{id}`: takes the message back while it waits.
///
/// The queue drops it when its turn comes. Only a message that is `queued` can be taken back.
#[utoipa::path(
    delete,
    path = "/v1/messages/{id}",
    operation_id = "cancel_message",
    tag = "messages",
    params(("id" = String, Path, description = "Your id of the message, escaped as URLs need it", example = "inv-2026-0042")),
    responses(
        (status = 200, description = "The message: it will not be sent", body = MessageView),
        (status = 404, description = "`message-not-found`"),
        (status = 409, description = "`too-late`: `state` says how far it has come"),
    ),
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    Sender(Caller(tenant)): Sender,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<MessageView>, CancelMessageError> {
    let id = named(id).ok_or(CancelMessageError::NotFound)?;
    let now = Timestamp::now();
    let event = |channel: &ChannelId| cancelled(&tenant.id, channel, &id, now);
    let outcome = timeout(CANCEL_TIME, app.store.cancel(&tenant.id, &id, event)).await;
    match outcome.map_err(|_| CancelMessageError::TimedOut)?? {
        Cancelled::Done(announcements) => {
            crash_point("api.cancelled");
            announce(&app, &announcements).await;
            let record = look_up(&app, &tenant.id, &id).await?;
            Ok(Json(record.into()))
        }
        // WhatsApp took it, and may have told more since.
        Cancelled::TooLate(CommandState::Accepted) => {
            let record = look_up(&app, &tenant.id, &id).await?;
            Err(CancelMessageError::TooLate(MessageView::from(record).state()))
        }
        Cancelled::TooLate(state) => Err(CancelMessageError::TooLate(state.as_str())),
        Cancelled::Unknown => Err(CancelMessageError::NotFound),
    }
}

/// The end of a command that was taken back. It has one, so its id is the same each time.
fn cancelled(tenant: &TenantId, channel: &ChannelId, id: &CommandId, time: Timestamp) -> Event {
    Event {
        id: EventId::of(&["command", tenant.as_str(), id.as_str(), "cancelled"]),
        tenant: tenant.clone(),
        channel: channel.clone(),
        kind: EventType::CommandCancelled,
        time,
        subject: id.to_string(),
        data: Object::from_iter([("command_id".to_owned(), json!(id.as_str()))]),
        trace: None,
    }
}

/// Tells at once what is committed. What takes longer is left to the sweep.
async fn announce(app: &App, announcements: &[Announcement]) {
    if announcements.is_empty() {
        return;
    }
    if timeout(ANNOUNCE_TIME, app.announcer.announce(announcements)).await.is_err() {
        warn!("a cancelled command's event could not be announced yet");
    }
}

async fn look_up(app: &App, tenant: &TenantId, id: &CommandId) -> Result<CommandRecord, CancelMessageError> {
    let found = timeout(LOOK_UP_TIME, app.store.command(tenant, id)).await;
    found.map_err(|_| CancelMessageError::TimedOut)??.ok_or(CancelMessageError::NotFound)
}
