//! Writing how commands ended, apart from the actor.

use std::time::Duration;

use staffetta_bus::{Bus, DeadLetter, Lease};
use staffetta_domain::{CommandId, Lane, TenantId};
use staffetta_outbox::DeadLetters;
use staffetta_store::CommandRecord;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::ledger::Ledger;
use crate::machine::{Order, Rejection, Settled, Then, Written};

/// Writes ends, apart from the actor.
#[derive(Clone)]
pub(super) struct Settler {
    pub(super) bus: Bus,
    pub(super) ledger: Ledger,
    pub(super) dead: DeadLetters,
    pub(super) lease: Lease,
    pub(super) over: CancellationToken,
}

/// Pause before what could not be read or written is tried again.
const AGAIN: Duration = Duration::from_secs(1);

impl Settler {
    /// Writes the letter, then the outcome. The other way round, a crash in between would lose the letter.
    ///
    /// # Errors
    /// If the ledger has ended.
    pub(super) async fn settle(&self, order: Order) -> anyhow::Result<Settled> {
        let Order { lane, sequence, outcome, letter, reply_to, then } = order;
        if let Some(letter) = letter
            && !self.write(&letter).await
        {
            return Ok(Settled::left(lane, sequence));
        }
        let answer = reply_to.zip(outcome.event.clone());
        let taken = self.ledger.settle(outcome).await?;
        if let Some((reply_to, event)) = answer.filter(|_| taken) {
            self.bus.answer(&reply_to, &event).await;
        }
        let written = if taken { Written::Yes } else { Written::Refused };
        Ok(Settled { lane, sequence, written, then })
    }

    /// Writes the letter of a command of which the database need not know, or can't.
    pub(super) async fn bury(&self, lane: Lane, sequence: u64, letter: DeadLetter) -> Settled {
        let written = if self.write(&letter).await { Written::Yes } else { Written::No };
        Settled { lane, sequence, written, then: Then::Close(None) }
    }

    /// Ends commands that can't be read. An id that belongs to a command that got further keeps its state.
    ///
    /// # Errors
    /// If the ledger has ended.
    pub(super) async fn reject(
        &self,
        lane: Lane,
        rejections: Vec<Rejection>,
    ) -> anyhow::Result<Vec<Settled>> {
        let of = |rejection: &Rejection| (rejection.outcome.tenant.clone(), rejection.outcome.id.clone());
        let keys: Vec<_> = rejections.iter().map(of).collect();
        let Some(records) = self.standing(&keys).await else {
            let left = |rejection: &Rejection| Settled::left(lane, rejection.sequence);
            return Ok(rejections.iter().map(left).collect());
        };
        let rejecting = rejections.into_iter().zip(records).map(|(rejection, record)| async move {
            let Rejection { sequence, outcome, letter, reply_to } = rejection;
            if record.is_some_and(|record| record.state != staffetta_domain::CommandState::Queued) {
                return Ok(self.bury(lane, sequence, letter).await);
            }
            let (letter, then) = (Some(letter), Then::Close(None));
            self.settle(Order { lane, sequence, outcome, letter, reply_to, then }).await
        });
        futures_util::future::try_join_all(rejecting).await
    }

    /// How far the commands have come; `None` once the lease is lost or the process stops.
    async fn standing(&self, keys: &[(TenantId, CommandId)]) -> Option<Vec<Option<CommandRecord>>> {
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
    pub(super) async fn pause(&self) -> Option<()> {
        tokio::select! {
            () = self.lease.lost().cancelled() => None,
            () = self.over.cancelled() => None,
            () = sleep(AGAIN) => Some(()),
        }
    }
}
