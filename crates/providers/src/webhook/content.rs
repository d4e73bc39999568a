//! What a message says, so that nobody need dig for it.

use serde_json::{Value, json};
use staffetta_domain::Object;

use super::lenient;

/// Names in an event's data that are ours: a type, or a field of a value, by one of these names is told in `raw` only.
pub(super) const OURS: [&str; 33] = [
    "callback_data",
    "change",
    "command_id",
    "contact",
    "context",
    "conversation_id",
    "errors",
    "field",
    "from",
    "group_id",
    "history",
    "identity",
    "media",
    "merged",
    "message",
    "name",
    "original_wamid",
    "parent_user_id",
    "phone_number_id",
    "raw",
    "referral",
    "reply",
    "sequence",
    "template",
    "timestamp",
    "to",
    "to_parent_user_id",
    "to_user_id",
    "type",
    "user_id",
    "username",
    "waba_id",
    "wamid",
];

/// Tells the content of a message of that type: its own object under its own name, and what it comes down to.
pub(super) fn tell(kind: &str, message: &Object, data: &mut Object) {
    let Some(content) = message.get(kind) else { return };
    if !OURS.contains(&kind) {
        data.insert(kind.into(), content.clone());
    }
    let Value::Object(content) = content else { return };
    match kind {
        "image" | "video" | "audio" | "voice" | "document" | "sticker" => {
            data.insert("media".into(), media(content));
        }
        "interactive" => {
            if let Some(reply) = interactive(content) {
                data.insert("reply".into(), reply);
            }
        }
        "button" => {
            data.insert("reply".into(), reply("button", content, "payload", "text"));
        }
        "reaction" if is_removal(content) => {
            let mut reaction = content.clone();
            reaction.insert("removed".into(), true.into());
            data.insert("reaction".into(), reaction.into());
        }
        "edit" => {
            lenient::set(data, "original_wamid", lenient::text(content, "original_message_id"));
            lenient::copy(content, data, &["message"]);
            if let Some(Value::Object(message)) = content.get("message") {
                edited(message, data);
            }
        }
        "revoke" => lenient::set(data, "original_wamid", lenient::text(content, "original_message_id")),
        _ => {}
    }
}

/// Whether the message takes a reaction back.
pub(super) fn removes_reaction(message: &Object) -> bool {
    message.get("reaction").and_then(Value::as_object).is_some_and(is_removal)
}

fn is_removal(reaction: &Object) -> bool {
    lenient::text(reaction, "emoji").is_none()
}

/// The media of a message's new content.
fn edited(message: &Object, data: &mut Object) {
    let kind = lenient::text(message, "type").unwrap_or_default();
    if let ("image" | "video" | "audio" | "document" | "sticker", Some(Value::Object(content))) =
        (kind, message.get(kind))
    {
        data.insert("media".into(), media(content));
    }
}

fn media(content: &Object) -> Value {
    let mut media = Object::new();
    media.extend(content.get("id").and_then(lenient::id).map(|id| ("id".into(), id.into())));
    for name in ["mime_type", "sha256", "url", "filename", "caption"] {
        lenient::set(&mut media, name, lenient::text(content, name));
    }
    lenient::copy(content, &mut media, &["voice", "animated"]);
    Value::Object(media)
}

/// What the user picked or filled in.
fn interactive(content: &Object) -> Option<Value> {
    let kind = lenient::text(content, "type")?;
    let Some(Value::Object(answer)) = content.get(kind) else { return None };
    Some(match kind {
        "button_reply" => reply("button", answer, "id", "title"),
        "list_reply" => reply("list", answer, "id", "title"),
        "nfm_reply" => form(answer),
        "call_permission_reply" => permission(answer),
        other => reply(other.strip_suffix("_reply").unwrap_or(other), answer, "id", "title"),
    })
}

fn reply(kind: &str, answer: &Object, id: &str, title: &str) -> Value {
    let mut reply = Object::from_iter([("kind".to_owned(), json!(kind))]);
    reply.extend(answer.get(id).and_then(lenient::id).map(|id| ("id".into(), id.into())));
    lenient::set(&mut reply, "title", lenient::text(answer, title));
    lenient::set(&mut reply, "description", lenient::text(answer, "description"));
    Value::Object(reply)
}

/// A form's answer is JSON in a text, and not even that is sure.
fn form(answer: &Object) -> Value {
    let name = lenient::text(answer, "name");
    let kind = if name == Some("address_message") { "address" } else { "flow" };
    let mut reply = Object::from_iter([("kind".to_owned(), json!(kind))]);
    lenient::set(&mut reply, "name", name);
    lenient::set(&mut reply, "title", lenient::text(answer, "body"));
    let response = match answer.get("response_json") {
        Some(Value::String(text)) => lenient::read(text).ok(),
        Some(value @ Value::Object(_)) => Some(value.clone()),
        _ => None,
    };
    reply.extend(response.map(|response| ("response".into(), response)));
    Value::Object(reply)
}

fn permission(answer: &Object) -> Value {
    let mut reply = Object::from_iter([("kind".to_owned(), json!("call_permission"))]);
    lenient::copy(answer, &mut reply, &["response"]);
    lenient::set(&mut reply, "source", lenient::text(answer, "response_source"));
    reply.extend(answer.get("is_permanent").map(|permanent| ("permanent".into(), permanent.clone())));
    let expires = answer.get("expiration_timestamp").and_then(lenient::moment);
    lenient::set(&mut reply, "expires", expires.map(|at| at.to_string()).as_deref());
    Value::Object(reply)
}
