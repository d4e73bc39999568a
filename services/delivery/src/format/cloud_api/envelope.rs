//! What stands around a leaf: the entry, the change, and the lists of its value.

use serde_json::{Number, Value, json};
use staffetta_domain::{Event, EventType, Object};

use super::{Around, ended_command, failed, message, status, text};

/// One change of Meta's.
struct Change<'a> {
    field: &'a str,
    value: Value,
    /// Meta dates entries that are not about messages.
    dated: bool,
}

/// The webhook's body; `None` if Meta has no words for such an event.
pub(super) fn body(event: &Event, around: &Around) -> Option<String> {
    let Change { field, value, dated } = change(event, around)?;
    let mut entry = Object::new();
    let account = text(&event.data, "waba_id").or(around.waba_id.as_deref());
    entry.insert("id".into(), account.unwrap_or_default().into());
    if dated {
        entry.insert("time".into(), event.time.as_second().into());
    }
    entry.insert("changes".into(), json!([{ "field": field, "value": value }]));
    Some(escaped(&json!({ "object": "whatsapp_business_account", "entry": [entry] }).to_string()))
}

fn change<'a>(event: &'a Event, around: &Around) -> Option<Change<'a>> {
    use EventType::{
        ChannelChanged, MessageDeleted, MessageEchoed, MessageEdited, MessageReceived, MessageStatus,
        TemplateChanged, WebhookOther,
    };
    let of_messages =
        |name, item| Change { field: "messages", value: list(event, around, name, item), dated: false };
    if let Some(command) = ended_command(event) {
        let item = failed::status(event, &command, around.recipient.as_deref());
        return Some(of_messages("statuses", item));
    }
    match event.kind {
        MessageReceived | MessageEdited | MessageDeleted | MessageEchoed
            if event.data.contains_key("history") =>
        {
            Some(history(event, around, threads(event, message(event, around)?)))
        }
        MessageReceived | MessageEdited | MessageDeleted => {
            Some(of_messages("messages", message(event, around)?))
        }
        MessageEchoed => {
            let value = list(event, around, "message_echoes", message(event, around)?);
            Some(Change { field: "smb_message_echoes", value, dated: true })
        }
        MessageStatus => Some(of_messages("statuses", status(event, around)?)),
        TemplateChanged | ChannelChanged => whole(event),
        WebhookOther => other(event, around),
        _ => None,
    }
}

/// A value that is one leaf. What Staffetta itself found out of a channel has no `raw`, and Meta no words for it.
fn whole(event: &Event) -> Option<Change<'_>> {
    let (field, raw) = (text(&event.data, "field")?, event.data.get("raw")?);
    let mut value = raw.clone();
    // The one number in such values that may have more digits than Protocol Buffers keep.
    let id = event.data.get("template").and_then(|template| template.get("id"));
    if let (Some(id), Some(place)) = (id, value.get_mut("message_template_id")) {
        restore(place, id);
    }
    if let Value::Object(fields) = &mut value {
        for (name, place) in fields {
            event.data.get(name).into_iter().for_each(|twin| restore(place, twin));
        }
    }
    Some(Change { field, value, dated: true })
}

/// An item of a list, or the value of a field that nobody here knows.
fn other<'a>(event: &'a Event, around: &Around) -> Option<Change<'a>> {
    const ITEMS: [(&str, &str); 5] = [
        ("state_sync", "state_sync"),
        ("preference", "user_preferences"),
        ("user_id_update", "user_id_update"),
        ("automatic_event", "automatic_events"),
        ("group", "groups"),
    ];
    let (field, raw) = (text(&event.data, "field")?, event.data.get("raw")?);
    let change = |value, dated| Some(Change { field, value, dated });
    if event.data.contains_key("call") {
        let is_status = raw.get("event").is_none() && raw.get("status").is_some();
        let name = if is_status { "statuses" } else { "calls" };
        return change(list(event, around, name, raw.clone()), false);
    }
    if let Some((twin, name)) = ITEMS.into_iter().find(|(twin, _)| event.data.contains_key(*twin)) {
        let mut item = raw.clone();
        restore(&mut item, &event.data[twin]);
        return change(list(event, around, name, item), true);
    }
    if event.data.contains_key("error") {
        return if field == "history" {
            Some(history(event, around, json!({ "errors": [raw] })))
        } else {
            change(list(event, around, "errors", raw.clone()), false)
        };
    }
    // What stands beside the known lists of a value comes with whose it is.
    if field == "history" && raw.get("metadata").is_none_or(|beside| beside.get("phone_number_id").is_none())
    {
        return change(list(event, around, "history", raw.clone()), true);
    }
    whole(event)
}

