//! Turns raw webhooks into events, each exactly once; keeps messages and statuses.
//!
//! One batch of envelopes at a time: taken from WEBHOOKS, taken apart, recorded in one round trip to the database,
//! told on EVENTS, marked as told, acknowledged. The order is the point: whatever dies between two steps leaves work
//! that comes again, and coming again changes nothing.

mod envelope;
mod intake;
mod metrics;
mod record;
mod routing;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use async_nats::jetstream::Message;
use jiff::Timestamp;
use staffetta_bus::{Bus, RegistryView};
use staffetta_outbox::{Announcer, DeadLetters};
use staffetta_runtime::config::RecorderConfig;
use staffetta_runtime::crash::crash_point;
use staffetta_runtime::{Health, RetryPolicy};
use staffetta_store::Store;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::envelope::Contents;
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::record::Stuck;

/// Between tries to reach NATS or the database, for as long as they are away.
const RETRY: RetryPolicy =
    RetryPolicy { first: Duration::from_millis(100), longest: Duration::from_secs(5), waits: u32::MAX };
/// Most bytes of envelopes that are taken apart at a time, unless one alone is larger: in memory they become many
/// times as much.
const GROUP_BYTES: usize = 1 << 20;

/// The service.
#[derive(Debug)]
pub struct Recorder {
    bus: Bus,
    registry: RegistryView,
    store: Store,
    announcer: Announcer,
    dead: DeadLetters,
    intake: Intake,
    metrics: Metrics,
    /// Whether the last thing tried with NATS and with the database worked.
    fit: Arc<AtomicBool>,
}

impl Recorder {
    /// Finds its consumer of WEBHOOKS. Adds the check `recorder` to `health`, which fails while NATS or the database
    /// can't be reached.
    ///
    /// # Errors
    /// If NATS does not answer, or WEBHOOKS is not set up.
    pub async fn new(
        config: &RecorderConfig,
        bus: Bus,
        registry: RegistryView,
        store: Store,
        health: &Health,
    ) -> anyhow::Result<Self> {
        let consumer = bus.webhook_consumer().await.context("opening the recorder's consumer")?;
        let fit = Arc::new(AtomicBool::new(true));
        let (probe, connection) = (Arc::clone(&fit), bus.clone());
        health.add("recorder", move || probe.load(Ordering::Relaxed) && connection.is_connected());
        Ok(Self {
            announcer: Announcer::new(bus.clone(), registry.clone(), store.clone()),
            dead: DeadLetters::new(bus.clone()),
            intake: Intake::new(consumer, config.batch),
            metrics: Metrics::new(),
            bus,
            registry,
            store,
            fit,
        })
    }

    /// Records until `stop`, then finishes the batch in hand. What can't be finished, because NATS or the database is
    /// away, goes back to WEBHOOKS. Also sweeps up events that were recorded and never announced, whoever did so.
    ///
    /// # Errors
    /// Never: whatever fails is tried again.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let sweep = self.announcer.clone().sweep(stop.clone());
        tokio::join!(Box::pin(self.consume(&stop)), Box::pin(sweep));
        Ok(())
    }

    async fn consume(&mut self, stop: &CancellationToken) {
        // What a recorder before this one left. Older than anything that is still on WEBHOOKS, so it goes first.
        self.announcer.catch_up(stop).await;
        let mut waits = RETRY.waits(rand::random());
        while !stop.is_cancelled() {
            let outcome = match self.intake.next(stop).await {
                Ok(batch) => self.handle(&batch, stop).await,
                Err(failure) => Err(self.reopen(failure).await),
            };
            self.fit.store(outcome.is_ok(), Ordering::Relaxed);
            match outcome {
                Ok(()) => waits = RETRY.waits(rand::random()),
                Err(Stuck::Stopped) => return,
                Err(stuck) => {
                    warn!(error = &stuck as &dyn std::error::Error, "recording is stuck, trying again");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = sleep(waits.next().unwrap_or(RETRY.longest)) => {}
                    }
                }
            }
        }
    }

    /// The consumer may be gone, with the whole stream: made anew, it starts with what is there.
    async fn reopen(&mut self, failure: async_nats::Error) -> Stuck {
        if self.bus.is_connected() {
            match self.bus.webhook_consumer().await {
                Ok(consumer) => self.intake.replace(consumer),
                Err(failure) => return Stuck::Intake(failure.into()),
            }
        }
        Stuck::Intake(failure)
    }

    /// Handles what was fetched, in order, without letting NATS hand it to another meanwhile.
    async fn handle(&self, batch: &[Message], stop: &CancellationToken) -> Result<(), Stuck> {
        if batch.is_empty() {
            return Ok(());
        }
        crash_point("recorder.fetched");
        self.metrics.batch_size.record(batch.len() as u64, &[]);
        let mut done = 0;
        let handling = async {
            while done < batch.len() {
                let group = first_group(&batch[done..]);
                self.handle_group(group, stop).await?;
                done += group.len();
            }
            Ok(())
        };
        let outcome = tokio::select! {
            outcome = handling => outcome,
            never = intake::keep(batch) => match never {},
        };
        if outcome.is_err() {
            intake::give_back(&batch[done..]).await;
        }
        outcome
    }

    async fn handle_group(&self, group: &[Message], stop: &CancellationToken) -> Result<(), Stuck> {
        let start = Instant::now();
        let contents = Contents::of(group, &self.registry.load());
        self.metrics.count(&contents);
        let refused = self.record(&contents, stop).await?;
        self.write_letters(contents.letters.into_iter().chain(refused)).await?;
        let unsettled = intake::settle(group).await;
        crash_point("recorder.acked");
        if unsettled > 0 {
            warn!(
                unsettled,
                "envelopes were recorded but not acknowledged: they come again, and change nothing"
            );
        }
        self.metrics.batch_duration.record(start.elapsed().as_secs_f64(), &[]);
        let now = Timestamp::now();
        for received_at in &contents.arrivals {
            self.metrics.lag.record(now.duration_since(*received_at).as_secs_f64().max(0.0), &[]);
        }
        debug!(
            envelopes = group.len(),
            webhooks = contents.arrivals.len(),
            leaves = contents.leaves.len(),
            "recorded"
        );
        Ok(())
    }
}

/// The first envelopes that together hold no more than [`GROUP_BYTES`]; at least one.
fn first_group(batch: &[Message]) -> &[Message] {
    let mut bytes = 0;
    let fitting = batch.iter().take_while(|message| {
        bytes += message.payload.len();
        bytes <= GROUP_BYTES
    });
    &batch[..fitting.count().max(1)]
}

/// Its future may run on any thread.
const _: fn(Recorder) = |recorder| {
    fn sendable(_: impl Send) {}
    sendable(recorder.run(CancellationToken::new()));
};
