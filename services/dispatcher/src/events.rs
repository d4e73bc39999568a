//! A command's name, its events and its dead letters.

use jiff::Timestamp;
use serde_json::{Value, json};
use staffetta_bus::{DeadLetter, Encoding, Origin, QueuedMessage, SendSubject, command_fields};
use staffetta_domain::{
    ChannelId, CommandFields, CommandId, Event, EventId, EventType, InvalidCommand, Object, TenantId,
};

/// The id of a command that may be unreadable: its own, else its `Nats-Msg-Id`, else one made up from its place.
pub(crate) fn command_id(lane: &SendSubject, message: &QueuedMessage) -> CommandId {
    identified(lane, message).0
}

/// A command's id as above, and its fields with that id in them, if they can be read.
pub(crate) fn identified(
    lane: &SendSubject,
    message: &QueuedMessage,
) -> (CommandId, Result<CommandFields, InvalidCommand>) {
    let mut fields = command_fields(Encoding::of(Some(&message.headers)), &message.payload);
    let mut named = message.message_id().map(str::to_owned);
    if let Ok(fields) = &mut fields {
        fields.id = fields.id.take().or(named);
        named = fields.id.clone();
    }
    let id = named.and_then(|id| id.parse().ok()).unwrap_or_else(|| {
        CommandId::made_up(&[&lane.subject(), &message.sequence.to_string(), &message.stored.to_string()])
    });
    (id, fields)
}

/// One end, or one doubt, of a command.
pub(crate) fn command_event(
    tenant: &TenantId,
    channel: &ChannelId,
    id: &CommandId,
    kind: EventType,
    once_per: &str,
    time: Timestamp,
    data: Value,
) -> Event {
    let key = match kind {
        EventType::CommandAccepted => "accepted",
        EventType::CommandRejected => "rejected",
        EventType::CommandFailed => "failed",
        EventType::CommandExpired => "expired",
        _ => "in_doubt",
    };
    let mut object = match data {
        Value::Object(object) => object,
        _ => Object::new(),
    };
    object.insert("command_id".into(), json!(id.as_str()));
    let id_key: &[&str] = if once_per.is_empty() {
        &["command", tenant.as_str(), id.as_str(), key]
    } else {
        &["command", tenant.as_str(), id.as_str(), key, once_per]
    };
    Event {
        id: EventId::of(id_key),
        tenant: tenant.clone(),
        channel: channel.clone(),
        kind,
        time,
        subject: id.to_string(),
        data: object,
        trace: None,
    }
}

/// The dead letter of a command that is given up. Its id is the same each time.
pub(crate) fn dead_letter(
    lane: &SendSubject,
    message: &QueuedMessage,
    id: &CommandId,
    reason: &'static str,
    detail: String,
    time: Timestamp,
) -> DeadLetter {
    DeadLetter {
        id: EventId::of(&["dead", lane.tenant.as_str(), id.as_str(), reason, &message.stored.to_string()]),
        service: "dispatcher",
        tenant: Some(lane.tenant.clone()),
        channel: Some(lane.channel.clone()),
        reason,
        detail,
        subject: lane.subject(),
        encoding: Encoding::of(Some(&message.headers)),
        payload: message.payload.clone(),
        time,
        origin: Origin::Command(id.clone()),
    }
}
