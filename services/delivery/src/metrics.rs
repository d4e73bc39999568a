//! What the service measures of itself: see `docs/metrics.md`. How the endpoints fare is on the [board](crate::board).

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};
use staffetta_runtime::telemetry::{meter, requested, seconds};
use tokio::time::Instant;

use crate::guard::{Answer, NoAnswer};

/// The instruments, made once. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    attempts: Counter<u64>,
    endpoint_attempts: Counter<u64>,
    /// From a request to its answer, by format.
    pub(crate) duration: Histogram<f64>,
    /// From an event's place on EVENTS to its delivery.
    pub(crate) lag: Histogram<f64>,
    /// Tries that are missing in the attempt log.
    pub(crate) unlogged: Counter<u64>,
    /// Events that were given up, by reason.
    pub(crate) given_up: Counter<u64>,
    requests: Histogram<f64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let counter = |name, description| meter().u64_counter(name).with_description(description).build();
        Self {
            attempts: counter("staffetta.delivery.attempts", "Tries, by outcome and format"),
            endpoint_attempts: counter("staffetta.endpoint.attempts", "Tries, by endpoint and outcome"),
            duration: seconds("staffetta.delivery.duration", "From a request to its answer"),
            lag: seconds("staffetta.delivery.lag", "From an event's place on EVENTS to its delivery"),
            unlogged: counter("staffetta.delivery.unlogged", "Tries that are missing in the attempt log"),
            given_up: counter("staffetta.delivery.given_up", "Events that were given up, by reason"),
            requests: requested(),
        }
    }

    /// Counts a try at an endpoint, which is named by its labels: delivered, unsaid, failed, refused, gone, missing,
    /// not_now.
    pub(crate) fn tried(
        &self,
        [tenant, endpoint]: &[KeyValue; 2],
        outcome: &'static str,
        format: &'static str,
    ) {
        let outcome = KeyValue::new("outcome", outcome);
        self.endpoint_attempts.add(1, &[tenant.clone(), endpoint.clone(), outcome.clone()]);
        self.attempts.add(1, &[outcome, KeyValue::new("format", format)]);
    }

    /// Notes a request that was begun then, under the names of the semantic conventions. One that the guard kept back
    /// was none.
    pub(crate) fn requested(&self, begun: Instant, outcome: &Result<Answer, NoAnswer>) {
        let (method, peer) =
            (KeyValue::new("http.request.method", "POST"), KeyValue::new("peer", "endpoint"));
        let status = |answer: &Answer| KeyValue::new("http.response.status_code", i64::from(answer.status));
        let failure = error_type(outcome).map(|failure| KeyValue::new("error.type", failure));
        let seconds = begun.elapsed().as_secs_f64();
        match (outcome, failure) {
            (Ok(answer), None) => self.requests.record(seconds, &[method, peer, status(answer)]),
            (Ok(answer), Some(failure)) => {
                self.requests.record(seconds, &[method, peer, status(answer), failure]);
            }
            (Err(NoAnswer::Url | NoAnswer::Forbidden | NoAnswer::Plain), _) => {}
            (Err(_), failure) => {
                let labels: Vec<_> = [method, peer].into_iter().chain(failure).collect();
                self.requests.record(seconds, &labels);
            }
        }
    }
}

/// What went wrong with a request, in few words; a status that is no success is named by its number.
pub(crate) fn error_type(outcome: &Result<Answer, NoAnswer>) -> Option<String> {
    match outcome {
        Ok(answer) if answer.status >= 400 => Some(answer.status.to_string()),
        Ok(_) => None,
        Err(error) => Some(error.name().to_owned()),
    }
}
