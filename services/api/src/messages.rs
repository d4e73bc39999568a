//! `/v1/messages`.

mod read;
mod send;

use serde::Serialize;
use staffetta_domain::{CommandState, MessageState};
use staffetta_store::{CommandRecord, NewCommand};

pub(crate) use self::read::read;
pub(crate) use self::send::{BODIES_KIB, BODY_LIMIT, send};

/// A message that a tenant sent, as the API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct MessageView {
    id: String,
    channel: String,
    lane: &'static str,
    state: &'static str,
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

impl From<&NewCommand> for MessageView {
    fn from(command: &NewCommand) -> Self {
        Self {
            id: command.id.to_string(),
            channel: command.channel.to_string(),
            lane: command.lane.as_str(),
            state: CommandState::Queued.as_str(),
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
