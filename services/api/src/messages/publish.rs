//! Putting a command on SEND.

use staffetta_bus::{PublishError, SendQueue, SendSubject};
use staffetta_domain::CommandId;
use staffetta_store::NewCommand;
use tokio::time::Instant;

use super::Wanted;
use super::send::{PUBLISH_TIME, SendMessageError};
use crate::App;

/// Puts the command on SEND. Afterwards it is there once, unless the queue has dropped an entry of the same id already:
/// then once more, and the dispatcher knows it by its id.
pub(super) async fn publish(app: &App, wanted: &Wanted) -> Result<(), SendMessageError> {
    let NewCommand { tenant, channel, id, lane, .. } = &wanted.command;
    let lane = SendSubject { tenant: tenant.clone(), channel: channel.clone(), lane: *lane };
    let (headers, payload) = (wanted.headers.clone(), wanted.payload.clone());
    let queue = SendQueue::new(app.bus.clone());
    let put = queue.put(&lane, id, headers, payload, Instant::now() + PUBLISH_TIME).await;
    put.map_err(|error| refused(id, error))
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
