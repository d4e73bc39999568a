//! One ownership of SEND: an actor for each channel that has something to send.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt;
use staffetta_bus::{LaneBacklog, Lease, QueueError, SendSubject};
use staffetta_domain::{ChannelId, TenantId};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::Shared;
use crate::channel::{ChannelActor, Mailbox};
use crate::governor::Governor;
use crate::ledger::Ledger;
use crate::orphans::Orphans;
use crate::rates::Rates;

/// How often the whole queue is looked through: a wake-up may be missed.
const LOOK: Duration = Duration::from_secs(5);
const ORPHANS_DIED: &str = "the task for commands without a channel died";

pub(crate) struct Session<'a> {
    shared: Shared,
    ledger: Ledger,
    lease: Lease,
    rates: &'a mut Rates,
    mailboxes: HashMap<ChannelId, (TenantId, Arc<Mailbox>)>,
    actors: JoinSet<anyhow::Result<(ChannelId, Governor)>>,
    /// At most one look through the queue at a time: nobody waits for it.
    looks: JoinSet<Result<Vec<LaneBacklog>, QueueError>>,
    /// At most one task that sees to commands without a channel.
    orphans: JoinSet<()>,
}

impl<'a> Session<'a> {
    pub(crate) fn new(shared: Shared, ledger: Ledger, lease: Lease, rates: &'a mut Rates) -> Self {
        Self {
            shared,
            ledger,
            lease,
            rates,
            mailboxes: HashMap::new(),
            actors: JoinSet::new(),
            looks: JoinSet::new(),
            orphans: JoinSet::new(),
        }
    }

    /// Sends until `stop`, or until the lease is lost; then waits until nothing is on its way.
    ///
    /// # Errors
    /// If an actor died, or NATS ended the subscriptions.
    pub(crate) async fn run(mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        let over = stop.child_token();
        let lost = self.lease.lost().clone();
        let outcome = tokio::select! {
            outcome = self.follow(&over) => outcome,
            () = stop.cancelled() => Ok(()),
            () = lost.cancelled() => Ok(()),
        };
        over.cancel();
        let mut drained = Ok(());
        while let Some(ended) = self.actors.join_next().await {
            match ended.context("a channel's actor died").flatten() {
                Ok((channel, governor)) => self.rates.give_back(channel, governor),
                Err(failure) => drained = Err(failure),
            }
        }
        while let Some(ended) = self.orphans.join_next().await {
            drained = drained.and(ended.context(ORPHANS_DIED));
        }
        outcome.and(drained)
    }

    async fn follow(&mut self, over: &CancellationToken) -> anyhow::Result<()> {
        let mut wakes = self.shared.queue.wakes().await?;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                wake = wakes.next() => self.wake(&wake.context("the wake-ups ended")?, over),
                channel = self.rates.next() => self.received(&channel?),
                Some(ended) = self.actors.join_next() => {
                    let (channel, governor) = ended.context("a channel's actor died")??;
                    self.mailboxes.remove(&channel);
                    self.rates.give_back(channel, governor);
                }
                Some(looked) = self.looks.join_next() => {
                    self.looked(looked.context("a look through the queue died")?, over);
                }
                Some(ended) = self.orphans.join_next() => ended.context(ORPHANS_DIED)?,
                _ = look.tick() => {
                    self.rates.tidy();
                    if self.looks.is_empty() {
                        let queue = self.shared.queue.clone();
                        self.looks.spawn(async move { queue.backlog().await });
                    }
                }
            }
        }
    }

    /// Wakes the lane's channel, if it is registered for that tenant.
    fn wake(&mut self, lane: &SendSubject, over: &CancellationToken) {
        if let Some((tenant, mailbox)) = self.mailboxes.get(&lane.channel) {
            if *tenant == lane.tenant {
                mailbox.wake(lane.lane);
            }
            return;
        }
        let registry = self.shared.registry.load();
        let Some(channel) = registry.channel(&lane.channel) else { return };
        if channel.tenant.id != lane.tenant {
            return;
        }
        let mailbox = Arc::<Mailbox>::default();
        let actor = ChannelActor::new(
            self.shared.clone(),
            self.ledger.clone(),
            self.lease.clone(),
            channel,
            self.rates.take(&lane.channel, channel.rate),
            Arc::clone(&mailbox),
            over.clone(),
        );
        let id = lane.channel.clone();
        self.actors.spawn(async move { actor.run().await.map(|governor| (id, governor)) });
        self.mailboxes.insert(lane.channel.clone(), (lane.tenant.clone(), mailbox));
    }

    fn received(&mut self, channel: &ChannelId) {
        match self.mailboxes.get(channel) {
            Some((_, mailbox)) => mailbox.received(),
            None => self.rates.count(channel),
        }
    }

    fn looked(&mut self, backlog: Result<Vec<LaneBacklog>, QueueError>, over: &CancellationToken) {
        let backlog = match backlog {
            Ok(backlog) => backlog,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "looking again in a moment");
                return;
            }
        };
        let registry = self.shared.registry.load();
        let mut orphans = Vec::new();
        for LaneBacklog { subject: lane, .. } in backlog {
            let channel = registry.channel(&lane.channel);
            // Its last actor may still be finishing what it began.
            let served = self.mailboxes.get(&lane.channel).is_some_and(|(tenant, _)| *tenant == lane.tenant);
            if served || channel.is_some_and(|channel| channel.tenant.id == lane.tenant) {
                self.wake(&lane, over);
            } else {
                orphans.push(lane);
            }
        }
        if !orphans.is_empty() && self.orphans.is_empty() {
            let (shared, ledger, lease) = (self.shared.clone(), self.ledger.clone(), self.lease.clone());
            let orphanage = Orphans { shared, ledger, lease, over: over.clone() };
            self.orphans.spawn(orphanage.give_up(orphans));
        }
    }
}
