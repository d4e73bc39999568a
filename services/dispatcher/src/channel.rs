//! One channel's actor: reads its lanes, claims, sends within the rate, settles, purges. It owns everything it counts,
//! so nothing in it is locked. An idle actor has no timer.

mod answer;
mod claiming;
mod doubt;
mod intake;
mod metrics;
mod sending;
mod settling;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use staffetta_bus::{Batch, Channel, Lease, QueueError, Registry, SendSubject, boot_time};
use staffetta_domain::{ChannelId, Lane, TenantId};
use staffetta_runtime::crash::crash_point;
use staffetta_store::Claimed;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::Shared;
use crate::governor::Governor;
use crate::hold::{Hold, Key};
use crate::lane::{LaneState, Queued};
use crate::ledger::Ledger;

use doubt::Doubts;
pub(crate) use metrics::Metrics;
use sending::{Armed, Sent};
use settling::Settled;

/// How others reach an actor.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    notify: Notify,
    /// One bit a lane: something was stored there.
    lanes: AtomicU8,
    /// Messages that the channel received and that are not counted yet.
    received: AtomicU32,
}

impl Mailbox {
    /// Something may wait in that lane.
    pub(crate) fn wake(&self, lane: Lane) {
        self.lanes.fetch_or(1 << lane as u8, Ordering::AcqRel);
        self.notify.notify_one();
    }

    /// The channel received a message.
    pub(crate) fn received(&self) {
        self.received.fetch_add(1, Ordering::AcqRel);
        self.notify.notify_one();
    }
}

/// The actor of one channel.
pub(crate) struct ChannelActor {
    shared: Shared,
    ledger: Ledger,
    lease: Lease,
    tenant: TenantId,
    id: ChannelId,
    mailbox: Arc<Mailbox>,
    lanes: [LaneState; 3],
    reading: [bool; 3],
    claiming: [usize; 3],
    armed: [VecDeque<Armed>; 3],
    governor: Governor,
    hold: Hold,
    doubts: Doubts,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    sends: JoinSet<Sent>,
    purge_at: Option<Duration>,
    purging: [bool; 3],
    over: CancellationToken,
    stopping: bool,
}

/// Work that ended.
enum Done {
    Read(Lane, Result<Batch, QueueError>),
    Claimed(Lane, Vec<Queued>, anyhow::Result<Vec<Option<Claimed>>>),
    Settled(Vec<Settled>),
    Purged(Lane, u64, Result<(), QueueError>),
    Doubts(doubt::Standing),
    Noted,
}

/// Most commands of one read.
const READ: usize = 250;
/// Between two purges of a busy channel.
const PURGE_EVERY: Duration = Duration::from_millis(250);
/// When a lease that is about to run out, and may yet be renewed, keeps commands waiting.
const LEASE_LOOK: Duration = Duration::from_millis(50);
/// Pause before a read or a purge that failed is repeated.
const AGAIN: Duration = Duration::from_millis(200);

impl ChannelActor {
    pub(crate) fn new(
        shared: Shared,
        ledger: Ledger,
        lease: Lease,
        channel: &Channel,
        governor: Governor,
        mailbox: Arc<Mailbox>,
        over: CancellationToken,
    ) -> Self {
        Self {
            shared,
            ledger,
            lease,
            tenant: channel.tenant.id.clone(),
            id: channel.id.clone(),
            mailbox,
            lanes: std::array::from_fn(|_| LaneState::new()),
            reading: [false; 3],
            claiming: [0; 3],
            armed: std::array::from_fn(|_| VecDeque::new()),
            governor,
            hold: Hold::default(),
            doubts: Doubts::default(),
            work: FuturesUnordered::new(),
            sends: JoinSet::new(),
            purge_at: None,
            purging: [false; 3],
            over,
            stopping: false,
        }
    }

