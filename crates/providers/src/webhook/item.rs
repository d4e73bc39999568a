//! Items of the lists that hold neither messages, nor statuses, nor calls.

use serde_json::Value;
use staffetta_domain::{Alias, ChannelId, EventType, Leaf, Object, Reach, Sighting, TenantId};

use super::list::List;
use super::who::{PLAIN, Person};
use super::{Found, lenient, problem, who};

/// With this code marketing is refused to a user who wants none.
const OPTED_OUT: i64 = 131_050;

pub(super) fn leaf(found: &Found, tenant: &TenantId, channel: &ChannelId) -> Leaf {
    let item = found.fields();
    let mut data = found.data();
    lenient::set(&mut data, "field", Some(&found.frame.field));
    if let Some(name) = typed_name(found.list) {
        data.insert(name.into(), lenient::with_text_ids(&found.leaf));
    }
    match found.list {
        List::Errors | List::HistoryErrors => {
            data.extend(problem::short(&found.leaf).map(|error| ("error".into(), error)));
        }
        List::Groups => lenient::copy(item, &mut data, &["group_id"]),
        List::AutomaticEvents => lenient::set(&mut data, "wamid", lenient::text(item, "id")),
        List::Preferences | List::UserIds => user(found).tell(&PLAIN, &mut data),
        _ => {}
    }
    if let Some(chapter) = &found.chapter {
        let mut history = Object::new();
        lenient::copy(&chapter.metadata, &mut history, &["phase", "chunk_order", "progress"]);
        data.extend((!history.is_empty()).then(|| ("history".to_owned(), history.into())));
    }
    found.tell_contact(&mut data);
    data.insert("raw".into(), found.leaf.clone());

    let id = found.id_by_content(tenant);
    Leaf {
        sighting: sighting(found).filter(|seen| !seen.aliases.is_empty()),
        reach: reach(found),
        ..Leaf::of_event(found.event(id, EventType::WebhookOther, data, tenant, channel))
    }
}

/// Under which name an item is told, its ids as texts.
fn typed_name(list: List) -> Option<&'static str> {
    match list {
        List::StateSync => Some("state_sync"),
        List::Preferences => Some("preference"),
        List::UserIds => Some("user_id_update"),
        List::AutomaticEvents => Some("automatic_event"),
        List::Groups => Some("group"),
        _ => None,
    }
}

fn user(found: &Found) -> Person {
    if found.list != List::UserIds {
        return Person::of(found, &PLAIN);
    }
    let mut person = ids(found, "current");
    person.add_user(lenient::text(found.fields(), "wa_id"));
    person
}

/// The ids in `user_id` and `parent_user_id` that hold now, or that did before.
fn ids(found: &Found, when: &str) -> Person {
    let id = |name: &str| {
        let change = found.fields().get(name).and_then(Value::as_object)?;
        lenient::text(change, when)
    };
    let mut person = Person::default();
    person.add_user(id("user_id"));
    person.add_parent(id("parent_user_id"));
    person
}

/// Whom the item is about. The address book of the phone is about nobody who need be known here.
fn sighting(found: &Found) -> Option<Sighting> {
    let at = found.time();
    match found.list {
        List::Preferences => Some(user(found).sighting(at, false)),
        List::UserIds => {
            let mut seen = user(found).sighting(at, false);
            seen.former = ids(found, "previous").aliases;
            seen.former.retain(|alias: &Alias| !seen.aliases.contains(alias));
            Some(seen)
        }
        List::Groups => Some(group(found)),
        _ => None,
    }
}

/// What a user has said to marketing. No other sort of message can be stopped.
fn reach(found: &Found) -> Option<Reach> {
    let preference = found.fields();
    let category = lenient::text(preference, "category");
    if found.list != List::Preferences || category.is_some_and(|category| category != "marketing_messages") {
        return None;
    }
    match lenient::text(preference, "value")? {
        "stop" => Reach::refused(OPTED_OUT, None),
        "resume" | "signup" => Some(Reach::Agreed),
        _ => None,
    }
}

fn group(found: &Found) -> Sighting {
    let group = found.fields();
    let mut seen = who::group(lenient::text(group, "group_id"), found.time(), false);
    let subject = match group.get("group_subject") {
        Some(Value::Object(subject)) if subject.get("update_successful") != Some(&Value::Bool(false)) => {
            lenient::text(subject, "text")
        }
        _ => lenient::text(group, "subject"),
    };
    seen.name = subject.map(str::to_owned);
    seen
}
