//! The events and dead letters of a command.

use jiff::Timestamp;
use serde_json::{Value, json};
use staffetta_bus::DeadLetter;
use staffetta_domain::{ChannelId, CommandId, Event, EventId, EventType, Object, TenantId};

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
    }
}

/// The dead letter of a command that is given up. Its id is the same each time.
pub(crate) fn dead_letter(
    lane: &staffetta_bus::SendSubject,
    message: &staffetta_bus::QueuedMessage,
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
        encoding: staffetta_bus::Encoding::of(Some(&message.headers)),
        payload: message.payload.clone(),
        time,
    }
}
