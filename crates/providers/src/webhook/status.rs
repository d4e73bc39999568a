//! A step of a sent message, and the proof that its command was accepted.

use serde_json::json;
use staffetta_domain::{
    Callback, ChannelId, Event, EventId, EventType, Leaf, MessageState, Object, Reach, Settles, Sighting,
    TenantId, Touch, Wamid,
};

use super::who::{PARTICIPANT, Person, RECIPIENT};
use super::{Found, lenient, problem, who};

pub(super) fn leaf(found: &Found, tenant: &TenantId, channel: &ChannelId) -> Leaf {
    let status = found.fields();
    let name = lenient::text(status, "status");
    let id = match (&found.wamid, &found.frame.phone_number_id, name) {
        (Some(wamid), Some(number), Some(name)) => {
            let key = ["status", number, wamid.as_str(), name, participant(status)];
            match foreign_type(status) {
                None => EventId::of(&key),
                Some(kind) => EventId::of(&[&key[..], &[kind]].concat()),
            }
        }
        _ => found.id_by_content(tenant),
    };
    let callback = lenient::text(status, "biz_opaque_callback_data").and_then(Callback::decode);
    // Of a message that another tenant sent when the number was its own nothing is told that names its command.
    let is_foreign = callback.as_ref().is_some_and(|callback| !callback.is_of(tenant));
    let callback = callback.filter(|_| !is_foreign && foreign_type(status).is_none());
    let user = user(found);
    Leaf {
        event: found.event(
            id,
            EventType::MessageStatus,
            data(found, name, &user, is_foreign),
            tenant,
            channel,
        ),
        sighting: Some(sighting(found, user)),
        touch: touch(found, name, callback.as_ref()),
        settles: callback.and_then(|callback| settles(found, callback, tenant, channel)),
        reach: reach(status, name),
    }
}

fn data(found: &Found, name: Option<&str>, user: &Person, is_foreign: bool) -> Object {
    let status = found.fields();
    let mut data = found.data();
    lenient::set(&mut data, "wamid", found.wamid.as_ref().map(Wamid::as_str));
    lenient::set(&mut data, "type", foreign_type(status));
    lenient::set(&mut data, "status", name);
    lenient::set(&mut data, "timestamp", Some(&found.time().to_string()));
    if is_of_group(status) {
        Person::of(found, &PARTICIPANT).tell(&PARTICIPANT, &mut data);
        lenient::set(&mut data, "group_id", lenient::text(status, "recipient_id"));
        lenient::set(&mut data, "recipient", lenient::text(status, "recipient_id"));
    } else {
        user.tell(&RECIPIENT, &mut data);
    }
    lenient::copy(status, &mut data, &["recipient_type", "pricing", "conversation", "payment"]);
    if let Some(errors) = status.get("errors") {
        data.insert("errors".into(), problem::with_hints(errors));
        let first = errors.get(0).and_then(problem::short);
        data.extend(first.map(|error| ("error".into(), error)));
    }
    found.tell_contact(&mut data);
    let mut raw = found.leaf.clone();
    if let Some(fields) = raw.as_object_mut().filter(|_| is_foreign) {
        fields.remove("biz_opaque_callback_data");
    }
    data.insert("raw".into(), raw);
    data
}

/// Which member of a group the status is about; empty outside of groups. Not the recipient: the same status may come
/// once with it and once without. So may the member's number; the id comes with every copy, where there is one.
fn participant(status: &Object) -> &str {
    lenient::text(status, "recipient_participant_user_id")
        .or_else(|| lenient::text(status, "recipient_participant_id"))
        .unwrap_or_default()
}

fn is_of_group(status: &Object) -> bool {
    lenient::text(status, "recipient_type") == Some("group") || !participant(status).is_empty()
}

/// What has the status if not the message itself: a payment's `failed` says nothing of the message that asked for it.
fn foreign_type(status: &Object) -> Option<&str> {
    lenient::text(status, "type").filter(|kind| *kind != "message")
}

fn user(found: &Found) -> Person {
    let mut person = Person::of(found, &RECIPIENT);
    // Its name in the first weeks.
    person.add_parent(lenient::text(found.fields(), "parent_recipient_user_id"));
    person
}

fn sighting(found: &Found, user: Person) -> Sighting {
    if is_of_group(found.fields()) {
        return who::group(lenient::text(found.fields(), "recipient_id"), found.time(), false);
    }
    user.sighting(found.time(), false)
}

/// A status that moves nothing still proves, by naming its command, that the message was accepted.
fn touch(found: &Found, name: Option<&str>, callback: Option<&Callback>) -> Option<Touch> {
    if foreign_type(found.fields()).is_some() {
        return None;
    }
    Some(Touch::Moved {
        wamid: found.wamid.clone()?,
        state: name.and_then(MessageState::of_status).or(callback.map(|_| MessageState::Accepted)),
        at: found.time(),
        command: callback.map(|callback| callback.command.clone()),
    })
}

fn settles(found: &Found, callback: Callback, tenant: &TenantId, channel: &ChannelId) -> Option<Settles> {
    let wamid = found.wamid.as_ref()?.as_str();
    let status = found.fields();
    let Callback { command, attempt, .. } = callback;
    let recipient =
        lenient::text(status, "recipient_id").or_else(|| lenient::text(status, "recipient_user_id"));
    let mut data = Object::new();
    lenient::set(&mut data, "command_id", Some(command.as_str()));
    lenient::set(&mut data, "wamid", Some(wamid));
    lenient::set(&mut data, "recipient", recipient);
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
        trace: None,
    };
    Some(Settles { command, accepted })
}

/// Why its user could not be reached. What keeps one member from a group's messages keeps them from nobody else.
fn reach(status: &Object, name: Option<&str>) -> Option<Reach> {
    if name != Some("failed") || foreign_type(status).is_some() || is_of_group(status) {
        return None;
    }
    let first = status.get("errors")?.get(0)?.as_object()?;
    Reach::refused(problem::code(first)?, None)
}
