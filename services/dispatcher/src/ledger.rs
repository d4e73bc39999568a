//! Claims and outcomes on their way to the database, many channels' together in each statement.

use std::time::Duration;

use anyhow::{Context, bail};
use staffetta_domain::{CommandId, Event, Leaf, TenantId};
use staffetta_outbox::Announcer;
use staffetta_runtime::RetryPolicy;
use staffetta_runtime::crash::crash_point;
use staffetta_store::{Announcement, Claim, Claimed, CommandRecord, Outcome, Store, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// Hands claims and outcomes to the database. Clones share one writer for each.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    claims: mpsc::Sender<Job<Claim>>,
    outcomes: mpsc::Sender<Job<Outcome>>,
    tell: mpsc::WeakSender<Vec<Announcement>>,
    store: Store,
}

#[derive(Debug)]
struct Job<T: Row> {
    items: Vec<T>,
    reply: oneshot::Sender<Option<Vec<T::Reply>>>,
}

/// What one statement writes many of.
trait Row: Sized + Send + Sync {
    /// What the database says of each.
    type Reply: Send;

    /// Writes all of them; answers in their order, and the events to tell.
    fn write(
        store: &Store,
        rows: &[Self],
    ) -> impl Future<Output = Result<(Vec<Self::Reply>, Vec<Announcement>), StoreError>> + Send;
}

impl Row for Claim {
    type Reply = Claimed;

    async fn write(store: &Store, rows: &[Self]) -> Result<(Vec<Claimed>, Vec<Announcement>), StoreError> {
        store.claim(rows).await
    }
}

impl Row for Outcome {
    type Reply = ();

    async fn write(store: &Store, rows: &[Self]) -> Result<(Vec<()>, Vec<Announcement>), StoreError> {
        let told = store.settle(rows).await?;
        crash_point("dispatcher.settled");
        Ok((vec![(); rows.len()], told))
    }
}

/// Jobs that may wait for a writer.
const QUEUE: usize = 1_024;
/// Most rows of one statement.
const MAX_ROWS: usize = 500;
/// Batches of events that may wait to be told; what is beyond is told by the sweeper.
const TOLD_LATER: usize = 256;

/// How long the database may be away at a time before somebody is told again.
const AGAIN: RetryPolicy =
    RetryPolicy { first: Duration::from_millis(50), longest: Duration::from_secs(2), waits: u32::MAX };

impl Ledger {
    /// The ledger, and the task that runs it until every clone of it is gone, or until `abandon`.
    pub(crate) fn new(
        store: Store,
        announcer: Announcer,
        abandon: CancellationToken,
    ) -> (Self, impl Future<Output = anyhow::Result<()>> + Send) {
        let (claims, claim_jobs) = mpsc::channel(QUEUE);
        let (outcomes, outcome_jobs) = mpsc::channel(QUEUE);
        let (tell, mut to_tell) = mpsc::channel::<Vec<Announcement>>(TOLD_LATER);
        let ledger = Self { claims, outcomes, tell: tell.downgrade(), store: store.clone() };
        let writers = async move {
            let claiming = write(claim_jobs, store.clone(), abandon.clone(), tell.clone());
            let settling = write(outcome_jobs, store, abandon, tell);
            let telling = async move {
                while let Some(announcements) = to_tell.recv().await {
                    announcer.announce(&announcements).await;
                }
            };
            tokio::join!(claiming, settling, telling);
            Ok(())
        };
        (ledger, writers)
    }

    /// Asks for the right to send these commands; answers in their order. `None` for all if the database will never
    /// take them.
    ///
    /// # Errors
    /// If the ledger has ended.
    pub(crate) async fn claim(&self, claims: Vec<Claim>) -> anyhow::Result<Option<Vec<Claimed>>> {
        submit(&self.claims, claims).await
    }

    /// Writes what became of commands. False if the database will never take it.
    ///
    /// # Errors
    /// If the ledger has ended.
    pub(crate) async fn settle(&self, outcome: Outcome) -> anyhow::Result<bool> {
        Ok(submit(&self.outcomes, vec![outcome]).await?.is_some())
    }

