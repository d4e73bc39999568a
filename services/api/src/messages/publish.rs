//! Putting a command on SEND.

use async_nats::HeaderMap;
use staffetta_bus::{PublishError, SendQueue, SendSubject, TRACEPARENT, trace_of};
use staffetta_domain::CommandId;
use staffetta_runtime::trace::{Span, Step};
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
    let (mut headers, payload) = (wanted.headers.clone(), wanted.payload.clone());
    let mut span = span(&lane, id, &headers);
    if let Some(here) = span.context() {
        headers.insert(TRACEPARENT, here.to_string());
    }
    let queue = SendQueue::new(app.bus.clone());
    let put = queue.put(&lane, id, headers, payload, Instant::now() + PUBLISH_TIME).await;
    put.map_err(|error| {
        span.fail(error.code());
        refused(id, error)
    })
}

fn span(lane: &SendSubject, id: &CommandId, headers: &HeaderMap) -> Span {
    let mut span = Span::start(Step::Producer, "publish SEND", trace_of(Some(headers)));
    if span.is_recording() {
        span.publishes_on("SEND");
        span.set("staffetta.tenant", lane.tenant.to_string());
        span.set("staffetta.channel", lane.channel.to_string());
        span.set("staffetta.lane", lane.lane.as_str());
        span.set("staffetta.command.id", id.to_string());
    }
    span
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
