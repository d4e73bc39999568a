//! One channel's actor: does what the channel's machine decides, and tells it what came of that. It owns everything it
//! counts, so nothing in it is locked. An idle actor has no timer.

mod settler;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use staffetta_bus::{Lease, QueueError, boot_time};
use staffetta_domain::{ChannelId, Lane, TenantId};
use staffetta_runtime::crash::crash_point;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::Shared;
use crate::board::Lamp;
use crate::governor::Ages;
use crate::ledger::Ledger;
use crate::machine::{Action, Input, Machine, Now, Past, Sent, View};
use crate::quotas::Payers;

/// How others reach an actor.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    notify: Notify,
    /// One bit a lane: something was stored there. And what the provider told of.
    flags: AtomicU8,
    /// The youngest command that is known to be stored in each lane.
    known: [AtomicU64; 3],
    /// When messages that the channel received and that are not counted yet arrived.
    received: std::sync::Mutex<Vec<Duration>>,
}

/// The provider told something of the channel, or of its account.
const CHANNEL_TOLD: u8 = 1 << 6;
/// The provider told something of a template.
const TEMPLATE_TOLD: u8 = 1 << 7;

impl Mailbox {
    /// Something may wait in that lane, with that number at least.
    pub(crate) fn wake(&self, lane: Lane, sequence: u64) {
        self.known[lane as usize].fetch_max(sequence, Ordering::AcqRel);
        self.flag(1 << lane as u8);
    }

    /// The channel received a message, at that time.
    pub(crate) fn received(&self, arrived: Duration) {
        self.received.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(arrived);
        self.notify.notify_one();
    }

    /// The provider told something of the channel or of its account.
    pub(crate) fn channel_told(&self) {
        self.flag(CHANNEL_TOLD);
    }

    /// The provider told something of a template.
    pub(crate) fn template_told(&self) {
        self.flag(TEMPLATE_TOLD);
    }

    fn flag(&self, flag: u8) {
        self.flags.fetch_or(flag, Ordering::AcqRel);
        self.notify.notify_one();
    }
}

/// What an actor leaves to whoever sends for its channel next.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) channel: ChannelId,
    /// Whose lease it had.
    pub(crate) epoch: i64,
    /// What counts in the rate.
    pub(crate) ages: Ages,
}

/// How long an actor may send.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    pub(crate) lease: Lease,
    /// Fires when it is to let go of its channel.
    pub(crate) over: CancellationToken,
}

/// The actor of one channel.
pub(crate) struct ChannelActor {
    shared: Shared,
    ledger: Ledger,
    lease: Lease,
    tenant: TenantId,
    id: ChannelId,
    mailbox: Arc<Mailbox>,
    machine: Machine,
    payers: Payers,
    work: FuturesUnordered<BoxFuture<'static, anyhow::Result<Input>>>,
    sends: JoinSet<Sent>,
    over: CancellationToken,
    /// Whether it has let go of its channel: what is not written by then never is.
    let_go: Arc<AtomicBool>,
    lamp: Arc<Lamp>,
    /// When the lamp may be lit anew.
    show_at: Duration,
    /// Where it says what it leaves; taken when it has said so.
    left: Option<mpsc::Sender<Left>>,
}

/// How long an actor that is told to stop waits for the answers to what is on its way before it lets go of its channel.
const LAST_ANSWERS: Duration = Duration::from_millis(400);
/// Between two moments at which it shows how the channel stands.
const SHOW_EVERY: Duration = Duration::from_millis(250);
/// How long it may take to purge the queue then.
const LAST_PURGE: Duration = Duration::from_millis(200);

impl ChannelActor {
    /// `None` if the channel is not this tenant's.
    pub(crate) fn new(
        shared: Shared,
        ledger: Ledger,
        Term { lease, over }: Term,
        (tenant, id): (TenantId, ChannelId),
        past: Past,
        mailbox: Arc<Mailbox>,
        left: mpsc::Sender<Left>,
    ) -> Option<Self> {
        let registry = shared.registry.load();
        let view = View::of(&registry, &tenant, &id)?;
        let payers = Payers::of(&registry, &id);
        let now = Now { boot: boot_time(), wall: Timestamp::now(), may_send: lease.is_valid(), quota: None };
        let settings = Arc::clone(&shared.settings);
        let machine = Machine::new((tenant.clone(), id.clone()), lease.epoch(), settings, view, past, &now);
        let lamp = shared.board.lamp(&tenant, &id);
        Some(Self {
            shared,
            ledger,
            lease,
            tenant,
            id,
            mailbox,
            machine,
            payers,
            work: FuturesUnordered::new(),
            sends: JoinSet::new(),
            over,
            let_go: Arc::default(),
            lamp,
            show_at: Duration::ZERO,
            left: Some(left),
        })
    }

    /// What shows how the channel stands.
    pub(crate) fn lamp(&self) -> &Arc<Lamp> {
        &self.lamp
    }

    /// Works until its session is over, until the lease is lost, or until the channel is no longer this tenant's; then
    /// says what it leaves, and ends what it began. Commands that were not sent stay in the queue.
    ///
    /// # Errors
    /// If the ledger has ended under it.
    pub(crate) async fn run(self) -> anyhow::Result<(ChannelId, i64)> {
        let who = (self.id.clone(), self.lease.epoch());
        self.work().await?;
        Ok(who)
    }

