//! Conversations and messages as the API shows them. Fields without a value are left out.

use serde::Serialize;
use serde_json::Value;
use staffetta_store::{ConversationRecord, Edit, MessageError, MessageRecord, Step};

#[derive(Serialize)]
pub(crate) struct ConversationView {
    id: String,
    channel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<GroupView>,
    unread: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_closes_at: Option<String>,
    last_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_message: Option<MessageView>,
    sequence: i64,
    created: String,
}

#[derive(Serialize)]
struct UserView {
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

#[derive(Serialize)]
struct GroupView {
    id: String,
}

impl From<ConversationRecord> for ConversationView {
    fn from(record: ConversationRecord) -> Self {
        // Of a group no name is known: those of its messages are their writers'.
        let user = record.group_id.is_none().then_some(UserView {
            phone: record.phone,
            user_id: record.user_id,
            username: record.username,
            name: record.name,
        });
        Self {
            id: record.id.to_string(),
            channel: record.channel.to_string(),
            user,
            group: record.group_id.map(|id| GroupView { id }),
            unread: record.unread,
            window_closes_at: record.window_closes_at.map(|at| at.to_string()),
            last_at: record.last_at.to_string(),
            last_message: record.last.map(Into::into),
            sequence: record.sequence,
            created: record.created.to_string(),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct MessageView {
    wamid: String,
    direction: &'static str,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    state: &'static str,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referral: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    edited: Option<EditView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    withdrawn_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callback_data: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statuses: Vec<StepView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorView>,
}

impl From<MessageRecord> for MessageView {
    fn from(record: MessageRecord) -> Self {
        Self {
            wamid: record.wamid.as_str().to_owned(),
            direction: record.direction.as_str(),
            kind: record.kind,
            state: record.state.as_str(),
            at: record.at.to_string(),
            from: record.from,
            name: record.name,
            content: record.content,
            context: record.context,
            referral: record.referral,
            edited: record.edited.map(Into::into),
            withdrawn_at: record.withdrawn_at.map(|at| at.to_string()),
            command_id: record.command.map(|id| id.to_string()),
            callback_data: record.callback_data,
            statuses: record.steps.into_iter().map(Into::into).collect(),
            error: record.error.map(Into::into),
        }
    }
}

#[derive(Serialize)]
struct EditView {
    at: String,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Value>,
}

impl From<Edit> for EditView {
    fn from(edit: Edit) -> Self {
        Self { at: edit.at.to_string(), kind: edit.kind, content: edit.content }
    }
}

#[derive(Serialize)]
struct StepView {
    status: String,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    participant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pricing: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorView>,
}

impl From<Step> for StepView {
    fn from(step: Step) -> Self {
        Self {
            status: step.status,
            at: step.at.to_string(),
            participant: step.participant,
            pricing: step.pricing,
            error: step.error.map(Into::into),
        }
    }
}

#[derive(Serialize)]
struct ErrorView {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl From<MessageError> for ErrorView {
    fn from(error: MessageError) -> Self {
        Self { code: error.code, title: error.title, details: error.details, hint: error.hint }
    }
}
