//! Rows as both databases give them back, and what they mean.
//!
//! A message's row says where it stands; what it says is in its events, and of a message that a command sent in the
//! command. Whatever the provider left out there, or wrote otherwise, is left out here.

use serde_json::Value;
use sqlx::FromRow;
use staffetta_domain::{ConversationId, Direction, MessageState, Object};

use super::{ConversationRecord, Edit, MessageError, MessageRecord, Step, WINDOW};
use crate::contacts::Contact;
use crate::moment::Moment;
use crate::types::StoreError;

/// A conversation with its last message.
#[derive(FromRow)]
pub(crate) struct ConversationRow {
    id: i64,
    channel: String,
    phone: Option<String>,
    user_id: Option<String>,
    group_id: Option<String>,
    name: Option<String>,
    username: Option<String>,
    unread: i32,
    wrote_at: Option<Moment>,
    last_at: Moment,
    sequence: i64,
    created_at: Moment,
    contact_number: Option<String>,
    contact_name: Option<String>,
    contact_company: Option<String>,
    contact_whatsapp: Option<bool>,
    contact_updated_at: Option<Moment>,
    #[sqlx(flatten)]
    last: MessageRow,
}

impl TryFrom<ConversationRow> for ConversationRecord {
    type Error = StoreError;

    fn try_from(row: ConversationRow) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt("a conversation");
        let window = |wrote_at: Moment| jiff::Timestamp::from(wrote_at).checked_add(WINDOW).ok();
        let contact =
            match (row.contact_number, row.contact_name, row.contact_whatsapp, row.contact_updated_at) {
                (Some(number), Some(name), Some(whatsapp), Some(updated)) => Some(Contact {
                    number,
                    name,
                    company: row.contact_company,
                    whatsapp,
                    updated: updated.into(),
                }),
                _ => None,
            };
        Ok(Self {
            id: ConversationId::of_number(row.id),
            channel: row.channel.parse().map_err(|_| corrupt())?,
            phone: row.phone,
            user_id: row.user_id,
            group_id: row.group_id,
            name: row.name,
            username: row.username,
            contact,
            unread: u32::try_from(row.unread).map_err(|_| corrupt())?,
            window_closes_at: row.wrote_at.and_then(window),
            last_at: row.last_at.into(),
            last: row.last.record()?,
            sequence: row.sequence,
            created: row.created_at.into(),
        })
    }
}

/// A message; empty where there is none.
#[derive(FromRow)]
pub(crate) struct MessageRow {
    wamid: Option<String>,
    direction: Option<String>,
    kind: Option<String>,
    state: Option<i16>,
    at: Option<Moment>,
    place: Option<i64>,
    edited_at: Option<Moment>,
    withdrawn_at: Option<Moment>,
    command_id: Option<String>,
    callback_data: Option<String>,
    /// The command's content.
    sent: Option<String>,
    /// The data of the event that brought it.
    brought: Option<String>,
    /// The data of the event that changed it last.
    edit: Option<String>,
    /// A list of pairs: a time in microseconds since 1970, and the data of a status.
    steps: Option<String>,
}

