//! The first stage: from leaves to rows.

use std::time::Duration;

use jiff::Timestamp;
use staffetta_bus::DeadLetter;
use staffetta_domain::{EventType, Leaf};
use staffetta_runtime::RetryPolicy;
use staffetta_runtime::crash::crash_point;
use staffetta_runtime::trace::Span;
use staffetta_store::{Announcement, Store, StoreError};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::Stuck;
use crate::envelope::{Contents, refusal};
use crate::fitness::{Ability, Fitness};
use crate::hands::Held;
use crate::intake::Group;
use crate::metrics::Metrics;
use crate::news;

/// Most leaves of one transaction.
const CHUNK: usize = 500;
/// Tries with envelopes in hand, some 40 seconds in all; after that they go back to WEBHOOKS.
const RETRY: RetryPolicy =
    RetryPolicy { first: Duration::from_millis(50), longest: Duration::from_secs(5), waits: 14 };

/// A group that is recorded, as far as it is.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// The envelopes; `None` if they went back because not all of them could be recorded.
    pub(crate) held: Option<Held>,
    /// The events that are new, in order.
    pub(crate) announcements: Vec<Announcement>,
    /// Whether there may be events that are committed and that nobody has heard of: the outbox has to tell, these ones
    /// too.
    pub(crate) unheard: bool,
    pub(crate) letters: Vec<DeadLetter>,
    /// When each webhook arrived.
    pub(crate) arrivals: Vec<Timestamp>,
    /// The work on each webhook, and on each status that belongs to a command's trace.
    pub(crate) spans: Vec<Span>,
    pub(crate) steps: Vec<Span>,
    /// When the envelopes came.
    pub(crate) start: Instant,
}

impl Recorded {
    /// What is being done for the webhooks did not work; they come again.
    pub(crate) fn failed(&mut self, stuck: &Stuck) {
        for span in &mut self.spans {
            span.fail(stuck.code());
        }
    }
}

/// What became of some leaves.
enum Outcome {
    /// They are recorded, by this try or unheard by an earlier one, and these events are new.
    Recorded(Vec<Announcement>),
    /// The database refuses one of them for good, and has recorded none.
    Refused,
}

/// Writes leaves into the database.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) store: Store,
    pub(crate) metrics: Metrics,
    pub(crate) fitness: Fitness,
    /// Whether a transaction may have been committed without an answer, and nothing was recorded since. What comes
    /// after it in a conversation waits for its locks, so the next answer says that it has ended.
    pub(crate) doubt: bool,
}

impl Recording {
    /// Records groups, in order, and hands them on. After `stop` it finishes those that were taken; once one of them
    /// can't be, the others go back.
    pub(crate) async fn run(
        mut self,
        mut groups: Receiver<Group>,
        recorded: Sender<Recorded>,
        stop: CancellationToken,
    ) {
        let mut well = true;
        while let Some(group) = groups.recv().await {
            if stop.is_cancelled() && !well {
                group.held.give_back().await;
                continue;
            }
            let Group { held, mut contents, start } = group;
            let mut done = Recorded {
                held: None,
                announcements: Vec::new(),
                unheard: false,
                letters: Vec::new(),
                arrivals: Vec::new(),
                spans: std::mem::take(&mut contents.spans),
                steps: Vec::new(),
                start,
            };
            let outcome = self.record(&contents, &mut done, &stop).await;
            well = outcome.is_ok();
            self.fitness.note(Ability::Record, well);
            let failure = match outcome {
                Ok(()) => {
                    done.held = Some(held);
                    done.arrivals = contents.arrivals;
                    done.letters.extend(contents.letters);
                    None
                }
                Err(stuck) => {
                    held.give_back().await;
                    done.failed(&stuck);
                    Some(stuck)
                }
            };
            if recorded.send(done).await.is_err() {
                return;
            }
            crash_point("recorder.staged");
            if let Some(stuck) = failure {
                self.recover(&stuck, &stop).await;
            }
        }
    }

    /// Records every leaf. What `done` says holds also after an error.
    async fn record(
        &mut self,
        contents: &Contents,
        done: &mut Recorded,
        stop: &CancellationToken,
    ) -> Result<(), Stuck> {
        let all = contents.leaves.len();
        let mut ranges: Vec<_> =
            (0..all).step_by(CHUNK).map(|start| start..all.min(start + CHUNK)).rev().collect();
        while let Some(range) = ranges.pop() {
            let outcome = self.record_chunk(&contents.leaves[range.clone()], stop).await;
            // An answer ends the doubt about all that was asked before it; until the outbox is looked through it stays.
            done.unheard |= self.doubt;
            match outcome? {
                Outcome::Recorded(announcements) => {
                    self.doubt = false;
                    done.steps.extend(news::note(contents, range, &announcements, &self.metrics));
                    done.announcements.extend(announcements);
                }
                // Halved until the one that is refused stands alone.
                Outcome::Refused if range.len() > 1 => {
                    let middle = range.start + range.len() / 2;
                    ranges.push(middle..range.end);
                    ranges.push(range.start..middle);
                }
                Outcome::Refused => done.letters.push(refusal(contents, range.start)),
            }
        }
        Ok(())
    }

    /// Records some leaves, all or none.
    async fn record_chunk(&mut self, leaves: &[Leaf], stop: &CancellationToken) -> Result<Outcome, Stuck> {
        let mut waits = RETRY.waits(rand::random());
        let mut sound = false;
        loop {
            let failure = match self.store.record(leaves).await {
                Ok(announcements) => {
                    crash_point("recorder.recorded");
                    let is_leaf =
                        |announcement: &&Announcement| announcement.event.kind != EventType::CommandAccepted;
                    let new = announcements.iter().filter(is_leaf).count();
                    self.metrics.duplicates.add(leaves.len().saturating_sub(new) as u64, &[]);
                    return Ok(Outcome::Recorded(announcements));
                }
                // It is the leaf's fault only if the database was as it must be before the refusal, and is after it: one
                // that has just been mended refused for another reason.
                Err(refused @ StoreError::Refused(_)) => {
                    let was_sound = sound;
                    sound = self.answers().await;
                    if sound && !was_sound {
                        continue;
                    }
                    if sound {
                        warn!(
                            error = &refused as &dyn std::error::Error,
                            leaves = leaves.len(),
                            "leaves refused"
                        );
                        return Ok(Outcome::Refused);
                    }
                    refused
                }
                Err(failure) => {
                    sound = false;
                    self.doubt = true;
                    failure
                }
            };
            self.fitness.note(Ability::Record, false);
            let Some(wait) = waits.next() else { return Err(Stuck::Store(failure)) };
            warn!(error = &failure as &dyn std::error::Error, "the database is in the way, trying again");
            tokio::select! {
                () = stop.cancelled() => return Err(Stuck::Stopped),
                () = sleep(wait) => {}
            }
        }
    }

    /// Whether the database answers and has its tables.
    async fn answers(&self) -> bool {
        self.store.unannounced(Timestamp::now(), 1).await.is_ok()
    }

    /// Takes nothing more until the database answers, or `stop`.
    async fn recover(&self, stuck: &Stuck, stop: &CancellationToken) {
        if stop.is_cancelled() {
            return;
        }
        warn!(error = stuck as &dyn std::error::Error, "recording is stuck, trying again");
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(RETRY.longest) => {}
            }
            if self.answers().await {
                return self.fitness.note(Ability::Record, true);
            }
        }
    }
}
