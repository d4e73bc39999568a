//! A message that a tenant sent, as the API shows it. Fields without a value are left out.

use serde::Serialize;
use staffetta_domain::{CommandState, MessageState};
use staffetta_store::CommandRecord;
use utoipa::ToSchema;

use super::Wanted;

/// A message that you sent, and how far it has come.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Message)]
pub(crate) struct MessageView {
    #[schema(example = "inv-2026-0042")]
    id: String,
    #[schema(example = "acme-orders")]
    channel: String,
    /// The recipient: digits, or a business-scoped user id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "393481213456")]
    to: Option<String>,
    /// `urgent`, `normal` or `bulk`.
    #[schema(example = "normal")]
    lane: &'static str,
    /// `queued`, `sending`, `in_doubt`, `accepted`, `sent`, `delivered`, `read`, `played`, `rejected`, `failed`,
    /// `expired` or `cancelled`.
    #[schema(example = "delivered")]
    state: &'static str,
    /// When it is to be sent, while it waits for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    send_at: Option<String>,
    /// WhatsApp's id of it, once WhatsApp took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    wamid: Option<String>,
    /// Tries so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    /// Why it waits or has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Your own text.
    #[serde(skip_serializing_if = "Option::is_none")]
    callback_data: Option<String>,
    #[schema(format = DateTime)]
    created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    updated: Option<String>,
}

impl MessageView {
    /// The word that says how far it has come.
    pub(super) fn state(&self) -> &'static str {
        self.state
    }
}

impl From<&Wanted> for MessageView {
    fn from(Wanted { command, send_at, .. }: &Wanted) -> Self {
        Self {
            id: command.id.to_string(),
            channel: command.channel.to_string(),
            to: Some(command.user.clone()),
            lane: command.lane.as_str(),
            state: CommandState::Queued.as_str(),
            send_at: send_at.map(|at| at.to_string()),
            wamid: None,
            attempt: None,
            reason: None,
            callback_data: command.callback_data.clone(),
            created: command.at.to_string(),
            updated: None,
        }
    }
}

impl From<CommandRecord> for MessageView {
    fn from(record: CommandRecord) -> Self {
        Self {
            state: word(record.state, record.message),
            id: record.id.to_string(),
            channel: record.channel.to_string(),
            to: record.user,
            lane: record.lane.as_str(),
            send_at: record.send_at.map(|at| at.to_string()),
            wamid: record.wamid.map(|wamid| wamid.as_str().to_owned()),
            attempt: Some(record.attempt),
            reason: record.reason,
            callback_data: record.callback_data,
            created: record.created.to_string(),
            updated: Some(record.updated.to_string()),
        }
    }
}

/// One word for two lives: the command's until the provider takes it, its message's from then on.
pub(super) fn word(command: CommandState, message: Option<MessageState>) -> &'static str {
    match (command, message) {
        (CommandState::Accepted, Some(message)) => message.as_str(),
        (command, _) => command.as_str(),
    }
}

/// The words that [`word`] may say of a message that was sent.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    let later = MessageState::ALL.into_iter().filter(|state| *state != MessageState::Received);
    let later = later.map(MessageState::as_str).filter(|name| CommandState::from_name(name).is_none());
    CommandState::ALL.into_iter().map(CommandState::as_str).chain(later)
}
