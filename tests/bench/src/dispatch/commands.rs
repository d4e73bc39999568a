//! The commands that are sent: whom to, and by what one is known when it arrives.

use std::time::Duration;

use anyhow::Context;
use async_nats::{
    HeaderMap,
    jetstream::{self, context::PublishAckFuture, message::PublishMessage},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::timeout;

use super::backlog::Load;

/// Publishes in flight while a backlog is laid.
const IN_FLIGHT: usize = 256;
const LAYING_LIMIT: Duration = Duration::from_secs(600);

/// Each user gets so many commands, one soon after the other: only then there is an order to keep.
const EACH: usize = 4;
/// So many users' commands lie between two of one user.
const USERS: usize = 8;

const BEFORE_NUMBER: &str = "Invoice ";
const AFTER_NUMBER: &str = " is ready";

/// A command's lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Urgent,
    Normal,
    Bulk,
}

impl Lane {
    fn name(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Normal => "normal",
            Self::Bulk => "bulk",
        }
    }
}

/// Publishes the backlog, one command after the other, and waits until all of it is stored.
pub(super) async fn lay(jetstream: &jetstream::Context, load: Load) -> anyhow::Result<()> {
    // Channel by channel in turns, as tenants publish side by side.
    let commands = (0..load.commands_each).flat_map(|n| (0..load.channels).map(move |channel| (channel, n)));
    let laying = stream::iter(commands)
        .then(|(channel, n)| send(jetstream, channel, load.lane, n))
        .map_ok(stored)
        .try_buffered(IN_FLIGHT)
        .try_for_each(async |()| Ok(()));
    timeout(LAYING_LIMIT, laying).await.context("laying the backlog took too long")?
}

/// Publishes the `n`th command of a channel, and waits until it is stored.
pub(super) async fn publish(
    jetstream: &jetstream::Context,
    channel: usize,
    lane: Lane,
    n: usize,
) -> anyhow::Result<()> {
    stored(send(jetstream, channel, lane, n).await?).await
}

/// Afterwards it is on its way, before all that are sent later.
async fn send(
    jetstream: &jetstream::Context,
    channel: usize,
    lane: Lane,
    n: usize,
) -> anyhow::Result<PublishAckFuture> {
    let command = format!(
        r#"{{"id":"c{channel}-{n}","to":"{}","type":"text","text":{{"body":"{}"}}}}"#,
        user(n),
        text(n)
    );
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", "application/json");
    let message = PublishMessage::build().headers(headers).payload(command.into());
    let subject = format!("staffetta.v1.send.acme.c{channel}.{}", lane.name());
    jetstream.send_publish(subject, message).await.context("publishing a command")
}

async fn stored(ack: PublishAckFuture) -> anyhow::Result<()> {
    ack.await.context("a command was not acknowledged")?;
    Ok(())
}

/// Whom the `n`th command of a channel goes to.
fn user(n: usize) -> String {
    let user = n / (USERS * EACH) * USERS + n % USERS;
    format!("39348{user:07}")
}

/// The text of the `n`th command of a channel, by which its arrival is known.
fn text(n: usize) -> String {
    format!("{BEFORE_NUMBER}{n}{AFTER_NUMBER}")
}

/// Which command of its channel has this text.
pub(super) fn number_in(text: &str) -> Option<usize> {
    text.strip_prefix(BEFORE_NUMBER)?.strip_suffix(AFTER_NUMBER)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn each_user_gets_a_few_and_a_text_tells_which() {
        let mut got: HashMap<String, usize> = HashMap::new();
        for n in 0..3_200 {
            *got.entry(user(n)).or_default() += 1;
            assert_eq!(number_in(&text(n)), Some(n));
        }
        assert_eq!(got.len(), 800);
        assert!(got.values().all(|&count| count == EACH));
        assert_eq!(number_in("0"), None);
    }
}
