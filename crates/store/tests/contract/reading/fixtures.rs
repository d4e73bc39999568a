//! What happens in conversations.

use jiff::Timestamp;
use serde_json::{Value, json};
use staffetta_domain::{
    Alias, Direction, Event, EventId, EventType, Leaf, MessageState, Object, Sighting, TenantId, Touch,
};
use staffetta_store::{ConversationFilter, ConversationRecord, MessageRecord, Store};

use crate::support::{at, sighting, tenant, wamid};

/// The number of user `n`.
pub(crate) fn number(n: usize) -> String {
    format!("39348{n:07}")
}

pub(crate) fn event(kind: EventType, key: &[&str], subject: &str, at: Timestamp, data: Value) -> Event {
    let Value::Object(data) = data else { panic!("the data of an event is an object") };
    Event {
        id: EventId::of(key),
        tenant: tenant(),
        channel: "acme-orders".parse().unwrap(),
        kind,
        time: at,
        subject: subject.to_owned(),
        data,
        trace: None,
    }
}

/// The user of these names writes `leaf`'s own object, as the parser would put it.
pub(crate) fn wrote(names: &[&str], name: &str, seconds: i64, raw: Value) -> Leaf {
    let kind = raw["type"].as_str().unwrap_or("unknown").to_owned();
    let mut data = Object::new();
    data.insert("type".into(), kind.clone().into());
    data.insert("from".into(), names[0].into());
    data.insert("name".into(), "Anna".into());
    data.insert("raw".into(), raw);
    Leaf {
        event: event(EventType::MessageReceived, &["message", name], name, at(seconds), data.into()),
        sighting: Some(Sighting { wrote: true, ..sighting(names, at(seconds)) }),
        touch: Some(Touch::Brought {
            wamid: wamid(name),
            direction: Direction::In,
            unread: !matches!(kind.as_str(), "system" | "request_welcome"),
            kind,
            state: MessageState::Received,
            at: at(seconds),
        }),
        settles: None,
        reach: None,
    }
}

/// User `n` writes a text.
pub(crate) fn text(n: usize, name: &str, seconds: i64) -> Leaf {
    wrote(&[&number(n)], name, seconds, json!({"type": "text", "text": {"body": format!("text of {name}")}}))
}

/// User `n`, who goes by that name, writes.
pub(crate) fn introduced(n: usize, called: &str, username: Option<&str>) -> Leaf {
    let mut leaf = text(n, &format!("wamid.intro.{n}"), 0);
    if let Some(sighting) = &mut leaf.sighting {
        sighting.name = Some(called.to_owned());
        sighting.username = username.map(str::to_owned);
    }
    leaf
}

/// The same happens to somebody else.
pub(crate) fn of_tenant(mut leaf: Leaf, tenant: &str) -> Leaf {
    leaf.event.id = EventId::of(&[tenant, leaf.event.id.as_str()]);
    leaf.event.tenant = tenant.parse().unwrap();
    leaf.event.channel = format!("{tenant}-orders").parse().unwrap();
    leaf
}

pub(crate) fn other_tenant() -> TenantId {
    "other".parse().unwrap()
}

/// User `n` changes a message.
pub(crate) fn edited(n: usize, name: &str, key: &str, seconds: i64, body: &str) -> Leaf {
    let message = json!({"type": "text", "text": {"body": body}});
    let data = json!({"type": "edit", "original_wamid": name, "message": message});
    Leaf {
        event: event(EventType::MessageEdited, &["message", key], key, at(seconds), data),
        sighting: Some(Sighting { wrote: true, ..sighting(&[&number(n)], at(seconds)) }),
        touch: Some(Touch::Edited { wamid: wamid(name), direction: Direction::In, at: at(seconds) }),
        settles: None,
        reach: None,
    }
}

/// User `n` takes a message back.
pub(crate) fn withdrawn(n: usize, name: &str, seconds: i64) -> Leaf {
    let data = json!({"type": "revoke", "original_wamid": name});
    Leaf {
        event: event(EventType::MessageDeleted, &["revoke", name], name, at(seconds), data),
        sighting: Some(Sighting { wrote: true, ..sighting(&[&number(n)], at(seconds)) }),
        touch: Some(Touch::Withdrawn { wamid: wamid(name), direction: Direction::In, at: at(seconds) }),
        settles: None,
        reach: None,
    }
}

/// A status with more fields.
pub(crate) fn status(name: &str, status: &str, seconds: i64, more: Value) -> Leaf {
    let mut data = json!({"status": status});
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let participant =
        data["participant"].as_str().or(data["participant_user_id"].as_str()).unwrap_or_default().to_owned();
    let key = ["status", name, status, &participant];
    Leaf {
        event: event(EventType::MessageStatus, &key, name, at(seconds), data),
        sighting: Some(Sighting {
            aliases: vec![Alias::of_user("393481213456").unwrap()],
            ..sighting(&[], at(seconds))
        }),
        touch: Some(Touch::Moved {
            wamid: wamid(name),
            state: MessageState::of_status(status),
            at: at(seconds),
            command: None,
        }),
        settles: None,
        reach: None,
    }
}

/// All conversations of the tenant on one page.
pub(crate) async fn all(store: &Store) -> Vec<ConversationRecord> {
    store.conversations(&tenant(), &ConversationFilter::default(), None, 10_000).await.unwrap()
}

/// The tenant's only conversation.
pub(crate) async fn only(store: &Store) -> ConversationRecord {
    let mut all = all(store).await;
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// All messages of the tenant's only conversation, newest first.
pub(crate) async fn said(store: &Store) -> Vec<MessageRecord> {
    let id = only(store).await.id;
    store.conversation_messages(&tenant(), id, None, 1_000).await.unwrap().unwrap()
}

/// The wamids, for comparison.
pub(crate) fn wamids(messages: &[MessageRecord]) -> Vec<&str> {
    messages.iter().map(|message| message.wamid.as_str()).collect()
}
