//! Deleting what tenants no longer keep.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use rand::Rng;
use staffetta_bus::{RegistryView, Tenant};
use staffetta_runtime::telemetry::meter;
use staffetta_store::{Pruned, Store, StoreError};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Most events, or conversations, of one transaction.
const BATCH: u32 = 500;

/// Prunes the database, tenant by tenant. Several recorders may do so at the same time: each passes over what another
/// one has in hand.
#[derive(Debug)]
pub(crate) struct Pruning {
    store: Store,
    registry: RegistryView,
    interval: Duration,
    pruned: Counter<u64>,
}

impl Pruning {
    pub(crate) fn new(store: Store, registry: RegistryView, interval: Duration) -> Self {
        let pruned = meter()
            .u64_counter("staffetta.recorder.pruned")
            .with_description("Rows deleted because their tenant no longer keeps them, by kind")
            .build();
        Self { store, registry, interval, pruned }
    }

    /// Prunes once every interval, give or take a fifth, until `stop`; the first time somewhere in the first interval,
    /// so that replicas that start together don't prune together.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut pause = self.interval.mul_f64(rand::rng().random_range(0.0..1.0));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
            pause = self.interval.mul_f64(rand::rng().random_range(0.8..1.2));
            let mut tenants: Vec<_> = self.registry.load().tenants().cloned().collect();
            tenants.sort_by(|a, b| a.id.cmp(&b.id));
            for tenant in tenants {
                if let Err(failure) = self.prune(&tenant, &stop).await {
                    warn!(error = &failure as &dyn std::error::Error, tenant = %tenant.id, "pruning failed");
                }
            }
        }
    }

    /// Deletes batch by batch, and rests between them for as long as they take: so it never takes more than half of
    /// one connection.
    async fn prune(&self, tenant: &Tenant, stop: &CancellationToken) -> Result<(), StoreError> {
        let before = Timestamp::now() - SignedDuration::from_hours(24 * i64::from(tenant.retention_days));
        let mut all = Pruned::default();
        while !stop.is_cancelled() {
            let start = Instant::now();
            let pruned = self.store.prune(&tenant.id, before, BATCH).await?;
            if pruned.is_empty() {
                break;
            }
            self.count(&pruned);
            all += pruned;
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(start.elapsed()) => {}
            }
        }
        if !all.is_empty() {
            let Pruned { events, messages, commands, conversations, attempts } = all;
            info!(tenant = %tenant.id, events, messages, commands, conversations, attempts, "pruned");
        }
        Ok(())
    }

    fn count(&self, pruned: &Pruned) {
        let Pruned { events, messages, commands, conversations, attempts } = *pruned;
        for (kind, rows) in [
            ("event", events),
            ("message", messages),
            ("command", commands),
            ("conversation", conversations),
            ("attempt", attempts),
        ] {
            self.pruned.add(rows, &[KeyValue::new("kind", kind)]);
        }
    }
}
