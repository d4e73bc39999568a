//! The recorder's consumer of WEBHOOKS: there, and read.

use std::time::Duration;

use staffetta_bus::{Bus, ConsumerState, StreamError};
use tokio::time::sleep;

use super::finding::{Area, Finding, Notes};
use super::patient::within;

/// How often it is looked at before it is said that nobody reads: a recorder that has just been given a batch asks for
/// the next one a moment later.
const LOOKS: u32 = 8;
const BETWEEN: Duration = Duration::from_millis(250);
/// More envelopes than this are a backlog.
const BACKLOG: u64 = 1_000;

pub(super) async fn examine(bus: &Bus) -> Vec<Finding> {
    let mut notes = Notes::of(Area::Nats);
    match within(look(bus)).await {
        Ok(Some((consumer, is_read))) => judge(&consumer, is_read, &mut notes),
        Ok(None) => notes.error(
            "nats.recorder",
            None,
            "WEBHOOKS has no consumer `recorder`: webhooks are stored, and no event comes of them",
            "Start the recorder: it makes the consumer. If one runs, its log says why it could not.",
        ),
        Err(why) => notes.error(
            "nats.recorder",
            None,
            format!("the consumer can't be looked at: {why}"),
            "See what is said of the stream WEBHOOKS.",
        ),
    }
    notes.end()
}

/// The consumer, and whether anybody reads.
async fn look(bus: &Bus) -> Result<Option<(ConsumerState, bool)>, StreamError> {
    let mut looks = 0;
    loop {
        let Some(consumer) = bus.recorder_consumer().await? else { return Ok(None) };
        let is_read = consumer.waiting > 0;
        looks += 1;
        if is_read || looks == LOOKS {
            return Ok(Some((consumer, is_read)));
        }
        sleep(BETWEEN).await;
    }
}

fn judge(consumer: &ConsumerState, is_read: bool, notes: &mut Notes) {
    let ConsumerState { pending, in_flight, redelivered, .. } = consumer;
    let seen = format!(
        "{pending} envelopes wait, {in_flight} are at work, {redelivered} of them not for the first time"
    );
    if !is_read && *in_flight == 0 {
        notes.error(
            "nats.recorder",
            None,
            format!("{seen}; nobody reads"),
            "No recorder runs, or none is connected to NATS: start one, or look at its log and its /readyz.",
        );
    } else if *redelivered > 0 {
        notes.warning(
            "nats.recorder",
            None,
            seen,
            "Envelopes come again that were not acknowledged within 30 s: a recorder was killed, or the database is too \
             slow. Look at the area database if the figure does not go back to 0.",
        );
    } else if *pending > BACKLOG {
        notes.warning(
            "nats.recorder",
            None,
            seen,
            "Webhooks come faster than they are recorded. Look again in a minute; if the figure grows, add recorders, \
             and see whether the database is the limit.",
        );
    } else {
        notes.ok("nats.recorder", None, seen);
    }
}
