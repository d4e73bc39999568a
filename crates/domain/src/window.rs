//! The customer service window, and the templates that step in when it is shut.

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::{Command, Object};

/// How long the window stays open after the user's last message or call.
pub const WINDOW: SignedDuration = SignedDuration::from_hours(24);

/// Whether a message of this kind needs an open window.
pub fn is_free_form(kind: &str) -> bool {
    kind != "template"
}

/// Which of a channel's window templates can carry a message of this kind; `None` if none can.
pub fn window_kind(kind: &str) -> Option<&'static str> {
    ["text", "document"].into_iter().find(|carried| *carried == kind)
}

/// A template of the channel: for texts one with a single placeholder in its body, for documents one with a document
/// as its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowTemplateRef<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its language, as `it` or `pt_BR`.
    pub language: &'a str,
}

/// A message as a template carries it.
#[derive(Clone, PartialEq)]
pub struct Wrapped {
    /// The Cloud API's `template` object. The rest of the command stays as it is, `reply_to` too: a template may quote.
    pub content: Value,
    /// What of the message could not be carried: `layout` (line breaks, tabs and wide gaps of a text) or `caption` (a
    /// document's).
    pub left_out: Vec<&'static str>,
}

impl std::fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wrapped").field("left_out", &self.left_out).finish_non_exhaustive()
    }
}

/// Why a message can't be carried by a template. `problem` is a stable text without personal data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct Unwrappable {
    /// What stands in the way.
    pub problem: String,
}

impl Unwrappable {
    fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into() }
    }
}

/// Longest value for a placeholder, in characters.
const VALUE_LIMIT: usize = 1024;

/// Most blanks in a row that a template takes.
const BLANKS: usize = 4;

/// The command's message in the template that stands in for it.
///
/// # Errors
/// If it is neither a text nor a document, or a text that is too long once its layout is gone.
pub fn wrap(command: &Command, template: WindowTemplateRef<'_>) -> Result<Wrapped, Unwrappable> {
    let (component, parameter, left_out) = match window_kind(&command.kind) {
        Some("text") => text(&command.content)?,
        Some("document") => document(&command.content)?,
        _ => return Err(Unwrappable::new("only a text or a document can be carried by a template")),
    };
    let content = json!({
        "name": template.name,
        "language": { "code": template.language },
        "components": [{ "type": component, "parameters": [parameter] }],
    });
    Ok(Wrapped { content, left_out: left_out.into_iter().collect() })
}

/// Of which component, the value, and what was left out.
type Carried = (&'static str, Value, Option<&'static str>);

fn text(message: &Value) -> Result<Carried, Unwrappable> {
    let body = message["body"].as_str().unwrap_or_default();
    let line = one_line(body);
    if line.chars().count() > VALUE_LIMIT {
        let problem = format!("a template carries a text of at most {VALUE_LIMIT} characters");
        return Err(Unwrappable::new(problem));
    }
    let left_out = (line != body).then_some("layout");
    Ok(("body", json!({ "type": "text", "text": line }), left_out))
}

/// The text with each line break and each tab as one blank, and no more than four blanks in a row.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut blanks = 0;
    for character in text.replace("\r\n", "\n").chars() {
        let character = if matches!(character, '\n' | '\r' | '\t') { ' ' } else { character };
        blanks = if character == ' ' { blanks + 1 } else { 0 };
        if blanks <= BLANKS {
            line.push(character);
        }
    }
    line
}

fn document(message: &Value) -> Result<Carried, Unwrappable> {
    let known = |name: &&str| message.get(name).is_some_and(|value| !value.is_null());
    let carried = ["id", "link", "filename"].into_iter().filter(known);
    let file: Object = carried.map(|name| (name.to_owned(), message[name].clone())).collect();
    let caption = message["caption"].as_str().is_some_and(|caption| !caption.is_empty());
    Ok(("header", json!({ "type": "document", "document": file }), caption.then_some("caption")))
}

#[cfg(test)]
mod tests;
