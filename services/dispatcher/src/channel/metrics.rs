//! What the dispatcher measures of itself.

use opentelemetry::metrics::{Counter, Histogram};
use staffetta_runtime::telemetry::{meter, seconds};

/// The instruments, made once.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Sends by outcome: accepted, a class of refusal, not_sent, in_doubt.
    pub(crate) sends: Counter<u64>,
    /// From the request to its answer.
    pub(crate) duration: Histogram<f64>,
    /// From the queue to the acceptance.
    pub(crate) lag: Histogram<f64>,
    /// Queue entries of commands that were known already.
    pub(crate) copies: Counter<u64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let counter = |name, description| meter().u64_counter(name).with_description(description).build();
        Self {
            sends: counter("staffetta.dispatcher.sends", "Requests to the provider, by outcome"),
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
}
