//! What ingress measures of itself.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};
use staffetta_runtime::telemetry::{Served, meter, seconds};
use tokio::sync::Semaphore;

use crate::answer::Outcome;
use crate::keys::AppKeys;

/// The instruments. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    webhooks: Counter<u64>,
    pub(crate) served: Served,
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
            served: Served::default(),
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

    /// Shows how much of `memory`, `total` bytes when nothing is in it, is taken, and how much there is.
    pub(crate) fn watch(memory: &Arc<Semaphore>, total: usize) {
        let memory = Arc::downgrade(memory);
        let whole = memory.clone();
        meter()
            .u64_observable_gauge("staffetta.ingress.queue.limit")
            .with_unit("By")
            .with_description("Most bytes of bodies that are being read or wait to be stored.")
            .with_callback(move |gauge| {
                if whole.strong_count() > 0 {
                    gauge.observe(total as u64, &[]);
                }
            })
            .build();
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

    /// A webhook has ended, or a verification was refused. An app that is not registered has no name here: there would
    /// be no end to them.
    pub(crate) fn ended(&self, app: Option<&AppKeys>, outcome: Outcome) {
        let app = match app {
            Some(app) => KeyValue::new("app", app.id.clone()),
            None => KeyValue::new("app", "unknown"),
        };
        self.webhooks.add(1, &[app, KeyValue::new("outcome", outcome.name())]);
    }

    pub(crate) fn stored_after(&self, time: Duration) {
        self.answered.record(time.as_secs_f64(), &[]);
    }

    pub(crate) fn published(&self, webhooks: usize, time: Duration) {
        self.fill.record(webhooks as u64, &[]);
        self.published.record(time.as_secs_f64(), &[]);
    }
}