/// A value with one item in the list of that name.
fn list(event: &Event, around: &Around, name: &str, item: Value) -> Value {
    let mut value = Object::new();
    value.insert("messaging_product".into(), "whatsapp".into());
    let number = text(&event.data, "phone_number_id").or(around.phone_number_id.as_deref());
    if let Some(number) = number {
        let shown = around.display_phone_number.as_deref().unwrap_or_default();
        let metadata = json!({ "display_phone_number": shown, "phone_number_id": number });
        value.insert("metadata".into(), metadata);
    }
    if let Some(contact) = event.data.get("contact") {
        value.insert("contacts".into(), json!([contact]));
    }
    value.insert(name.into(), json!([item]));
    Value::Object(value)
}

/// A part of the history: how far it has come stands beside what is in it.
fn history<'a>(event: &Event, around: &Around, mut item: Value) -> Change<'a> {
    if let Some(Value::Object(told)) = event.data.get("history") {
        let progress = told.iter().filter(|(name, _)| *name != "status");
        let metadata: Object = progress.map(|(name, value)| (name.clone(), value.clone())).collect();
        item["metadata"] = metadata.into();
    }
    Change { field: "history", value: list(event, around, "history", item), dated: true }
}

/// A thread bears the name of the user at the other end.
fn threads(event: &Event, message: Value) -> Value {
    let names =
        if event.kind == EventType::MessageEchoed { ["to", "to_user_id"] } else { ["from", "user_id"] };
    let user = names.into_iter().find_map(|name| text(&event.data, name));
    json!({ "threads": [{ "id": user.unwrap_or_default(), "messages": [message] }] })
}

/// Puts the digits back that a number lost on its way through Protocol Buffers: where `raw` holds a number, its twin
/// holds the same, and as a text if it is an id.
fn restore(raw: &mut Value, twin: &Value) {
    match (raw, twin) {
        (Value::Number(number), Value::String(digits)) => {
            if let Ok(id) = digits.parse::<u64>()
                && is_about(number, id)
            {
                *number = id.into();
            }
        }
        (Value::Array(items), Value::Array(twins)) => {
            items.iter_mut().zip(twins).for_each(|(item, twin)| restore(item, twin));
        }
        (Value::Object(fields), Value::Object(twins)) => {
            for (name, field) in fields {
                twins.get(name).into_iter().for_each(|twin| restore(field, twin));
            }
        }
        _ => {}
    }
}

/// Whether a double has room for no other number of these digits.
#[expect(clippy::cast_precision_loss, reason = "the loss is what is looked for")]
fn is_about(number: &Number, id: u64) -> bool {
    number.as_f64() == Some(id as f64)
}

/// JSON as Meta puts it on the wire, and signs it: ASCII alone, other characters as lower-case escapes, slashes escaped
/// too. There is code that checks the signature over just this form.
fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len() + json.len() / 8);
    for c in json.chars() {
        match c {
            '/' => escaped.push_str("\\/"),
            c if c.is_ascii() => escaped.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    escaped.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_is_the_same_json() {
        let json = json!({ "text": "Olá 😮 a/b\u{7f}\n", "é": ["https://a.example/"] });
        let text = escaped(&json.to_string());
        assert!(text.is_ascii() && text.contains("Ol\\u00e1 \\ud83d\\ude2e a\\/b"), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json);
    }

    #[test]
    fn ids_get_their_digits_back_and_other_numbers_stay() {
        let mut raw = json!({ "id": 90_071_992_547_409_930_f64, "n": 7, "ids": [1e17], "at": 1.5 });
        restore(&mut raw, &json!({ "id": "90071992547409931", "n": "8", "ids": ["100000000000000001"] }));
        let whole = json!({ "id": 90_071_992_547_409_931_u64, "n": 7, "ids": [100_000_000_000_000_001_u64], "at": 1.5 });
        assert_eq!(raw, whole);
    }
}
