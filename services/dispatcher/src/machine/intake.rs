//! From the queue into the lanes: parse, check, refuse what can't be sent, put off what is not due.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use staffetta_bus::{Batch, DeadLetter, QueuedMessage, ReplyTo};
use staffetta_domain::{Command, CommandFields, CommandId, Event, EventType, InvalidCommand, Lane};
use staffetta_store::{Outcome, Scheduled, Settlement};

use super::{Action, Machine, Now};
use crate::events::{command_event, dead_letter, identified};
use crate::lane::Queued;
use crate::schedule::{WAS_DUE, is_kept};

/// Longest time that a command may wait for its turn, once it is due.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// A command that is due sooner waits in its lane.
const SOON: SignedDuration = SignedDuration::from_secs(2);
/// Two clocks are closer to each other, even if one of them has taken local time for UTC.
const FAR_OFF: SignedDuration = SignedDuration::from_hours(24);

impl Queued {
    /// Whether the command must not be sent any more.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.command.expires_at.is_some_and(|at| at <= now)
            || now.duration_since(self.message.stored) >= MAX_AGE
    }
}

/// A command of a read.
#[derive(Debug)]
pub(crate) enum Incoming {
    Due(Queued),
    /// It is put off.
    Later(Queued),
}

/// A command that cannot be sent, as it was published.
#[derive(Debug)]
pub(crate) struct Rejection {
    pub(crate) sequence: u64,
    pub(crate) outcome: Outcome,
    pub(crate) letter: DeadLetter,
    /// Who is to be answered with the outcome's event.
    pub(crate) reply_to: Option<ReplyTo>,
}

impl Machine {
    pub(super) fn take_in(&mut self, lane: Lane, batch: Batch, now: &Now) {
        if batch.more {
            self.lanes[lane as usize].holds_more();
        }
        let (mut commands, mut later, mut rejections) = (Vec::new(), Vec::new(), Vec::new());
        for message in batch.messages {
            self.lanes[lane as usize].read(message.sequence);
            self.lanes[lane as usize].stored(message.sequence, message.stored);
            match self.parse(lane, &message) {
                Ok(command) => {
                    let is_due = is_due(&command, &message, now);
                    let queued = Queued { message, command };
                    if !is_due {
                        later.extend(self.scheduled(lane, &queued));
                    }
                    commands.push(if is_due { Incoming::Due(queued) } else { Incoming::Later(queued) });
                }
                Err((id, invalid)) => rejections.push(self.rejection(lane, &message, id, &invalid, now)),
            }
        }
        if later.is_empty() {
            self.put_off(lane, commands, Vec::new(), now);
        } else {
            // The read is over once it is known which of its commands wait elsewhere: those that do not stay in order.
            self.reading[lane as usize] = true;
            self.todo.push(Action::Schedule { lane, commands, later });
        }
        if !rejections.is_empty() {
            self.todo.push(Action::Reject { lane, rejections });
        }
    }

    /// What was set aside comes back.
    pub(super) fn take_back(
        &mut self,
        lane: Lane,
        results: Vec<(u64, Result<Option<QueuedMessage>, ()>)>,
        now: &Now,
    ) {
        self.fetching[lane as usize] = false;
        let (mut unread, mut rejections) = (Vec::new(), Vec::new());
        for (sequence, result) in results {
            match result {
                Ok(Some(message)) => match self.parse(lane, &message) {
                    Ok(command) => self.lanes[lane as usize].returned(Queued { message, command }),
                    // The channel is another one than when it was set aside.
                    Err((id, invalid)) => {
                        self.lanes[lane as usize].rejected(sequence);
                        rejections.push(self.rejection(lane, &message, id, &invalid, now));
                    }
                },
                Ok(None) => self.lanes[lane as usize].missing(sequence),
                Err(()) => unread.push(sequence),
            }
        }
        self.lanes[lane as usize].unread(&unread);
        if !rejections.is_empty() {
            self.todo.push(Action::Reject { lane, rejections });
        }
    }

    fn parse(&self, lane: Lane, message: &QueuedMessage) -> Result<Command, (CommandId, InvalidCommand)> {
        let parsed = parse(&self.subject(lane), message);
        if !self.view.sendable {
            let id = match parsed {
                Ok(command) => command.id,
                Err((id, _)) => id,
            };
            let problem = "its provider's messages cannot be sent yet, or it has no phone_number_id";
            return Err((id, InvalidCommand::new("channel", problem)));
        }
        parsed
    }

