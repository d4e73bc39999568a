//! What Staffetta talks about, without any I/O: ids, commands, events, the order of statuses and the classes of errors.
//!
//! Everything here is parsed once, at the edge. Who holds a value of these types need not check it again.

mod alias;
mod callback;
mod command;
mod event;
mod facade;
mod failure;
mod identity;
mod ids;
mod lane;
mod leaf;
mod reach;
mod recipient;
mod status;
mod trace;
pub mod window;

pub use alias::{Alias, Sighting};
pub use callback::Callback;
pub use command::{Command, CommandFields, CommandState, InvalidCommand, WindowPolicy};
pub use event::{Event, EventType};
pub use facade::{FACADE_PREFIX, command_of_facade_wamid, facade_wamid};
pub use failure::{Breadth, ErrorClass, ProviderError, hint};
pub use identity::{AliasChange, Changes, Directory, Place, Profile};
pub use ids::{AppId, ChannelId, CommandId, ConversationId, EndpointId, EventId, InvalidId, TenantId, Wamid};
pub use lane::Lane;
pub use leaf::{Direction, Leaf, Settles, Touch};
pub use reach::Reach;
pub use recipient::Recipient;
pub use status::MessageState;
pub use trace::{InvalidTraceParent, TraceParent};

/// A JSON object whose fields are kept as they came.
pub type Object = serde_json::Map<String, serde_json::Value>;
