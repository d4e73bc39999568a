//! The end of a command that never became a message, in Meta's words: a status of `failed`.

use serde_json::{Value, json};
use staffetta_domain::{CommandId, Event, EventType, Object, facade_wamid};

use super::text;

/// Where Meta's statuses point to.
const HREF: &str = "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/";

pub(super) fn status(event: &Event, command: &CommandId, recipient: Option<&str>) -> Value {
    let mut status = Object::new();
    status.insert("id".into(), facade_wamid(command).into());
    status.insert("status".into(), "failed".into());
    status.insert("timestamp".into(), event.time.as_second().to_string().into());
    if let Some(user) = recipient {
        let is_number = user.bytes().all(|byte| byte.is_ascii_digit());
        status.insert(if is_number { "recipient_id" } else { "recipient_user_id" }.into(), user.into());
    }
    if let Some(own) = event.data.get("callback_data") {
        status.insert("biz_opaque_callback_data".into(), own.clone());
    }
    status.insert("errors".into(), json!([error(event)]));
    Value::Object(status)
}

/// The provider's own error if it refused the command, otherwise the one that comes nearest.
fn error(event: &Event) -> Value {
    let told = |name: &str| event.data.get("error").and_then(|error| error.get(name));
    let code = told("code").and_then(Value::as_i64).unwrap_or_else(|| nearest(event));
    let said = told("message").and_then(Value::as_str).filter(|said| !said.is_empty());
    let title = match said {
        // In an answer Meta writes the code before the title, in a status it doesn't.
        Some(said) => said.strip_prefix(&format!("(#{code}) ")).unwrap_or(said),
        None => title(code),
    };
    let details = text(&event.data, "reason").unwrap_or(title);
    json!({
        "code": code, "title": title, "message": title, "error_data": { "details": details }, "href": HREF,
    })
}

/// Meta's code that comes nearest to our own reason.
fn nearest(event: &Event) -> i64 {
    match text(&event.data, "code") {
        Some("window_closed") => 131_047,
        Some("invalid_command" | "too_large") => 131_009,
        _ if event.kind == EventType::CommandRejected || event.kind == EventType::CommandExpired => 131_026,
        _ => 131_000,
    }
}

fn title(code: i64) -> &'static str {
    match code {
        131_009 => "Parameter value is not valid",
        131_026 => "Message undeliverable",
        131_047 => "Re-engagement message",
        131_049 => "This message was not delivered to maintain healthy ecosystem engagement.",
        131_050 => "User has stopped marketing messages from this business",
        132_015 => "Template is paused",
        132_016 => "Template is disabled",
        _ => "Something went wrong",
    }
}
