//! What the dispatcher measures of itself: see `docs/metrics.md`. How the channels stand is on the [board](crate::board).

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};
use staffetta_domain::Lane;
use staffetta_runtime::telemetry::{meter, seconds};

/// The instruments, made once.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    sends: Counter<u64>,
    channel_sends: Counter<u64>,
    /// From the request to its answer.
    pub(crate) duration: Histogram<f64>,
    lag: Histogram<f64>,
    /// Queue entries of commands that were known already.
    pub(crate) copies: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let counter = |name, description| meter().u64_counter(name).with_description(description).build();
        Self {
            sends: counter("staffetta.dispatcher.sends", "Requests to the provider, by outcome"),
            channel_sends: counter(
                "staffetta.channel.sends",
                "Requests to the provider, by channel and outcome",
            ),
            duration: seconds("staffetta.dispatcher.send.duration", "From a request to its answer"),
            lag: seconds(
                "staffetta.dispatcher.lag",
                "From a command's place in the queue to the provider's acceptance",
            ),
            copies: counter(
                "staffetta.dispatcher.copies",
                "Queue entries of commands that were known already",
            ),
        }
    }

    /// Counts a request of a channel, which is named by its labels: accepted, a class of refusal, not_sent, in_doubt.
    pub(crate) fn sent(&self, [tenant, channel]: &[KeyValue; 2], outcome: &'static str) {
        let outcome = KeyValue::new("outcome", outcome);
        self.channel_sends.add(1, &[tenant.clone(), channel.clone(), outcome.clone()]);
        self.sends.add(1, &[outcome]);
    }

    /// How long a command took from its place in the queue to the provider's acceptance, in seconds.
    pub(crate) fn accepted_after(&self, seconds: f64, lane: Lane) {
        self.lag.record(seconds.max(0.0), &[KeyValue::new("lane", lane.as_str())]);
    }
}