    /// A command as it waits in the database until it is due: months may pass, and restarts.
    fn scheduled(&self, lane: Lane, queued: &Queued) -> Option<Scheduled> {
        let Queued { message, command } = queued;
        let headers =
            message.headers.iter().filter(|(name, _)| is_kept(name.as_ref())).flat_map(|(name, values)| {
                values.iter().map(|value| (name.to_string(), value.as_str().to_owned()))
            });
        Some(Scheduled {
            tenant: self.tenant.clone(),
            channel: self.id.clone(),
            id: command.id.clone(),
            lane,
            user: command.to.key().to_owned(),
            callback_data: command.callback_data.clone(),
            due: command.send_at?,
            headers: headers.collect(),
            payload: message.payload.to_vec(),
        })
    }

    /// Takes in the commands of a read that are to go from here; of the others the database has said what it did.
    pub(super) fn put_off(
        &mut self,
        lane: Lane,
        commands: Vec<Incoming>,
        answers: Vec<Option<bool>>,
        now: &Now,
    ) {
        let mut answers = answers.into_iter();
        for command in commands {
            match command {
                Incoming::Due(queued) => self.lanes[lane as usize].push(queued),
                Incoming::Later(queued) => match answers.next().flatten() {
                    Some(true) => self.close(lane, queued.sequence(), now),
                    Some(false) if is_far_off(&queued.command, now) => {
                        // None that has been sent by anybody's clock: another one of the same id has.
                        self.copies += 1;
                        self.close(lane, queued.sequence(), now);
                    }
                    // An owner whose clock was ahead may have sent it from this very entry: its claim tells.
                    Some(false) => self.lanes[lane as usize].push(queued),
                    None => self.give_up(lane, queued, now),
                },
            }
        }
    }

    /// Nothing was sent, nothing will be: the tenant is told the field, and the command goes to DEAD.
    fn rejection(
        &mut self,
        lane: Lane,
        message: &QueuedMessage,
        id: CommandId,
        invalid: &InvalidCommand,
        now: &Now,
    ) -> Rejection {
        let data = json!({
            "code": "invalid_command",
            "reason": invalid.to_string(),
            "error": { "code": "invalid_command", "field": invalid.field, "detail": invalid.problem },
        });
        let trace = self.begin_span(lane, message, &id, now);
        let kind = EventType::CommandRejected;
        let event = command_event(&self.tenant, &self.id, &id, kind, "", now.wall, data);
        let event = Event { trace, ..event };
        let why = invalid.to_string();
        let letter = dead_letter(&self.subject(lane), message, &id, "invalid_command", why.clone(), now.wall);
        let outcome = self.outcome(lane, &id, Settlement::Rejected(why), Some(event), now);
        self.spans.comes_to(message.sequence, &outcome.settlement);
        let reply_to = ReplyTo::of(&message.headers, &self.tenant).ok().flatten();
        Rejection { sequence: message.sequence, outcome, letter, reply_to }
    }
}

fn parse(
    subject: &staffetta_bus::SendSubject,
    message: &QueuedMessage,
) -> Result<Command, (CommandId, InvalidCommand)> {
    let (id, fields) = identified(subject, message);
    let check = |fields: CommandFields| {
        let command = fields.check(&subject.tenant, &subject.channel, subject.lane, || id.clone())?;
        command.check_times(message.stored)?;
        ReplyTo::of(&message.headers, &subject.tenant)?;
        Ok(command)
    };
    fields.and_then(check).map_err(|invalid| (id, invalid))
}

/// One that was put off is not put off again, whatever this clock says: what put it on SEND again is about to forget it.
fn is_due(command: &Command, message: &QueuedMessage, now: &Now) -> bool {
    let was_due = message.headers.get(WAS_DUE).is_some() && !is_far_off(command, now);
    was_due || command.send_at.is_none_or(|at| at.duration_since(now.wall) <= SOON)
}

/// Whether it is due later than any clock may be wrong by: whatever says that it was due is not ours.
fn is_far_off(command: &Command, now: &Now) -> bool {
    command.send_at.is_some_and(|at| at.duration_since(now.wall) > FAR_OFF)
}
