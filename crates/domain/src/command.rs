//! A tenant's wish to send one message.

mod contacts;
mod content;
mod interactive;
mod node;
mod state;
mod template;

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

pub use state::CommandState;

use crate::{ChannelId, CommandId, InvalidId, Lane, Object, Recipient, TenantId, Wamid};

/// A command as it was published, before anything in it was checked. JSON and Protocol Buffers both lead here.
#[derive(Clone, Default, PartialEq, serde::Deserialize)]
pub struct CommandFields {
    /// The idempotency key.
    #[serde(default)]
    pub id: Option<String>,
    /// The recipient.
    #[serde(default)]
    pub to: Option<String>,
    /// The kind of message.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// The wamid of the message that this one answers.
    #[serde(default)]
    pub reply_to: Option<String>,
    /// The lane, where the transport doesn't say it.
    #[serde(default)]
    pub lane: Option<String>,
    /// Not before this moment.
    #[serde(default)]
    pub send_at: Option<String>,
    /// Never after this moment.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// What happens when the window is shut.
    #[serde(default)]
    pub window_policy: Option<String>,
    /// The tenant's own text.
    #[serde(default)]
    pub callback_data: Option<String>,
    /// All other fields; the one that the kind names is the message.
    #[serde(flatten)]
    pub rest: Object,
}

/// What is wrong with a command. `field` and `problem` are stable texts without personal data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidCommand {
    /// The field, as the publisher wrote it: `to`, `text.body`, …
    pub field: String,
    /// What it must be.
    pub problem: String,
}

impl InvalidCommand {
    /// Says that `field` isn't as it must be.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }

    fn id(field: &str, invalid: &InvalidId) -> Self {
        Self::new(field, invalid.problem)
    }
}

/// What becomes of a free-form message when the customer service window is shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowPolicy {
    /// The command is rejected.
    Reject,
    /// The channel's text or document template carries it.
    Template,
}

/// A command that can be sent: every field was checked.
#[derive(Clone, PartialEq)]
pub struct Command {
    /// Who wants it.
    pub tenant: TenantId,
    /// From which number.
    pub channel: ChannelId,
    /// How urgent it is.
    pub lane: Lane,
    /// The tenant's idempotency key.
    pub id: CommandId,
    /// To whom.
    pub to: Recipient,
    /// The Cloud API's `type`.
    pub kind: String,
    /// The Cloud API's object of that name.
    pub content: Value,
    /// The message that this one quotes.
    pub reply_to: Option<Wamid>,
    /// Not sent before this moment.
    pub send_at: Option<Timestamp>,
    /// Never sent after this moment.
    pub expires_at: Option<Timestamp>,
    /// What happens when the window is shut. Without one the provider decides, until it has refused.
    pub window_policy: Option<WindowPolicy>,
    /// The tenant's own text, given back in every event.
    pub callback_data: Option<String>,
}

impl Command {
    /// Checks what depends on the moment at which the command is published: that it is not to be sent more than 366
    /// days later, and that it has not expired by the time it is to be sent. A `send_at` that has passed means at once.
    ///
    /// # Errors
    /// Names `send_at` or `expires_at`.
    pub fn check_times(&self, now: Timestamp) -> Result<(), InvalidCommand> {
        let Some(send_at) = self.send_at else { return Ok(()) };
        if send_at.duration_since(now) > FARTHEST {
            return Err(InvalidCommand::new("send_at", "must be at most 366 days ahead"));
        }
        if self.expires_at.is_some_and(|expires_at| expires_at <= send_at) {
            return Err(InvalidCommand::new("expires_at", "must be later than send_at"));
        }
        Ok(())
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("tenant", &self.tenant)
            .field("channel", &self.channel)
            .field("lane", &self.lane)
            .field("id", &self.id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CommandFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandFields").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The kinds of message a command may carry.
const KINDS: [&str; 11] = [
    "text",
    "template",
    "image",
    "audio",
    "video",
    "document",
    "sticker",
    "interactive",
    "location",
    "contacts",
    "reaction",
];

/// Longest `callback_data`, in characters: what the Cloud API allows for its own field of this kind.
const CALLBACK_LIMIT: usize = 512;

/// How far ahead `send_at` may lie.
const FARTHEST: SignedDuration = SignedDuration::from_hours(366 * 24);

impl CommandFields {
    /// Checks every field. `id` is the id to take when the fields hold none.
    ///
    /// # Errors
    /// Names the first field that isn't as it must be.
    pub fn check(
        mut self,
        tenant: &TenantId,
        channel: &ChannelId,
        lane: Lane,
        id: impl FnOnce() -> CommandId,
    ) -> Result<Command, InvalidCommand> {
        let id = match &self.id {
            Some(raw) => raw.parse().map_err(|invalid| InvalidCommand::id("id", &invalid))?,
            None => id(),
        };
        let to = self.to.as_deref().ok_or_else(|| InvalidCommand::new("to", "is missing"))?;
        let to = to.parse().map_err(|invalid| InvalidCommand::id("to", &invalid))?;
        let kind = self.kind.take().ok_or_else(|| InvalidCommand::new("type", "is missing"))?;
        let Some(name) = KINDS.into_iter().find(|name| *name == kind) else {
            return Err(InvalidCommand::new("type", format!("must be one of {}", KINDS.join(", "))));
        };
        if self.rest.get("recipient_type").is_some_and(|to| !to.is_null() && to != "individual") {
            return Err(InvalidCommand::new("recipient_type", "must be individual: groups can't be sent to"));
        }
        let content = self.rest.remove(name).filter(|content| !content.is_null()).ok_or_else(|| {
            InvalidCommand::new(name, "is missing: the field that `type` names holds the message")
        })?;
        content::check(name, &content)?;
        let reply_to = match &self.reply_to {
            Some(raw) => Some(raw.parse().map_err(|invalid| InvalidCommand::id("reply_to", &invalid))?),
            None => None,
        };
        if reply_to.is_some() && name == "reaction" {
            let problem = "must be left out: reaction.message_id says which message it is to";
            return Err(InvalidCommand::new("reply_to", problem));
        }
        let send_at = self.send_at.as_deref().map(|raw| check_time("send_at", raw)).transpose()?;
        let expires_at = self.expires_at.as_deref().map(|raw| check_time("expires_at", raw)).transpose()?;
        let window_policy = match self.window_policy.as_deref() {
            None => None,
            Some("reject") => Some(WindowPolicy::Reject),
            Some("template") => Some(WindowPolicy::Template),
            Some(_) => return Err(InvalidCommand::new("window_policy", "must be reject or template")),
        };
        if self
            .callback_data
            .as_ref()
            .is_some_and(|text| text.chars().count() > CALLBACK_LIMIT || text.contains('\0'))
        {
            return Err(InvalidCommand::new(
                "callback_data",
                "must be at most 512 characters, none of them NUL",
            ));
        }
        Ok(Command {
            tenant: tenant.clone(),
            channel: channel.clone(),
            lane,
            id,
            to,
            kind,
            content,
            reply_to,
            send_at,
            expires_at,
            window_policy,
            callback_data: self.callback_data,
        })
    }
}

fn check_time(field: &str, raw: &str) -> Result<Timestamp, InvalidCommand> {
    raw.parse()
        .map_err(|_| InvalidCommand::new(field, "must be a time as in RFC 3339, like 2026-11-21T09:30:00Z"))
}

#[cfg(test)]
mod tests;
