//! A call, step by step.

use serde_json::Value;
use staffetta_domain::{Alias, ChannelId, EventId, EventType, Leaf, Object, TenantId};

use super::list::List;
use super::who::{ADDRESSEE, Person, RECIPIENT, SENDER};
use super::{Found, lenient, problem};

/// Whether the leaf is a call's: statuses of calls may stand among those of messages.
pub(super) fn is_call(found: &Found) -> bool {
    match found.list {
        List::Calls => true,
        List::Statuses => {
            found.frame.field == "calls" || lenient::text(found.fields(), "type") == Some("call")
        }
        _ => false,
    }
}

pub(super) fn leaf(found: &Found, tenant: &TenantId, channel: &ChannelId) -> Leaf {
    let call = found.fields();
    let is_status = found.list == List::Statuses;
    let step = lenient::text(call, if is_status { "status" } else { "event" });
    let id = match (lenient::text(call, "id"), &found.frame.phone_number_id, step) {
        (Some(id), Some(number), Some(step)) => EventId::of(&["call", number, id, step]),
        _ => found.id_by_content(tenant),
    };
    let by_user = !is_status && is_by_user(found);
    let names = match (is_status, by_user) {
        (true, _) => &RECIPIENT,
        (false, true) => &SENDER,
        (false, false) => &ADDRESSEE,
    };

    let mut data = found.data();
    lenient::set(&mut data, "field", Some(&found.frame.field));
    lenient::set(&mut data, "timestamp", Some(&found.time().to_string()));
    let user = Person::of(found, names);
    user.tell(names, &mut data);
    data.insert("call".into(), typed(call).into());
    if let Some(errors) = call.get("errors") {
        data.insert("errors".into(), problem::with_hints(errors));
    }
    found.tell_contact(&mut data);
    data.insert("raw".into(), found.leaf.clone());

    let wrote = by_user && step == Some("connect");
    Leaf {
        sighting: Some(user.sighting(found.time(), wrote)),
        ..Leaf::of_event(found.event(id, EventType::WebhookOther, data, tenant, channel))
    }
}

/// Who rings.
fn is_by_user(found: &Found) -> bool {
    match lenient::text(found.fields(), "direction") {
        Some("USER_INITIATED") => true,
        Some("BUSINESS_INITIATED") => false,
        _ => {
            let digits = |text: Option<&str>| text.and_then(Alias::of_user);
            let from = digits(lenient::text(found.fields(), "from"));
            from.is_none() || from != digits(found.frame.display_phone_number.as_deref())
        }
    }
}

/// The call in short. `duration` is in seconds.
fn typed(call: &Object) -> Object {
    let mut typed = Object::new();
    lenient::copy(call, &mut typed, &["event", "status", "direction", "from", "to", "session", "duration"]);
    typed.extend(call.get("id").and_then(lenient::id).map(|id| ("id".into(), id.into())));
    for (name, field) in [("started", "start_time"), ("ended", "end_time")] {
        let at = call.get(field).and_then(lenient::moment);
        lenient::set(&mut typed, name, at.map(|at| at.to_string()).as_deref());
    }
    let said = call.get("biz_opaque_callback_data").filter(|said| **said != Value::Null);
    typed.extend(said.map(|said| ("callback_data".into(), said.clone())));
    typed
}
