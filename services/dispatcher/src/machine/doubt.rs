//! Commands whose request has no answer: a status settles them, or the tenant's policy does when none came.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use staffetta_bus::{DoubtPolicy, WebhookProgress};
use staffetta_domain::{CommandState, Lane};
use staffetta_store::CommandRecord;
use tracing::{debug, warn};

use super::{Action, Machine, Now};
use crate::lane::Queued;

/// Commands of one channel that are in doubt.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    open: Vec<Doubt>,
    looking: bool,
    look_at: Duration,
    /// When the provider accepted something of which no status has come since.
    untold: Option<Timestamp>,
}

#[derive(Debug)]
struct Doubt {
    lane: Lane,
    queued: Queued,
    attempt: u32,
    /// When this owner began to wait for a status, or when webhooks began to flow again. What passed before does not
    /// count: if everything was down, the provider's statuses are still on their way.
    since: Duration,
    /// When this owner first knew of it.
    begun: Duration,
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
pub(crate) struct Evidence {
    pub(crate) records: Option<Vec<Option<CommandRecord>>>,
    pub(crate) webhooks: Option<WebhookProgress>,
    /// When a status of the channel was last told.
    pub(crate) last_status: Option<Timestamp>,
}

/// Most doubts of one channel, but for urgent ones.
const MOST: usize = 10_000;
/// How often the database is asked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How far the clock of NATS may be behind ours.
const CLOCKS: Duration = Duration::from_secs(2);
/// How long no status of anything accepted may come before webhooks count as not flowing.
const SILENCE: Duration = Duration::from_secs(20);
/// The longest that webhooks which don't flow keep a doubt open.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

impl Doubts {
    /// Whether there are so many that nothing more is sent: whatever answers is not the provider, or not well.
    pub(super) fn are_too_many(&self) -> bool {
        self.open.len() >= MOST
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.open.len()
    }

    fn add(&mut self, lane: Lane, queued: Queued, attempt: u32, now: &Now) {
        if self.open.len() + 1 == MOST {
            warn!(command = %queued.command.id, MOST, "so many commands are in doubt that only urgent ones are sent");
        }
        let (since, recorded) = (now.boot, Recorded::default());
        self.open.push(Doubt { lane, queued, attempt, since, begun: now.boot, recorded });
    }

    /// The provider accepted a command whose request was begun then: statuses should follow, and may have come before
    /// the answer.
    pub(super) fn accepted(&mut self, begun: Duration, now: &Now) {
        let before = now.boot.saturating_sub(begun) + CLOCKS;
        let since =
            SignedDuration::try_from(before).ok().and_then(|before| now.wall.checked_sub(before).ok());
        self.untold.get_or_insert(since.unwrap_or(now.wall));
    }

    /// Whether statuses come, as far as what was accepted lets anybody tell.
    fn webhooks_flow(&mut self, last_status: Option<Timestamp>, now: &Now) -> bool {
        if self.untold.is_some_and(|since| last_status.is_some_and(|status| status >= since)) {
            self.untold = None;
        }
        let silent = |since: Timestamp| {
            Duration::try_from(now.wall.duration_since(since)).is_ok_and(|silent| silent >= SILENCE)
        };
        !self.untold.is_some_and(silent)
    }
}

impl Recorded {
    /// Whether every webhook that had come when this was first asked is recorded.
    fn is_done(&mut self, webhooks: WebhookProgress) -> bool {
        webhooks.open > *self.up_to.get_or_insert(webhooks.last)
    }
}

impl Machine {
    /// The command's recipient waits in this lane until a status, or the policy, settles it.
    pub(super) fn doubt(&mut self, lane: Lane, queued: Queued, attempt: u32, now: &Now) {
        self.lanes[lane as usize].park(&queued, Duration::MAX);
        self.doubts.add(lane, queued, attempt, now);
    }

    /// Asks the database what became of the doubts, once a second.
    pub(super) fn look_at_doubts(&mut self, now: &Now) -> Option<Duration> {
        if self.doubts.open.is_empty() || self.doubts.looking {
            return None;
        }
        if now.boot < self.doubts.look_at {
            return Some(self.doubts.look_at);
        }
        self.doubts.looking = true;
        self.doubts.look_at = now.boot + LOOK_EVERY;
        let key = |doubt: &Doubt| (self.tenant.clone(), doubt.queued.command.id.clone());
        let keys = self.doubts.open.iter().map(key).collect();
        self.todo.push(Action::LookAtDoubts { keys });
        None
    }

    pub(super) fn judge_doubts(&mut self, evidence: Evidence, now: &Now) {
        self.doubts.looking = false;
        // Once the lease is lost the next owner waits and judges.
        let (Some(mut records), false) = (evidence.records, self.stopping || !now.may_send) else {
            return;
        };
        let flow = self.doubts.webhooks_flow(evidence.last_status, now);
        let open = std::mem::take(&mut self.doubts.open);
        // Doubts that came up while the database was asked have no record here.
        records.resize_with(open.len(), || None);
        let wait = self.settings.doubt_wait;
        for (mut doubt, record) in open.into_iter().zip(records) {
            let state = record.map_or(CommandState::InDoubt, |record| record.state);
            if !flow && now.boot < doubt.begun + LONGEST {
                doubt.since = now.boot;
                doubt.recorded = Recorded::default();
            }
            if state.is_final() {
                debug!(channel = %self.id, command = %doubt.queued.command.id, state = state.as_str(), "doubt settled");
                self.lanes[doubt.lane as usize].done(&doubt.queued);
                self.close(doubt.lane, doubt.queued.sequence(), now);
            } else if state == CommandState::Queued {
                // Whoever claimed it gave it back unsent.
                self.lanes[doubt.lane as usize].again(&doubt.queued);
            } else if now.boot >= doubt.since + wait
                && evidence.webhooks.is_some_and(|webhooks| doubt.recorded.is_done(webhooks))
            {
                // An expired one is not sent again, and nobody may say that it never was.
                match self.view.doubt_policy {
                    DoubtPolicy::Resend if !doubt.queued.is_over(now.wall) => {
                        self.resend(doubt.lane, doubt.queued, doubt.attempt, now);
                    }
                    _ => self.fail_unknown(doubt.lane, doubt.queued, doubt.attempt, now),
                }
            } else {
                self.doubts.open.push(doubt);
            }
        }
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

    fn now(second: i64) -> Now {
        let wall = Timestamp::from_second(1_790_000_000 + second).unwrap();
        let boot = Duration::from_secs(1_000 + second.unsigned_abs());
        Now { boot, wall, may_send: true, quota: None }
    }

    #[test]
    fn webhooks_flow_unless_something_accepted_has_no_status() {
        let mut doubts = Doubts::default();
        assert!(doubts.webhooks_flow(None, &now(500)), "nothing was accepted");
        doubts.accepted(now(0).boot, &now(0));
        assert!(doubts.webhooks_flow(None, &now(17)));
        assert!(!doubts.webhooks_flow(Some(now(-3).wall), &now(18)));
        assert!(doubts.webhooks_flow(Some(now(21).wall), &now(22)));
        doubts.accepted(now(23).boot, &now(23));
        assert!(!doubts.webhooks_flow(Some(now(20).wall), &now(60)));
    }
}
