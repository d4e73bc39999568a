//! What the recorder measures of itself.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};
use staffetta_runtime::telemetry::{meter, seconds};

use crate::envelope::Contents;

#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    leaves: Counter<u64>,
    pub(crate) duplicates: Counter<u64>,
    pub(crate) batch_size: Histogram<u64>,
    pub(crate) batch_duration: Histogram<f64>,
    pub(crate) lag: Histogram<f64>,
    pub(crate) received: Counter<u64>,
    pub(crate) statuses: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = meter();
        Self {
            leaves: meter
                .u64_counter("staffetta.recorder.leaves")
                .with_description("Leaves taken from webhooks, by kind")
                .build(),
            duplicates: meter
                .u64_counter("staffetta.recorder.duplicates")
                .with_description("Leaves that had been recorded before")
                .build(),
            batch_size: meter
                .u64_histogram("staffetta.recorder.batch.size")
                .with_description("Envelopes taken from WEBHOOKS at a time")
                .with_boundaries(vec![1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0])
                .build(),
            batch_duration: seconds(
                "staffetta.recorder.batch.duration",
                "From envelopes in hand to their acknowledgement",
            ),
            lag: seconds("staffetta.recorder.lag", "From a webhook's arrival to its events on EVENTS"),
            received: meter
                .u64_counter("staffetta.channel.received")
                .with_description("Messages received: they count in the channel's rate")
                .build(),
            statuses: meter
                .u64_counter("staffetta.channel.statuses")
                .with_description("Statuses of messages that the channel sent")
                .build(),
        }
    }

    pub(crate) fn count(&self, contents: &Contents) {
        for origin in &contents.origins {
            self.leaves.add(1, &[KeyValue::new("kind", origin.kind.as_str())]);
        }
        for letter in &contents.letters {
            self.leaves.add(1, &[KeyValue::new("kind", letter.reason)]);
        }
    }
}
