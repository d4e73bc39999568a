//! The streams, looked at every so often.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use staffetta_bus::{Bus, ConsumerState, StreamError, StreamState};
use staffetta_runtime::telemetry::meter;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// How often NATS is asked.
const EVERY: Duration = Duration::from_secs(15);

/// What NATS said last, of what it answered for.
#[derive(Debug, Default)]
struct Seen {
    streams: Vec<StreamState>,
    consumer: Option<ConsumerState>,
}

/// Looks until `stop`.
pub(super) async fn watch(bus: Bus, stop: CancellationToken) -> anyhow::Result<()> {
    let seen = Arc::<Mutex<Seen>>::default();
    show(&seen);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let looked = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            looked = look(&bus) => looked,
        };
        *lock(&seen) = looked;
    }
}

/// What is there now. A figure that may be old is worse than none: its absence is an alarm of its own.
async fn look(bus: &Bus) -> Seen {
    let (streams, consumer) = tokio::join!(bus.stream_states(), bus.recorder_consumer());
    let streams = streams.into_iter().filter_map(|(_, state)| answered(state)).collect();
    Seen { streams, consumer: answered(consumer) }
}

fn answered<T>(state: Result<Option<T>, StreamError>) -> Option<T> {
    state.unwrap_or_else(|failure| {
        debug!(error = &failure as &dyn std::error::Error, "NATS could not be looked at");
        None
    })
}

fn show(seen: &Arc<Mutex<Seen>>) {
    let stream = |name, unit, description, value: fn(&StreamState) -> Option<f64>| {
        let seen = Arc::clone(seen);
        meter()
            .f64_observable_gauge(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |gauge| {
                for stream in &lock(&seen).streams {
                    if let Some(value) = value(stream) {
                        gauge.observe(value, &[KeyValue::new("stream", stream.name)]);
                    }
                }
            })
            .build();
    };
    stream("staffetta.stream.messages", "", "Messages in the stream", |state| Some(state.messages as f64));
    stream("staffetta.stream.size", "By", "Bytes in the stream", |state| Some(state.bytes as f64));
    stream("staffetta.stream.limit", "By", "Bytes that it may hold, where it has a limit", |state| {
        state.max_bytes.map(|limit| limit as f64)
    });
    stream("staffetta.stream.oldest", "s", "Age of the oldest message; 0 if there is none", |state| {
        Some(state.oldest.unwrap_or_default().as_secs_f64())
    });
    stream("staffetta.stream.replicas", "", "Copies that are wanted", |state| Some(state.replicas as f64));
    stream("staffetta.stream.replicas.current", "", "Copies that are there and up to date", |state| {
        Some(state.current as f64)
    });

    let consumer = |name, description, value: fn(&ConsumerState) -> u64| {
        let seen = Arc::clone(seen);
        meter()
            .u64_observable_gauge(name)
            .with_description(description)
            .with_callback(move |gauge| {
                if let Some(state) = &lock(&seen).consumer {
                    let labels =
                        [KeyValue::new("stream", state.stream), KeyValue::new("consumer", state.name)];
                    gauge.observe(value(state), &labels);
                }
            })
            .build();
    };
    consumer("staffetta.consumer.pending", "Messages that were not handed out yet", |state| state.pending);
    consumer("staffetta.consumer.in_flight", "Messages handed out and not acknowledged", |state| {
        state.in_flight
    });
    consumer("staffetta.consumer.redelivered", "Of these, handed out more than once", |state| {
        state.redelivered
    });
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
