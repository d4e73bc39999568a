//! Putting a command on SEND for a tenant that did not publish it itself.

use async_nats::HeaderMap;
use bytes::Bytes;
use jiff::Timestamp;
use staffetta_domain::CommandId;
use tokio::time::{Instant, timeout_at};

use crate::codec::{Encoding, command_fields};
use crate::{PublishError, QueuedMessage, SendQueue, SendSubject};

impl SendQueue {
    /// Puts a command on its lane. Afterwards it is there once, unless the queue has dropped an entry of the same id
    /// already: then once more, and the dispatcher knows it by its id.
    ///
    /// # Errors
    /// After [`PublishError::TimedOut`] it may be there: only a repeat with the same id is safe. After any other it is
    /// not.
    pub async fn put(
        &self,
        lane: &SendSubject,
        id: &CommandId,
        headers: HeaderMap,
        payload: Bytes,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        let publish = async |message_id: &str| {
            let (headers, payload) = (headers.clone(), payload.clone());
            self.bus().publish(lane.subject(), message_id, headers, payload, deadline).await
        };
        let message_id = format!("{}:{id}", lane.tenant);
        let stored = publish(&message_id).await?;
        if !stored.duplicate || self.is_there(lane, stored.sequence, id, deadline).await {
            return Ok(());
        }
        // Whoever may publish on SEND may have used this message id a moment ago, for something of their own: one
        // window serves all tenants. A second entry of the same command is sent once, a swallowed one never.
        let second = publish(&format!("{message_id}:{}", Timestamp::now().as_nanosecond())).await;
        // The first may have been the command all the same, so that nobody may say that it is not queued.
        second.map(drop).map_err(|_| PublishError::TimedOut)
    }

    /// Whether this entry of the lane is the command: an earlier try put it there. What can't be told is a no.
    async fn is_there(&self, lane: &SendSubject, sequence: u64, id: &CommandId, deadline: Instant) -> bool {
        match timeout_at(deadline, self.read_one(lane, sequence)).await {
            Ok(Ok(Some(message))) => names(&message, id),
            _ => false,
        }
    }
}

fn names(message: &QueuedMessage, id: &CommandId) -> bool {
    let fields = command_fields(Encoding::of(Some(&message.headers)), &message.payload);
    fields.is_ok_and(|fields| fields.id.as_deref() == Some(id.as_str()))
}
