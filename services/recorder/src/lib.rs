//! Turns raw webhooks into events, each exactly once; keeps messages, statuses and conversations.
//!
//! Envelopes are taken from WEBHOOKS and taken apart (`intake`), recorded in one transaction for some hundreds of
//! leaves (`record`), told on EVENTS, marked as told, and acknowledged (`tell`). What counts in a channel's rate is told
//! before all that (`receipts`). The order is the point: whatever dies between two steps leaves work that comes again, and coming again changes nothing. The stages work side by
//! side, on one group of envelopes after the other, so that the database has the next leaves while the last ones are
//! being told.

mod envelope;
mod fitness;
mod hands;
mod intake;
mod metrics;
mod news;
mod numbers;
mod outbox;
mod prune;
mod receipts;
mod record;
mod routing;
mod tell;

use std::time::Duration;

use anyhow::Context;
use staffetta_bus::{Bus, PublishError, RegistryView};
use staffetta_outbox::{Announcer, DeadLetters};
use staffetta_runtime::Health;
use staffetta_runtime::config::RecorderConfig;
use staffetta_store::{Store, StoreError};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::fitness::Fitness;
use crate::hands::Hands;
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::numbers::Numbers;
use crate::outbox::Outbox;
use crate::prune::Pruning;
use crate::record::Recording;
use crate::tell::Telling;

/// Groups that are taken apart and wait to be recorded.
const TAKEN_APART: usize = 1;
/// Groups that are recorded and wait to be told.
const RECORDED: usize = 2;

/// The service.
#[derive(Debug)]
pub struct Recorder {
    intake: Intake,
    recording: Recording,
    telling: Telling,
    announcer: Announcer,
    pruning: Pruning,
    numbers: Numbers,
    outbox: Outbox,
    hands: Hands,
}

/// Why envelopes could not be finished.
#[derive(Debug, thiserror::Error)]
enum Stuck {
    /// The database does not take them.
    #[error("the database does not answer as it should")]
    Store(#[source] StoreError),
    /// A letter could not be written.
    #[error("a dead letter could not be written")]
    Dead(#[source] PublishError),
    /// Older events are in the way.
    #[error("older events could not be told yet")]
    Behind,
    /// The process stops while one of the others is in the way.
    #[error("stopping")]
    Stopped,
}

impl Stuck {
    /// One of few words for it, for traces.
    fn code(&self) -> &'static str {
        match self {
            Self::Store(failure) => failure.code(),
            Self::Dead(failure) => failure.code(),
            Self::Behind => "behind",
            Self::Stopped => "stopped",
        }
    }
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
        let (hands, fitness, metrics) = (Hands::default(), Fitness::new(), Metrics::new());
        let (probe, connection) = (fitness.clone(), bus.clone());
        health.add("recorder", move || probe.is_fit() && connection.is_connected());
        let announcer = Announcer::new(bus.clone(), registry.clone(), store.clone());
        let interval = Duration::from_secs(config.prune_interval_seconds);
        Ok(Self {
            pruning: Pruning::new(store.clone(), registry.clone(), interval),
            numbers: Numbers {
                store: store.clone(),
                registry: registry.clone(),
                announcer: announcer.clone(),
            },
            outbox: Outbox::new(store.clone()),
            intake: Intake {
                bus: bus.clone(),
                registry,
                consumer,
                batch: config.batch.max(1),
                hands: hands.clone(),
                metrics: metrics.clone(),
                fitness: fitness.clone(),
            },
            recording: Recording { store, metrics: metrics.clone(), fitness: fitness.clone(), doubt: false },
            telling: Telling {
                announcer: announcer.clone(),
                dead: DeadLetters::new(bus.clone()),
                bus,
                metrics,
                fitness,
                behind: true,
            },
            announcer,
            hands,
        })
    }

    /// Records until `stop`, then finishes what it has taken. What can't be finished, because NATS or the database is
    /// away, goes back to WEBHOOKS. Also sweeps up events that were recorded and never announced,
    /// whoever did so, deletes what tenants no longer keep, and tells when a number changes hands.
    ///
    /// # Errors
    /// If one of its parts panics. Whatever fails otherwise is tried again.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let (taken, groups) = mpsc::channel(TAKEN_APART);
        let (done, recorded) = mpsc::channel(RECORDED);
        let mut parts = JoinSet::new();
        parts.spawn(self.intake.run(taken, stop.clone()));
        parts.spawn(self.recording.run(groups, done, stop.clone()));
        parts.spawn(self.telling.run(recorded, stop.clone()));
        parts.spawn(self.announcer.sweep(stop.clone()));
        parts.spawn(self.pruning.run(stop.clone()));
        parts.spawn(self.outbox.run(stop.clone()));
        parts.spawn(self.numbers.run(stop));
        let all = async {
            while let Some(ended) = parts.join_next().await {
                ended.context("a part of the recorder died")?;
            }
            Ok(())
        };
        tokio::select! {
            ended = all => ended,
            never = self.hands.keep() => match never {},
        }
    }
}

/// Its future may run on any thread.
const _: fn(Recorder) = |recorder| {
    fn sendable(_: impl Send) {}
    sendable(recorder.run(CancellationToken::new()));
};
