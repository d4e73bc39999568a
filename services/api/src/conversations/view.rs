//! Conversations and messages as the API shows them. Fields without a value are left out.

use serde::Serialize;
use serde_json::Value;
use staffetta_store::{Contact, ConversationRecord, Edit, MessageError, MessageRecord, Step};
use utoipa::ToSchema;

/// Everything that one user, or one group, and one of your channels said to each other.
#[derive(Serialize, ToSchema)]
#[schema(as = Conversation)]
pub(crate) struct ConversationView {
    id: String,
    channel: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserView>,
    /// Your contact of the user's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    contact: Option<KnownView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<GroupView>,
    /// How many messages of the user nobody has marked read.
    unread: u32,
    /// Until then you may write freely.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    window_closes_at: Option<String>,
    #[schema(format = DateTime)]
    last_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_message: Option<MessageView>,
    /// The number of the last event.
    sequence: i64,
    #[schema(format = DateTime)]
    created: String,
}

/// What is known of a user.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
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

/// What you know of a user.
#[derive(Serialize, ToSchema)]
#[schema(as = ContactOfUser)]
struct KnownView {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    company: Option<String>,
    /// `false`: nothing is sent to the number.
    whatsapp: bool,
}

impl From<Contact> for KnownView {
    fn from(Contact { name, company, whatsapp, .. }: Contact) -> Self {
        Self { name, company, whatsapp }
    }
}

/// A group.
#[derive(Serialize, ToSchema)]
#[schema(as = Group)]
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
            contact: record.contact.map(Into::into),
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

/// One message of a conversation.
#[derive(Serialize, ToSchema)]
#[schema(as = ConversationMessage)]
pub(crate) struct MessageView {
    /// WhatsApp's id of it.
    wamid: String,
    /// `in`: the user wrote it; `out`: you did.
    direction: &'static str,
    /// The Cloud API's `type`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
    /// `received`, or how far your message has come.
    state: &'static str,
    #[schema(format = DateTime)]
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    /// What the Cloud API has in the field that the type names.
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

/// The last change of a message.
#[derive(Serialize, ToSchema)]
#[schema(as = Edit)]
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

/// One step of a message that you sent.
#[derive(Serialize, ToSchema)]
#[schema(as = Status)]
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

/// Why a message failed, or why its content can't be had.
#[derive(Serialize, ToSchema)]
#[schema(as = MessageError)]
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
