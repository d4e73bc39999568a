//! Meta's webhook bodies, taken apart into leaves. Nothing outside this module knows their shape.
//!
//! A body holds entries, an entry changes, a change messages, statuses and errors, each any number of times. Every
//! list is skimmed without being understood, and each leaf is then read by itself: what is wrong inside one leaf is
//! that leaf's problem alone. What is not known is passed on as it came.

mod walk;

mod frame;
mod lenient;
mod list;

mod call;
mod content;
mod item;
mod manage;
mod message;
mod problem;
mod status;
mod system;
mod who;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use staffetta_domain::{ChannelId, Event, EventId, EventType, Leaf, Object, TenantId, Wamid};

use frame::{Chapter, Frame};
use list::List;
pub use walk::parse;

/// One thing that a body held.
#[derive(Debug)]
pub enum Part {
    /// A leaf that can be told.
    Found(Found),
    /// Something that cannot be understood. It costs only itself.
    Broken(Broken),
}

/// What could not be understood.
pub struct Broken {
    /// Where in the body it stands, as `entry[0].changes[1].value.messages[2]`.
    pub place: String,
    /// What is wrong, without personal data.
    pub problem: &'static str,
    /// The text of that part of the body.
    pub payload: Bytes,
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broken")
            .field("place", &self.place)
            .field("problem", &self.problem)
            .finish_non_exhaustive()
    }
}

/// Sorts of leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafKind {
    /// A message, of whatever type, or an echo of one.
    Message,
    /// A status of a sent message.
    Status,
    /// Anything else.
    Other,
}

impl LeafKind {
    /// The sort's name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Status => "status",
            Self::Other => "other",
        }
    }
}

/// What a leaf says of the number, or of the account, that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// Meta's id of the number. Where it is known it alone decides.
    pub phone_number_id: Option<&'a str>,
    /// The number, in any dress.
    pub display_phone_number: Option<&'a str>,
    /// The WhatsApp Business Account, or a portfolio.
    pub waba_id: Option<&'a str>,
    /// The account that the leaf itself names: entries about partners may have the id of a portfolio.
    pub told_waba_id: Option<&'a str>,
}

/// A leaf that was understood as far as is needed to tell it; whose it is remains to be found by its address.
pub struct Found {
    frame: Arc<Frame>,
    list: List,
    leaf: Value,
    /// A message's or a status's own id.
    wamid: Option<Wamid>,
    /// The contact beside it that it is about.
    contact: Option<Arc<Object>>,
    /// What is around a leaf of the history.
    chapter: Option<Arc<Chapter>>,
}

impl Found {
    /// The sort of leaf.
    pub fn kind(&self) -> LeafKind {
        match self.list {
            List::Messages | List::Echoes | List::HistoryMessages => LeafKind::Message,
            List::Statuses if !call::is_call(self) => LeafKind::Status,
            _ => LeafKind::Other,
        }
    }

    /// Whether it is a message, of whatever type, that the number received just now: one that counts in its rate.
    /// Echoes, calls and what is from before the number was connected do not.
    pub fn is_received(&self) -> bool {
        self.list == List::Messages
    }

    /// Whose leaf it is, as far as the leaf knows.
    pub fn address(&self) -> Address<'_> {
        Address {
            phone_number_id: self.frame.phone_number_id.as_deref(),
            display_phone_number: self.frame.display_phone_number.as_deref(),
            waba_id: self.frame.waba_id.as_deref(),
            told_waba_id: self.frame.told_waba_id.as_deref(),
        }
    }

    /// The leaf as that channel's tenant is told it. Its event has the same id whenever, in whatever company and in
    /// whatever layout the leaf comes.
    pub fn leaf(&self, tenant: &TenantId, channel: &ChannelId) -> Leaf {
        match self.list {
            List::Messages | List::Echoes | List::HistoryMessages => message::leaf(self, tenant, channel),
            List::Statuses | List::Calls if call::is_call(self) => call::leaf(self, tenant, channel),
            List::Statuses => status::leaf(self, tenant, channel),
            List::Whole => manage::leaf(self, tenant, channel),
            _ => item::leaf(self, tenant, channel),
        }
    }

    /// A webhook's body that holds this leaf and no other: parsing it gives the same leaf.
    pub fn webhook(&self) -> Bytes {
        let value = self.frame.value(self.list, &self.leaf, self.contact(), self.chapter.as_deref());
        self.frame.body(&value).into()
    }

    /// The leaf's own fields; none if it is no object.
    fn fields(&self) -> &Object {
        static NONE: LazyLock<Object> = LazyLock::new(Object::new);
        self.leaf.as_object().unwrap_or(&NONE)
    }

    fn contact(&self) -> Option<&Object> {
        self.contact.as_deref()
    }

    /// Writes the contact into an event's data.
    fn tell_contact(&self, data: &mut Object) {
        data.extend(self.contact().cloned().map(|contact| ("contact".to_owned(), contact.into())));
    }

    /// Fields that every event's data begins with.
    fn data(&self) -> Object {
        let mut data = Object::new();
        lenient::set(&mut data, "waba_id", self.frame.waba_id.as_deref());
        lenient::set(&mut data, "phone_number_id", self.frame.phone_number_id.as_deref());
        data
    }

    /// When the leaf says that it happened; when its webhook arrived if it doesn't say.
    fn time(&self) -> Timestamp {
        let fields = self.fields();
        let inner = || fields.get("metadata")?.get("timestamp");
        let said = [fields.get("timestamp"), inner(), self.frame.time.as_ref()];
        said.into_iter().flatten().find_map(lenient::moment).unwrap_or(self.frame.received_at)
    }

    /// The key of a leaf that has no id of its own: all that it says, and when its entry says that it was so. Without
    /// that time, a template that is approved, paused and approved again would be told as approved once.
    fn id_by_content(&self, tenant: &TenantId) -> EventId {
        let frame = &*self.frame;
        let list = self.list.path();
        let time = frame.time.as_ref().map(Value::to_string).unwrap_or_default();
        let content = lenient::canonical(&self.leaf);
        match &frame.phone_number_id {
            Some(number) => EventId::of(&["leaf", number, &frame.field, list, &content, &time]),
            // An account's leaf may be told to several tenants, each once.
            None => {
                let waba = frame.waba_id.as_deref().unwrap_or_default();
                EventId::of(&["leaf", waba, &frame.field, list, &content, &time, tenant.as_str()])
            }
        }
    }

    fn event(
        &self,
        id: EventId,
        kind: EventType,
        data: Object,
        tenant: &TenantId,
        channel: &ChannelId,
    ) -> Event {
        let subject = self.wamid.as_ref().map_or(self.frame.field.as_str(), Wamid::as_str).to_owned();
        Event {
            id,
            tenant: tenant.clone(),
            channel: channel.clone(),
            kind,
            time: self.time(),
            subject,
            data,
            trace: None,
        }
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found")
            .field("field", &self.frame.field)
            .field("list", &self.list)
            .finish_non_exhaustive()
    }
}