    /// Tells an event that belongs to no command.
    ///
    /// # Errors
    /// If the database does not take it.
    pub(crate) async fn note(&self, event: Event) -> Result<(), StoreError> {
        let told = self.store.record(&[Leaf { event, message: None, settles: None }]).await?;
        let passed_on = self.tell.upgrade().is_some_and(|tell| tell.try_send(told).is_ok());
        if !passed_on {
            warn!("an event waits for the sweeper: announcing is behind");
        }
        Ok(())
    }

    /// How far these commands have come, as the recorder sees it too.
    ///
    /// # Errors
    /// If the database does not answer.
    pub(crate) async fn standing(
        &self,
        keys: &[(TenantId, CommandId)],
    ) -> Result<Vec<Option<CommandRecord>>, StoreError> {
        self.store.commands(keys).await
    }
}

async fn submit<T: Row>(jobs: &mpsc::Sender<Job<T>>, items: Vec<T>) -> anyhow::Result<Option<Vec<T::Reply>>> {
    let (reply, answer) = oneshot::channel();
    if jobs.send(Job { items, reply }).await.is_err() {
        bail!("the ledger has ended");
    }
    answer.await.context("the ledger has ended")
}

/// Writes jobs as they come: those that came while the last statement ran share the next one.
async fn write<T: Row>(
    mut jobs: mpsc::Receiver<Job<T>>,
    store: Store,
    abandon: CancellationToken,
    tell: mpsc::Sender<Vec<Announcement>>,
) {
    let mut together = Vec::new();
    loop {
        let next = tokio::select! {
            () = abandon.cancelled() => return,
            next = jobs.recv() => next,
        };
        let Some(first) = next else { return };
        let mut rows = first.items.len();
        together.push(first);
        while rows < MAX_ROWS {
            let Ok(job) = jobs.try_recv() else { break };
            rows += job.items.len();
            together.push(job);
        }
        write_together(&mut together, &abandon, &tell, &store).await;
    }
}

async fn write_together<T: Row>(
    jobs: &mut Vec<Job<T>>,
    abandon: &CancellationToken,
    tell: &mpsc::Sender<Vec<Announcement>>,
    store: &Store,
) {
    let (mut rows, mut replies) = (Vec::new(), Vec::new());
    for job in jobs.drain(..) {
        let from = rows.len();
        rows.extend(job.items);
        replies.push((job.reply, from..rows.len()));
    }
    match persist(&rows, abandon, store).await {
        Some(Ok((mut results, told))) => {
            if !told.is_empty() && tell.try_send(told).is_err() {
                warn!("events wait for the sweeper: announcing is behind");
            }
            for (reply, range) in replies {
                let rest = results.split_off(range.len().min(results.len()));
                let _ = reply.send(Some(std::mem::replace(&mut results, rest)));
            }
        }
        // One job's rows are to blame: each goes alone, so that the others' go through.
        Some(Err(_)) if replies.len() > 1 => {
            for (reply, range) in replies {
                match persist(&rows[range], abandon, store).await {
                    Some(Ok((results, told))) => {
                        let _ = tell.try_send(told);
                        let _ = reply.send(Some(results));
                    }
                    Some(Err(refused)) => refuse(&refused, reply),
                    None => {}
                }
            }
        }
        Some(Err(refused)) => {
            for (reply, _) in replies {
                refuse(&refused, reply);
            }
        }
        None => {}
    }
}

fn refuse<R>(refused: &StoreError, reply: oneshot::Sender<Option<Vec<R>>>) {
    error!(error = %refused, "the database will not take a command's state");
    let _ = reply.send(None);
}

/// Tries until the database has taken or refused the rows. `None` if `abandon` came first.
async fn persist<T: Row>(
    rows: &[T],
    abandon: &CancellationToken,
    store: &Store,
) -> Option<Result<(Vec<T::Reply>, Vec<Announcement>), StoreError>> {
    for wait in AGAIN.waits(rows.len() as u64) {
        let written = tokio::select! {
            () = abandon.cancelled() => return None,
            written = T::write(store, rows) => written,
        };
        match written {
            Err(StoreError::Unavailable(error)) => warn!(%error, "the database is away, trying again"),
            done => return Some(done),
        }
        tokio::select! {
            () = abandon.cancelled() => return None,
            () = sleep(wait) => {}
        }
    }
    None
}
