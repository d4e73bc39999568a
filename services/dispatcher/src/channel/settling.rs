//! Writing how commands ended, apart from the actor; and what the actor does once that is written.

use std::time::Duration;

use staffetta_bus::{DeadLetter, Lease, boot_time};
use staffetta_domain::{CommandId, Lane, TenantId};
use staffetta_outbox::DeadLetters;
use staffetta_store::{CommandRecord, Outcome};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{ChannelActor, Done};
use crate::lane::Queued;
use crate::ledger::Ledger;

/// What happens once the outcome is written.
#[derive(Debug)]
pub(super) enum Then {
    /// The command need not stay in the queue. It comes with this if nothing but the outcome tells of its end.
    Close(Option<Queued>),
    /// Its head may go again at this moment.
    Again(Queued, Duration),
    /// A status has to settle it.
    Doubt(Queued, u32),
}

/// An outcome that was to be written.
#[derive(Debug)]
pub(super) struct Settled {
    lane: Lane,
    sequence: u64,
    written: anyhow::Result<Written>,
    then: Then,
}

#[derive(Debug)]
enum Written {
    /// It is.
    Yes,
    /// The database will never take it.
    Refused,
    /// The lease was lost, or the process stopped, before it could be: the next owner reads the command again.
    No,
}

impl Settled {
    /// Nothing was written: the command stays in the queue.
    pub(super) fn left(lane: Lane, sequence: u64) -> Self {
        Self { lane, sequence, written: Ok(Written::No), then: Then::Close(None) }
    }
}

/// Writes ends, apart from the actor.
#[derive(Clone)]
pub(super) struct Settler {
    ledger: Ledger,
    dead: DeadLetters,
    lease: Lease,
    over: CancellationToken,
}

/// Pause before what could not be read or written is tried again.
const AGAIN: Duration = Duration::from_secs(1);

impl Settler {
    /// Writes the letter, then the outcome. The other way round, a crash in between would lose the letter.
    pub(super) async fn settle(
        &self,
        lane: Lane,
        sequence: u64,
        outcome: Outcome,
        letter: Option<DeadLetter>,
        then: Then,
    ) -> Settled {
        if let Some(letter) = letter
            && !self.write(&letter).await
        {
            return Settled::left(lane, sequence);
        }
        let written = self.ledger.settle(outcome).await;
        let written = written.map(|taken| if taken { Written::Yes } else { Written::Refused });
        Settled { lane, sequence, written, then }
    }

    /// Writes the letter of a command of which the database need not know, or can't.
    pub(super) async fn bury(&self, lane: Lane, sequence: u64, letter: DeadLetter) -> Settled {
        let written = if self.write(&letter).await { Written::Yes } else { Written::No };
        Settled { lane, sequence, written: Ok(written), then: Then::Close(None) }
    }

    /// How far the commands have come; `None` once the lease is lost or the process stops.
    pub(super) async fn standing(
        &self,
        keys: &[(TenantId, CommandId)],
    ) -> Option<Vec<Option<CommandRecord>>> {
        loop {
            match self.ledger.standing(keys).await {
                Ok(records) => return Some(records),
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "invalid commands wait for the database");
                }
            }
            self.pause().await?;
        }
    }

    /// Whether the letter is on DEAD: it is tried until the lease is lost or the process stops.
    async fn write(&self, letter: &DeadLetter) -> bool {
        while let Err(error) = self.dead.write(letter).await {
            error!(error = &error as &dyn std::error::Error, id = %letter.id, "a dead letter waits for NATS");
            if self.pause().await.is_none() {
                return false;
            }
        }
        true
    }

    /// `None` if nobody should try again here: the command is still in the queue, and the next owner reads it.
    async fn pause(&self) -> Option<()> {
        tokio::select! {
            () = self.lease.lost().cancelled() => None,
            () = self.over.cancelled() => None,
            () = sleep(AGAIN) => Some(()),
        }
    }
}

impl ChannelActor {
    pub(super) fn settler(&self) -> Settler {
        Settler {
            ledger: self.ledger.clone(),
            dead: self.shared.dead.clone(),
            lease: self.lease.clone(),
            over: self.over.clone(),
        }
    }

    /// Writes the end of a command or of a try, and does `then` once it is written.
    pub(super) fn settle(
        &mut self,
        lane: Lane,
        sequence: u64,
        outcome: Outcome,
        letter: Option<DeadLetter>,
        then: Then,
    ) {
        let settler = self.settler();
        self.work.push(Box::pin(async move {
            Done::Settled(vec![settler.settle(lane, sequence, outcome, letter, then).await])
        }));
    }

    pub(super) fn settled(&mut self, settled: Settled) -> anyhow::Result<()> {
        let Settled { lane, sequence, written, then } = settled;
        match (written?, then) {
            (Written::No, _) => {}
            (Written::Yes, Then::Close(_)) | (Written::Refused, Then::Close(None)) => {
                self.close(lane, sequence)
            }
            (Written::Refused, Then::Close(Some(queued))) => self.bury(lane, &queued),
            (Written::Refused, Then::Again(queued, _)) => self.give_up(lane, queued),
            (Written::Yes, Then::Again(queued, until)) if until <= boot_time() => {
                self.lanes[lane as usize].again(&queued);
            }
            (Written::Yes, Then::Again(queued, until)) => self.lanes[lane as usize].park(&queued, until),
            (_, Then::Doubt(queued, attempt)) => self.doubts.add(lane, queued, attempt),
        }
        Ok(())
    }
}
