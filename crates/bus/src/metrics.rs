//! What a connection measures of itself, in the words of the semantic conventions for messaging.

use std::time::Duration;

use opentelemetry::metrics::Histogram;
use opentelemetry::{KeyValue, global};

use crate::streams::{DEAD, EVENTS, SEND, WEBHOOKS};

/// The instruments of a connection. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    operations: Histogram<f64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let operations = global::meter("staffetta")
            .f64_histogram("messaging.client.operation.duration")
            .with_unit("s")
            .with_description("From a publish to its acknowledgement, by stream")
            .build();
        Self { operations }
    }

    /// A publish to this subject, of one message or of some as one, has ended; `failure` is one of few words.
    pub(crate) fn published(&self, subject: &str, took: Duration, failure: Option<&'static str>) {
        let labels = [
            KeyValue::new("messaging.system", "nats"),
            KeyValue::new("messaging.operation.name", "publish"),
            KeyValue::new("messaging.destination.name", stream_of(subject)),
            KeyValue::new("error.type", failure.unwrap_or_default()),
        ];
        let said = if failure.is_some() { &labels[..] } else { &labels[..3] };
        self.operations.record(took.as_secs_f64(), said);
    }
}

/// The stream of a subject that something is published on.
fn stream_of(subject: &str) -> &'static str {
    match subject.strip_prefix("staffetta.v1.").and_then(|rest| rest.split('.').next()) {
        Some("webhook") => WEBHOOKS,
        Some("send") => SEND,
        Some("event") => EVENTS,
        Some("dead") => DEAD,
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_subject_is_of_its_stream() {
        let streams = [
            (crate::webhook_subject(0), WEBHOOKS),
            ("staffetta.v1.send.acme.acme-orders.normal".to_owned(), SEND),
            ("staffetta.v1.event.acme.acme-orders.message-received".to_owned(), EVENTS),
            (crate::dead_subject("recorder", None, None), DEAD),
            ("staffetta.v1.received.acme-orders".to_owned(), "other"),
            ("staffetta.v2.event.acme".to_owned(), "other"),
        ];
        for (subject, stream) in streams {
            assert_eq!(stream_of(&subject), stream, "{subject}");
        }
    }
}
