//! Claims and outcomes on their way to the database, many channels' together in each statement.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use staffetta_domain::{ChannelId, CommandId, Event, Leaf, TenantId};
use staffetta_outbox::Announcer;
use staffetta_runtime::RetryPolicy;
use staffetta_runtime::crash::crash_point;
use staffetta_store::{
    Announcement, ChannelHold, Claim, Claimed, CommandRecord, OutboxPlace, Outcome, RecentSend, Scheduled,
    Store, StoreError,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// Hands claims and outcomes to the database. Clones share one writer for each.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    claims: mpsc::Sender<Job<Claim>>,
    outcomes: mpsc::Sender<Job<Outcome>>,
    scheduled: mpsc::Sender<Job<Scheduled>>,
    tell: mpsc::WeakSender<Vec<Announcement>>,
    store: Store,
}

#[derive(Debug)]
struct Job<T: Row> {
    items: Vec<T>,
    reply: oneshot::Sender<Vec<Option<T::Reply>>>,
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

impl Row for Scheduled {
    type Reply = bool;

    async fn write(store: &Store, rows: &[Self]) -> Result<(Vec<bool>, Vec<Announcement>), StoreError> {
        let waiting = store.schedule(rows).await?;
        crash_point("dispatcher.scheduled");
        Ok((waiting, Vec::new()))
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
        let (scheduled, scheduled_jobs) = mpsc::channel(QUEUE);
        let (tell, mut to_tell) = mpsc::channel::<Vec<Announcement>>(TOLD_LATER);
        let ledger = Self { claims, outcomes, scheduled, tell: tell.downgrade(), store: store.clone() };
        let writers = async move {
            let claiming = write(claim_jobs, store.clone(), abandon.clone(), tell.clone());
            let settling = write(outcome_jobs, store.clone(), abandon.clone(), tell.clone());
            let scheduling = write(scheduled_jobs, store, abandon.clone(), tell);
            let telling = abandon.run_until_cancelled(async move {
                while let Some(announcements) = to_tell.recv().await {
                    announcer.announce(&announcements).await;
                }
            });
            tokio::join!(claiming, settling, scheduling, telling);
            Ok(())
        };
        (ledger, writers)
    }

    /// Asks for the right to send these commands; answers in their order. `None` for each that the database will never
    /// take.
    ///
    /// # Errors
    /// If the ledger has ended.
    pub(crate) async fn claim(&self, claims: Vec<Claim>) -> anyhow::Result<Vec<Option<Claimed>>> {
        submit(&self.claims, claims).await
    }

    /// Writes what became of a command. False if the database will never take it.
    ///
    /// # Errors
    /// If the ledger has ended.
    pub(crate) async fn settle(&self, outcome: Outcome) -> anyhow::Result<bool> {
        let taken = submit(&self.outcomes, vec![outcome]).await?;
        Ok(taken.iter().all(Option::is_some))
    }

    /// Tells an event that belongs to no command.
    ///
    /// # Errors
    /// If the database does not take it.
    pub(crate) async fn note(&self, event: Event) -> Result<(), StoreError> {
        let told = self.store.record(&[Leaf::of_event(event)]).await?;
        let passed_on = self.tell.upgrade().is_some_and(|tell| tell.try_send(told).is_ok());
        if !passed_on {
            warn!("an event waits for the sweeper: announcing is behind");
        }
        Ok(())
    }

    /// Why the channel waits, and what left it since then.
    ///
    /// # Errors
    /// If the database does not answer.
    pub(crate) async fn history(
        &self,
        tenant: &TenantId,
        channel: &ChannelId,
        since: Timestamp,
    ) -> Result<(Option<ChannelHold>, Vec<RecentSend>), StoreError> {
        let hold = self.store.hold(tenant, channel).await?;
        Ok((hold, self.store.recent_sends(tenant, channel, since).await?))
    }

    /// Why the channel waits, if it does.
    ///
    /// # Errors
    /// If the database does not answer.
    pub(crate) async fn hold(
        &self,
        tenant: &TenantId,
        channel: &ChannelId,
    ) -> Result<Option<ChannelHold>, StoreError> {
        self.store.hold(tenant, channel).await
    }

