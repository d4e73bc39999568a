//! Commands whose request has no answer: a status settles them, or the tenant's policy does when none came.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use staffetta_bus::DoubtPolicy;
use staffetta_domain::{CommandState, Lane};
use staffetta_store::CommandRecord;
use tracing::{debug, warn};

use super::{ChannelActor, Done};
use crate::lane::Queued;

/// Commands of one channel that are in doubt.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    open: Vec<Doubt>,
    looking: bool,
    look_at: Duration,
}

#[derive(Clone, Debug)]
struct Doubt {
    lane: Lane,
    queued: Queued,
    attempt: u32,
    since: Timestamp,
}

/// What the database says of the doubts, and whether webhooks wait that may say more.
#[derive(Debug)]
pub(crate) struct Standing {
    records: Option<Vec<Option<CommandRecord>>>,
    all_recorded: bool,
}

/// How often the database is asked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Doubts {
    pub(super) fn add(&mut self, lane: Lane, queued: Queued, attempt: u32, since: Timestamp) {
        self.open.push(Doubt { lane, queued, attempt, since });
    }
}

impl ChannelActor {
    /// Asks the database what became of the doubts, once a second.
    pub(super) fn look_at_doubts(&mut self, now: Duration) -> Option<Duration> {
        if self.doubts.open.is_empty() || self.doubts.looking {
            return None;
        }
        if now < self.doubts.look_at {
            return Some(self.doubts.look_at);
        }
        self.doubts.looking = true;
        self.doubts.look_at = now + LOOK_EVERY;
        let keys: Vec<_> = self
            .doubts
            .open
            .iter()
            .map(|doubt| (self.tenant.clone(), doubt.queued.command.id.clone()))
            .collect();
        let (ledger, bus) = (self.ledger.clone(), self.shared.bus.clone());
        self.work.push(Box::pin(async move {
            // The backlog first: a status that is recorded in between is seen in the records.
            let all_recorded = matches!(bus.webhook_backlog().await, Ok(0));
            let records = ledger.standing(&keys).await;
            if let Err(error) = &records {
                warn!(error = error as &dyn std::error::Error, "doubts could not be looked up");
            }
            Done::Doubts(Standing { records: records.ok(), all_recorded })
        }));
        None
    }

    pub(super) fn judge_doubts(&mut self, standing: Standing) -> anyhow::Result<()> {
        self.doubts.looking = false;
        let Some(mut records) = standing.records else { return Ok(()) };
        let open = std::mem::take(&mut self.doubts.open);
        // Doubts that came up while the database was asked have no record here.
        records.resize_with(open.len(), || None);
        for (doubt, record) in open.into_iter().zip(records) {
            let state = record.map_or(CommandState::InDoubt, |record| record.state);
            if state.is_final() {
                debug!(channel = %self.id, command = %doubt.queued.command.id, state = state.as_str(), "doubt settled");
                self.lanes[doubt.lane as usize].done(&doubt.queued);
                self.close(doubt.lane, doubt.queued.sequence());
            } else if state == CommandState::Queued {
                // Whoever claimed it gave it back unsent.
                self.lanes[doubt.lane as usize].again(&doubt.queued);
            } else if standing.all_recorded && self.is_over(&doubt) {
                match self.doubt_policy() {
                    DoubtPolicy::Resend => self.resend(doubt.lane, doubt.queued, doubt.attempt),
                    DoubtPolicy::Park => self.fail_unknown(doubt.lane, doubt.queued, doubt.attempt),
                }
            } else {
                self.doubts.open.push(doubt);
            }
        }
        Ok(())
    }

    fn is_over(&self, doubt: &Doubt) -> bool {
        let wait = SignedDuration::try_from(self.shared.settings.doubt_wait).unwrap_or(SignedDuration::MAX);
        Timestamp::now().duration_since(doubt.since) >= wait
    }

    fn doubt_policy(&self) -> DoubtPolicy {
        let registry = self.shared.registry.load();
        registry.tenant(&self.tenant).map(|tenant| tenant.doubt_policy).unwrap_or_default()
    }
}
