//! One ownership of SEND: an actor for each channel that has something to send.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use staffetta_bus::{Encoding, LaneBacklog, Lease, QueuedMessage, SendSubject, command_fields};
use staffetta_domain::{ChannelId, CommandId, EventType, TenantId};
use staffetta_store::{Outcome, Settlement};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::Shared;
use crate::channel::{ChannelActor, Mailbox};
use crate::events::{command_event, dead_letter};
use crate::ledger::Ledger;

/// How often the whole queue is looked through: a wake-up may be missed.
const LOOK: Duration = Duration::from_secs(5);
/// How long a command for a channel that is not registered waits for it.
const UNKNOWN_GRACE: SignedDuration = SignedDuration::from_secs(10);
/// Most commands without a channel that are given up at a time.
const UNKNOWN_BATCH: usize = 100;

pub(crate) struct Session {
    shared: Shared,
    ledger: Ledger,
    lease: Lease,
    mailboxes: HashMap<ChannelId, (TenantId, Arc<Mailbox>)>,
    actors: JoinSet<anyhow::Result<ChannelId>>,
}

impl Session {
    pub(crate) fn new(shared: Shared, ledger: Ledger, lease: Lease) -> Self {
        Self { shared, ledger, lease, mailboxes: HashMap::new(), actors: JoinSet::new() }
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
            if let Err(failure) = ended.context("a channel's actor died").flatten() {
                drained = Err(failure);
            }
        }
        outcome.and(drained)
    }

    async fn follow(&mut self, over: &CancellationToken) -> anyhow::Result<()> {
        let mut wakes = self.shared.queue.wakes().await?;
        let mut received = self.shared.queue.received().await?;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                wake = wakes.next() => self.wake(&wake.context("the wake-ups ended")?, over),
                channel = received.next() => {
                    if let Some((_, mailbox)) = self.mailboxes.get(&channel.context("the receipts ended")?) {
                        mailbox.received();
                    }
                }
                Some(ended) = self.actors.join_next() => {
                    let channel = ended.context("a channel's actor died")??;
                    self.mailboxes.remove(&channel);
                }
                _ = look.tick() => self.look_through(over).await,
            }
        }
    }

    /// Wakes the lane's channel. False if no such channel is registered for that tenant.
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
            Arc::clone(&mailbox),
        );
        let (id, over) = (lane.channel.clone(), over.clone());
        self.actors.spawn(async move { actor.run(over).await.map(|()| id) });
        self.mailboxes.insert(lane.channel.clone(), (lane.tenant.clone(), mailbox));
    }

    async fn look_through(&mut self, over: &CancellationToken) {
        let backlog = match self.shared.queue.backlog().await {
            Ok(backlog) => backlog,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "looking again in a moment");
                return;
            }
        };
        let registry = self.shared.registry.load();
        for LaneBacklog { subject: lane, .. } in backlog {
            let owned =
                registry.channel(&lane.channel).is_some_and(|channel| channel.tenant.id == lane.tenant);
            if owned {
                self.wake(&lane, over);
            } else if let Err(failure) = self.give_up_unknown(&lane).await {
                warn!(error = format!("{failure:#}"), "commands without a channel wait");
            }
        }
    }

    /// Commands for a channel that the tenant does not have: told alike whether somebody else has it or nobody.
    async fn give_up_unknown(&self, lane: &SendSubject) -> anyhow::Result<()> {
        let batch = self.shared.queue.read(lane, 1, UNKNOWN_BATCH).await?;
        let now = Timestamp::now();
        let mut floor = None;
        for message in &batch.messages {
            if now.duration_since(message.stored) < UNKNOWN_GRACE {
                break;
            }
            let id = id_of(lane, message);
            let detail = "the tenant has no such channel";
            let letter = dead_letter(lane, message, &id, "unknown_channel", detail.into(), now);
            self.shared.dead.write(&letter).await?;
            let data = json!({ "code": "unknown_channel", "reason": detail });
            let event =
                command_event(&lane.tenant, &lane.channel, &id, EventType::CommandRejected, "", now, data);
            let outcome = Outcome {
                tenant: lane.tenant.clone(),
                channel: lane.channel.clone(),
                lane: lane.lane,
                id,
                user: None,
                at: now,
                settlement: Settlement::Rejected(detail.into()),
                event: Some(event),
            };
            self.ledger.settle(outcome).await?;
            floor = Some(message.sequence + 1);
        }
        if let Some(floor) = floor {
            self.shared.queue.purge_below(lane, floor).await?;
        }
        Ok(())
    }
}

fn id_of(lane: &SendSubject, message: &QueuedMessage) -> CommandId {
    let fields = command_fields(Encoding::of(Some(&message.headers)), &message.payload).ok();
    let named = fields.and_then(|fields| fields.id).or_else(|| message.message_id().map(str::to_owned));
    named.and_then(|id| id.parse().ok()).unwrap_or_else(|| {
        CommandId::made_up(&[&lane.subject(), &message.sequence.to_string(), &message.stored.to_string()])
    })
}
