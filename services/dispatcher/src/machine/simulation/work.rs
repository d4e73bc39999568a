//! What the queue, the database and the others do when an owner asks.

use std::time::Duration;

use jiff::Timestamp;
use staffetta_bus::WebhookProgress;
use staffetta_domain::{CommandId, CommandState, Lane, TenantId};

use super::super::{Action, Evidence, Input, Order, Settled, Then, Written};
use super::plan::wall;
use super::world::{Event, World};

impl World {
    /// What an owner wants done has reached whoever does it.
    pub(super) fn perform(&mut self, owner: usize, action: Action) {
        match self.reaches(owner) {
            Ok(()) => {}
            Err(Some(later)) => return self.at(later, Event::Do(owner, action)),
            Err(None) => return,
        }
        if asks_database(&action) && self.now < self.database.away_until {
            let back = self.database.away_until + self.dice.micros(0, 50_000);
            return self.at(back, Event::Do(owner, action));
        }
        let failed = self.strikes(self.plan.faults.queue);
        let wait = match action {
            Action::Read { .. } | Action::ReadEach { .. } if failed => (200_000, 2_000_000),
            _ => (200, 3_000),
        };
        let input = self.done(action, failed);
        self.after(wait.0, wait.1, Event::Tell(owner, input));
    }

    fn done(&mut self, action: Action, failed: bool) -> Input {
        let repeated = self.strikes(self.plan.faults.repeated);
        match action {
            Action::Load { since } => {
                Input::Loaded { hold: self.database.hold.clone(), recent: self.database.recent(since) }
            }
            Action::AskHold => Input::HoldStands(self.database.hold.is_some()),
            Action::AskThroughput(_) => Input::Throughput((!failed).then_some(self.plan.limit)),
            Action::Read { lane, from, most, known } => {
                let lags = self.strikes(self.plan.faults.queue);
                let batch = match lags {
                    true => self.queue.read_late(lane, from, most, known, wall(self.now)),
                    false => self.queue.read(lane, from, most),
                };
                Input::Read(lane, (!failed).then_some(batch))
            }
            Action::ReadEach { lane, sequences } => {
                let read = |sequence: u64| {
                    (sequence, if failed { Err(()) } else { Ok(self.queue.get(lane, sequence)) })
                };
                Input::ReadEach(lane, sequences.into_iter().map(read).collect())
            }
            Action::Claim { lane, batch, claims } => {
                let mut answers = self.database.claim(&claims);
                if repeated {
                    answers = self.database.claim(&claims);
                }
                Input::Claimed(lane, batch, answers)
            }
            Action::Settle(order) => Input::Settled(vec![self.settle(*order)]),
            Action::Bury { lane, sequence, letter } => {
                self.bury(letter.origin);
                Input::Settled(vec![Settled {
                    lane,
                    sequence,
                    written: Written::Yes,
                    then: Then::Close(None),
                }])
            }
            Action::Reject { lane, rejections } => {
                let mut settled = Vec::new();
                for rejection in rejections {
                    let id = rejection.outcome.id.as_str();
                    let known =
                        self.database.rows.get(id).is_some_and(|row| row.state != CommandState::Queued);
                    self.bury(rejection.letter.origin);
                    let written = match known || self.database.settle(&rejection.outcome) {
                        true => Written::Yes,
                        false => Written::Refused,
                    };
                    settled.push(Settled {
                        lane,
                        sequence: rejection.sequence,
                        written,
                        then: Then::Close(None),
                    });
                }
                Input::Settled(settled)
            }
            Action::Schedule { lane, commands, later } => {
                let now = wall(self.now);
                let mut answers: Vec<_> = later.iter().map(|one| self.database.schedule(one, now)).collect();
                if repeated {
                    answers = later.iter().map(|one| self.database.schedule(one, now)).collect();
                }
                Input::Scheduled(lane, commands, answers)
            }
            Action::Purge { lane, floor } => {
                if !failed || repeated {
                    self.purge(lane, floor);
                }
                Input::Purged(lane, floor, !failed)
            }
            Action::Delete { lane, sequences } => {
                if !failed || repeated {
                    for sequence in &sequences {
                        self.delete(*sequence);
                    }
                }
                Input::Deleted(lane, if failed { Vec::new() } else { sequences })
            }
            Action::Hold { hold, .. } => {
                self.database.hold = hold;
                Input::HoldKept
            }
            Action::Send(_) | Action::LookAtDoubts { .. } | Action::Quota { .. } => {
                unreachable!("begun elsewhere")
            }
        }
    }

    fn settle(&mut self, order: Order) -> Settled {
        let Order { lane, sequence, outcome, letter, reply_to: _, then } = order;
        if let Some(letter) = letter {
            self.bury(letter.origin);
        }
        let id = outcome.id.to_string();
        self.note(|| format!("{id} is {:?} by {}", outcome.settlement, outcome.epoch));
        let taken = self.database.settle(&outcome);
        self.note_resend(&id);
        Settled { lane, sequence, written: if taken { Written::Yes } else { Written::Refused }, then }
    }

    fn bury(&mut self, origin: staffetta_bus::Origin) {
        if let staffetta_bus::Origin::Command(id) = origin {
            self.dead.insert(id.to_string());
        }
    }

    pub(super) fn purge(&mut self, lane: Lane, floor: u64) {
        for entry in self.queue.purge(lane, floor) {
            self.check_removed(&entry.id);
        }
    }

    fn delete(&mut self, sequence: u64) {
        if let Some(entry) = self.queue.delete(sequence) {
            self.check_removed(&entry.id);
        }
    }

    pub(super) fn look_at_doubts(
        &mut self,
        owner: usize,
        keys: &[(TenantId, CommandId)],
        webhooks: WebhookProgress,
        last_status: Option<Timestamp>,
    ) {
        let away = self.now < self.database.away_until;
        let records = keys.iter().map(|(_, id)| self.database.record(id.as_str())).collect();
        let evidence =
            Evidence { records: (!away).then_some(records), webhooks: Some(webhooks), last_status };
        let wait = if away { Duration::from_millis(500) } else { self.dice.micros(200, 2_000) };
        self.at(self.now + wait, Event::Tell(owner, Input::Doubts(evidence)));
    }
}

fn asks_database(action: &Action) -> bool {
    !matches!(
        action,
        Action::Read { .. }
            | Action::ReadEach { .. }
            | Action::Purge { .. }
            | Action::Delete { .. }
            | Action::AskThroughput(_)
            | Action::Bury { .. }
    )
}
