//! Staffetta from outside: its processes, the servers around it, and everyone who talks to it.
//!
//! What stands here knows the contract and nothing else: subjects, endpoints, configuration keys, exit codes. The
//! provider is the simulator, over real HTTP; NATS and PostgreSQL are real.

mod collector;
mod graph_client;
mod hook;
mod installation;
mod meta;
mod ports;
mod rates;
mod registry;
mod service;
mod signature;
mod streams;
mod tenant;
mod user;

use std::time::Duration;

pub use collector::{Collected, Collector, SeenSpan};
pub use graph_client::{GraphClient, Told};
pub use hook::{Hook, HookPost};
pub use installation::{Installation, Setup, Storage};
pub use meta::{Meta, body, change, entry, message, status, webhook};
pub use ports::free_port;
pub use rates::rate_held;
pub use registry::{APP, CARE, Number, ORDERS, RegistryText, SECOND_APP};
pub use service::{Answer, Service};
pub use signature::SigningKey;
pub use streams::{SeenEvent, Streams};
pub use tenant::{Tenant, text};
pub use user::User;

/// Longest wait for a state. Far longer than anything should take: an envelope whose reader died comes again after
/// half a minute, and on a machine that is busy with more than these tests everything takes several times as long.
pub const LIMIT: Duration = Duration::from_secs(240);
/// Longest wait for one answer.
pub const ANSWER: Duration = Duration::from_secs(60);
