//! A message: of a user, from somebody at the business' phone, or from before the channel was connected.

use serde_json::Value;
use staffetta_domain::{
    Alias, ChannelId, Direction, EventId, EventType, Leaf, MessageState, Object, Sighting, TenantId, Touch,
    Wamid,
};

use super::list::List;
use super::who::{ADDRESSEE, Person, SENDER};
use super::{Found, content, lenient, problem, system, who};

/// The type of a message of the history whose file may follow.
const PLACEHOLDER: &str = "media_placeholder";

pub(super) fn leaf(found: &Found, tenant: &TenantId, channel: &ChannelId) -> Leaf {
    let message = found.fields();
    let kind = lenient::text(message, "type").unwrap_or("unknown");
    let direction = direction(found);
    let id = match (&found.wamid, &found.frame.phone_number_id) {
        // The history tells a file's message twice: that there was one, and later, under the same id, the file.
        (Some(wamid), Some(number)) if found.chapter.is_some() && kind == PLACEHOLDER => {
            EventId::of(&["message", number, wamid.as_str(), PLACEHOLDER])
        }
        (Some(wamid), Some(number)) => EventId::of(&["message", number, wamid.as_str()]),
        _ => found.id_by_content(tenant),
    };
    let event_type = match (direction, kind) {
        (Direction::Out, _) => EventType::MessageEchoed,
        (Direction::In, "edit") => EventType::MessageEdited,
        (Direction::In, "revoke") => EventType::MessageDeleted,
        (Direction::In, _) => EventType::MessageReceived,
    };
    let user = user(found, direction);
    Leaf {
        event: found.event(id, event_type, data(found, kind, direction, &user), tenant, channel),
        sighting: Some(sighting(found, kind, direction, user)),
        touch: touch(found, kind, direction),
        settles: None,
        reach: None,
    }
}

fn data(found: &Found, kind: &str, direction: Direction, user: &Person) -> Object {
    let message = found.fields();
    let mut data = found.data();
    content::tell(kind, message, &mut data);
    lenient::set(&mut data, "wamid", found.wamid.as_ref().map(Wamid::as_str));
    lenient::set(&mut data, "type", Some(kind));
    lenient::set(&mut data, "timestamp", Some(&found.time().to_string()));
    match direction {
        Direction::In => user.tell(&SENDER, &mut data),
        Direction::Out => {
            lenient::set(&mut data, "from", lenient::text(message, "from"));
            user.tell(&ADDRESSEE, &mut data);
        }
    }
    lenient::copy(message, &mut data, &["context", "referral", "group_id", "identity"]);
    if let Some(errors) = message.get("errors") {
        data.insert("errors".into(), problem::with_hints(errors));
    }
    found.tell_contact(&mut data);
    data.extend(history(found).map(|history| ("history".into(), history.into())));
    data.insert("raw".into(), found.leaf.clone());
    data
}

/// Who wrote it. Of the history only the messages themselves tell.
fn direction(found: &Found) -> Direction {
    match (found.list, &found.chapter) {
        (List::Echoes, _) => Direction::Out,
        (List::HistoryMessages, Some(chapter)) => {
            let message = found.fields();
            let from_me = message.get("history_context").and_then(|context| context.get("from_me"));
            let from = lenient::text(message, "from").and_then(Alias::of_user);
            let is = |text: Option<&str>| from.is_some() && text.and_then(Alias::of_user) == from;
            let by_business = match from_me.and_then(Value::as_bool) {
                Some(from_me) => from_me,
                None if is(found.frame.display_phone_number.as_deref()) => true,
                None if is(thread_id(&chapter.thread)) => false,
                None => lenient::text(message, "to").is_some(),
            };
            if by_business { Direction::Out } else { Direction::In }
        }
        _ => Direction::In,
    }
}

/// The user at the other end. A thread's id says who that is.
fn user(found: &Found, direction: Direction) -> Person {
    let names = match direction {
        Direction::In => &SENDER,
        Direction::Out => &ADDRESSEE,
    };
    let Some(id) = found.chapter.as_ref().and_then(|chapter| thread_id(&chapter.thread)) else {
        return Person::of(found, names);
    };
    let mut person = Person::default();
    person.add_user(Some(id));
    let others = found.fields().iter().filter(|(name, _)| name.ends_with("_user_id"));
    person.add(&others.map(|(name, value)| (name.clone(), value.clone())).collect(), names);
    person
}

fn thread_id(thread: &Object) -> Option<&str> {
    lenient::text(thread, "id")
}

/// From where in the history the message is, and where it stood then.
fn history(found: &Found) -> Option<Object> {
    let chapter = found.chapter.as_ref()?;
    let mut history = Object::new();
    lenient::copy(&chapter.metadata, &mut history, &["phase", "chunk_order", "progress"]);
    let context = found.fields().get("history_context").and_then(Value::as_object);
    lenient::set(&mut history, "status", context.and_then(|context| lenient::text(context, "status")));
    Some(history)
}

fn sighting(found: &Found, kind: &str, direction: Direction, user: Person) -> Sighting {
    // What WhatsApp itself says is not what the user says, and taking back is not writing.
    let wrote = direction == Direction::In && !matches!(kind, "system" | "revoke");
    match lenient::text(found.fields(), "group_id") {
        Some(group) => who::group(Some(group), found.time(), wrote),
        None if kind == "system" => system::sighting(found, user),
        None => user.sighting(found.time(), wrote),
    }
}

/// What it does to a message: an edit and a withdrawal are about another one, and are none themselves.
fn touch(found: &Found, kind: &str, direction: Direction) -> Option<Touch> {
    let at = found.time();
    let original = || {
        let content = found.fields().get(kind)?.as_object()?;
        lenient::text(content, "original_message_id")?.parse().ok()
    };
    match kind {
        "edit" => return Some(Touch::Edited { wamid: original()?, direction, at }),
        "revoke" => return Some(Touch::Withdrawn { wamid: original()?, direction, at }),
        _ => {}
    }
    let is_new = direction == Direction::In && found.list == List::Messages;
    let is_silent = matches!(kind, "system" | "request_welcome")
        || (kind == "reaction" && content::removes_reaction(found.fields()));
    let state = match direction {
        Direction::In => MessageState::Received,
        Direction::Out => sent_state(found),
    };
    let wamid = found.wamid.clone()?;
    Some(Touch::Brought { wamid, direction, kind: kind.to_owned(), state, at, unread: is_new && !is_silent })
}

/// How far a message of the business had come.
fn sent_state(found: &Found) -> MessageState {
    let status = history(found).and_then(|history| Some(lenient::text(&history, "status")?.to_lowercase()));
    match status.as_deref() {
        Some("pending") => MessageState::Accepted,
        Some("error") => MessageState::Failed,
        Some(name) => MessageState::of_status(name).unwrap_or(MessageState::Sent),
        None => MessageState::Sent,
    }
}
