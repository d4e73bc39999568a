//! The ends of commands that were due and can't be queued.

use jiff::Timestamp;
use serde_json::json;
use staffetta_bus::{QueuedMessage, SendSubject, trace_of};
use staffetta_domain::{CommandState, Event, EventType, InvalidCommand};
use staffetta_store::{Outcome, Scheduled, Settlement};
use tokio::time::timeout_at;
use tracing::warn;

use super::{Schedule, Take, entry};
use crate::events::{command_event, dead_letter};

/// Code and reason of what the database will not take.
const UNRECORDABLE: (&str, &str) = ("unrecordable", "the database will not take it");

/// How it ends.
pub(super) enum End {
    Expired,
    /// It can't be read.
    Invalid(InvalidCommand),
    TooLarge,
    Refused,
}

impl End {
    /// For programs, and for people.
    fn why(&self) -> (&'static str, String) {
        match self {
            Self::Expired => ("expired", "its time ran out before it was on the queue".into()),
            Self::Invalid(invalid) => ("invalid_command", invalid.to_string()),
            Self::TooLarge => ("too_large", "it is larger than the queue takes".into()),
            Self::Refused => ("queue_refused", "the queue does not take it".into()),
        }
    }
}

impl Schedule {
    /// Ends the command, with its event and its letter; false if it could not yet. One that was on the queue before, and
    /// has come further, is left to whoever has it.
    pub(super) async fn end(&self, command: &Scheduled, end: End, take: &Take<'_>) -> bool {
        let ending = take.stop.run_until_cancelled(timeout_at(take.deadline, self.write_end(command, &end)));
        match ending.await {
            Some(Ok(Ok(()))) => true,
            Some(Ok(Err(error))) => {
                warn!(command = %command.id, error = format!("{error:#}"), "a command that cannot be queued waits for its end");
                false
            }
            Some(Err(_)) | None => false,
        }
    }

    /// The letter first: the other way round, a crash in between would lose it.
    async fn write_end(&self, command: &Scheduled, end: &End) -> anyhow::Result<()> {
        let key = (command.tenant.clone(), command.id.clone());
        let known = self.ledger.standing(&[key]).await?;
        if known.iter().flatten().any(|record| record.state != CommandState::Queued) {
            return Ok(());
        }
        let (code, reason) = end.why();
        let at = Timestamp::now();
        let (kind, settlement) = match end {
            End::Expired => (EventType::CommandExpired, Settlement::Expired),
            End::Invalid(_) => (EventType::CommandRejected, Settlement::Rejected(reason.clone())),
            End::TooLarge | End::Refused => (EventType::CommandFailed, Settlement::Failed(reason.clone())),
        };
        let data = match end {
            End::Expired => json!({ "code": code }),
            _ => json!({ "code": code, "reason": reason }),
        };
        let has_letter = !matches!(end, End::Expired);
        if has_letter {
            self.bury(command, code, reason, at).await?;
        }
        let Scheduled { tenant, channel, id, lane, .. } = command;
        let trace = trace_of(Some(&entry::headers(command)));
        let event = Event { trace, ..command_event(tenant, channel, id, kind, "", at, data) };
        let outcome = Outcome {
            tenant: tenant.clone(),
            channel: channel.clone(),
            lane: *lane,
            id: id.clone(),
            // It was queued a moment ago, whoever had it before, and is on no queue from where it could be claimed.
            epoch: i64::MAX,
            user: (!command.user.is_empty()).then(|| command.user.clone()),
            called: None,
            at,
            settlement,
            event: Some(event),
            reach: None,
        };
        if !self.ledger.settle(outcome).await? && !has_letter {
            let (code, reason) = UNRECORDABLE;
            self.bury(command, code, reason.into(), at).await?;
        }
        Ok(())
    }

    async fn bury(
        &self,
        command: &Scheduled,
        code: &'static str,
        reason: String,
        at: Timestamp,
    ) -> anyhow::Result<()> {
        let Scheduled { tenant, channel, id, lane, due, payload, .. } = command;
        let lane = SendSubject { tenant: tenant.clone(), channel: channel.clone(), lane: *lane };
        let headers = entry::headers(command);
        let message = QueuedMessage { sequence: 0, stored: *due, headers, payload: payload.clone().into() };
        self.dead.write(&dead_letter(&lane, &message, id, code, reason, at)).await?;
        Ok(())
    }
}
