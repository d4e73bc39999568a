//! Commands for a channel that their tenant does not have: told alike whether somebody else has it or nobody.

use futures_util::stream::{self, StreamExt};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use staffetta_bus::{Lease, QueuedMessage, SendSubject, trace_of};
use staffetta_domain::{CommandId, CommandState, Event, EventType};
use staffetta_store::{CommandRecord, Outcome, Settlement};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::Shared;
use crate::events::{command_event, command_id, dead_letter};
use crate::ledger::Ledger;

/// How long such a command waits for its channel: it may be registered a moment later.
const GRACE: SignedDuration = SignedDuration::from_secs(10);
/// Most commands of a lane that are given up at a time.
const BATCH: usize = 100;
/// Lanes at the same time.
const PARALLEL: usize = 8;

/// Gives up what has waited long enough in these lanes.
pub(crate) struct Orphans {
    pub(crate) shared: Shared,
    pub(crate) ledger: Ledger,
    pub(crate) lease: Lease,
    pub(crate) over: CancellationToken,
}

/// What becomes of one of them.
enum Fate {
    /// It has ended before; only its entry is left.
    Over,
    /// It was never sent.
    Reject,
    /// It may have been sent, and nothing has told so in time.
    Unknown,
    /// Not yet.
    Wait,
}

impl Orphans {
    /// Looks at each lane once. What fails is looked at again the next time.
    pub(crate) async fn give_up(self, lanes: Vec<SendSubject>) {
        let this = &self;
        let lanes = stream::iter(lanes).map(|lane| async move {
            if let Err(failure) = this.give_up_lane(&lane).await {
                warn!(error = format!("{failure:#}"), "commands without a channel wait");
            }
        });
        lanes.buffer_unordered(PARALLEL).collect::<()>().await;
    }

    async fn give_up_lane(&self, lane: &SendSubject) -> anyhow::Result<()> {
        let batch = self.shared.queue.read(lane, 1, BATCH, 0).await?;
        let ids: Vec<CommandId> = batch.messages.iter().map(|message| command_id(lane, message)).collect();
        let keys: Vec<_> = ids.iter().map(|id| (lane.tenant.clone(), id.clone())).collect();
        let records = self.ledger.standing(&keys).await?;
        let mut floor = None;
        for ((message, id), record) in batch.messages.iter().zip(&ids).zip(&records) {
            // A process that slept may hold an old registry, and no longer the lease.
            if self.over.is_cancelled() || !self.lease.is_valid() || self.has_channel(lane) {
                break;
            }
            match self.fate(message, record.as_ref()) {
                Fate::Over => {}
                Fate::Wait => break,
                Fate::Reject => {
                    let why = "the tenant has no such channel";
                    self.end(lane, message, id, "unknown_channel", Settlement::Rejected(why.into()), why)
                        .await?;
                }
                Fate::Unknown => {
                    let why = "the channel is gone, and nobody knows whether it was sent";
                    self.end(lane, message, id, "outcome_unknown", Settlement::Failed(why.into()), why)
                        .await?;
                }
            }
            floor = Some(message.sequence.saturating_add(1));
        }
        if let Some(floor) = floor {
            self.shared.queue.purge_below(lane, floor).await?;
        }
        Ok(())
    }

    /// Whether the tenant has the channel by now.
    fn has_channel(&self, lane: &SendSubject) -> bool {
        let registry = self.shared.registry.load();
        registry.channel(&lane.channel).is_some_and(|channel| channel.tenant.id == lane.tenant)
    }

    fn fate(&self, message: &QueuedMessage, record: Option<&CommandRecord>) -> Fate {
        let now = Timestamp::now();
        match record.map(|record| (record.state, record.updated)) {
            _ if now.duration_since(message.stored) < GRACE => Fate::Wait,
            None | Some((CommandState::Queued, _)) => Fate::Reject,
            Some((CommandState::Sending | CommandState::InDoubt, since)) => {
                let wait = SignedDuration::try_from(self.shared.settings.doubt_wait);
                let waited = now.duration_since(since) >= wait.unwrap_or(SignedDuration::MAX).max(GRACE);
                if waited { Fate::Unknown } else { Fate::Wait }
            }
            Some(_) => Fate::Over,
        }
    }

    async fn end(
        &self,
        lane: &SendSubject,
        message: &QueuedMessage,
        id: &CommandId,
        code: &'static str,
        settlement: Settlement,
        why: &'static str,
    ) -> anyhow::Result<()> {
        let at = Timestamp::now();
        self.shared.dead.write(&dead_letter(lane, message, id, code, why.into(), at)).await?;
        let kind = match settlement {
            Settlement::Rejected(_) => EventType::CommandRejected,
            _ => EventType::CommandFailed,
        };
        let data = json!({ "code": code, "reason": why });
        let trace = trace_of(Some(&message.headers));
        let event = command_event(&lane.tenant, &lane.channel, id, kind, "", at, data);
        let event = Event { trace, ..event };
        let outcome = Outcome {
            tenant: lane.tenant.clone(),
            channel: lane.channel.clone(),
            lane: lane.lane,
            id: id.clone(),
            epoch: self.lease.epoch(),
            user: None,
            called: None,
            at,
            settlement,
            event: Some(event),
            reach: None,
        };
        self.ledger.settle(outcome).await?;
        Ok(())
    }
}
