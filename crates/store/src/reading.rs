//! Conversations and their messages, as they are read.
//!
//! Lists go newest first and page by place, not by count: each page is found through an index, however far down it
//! lies. A conversation that has gone into another one is reached under its old id too.

mod records;
mod search;
#[cfg(test)]
mod tests;

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use staffetta_domain::{ChannelId, CommandId, ConversationId, Direction, MessageState, TenantId, Wamid};

pub(crate) use self::records::{ConversationRow, MessageRow};
pub(crate) use self::search::{glob, number_range, regex};
use crate::contacts::Contact;
use crate::types::StoreError;
use crate::{Backend, Store, ask, within};

/// What a conversation `c` says of itself, and the tenant's contact `x` of its user: columns of both databases.
macro_rules! conversation {
    () => {
        "c.id, c.channel, c.phone, c.user_id, c.group_id, c.name, c.username, c.unread, c.wrote_at, c.last_at,
         c.sequence, c.created_at, x.number AS contact_number, x.name AS contact_name, x.company AS contact_company,
         x.whatsapp AS contact_whatsapp, x.updated_at AS contact_updated_at"
    };
}
pub(crate) use conversation;

/// How long a user's message keeps the customer service window open.
const WINDOW: SignedDuration = SignedDuration::from_hours(24);

/// Which conversations are wanted. The default is all of them.
#[derive(Clone, Default)]
pub struct ConversationFilter {
    /// Those of this channel.
    pub channel: Option<ChannelId>,
    /// Those whose user's name or username, or the tenant's name of that contact or its company, contains this, in
    /// whatever case.
    pub name: Option<String>,
    /// Those whose user has, among all known numbers, one that begins with these digits.
    pub number: Option<String>,
    /// Only those with something unread.
    pub unread_only: bool,
}

/// A conversation's place in the list, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConversationCursor {
    /// When its last message was said.
    pub last_at: Timestamp,
    /// Which it is, among those of the same moment.
    pub id: ConversationId,
}

/// A message's place in its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageCursor {
    /// When it was said.
    pub at: Timestamp,
    /// The order within the same moment: no two messages share it.
    pub place: i64,
}

/// Everything that one user, or one group, and a channel said to each other.
#[derive(Clone, PartialEq)]
pub struct ConversationRecord {
    /// The conversation; not the one that was asked for if that has gone into this one.
    pub id: ConversationId,
    /// The channel that speaks in it.
    pub channel: ChannelId,
    /// The user's phone number.
    pub phone: Option<String>,
    /// The user's business-scoped id.
    pub user_id: Option<String>,
    /// The group's id: then there is no user.
    pub group_id: Option<String>,
    /// The name that the user goes by.
    pub name: Option<String>,
    /// The user's username.
    pub username: Option<String>,
    /// The tenant's contact of the user's phone number.
    pub contact: Option<Contact>,
    /// How many of the user's messages nobody has read.
    pub unread: u32,
    /// When the customer service window closes, or closed; `None` if the user never wrote.
    pub window_closes_at: Option<Timestamp>,
    /// When the last message was said.
    pub last_at: Timestamp,
    /// The last message.
    pub last: Option<MessageRecord>,
    /// The number of the last event.
    pub sequence: i64,
    /// When the store first saw it.
    pub created: Timestamp,
}

impl ConversationRecord {
    /// What to ask for the conversations after this one with.
    pub fn cursor(&self) -> ConversationCursor {
        ConversationCursor { last_at: self.last_at, id: self.id }
    }
}

/// One message of a conversation. Whoever shows it shows `edited`, if there, in place of `content`.
#[derive(Clone, PartialEq)]
pub struct MessageRecord {
    /// The provider's id of it.
    pub wamid: Wamid,
    /// Who speaks.
    pub direction: Direction,
    /// The Cloud API's `type`; `None` while only statuses of it have come.
    pub kind: Option<String>,
    /// How far it has come.
    pub state: MessageState,
    /// When it was said, by the provider's clock; by ours until the provider names a time.
    pub at: Timestamp,
    /// The number, or else the id, of the user who wrote it.
    pub from: Option<String>,
    /// That user's name then.
    pub name: Option<String>,
    /// The object that bears the type's name. `None` of a message that was withdrawn.
    pub content: Option<Value>,
    /// What it answers, or that it was forwarded.
    pub context: Option<Value>,
    /// The advertisement that it came from.
    pub referral: Option<Value>,
    /// What it was changed to. `None` of a message that was withdrawn.
    pub edited: Option<Edit>,
    /// When it was taken back.
    pub withdrawn_at: Option<Timestamp>,
    /// The command that it came from.
    pub command: Option<CommandId>,
    /// The tenant's own text.
    pub callback_data: Option<String>,
    /// What became of it, by time.
    pub steps: Vec<Step>,
    /// Why it failed, or why its content can't be had.
    pub error: Option<MessageError>,
    pub(crate) place: i64,
}

