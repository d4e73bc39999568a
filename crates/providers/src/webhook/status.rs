//! A step of a sent message, and the proof that its command was accepted.

use serde_json::json;
use staffetta_domain::{
    Callback, ChannelId, Event, EventId, EventType, Leaf, MessageState, MessageUpdate, Object, Settles,
    TenantId, Wamid,
};

use super::{Found, lenient};

pub(super) fn leaf(found: &Found, tenant: &TenantId, channel: &ChannelId) -> Leaf {
    let status = found.fields();
    let name = lenient::text(status, "status");
    let id = match (&found.wamid, &found.frame.phone_number_id, name) {
        (Some(wamid), Some(number), Some(name)) => {
            EventId::of(&["status", number, wamid.as_str(), name, participant(status)])
        }
        _ => found.id_by_content(tenant),
    };

    let mut data = found.data();
    lenient::set(&mut data, "wamid", found.wamid.as_ref().map(Wamid::as_str));
    lenient::set(&mut data, "status", name);
    lenient::set(&mut data, "timestamp", Some(&found.time().to_string()));
    lenient::set(&mut data, "recipient", lenient::text(status, "recipient_id"));
    lenient::set(&mut data, "recipient_user_id", lenient::text(status, "recipient_user_id"));
    lenient::copy(status, &mut data, &["pricing", "conversation", "errors"]);
    data.insert("raw".into(), found.leaf.clone());

    let callback = lenient::text(status, "biz_opaque_callback_data").and_then(Callback::decode);
    Leaf {
        event: found.event(id, EventType::MessageStatus, data, tenant, channel),
        message: update(found, name, callback.as_ref()),
        settles: callback.and_then(|callback| settles(found, callback, tenant, channel)),
    }
}

/// Which member of a group the status is about; empty outside of groups. Not the recipient: the same status may come
/// once with it and once without.
fn participant(status: &Object) -> &str {
    lenient::text(status, "recipient_participant_id")
        .or_else(|| lenient::text(status, "recipient_participant_user_id"))
        .unwrap_or_default()
}

fn recipient(status: &Object) -> Option<&str> {
    lenient::text(status, "recipient_id").or_else(|| lenient::text(status, "recipient_user_id"))
}

/// A status that moves nothing still proves, by naming its command, that the message was accepted.
fn update(found: &Found, name: Option<&str>, callback: Option<&Callback>) -> Option<MessageUpdate> {
    let state = name.and_then(MessageState::of_status).or(callback.map(|_| MessageState::Accepted))?;
    Some(MessageUpdate {
        wamid: found.wamid.clone()?,
        user: recipient(found.fields()).map(str::to_owned),
        state,
        kind: None,
        content: None,
        at: found.time(),
        command: callback.map(|callback| callback.command.clone()),
    })
}

fn settles(found: &Found, callback: Callback, tenant: &TenantId, channel: &ChannelId) -> Option<Settles> {
    let wamid = found.wamid.as_ref()?.as_str();
    let Callback { command, attempt } = callback;
    let mut data = Object::new();
    lenient::set(&mut data, "command_id", Some(command.as_str()));
    lenient::set(&mut data, "wamid", Some(wamid));
    lenient::set(&mut data, "recipient", recipient(found.fields()));
    data.insert("attempt".into(), json!(attempt));
    lenient::set(&mut data, "settled_by", Some("status"));
    let accepted = Event {
        id: EventId::of(&["command", tenant.as_str(), command.as_str(), "accepted"]),
        tenant: tenant.clone(),
        channel: channel.clone(),
        kind: EventType::CommandAccepted,
        time: found.time(),
        subject: command.to_string(),
        data,
    };
    Some(Settles { command, accepted })
}
