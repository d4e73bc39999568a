//! Who is who: apps, tenants, channels and endpoints, kept in the bucket REGISTRY and followed live.

mod endpoints;
mod entry;
mod keys;
mod snapshot;
mod store;
mod view;

pub use endpoints::{Endpoint, EndpointEntry, EndpointFormat, EndpointKind, Spool, Target, Webhook};
pub use entry::{
    AppEntry, ChannelEntry, DoubtPolicy, Entry, Provider, RegistryFile, Secrets, TenantEntry, WindowTemplate,
};
pub use keys::{ApiKeyEntry, Key, Scope};
pub use snapshot::{App, Channel, Registry, Tenant};
pub use store::{Change, Changed, Plan, RegistryStore, Unnamed};
pub use view::RegistryView;

use crate::SecretError;

/// Why the registry can't be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A file is not as it must be; the text names line and key.
    #[error("{0}")]
    File(String),
    /// An entry names something that is not there, or clashes with another.
    #[error("{entry}: {problem}")]
    Wrong {
        /// The entry, as `channel.acme-orders`.
        entry: String,
        /// What is wrong.
        problem: String,
    },
    /// A secret can't be sealed.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Somebody else changed the entry in between.
    #[error("{0} was changed by somebody else at the same time: look at it and apply again")]
    Conflict(String),
    /// NATS did not do it.
    #[error("the registry could not be {0}")]
    Unavailable(&'static str, #[source] async_nats::Error),
}
