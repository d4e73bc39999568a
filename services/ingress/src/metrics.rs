//! What ingress measures of itself.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};
use staffetta_runtime::telemetry::{meter, seconds};
use tokio::sync::Semaphore;

use crate::answer::Outcome;

/// The instruments. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    webhooks: Counter<u64>,
    answered: Histogram<f64>,
    published: Histogram<f64>,
    fill: Histogram<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = meter();
        Self {
            webhooks: meter
                .u64_counter("staffetta.ingress.webhooks")
                .with_description("Webhooks, by how they ended.")
                .build(),
            answered: seconds("staffetta.ingress.ack.duration", "From a webhook's last byte to its 200."),
            published: seconds(
                "staffetta.ingress.publish.duration",
                "From an envelope's publish to its end.",
            ),
            fill: meter
                .u64_histogram("staffetta.ingress.envelope.webhooks")
                .with_description("Webhooks of one envelope.")
                .with_boundaries(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0])
                .build(),
        }
    }

    /// Shows how much of `memory`, `total` bytes when nothing is in it, is taken.
    pub(crate) fn watch(memory: &Arc<Semaphore>, total: usize) {
        let memory = Arc::downgrade(memory);
        meter()
            .u64_observable_gauge("staffetta.ingress.queue.size")
            .with_unit("By")
            .with_description("Bodies that are being read or wait to be stored.")
            .with_callback(move |gauge| {
                if let Some(memory) = memory.upgrade() {
                    let taken = total.saturating_sub(memory.available_permits());
                    gauge.observe(taken as u64, &[]);
                }
            })
            .build();
    }

    pub(crate) fn ended(&self, outcome: Outcome) {
        self.webhooks.add(1, &[KeyValue::new("outcome", outcome.name())]);
    }

    pub(crate) fn stored_after(&self, time: Duration) {
        self.answered.record(time.as_secs_f64(), &[]);
    }

    pub(crate) fn published(&self, webhooks: usize, time: Duration) {
        self.fill.record(webhooks as u64, &[]);
        self.published.record(time.as_secs_f64(), &[]);
    }
}
