//! `/v1/messages`.

mod cancel;
mod publish;
mod read;
mod send;
mod wanted;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use serde::Serialize;
use staffetta_domain::{CommandId, CommandState, MessageState};
use staffetta_store::CommandRecord;

pub(crate) use self::cancel::cancel;
pub(crate) use self::read::read;
pub(crate) use self::send::{BODIES_KIB, BODY_LIMIT, send};
use self::wanted::Wanted;

/// The message that the address names. What can't be an id is nobody's id.
fn named(id: Result<Path<String>, PathRejection>) -> Option<CommandId> {
    id.ok()?.parse().ok()
}

/// A message that a tenant sent, as the API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct MessageView {
    id: String,
    channel: String,
    lane: &'static str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    send_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wamid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated: Option<String>,
}

impl From<&Wanted> for MessageView {
    fn from(Wanted { command, send_at, .. }: &Wanted) -> Self {
        Self {
            id: command.id.to_string(),
            channel: command.channel.to_string(),
            lane: command.lane.as_str(),
            state: CommandState::Queued.as_str(),
            send_at: send_at.map(|at| at.to_string()),
            wamid: None,
            attempt: None,
            reason: None,
            created: command.at.to_string(),
            updated: None,
        }
    }
}

impl From<CommandRecord> for MessageView {
    fn from(record: CommandRecord) -> Self {
        Self {
            id: record.id.to_string(),
            channel: record.channel.to_string(),
            lane: record.lane.as_str(),
            state: state(record.state, record.message),
            send_at: None,
            wamid: record.wamid.map(|wamid| wamid.as_str().to_owned()),
            attempt: Some(record.attempt),
            reason: record.reason,
            created: record.created.to_string(),
            updated: Some(record.updated.to_string()),
        }
    }
}

/// One word for two lives: the command's until the provider takes it, its message's from then on.
fn state(command: CommandState, message: Option<MessageState>) -> &'static str {
    match (command, message) {
        (CommandState::Accepted, Some(message)) => message.as_str(),
        (command, _) => command.as_str(),
    }
}
