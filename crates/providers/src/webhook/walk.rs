//! From a body to its leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;
use staffetta_domain::{Object, Wamid};

use super::frame::{Chapter, Frame};
use super::list::List;
use super::who::Contacts;
use super::{Broken, Found, Part, lenient};

type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// Takes a body apart, in its own order. `received_at` is the time of leaves that name none. Every body has at least
/// one part.
pub fn parse(body: &[u8], received_at: Timestamp) -> Vec<Part> {
    // A broken character costs itself, not the body.
    let text = String::from_utf8_lossy(body);
    let mut walk = Walk { received_at, parts: Vec::new(), is_full: false };
    walk.body(&text);
    if walk.is_full {
        let payload = text.as_bytes().to_vec().into();
        walk.parts.push(Part::Broken(Broken { place: "body".into(), problem: TOO_MANY, payload }));
    }
    walk.parts
}

/// Most parts of one body: more than Meta's largest body has room for. In memory each part is some kilobytes, and a
/// body of nothing but brackets would be a million of them.
const MOST_PARTS: usize = 30_000;
const TOO_MANY: &str = "has more than 30000 parts: the later ones are not told";
/// Most bytes around leaves: they come with each one.
const MOST_AROUND: usize = 2 << 10;
const TOO_MUCH_AROUND: &str = "has more than 2 KiB around its leaves";

struct Walk {
    received_at: Timestamp,
    parts: Vec<Part>,
    /// Whether there were more parts than a body may have.
    is_full: bool,
}

/// A change, and what is around it.
struct Change<'a> {
    waba_id: Option<String>,
    time: Option<Value>,
    field: Option<String>,
    value: &'a RawValue,
}

/// A list that may be there, skimmed.
struct Items<'a> {
    name: &'static str,
    /// The items, or what stands there in place of a list.
    found: Option<Result<Vec<&'a RawValue>, &'a RawValue>>,
}

impl<'a> Items<'a> {
    fn of(fields: &Fields<'a>, name: &'static str) -> Self {
        let raw = fields.get(name).copied().filter(|raw| raw.get() != "null");
        Self { name, found: raw.map(|raw| lenient::skim_list(raw.get()).ok_or(raw)) }
    }

    fn len(&self) -> usize {
        self.found.as_ref().and_then(|found| found.as_ref().ok()).map_or(0, Vec::len)
    }
}

impl Walk {
    /// Whether there is room for one more part.
    fn has_room(&mut self) -> bool {
        self.is_full |= self.parts.len() >= MOST_PARTS;
        !self.is_full
    }

    fn broken(&mut self, place: impl Into<String>, problem: &'static str, payload: &str) {
        if self.has_room() {
            let payload = payload.as_bytes().to_vec().into();
            self.parts.push(Part::Broken(Broken { place: place.into(), problem, payload }));
        }
    }

    fn body(&mut self, text: &str) {
        let Some(body) = lenient::skim_object(text) else {
            return self.broken("body", "is not a JSON object", text);
        };
        match body.get("entry").and_then(|entries| lenient::skim_list(entries.get())) {
            Some(entries) if !entries.is_empty() => {
                for (index, entry) in entries.into_iter().enumerate() {
                    self.entry(&format!("entry[{index}]"), entry);
                }
            }
            Some(_) => self.broken("entry", "is empty", text),
            None => self.broken("entry", "is not a list", text),
        }
    }

    fn entry(&mut self, place: &str, raw: &RawValue) {
        let Some(entry) = lenient::skim_object(raw.get()) else {
            return self.broken(place, "is not an object", raw.get());
        };
        if size_of(&entry, |name| matches!(name, "id" | "time")) > MOST_AROUND {
            return self.broken(place, TOO_MUCH_AROUND, raw.get());
        }
        match entry.get("changes").and_then(|changes| lenient::skim_list(changes.get())) {
            Some(changes) if !changes.is_empty() => {
                for (index, raw) in changes.into_iter().enumerate() {
                    let place = format!("{place}.changes[{index}]");
                    let change = lenient::skim_object(raw.get());
                    match change.as_ref().and_then(|change| Some((change, *change.get("value")?))) {
                        Some((change, value)) => {
                            let field = read_field(change, "field");
                            let change = Change {
                                waba_id: read_field(&entry, "id").as_ref().and_then(lenient::id),
                                time: read_field(&entry, "time").as_ref().and_then(lenient::number),
                                field: field.as_ref().and_then(Value::as_str).map(str::to_owned),
                                value,
                            };
                            self.change(&place, change);
                        }
                        None => self.broken(place, "is not an object with a value", raw.get()),
                    }
                }
            }
            Some(_) => self.broken(format!("{place}.changes"), "is empty", raw.get()),
            None => self.broken(format!("{place}.changes"), "is not a list", raw.get()),
        }
    }

