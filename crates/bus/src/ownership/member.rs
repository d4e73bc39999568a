//! One tenure of this process among the owners: follows the bucket, takes and gives back parts.

mod upkeep;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv;
use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::bucket::{ANSWER, Bucket, Extent, Listing, Written, apply};
use super::plan::{Asked, Former, Own, Phase, Step, plan};
use super::record::{Life, PartRecord, member_key, part_key};
use super::view::View;
use super::{Change, Returned};
use crate::lease::{Lease, Tenure, boot_time};

/// Longest wait for parts to come back after the stop.
const LEAVING: Duration = Duration::from_secs(25);
/// How often it is made sure that nothing was missed.
const CHECK: Duration = Duration::from_secs(5);
/// When to look again if something may have been.
const CHECK_SOON: Duration = Duration::from_millis(500);
/// Pause before something that failed is tried again.
const AGAIN: Duration = Duration::from_millis(100);
/// The largest handover that is kept: it must fit into one message, as text.
const HANDOVER: usize = 512 * 1024;

/// How a tenure ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Its leases were lost.
    Lost,
    /// It was stopped, and everything is back.
    AllBack,
    /// It was stopped, and not everything came back in time.
    Overdue,
    /// Nobody listens any more.
    Abandoned,
}

/// What some work came to.
enum Done {
    Taken { part: u16, record: PartRecord, handover: Option<Bytes>, written: Written },
    Released { part: u16, record: PartRecord, written: Written },
    Declared { member: String, written: Written },
    Buried,
    Listed(Result<Box<Listing>, async_nats::Error>),
    Checked(Result<Extent, async_nats::Error>),
    Swept(Vec<String>),
}

/// Parts that changed since it was last told.
#[derive(Default, PartialEq, Eq)]
struct Tally {
    gained: u32,
    given_back: u32,
    lost: u32,
}

/// See the module.
pub(super) struct Member<'a> {
    bucket: &'a Bucket,
    id: &'a str,
    former: Option<&'a Former>,
    tenure: &'a Arc<Tenure>,
    life: Life,
    view: View,
    /// Revision up to which the view is whole; `None` before the first listing.
    through: Option<u64>,
    watch: Option<kv::Watch>,
    phases: BTreeMap<u16, Phase>,
    leases: BTreeMap<u16, Lease>,
    resting: BTreeMap<String, Duration>,
    /// At most two for each part: its gaining, and its asking back.
    outbox: VecDeque<Change>,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    /// When to list anew; `None` while that is under way, or not needed.
    list_at: Option<Duration>,
    /// When to make sure again; `None` while that is under way.
    check_at: Option<Duration>,
    /// What the bucket held at the last check.
    checked: Option<Extent>,
    tally: Tally,
}

impl<'a> Member<'a> {
    /// A member whose first heartbeat has this revision.
    pub(super) fn new(
        bucket: &'a Bucket,
        id: &'a str,
        former: Option<&'a Former>,
        tenure: &'a Arc<Tenure>,
        revision: u64,
    ) -> Self {
        let now = boot_time();
        Self {
            bucket,
            id,
            former,
            tenure,
            life: Life::Live,
            view: View::new(bucket.group(), bucket.vacancy(revision), now),
            through: None,
            watch: None,
            phases: BTreeMap::new(),
            leases: BTreeMap::new(),
            resting: BTreeMap::new(),
            outbox: VecDeque::new(),
            work: FuturesUnordered::new(),
            list_at: Some(now),
            check_at: Some(now + CHECK),
            checked: None,
            tally: Tally::default(),
        }
    }

    /// Owns its share until the tenure is lost or, after `stop`, until everything is back. `leaving` is fired then, for
    /// the heartbeat to say so.
    pub(super) async fn serve(
        mut self,
        changes: &mpsc::Sender<Change>,
        returned: &mut mpsc::Receiver<Returned>,
        stop: &CancellationToken,
        leaving: &CancellationToken,
    ) -> Ended {
        let mut listening = true;
        let overdue = sleep(Duration::MAX);
        tokio::pin!(overdue);
        loop {
            let wake = self.step();
            self.tell();
            if self.life == Life::Leaving && self.phases.is_empty() {
                return Ended::AllBack;
            }
            if !listening && !self.leases.is_empty() {
                return Ended::Abandoned;
            }
            tokio::select! {
                () = self.tenure.lost().cancelled() => {
                    info!(parts_of = self.group(), lost = self.leases.len(), "parts lost");
                    return Ended::Lost;
                }
                () = stop.cancelled(), if self.life == Life::Live => {
                    self.life = Life::Leaving;
                    leaving.cancel();
                    overdue.set(sleep(LEAVING));
                }
                () = &mut overdue, if self.life == Life::Leaving => {
                    warn!(parts_of = self.group(), parts = self.leases.len(), "parts were not given back in time");
                    return Ended::Overdue;
                }
                entry = next(&mut self.watch) => self.seen(entry),
                Some(done) = self.work.next(), if !self.work.is_empty() => self.done(done),
                back = returned.recv(), if listening => match back {
                    Some(back) => self.take_back(back),
                    None => listening = false,
                },
                room = changes.reserve(), if !self.outbox.is_empty() => match room {
                    Ok(room) => if let Some(change) = self.outbox.pop_front() { room.send(change) },
                    Err(_) => return Ended::Abandoned,
                },
                () = sleep(wake) => {}
            }
        }
    }