    /// Keeps why the channel waits, or that it does not.
    ///
    /// # Errors
    /// If the database does not take it.
    pub(crate) async fn keep_hold(
        &self,
        tenant: &TenantId,
        channel: &ChannelId,
        hold: Option<&ChannelHold>,
    ) -> Result<(), StoreError> {
        match hold {
            Some(hold) => self.store.put_hold(hold).await,
            None => self.store.lift_hold(tenant, channel).await.map(|_| ()),
        }
    }

    /// Keeps commands until they are due; answers in their order. False for each that is known otherwise, `None` for
    /// each that the database will never take.
    ///
    /// # Errors
    /// If the ledger has ended.
    pub(crate) async fn schedule(&self, scheduled: Vec<Scheduled>) -> anyhow::Result<Vec<Option<bool>>> {
        submit(&self.scheduled, scheduled).await
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

async fn submit<T: Row>(jobs: &mpsc::Sender<Job<T>>, items: Vec<T>) -> anyhow::Result<Vec<Option<T::Reply>>> {
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
        replies.push((job.reply, job.items.len()));
        rows.extend(job.items);
    }
    let mut results: Vec<Option<T::Reply>> = Vec::with_capacity(rows.len());
    let mut ranges = Vec::new();
    let mut next = Some(0..rows.len());
    while let Some(range) = next.take().or_else(|| ranges.pop()) {
        match persist(&rows[range.clone()], abandon, store).await {
            Some(Ok((written, told))) => {
                if !told.is_empty() && tell.try_send(told).is_err() {
                    warn!("events wait for the sweeper: announcing is behind");
                }
                results.extend(written.into_iter().map(Some));
            }
            // Halved until the row that is to blame stands alone, so that all others go through.
            Some(Err(_)) if range.len() > 1 => {
                let middle = range.start + range.len() / 2;
                ranges.push(middle..range.end);
                ranges.push(range.start..middle);
            }
            Some(Err(refused)) => {
                let refused: &dyn std::error::Error = &refused;
                error!(error = refused, "the database will not take a command's state");
                results.push(None);
            }
            // Without an answer the jobs' owners see that the ledger has ended.
            None => return,
        }
    }
    for (reply, count) in replies {
        let rest = results.split_off(count.min(results.len()));
        let _ = reply.send(std::mem::replace(&mut results, rest));
    }
}

/// Tries until the database has taken or refused the rows. `None` if `abandon` came first.
async fn persist<T: Row>(
    rows: &[T],
    abandon: &CancellationToken,
    store: &Store,
) -> Option<Result<(Vec<T::Reply>, Vec<Announcement>), StoreError>> {
    let mut sound = false;
    for wait in AGAIN.waits(rows.len() as u64) {
        let written = abandon.run_until_cancelled(T::write(store, rows)).await?;
        match written {
            Ok(done) => return Some(Ok(done)),
            // It is the rows' fault only if the database was as it must be before they were refused, and is after it: one
            // that has just been mended refused them for another reason.
            Err(refused @ StoreError::Refused(_)) => {
                let was_sound = sound;
                sound = abandon.run_until_cancelled(is_sound(store)).await?;
                if was_sound && sound {
                    return Some(Err(refused));
                }
                if sound {
                    continue;
                }
                let refused: &dyn std::error::Error = &refused;
                error!(error = refused, "the database is not as it must be, trying again");
            }
            Err(failure) => {
                sound = false;
                let failure: &dyn std::error::Error = &failure;
                warn!(error = failure, "the database is away, trying again");
            }
        }
        abandon.run_until_cancelled(sleep(wait)).await?;
    }
    None
}

/// Whether the database has its tables and can be written to.
async fn is_sound(store: &Store) -> bool {
    let nobody = TenantId::from_str("nobody").map(|tenant| (tenant, CommandId::made_up(&[])));
    let Ok(nobody) = nobody else { return false };
    // No event has this number: nothing changes.
    let nowhere = OutboxPlace { batch: -1, seq: -1 };
    store.commands(&[nobody]).await.is_ok() && store.announced(&[nowhere]).await.is_ok()
}