    fn change(&mut self, place: &str, change: Change<'_>) {
        let place = format!("{place}.value");
        let fields = lenient::skim_object(change.value.get()).unwrap_or_default();
        let lists = List::of_field(change.field.as_deref(), |name| fields.contains_key(name));
        let text = change.value.get();
        let around = size_of(&fields, is_around) + change.field.as_ref().map_or(0, String::len);
        if !lists.is_empty() && around > MOST_AROUND {
            return self.broken(place, TOO_MUCH_AROUND, text);
        }
        let frame = Arc::new(self.frame(change, &fields, !lists.is_empty()));
        if lists.is_empty() {
            return self.whole(&place, frame, text);
        }
        let before = self.parts.len();
        let items: Vec<(List, Items<'_>)> =
            lists.iter().filter_map(|list| Some((*list, Items::of(&fields, list.name()?)))).collect();
        let contacts = self.contacts(&place, &fields);
        let alone = items.iter().map(|(_, items)| items.len()).sum::<usize>() == 1;
        for (list, items) in items {
            for (place, item) in self.list(&place, items) {
                if list == List::HistoryItems {
                    self.history(&place, &frame, item);
                } else {
                    let contact = |leaf: &Object| contacts.of(list, leaf, alone);
                    self.leaf(&place, &frame, list, item, contact, None);
                }
            }
        }
        let known = |name: &str| {
            is_around(name) || name == "contacts" || lists.iter().any(|list| list.name() == Some(name))
        };
        if let Some(leaf) = self.unknown(&place, &fields, known) {
            self.push(&frame, List::Whole, leaf);
        } else if self.parts.len() == before {
            self.whole(&place, frame, text);
        }
    }

    fn frame(&self, change: Change<'_>, fields: &Fields<'_>, has_lists: bool) -> Frame {
        let metadata = object_field(fields, "metadata");
        // Outside of metadata, a number's name stands in the value itself.
        let shown = metadata.get("display_phone_number").cloned();
        let display = shown.or_else(|| read_field(fields, "display_phone_number"));
        let unnamed = if has_lists { "messages" } else { "unknown" };
        let told = || object_field(fields, "waba_info").get("waba_id").and_then(lenient::id);
        let is_account = change.field.as_deref() == Some("account_update");
        Frame {
            received_at: self.received_at,
            waba_id: change.waba_id,
            told_waba_id: is_account.then(told).flatten(),
            time: change.time,
            field: change.field.unwrap_or_else(|| unnamed.into()),
            messaging_product: read_field(fields, "messaging_product"),
            phone_number_id: metadata.get("phone_number_id").and_then(lenient::id),
            display_phone_number: display.as_ref().and_then(lenient::id),
            metadata,
        }
    }

    /// The contacts beside the leaves. One that is too large to be told with each of them is broken, and known by its
    /// names.
    fn contacts(&mut self, place: &str, fields: &Fields<'_>) -> Contacts {
        let items = fields.get("contacts").and_then(|raw| lenient::skim_list(raw.get())).unwrap_or_default();
        let mut contacts = Contacts::default();
        for (index, raw) in items.into_iter().enumerate() {
            if let Ok(Value::Object(contact)) = lenient::read(raw.get())
                && !contacts.add(contact, raw.get().len())
            {
                let place = format!("{place}.contacts[{index}]");
                self.broken(place, "is larger than 8 KiB: its leaves have its names alone", raw.get());
            }
        }
        contacts
    }

    /// The items of one list of the object at `place`, each with its own place.
    fn list<'a>(&mut self, place: &str, items: Items<'a>) -> Vec<(String, &'a RawValue)> {
        let place = format!("{place}.{}", items.name);
        match items.found {
            None => Vec::new(),
            Some(Ok(items)) => items
                .into_iter()
                // One more, so that it shows.
                .take(MOST_PARTS + 1)
                .enumerate()
                .map(|(index, item)| (format!("{place}[{index}]"), item))
                .collect(),
            Some(Err(raw)) => {
                self.broken(place, "is not a list", raw.get());
                Vec::new()
            }
        }
    }

