//! One channel's actor: reads its lanes, claims, sends within the rate, settles, purges. It owns everything it counts,
//! so nothing in it is locked. An idle actor has no timer.

mod answer;
mod doubt;
mod intake;
mod metrics;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use staffetta_bus::{Batch, Channel, Lease, QueueError, SendSubject, boot_time};
use staffetta_domain::{Callback, ChannelId, Event, EventType, Lane, TenantId, Wamid};
use staffetta_providers::cloud_api::{Fence, SendError, message_body};
use staffetta_runtime::crash::crash_point;
use staffetta_store::{Claim, Claimed};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::Shared;
use crate::events::command_event;
use crate::governor::{Governor, Turn};
use crate::hold::Hold;
use crate::lane::{LaneState, Queued};
use crate::ledger::Ledger;

pub(crate) use answer::Settled;
use doubt::Doubts;
pub(crate) use metrics::Metrics;

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
    stopping: bool,
}

/// A command that was claimed and waits for its place in the rate.
#[derive(Debug)]
pub(crate) struct Armed {
    lane: Lane,
    queued: Queued,
    attempt: u32,
}

/// A request that ended.
pub(crate) struct Sent {
    armed: Armed,
    token: Option<secrecy::SecretString>,
    result: Result<Wamid, SendError>,
}

/// Work that ended.
pub(crate) enum Done {
    Read(Lane, Result<Batch, QueueError>),
    Claimed(Lane, Vec<Queued>, anyhow::Result<Option<Vec<Claimed>>>),
    Settled(Box<Settled>),
    Purged(Lane, u64, Result<(), QueueError>),
    Doubts(doubt::Standing),
    Noted,
}

/// Most requests of one channel on their way at a time.
const MAX_IN_FLIGHT: usize = 1_024;
/// Most commands of one read.
const READ: usize = 250;
/// Between two purges of a busy channel.
const PURGE_EVERY: Duration = Duration::from_millis(250);
/// When a request that is not yet written keeps the log from moving.
const AFTER_WRITE: Duration = Duration::from_millis(2);
/// Pause before a read or a purge that failed is repeated.
const AGAIN: Duration = Duration::from_millis(200);

