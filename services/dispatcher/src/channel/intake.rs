//! From the queue into the lanes: parse, check, refuse what can't be sent.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use staffetta_bus::{Batch, Encoding, Provider, QueuedMessage, command_fields};
use staffetta_domain::{CommandId, EventType, InvalidCommand, Lane};
use staffetta_store::Settlement;

use super::ChannelActor;
use super::answer::Then;
use crate::events::{command_event, dead_letter};
use crate::lane::Queued;

/// Longest time that a command may wait for its turn.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(7 * 24);

impl Queued {
    /// Whether the command must not be sent any more.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.command.expires_at.is_some_and(|at| at <= now) || self.message.stored + MAX_AGE <= now
    }
}

impl ChannelActor {
    pub(super) fn take_in(&mut self, lane: Lane, batch: Batch) {
        self.lanes[lane as usize].more = batch.more;
        for message in batch.messages {
            self.lanes[lane as usize].read(message.sequence);
            match self.parse(lane, &message) {
                Ok(command) => self.lanes[lane as usize].push(Queued { message, command }),
                Err((id, invalid)) => self.reject(lane, &message, &id, &invalid),
            }
        }
    }

    fn parse(
        &self,
        lane: Lane,
        message: &QueuedMessage,
    ) -> Result<staffetta_domain::Command, (CommandId, InvalidCommand)> {
        let subject = self.subject(lane).subject();
        let made_up =
            || CommandId::made_up(&[&subject, &message.sequence.to_string(), &message.stored.to_string()]);
        let mut fields =
            command_fields(Encoding::of(Some(&message.headers)), &message.payload).map_err(|invalid| {
                (message.message_id().and_then(|id| id.parse().ok()).unwrap_or_else(made_up), invalid)
            })?;
        if fields.id.is_none() {
            fields.id = message.message_id().map(str::to_owned);
        }
        let id = fields.id.as_deref().and_then(|id| id.parse().ok()).unwrap_or_else(made_up);
        let channel = self.shared.registry.load().channel(&self.id).cloned();
        if channel.is_some_and(|channel| {
            channel.provider != Provider::CloudApi || channel.phone_number_id.is_none()
        }) {
            let problem = "its provider's messages cannot be sent yet, or it has no phone_number_id";
            return Err((id, InvalidCommand::new("channel", problem)));
        }
        fields.check(&self.tenant, &self.id, lane, made_up).map_err(|invalid| (id, invalid))
    }

    /// Nothing was sent, nothing will be: the tenant is told the field, and the command goes to DEAD.
    fn reject(&mut self, lane: Lane, message: &QueuedMessage, id: &CommandId, invalid: &InvalidCommand) {
        let now = Timestamp::now();
        let data = json!({
            "code": "invalid_command",
            "reason": invalid.to_string(),
            "error": { "code": "invalid_command", "field": invalid.field, "detail": invalid.problem },
        });
        let event = command_event(&self.tenant, &self.id, id, EventType::CommandRejected, "", now, data);
        let letter =
            dead_letter(&self.subject(lane), message, id, "invalid_command", invalid.to_string(), now);
        let outcome = self.outcome(lane, id, None, Settlement::Rejected(invalid.to_string()), Some(event));
        self.settle(lane, message.sequence, outcome, Some(letter), Then::Close);
    }
}
