//! What a tenant is told.

use std::fmt;

use jiff::Timestamp;

use crate::{ChannelId, EventId, Object, TenantId, TraceParent};

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// A user wrote.
    MessageReceived,
    /// A user changed a message.
    MessageEdited,
    /// A user withdrew a message.
    MessageDeleted,
    /// Someone sent from the phone's own app.
    MessageEchoed,
    /// A sent message moved on.
    MessageStatus,
    /// The provider took a command.
    CommandAccepted,
    /// Staffetta refused a command before anything was sent.
    CommandRejected,
    /// The provider refused a command for good, or its tries were used up.
    CommandFailed,
    /// A command's time ran out.
    CommandExpired,
    /// The tenant took a command back.
    CommandCancelled,
    /// A command's outcome is being settled.
    CommandInDoubt,
    /// A received file is safe.
    MediaStored,
    /// A received file can no longer be had.
    MediaLost,
    /// A channel's quality, throughput, name, account or hold changed.
    ChannelChanged,
    /// A template's status, quality or category moved.
    TemplateChanged,
    /// An endpoint was disabled because nothing could be delivered, or enabled again.
    EndpointChanged,
    /// Any webhook that has no type of its own.
    WebhookOther,
}

impl EventType {
    /// All types.
    pub const ALL: [Self; 17] = [
        Self::MessageReceived,
        Self::MessageEdited,
        Self::MessageDeleted,
        Self::MessageEchoed,
        Self::MessageStatus,
        Self::CommandAccepted,
        Self::CommandRejected,
        Self::CommandFailed,
        Self::CommandExpired,
        Self::CommandCancelled,
        Self::CommandInDoubt,
        Self::MediaStored,
        Self::MediaLost,
        Self::ChannelChanged,
        Self::TemplateChanged,
        Self::EndpointChanged,
        Self::WebhookOther,
    ];

    /// The CloudEvents type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MessageReceived => "staffetta.message.received",
            Self::MessageEdited => "staffetta.message.edited",
            Self::MessageDeleted => "staffetta.message.deleted",
            Self::MessageEchoed => "staffetta.message.echoed",
            Self::MessageStatus => "staffetta.message.status",
            Self::CommandAccepted => "staffetta.command.accepted",
            Self::CommandRejected => "staffetta.command.rejected",
            Self::CommandFailed => "staffetta.command.failed",
            Self::CommandExpired => "staffetta.command.expired",
            Self::CommandCancelled => "staffetta.command.cancelled",
            Self::CommandInDoubt => "staffetta.command.in_doubt",
            Self::MediaStored => "staffetta.media.stored",
            Self::MediaLost => "staffetta.media.lost",
            Self::ChannelChanged => "staffetta.channel.changed",
            Self::TemplateChanged => "staffetta.template.changed",
            Self::EndpointChanged => "staffetta.endpoint.changed",
            Self::WebhookOther => "staffetta.webhook.other",
        }
    }

    /// The last token of the event's subject: the type without `staffetta.`, dots as dashes.
    pub fn kind(self) -> String {
        self.as_str().trim_start_matches("staffetta.").replace('.', "-")
    }

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Something that happened, as a tenant is told it: a CloudEvent.
#[derive(Clone, PartialEq)]
pub struct Event {
    /// The same each time the event is told.
    pub id: EventId,
    /// Whose event it is.
    pub tenant: TenantId,
    /// On which channel it happened.
    pub channel: ChannelId,
    /// What happened.
    pub kind: EventType,
    /// When, by the clock of whoever made it happen.
    pub time: Timestamp,
    /// The wamid or the command's id. A wamid is personal data.
    pub subject: String,
    /// All about it.
    pub data: Object,
    /// The trace that it belongs to. It is told in a header, and no part of the event's own text.
    pub trace: Option<TraceParent>,
}

impl Event {
    /// The CloudEvents source.
    pub fn source(&self) -> String {
        format!("/tenants/{}/channels/{}", self.tenant, self.channel)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id)
            .field("tenant", &self.tenant)
            .field("channel", &self.channel)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_fit_for_a_subject() {
        assert_eq!(EventType::MessageReceived.kind(), "message-received");
        assert_eq!(EventType::CommandInDoubt.kind(), "command-in_doubt");
        for kind in EventType::ALL {
            assert_eq!(EventType::from_name(kind.as_str()), Some(kind));
        }
    }
}
