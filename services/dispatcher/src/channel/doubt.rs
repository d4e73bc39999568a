//! Commands whose request has no answer: a status settles them, or the tenant's policy does when none came.

use std::time::Duration;

use jiff::Timestamp;
use staffetta_bus::{DoubtPolicy, WebhookProgress, boot_time};
use staffetta_domain::{CommandState, Lane};
use staffetta_store::CommandRecord;
use tracing::{debug, warn};

use super::{ChannelActor, Done};
use crate::lane::Queued;

/// Commands of one channel that are in doubt.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    open: Vec<Doubt>,
    looking: bool,
    look_at: Duration,
}

#[derive(Debug)]
struct Doubt {
    lane: Lane,
    queued: Queued,
    attempt: u32,
    /// When this owner began to wait for a status. What passed before does not count: if everything was down, the
    /// provider's statuses are still on their way.
    since: Duration,
    recorded: Recorded,
}

/// Waits until the webhooks that have come are recorded.
#[derive(Debug, Default)]
struct Recorded {
    /// The youngest one when the wait for a status was over.
    up_to: Option<u64>,
}

/// What the database says of the doubts, and how far the webhooks are that may say more.
#[derive(Debug)]
pub(super) struct Standing {
    records: Option<Vec<Option<CommandRecord>>>,
    webhooks: Option<WebhookProgress>,
}

/// How often the database is asked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Doubts {
    pub(super) fn add(&mut self, lane: Lane, queued: Queued, attempt: u32) {
        self.open.push(Doubt { lane, queued, attempt, since: boot_time(), recorded: Recorded::default() });
    }
}

impl Recorded {
    /// Whether every webhook that had come when this was first asked is recorded.
    fn is_done(&mut self, webhooks: WebhookProgress) -> bool {
        webhooks.open > *self.up_to.get_or_insert(webhooks.last)
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
            // The webhooks first: a status that is recorded in between is seen in the records.
            let webhooks = bus.webhook_progress().await.ok();
            let records = ledger.standing(&keys).await;
            if let Err(error) = &records {
                warn!(error = error as &dyn std::error::Error, "doubts could not be looked up");
            }
            Done::Doubts(Standing { records: records.ok(), webhooks })
        }));
        None
    }

    pub(super) fn judge_doubts(&mut self, standing: Standing) {
        self.doubts.looking = false;
        // Once the lease is lost the next owner waits and judges.
        let (Some(mut records), false) = (standing.records, self.stopping || !self.lease.is_valid()) else {
            return;
        };
        let open = std::mem::take(&mut self.doubts.open);
        // Doubts that came up while the database was asked have no record here.
        records.resize_with(open.len(), || None);
        let wait = self.shared.settings.doubt_wait;
        for (mut doubt, record) in open.into_iter().zip(records) {
            let state = record.map_or(CommandState::InDoubt, |record| record.state);
            if state.is_final() {
                debug!(channel = %self.id, command = %doubt.queued.command.id, state = state.as_str(), "doubt settled");
                self.lanes[doubt.lane as usize].done(&doubt.queued);
                self.close(doubt.lane, doubt.queued.sequence());
            } else if state == CommandState::Queued {
                // Whoever claimed it gave it back unsent.
                self.lanes[doubt.lane as usize].again(&doubt.queued);
            } else if boot_time() >= doubt.since + wait
                && standing.webhooks.is_some_and(|webhooks| doubt.recorded.is_done(webhooks))
            {
                // An expired one is not sent again, and nobody may say that it never was.
                match self.doubt_policy() {
                    DoubtPolicy::Resend if !doubt.queued.is_over(Timestamp::now()) => {
                        self.resend(doubt.lane, doubt.queued, doubt.attempt);
                    }
                    _ => self.fail_unknown(doubt.lane, doubt.queued, doubt.attempt),
                }
            } else {
                self.doubts.open.push(doubt);
            }
        }
    }

    fn doubt_policy(&self) -> DoubtPolicy {
        let registry = self.shared.registry.load();
        registry.tenant(&self.tenant).map(|tenant| tenant.doubt_policy).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_waits_to_be_recorded_is_waited_for_and_no_later_one() {
        let mut recorded = Recorded::default();
        assert!(!recorded.is_done(WebhookProgress { open: 5, last: 7 }));
        assert!(!recorded.is_done(WebhookProgress { open: 7, last: 20 }));
        assert!(recorded.is_done(WebhookProgress { open: 8, last: 30 }));
        assert!(Recorded::default().is_done(WebhookProgress { open: 1, last: 0 }), "none ever came");
    }
}
