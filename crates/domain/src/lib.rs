//! What Staffetta talks about, without any I/O: ids, commands, events, the order of statuses and the classes of errors.
//!
//! Everything here is parsed once, at the edge. Who holds a value of these types need not check it again.

mod callback;
mod command;
mod event;
mod failure;
mod ids;
mod lane;
mod leaf;
mod recipient;
mod status;

pub use callback::Callback;
pub use command::{Command, CommandFields, CommandState, InvalidCommand, WindowPolicy};
pub use event::{Event, EventType};
pub use failure::{ErrorClass, ProviderError};
pub use ids::{AppId, ChannelId, CommandId, EndpointId, EventId, InvalidId, TenantId, Wamid};
pub use lane::Lane;
pub use leaf::{Leaf, MessageUpdate, Settles};
pub use recipient::Recipient;
pub use status::MessageState;

/// A JSON object whose fields are kept as they came.
pub type Object = serde_json::Map<String, serde_json::Value>;
