//! From the queue into the lanes: parse, check, refuse what can't be sent.

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use staffetta_bus::{Batch, DeadLetter, Provider, QueuedMessage};
use staffetta_domain::{Command, CommandId, CommandState, EventType, InvalidCommand, Lane};
use staffetta_store::{Outcome, Settlement};

use super::settling::{Settled, Then};
use super::{ChannelActor, Done};
use crate::events::{command_event, dead_letter, identified};
use crate::lane::Queued;

/// Longest time that a command may wait for its turn.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(7 * 24);

impl Queued {
    /// Whether the command must not be sent any more.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.command.expires_at.is_some_and(|at| at <= now)
            || now.duration_since(self.message.stored) >= MAX_AGE
    }
}

/// A command that cannot be sent, as it was published.
struct Rejection {
    sequence: u64,
    outcome: Outcome,
    letter: DeadLetter,
}

impl ChannelActor {
    pub(super) fn take_in(&mut self, lane: Lane, batch: Batch) {
        if batch.more {
            self.lanes[lane as usize].holds_more();
        }
        let mut rejections = Vec::new();
        for message in batch.messages {
            self.lanes[lane as usize].read(message.sequence);
            match self.parse(lane, &message) {
                Ok(command) => self.lanes[lane as usize].push(Queued { message, command }),
                Err((id, invalid)) => rejections.push(self.rejection(lane, &message, id, &invalid)),
            }
        }
        if !rejections.is_empty() {
            self.reject(lane, rejections);
        }
    }

    fn parse(&self, lane: Lane, message: &QueuedMessage) -> Result<Command, (CommandId, InvalidCommand)> {
        let (id, fields) = identified(&self.subject(lane), message);
        let checked = self.check_channel().and_then(|()| {
            let id = id.clone();
            fields?.check(&self.tenant, &self.id, lane, || id)
        });
        checked.map_err(|invalid| (id, invalid))
    }

    fn check_channel(&self) -> Result<(), InvalidCommand> {
        let registry = self.shared.registry.load();
        match registry.channel(&self.id) {
            Some(channel) if channel.provider != Provider::CloudApi || channel.phone_number_id.is_none() => {
                let problem = "its provider's messages cannot be sent yet, or it has no phone_number_id";
                Err(InvalidCommand::new("channel", problem))
            }
            _ => Ok(()),
        }
    }

    /// Nothing was sent, nothing will be: the tenant is told the field, and the command goes to DEAD.
    fn rejection(
        &self,
        lane: Lane,
        message: &QueuedMessage,
        id: CommandId,
        invalid: &InvalidCommand,
    ) -> Rejection {
        let (sequence, now) = (message.sequence, Timestamp::now());
        let data = json!({
            "code": "invalid_command",
            "reason": invalid.to_string(),
            "error": { "code": "invalid_command", "field": invalid.field, "detail": invalid.problem },
        });
        let event = command_event(&self.tenant, &self.id, &id, EventType::CommandRejected, "", now, data);
        let letter =
            dead_letter(&self.subject(lane), message, &id, "invalid_command", invalid.to_string(), now);
        let outcome = self.outcome(lane, &id, None, Settlement::Rejected(invalid.to_string()), Some(event));
        Rejection { sequence, outcome, letter }
    }

    fn reject(&mut self, lane: Lane, rejections: Vec<Rejection>) {
        let settler = self.settler();
        self.work.push(Box::pin(async move {
            let of = |rejection: &Rejection| (rejection.outcome.tenant.clone(), rejection.outcome.id.clone());
            let keys: Vec<_> = rejections.iter().map(of).collect();
            let Some(records) = settler.standing(&keys).await else {
                let left = |rejection: &Rejection| Settled::left(lane, rejection.sequence);
                return Done::Settled(rejections.iter().map(left).collect());
            };
            let rejecting = rejections.into_iter().zip(records).map(|(rejection, record)| {
                let settler = settler.clone();
                async move {
                    let Rejection { sequence, outcome, letter } = rejection;
                    match record {
                        // The id belongs to a command that got further, and keeps its state.
                        Some(record) if record.state != CommandState::Queued => {
                            settler.bury(lane, sequence, letter).await
                        }
                        _ => settler.settle(lane, sequence, outcome, Some(letter), Then::Close(None)).await,
                    }
                }
            });
            Done::Settled(join_all(rejecting).await)
        }));
    }
}
