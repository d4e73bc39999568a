//! The smallest part of a webhook that means something by itself: one message, one status, one other change.

use std::fmt;

use jiff::Timestamp;

use crate::{CommandId, Event, MessageState, Reach, Sighting, Wamid};

/// One leaf of a webhook: the event that tells it, and what it does to the picture of its conversation.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// What the tenant is told if the leaf is new. Its id is the leaf's key: the same leaf has the same id, always.
    pub event: Event,
    /// What it says of a user; `None` for a leaf that belongs to no conversation.
    pub sighting: Option<Sighting>,
    /// What it does to a message.
    pub touch: Option<Touch>,
    /// The command that the leaf proves to have been accepted.
    pub settles: Option<Settles>,
    /// What it says of whether its user can be written to.
    pub reach: Option<Reach>,
}

impl Leaf {
    /// A leaf that tells its event, and does nothing else.
    pub fn of_event(event: Event) -> Self {
        Self { event, sighting: None, touch: None, settles: None, reach: None }
    }
}

/// What a leaf does to one message of its channel. Doing it twice, or after a later one, changes nothing.
#[derive(Clone, PartialEq)]
pub enum Touch {
    /// The leaf is the message: its event holds the content.
    Brought {
        /// The message.
        wamid: Wamid,
        /// Who speaks.
        direction: Direction,
        /// The Cloud API's `type`.
        kind: String,
        /// Where it stands at least.
        state: MessageState,
        /// The provider's time.
        at: Timestamp,
        /// Whether somebody ought to read it: a new message of the user, not one from before.
        unread: bool,
    },
    /// A status of a message that the channel sent.
    Moved {
        /// The message.
        wamid: Wamid,
        /// Where it stands at least; `None` for a status that moves nothing and proves nothing.
        state: Option<MessageState>,
        /// The provider's time.
        at: Timestamp,
        /// The command that the message came from.
        command: Option<CommandId>,
    },
    /// The message has a new content: the one in this leaf's event.
    Edited {
        /// The message as it was first sent.
        wamid: Wamid,
        /// Who speaks.
        direction: Direction,
        /// When it was changed.
        at: Timestamp,
    },
    /// The message was taken back.
    Withdrawn {
        /// The message.
        wamid: Wamid,
        /// Who speaks.
        direction: Direction,
        /// When it was taken back.
        at: Timestamp,
    },
}

impl Touch {
    /// The message that is touched.
    pub fn wamid(&self) -> &Wamid {
        match self {
            Self::Brought { wamid, .. }
            | Self::Moved { wamid, .. }
            | Self::Edited { wamid, .. }
            | Self::Withdrawn { wamid, .. } => wamid,
        }
    }
}

impl fmt::Debug for Touch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Brought { .. } => "Brought(…)",
            Self::Moved { .. } => "Moved(…)",
            Self::Edited { .. } => "Edited(…)",
            Self::Withdrawn { .. } => "Withdrawn(…)",
        })
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The user.
    In,
    /// The business.
    Out,
}

impl Direction {
    /// The direction's name in the API: `in` or `out`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }

    /// The direction of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::In, Self::Out].into_iter().find(|direction| direction.as_str() == name)
    }
}

/// A status that names a command proves that the provider took the command, whatever became of the answer.
#[derive(Clone, Debug)]
pub struct Settles {
    /// The command.
    pub command: CommandId,
    /// The `accepted` event to tell, if the command's outcome was still open.
    pub accepted: Event,
}
