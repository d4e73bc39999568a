//! From leaves to rows and announcements.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use staffetta_bus::{DeadLetter, PublishError};
use staffetta_domain::{EventType, Leaf};
use staffetta_runtime::RetryPolicy;
use staffetta_runtime::crash::crash_point;
use staffetta_store::{Announcement, StoreError};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::Recorder;
use crate::envelope::{Contents, letter};

/// Most leaves of one round trip to the database.
const CHUNK: usize = 500;
/// Letters that are written at a time.
const LETTERS: usize = 32;
/// Tries with envelopes in hand, some 40 seconds in all; after that they go back to WEBHOOKS.
const RETRY: RetryPolicy =
    RetryPolicy { first: Duration::from_millis(50), longest: Duration::from_secs(5), waits: 14 };

/// Why envelopes could not be finished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stuck {
    /// Nothing can be taken from WEBHOOKS.
    #[error("WEBHOOKS could not be read")]
    Intake(#[source] async_nats::Error),
    /// The database does not take them.
    #[error("leaves could not be recorded")]
    Store(#[source] StoreError),
    /// A letter could not be written.
    #[error("a dead letter could not be written")]
    Dead(#[source] PublishError),
    /// The process stops while one of the others is in the way.
    #[error("stopping")]
    Stopped,
}

/// What became of some leaves.
enum Recorded {
    /// They are recorded, and these events are new.
    New(Vec<Announcement>),
    /// They are recorded, by this try or unheard by an earlier one: which events are new the database must tell.
    Perhaps,
    /// The database refuses one of them for good, and has recorded none.
    Refused,
}

impl Recorder {
    /// Records every leaf and announces the new ones, in order. Gives back letters about leaves that the database
    /// refuses.
    pub(crate) async fn record(
        &self,
        contents: &Contents,
        stop: &CancellationToken,
    ) -> Result<Vec<DeadLetter>, Stuck> {
        let mut letters = Vec::new();
        let all = contents.leaves.len();
        let mut ranges: Vec<_> =
            (0..all).step_by(CHUNK).map(|start| start..all.min(start + CHUNK)).rev().collect();
        while let Some(range) = ranges.pop() {
            match self.record_chunk(&contents.leaves[range.clone()], stop).await? {
                Recorded::New(announcements) => self.announce(announcements, stop).await?,
                Recorded::Perhaps => self.announcer.catch_up(stop).await,
                // Halved until the one that is refused stands alone.
                Recorded::Refused if range.len() > 1 => {
                    let middle = range.start + range.len() / 2;
                    ranges.push(middle..range.end);
                    ranges.push(range.start..middle);
                }
                Recorded::Refused => letters.push(refusal(contents, range.start)),
            }
        }
        Ok(letters)
    }

    /// Records some leaves, all or none.
    async fn record_chunk(&self, leaves: &[Leaf], stop: &CancellationToken) -> Result<Recorded, Stuck> {
        let mut waits = RETRY.waits(rand::random());
        let mut tries = 0;
        loop {
            tries += 1;
            let failure = match self.store.record(leaves).await {
                Ok(announcements) => {
                    crash_point("recorder.recorded");
                    let is_leaf =
                        |announcement: &&Announcement| announcement.event.kind != EventType::CommandAccepted;
                    let new = announcements.iter().filter(is_leaf).count();
                    self.metrics.duplicates.add(leaves.len().saturating_sub(new) as u64, &[]);
                    return Ok(if tries == 1 { Recorded::New(announcements) } else { Recorded::Perhaps });
                }
                // It is the leaf's fault only if the database is otherwise as it must be.
                Err(refused @ StoreError::Refused(_)) => {
                    match self.store.unannounced(Timestamp::now(), 1).await {
                        Ok(_) => {
                            warn!(
                                error = &refused as &dyn std::error::Error,
                                leaves = leaves.len(),
                                "leaves refused"
                            );
                            return Ok(Recorded::Refused);
                        }
                        Err(_) => refused,
                    }
                }
                Err(failure) => failure,
            };
            self.wait(waits.next(), failure, stop).await?;
        }
    }

    /// Announces events and marks them. What can't be announced for long is left to the sweep.
    async fn announce(
        &self,
        mut announcements: Vec<Announcement>,
        stop: &CancellationToken,
    ) -> Result<(), Stuck> {
        if announcements.is_empty() {
            return Ok(());
        }
        // Again before anything newer is announced: so the order within a conversation holds through an outage.
        for _ in 0..3 {
            let published = self.announcer.publish(&announcements).await;
            crash_point("recorder.announced");
            self.mark(&published.seqs, stop).await?;
            crash_point("recorder.marked");
            if published.left == 0 || stop.is_cancelled() {
                break;
            }
            let told: HashSet<i64> = published.seqs.into_iter().collect();
            announcements.retain(|announcement| !told.contains(&announcement.seq));
        }
        Ok(())
    }

    async fn mark(&self, seqs: &[i64], stop: &CancellationToken) -> Result<(), Stuck> {
        let mut waits = RETRY.waits(rand::random());
        while let Err(failure) = self.announcer.mark(seqs).await {
            self.wait(waits.next(), failure, stop).await?;
        }
        Ok(())
    }

    /// Waits before another try, unless there is none left or the process stops.
    async fn wait(
        &self,
        wait: Option<Duration>,
        failure: StoreError,
        stop: &CancellationToken,
    ) -> Result<(), Stuck> {
        self.fit.store(false, std::sync::atomic::Ordering::Relaxed);
        let Some(wait) = wait else { return Err(Stuck::Store(failure)) };
        warn!(error = &failure as &dyn std::error::Error, "the database is in the way, trying again");
        tokio::select! {
            () = stop.cancelled() => Err(Stuck::Stopped),
            () = sleep(wait) => Ok(()),
        }
    }

    /// Writes letters; each is on DEAD afterwards.
    pub(crate) async fn write_letters(&self, letters: impl Iterator<Item = DeadLetter>) -> Result<(), Stuck> {
        let writing = stream::iter(letters).map(|letter| async move { self.dead.write(&letter).await });
        writing.buffer_unordered(LETTERS).try_collect::<()>().await.map_err(Stuck::Dead)
    }
}

fn refusal(contents: &Contents, index: usize) -> DeadLetter {
    let event = &contents.leaves[index].event;
    let payload = contents.found[contents.origins[index].found].webhook();
    let detail = format!("event {} is refused by the database", event.id);
    DeadLetter {
        tenant: Some(event.tenant.clone()),
        channel: Some(event.channel.clone()),
        ..letter("refused", detail, "staffetta.v1.webhook.0", payload)
    }
}
