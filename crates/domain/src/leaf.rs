//! The smallest part of a webhook that means something by itself: one message, one status, one other change.

use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

use crate::{CommandId, Event, MessageState, Wamid};

/// One leaf of a webhook: the event that tells it, and what it does to the picture of its conversation.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// What the tenant is told if the leaf is new. Its id is the leaf's key: the same leaf has the same id, always.
    pub event: Event,
    /// The message that the leaf brings or moves.
    pub message: Option<MessageUpdate>,
    /// The command that the leaf proves to have been accepted.
    pub settles: Option<Settles>,
}

/// What a leaf says of one message. Applying it twice, or after a later one, changes nothing.
#[derive(Clone)]
pub struct MessageUpdate {
    /// Which message, within the leaf's channel.
    pub wamid: Wamid,
    /// The user's phone number or business-scoped id, if the leaf names one.
    pub user: Option<String>,
    /// The state to move up to.
    pub state: MessageState,
    /// The Cloud API's `type` of a received message.
    pub kind: Option<String>,
    /// The received message as it came.
    pub content: Option<Value>,
    /// The provider's time.
    pub at: Timestamp,
    /// The command that the message came from.
    pub command: Option<CommandId>,
}

impl fmt::Debug for MessageUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageUpdate")
            .field("state", &self.state)
            .field("command", &self.command)
            .finish_non_exhaustive()
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