    /// Works until its session is over, until the lease is lost, or until the channel is no longer this tenant's; then ends what it
    /// began. Commands that were not sent stay in the queue. Gives back what the next actor of the channel has to count.
    ///
    /// # Errors
    /// If the ledger has ended under it.
    pub(crate) async fn run(mut self) -> anyhow::Result<Governor> {
        let mut registry = self.shared.registry.clone();
        let (lost, over) = (self.lease.lost().clone(), self.over.clone());
        loop {
            let next = self.pump()?;
            if self.stopping && self.work.is_empty() && self.sends.is_empty() {
                self.last_purge().await;
                return Ok(self.governor);
            }
            let mailbox = Arc::clone(&self.mailbox);
            tokio::select! {
                () = over.cancelled(), if !self.stopping => self.stop(),
                () = lost.cancelled(), if !self.stopping => self.stop(),
                () = registry.changed(), if !self.stopping => self.registry_changed(),
                () = mailbox.notify.notified() => self.collect_mail(),
                Some(done) = self.work.next() => self.done(done)?,
                Some(sent) = self.sends.join_next() => self.sent(sent?),
                () = sleep_until(next), if next.is_some() => {}
            }
        }
    }

    /// Starts whatever can be started now; tells when to look again without any other reason.
    fn pump(&mut self) -> anyhow::Result<Option<Duration>> {
        let now = boot_time();
        let mut next: Option<Duration> = None;
        let mut look_at = |at: Duration| next = Some(next.map_or(at, |next| next.min(at)));
        for lane in Lane::ALL {
            if let Some(at) = self.lanes[lane as usize].wake(now) {
                look_at(at);
            }
            self.read_more(lane);
        }
        if !self.stopping {
            match self.hold.until(now) {
                Some(until) => look_at(until),
                None if !self.lease.is_valid() => {
                    if self.has_work() {
                        look_at(now + LEASE_LOOK);
                    }
                }
                None => {
                    for lane in Lane::ALL {
                        self.claim_more(lane);
                    }
                    if let Some(at) = self.send_more(now) {
                        look_at(at);
                    }
                }
            }
            if let Some(at) = self.look_at_doubts(now) {
                look_at(at);
            }
        }
        if let Some(at) = self.purge(now) {
            look_at(at);
        }
        Ok(next)
    }

    fn read_more(&mut self, lane: Lane) {
        let state = &self.lanes[lane as usize];
        let room = state.room();
        if self.stopping || self.reading[lane as usize] || !state.has_more() || room < READ / 2 {
            return;
        }
        self.reading[lane as usize] = true;
        let (queue, subject, cursor) = (self.shared.queue.clone(), self.subject(lane), state.cursor);
        self.lanes[lane as usize].asked();
        self.work.push(Box::pin(async move {
            let batch = queue.read(&subject, cursor, room.min(READ)).await;
            if batch.is_err() {
                sleep(AGAIN).await;
            }
            Done::Read(lane, batch)
        }));
    }

    /// As many as leave within about a tenth of a second: what is claimed and not sent when the process dies is doubt.
    fn done(&mut self, done: Done) -> anyhow::Result<()> {
        match done {
            Done::Read(lane, batch) => {
                self.reading[lane as usize] = false;
                match batch {
                    Ok(batch) => self.take_in(lane, batch),
                    Err(error) => {
                        self.lanes[lane as usize].holds_more();
                        warn!(channel = %self.id, error = &error as &dyn std::error::Error, "reading again");
                    }
                }
                Ok(())
            }
            Done::Claimed(lane, batch, answers) => self.claimed(lane, batch, answers),
            Done::Settled(settled) => settled.into_iter().try_for_each(|settled| self.settled(settled)),
            Done::Purged(lane, floor, result) => {
                self.purging[lane as usize] = false;
                match result {
                    Ok(()) => {
                        crash_point("dispatcher.purged");
                        self.lanes[lane as usize].purged(floor);
                    }
                    Err(error) => {
                        warn!(channel = %self.id, error = &error as &dyn std::error::Error, "purging again");
                        self.purge_soon();
                    }
                }
                Ok(())
            }
            Done::Doubts(standing) => {
                self.judge_doubts(standing);
                Ok(())
            }
            Done::Noted => Ok(()),
        }
    }

