//! A message that a user wrote, and the echo of one that somebody wrote on the phone.

use serde_json::Value;
use staffetta_domain::{ChannelId, EventId, EventType, Leaf, MessageState, MessageUpdate, TenantId};

use super::{Found, List, lenient};

pub(super) fn leaf(found: &Found, tenant: &TenantId, channel: &ChannelId) -> Leaf {
    let message = found.fields();
    let kind = lenient::text(message, "type").unwrap_or("unknown");
    let id = match (&found.wamid, &found.frame.phone_number_id) {
        (Some(wamid), Some(number)) => EventId::of(&["message", number, wamid.as_str()]),
        _ => found.id_by_content(tenant),
    };
    let event_type = match (found.list, kind) {
        (List::Echoes, _) => EventType::MessageEchoed,
        (_, "edit") => EventType::MessageEdited,
        (_, "revoke") => EventType::MessageDeleted,
        _ => EventType::MessageReceived,
    };

    let mut data = found.data();
    // First, so that a type by the name of one of our own fields gives way to that.
    lenient::copy(message, &mut data, &[kind]);
    lenient::set(&mut data, "wamid", found.wamid.as_ref().map(staffetta_domain::Wamid::as_str));
    lenient::set(&mut data, "type", Some(kind));
    lenient::set(&mut data, "timestamp", Some(&found.time().to_string()));
    for (field, name) in
        [("from", "from"), ("to", "to"), ("user_id", "from_user_id"), ("to_user_id", "to_user_id")]
    {
        lenient::set(&mut data, field, lenient::text(message, name));
    }
    lenient::copy(message, &mut data, &["context", "referral", "group_id", "errors"]);
    if let Some(Value::Object(contact)) = &found.contact {
        if let Some(Value::Object(profile)) = contact.get("profile") {
            lenient::set(&mut data, "name", lenient::text(profile, "name"));
            lenient::set(&mut data, "username", lenient::text(profile, "username"));
        }
        if !data.contains_key("user_id") {
            lenient::set(&mut data, "user_id", lenient::text(contact, "user_id"));
        }
        data.insert("contact".into(), Value::Object(contact.clone()));
    }
    data.insert("raw".into(), found.leaf.clone());

    Leaf {
        event: found.event(id, event_type, data, tenant, channel),
        message: update(found, kind),
        settles: None,
    }
}

/// What the message does to its conversation. An edit or a withdrawal is about another message, and is none itself.
fn update(found: &Found, kind: &str) -> Option<MessageUpdate> {
    if matches!(kind, "edit" | "revoke") {
        return None;
    }
    let message = found.fields();
    let contact = found.contact.as_ref().and_then(Value::as_object);
    let (state, user) = match found.list {
        List::Echoes => (
            MessageState::Sent,
            lenient::text(message, "to").or_else(|| lenient::text(message, "to_user_id")),
        ),
        _ => (
            MessageState::Received,
            lenient::text(message, "from")
                .or_else(|| lenient::text(message, "from_user_id"))
                .or_else(|| lenient::text(contact?, "wa_id"))
                .or_else(|| lenient::text(contact?, "user_id")),
        ),
    };
    Some(MessageUpdate {
        wamid: found.wamid.clone()?,
        user: user.map(str::to_owned),
        state,
        kind: Some(kind.to_owned()),
        content: Some(found.leaf.clone()),
        at: found.time(),
        command: None,
    })
}
