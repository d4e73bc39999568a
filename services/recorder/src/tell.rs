//! The second stage: what is recorded is told, marked and acknowledged.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use staffetta_bus::{Bus, DeadLetter};
use staffetta_outbox::{Announcer, DeadLetters};
use staffetta_runtime::RetryPolicy;
use staffetta_runtime::crash::crash_point;
use staffetta_store::{Announcement, OutboxPlace};
use tokio::sync::mpsc::Receiver;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::Stuck;
use crate::envelope::fitting;
use crate::fitness::{Ability, Fitness};
use crate::metrics::Metrics;
use crate::record::Recorded;

/// Letters that are written at a time.
const LETTERS: usize = 32;
/// Between looks through the outbox while nothing else comes.
const PAUSE: Duration = Duration::from_secs(1);
/// Tries with envelopes in hand, some 40 seconds in all; after that they go back to WEBHOOKS.
const RETRY: RetryPolicy =
    RetryPolicy { first: Duration::from_millis(50), longest: Duration::from_secs(5), waits: 14 };

/// Tells what is recorded.
#[derive(Debug)]
pub(crate) struct Telling {
    pub(crate) bus: Bus,
    pub(crate) announcer: Announcer,
    pub(crate) dead: DeadLetters,
    pub(crate) metrics: Metrics,
    pub(crate) fitness: Fitness,
    /// Whether events may be left in the outbox. Until it has been looked through nothing newer is told, or one of
    /// their conversations would be told out of order.
    pub(crate) behind: bool,
}

impl Telling {
    /// Finishes groups, in order, until there will be no more.
    pub(crate) async fn run(mut self, mut recorded: Receiver<Recorded>, stop: CancellationToken) {
        // What a recorder before this one left is older than anything that is still on WEBHOOKS.
        self.behind = !self.announcer.catch_up(&stop).await;
        loop {
            let group = tokio::select! {
                biased;
                group = recorded.recv() => group,
                () = sleep(PAUSE), if self.behind => {
                    self.behind = !self.announcer.catch_up(&stop).await;
                    self.fitness.note(Ability::Tell, !self.behind);
                    continue;
                }
            };
            let Some(mut group) = group else { return };
            let outcome = self.finish(&mut group, &stop).await;
            self.fitness.note(Ability::Tell, outcome.is_ok() && !self.behind);
            if let Err(stuck) = outcome {
                warn!(error = &stuck as &dyn std::error::Error, "events could not be told");
                group.failed(&stuck);
                if let Some(held) = group.held {
                    held.give_back().await;
                }
            }
        }
    }

    async fn finish(&mut self, group: &mut Recorded, stop: &CancellationToken) -> Result<(), Stuck> {
        self.behind |= group.unheard;
        if self.behind {
            // The group's own events are in the outbox too.
            self.catch_up(stop).await?;
        } else if !group.announcements.is_empty() {
            self.announce(&group.announcements, stop).await?;
        }
        group.steps.clear();
        let Some(held) = &group.held else { return Ok(()) };
        self.write_letters(&group.letters).await?;
        let unsettled = held.settle().await;
        crash_point("recorder.acked");
        if unsettled > 0 {
            warn!(
                unsettled,
                "envelopes were recorded but not acknowledged: they come again, and change nothing"
            );
        }
        self.metrics.batch_duration.record(group.start.elapsed().as_secs_f64(), &[]);
        let now = Timestamp::now();
        for received_at in &group.arrivals {
            self.metrics.lag.record(now.duration_since(*received_at).as_secs_f64().max(0.0), &[]);
        }
        debug!(
            envelopes = held.len(),
            webhooks = group.arrivals.len(),
            events = group.announcements.len(),
            "recorded"
        );
        Ok(())
    }

    /// Tells all that is in the outbox.
    async fn catch_up(&mut self, stop: &CancellationToken) -> Result<(), Stuck> {
        let mut waits = RETRY.waits(rand::random());
        while !self.announcer.catch_up(stop).await {
            self.fitness.note(Ability::Tell, false);
            wait(waits.next().ok_or(Stuck::Behind)?, stop).await?;
        }
        self.behind = false;
        Ok(())
    }

    /// Announces events and marks them. Those that can't be announced are safe in the outbox.
    async fn announce(
        &mut self,
        announcements: &[Announcement],
        stop: &CancellationToken,
    ) -> Result<(), Stuck> {
        if stop.is_cancelled() && !self.bus.is_connected() {
            return Err(Stuck::Stopped);
        }
        let published = self.announcer.publish(announcements).await;
        self.behind = published.left > 0;
        crash_point("recorder.announced");
        self.mark(&published.places, stop).await?;
        crash_point("recorder.marked");
        Ok(())
    }

    async fn mark(&self, places: &[OutboxPlace], stop: &CancellationToken) -> Result<(), Stuck> {
        let mut waits = RETRY.waits(rand::random());
        while let Err(failure) = self.announcer.mark(places).await {
            self.fitness.note(Ability::Tell, false);
            let Some(next) = waits.next() else { return Err(Stuck::Store(failure)) };
            warn!(error = &failure as &dyn std::error::Error, "the database is in the way, trying again");
            wait(next, stop).await?;
        }
        Ok(())
    }

    /// Writes letters; each is on DEAD afterwards.
    async fn write_letters(&self, letters: &[DeadLetter]) -> Result<(), Stuck> {
        let largest = self.bus.max_payload();
        let write = async |letter: &DeadLetter| self.dead.write(&fitting(letter, largest)).await;
        // Boxed, or the compiler can't tell that the whole may move between threads.
        let writing: Vec<BoxFuture<'_, _>> = letters.iter().map(|letter| write(letter).boxed()).collect();
        stream::iter(writing).buffer_unordered(LETTERS).try_collect::<()>().await.map_err(Stuck::Dead)
    }
}

/// Waits before another try, unless the process stops.
async fn wait(time: Duration, stop: &CancellationToken) -> Result<(), Stuck> {
    tokio::select! {
        () = stop.cancelled() => Err(Stuck::Stopped),
        () = sleep(time) => Ok(()),
    }
}
