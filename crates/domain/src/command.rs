//! A tenant's wish to send one message.

use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WindowPolicy {
    /// The command is rejected.
    #[default]
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
    /// Never sent after this moment.
    pub expires_at: Option<Timestamp>,
    /// What happens when the window is shut.
    pub window_policy: WindowPolicy,
    /// The tenant's own text, given back in every event.
    pub callback_data: Option<String>,
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
        if !KINDS.contains(&kind.as_str()) {
            return Err(InvalidCommand::new("type", format!("must be one of {}", KINDS.join(", "))));
        }
        let content = self.rest.remove(&kind).ok_or_else(|| {
            InvalidCommand::new(kind.as_str(), "is missing: the field that `type` names holds the message")
        })?;
        check_content(&kind, &content)?;
        let reply_to = match &self.reply_to {
            Some(raw) => Some(raw.parse().map_err(|invalid| InvalidCommand::id("reply_to", &invalid))?),
            None => None,
        };
        if let Some(raw) = &self.send_at {
            check_time("send_at", raw)?;
            return Err(InvalidCommand::new(
                "send_at",
                "is not supported yet: publish the command when it is due",
            ));
        }
        let expires_at = self.expires_at.as_deref().map(|raw| check_time("expires_at", raw)).transpose()?;
        let window_policy = match self.window_policy.as_deref() {
            None | Some("reject") => WindowPolicy::Reject,
            Some("template") => WindowPolicy::Template,
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
            expires_at,
            window_policy,
            callback_data: self.callback_data,
        })
    }
}

/// What can be told without asking the provider. Everything else is left to it.
fn check_content(kind: &str, content: &Value) -> Result<(), InvalidCommand> {
    if kind == "contacts" {
        return match content {
            Value::Array(people) if (1..=257).contains(&people.len()) => Ok(()),
            _ => Err(InvalidCommand::new("contacts", "must be a list of 1 to 257 contacts")),
        };
    }
    let Value::Object(object) = content else {
        return Err(InvalidCommand::new(kind, "must be an object"));
    };
    if kind == "text" {
        let body = object.get("body").and_then(Value::as_str).unwrap_or_default();
        if body.is_empty() {
            return Err(InvalidCommand::new("text.body", "is missing or empty"));
        }
        if body.chars().count() > 4096 {
            return Err(InvalidCommand::new("text.body", "must be at most 4096 characters"));
        }
    }
    Ok(())
}

fn check_time(field: &str, raw: &str) -> Result<Timestamp, InvalidCommand> {
    raw.parse()
        .map_err(|_| InvalidCommand::new(field, "must be a time as in RFC 3339, like 2026-11-21T09:30:00Z"))
}

/// How far a command has come. What its message does afterwards is a [`MessageState`](crate::MessageState).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandState {
    /// Waits for its turn, for the first time or again.
    Queued,
    /// A request is on its way, or the process that made it is gone.
    Sending,
    /// A request was made and its answer is not known.
    InDoubt,
    /// The provider took it.
    Accepted,
    /// Staffetta refused it before anything was sent.
    Rejected,
    /// The provider refused it for good, or its tries were used up.
    Failed,
    /// Its time ran out before it could be sent.
    Expired,
    /// The tenant took it back.
    Cancelled,
}

impl CommandState {
    /// All states.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Sending,
        Self::InDoubt,
        Self::Accepted,
        Self::Rejected,
        Self::Failed,
        Self::Expired,
        Self::Cancelled,
    ];

    /// The state's name in the API and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::InDoubt => "in_doubt",
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether nothing more happens to the command itself.
    pub fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Sending | Self::InDoubt => false,
            Self::Accepted | Self::Rejected | Self::Failed | Self::Expired | Self::Cancelled => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: Value) -> Result<Command, InvalidCommand> {
        let fields: CommandFields = serde_json::from_value(json).unwrap();
        let (tenant, channel) = ("acme".parse().unwrap(), "acme-orders".parse().unwrap());
        fields.check(&tenant, &channel, Lane::Normal, || CommandId::made_up(&["7"]))
    }

    #[test]
    fn the_contracts_own_example_is_a_command() {
        let command = check(serde_json::json!(
            {"id":"inv-2026-0042","to":"393481213456","type":"text","text":{"body":"Fattura pronta"}}
        ))
        .unwrap();
        assert_eq!(command.id.as_str(), "inv-2026-0042");
        assert_eq!(command.to.key(), "393481213456");
        assert_eq!(command.content["body"], "Fattura pronta");
    }

    #[test]
    fn a_command_without_an_id_gets_the_one_offered() {
        let command =
            check(serde_json::json!({"to":"393481213456","type":"text","text":{"body":"x"}})).unwrap();
        assert_eq!(command.id, CommandId::made_up(&["7"]));
    }

    #[test]
    fn an_error_names_its_field() {
        let long = "x".repeat(4097);
        for (json, field) in [
            (serde_json::json!({"type":"text","text":{"body":"x"}}), "to"),
            (serde_json::json!({"to":"12","type":"text","text":{"body":"x"}}), "to"),
            (serde_json::json!({"to":"393481213456"}), "type"),
            (serde_json::json!({"to":"393481213456","type":"fax"}), "type"),
            (serde_json::json!({"to":"393481213456","type":"image"}), "image"),
            (serde_json::json!({"to":"393481213456","type":"image","image":"x"}), "image"),
            (serde_json::json!({"to":"393481213456","type":"text","text":{}}), "text.body"),
            (serde_json::json!({"to":"393481213456","type":"text","text":{"body":long}}), "text.body"),
            (serde_json::json!({"id":"a b","to":"393481213456","type":"text","text":{"body":"x"}}), "id"),
            (
                serde_json::json!({"to":"393481213456","type":"text","text":{"body":"x"},"expires_at":"soon"}),
                "expires_at",
            ),
            (
                serde_json::json!({"to":"393481213456","type":"text","text":{"body":"x"},"window_policy":"?"}),
                "window_policy",
            ),
        ] {
            assert_eq!(check(json).unwrap_err().field, field);
        }
    }
}