impl MessageRow {
    /// The message, if there is one.
    pub(crate) fn record(self) -> Result<Option<MessageRecord>, StoreError> {
        let corrupt = || StoreError::Corrupt("a message");
        let (Some(wamid), Some(direction), Some(state), Some(at), Some(place)) =
            (self.wamid, self.direction, self.state, self.at, self.place)
        else {
            return Ok(None);
        };
        let state = MessageState::from_rank(state).ok_or_else(corrupt)?;
        let brought = object(self.brought.as_deref())?;
        let steps = steps(self.steps.as_deref())?;
        let kind = self.kind.or_else(|| text(&brought, "type"));
        let raw = brought.get("raw").and_then(Value::as_object);
        let whole = |value: &&Value| value.is_object() || value.is_array();
        let of_leaf = |name: &str| brought.get(name).filter(whole).or_else(|| raw?.get(name)).cloned();
        let mut record = MessageRecord {
            wamid: wamid.parse().map_err(|_| corrupt())?,
            direction: Direction::from_name(&direction).ok_or_else(corrupt)?,
            state,
            at: at.into(),
            from: None,
            name: None,
            content: None,
            context: None,
            referral: None,
            edited: None,
            withdrawn_at: self.withdrawn_at.map(Into::into),
            command: self.command_id.map(|id| id.parse()).transpose().map_err(|_| corrupt())?,
            callback_data: self.callback_data,
            error: error(state, &steps, &brought),
            steps,
            place,
            kind,
        };
        if record.direction == Direction::In {
            let names = ["from", "user_id", "parent_user_id"];
            record.from = names.iter().find_map(|name| text(&brought, name));
            record.name = text(&brought, "name");
        }
        if record.withdrawn_at.is_none() {
            let sent: Option<Value> =
                self.sent.as_deref().map(serde_json::from_str).transpose().map_err(unreadable)?;
            record.content = record.kind.as_deref().and_then(of_leaf).or(sent);
            record.context = of_leaf("context");
            record.referral = of_leaf("referral");
            record.edited = self.edited_at.map(|at| edit(at, self.edit.as_deref())).transpose()?;
        }
        Ok(Some(record))
    }
}

/// What the message was changed to: a message in small, with a type and an object of its name.
fn edit(at: Moment, data: Option<&str>) -> Result<Edit, StoreError> {
    let mut data = object(data)?;
    let mut message = match data.remove("message") {
        Some(Value::Object(message)) => message,
        _ => Object::new(),
    };
    let kind = text(&message, "type");
    let content = kind.as_deref().and_then(|kind| message.remove(kind));
    Ok(Edit { at: at.into(), kind, content })
}

/// Sorted by time. Those of one second stand in the order in which a message goes through them.
fn steps(pairs: Option<&str>) -> Result<Vec<Step>, StoreError> {
    let pairs: Vec<(i64, Object)> =
        pairs.map(serde_json::from_str).transpose().map_err(unreadable)?.unwrap_or_default();
    let mut steps = Vec::with_capacity(pairs.len());
    for (micros, mut data) in pairs {
        let at = jiff::Timestamp::from_microsecond(micros);
        steps.push(Step {
            status: text(&data, "status").unwrap_or_else(|| "unknown".to_owned()),
            at: at.map_err(|_| StoreError::Corrupt("an event"))?,
            pricing: data.remove("pricing"),
            error: one_error(&data),
            participant: text(&data, "participant").or_else(|| text(&data, "participant_user_id")),
        });
    }
    steps.sort_by_cached_key(|step| {
        (step.at, MessageState::of_status(&step.status), step.participant.clone(), step.status.clone())
    });
    Ok(steps)
}

/// Of a failed message what its last failure says; of any other one what came with it.
fn error(state: MessageState, steps: &[Step], brought: &Object) -> Option<MessageError> {
    if state == MessageState::Failed {
        return steps.iter().rev().find_map(|step| step.error.clone());
    }
    one_error(brought)
}

/// `error`, or else the first one of `errors`.
fn one_error(data: &Object) -> Option<MessageError> {
    let first = |errors: &Value| errors.get(0).and_then(Value::as_object).cloned();
    let error = match data.get("error") {
        Some(Value::Object(error)) => error.clone(),
        _ => data.get("errors").and_then(first)?,
    };
    let details = error.get("error_data").and_then(Value::as_object);
    Some(MessageError {
        code: error.get("code").and_then(Value::as_i64),
        title: text(&error, "title"),
        details: text(&error, "details").or_else(|| text(details?, "details")),
        hint: text(&error, "hint"),
    })
}

/// A field's text, if it has one.
fn text(object: &Object, name: &str) -> Option<String> {
    object.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn object(text: Option<&str>) -> Result<Object, StoreError> {
    Ok(text.map(serde_json::from_str).transpose().map_err(unreadable)?.unwrap_or_default())
}

fn unreadable(_: serde_json::Error) -> StoreError {
    StoreError::Corrupt("an event")
}
