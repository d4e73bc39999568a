//! The parts of SEND that this process owns: an actor for each of their channels that has something to send.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt;
use staffetta_bus::{
    LaneBacklog, OwnershipChange as Change, QueueError, Returned, SendSubject, Told, ToldOf, Wake, boot_time,
    part_of,
};
use staffetta_domain::{ChannelId, TenantId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::Shared;
use crate::board::Lamp;
use crate::channel::{ChannelActor, Left, Mailbox, Term};
use crate::handover::Handover;
use crate::ledger::Ledger;
use crate::orphans::Orphans;
use crate::rates::Rates;
use crate::schedule::Duty;

/// How often the whole queue is looked through: a wake-up may be missed.
const LOOK: Duration = Duration::from_secs(5);
/// How long actors may take to let go of a part.
const LET_GO: Duration = Duration::from_millis(700);
/// How long a channel has to be missing before its commands are given up.
const ORPHANED: Duration = Duration::from_secs(10);
/// Receipts that were heard for so long are all that count.
const HEARD: Duration = Duration::from_millis(1_200);
/// What actors leave that nobody has looked at yet.
const LEFT: usize = 256;
const ORPHANS_DIED: &str = "the task for commands without a channel died";

/// Serves the parts that it is given until it has given all of them back.
pub(crate) struct Session {
    shared: Shared,
    ledger: Ledger,
    parts: HashMap<u16, Part>,
    /// On while this process owns part 0.
    duty: Duty,
    rates: Rates,
    served: HashMap<ChannelId, Served>,
    actors: JoinSet<anyhow::Result<(ChannelId, i64)>>,
    /// The actors that have not ended, by channel and epoch: under one lease a channel never has two. The second could
    /// claim what the first has sent.
    working: HashSet<(ChannelId, i64)>,
    /// Since when receipts are heard.
    listening: Duration,
    left: (mpsc::Sender<Left>, mpsc::Receiver<Left>),
    /// At most one look through the queue at a time: nobody waits for it.
    looks: JoinSet<Result<Vec<LaneBacklog>, QueueError>>,
    look_again: bool,
    /// Lanes whose tenant does not have the channel, and since when.
    orphaned: HashMap<SendSubject, Duration>,
    /// Those who see to commands without a channel: one for each part, and no new ones before they have ended.
    orphans: JoinSet<()>,
}

/// A part that this process owns.
struct Part {
    term: Term,
    /// When it goes back at the latest; `None` while it is kept.
    returns_at: Option<Duration>,
}

impl Part {
    fn is_kept(&self) -> bool {
        self.returns_at.is_none() && !self.term.lease.lost().is_cancelled()
    }
}

/// A channel that has an actor.
struct Served {
    tenant: TenantId,
    epoch: i64,
    mailbox: Arc<Mailbox>,
    lamp: Arc<Lamp>,
}

impl Session {
    pub(crate) fn new(shared: Shared, ledger: Ledger, duty: Duty) -> Self {
        Self {
            shared,
            ledger,
            duty,
            parts: HashMap::new(),
            rates: Rates::default(),
            served: HashMap::new(),
            actors: JoinSet::new(),
            working: HashSet::new(),
            listening: boot_time(),
            left: mpsc::channel(LEFT),
            looks: JoinSet::new(),
            look_again: false,
            orphaned: HashMap::new(),
            orphans: JoinSet::new(),
        }
    }

    /// Serves until `changes` end, then waits until nothing is on its way any more. Whatever ends the serving fires
    /// `stop`, before the wait: others may take over meanwhile.
    ///
    /// # Errors
    /// If an actor died, or NATS ended the subscriptions.
    pub(crate) async fn run(
        mut self,
        mut changes: mpsc::Receiver<Change>,
        returned: mpsc::Sender<Returned>,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let outcome = self.follow(&mut changes, &returned).await;
        drop((changes, returned));
        self.duty.set(false);
        stop.cancel();
        for part in self.parts.values() {
            part.term.over.cancel();
            part.term.lease.end();
        }
        // Their last words need not be heard any more.
        self.left.1.close();
        let mut drained = Ok(());
        while let Some(ended) = self.actors.join_next().await {
            drained = drained.and(ended.context("a channel's actor died").flatten().map(|_| ()));
        }
        while let Some(ended) = self.orphans.join_next().await {
            drained = drained.and(ended.context(ORPHANS_DIED));
        }
        outcome.and(drained)
    }

    async fn follow(
        &mut self,
        changes: &mut mpsc::Receiver<Change>,
        returned: &mpsc::Sender<Returned>,
    ) -> anyhow::Result<()> {
        let mut wakes = self.shared.queue.wakes().await?;
        let mut receipts = self.shared.bus.received().await?;
        self.listening = boot_time();
        let mut told = self.shared.bus.told().await?;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.duty.set(self.parts.get(&0).is_some_and(Part::is_kept));
            let returns_at = self.parts.values().filter_map(|part| part.returns_at).min();
            tokio::select! {
                change = changes.recv() => match change {
                    Some(change) => self.changed(change, returned).await,
                    None => return Ok(()),
                },
                wake = wakes.next() => self.wake(&wake.context("the wake-ups ended")?),
                receipt = receipts.next() => {
                    let receipt = receipt.context("the receipts ended")?;
                    if let Some(arrived) = self.rates.arrived(&receipt) {
                        self.received(&receipt.channel, arrived);
                    }
                }
                told = told.next() => self.told(&told.context("the provider's news ended")?),
                Some(left) = self.left.1.recv() => self.left(left, returned).await,
                () = sleep_until(returns_at), if returns_at.is_some() => self.return_due(returned).await,
                Some(ended) = self.actors.join_next() => {
                    let who = ended.context("a channel's actor died")??;
                    self.working.remove(&who);
                    self.look();
                }
                Some(looked) = self.looks.join_next() => {
                    self.looked(looked.context("a look through the queue died")?);
                }
                Some(ended) = self.orphans.join_next() => ended.context(ORPHANS_DIED)?,
                _ = look.tick() => {
                    self.rates.tidy();
                    self.parts.retain(|_, part| part.returns_at.is_some() || !part.term.lease.lost().is_cancelled());
                    self.look();
                }
            }
        }
    }

    async fn changed(&mut self, change: Change, returned: &mpsc::Sender<Returned>) {
        match change {
            Change::Gained { part, lease, handover } => {
                let registry = self.shared.registry.load();
                let heard = boot_time() > self.listening + HEARD;
                for (channel, mut ages) in Handover::read(handover.as_deref()) {
                    if heard {
                        // What it received was heard here too.
                        ages.received.clear();
                    }
                    self.rates.remember(channel, &ages, &registry);
                }
                self.shared.board.gained(part, lease.clone());
                let term = Term { lease, over: CancellationToken::new() };
                self.parts.insert(part, Part { term, returns_at: None });
                self.look();
            }
            Change::GiveBack { part } => {
                let Some(held) = self.parts.get_mut(&part) else {
                    return give(returned, Returned { part, handover: None }).await;
                };
                held.term.over.cancel();
                held.returns_at = Some(boot_time() + LET_GO);
                self.return_if_free(part, returned).await;
            }
        }
    }

    /// An actor has let go of its channel.
    async fn left(&mut self, left: Left, returned: &mpsc::Sender<Returned>) {
        let Left { channel, epoch, ages } = left;
        if self.served.get(&channel).is_some_and(|served| served.epoch == epoch) {
            self.served.remove(&channel);
        }
        let part = part_of(channel.as_str());
        self.rates.remember(channel, &ages, &self.shared.registry.load());
        self.return_if_free(part, returned).await;
        self.look();
    }

    /// Gives a part back once no actor of it sends.
    async fn return_if_free(&mut self, part: u16, returned: &mpsc::Sender<Returned>) {
        let asked = self.parts.get(&part).is_some_and(|held| held.returns_at.is_some());
        if asked && !self.served.keys().any(|channel| part_of(channel.as_str()) == part) {
            self.return_part(part, returned).await;
        }
    }

    async fn return_due(&mut self, returned: &mpsc::Sender<Returned>) {
        let now = boot_time();
        let due: Vec<u16> = self
            .parts
            .iter()
            .filter(|(_, held)| held.returns_at.is_some_and(|at| at <= now))
            .map(|(part, _)| *part)
            .collect();
        for part in due {
            let Some(held) = self.parts.get_mut(&part) else { continue };
            if held.term.lease.lost().is_cancelled() {
                // Its actors have had their time to say what they leave: without a handover the next owner waits.
                self.parts.remove(&part);
                self.shared.board.lost(part);
                self.served.retain(|channel, _| part_of(channel.as_str()) != part);
                give(returned, Returned { part, handover: None }).await;
            } else {
                // From here on nothing is written any more, and every actor says what it leaves.
                held.term.lease.end();
                held.returns_at = Some(now + LET_GO);
            }
        }
    }

    async fn return_part(&mut self, part: u16, returned: &mpsc::Sender<Returned>) {
        let Some(held) = self.parts.remove(&part) else { return };
        held.term.lease.end();
        self.shared.board.lost(part);
        let handover = Handover::write(self.rates.ages_of(|channel| part_of(channel.as_str()) == part));
        give(returned, Returned { part, handover: Some(handover) }).await;
    }

    /// Wakes the lane's channel, if it is of a part that is owned here, and registered for that tenant.
    fn wake(&mut self, wake: &Wake) {
        let lane = &wake.lane;
        if let Some(served) = self.served.get(&lane.channel) {
            if served.tenant == lane.tenant {
                served.mailbox.wake(lane.lane, wake.sequence);
            }
            return;
        }
        let Some(part) = self.parts.get(&part_of(lane.channel.as_str())) else { return };
        if part.term.over.is_cancelled() || !part.term.lease.is_valid() {
            return;
        }
        let who = (lane.channel.clone(), part.term.lease.epoch());
        if self.working.contains(&who) {
            // It is still finishing what it began; when it has ended the queue is looked through.
            return;
        }
        let registry = self.shared.registry.load();
        let Some(channel) = registry.channel(&lane.channel) else { return };
        let mailbox = Arc::<Mailbox>::default();
        mailbox.wake(lane.lane, wake.sequence);
        let actor = ChannelActor::new(
            self.shared.clone(),
            self.ledger.clone(),
            part.term.clone(),
            (lane.tenant.clone(), lane.channel.clone()),
            self.rates.take(&lane.channel, channel.rate),
            Arc::clone(&mailbox),
            self.left.0.clone(),
        );
        let Some(actor) = actor else { return };
        let (epoch, lamp) = (part.term.lease.epoch(), Arc::clone(actor.lamp()));
        self.actors.spawn(actor.run());
        self.working.insert(who);
        let served = Served { tenant: lane.tenant.clone(), epoch, mailbox, lamp };
        self.served.insert(lane.channel.clone(), served);
    }

    fn received(&mut self, channel: &ChannelId, arrived: Duration) {
        match self.served.get(channel) {
            Some(served) => served.mailbox.received(arrived),
            None => self.rates.count(channel, arrived, &self.shared.registry.load()),
        }
    }

    fn told(&self, told: &Told) {
        if let Some(served) = self.served.get(&told.channel) {
            match told.of {
                ToldOf::Channel => served.mailbox.channel_told(),
                ToldOf::Template => served.mailbox.template_told(),
            }
        }
    }

    /// Tells the lamps what the queue holds.
    fn show_backlog(&self, backlog: &[LaneBacklog]) {
        let mut listed: HashMap<&ChannelId, [u64; 3]> = HashMap::new();
        for LaneBacklog { subject, messages } in backlog {
            let served = self.served.get(&subject.channel);
            if served.is_some_and(|served| served.tenant == subject.tenant) {
                listed.entry(&subject.channel).or_default()[subject.lane as usize] = *messages;
            }
        }
        for (channel, served) in &self.served {
            served.lamp.list(listed.get(channel).copied().unwrap_or_default());
        }
    }

    /// Looks through the queue, now or right after the look that is under way.
    fn look(&mut self) {
        if !self.looks.is_empty() {
            self.look_again = true;
        } else if !self.parts.is_empty() {
            self.look_again = false;
            let queue = self.shared.queue.clone();
            self.looks.spawn(async move { queue.backlog().await });
        }
    }

    fn looked(&mut self, backlog: Result<Vec<LaneBacklog>, QueueError>) {
        let backlog = match backlog {
            Ok(backlog) => backlog,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "looking again in a moment");
                return;
            }
        };
        let registry = self.shared.registry.load();
        let mut orphans: HashMap<u16, Vec<SendSubject>> = HashMap::new();
        let (now, known) = (boot_time(), std::mem::take(&mut self.orphaned));
        for LaneBacklog { subject: lane, .. } in &backlog {
            let part = part_of(lane.channel.as_str());
            if !self.parts.contains_key(&part) {
                continue;
            }
            let channel = registry.channel(&lane.channel);
            // Its last actor may still be finishing what it began.
            let served = self.served.get(&lane.channel).is_some_and(|served| served.tenant == lane.tenant);
            if served || channel.is_some_and(|channel| channel.tenant.id == lane.tenant) {
                self.wake(&Wake { lane: lane.clone(), sequence: 0 });
            } else {
                let since = known.get(lane).copied().unwrap_or(now);
                self.orphaned.insert(lane.clone(), since);
                if since + ORPHANED <= now {
                    orphans.entry(part).or_default().push(lane.clone());
                }
            }
        }
        self.show_backlog(&backlog);
        if self.orphans.is_empty() {
            for (part, lanes) in orphans {
                let Some(Part { term: Term { lease, over }, .. }) = self.parts.get(&part) else { continue };
                let (shared, ledger) = (self.shared.clone(), self.ledger.clone());
                let orphanage = Orphans { shared, ledger, lease: lease.clone(), over: over.clone() };
                self.orphans.spawn(orphanage.give_up(lanes));
            }
        }
        if self.look_again {
            self.look();
        }
    }
}

/// Whoever owns the leases may be gone: then there is nothing to give back to.
async fn give(returned: &mpsc::Sender<Returned>, part: Returned) {
    let _ = returned.send(part).await;
}

async fn sleep_until(at: Option<Duration>) {
    let Some(at) = at else { return };
    sleep(at.saturating_sub(boot_time())).await;
}
