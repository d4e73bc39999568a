//! The ends of commands: outcome, event, letter.

use serde_json::json;
use staffetta_bus::DeadLetter;
use staffetta_domain::{CommandId, Event, EventType, Lane, ProviderError, Reach};
use staffetta_store::{Outcome, Settlement};

use super::sending::Armed;
use super::{Action, Machine, Now};
use crate::events::{command_event, dead_letter};
use crate::lane::Queued;

/// Code and reason of what the database will not take.
const UNRECORDABLE: (&str, &str) = ("unrecordable", "the database will not take it");

/// How a command failed.
pub(super) struct Failure<'a> {
    /// For programs.
    pub(super) code: &'static str,
    /// For people.
    pub(super) reason: String,
    pub(super) attempt: u32,
    /// What the provider said, if it did.
    pub(super) error: Option<&'a ProviderError>,
    /// What that says of the user.
    pub(super) reach: Option<Reach>,
}

impl Machine {
    pub(super) fn fail(&mut self, lane: Lane, queued: Queued, failure: Failure<'_>, now: &Now) {
        let Failure { code, reason, attempt, error, reach } = failure;
        let error = error.map(|error| {
            json!({
                "code": error.code, "subcode": error.subcode, "http": error.http, "message": error.message,
                "hint": staffetta_domain::hint(error.code),
            })
        });
        let data = json!({ "code": code, "reason": reason, "attempt": attempt, "error": error });
        let event = self.event(&queued, EventType::CommandFailed, data, now);
        let letter = self.letter(lane, &queued, code, reason.clone(), now);
        let outcome = Outcome { reach, ..self.end(lane, &queued, Settlement::Failed(reason), event, now) };
        self.close_with(lane, queued, outcome, Some(letter));
    }

    /// Ends a command whose time has run out. One that may have been sent by an earlier try has no such end: nobody may
    /// say that it never was.
    pub(super) fn expire_armed(&mut self, armed: Armed, now: &Now) {
        let Armed { lane, queued, attempt, perhaps_sent, .. } = armed;
        if perhaps_sent {
            self.fail_unknown(lane, queued, attempt, now);
        } else {
            self.expire(lane, queued, now);
        }
    }

    fn expire(&mut self, lane: Lane, queued: Queued, now: &Now) {
        let event = self.event(&queued, EventType::CommandExpired, json!({ "code": "expired" }), now);
        self.finish(lane, queued, Settlement::Expired, event, None, now);
    }

    /// Ends a command that the database will not take; perhaps it takes that much.
    pub(super) fn give_up(&mut self, lane: Lane, queued: Queued, now: &Now) {
        let (code, reason) = UNRECORDABLE;
        let letter = self.letter(lane, &queued, code, reason.into(), now);
        let data = json!({ "code": code, "reason": reason });
        let event = self.event(&queued, EventType::CommandFailed, data, now);
        self.finish(lane, queued, Settlement::Failed(reason.into()), event, Some(letter), now);
    }

    /// Leaves the end of a command, which the database will not take, to DEAD alone.
    pub(super) fn bury(&mut self, lane: Lane, queued: &Queued, now: &Now) {
        let (code, reason) = UNRECORDABLE;
        let letter = self.letter(lane, queued, code, reason.into(), now);
        self.todo.push(Action::Bury { lane, sequence: queued.sequence(), letter });
    }

    /// The end of a command: its recipient's next one may go at once, the queue's entry when the end is written.
    pub(super) fn finish(
        &mut self,
        lane: Lane,
        queued: Queued,
        settlement: Settlement,
        event: Event,
        letter: Option<DeadLetter>,
        now: &Now,
    ) {
        let outcome = self.end(lane, &queued, settlement, event, now);
        self.close_with(lane, queued, outcome, letter);
    }

    pub(super) fn end(
        &self,
        lane: Lane,
        queued: &Queued,
        settlement: Settlement,
        event: Event,
        now: &Now,
    ) -> Outcome {
        let user = Some(queued.command.to.key().to_owned());
        Outcome { user, ..self.outcome(lane, &queued.command.id, settlement, Some(event), now) }
    }

    pub(super) fn close_with(
        &mut self,
        lane: Lane,
        queued: Queued,
        outcome: Outcome,
        letter: Option<DeadLetter>,
    ) {
        self.lanes[lane as usize].done(&queued);
        self.settle_end(lane, queued, outcome, letter);
    }

    pub(super) fn event(
        &self,
        queued: &Queued,
        kind: EventType,
        data: serde_json::Value,
        now: &Now,
    ) -> Event {
        let trace = self.spans.context(&queued.message);
        let event = command_event(&self.tenant, &self.id, &queued.command.id, kind, "", now.wall, data);
        Event { trace, ..event }
    }

    pub(super) fn letter(
        &self,
        lane: Lane,
        queued: &Queued,
        reason: &'static str,
        detail: String,
        now: &Now,
    ) -> DeadLetter {
        dead_letter(&self.subject(lane), &queued.message, &queued.command.id, reason, detail, now.wall)
    }

    pub(super) fn outcome(
        &self,
        lane: Lane,
        id: &CommandId,
        settlement: Settlement,
        event: Option<Event>,
        now: &Now,
    ) -> Outcome {
        Outcome {
            tenant: self.tenant.clone(),
            channel: self.id.clone(),
            lane,
            id: id.clone(),
            epoch: self.epoch,
            user: None,
            called: None,
            at: now.wall,
            settlement,
            event,
            reach: None,
        }
    }
}