impl ChannelActor {
    pub(crate) fn new(
        shared: Shared,
        ledger: Ledger,
        lease: Lease,
        channel: &Channel,
        mailbox: Arc<Mailbox>,
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
            governor: Governor::new(channel.rate),
            hold: Hold::default(),
            doubts: Doubts::default(),
            work: FuturesUnordered::new(),
            sends: JoinSet::new(),
            purge_at: None,
            stopping: false,
        }
    }

    /// Works until `stop`, until the lease is lost, or until the channel is no longer this tenant's; then ends what it
    /// began. Commands that were not sent stay in the queue.
    ///
    /// # Errors
    /// If the ledger has ended under it.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut registry = self.shared.registry.clone();
        let lost = self.lease.lost().clone();
        loop {
            let next = self.pump()?;
            if self.stopping && self.work.is_empty() && self.sends.is_empty() {
                return self.last_purge().await;
            }
            let mailbox = Arc::clone(&self.mailbox);
            tokio::select! {
                () = stop.cancelled(), if !self.stopping => self.stop(),
                () = lost.cancelled(), if !self.stopping => self.stop(),
                () = registry.changed(), if !self.stopping => self.registry_changed(),
                () = mailbox.notify.notified() => self.collect_mail(),
                Some(done) = self.work.next() => self.done(done)?,
                Some(sent) = self.sends.join_next() => self.sent(sent?)?,
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
        if self.stopping || self.reading[lane as usize] || !state.more || room < READ / 2 {
            return;
        }
        self.reading[lane as usize] = true;
        let (queue, subject, cursor) = (self.shared.queue.clone(), self.subject(lane), state.cursor);
        self.work.push(Box::pin(async move {
            let batch = queue.read(&subject, cursor, room.min(READ)).await;
            if batch.is_err() {
                sleep(AGAIN).await;
            }
            Done::Read(lane, batch)
        }));
    }

    /// As many as leave within about a tenth of a second: what is claimed and not sent when the process dies is doubt.
    fn claim_more(&mut self, lane: Lane) {
        let lane_index = lane as usize;
        let target = (self.rate() / 10).clamp(1, 50);
        let waiting = self.armed[lane_index].len() + self.claiming[lane_index];
        if waiting > target / 2 || !self.lanes[lane_index].has_ready() || !self.lease.is_valid() {
            return;
        }
        let mut batch = Vec::new();
        let now = Timestamp::now();
        while batch.len() < target
            && let Some(queued) = self.lanes[lane_index].take()
        {
            if queued.is_over(now) {
                self.expire(lane, queued);
            } else {
                batch.push(queued);
            }
        }
        if batch.is_empty() {
            return;
        }
        self.claiming[lane_index] += batch.len();
        let claims = batch.iter().map(|queued| self.claim(lane, queued, now)).collect();
        let ledger = self.ledger.clone();
        self.work.push(Box::pin(async move { Done::Claimed(lane, batch, ledger.claim(claims).await) }));
    }

    fn claim(&self, lane: Lane, queued: &Queued, at: Timestamp) -> Claim {
        let command = &queued.command;
        let epoch = self.lease.epoch();
        Claim {
            tenant: self.tenant.clone(),
            channel: self.id.clone(),
            id: command.id.clone(),
            lane,
            user: command.to.key().to_owned(),
            kind: command.kind.clone(),
            content: command.content.to_string(),
            callback_data: command.callback_data.clone(),
            epoch,
            sequence: i64::try_from(queued.sequence()).unwrap_or(i64::MAX),
            at,
            in_doubt: self.in_doubt_event(queued, &epoch.to_string(), "its sender died before the answer"),
        }
    }

    fn in_doubt_event(&self, queued: &Queued, once_per: &str, reason: &str) -> Event {
        let data = serde_json::json!({ "reason": reason });
        let (kind, now) = (EventType::CommandInDoubt, Timestamp::now());
        command_event(&self.tenant, &self.id, &queued.command.id, kind, once_per, now, data)
    }

    fn claimed(
        &mut self,
        lane: Lane,
        batch: Vec<Queued>,
        answers: anyhow::Result<Option<Vec<Claimed>>>,
    ) -> anyhow::Result<()> {
        crash_point("dispatcher.claimed");
        self.claiming[lane as usize] -= batch.len();
        let Some(answers) = answers? else {
            for queued in batch {
                self.give_up(lane, queued, "unrecordable", "the database will not take it");
            }
            return Ok(());
        };
        for (queued, claimed) in batch.into_iter().zip(answers) {
            match claimed {
                Claimed::Granted { attempt } => {
                    self.armed[lane as usize].push_back(Armed { lane, queued, attempt })
                }
                Claimed::Known(state) => {
                    debug!(command = %queued.command.id, state = state.as_str(), "a copy of a known command");
                    self.shared.metrics.copies.add(1, &[]);
                    self.lanes[lane as usize].done(&queued);
                    self.close(lane, queued.sequence());
                }
                Claimed::InDoubt { attempt, since } => self.doubts.add(lane, queued, attempt, since),
            }
        }
        if self.stopping || self.hold.is_stopped() {
            self.disarm();
        }
        Ok(())
    }

    /// Sends what is armed, urgent first, as far as the rate allows; tells when it allows more.
    fn send_more(&mut self, now: Duration) -> Option<Duration> {
        while let Some(lane) = Lane::ALL.into_iter().find(|lane| !self.armed[*lane as usize].is_empty()) {
            if self.sends.len() >= MAX_IN_FLIGHT || !self.lease.is_valid() {
                return None;
            }
            match self.governor.turn(now, lane) {
                Turn::Now => {}
                Turn::At(at) => return Some(at),
                Turn::AfterWrite => return Some(now + AFTER_WRITE),
            }
            let armed = self.armed[lane as usize].pop_front()?;
            if armed.queued.is_over(Timestamp::now()) {
                self.expire(lane, armed.queued);
                continue;
            }
            self.send(now, armed);
        }
        None
    }

    fn send(&mut self, now: Duration, armed: Armed) {
        let registry = self.shared.registry.load();
        let stamp = self.governor.take(now, armed.lane);
        let channel = registry.channel(&self.id).filter(|channel| channel.tenant.id == self.tenant);
        let number = channel.and_then(|channel| channel.phone_number_id.clone());
        let token = channel.and_then(|channel| channel.access_token.clone());
        let callback = Callback { command: armed.queued.command.id.clone(), attempt: armed.attempt };
        let body = message_body(&armed.queued.command, &callback);
        let (provider, metrics) = (self.shared.provider.clone(), self.shared.metrics.clone());
        let lease = self.lease.clone();
        let fence: Fence = Arc::new(move || lease.is_valid());
        self.sends.spawn(async move {
            crash_point("dispatcher.sending");
            let result = match (&number, &token) {
                (Some(number), Some(token)) => {
                    let started = boot_time();
                    let result = provider.send(number, token, body, stamp, fence).await;
                    metrics.duration.record((boot_time() - started).as_secs_f64(), &[]);
                    result
                }
                _ => {
                    stamp.void();
                    Err(answer::no_token())
                }
            };
            crash_point("dispatcher.answered");
            Sent { armed, token, result }
        });
    }

    fn done(&mut self, done: Done) -> anyhow::Result<()> {
        match done {
            Done::Read(lane, batch) => {
                self.reading[lane as usize] = false;
                match batch {
                    Ok(batch) => self.take_in(lane, batch),
                    Err(error) => {
                        warn!(channel = %self.id, error = &error as &dyn std::error::Error, "reading again")
                    }
                }
                Ok(())
            }
            Done::Claimed(lane, batch, answers) => self.claimed(lane, batch, answers),
            Done::Settled(settled) => self.settled(*settled),
            Done::Purged(lane, floor, result) => {
                match result {
                    Ok(()) => {
                        crash_point("dispatcher.purged");
                        self.lanes[lane as usize].purged(floor);
                    }
                    Err(error) => {
                        warn!(channel = %self.id, error = &error as &dyn std::error::Error, "purging again")
                    }
                }
                Ok(())
            }
            Done::Doubts(standing) => self.judge_doubts(standing),
            Done::Noted => Ok(()),
        }
    }

    /// The command need not be read again.
    fn close(&mut self, lane: Lane, sequence: u64) {
        self.lanes[lane as usize].settled(sequence);
        self.purge_at.get_or_insert_with(|| boot_time() + PURGE_EVERY);
    }

    fn purge(&mut self, now: Duration) -> Option<Duration> {
        let at = self.purge_at?;
        if now < at {
            return Some(at);
        }
        self.purge_at = None;
        for lane in Lane::ALL {
            let Some(floor) = self.lanes[lane as usize].floor() else { continue };
            let (queue, subject) = (self.shared.queue.clone(), self.subject(lane));
            self.work.push(Box::pin(async move {
                Done::Purged(lane, floor, queue.purge_below(&subject, floor).await)
            }));
        }
        None
    }

    async fn last_purge(&mut self) -> anyhow::Result<()> {
        for lane in Lane::ALL {
            if let Some(floor) = self.lanes[lane as usize].floor()
                && let Err(error) = self.shared.queue.purge_below(&self.subject(lane), floor).await
            {
                // They are read once more, and known.
                warn!(channel = %self.id, error = &error as &dyn std::error::Error, "not purged at the end");
            }
        }
        Ok(())
    }

    fn collect_mail(&mut self) {
        let lanes = self.mailbox.lanes.swap(0, Ordering::AcqRel);
        for lane in Lane::ALL {
            if lanes & (1 << lane as u8) != 0 {
                self.lanes[lane as usize].more = true;
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
        if self.hold.token_is(channel.access_token.as_ref()) {
            tracing::info!(channel = %self.id, "a new token: sending again");
        }
    }

    /// Begins nothing new from here on, and gives back what was claimed and not sent.
    fn stop(&mut self) {
        self.stopping = true;
        self.disarm();
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