impl MessageRecord {
    /// What to ask for the messages before this one with.
    pub fn cursor(&self) -> MessageCursor {
        MessageCursor { at: self.at, place: self.place }
    }
}

/// The last change of a message's content.
#[derive(Clone, PartialEq)]
pub struct Edit {
    /// When.
    pub at: Timestamp,
    /// The new content's type.
    pub kind: Option<String>,
    /// The object that bears the type's name.
    pub content: Option<Value>,
}

/// One status of a message.
#[derive(Clone, PartialEq)]
pub struct Step {
    /// `sent`, `delivered`, …, as the provider calls it.
    pub status: String,
    /// When.
    pub at: Timestamp,
    /// What it costs, as the provider put it.
    pub pricing: Option<Value>,
    /// Why it failed.
    pub error: Option<MessageError>,
    /// The member of the group that the status is about.
    pub participant: Option<String>,
}

/// What the provider says is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageError {
    /// The provider's code.
    pub code: Option<i64>,
    /// The provider's name of it.
    pub title: Option<String>,
    /// More of the provider's words.
    pub details: Option<String>,
    /// What it means, and what to do.
    pub hint: Option<String>,
}

/// What became of [`Store::mark_read`].
#[derive(Clone, Debug, PartialEq)]
pub enum Marked {
    /// It is read; so it stands now.
    Read(Box<ConversationRecord>),
    /// The tenant has no such conversation.
    NoConversation,
    /// The conversation has no such message: nothing was done.
    NoMessage,
}

impl Store {
    /// At most `limit` of the tenant's conversations, those after `after`: newest first, and of the same moment the
    /// younger one first. A conversation that a new message moves up while a reader is further down is not met again
    /// by that reader: it stands at the top of the list now.
    ///
    /// # Errors
    /// As every method's, and [`StoreError::Corrupt`].
    pub async fn conversations(
        &self,
        tenant: &TenantId,
        filter: &ConversationFilter,
        after: Option<ConversationCursor>,
        limit: u32,
    ) -> Result<Vec<ConversationRecord>, StoreError> {
        // Before the first page's stands a place that no conversation has.
        let first = ConversationCursor { last_at: Timestamp::MAX, id: ConversationId::of_number(i64::MAX) };
        ask!(self, conversations(tenant, filter, after.unwrap_or(first), limit))
    }

    /// One conversation; `None` if the tenant has none of this id.
    ///
    /// # Errors
    /// As [`conversations`](Self::conversations).
    pub async fn conversation(
        &self,
        tenant: &TenantId,
        id: ConversationId,
    ) -> Result<Option<ConversationRecord>, StoreError> {
        ask!(self, conversation(tenant, id))
    }

    /// At most `limit` messages of a conversation, those before `after`, the last one said first; `None` if the tenant
    /// has no such conversation.
    ///
    /// # Errors
    /// As [`conversations`](Self::conversations).
    pub async fn conversation_messages(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        after: Option<MessageCursor>,
        limit: u32,
    ) -> Result<Option<Vec<MessageRecord>>, StoreError> {
        let first = MessageCursor { at: Timestamp::MAX, place: i64::MAX };
        ask!(self, conversation_messages(tenant, id, after.unwrap_or(first), limit))
    }

    /// Marks a conversation read up to that message, it included, or all of it: the unread ones that are left are the
    /// user's messages that stand after it. What was read before stays read.
    ///
    /// Without `up_to` a message that was recorded a moment ago counts as read too, though nobody may have seen it.
    ///
    /// # Errors
    /// As [`conversations`](Self::conversations).
    pub async fn mark_read(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        up_to: Option<&Wamid>,
    ) -> Result<Marked, StoreError> {
        ask!(self, mark_read(tenant, id, up_to))
    }
}

impl fmt::Debug for ConversationFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConversationFilter")
            .field("channel", &self.channel)
            .field("unread_only", &self.unread_only)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ConversationRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConversationRecord")
            .field("id", &self.id)
            .field("channel", &self.channel)
            .field("unread", &self.unread)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for MessageRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageRecord")
            .field("direction", &self.direction)
            .field("kind", &self.kind)
            .field("state", &self.state)
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edit").field("at", &self.at).finish_non_exhaustive()
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("status", &self.status).field("at", &self.at).finish_non_exhaustive()
    }
}
