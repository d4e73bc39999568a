//! Putting a command on SEND.

use staffetta_bus::{Encoding, PublishError, QueuedMessage, SendQueue, SendSubject, command_fields};
use staffetta_domain::CommandId;
use staffetta_store::NewCommand;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::Wanted;
use super::send::{PUBLISH_TIME, SendMessageError};
use crate::App;

/// Puts the command on SEND. Afterwards it is there once, unless the queue has dropped an entry of the same id already:
/// then once more, and the dispatcher knows it by its id.
pub(super) async fn publish(app: &App, wanted: &Wanted) -> Result<(), SendMessageError> {
    let NewCommand { tenant, channel, id, lane, .. } = &wanted.command;
    let lane = SendSubject { tenant: tenant.clone(), channel: channel.clone(), lane: *lane };
    let deadline = Instant::now() + PUBLISH_TIME;
    let publish = async |message_id: &str| {
        let (headers, payload) = (wanted.headers.clone(), wanted.payload.clone());
        app.bus.publish(lane.subject(), message_id, headers, payload, deadline).await
    };
    let message_id = format!("{tenant}:{id}");
    let stored = publish(&message_id).await.map_err(|error| refused(id, error))?;
    if !stored.duplicate || is_there(app, &lane, stored.sequence, id, deadline).await {
        return Ok(());
    }
    // Whoever may publish on SEND may have used this message id a moment ago, for something of their own: one window
    // serves all tenants. A second entry of the same command is sent once, a swallowed one never.
    let second = publish(&format!("{message_id}:{}", Uuid::now_v7().simple())).await;
    // The first may have been the command all the same, so that nobody may say that it is not queued.
    second.map(drop).map_err(|error| SendMessageError::InDoubt(id.clone(), error))
}

fn refused(id: &CommandId, error: PublishError) -> SendMessageError {
    match error {
        PublishError::Full => SendMessageError::QueueFull,
        PublishError::TooLarge => SendMessageError::TooLargeForQueue,
        PublishError::Unavailable => SendMessageError::QueueUnavailable(error),
        PublishError::TimedOut => SendMessageError::InDoubt(id.clone(), error),
        PublishError::Refused(_) => SendMessageError::QueueRefused(error),
    }
}

/// Whether this entry of the lane is the command: an earlier request for it put it there, or an earlier try of this one.
/// What can't be told is a no.
async fn is_there(app: &App, lane: &SendSubject, sequence: u64, id: &CommandId, deadline: Instant) -> bool {
    let queue = SendQueue::new(app.bus.clone());
    match timeout_at(deadline, queue.read_one(lane, sequence)).await {
        Ok(Ok(Some(message))) => names(&message, id),
        _ => false,
    }
}

fn names(message: &QueuedMessage, id: &CommandId) -> bool {
    let fields = command_fields(Encoding::of(Some(&message.headers)), &message.payload);
    fields.is_ok_and(|fields| fields.id.as_deref() == Some(id.as_str()))
}