    async fn work(mut self) -> anyhow::Result<()> {
        let mut registry = self.shared.registry.clone();
        let (lost, over) = (self.lease.lost().clone(), self.over.clone());
        let mut let_go = None;
        loop {
            let now = self.now();
            let next = self.machine.pump(&now);
            for action in self.machine.take_actions() {
                self.perform(action);
            }
            if self.machine.is_stopping() {
                let let_go_at = *let_go.get_or_insert(now.boot + LAST_ANSWERS);
                let done = self.work.is_empty() && self.sends.is_empty();
                if done || lost.is_cancelled() || now.boot >= let_go_at {
                    self.leave(&now).await;
                }
                if done {
                    return Ok(());
                }
            }
            let let_go_at = let_go.filter(|_| self.left.is_some());
            let next = [next, let_go_at, self.show(&now)].into_iter().flatten().min();
            let stopping = self.machine.is_stopping();
            let mailbox = Arc::clone(&self.mailbox);
            tokio::select! {
                () = over.cancelled(), if !stopping => self.tell(Input::Stop),
                () = lost.cancelled(), if !stopping || self.left.is_some() => self.tell(Input::Stop),
                () = registry.changed(), if !stopping => self.registry_changed(),
                () = mailbox.notify.notified() => self.collect_mail(),
                Some(input) = self.work.next() => self.tell(input?),
                Some(sent) = self.sends.join_next() => {
                    let sent = sent?;
                    self.note(&sent);
                    self.tell(Input::Sent(Box::new(sent)));
                }
                () = sleep_until(next), if next.is_some() => {}
            }
        }
    }

    /// Shows how the channel stands, or tells when that may be done again.
    fn show(&mut self, now: &Now) -> Option<Duration> {
        if now.boot < self.show_at {
            return Some(self.show_at);
        }
        self.show_at = now.boot + SHOW_EVERY;
        self.lamp.show(self.machine.figures(now), now.boot);
        None
    }

    fn now(&self) -> Now {
        let boot = boot_time();
        Now {
            boot,
            wall: Timestamp::now(),
            may_send: self.lease.is_valid(),
            quota: self.shared.quotas.until(&self.payers, boot),
        }
    }

    fn tell(&mut self, input: Input) {
        match &input {
            Input::Claimed(..) => crash_point("dispatcher.claimed"),
            Input::Purged(_, _, true) => crash_point("dispatcher.purged"),
            _ => {}
        }
        let now = self.now();
        self.machine.handle(input, &now);
        let copies = std::mem::take(&mut self.machine.copies);
        if copies > 0 {
            self.shared.metrics.copies.add(copies, &[]);
        }
    }

    fn registry_changed(&mut self) {
        let registry = self.shared.registry.load();
        self.payers = Payers::of(&registry, &self.id);
        self.tell(Input::View(View::of(&registry, &self.tenant, &self.id)));
    }

    fn collect_mail(&mut self) {
        let flags = self.mailbox.flags.swap(0, Ordering::AcqRel);
        for lane in Lane::ALL {
            if flags & (1 << lane as u8) != 0 {
                let known = self.mailbox.known[lane as usize].load(Ordering::Acquire);
                self.tell(Input::Woken(lane, known));
            }
        }
        if flags & CHANNEL_TOLD != 0 {
            self.tell(Input::ChannelTold);
        }
        if flags & TEMPLATE_TOLD != 0 {
            self.tell(Input::TemplateTold);
        }
        let received = {
            let mut received =
                self.mailbox.received.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            std::mem::take(&mut *received)
        };
        for arrived in received {
            self.tell(Input::Received(arrived));
        }
    }

    /// Lets go of the channel: nothing more is written to the provider, and the queue is purged as far as it can be.
    async fn leave(&mut self, now: &Now) {
        let Some(left) = self.left.take() else { return };
        let (floors, queue) = (self.machine.last_floors(), self.shared.queue.clone());
        let purging = async {
            for (lane, floor) in floors {
                queue.purge_below(&lane, floor).await?;
            }
            Ok::<(), QueueError>(())
        };
        if self.lease.is_valid() && !matches!(timeout(LAST_PURGE, purging).await, Ok(Ok(()))) {
            // They are read once more, and known.
            warn!(channel = %self.id, "not all that is settled was purged at the end");
        }
        // From here on nothing is written to the provider any more.
        self.let_go.store(true, Ordering::Release);
        let (epoch, ages) = (self.lease.epoch(), self.machine.handover(now));
        // Whoever asked may have gone before.
        let _ = left.send(Left { channel: self.id.clone(), epoch, ages }).await;
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Send(request) => {
                let (lease, let_go) = (self.lease.clone(), Arc::clone(&self.let_go));
                let may_write = move || lease.is_valid() && !let_go.load(Ordering::Acquire);
                self.sends.spawn(work::send(self.shared.clone(), may_write, *request));
            }
            Action::Quota { breadth, until } => self.shared.quotas.used_up(&self.payers, breadth, until),
            action => {
                if let Some(work) = self.work_for(action) {
                    self.work.push(work);
                }
            }
        }
    }
}

async fn sleep_until(at: Option<Duration>) {
    let Some(at) = at else { return };
    sleep(at.saturating_sub(boot_time())).await;
}
