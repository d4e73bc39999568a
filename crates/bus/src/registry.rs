//! Who is who: apps, tenants, channels and endpoints, kept in the bucket REGISTRY and followed live.

mod bucket;
mod check;
mod diff;
mod endpoints;
mod entry;
mod export;
mod file;
mod forms;
mod keys;
mod newer;
mod plan;
mod rotate;
mod snapshot;
mod store;
mod view;

pub use diff::{Change, Changed, FieldChange};
pub use endpoints::{Endpoint, EndpointEntry, EndpointFormat, EndpointKind, Spool, Target, Webhook};
pub use entry::{AppEntry, ChannelEntry, DoubtPolicy, Entry, Provider, Secrets, TenantEntry, WindowTemplate};
pub use export::to_toml;
pub use file::{Place, RegistryFile};
pub use keys::{ApiKeyEntry, Key, Scope};
pub use plan::{NumberClaim, Plan, Unnamed};
pub use rotate::Rotation;
pub use snapshot::{App, Channel, Registry, Tenant};
pub use store::RegistryStore;
pub use view::RegistryView;

use crate::SecretError;

/// Why the registry can't be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A file is not as it must be; the text names file, line and key.
    #[error("{0}")]
    File(String),
    /// An entry names something that is not there, clashes with another, or has a value that can't be.
    #[error("{}{entry}: {problem}", before(.place.as_ref()))]
    Wrong {
        /// Where it stands, if it comes from a file.
        place: Option<Place>,
        /// The entry, as `channel.acme-orders`.
        entry: String,
        /// The key that is wrong, if it is one.
        key: Option<String>,
        /// What is wrong; names the key.
        problem: String,
    },
    /// A secret can't be stored.
    #[error("{}{problem}", before(.place.as_ref()))]
    Secret {
        /// Where it stands, if it comes from a file.
        place: Option<Place>,
        /// What is wrong; names entry and key.
        problem: SecretError,
    },
    /// Somebody else changed the entries in between; nothing was written.
    #[error("{0} was changed by somebody else at the same time: look at it and apply again")]
    Conflict(String),
    /// More was to be written than NATS takes as one, and only a part was.
    #[error("{done} of {all} changes were made; apply again to make the rest")]
    Partly {
        /// Changes that were made: the first of the plan.
        done: usize,
        /// All changes of the plan.
        all: usize,
        /// Why it ended there.
        #[source]
        reason: Box<RegistryError>,
    },
    /// NATS did not do it.
    #[error("the registry could not be {0}")]
    Unavailable(&'static str, #[source] async_nats::Error),
}

/// What stands before an error about something in a file.
fn before(place: Option<&Place>) -> String {
    place.map(|place| format!("{place}: ")).unwrap_or_default()
}
