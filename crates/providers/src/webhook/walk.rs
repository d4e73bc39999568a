//! From a body to its leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;
use staffetta_domain::{Object, Wamid};

use super::{Broken, Found, Frame, List, Part, lenient};

type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// Takes a body apart, in its own order. `received_at` is the time of leaves that name none. Every body has at least
/// one part.
pub fn parse(body: &[u8], received_at: Timestamp) -> Vec<Part> {
    // A broken character costs itself, not the body.
    let text = String::from_utf8_lossy(body);
    let mut walk = Walk { received_at, parts: Vec::new() };
    walk.body(&text);
    walk.parts
}

struct Walk {
    received_at: Timestamp,
    parts: Vec<Part>,
}

/// A change, and what is around it.
struct Change<'a> {
    waba_id: Option<String>,
    time: Option<Value>,
    field: Option<String>,
    value: &'a RawValue,
}

impl Walk {
    fn broken(&mut self, place: impl Into<String>, problem: &'static str, payload: &str) {
        let payload = payload.as_bytes().to_vec().into();
        self.parts.push(Part::Broken(Broken { place: place.into(), problem, payload }));
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
        let whole = |name: &str| entry.get(name).and_then(|raw| lenient::read(raw.get()).ok());
        match entry.get("changes").and_then(|changes| lenient::skim_list(changes.get())) {
            Some(changes) if !changes.is_empty() => {
                for (index, raw) in changes.into_iter().enumerate() {
                    let place = format!("{place}.changes[{index}]");
                    let change = lenient::skim_object(raw.get());
                    match change.as_ref().and_then(|change| Some((change, *change.get("value")?))) {
                        Some((change, value)) => {
                            let field = change.get("field").and_then(|raw| lenient::read(raw.get()).ok());
                            let change = Change {
                                waba_id: whole("id").as_ref().and_then(lenient::id),
                                time: whole("time").filter(Value::is_number),
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
        let lists: &[List] = match change.field.as_deref() {
            Some("messages") => &[List::Messages, List::Statuses, List::Errors],
            // Some of Meta's own samples have lost it.
            None if fields.contains_key("messages") || fields.contains_key("statuses") => {
                &[List::Messages, List::Statuses, List::Errors]
            }
            Some("smb_message_echoes") => &[List::Echoes],
            _ => &[],
        };
        let text = change.value.get();
        let frame = Arc::new(self.frame(change, &fields, !lists.is_empty()));
        if lists.is_empty() {
            return self.whole(&place, frame, text);
        }
        let contacts = contacts(&fields);
        let before = self.parts.len();
        for list in lists {
            self.list(&place, &frame, *list, &fields, &contacts);
        }
        let unknown = unknown_lists(&fields, lists);
        if self.parts.len() == before {
            self.whole(&place, frame, text);
        } else if !unknown.is_empty() {
            self.unknown(&place, &frame, &unknown);
        }
    }

    fn frame(&self, change: Change<'_>, fields: &Fields<'_>, has_lists: bool) -> Frame {
        let whole = |name: &str| fields.get(name).and_then(|raw| lenient::read(raw.get()).ok());
        let metadata = match whole("metadata") {
            Some(Value::Object(metadata)) => metadata,
            _ => Object::new(),
        };
        // Outside of metadata, a number's name stands in the value itself.
        let display = metadata.get("display_phone_number").cloned().or_else(|| whole("display_phone_number"));
        let unnamed = if has_lists { "messages" } else { "unknown" };
        Frame {
            received_at: self.received_at,
            waba_id: change.waba_id,
            time: change.time,
            field: change.field.unwrap_or_else(|| unnamed.into()),
            messaging_product: whole("messaging_product"),
            phone_number_id: metadata.get("phone_number_id").and_then(lenient::id),
            display_phone_number: display.as_ref().and_then(lenient::id),
            metadata,
        }
    }

    fn list(&mut self, place: &str, frame: &Arc<Frame>, list: List, fields: &Fields<'_>, contacts: &[Value]) {
        let Some(name) = list.name() else { return };
        let Some(raw) = fields.get(name).filter(|raw| raw.get() != "null") else { return };
        let place = format!("{place}.{name}");
        let Some(items) = lenient::skim_list(raw.get()) else {
            return self.broken(place, "is not a list", raw.get());
        };
        let alone = items.len() == 1;
        for (index, item) in items.into_iter().enumerate() {
            let contacts = if list == List::Messages { contacts } else { &[] };
            match found(frame, list, item, contacts, alone) {
                Ok(found) => self.parts.push(Part::Found(found)),
                Err(problem) => self.broken(format!("{place}[{index}]"), problem, item.get()),
            }
        }
    }

    fn whole(&mut self, place: &str, frame: Arc<Frame>, text: &str) {
        match lenient::read(text) {
            Ok(leaf) => {
                self.parts.push(Part::Found(Found {
                    frame,
                    list: List::Whole,
                    leaf,
                    wamid: None,
                    contact: None,
                }));
            }
            Err(problem) => self.broken(place, problem, text),
        }
    }

    /// Lists beside the known ones are told too, as a value that holds nothing else.
    fn unknown(&mut self, place: &str, frame: &Arc<Frame>, unknown: &Fields<'_>) {
        let mut value = Object::from_iter([("metadata".to_owned(), Value::Object(frame.metadata.clone()))]);
        for (name, raw) in unknown {
            match lenient::read(raw.get()) {
                Ok(list) => {
                    value.insert(name.clone(), list);
                }
                Err(problem) => self.broken(format!("{place}.{name}"), problem, raw.get()),
            }
        }
        let leaf = Value::Object(value);
        let frame = Arc::clone(frame);
        self.parts.push(Part::Found(Found { frame, list: List::Whole, leaf, wamid: None, contact: None }));
    }
}

/// One item of a list, if it can be told.
fn found(
    frame: &Arc<Frame>,
    list: List,
    raw: &RawValue,
    contacts: &[Value],
    alone: bool,
) -> Result<Found, &'static str> {
    let leaf = lenient::read(raw.get())?;
    let Value::Object(fields) = &leaf else { return Err("is not an object") };
    if frame.phone_number_id.is_none() {
        return Err("has no metadata.phone_number_id beside it");
    }
    let wamid: Option<Wamid> = match list {
        List::Messages | List::Echoes | List::Statuses => lenient::text(fields, "id")
            .map(str::parse)
            .transpose()
            .map_err(|_| "has an id of more than 512 bytes")?,
        List::Errors | List::Whole => None,
    };
    let contact = contact_of(fields, contacts, alone).cloned();
    Ok(Found { frame: Arc::clone(frame), list, leaf, wamid, contact })
}

fn contacts(fields: &Fields<'_>) -> Vec<Value> {
    let items = fields.get("contacts").and_then(|raw| lenient::skim_list(raw.get())).unwrap_or_default();
    items.into_iter().filter_map(|raw| lenient::read(raw.get()).ok()).filter(Value::is_object).collect()
}

/// The contact that wrote the message. A number may differ in spelling, so a message that came alone with one contact
/// is that contact's.
fn contact_of<'a>(message: &Object, contacts: &'a [Value], alone: bool) -> Option<&'a Value> {
    let is = |contact: &Value, theirs: &str, ours: &str| {
        lenient::text(message, ours).is_some_and(|id| contact.get(theirs).and_then(Value::as_str) == Some(id))
    };
    let named = |contact: &&Value| is(contact, "wa_id", "from") || is(contact, "user_id", "from_user_id");
    contacts.iter().find(named).or(match contacts {
        [only] if alone => Some(only),
        _ => None,
    })
}

/// Non-empty lists that nobody asked for.
fn unknown_lists<'a>(fields: &Fields<'a>, known: &[List]) -> Fields<'a> {
    let is_known = |name: &str| name == "contacts" || known.iter().any(|list| list.name() == Some(name));
    let is_list = |raw: &RawValue| lenient::skim_list(raw.get()).is_some_and(|items| !items.is_empty());
    fields
        .iter()
        .filter(|(name, raw)| !is_known(name) && is_list(raw))
        .map(|(name, raw)| (name.clone(), *raw))
        .collect()
}
