//! Before a command is sent the database knows that it is about to be.

use jiff::Timestamp;
use staffetta_domain::{CommandState, Event, EventType, Lane};
use staffetta_runtime::crash::crash_point;
use staffetta_store::{Claim, Claimed};
use tracing::debug;

use super::sending::Armed;
use super::{ChannelActor, Done};
use crate::events::command_event;
use crate::lane::Queued;

/// Most commands of one claim.
const MOST: usize = 50;

impl ChannelActor {
    /// As many as leave within about a tenth of a second: what is claimed and not sent when the process dies is doubt.
    pub(super) fn claim_more(&mut self, lane: Lane) {
        let lane_index = lane as usize;
        let target = if self.hold.is_trying() { 1 } else { (self.rate() / 10).clamp(1, MOST) };
        let waiting = self.armed[lane_index].len() + self.claiming[lane_index];
        if waiting > target / 2 || !self.lanes[lane_index].has_ready() {
            return;
        }
        let taken = std::iter::from_fn(|| self.lanes[lane_index].take());
        let batch: Vec<Queued> = taken.take(target).collect();
        if batch.is_empty() {
            return;
        }
        self.claiming[lane_index] += batch.len();
        let now = Timestamp::now();
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
            // Of each owner's doubts about a command that it found claimed: it finds it so once.
            in_doubt: self.in_doubt_event(queued, &epoch.to_string(), "its sender died before the answer"),
        }
    }

    pub(super) fn in_doubt_event(&self, queued: &Queued, once_per: &str, reason: &str) -> Event {
        let data = serde_json::json!({ "reason": reason });
        let (kind, now) = (EventType::CommandInDoubt, Timestamp::now());
        command_event(&self.tenant, &self.id, &queued.command.id, kind, once_per, now, data)
    }

    pub(super) fn claimed(
        &mut self,
        lane: Lane,
        batch: Vec<Queued>,
        answers: anyhow::Result<Vec<Option<Claimed>>>,
    ) -> anyhow::Result<()> {
        crash_point("dispatcher.claimed");
        self.claiming[lane as usize] -= batch.len();
        let now = Timestamp::now();
        for (queued, claimed) in batch.into_iter().zip(answers?) {
            match claimed {
                // Only now is it sure that no earlier owner has sent it.
                Some(Claimed::Granted { .. }) if queued.is_over(now) => self.expire(lane, queued),
                Some(Claimed::Granted { attempt }) => {
                    self.armed[lane as usize].push_back(Armed { lane, queued, attempt })
                }
                Some(Claimed::Known(state)) => self.known(lane, &queued, state),
                Some(Claimed::InDoubt { attempt, .. }) => self.doubts.add(lane, queued, attempt),
                None => self.give_up(lane, queued),
            }
        }
        if self.stopping || self.hold.until(staffetta_bus::boot_time()).is_some() {
            self.disarm();
        }
        Ok(())
    }

    fn known(&mut self, lane: Lane, queued: &Queued, state: CommandState) {
        if !state.is_final() && !self.lease.is_valid() {
            // It may be the next owner who sends it, from this very entry: the entry stays.
            return;
        }
        debug!(command = %queued.command.id, state = state.as_str(), "a copy of a known command");
        self.shared.metrics.copies.add(1, &[]);
        self.lanes[lane as usize].done(queued);
        self.close(lane, queued.sequence());
    }
}
