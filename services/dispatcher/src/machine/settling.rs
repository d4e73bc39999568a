//! What happens once the end of a command, or of a try, is written.

use std::time::Duration;

use staffetta_bus::{DeadLetter, ReplyTo};
use staffetta_domain::Lane;
use staffetta_store::Outcome;

use super::{Action, Machine, Now};
use crate::lane::Queued;

/// An outcome to write, after its letter: the other way round, a crash in between would lose the letter.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) lane: Lane,
    pub(crate) sequence: u64,
    pub(crate) outcome: Outcome,
    pub(crate) letter: Option<DeadLetter>,
    /// Who is to be answered with the outcome's event.
    pub(crate) reply_to: Option<ReplyTo>,
    pub(crate) then: Then,
}

/// What happens once the outcome is written.
#[derive(Debug)]
pub(crate) enum Then {
    /// The command need not stay in the queue. It comes with this if nothing but the outcome tells of its end.
    Close(Option<Queued>),
    /// Its head may go again at this moment.
    Again(Queued, Duration),
    /// A status has to settle it.
    Doubt(Queued, u32),
}

/// An outcome that was to be written.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) lane: Lane,
    pub(crate) sequence: u64,
    pub(crate) written: Written,
    pub(crate) then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is.
    Yes,
    /// The database will never take it.
    Refused,
    /// The lease was lost, or the process stopped, before it could be: the next owner reads the command again.
    No,
}

impl Settled {
    /// Nothing was written: the command stays in the queue.
    pub(crate) fn left(lane: Lane, sequence: u64) -> Self {
        Self { lane, sequence, written: Written::No, then: Then::Close(None) }
    }
}

impl Machine {
    /// Writes the end of a try, and does `then` once it is written.
    pub(super) fn settle(&mut self, lane: Lane, sequence: u64, outcome: Outcome, then: Then) {
        self.spans.comes_to(sequence, &outcome.settlement);
        let order = Order { lane, sequence, outcome, letter: None, reply_to: None, then };
        self.todo.push(Action::Settle(Box::new(order)));
    }

    /// Writes the end of a command.
    pub(super) fn settle_end(
        &mut self,
        lane: Lane,
        queued: Queued,
        outcome: Outcome,
        letter: Option<DeadLetter>,
    ) {
        let sequence = queued.sequence();
        self.spans.comes_to(sequence, &outcome.settlement);
        // One that names a subject which is not its tenant's was rejected when it came.
        let reply_to = ReplyTo::of(&queued.message.headers, &self.tenant).ok().flatten();
        let then = Then::Close(letter.is_none().then_some(queued));
        let order = Order { lane, sequence, outcome, letter, reply_to, then };
        self.todo.push(Action::Settle(Box::new(order)));
    }

    pub(super) fn settled(&mut self, settled: Settled, now: &Now) {
        let Settled { lane, sequence, written, then } = settled;
        self.spans.end(sequence);
        match (written, then) {
            (Written::No, _) => {}
            (Written::Yes, Then::Close(_)) | (Written::Refused, Then::Close(None)) => {
                self.close(lane, sequence, now);
            }
            (Written::Refused, Then::Close(Some(queued))) => self.bury(lane, &queued, now),
            (Written::Refused, Then::Again(queued, _)) => self.give_up(lane, queued, now),
            (Written::Yes, Then::Again(queued, until)) if until <= now.boot => {
                self.lanes[lane as usize].again(&queued);
            }
            (Written::Yes, Then::Again(queued, until)) => self.lanes[lane as usize].park(&queued, until),
            (_, Then::Doubt(queued, attempt)) => self.doubt(lane, queued, attempt, now),
        }
    }
}