    fn group(&self) -> &'static str {
        self.bucket.group().name()
    }

    /// Starts what is to be done now. Gives back how long nothing else is.
    fn step(&mut self) -> Duration {
        let now = boot_time();
        let mut wake = CHECK;
        for (at, begin) in [(&mut self.list_at, Begin::List), (&mut self.check_at, Begin::Check)] {
            let Some(due) = *at else { continue };
            if due > now {
                wake = wake.min(due - now);
                continue;
            }
            *at = None;
            let bucket = self.bucket.clone();
            self.work.push(match begin {
                Begin::List => async move { Done::Listed(bucket.list().await) }.boxed(),
                Begin::Check => async move { Done::Checked(bucket.extent().await) }.boxed(),
            });
        }
        if self.through.is_none() {
            return wake;
        }
        self.resting.retain(|_, until| *until > now);
        let own = Own {
            id: self.id,
            former: self.former,
            life: self.life,
            phases: &self.phases,
            resting: &self.resting,
        };
        let plan = plan(&self.view, &own, now);
        for step in plan.steps {
            self.begin(step, now);
        }
        plan.wake.map_or(wake, |at| wake.min(at.saturating_sub(now)))
    }

    fn begin(&mut self, step: Step, now: Duration) {
        let bucket = self.bucket.clone();
        match step {
            Step::Take { part, revision } => {
                let from = self.view.parts.get(&part).map(|seen| &seen.value);
                let record = PartRecord::taken(self.id, from);
                let handover = record.handover();
                self.phases.insert(part, Phase::Busy);
                let taking = async move {
                    let written = bucket
                        .write(&part_key(bucket.group(), part), record.to_json(), revision, ANSWER)
                        .await;
                    Done::Taken { part, record, handover, written }
                };
                self.work.push(taking.boxed());
            }
            Step::PassOn { part, revision } => {
                let handover = self.view.parts.get(&part).and_then(|seen| seen.value.handover());
                self.release(part, revision, handover.as_ref());
            }
            Step::GiveBack { part } => {
                if let Some(Phase::Held { asked, .. }) = self.phases.get_mut(&part) {
                    *asked = Asked::Back;
                    self.outbox.push_back(Change::GiveBack { part });
                }
            }
            Step::Lose { part } => {
                warn!(part, "a part's entry was changed by somebody who does not own it: the part is lost");
                self.phases.remove(&part);
                if let Some(lease) = self.leases.remove(&part) {
                    lease.end();
                }
                self.tally.lost += 1;
            }
            Step::Declare { member, revision } => {
                self.resting.insert(member.clone(), now + ANSWER);
                let declaring = async move {
                    let dead = Life::Dead.to_json();
                    let written =
                        bucket.write(&member_key(bucket.group(), &member), dead, revision, ANSWER).await;
                    Done::Declared { member, written }
                };
                self.work.push(declaring.boxed());
            }
            Step::Bury { member, revision } => {
                self.resting.insert(member.clone(), now + CHECK);
                let burying = async move {
                    bucket.delete(&member_key(bucket.group(), &member), revision).await;
                    Done::Buried
                };
                self.work.push(burying.boxed());
            }
        }
    }

    /// Writes the part's entry as given back, again and again as long as the tenure lasts.
    fn release(&mut self, part: u16, revision: u64, handover: Option<&Bytes>) {
        self.phases.insert(part, Phase::Busy);
        let (bucket, lost) = (self.bucket.clone(), self.tenure.lost().clone());
        let record = PartRecord::released(self.id, handover);
        let releasing = async move {
            loop {
                let written =
                    bucket.write(&part_key(bucket.group(), part), record.to_json(), revision, ANSWER).await;
                if written != Written::Unknown || lost.is_cancelled() {
                    return Done::Released { part, record, written };
                }
                sleep(AGAIN).await;
            }
        };
        self.work.push(releasing.boxed());
    }

    fn take_back(&mut self, Returned { part, handover }: Returned) {
        let Some(Phase::Held { revision, .. }) = self.phases.get(&part).copied() else {
            debug!(part, "a part came back that is not held any more");
            return;
        };
        // What comes back late from a session that lost its lease must not end the new one's.
        if !self.leases.get(&part).is_some_and(Lease::has_ended) {
            warn!(part, "a part came back whose lease has not ended: it stays");
            return;
        }
        self.leases.remove(&part);
        self.tally.given_back += 1;
        let handover = handover.filter(|handover| {
            let fits = handover.len() <= HANDOVER;
            if !fits {
                warn!(part, bytes = handover.len(), "a handover is too large: the next owner waits instead");
            }
            fits
        });
        self.release(part, revision, handover.as_ref());
    }

    fn done(&mut self, done: Done) {
        let now = boot_time();
        match done {
            Done::Taken { part, record, handover, written: Written::As(revision) } => {
                self.view.apply(&part_key(self.view.group, part), revision, Some(&record.to_json()), now);
                if self.life == Life::Live {
                    let lease = Lease::new(self.bucket.epoch(revision), self.tenure);
                    self.phases.insert(part, Phase::Held { revision, asked: Asked::Not });
                    self.leases.insert(part, lease.clone());
                    self.tally.gained += 1;
                    self.outbox.push_back(Change::Gained { part, lease, handover });
                } else {
                    self.release(part, revision, handover.as_ref());
                }
            }
            Done::Taken { part, .. } => self.rest(part, now),
            Done::Released { part, record, written } => {
                if let Written::As(revision) = written {
                    self.view.apply(&part_key(self.view.group, part), revision, Some(&record.to_json()), now);
                    self.phases.remove(&part);
                } else {
                    self.rest(part, now);
                }
            }
            Done::Declared { member, written: Written::As(revision) } => {
                info!(parts_of = self.group(), "a process that owned parts is silent: declared dead");
                self.view.apply(
                    &member_key(self.view.group, &member),
                    revision,
                    Some(&Life::Dead.to_json()),
                    now,
                );
            }
            Done::Declared { .. } => self.check_soon(now),
            Done::Buried => {}
            Done::Listed(Ok(listing)) => {
                let through = listing.show(&mut self.view);
                self.through = self.through.max(Some(through));
                self.watch = Some(listing.watch);
                self.checked = None;
                self.notice_own_end();
            }
            Done::Listed(Err(error)) => {
                debug!(%error, "LEASES could not be listed");
                self.list_at = Some(now + AGAIN);
            }
            Done::Checked(extent) => self.compare(extent, now),
            Done::Swept(keys) => {
                for key in keys {
                    self.view.forget(&key, now);
                }
            }
        }
    }

    /// Somebody else may have written the part's entry: leave it for a moment.
    fn rest(&mut self, part: u16, now: Duration) {
        self.phases.remove(&part);
        self.resting.insert(part_key(self.view.group, part), now + AGAIN);
        self.check_soon(now);
    }

    fn check_soon(&mut self, now: Duration) {
        self.check_at = self.check_at.map(|at| at.min(now + CHECK_SOON));
    }

    fn seen(&mut self, entry: Option<Result<kv::Entry, kv::WatcherError>>) {
        match entry {
            Some(Ok(entry)) => {
                apply(&mut self.view, &entry, boot_time());
                self.through = self.through.max(Some(entry.revision));
                self.notice_own_end();
            }
            Some(Err(_)) | None => {
                self.watch = None;
                self.list_at = Some(boot_time() + AGAIN);
            }
        }
    }

    /// Another process may have declared this one dead: then the heartbeat need not find out.
    fn notice_own_end(&self) {
        if self.view.members.get(self.id).is_some_and(|own| own.value == Life::Dead) {
            self.tenure.lose();
        }
    }

    /// Logs what changed, once for all that changed together.
    fn tell(&mut self) {
        let busy = self.phases.values().any(|phase| *phase == Phase::Busy);
        if !busy && self.tally != Tally::default() {
            let Tally { gained, given_back, lost } = std::mem::take(&mut self.tally);
            info!(
                parts_of = self.group(),
                gained,
                given_back,
                lost,
                held = self.leases.len(),
                "parts changed hands"
            );
        }
    }
}

#[derive(Clone, Copy)]
enum Begin {
    List,
    Check,
}

/// The next entry; none comes while nothing is watched.
async fn next(watch: &mut Option<kv::Watch>) -> Option<Result<kv::Entry, kv::WatcherError>> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}
