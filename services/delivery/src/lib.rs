//! Pushes events to the tenants' endpoints: at least once, in order per conversation, and none waits for another's.

use staffetta_bus::{Bus, RegistryView};
use staffetta_runtime::{Config, Health};
use staffetta_store::Store;
use tokio_util::sync::CancellationToken;

/// The service.
#[derive(Debug)]
pub struct Delivery {}

impl Delivery {
    /// Prepares the service. Nothing is delivered before [`run`](Self::run).
    ///
    /// # Errors
    /// If the leases' bucket is not set up, or TLS can't be.
    pub async fn new(
        _config: &Config,
        _bus: Bus,
        _registry: RegistryView,
        _store: Store,
        _health: &Health,
    ) -> anyhow::Result<Self> {
        Ok(Self {})
    }

    /// Delivers for its share of the endpoints until `stop`.
    ///
    /// # Errors
    /// If a part of it died.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        stop.cancelled().await;
        Ok(())
    }
}
