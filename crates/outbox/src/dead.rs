//! Writing to DEAD.

use std::time::Duration;

use bytes::Bytes;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use staffetta_bus::{Bus, DeadLetter, PublishError, dead_letter_message, dead_subject};
use staffetta_runtime::telemetry::meter;
use tokio::time::Instant;
use tracing::warn;

/// Longest time to write one letter, with all its tries.
const LIMIT: Duration = Duration::from_secs(10);

/// Writes what could not be processed to DEAD. Clones share the connection.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    bus: Bus,
    written: Counter<u64>,
}

impl DeadLetters {
    /// Writes over `bus`.
    pub fn new(bus: Bus) -> Self {
        let written = meter()
            .u64_counter("staffetta.dead_letters")
            .with_description("Letters written to DEAD, by component and reason")
            .build();
        Self { bus, written }
    }

    /// Afterwards the letter is on DEAD; writing it again within two minutes keeps the one that is there. A payload
    /// that is larger than NATS takes is left out, and the letter's detail says so.
    ///
    /// # Errors
    /// If NATS did not store it within ten seconds. Whatever the letter is about must then not be acknowledged.
    pub async fn write(&self, letter: &DeadLetter) -> Result<(), PublishError> {
        match self.publish(letter).await {
            Err(PublishError::TooLarge) => {
                let detail =
                    format!("{} (a payload of {} bytes is left out)", letter.detail, letter.payload.len());
                self.publish(&DeadLetter { detail, payload: Bytes::new(), ..letter.clone() }).await?;
            }
            outcome => outcome?,
        }
        warn!(
            id = %letter.id,
            service = letter.service,
            tenant = letter.tenant.as_ref().map(tracing::field::display),
            channel = letter.channel.as_ref().map(tracing::field::display),
            reason = letter.reason,
            detail = letter.detail,
            "dead letter"
        );
        self.written
            .add(1, &[KeyValue::new("component", letter.service), KeyValue::new("reason", letter.reason)]);
        Ok(())
    }

    async fn publish(&self, letter: &DeadLetter) -> Result<(), PublishError> {
        let subject = dead_subject(letter.service, letter.tenant.as_ref(), letter.channel.as_ref());
        let (headers, payload) = dead_letter_message(letter);
        let deadline = Instant::now() + LIMIT;
        self.bus.publish(subject, letter.id.as_str(), headers, payload, deadline).await.map(drop)
    }
}
