//! What Meta accepts as the body of `POST /<phone_number_id>/messages`.

mod content;
mod interactive;
mod template;

pub(crate) use template::is_template_name;

use serde_json::{Map, Value};

use crate::graph_error::GraphError;
use crate::report::hash;

type Object = Map<String, Value>;

/// A request that is formally right.
#[derive(Debug)]
pub(crate) enum Request {
    /// Send a message.
    Send(Send),
    /// Mark a message as read.
    MarkRead(MarkRead),
}

/// A user's message to mark as read.
#[derive(Debug)]
pub(crate) struct MarkRead {
    pub(crate) message_id: String,
    /// Whether the user shall see that an answer is being written.
    pub(crate) typing: bool,
}

/// A message that is formally right.
#[derive(Debug)]
pub(crate) struct Send {
    pub(crate) to: Recipient,
    /// What `to` or `recipient` said, as it was written.
    pub(crate) input: String,
    pub(crate) kind: String,
    pub(crate) text: Option<String>,
    /// The template, if it is one.
    pub(crate) template: Option<TemplateName>,
    pub(crate) callback_data: Option<String>,
    /// The message that it answers.
    pub(crate) reply_to: Option<String>,
    /// The uploaded files in it.
    pub(crate) media: Vec<MediaUse>,
    /// Stands for recipient-independent content: equal for equal messages.
    pub(crate) message: u64,
}

/// An uploaded file in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MediaUse {
    /// What it is sent as.
    pub(crate) kind: &'static str,
    pub(crate) id: String,
}

/// A template in one of its languages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TemplateName {
    pub(crate) name: String,
    pub(crate) language: String,
}

impl Send {
    /// Whether it needs an open customer service window.
    pub(crate) fn is_free_form(&self) -> bool {
        self.kind != "template"
    }
}

/// Who gets a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// A phone number: digits with country code.
    Phone(String),
    /// A business-scoped user id.
    User(String),
}

impl Recipient {
    pub(crate) fn id(&self) -> &str {
        let (Self::Phone(id) | Self::User(id)) = self;
        id
    }
}

/// Reads the body of a request. The order of the checks is the order in which Meta complains.
pub(crate) fn parse(body: &[u8]) -> Result<Request, GraphError> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|_| GraphError::parameter("The request body is not valid JSON."))?;
    let Value::Object(body) = body else {
        return Err(GraphError::parameter("The request body is not a JSON object."));
    };
    match body.get("messaging_product") {
        None => return Err(GraphError::required("messaging_product")),
        Some(product) if product == "whatsapp" => {}
        Some(_) => return Err(GraphError::parameter("Param messaging_product must be one of {WHATSAPP}")),
    }
    if body.contains_key("status") {
        return mark_read(&body);
    }
    send(&body).map(Request::Send)
}

fn mark_read(body: &Object) -> Result<Request, GraphError> {
    if body.get("status").is_none_or(|status| status != "read") {
        return Err(GraphError::parameter("Param status must be one of {READ}"));
    }
    let message_id = match body.get("message_id").and_then(Value::as_str) {
        None => return Err(GraphError::required("message_id")),
        Some(id) if id.len() > "wamid.".len() && id.starts_with("wamid.") => id.to_owned(),
        Some(_) => return Err(GraphError::invalid("Invalid message_id")),
    };
    match body.get("typing_indicator") {
        Some(typing) if typing.get("type").is_none_or(|kind| kind != "text") => {
            Err(GraphError::parameter("Param typing_indicator['type'] must be one of {TEXT}"))
        }
        typing => Ok(Request::MarkRead(MarkRead { message_id, typing: typing.is_some() })),
    }
}

fn send(body: &Object) -> Result<Send, GraphError> {
    match body.get("recipient_type").map(Value::as_str) {
        None | Some(Some("individual")) => {}
        Some(Some("group")) => return Err(GraphError::of(131_215)),
        Some(_) => {
            return Err(GraphError::parameter("Param recipient_type must be one of {INDIVIDUAL, GROUP}"));
        }
    }
    let (to, input) = recipient(body)?;
    let kind = match body.get("type") {
        None => "text",
        Some(Value::String(kind)) => kind,
        Some(_) => return Err(GraphError::parameter("Param type must be a string.")),
    };
    let callback_data = optional_text(body, "biz_opaque_callback_data", 512)?.map(str::to_owned);
    let reply_to = context(body, kind)?;
    content::check(body, kind)?;
    let mut media = Vec::new();
    if let Some(message) = body.get(kind) {
        files(kind, message, &mut media);
    }
    let message = body.get(kind).map_or(0, |message| hash(&(kind, message.to_string())));
    let text = body.get("text").and_then(|text| text.get("body")).and_then(Value::as_str);
    let text = text.filter(|_| kind == "text").map(str::to_owned);
    let template = body.get("template").filter(|_| kind == "template").and_then(Value::as_object);
    let template = template.and_then(template::name);
    Ok(Send { to, input, kind: kind.to_owned(), text, template, callback_data, reply_to, media, message })
}