    /// An item of `history`: threads of messages, or the reason why there are none.
    fn history(&mut self, place: &str, frame: &Arc<Frame>, raw: &RawValue) {
        let Some(fields) = lenient::skim_object(raw.get()) else {
            return self.broken(place, "is not an object", raw.get());
        };
        if size_of(&fields, |name| name == "metadata") > MOST_AROUND {
            return self.broken(place, TOO_MUCH_AROUND, raw.get());
        }
        let before = self.parts.len();
        let metadata = object_field(&fields, "metadata");
        for (place, thread) in self.list(place, Items::of(&fields, "threads")) {
            let Some(fields) = lenient::skim_object(thread.get()) else {
                self.broken(place, "is not an object", thread.get());
                continue;
            };
            if size_of(&fields, |name| name != "messages") > MOST_AROUND {
                self.broken(place, TOO_MUCH_AROUND, thread.get());
                continue;
            }
            let kept = fields.keys().filter(|name| *name != "messages");
            let thread = kept.filter_map(|name| Some((name.clone(), read_field(&fields, name)?))).collect();
            let chapter = Arc::new(Chapter { metadata: metadata.clone(), thread });
            for (place, raw) in self.list(&place, Items::of(&fields, "messages")) {
                self.leaf(&place, frame, List::HistoryMessages, raw, |_| None, Some(&chapter));
            }
        }
        let chapter = Arc::new(Chapter { metadata, thread: Object::new() });
        for (place, raw) in self.list(place, Items::of(&fields, "errors")) {
            self.leaf(&place, frame, List::HistoryErrors, raw, |_| None, Some(&chapter));
        }
        let known = |name: &str| matches!(name, "metadata" | "threads" | "errors");
        if let Some(leaf) = self.unknown(place, &fields, known) {
            self.push(frame, List::HistoryItems, leaf);
        } else if self.parts.len() == before {
            match lenient::read(raw.get()) {
                Ok(item) => self.push(frame, List::HistoryItems, item),
                Err(problem) => self.broken(place, problem, raw.get()),
            }
        }
    }

    /// One item of a list, told if it can be.
    fn leaf(
        &mut self,
        place: &str,
        frame: &Arc<Frame>,
        list: List,
        raw: &RawValue,
        contact: impl Fn(&Object) -> Option<Arc<Object>>,
        chapter: Option<&Arc<Chapter>>,
    ) {
        if !self.has_room() {
            return;
        }
        let found = || {
            let leaf = lenient::read(raw.get())?;
            let Value::Object(fields) = &leaf else { return Err("is not an object") };
            if list.needs_number() && frame.phone_number_id.is_none() {
                return Err("has no metadata.phone_number_id beside it");
            }
            let id = if list.needs_number() { lenient::text(fields, "id") } else { None };
            let wamid: Option<Wamid> =
                id.map(str::parse).transpose().map_err(|_| "has an id of more than 512 bytes")?;
            let contact = contact(fields);
            Ok(Found { frame: Arc::clone(frame), list, leaf, wamid, contact, chapter: chapter.cloned() })
        };
        match found() {
            Ok(found) => self.parts.push(Part::Found(found)),
            Err(problem) => self.broken(place, problem, raw.get()),
        }
    }

    fn whole(&mut self, place: &str, frame: Arc<Frame>, text: &str) {
        match lenient::read(text) {
            Ok(leaf) => self.push(&frame, List::Whole, leaf),
            Err(problem) => self.broken(place, problem, text),
        }
    }

    fn push(&mut self, frame: &Arc<Frame>, list: List, leaf: Value) {
        if !self.has_room() {
            return;
        }
        let frame = Arc::clone(frame);
        self.parts.push(Part::Found(Found { frame, list, leaf, wamid: None, contact: None, chapter: None }));
    }

    /// What stands beside the known fields is told too, as an object that holds nothing else. Plain texts and numbers
    /// are not worth an event.
    fn unknown(&mut self, place: &str, fields: &Fields<'_>, known: impl Fn(&str) -> bool) -> Option<Value> {
        let mut unknown = Object::new();
        for (name, raw) in fields.iter().filter(|(name, raw)| !known(name) && holds_something(raw)) {
            match lenient::read(raw.get()) {
                Ok(value) => {
                    unknown.insert(name.clone(), value);
                }
                Err(problem) => self.broken(place, problem, raw.get()),
            }
        }
        if unknown.is_empty() {
            return None;
        }
        // Whose it is.
        for name in ["metadata", "display_phone_number"] {
            unknown.extend(read_field(fields, name).map(|value| (name.to_owned(), value)));
        }
        Some(Value::Object(unknown))
    }
}

fn read_field(fields: &Fields<'_>, name: &str) -> Option<Value> {
    lenient::read(fields.get(name)?.get()).ok()
}

fn object_field(fields: &Fields<'_>, name: &str) -> Object {
    match read_field(fields, name) {
        Some(Value::Object(object)) => object,
        _ => Object::new(),
    }
}

/// What comes with every leaf of a value, beside its contact.
fn is_around(name: &str) -> bool {
    matches!(name, "messaging_product" | "metadata" | "display_phone_number")
}

/// How many bytes some fields have.
fn size_of(fields: &Fields<'_>, is_meant: impl Fn(&str) -> bool) -> usize {
    let meant = fields.iter().filter(|(name, _)| is_meant(name));
    meant.map(|(name, raw)| name.len() + raw.get().len()).sum()
}

/// Whether it is a list or an object with something in it.
fn holds_something(raw: &RawValue) -> bool {
    match raw.get().as_bytes().first() {
        Some(b'[') => lenient::skim_list(raw.get()).is_none_or(|items| !items.is_empty()),
        Some(b'{') => lenient::skim_object(raw.get()).is_none_or(|fields| !fields.is_empty()),
        _ => false,
    }
}
