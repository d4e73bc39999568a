//! The message objects themselves, type by type.

use serde_json::Value;

use super::{Object, array, interactive, object, only, optional_text, template, text};
use crate::graph_error::GraphError;

const UNLIMITED: usize = usize::MAX;

/// Checks the object that belongs to `kind`.
pub(super) fn check(body: &Object, kind: &str) -> Result<(), GraphError> {
    match kind {
        "text" => plain_text(object(body, kind, kind)?),
        "image" | "video" | "audio" | "document" | "sticker" => media(object(body, kind, kind)?, kind),
        "location" => location(object(body, kind, kind)?),
        "contacts" => contacts(array(body, kind, kind, (1, 257))?),
        "reaction" => reaction(object(body, kind, kind)?),
        "interactive" => interactive::check(object(body, kind, kind)?),
        "template" => template::check(object(body, kind, kind)?),
        _ => Err(GraphError::of(131_051)),
    }
}

fn plain_text(message: &Object) -> Result<(), GraphError> {
    only(message, "text", &["body", "preview_url"])?;
    text(message, "body", "text", 4096)?;
    match message.get("preview_url") {
        None | Some(Value::Bool(_)) => Ok(()),
        Some(_) => Err(GraphError::parameter("Param preview_url must be a boolean.")),
    }
}

/// A media object: `{id | link, …}`. What else may stand in it depends on its kind.
pub(super) fn media(message: &Object, kind: &str) -> Result<(), GraphError> {
    let known: &[&str] = match kind {
        "image" | "video" => &["id", "link", "caption", "provider"],
        "document" => &["id", "link", "caption", "filename", "provider"],
        "audio" => &["id", "link", "voice", "provider"],
        _ => &["id", "link", "provider"],
    };
    only(message, kind, known)?;
    let id = optional_text(message, "id", UNLIMITED)?;
    let link = optional_text(message, "link", UNLIMITED)?;
    match (id, link) {
        (Some(id), None) if !id.is_empty() => {}
        (None, Some(link)) if link.starts_with("https://") || link.starts_with("http://") => {}
        (None, Some(_)) => return Err(GraphError::invalid(format!("Invalid link in {kind}"))),
        (Some(_), Some(_)) => {
            return Err(GraphError::invalid(format!("{kind} takes either id or link, not both")));
        }
        _ => return Err(GraphError::missing("id or link", kind)),
    }
    optional_text(message, "caption", 1024)?;
    optional_text(message, "filename", UNLIMITED)?;
    match message.get("voice") {
        None | Some(Value::Bool(_)) => Ok(()),
        Some(_) => Err(GraphError::parameter("Param voice must be a boolean.")),
    }
}

/// A place: numbers, or strings that hold numbers.
pub(super) fn location(message: &Object) -> Result<(), GraphError> {
    only(message, "location", &["latitude", "longitude", "name", "address"])?;
    for (name, most) in [("latitude", 90.0), ("longitude", 180.0)] {
        let value = match message.get(name) {
            None => return Err(GraphError::missing(name, "location")),
            Some(Value::String(text)) => text.parse().ok(),
            Some(other) => other.as_f64(),
        };
        if value.is_none_or(|value: f64| !(-most..=most).contains(&value)) {
            return Err(GraphError::invalid(format!("Invalid {name}")));
        }
    }
    optional_text(message, "name", UNLIMITED)?;
    optional_text(message, "address", UNLIMITED)?;
    Ok(())
}

fn contacts(contacts: &[Value]) -> Result<(), GraphError> {
    const PARTS: [&str; 5] = ["first_name", "last_name", "middle_name", "prefix", "suffix"];
    for contact in contacts {
        let Value::Object(contact) = contact else {
            return Err(GraphError::parameter("Param contacts must be an array of JSON objects."));
        };
        let name = object(contact, "name", "contacts")?;
        text(name, "formatted_name", "name", UNLIMITED)?;
        if !PARTS.iter().any(|part| name.get(*part).is_some_and(Value::is_string)) {
            return Err(GraphError::missing("first_name", "name"));
        }
        for list in ["phones", "emails", "addresses", "urls"] {
            if contact.contains_key(list) {
                array(contact, list, "contacts", (0, UNLIMITED))?;
            }
        }
        if let Some(day) = optional_text(contact, "birthday", UNLIMITED)? {
            let digits = |range: std::ops::Range<usize>| {
                day.get(range).is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
            };
            let dashes = day.get(4..5) == Some("-") && day.get(7..8) == Some("-");
            if day.len() != 10 || !dashes || !digits(0..4) || !digits(5..7) || !digits(8..10) {
                return Err(GraphError::invalid("Invalid birthday: it must be YYYY-MM-DD"));
            }
        }
    }
    Ok(())
}

fn reaction(message: &Object) -> Result<(), GraphError> {
    only(message, "reaction", &["message_id", "emoji"])?;
    text(message, "message_id", "reaction", UNLIMITED)?;
    match optional_text(message, "emoji", 32)? {
        Some(_) => Ok(()), // an empty one takes the reaction back
        None => Err(GraphError::missing("emoji", "reaction")),
    }
}