fn recipient(body: &Object) -> Result<(Recipient, String), GraphError> {
    match (body.get("to"), body.get("recipient")) {
        (Some(Value::String(to)), _) => {
            let digits = phone(to).ok_or_else(|| GraphError::invalid("Invalid phone number in to"))?;
            Ok((Recipient::Phone(digits), to.clone()))
        }
        (None, Some(Value::String(user))) if is_user_id(user) => {
            Ok((Recipient::User(user.clone()), user.clone()))
        }
        (None, Some(Value::String(_))) => Err(GraphError::invalid("Invalid user id in recipient")),
        (Some(_), _) => Err(GraphError::parameter("Param to must be a string.")),
        (None, Some(_)) => Err(GraphError::parameter("Param recipient must be a string.")),
        (None, None) => Err(GraphError::required("to")),
    }
}

/// The digits of an international number. `+ - ( )` and spaces may stand in it, `+` only in front.
pub(crate) fn phone(raw: &str) -> Option<String> {
    let rest = raw.trim().strip_prefix('+').unwrap_or(raw.trim());
    if !rest.chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '(' | ')' | ' ')) {
        return None;
    }
    let digits: String = rest.chars().filter(char::is_ascii_digit).collect();
    // E.164: at most 15 digits; no country code starts with 0.
    ((7..=15).contains(&digits.len()) && !digits.starts_with('0')).then_some(digits)
}

/// A business-scoped user id `US.123…`, or one of a parent portfolio `US.ENT.123…`.
pub(crate) fn is_user_id(raw: &str) -> bool {
    let Some((country, rest)) = raw.split_once('.') else { return false };
    let id = rest.strip_prefix("ENT.").unwrap_or(rest);
    country.len() == 2
        && country.bytes().all(|byte| byte.is_ascii_uppercase())
        && (1..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn context(body: &Object, kind: &str) -> Result<Option<String>, GraphError> {
    let Some(context) = body.get("context") else { return Ok(None) };
    let id = context.get("message_id").and_then(Value::as_str);
    if id.is_none_or(str::is_empty) {
        return Err(GraphError::required("context['message_id']"));
    }
    if kind == "reaction" {
        return Err(GraphError::parameter("Param context is not allowed with type reaction."));
    }
    Ok(id.map(str::to_owned))
}

/// Finds the uploaded files in a part of a checked message that is called `name`.
fn files(name: &str, part: &Value, found: &mut Vec<MediaUse>) {
    const KINDS: [&str; 5] = ["image", "video", "audio", "document", "sticker"];
    match part {
        Value::Array(parts) => parts.iter().for_each(|part| files(name, part, found)),
        Value::Object(part) => {
            let kind = KINDS.into_iter().find(|kind| *kind == name);
            if let (Some(kind), Some(Value::String(id))) = (kind, part.get("id")) {
                found.push(MediaUse { kind, id: id.clone() });
            }
            part.iter().for_each(|(name, part)| files(name, part, found));
        }
        _ => {}
    }
}

/// The object of this name, or the complaint that `owner` lacks it.
fn object<'a>(parent: &'a Object, name: &str, owner: &str) -> Result<&'a Object, GraphError> {
    match parent.get(name) {
        Some(Value::Object(object)) => Ok(object),
        Some(_) => Err(GraphError::parameter(format!("Param {name} must be a JSON object."))),
        None => Err(GraphError::missing(name, owner)),
    }
}

/// The array of this name with `least` to `most` elements.
pub(crate) fn array<'a>(
    parent: &'a Object,
    name: &str,
    owner: &str,
    (least, most): (usize, usize),
) -> Result<&'a [Value], GraphError> {
    match parent.get(name) {
        Some(Value::Array(array)) if (least..=most).contains(&array.len()) => Ok(array),
        Some(Value::Array(_)) => Err(GraphError::invalid(format!(
            "Invalid {name} count. Min allowed: {least}, Max allowed: {most}"
        ))),
        Some(_) => Err(GraphError::parameter(format!("Param {name} must be an array."))),
        None => Err(GraphError::missing(name, owner)),
    }
}

/// The text of this name with 1 to `most` characters.
fn text<'a>(parent: &'a Object, name: &str, owner: &str, most: usize) -> Result<&'a str, GraphError> {
    match optional_text(parent, name, most)? {
        Some(text) if !text.trim().is_empty() => Ok(text),
        _ => Err(GraphError::missing(name, owner)),
    }
}

/// The text of this name, if there is one, with at most `most` characters.
pub(crate) fn optional_text<'a>(
    parent: &'a Object,
    name: &str,
    most: usize,
) -> Result<Option<&'a str>, GraphError> {
    match parent.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= most || text.chars().count() <= most => Ok(Some(text)),
        Some(Value::String(_)) => {
            Err(GraphError::parameter(format!("Param {name} must be at most {most} characters long.")))
        }
        Some(_) => Err(GraphError::parameter(format!("Param {name} must be a string."))),
    }
}

/// Complains about any key that is not `known`: a misspelt one would be lost in silence.
pub(crate) fn only(object: &Object, owner: &str, known: &[&str]) -> Result<(), GraphError> {
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(GraphError::parameter(format!("Unexpected key \"{key}\" on param \"{owner}\"."))),
    }
}

#[cfg(test)]
mod tests;