    /// The command need not be read again.
    fn close(&mut self, lane: Lane, sequence: u64) {
        self.lanes[lane as usize].settled(sequence);
        self.purge_soon();
    }

    fn purge_soon(&mut self) {
        self.purge_at.get_or_insert_with(|| boot_time() + PURGE_EVERY);
    }

    fn purge(&mut self, now: Duration) -> Option<Duration> {
        let at = self.purge_at?;
        // What fails now is purged at the very end.
        if now < at || self.stopping {
            return (!self.stopping).then_some(at);
        }
        self.purge_at = None;
        for lane in Lane::ALL {
            let Some(floor) = self.lanes[lane as usize].floor() else { continue };
            if std::mem::replace(&mut self.purging[lane as usize], true) {
                self.purge_soon();
                continue;
            }
            let (queue, subject) = (self.shared.queue.clone(), self.subject(lane));
            self.work.push(Box::pin(async move {
                Done::Purged(lane, floor, queue.purge_below(&subject, floor).await)
            }));
        }
        self.purge_at
    }

    async fn last_purge(&mut self) {
        for lane in Lane::ALL {
            if let Some(floor) = self.lanes[lane as usize].floor()
                && let Err(error) = self.shared.queue.purge_below(&self.subject(lane), floor).await
            {
                // They are read once more, and known.
                warn!(channel = %self.id, error = &error as &dyn std::error::Error, "not purged at the end");
            }
        }
    }

    fn collect_mail(&mut self) {
        let lanes = self.mailbox.lanes.swap(0, Ordering::AcqRel);
        for lane in Lane::ALL {
            if lanes & (1 << lane as u8) != 0 {
                self.lanes[lane as usize].holds_more();
            }
        }
        let now = boot_time();
        for _ in 0..self.mailbox.received.swap(0, Ordering::AcqRel) {
            self.governor.received(now);
        }
    }

    fn registry_changed(&mut self) {
        let registry = self.shared.registry.load();
        let Some(channel) = registry.channel(&self.id).filter(|channel| channel.tenant.id == self.tenant)
        else {
            self.stop();
            return;
        };
        self.governor.set_limit(channel.rate);
        if self.hold.key_is(&self.key(&registry), boot_time()) {
            info!(channel = %self.id, "a new token or number: trying again");
        }
    }

    /// What the channel shows at the provider now. A number that another channel has claimed since is not its own.
    fn key(&self, registry: &Registry) -> Key {
        let channel = registry.channel(&self.id).filter(|channel| channel.tenant.id == self.tenant);
        let Some(channel) = channel else { return Key::default() };
        let own = |number: &&String| {
            registry.channel_of_number(number).is_some_and(|channel| channel.id == self.id)
        };
        Key {
            token: channel.access_token.clone(),
            number: channel.phone_number_id.as_ref().filter(own).cloned(),
        }
    }

    /// Begins nothing new from here on, and gives back what was claimed and not sent.
    fn stop(&mut self) {
        self.stopping = true;
        self.disarm();
    }

    /// Whether anything waits to be claimed or sent.
    fn has_work(&self) -> bool {
        self.lanes.iter().any(LaneState::has_ready) || self.armed.iter().any(|armed| !armed.is_empty())
    }

    fn rate(&self) -> usize {
        self.shared.registry.load().channel(&self.id).map_or(1, |channel| channel.rate as usize)
    }

    fn subject(&self, lane: Lane) -> SendSubject {
        SendSubject { tenant: self.tenant.clone(), channel: self.id.clone(), lane }
    }
}

async fn sleep_until(at: Option<Duration>) {
    let Some(at) = at else { return };
    sleep(at.saturating_sub(boot_time())).await;
}
