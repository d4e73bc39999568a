//! What an answer can't be faster than: the same messages, put on SEND from here.

use std::time::Instant;

use anyhow::Context;
use async_nats::{
    HeaderMap,
    jetstream::{self, message::PublishMessage},
};
use serde_json::json;

use crate::{
    figures::Latencies,
    pace::{Pace, Turn},
    registered::{channel, tenant},
};

/// From when each was due to its acknowledgement.
///
/// Fails when one is not acknowledged.
pub(super) async fn measure(
    jetstream: &jetstream::Context,
    tenants: usize,
    pace: Pace,
) -> anyhow::Result<Latencies> {
    let mut stored = Latencies::new();
    let acknowledged = pace.keep(async |turn| publish(jetstream, tenants, turn).await).await?;
    for (turn, at) in acknowledged.into_iter().filter(|(turn, _)| turn.measured) {
        stored.add(at.duration_since(turn.due));
    }
    Ok(stored)
}

async fn publish(jetstream: &jetstream::Context, tenants: usize, turn: Turn) -> anyhow::Result<Instant> {
    let owner = usize::try_from(turn.n)? % tenants;
    let id = format!("raw-{}", turn.n);
    let body = json!({
        "id": id, "to": format!("39348{:07}", turn.n), "type": "text",
        "text": { "body": format!("Invoice {} is ready", turn.n) },
    });
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", "application/json");
    let message = PublishMessage::build().headers(headers).message_id(id).payload(body.to_string().into());
    let subject = format!("staffetta.v1.send.{}.{}.normal", tenant(owner), channel(owner));
    let sent = jetstream.send_publish(subject, message).await.context("publishing a command")?;
    sent.await.context("a command was not acknowledged")?;
    Ok(Instant::now())
}
