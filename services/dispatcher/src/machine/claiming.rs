//! Before a command is sent the database knows that it is about to be, and says how channel and user stand.

use std::time::Duration;

use serde_json::json;
use staffetta_domain::{CommandState, Event, EventType, Lane, TraceParent, hint};
use staffetta_store::{Claim, Claimed, Settlement, Standing};
use tracing::debug;

use super::sending::Armed;
use super::window::Fate;
use super::{Action, Machine, Now};
use crate::events::command_event;
use crate::governor::Turn;
use crate::lane::Queued;

/// Most commands of one claim.
const MOST: usize = 100;

impl Machine {
    /// As many as leave within about a tenth of a second: what is claimed and not sent when the process dies is doubt.
    pub(super) fn claim_more(&mut self, lane: Lane, now: &Now) {
        let index = lane as usize;
        let target = match self.hold.is_trying() {
            true => 1,
            false => (self.governor.limit_now(now.boot) as usize / 10).clamp(1, MOST),
        };
        let waiting = self.armed[index].len() + self.claiming[index];
        if waiting > target / 2
            || (lane != Lane::Urgent && self.doubts.are_too_many())
            || !self.lanes[index].has_ready()
        {
            return;
        }
        let mut batch = Vec::new();
        while batch.len() < target
            && let Some(queued) = self.lanes[index].take()
        {
            match self.may_go_at(&queued, now) {
                Some(at) => self.lanes[index].park(&queued, at),
                None => {
                    self.pairs.take(queued.command.to.key(), now.boot);
                    batch.push(queued);
                }
            }
        }
        if batch.is_empty() {
            return;
        }
        self.claiming[index] += batch.len();
        let mut claims = Vec::with_capacity(batch.len());
        for queued in &batch {
            let trace = self.begin_span(lane, &queued.message, &queued.command.id, now);
            claims.push(self.claim(lane, queued, trace, now));
        }
        self.todo.push(Action::Claim { lane, batch, claims });
    }

    /// When the command may go, if that is not now: it is not due, or its user has got enough for the moment.
    fn may_go_at(&mut self, queued: &Queued, now: &Now) -> Option<Duration> {
        let due = queued.command.send_at.map(|at| at.duration_since(now.wall));
        if let Some(wait) = due.and_then(|wait| Duration::try_from(wait).ok()).filter(|wait| !wait.is_zero())
        {
            return Some(now.boot + wait);
        }
        match self.pairs.turn(queued.command.to.key(), now.boot) {
            Turn::Now => None,
            // Expired, it makes room for those behind it: nobody is sent anything.
            Turn::At(_) if queued.is_over(now.wall) => None,
            Turn::At(at) => Some(at),
        }
    }

    fn claim(&self, lane: Lane, queued: &Queued, trace: Option<TraceParent>, now: &Now) -> Claim {
        let command = &queued.command;
        Claim {
            tenant: self.tenant.clone(),
            channel: self.id.clone(),
            id: command.id.clone(),
            lane,
            user: command.to.key().to_owned(),
            kind: command.kind.clone(),
            content: command.content.to_string(),
            callback_data: command.callback_data.clone(),
            epoch: self.epoch,
            sequence: i64::try_from(queued.sequence()).unwrap_or(i64::MAX),
            at: now.wall,
            // Of each owner's doubts about a command that it found claimed: it finds it so once.
            in_doubt: self.in_doubt_event(
                queued,
                &self.epoch.to_string(),
                "its sender died before the answer",
                now,
            ),
            trace,
        }
    }

    pub(super) fn in_doubt_event(&self, queued: &Queued, once_per: &str, reason: &str, now: &Now) -> Event {
        let data = json!({ "reason": reason });
        let kind = EventType::CommandInDoubt;
        let trace = self.spans.context(&queued.message);
        let event = command_event(&self.tenant, &self.id, &queued.command.id, kind, once_per, now.wall, data);
        Event { trace, ..event }
    }

    pub(super) fn claimed(
        &mut self,
        lane: Lane,
        batch: Vec<Queued>,
        answers: Vec<Option<Claimed>>,
        now: &Now,
    ) {
        self.claiming[lane as usize] -= batch.len();
        for (queued, claimed) in batch.into_iter().zip(answers) {
            if !matches!(claimed, Some(Claimed::Granted { .. } | Claimed::InDoubt { .. })) {
                self.pairs.give_back(queued.command.to.key());
            }
            match claimed {
                Some(Claimed::Granted { attempt, perhaps_sent, user }) => {
                    let armed = Armed { lane, queued, attempt, perhaps_sent, carried: None, reach: None };
                    self.granted_claim(armed, &user, now);
                }
                Some(Claimed::Known(state)) => self.known(lane, &queued, state, now),
                Some(Claimed::InDoubt { attempt, .. }) => {
                    self.spans.end_as(queued.sequence(), "in_doubt");
                    // What an owner before sent has arrived, or never does.
                    self.pairs.answered(queued.command.to.key(), now.boot, now.boot);
                    self.doubt(lane, queued, attempt, now);
                }
                None => self.give_up(lane, queued, now),
            }
        }
        if self.stopping || self.waits_until(now).is_some() {
            self.disarm(now);
        }
    }

    /// Only now is it sure that no earlier owner is sending it.
    fn granted_claim(&mut self, armed: Armed, user: &Standing, now: &Now) {
        if armed.queued.is_over(now.wall) {
            self.pairs.give_back(armed.queued.command.to.key());
            return self.expire_armed(armed, now);
        }
        match self.fate(&armed.queued.command, user, now) {
            Fate::Send(carried) => {
                self.armed[armed.lane as usize].push_back(Armed { carried, ..armed });
            }
            Fate::Refuse { code, reason, provider } => {
                self.pairs.give_back(armed.queued.command.to.key());
                let Armed { lane, queued, attempt, perhaps_sent, .. } = armed;
                if perhaps_sent {
                    // Rejected would say that it never was.
                    return self.fail_unknown(lane, queued, attempt, now);
                }
                let error = provider.map(|code| json!({ "code": code, "hint": hint(code) }));
                let data = json!({ "code": code, "reason": reason, "error": error });
                let event = self.event(&queued, EventType::CommandRejected, data, now);
                let letter = self.letter(lane, &queued, code, reason.into(), now);
                self.finish(lane, queued, Settlement::Rejected(reason.into()), event, Some(letter), now);
            }
        }
    }

    fn known(&mut self, lane: Lane, queued: &Queued, state: CommandState, now: &Now) {
        self.spans.end_as(queued.sequence(), "known");
        if !state.is_final() && !now.may_send {
            // It may be the next owner who sends it, from this very entry: the entry stays.
            return;
        }
        debug!(command = %queued.command.id, state = state.as_str(), "a copy of a known command");
        self.copies += 1;
        self.lanes[lane as usize].done(queued);
        self.close(lane, queued.sequence(), now);
    }
}
