//! Envelopes in, and what becomes of them on WEBHOOKS.

use std::convert::Infallible;
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::Batch;
use async_nats::jetstream::{AckKind, Message};
use futures_util::{StreamExt, stream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How long NATS holds a request for the next envelope while there is none.
const WAIT: Duration = Duration::from_secs(2);
/// Longest time for any answer beyond that.
const ANSWER: Duration = Duration::from_secs(3);
/// How often NATS is told that the envelopes in hand are still being worked on: it waits 30 seconds.
const KEEP: Duration = Duration::from_secs(8);
/// When an envelope that was given back comes again.
const COME_AGAIN: Duration = Duration::from_secs(1);
/// Acknowledgements that are awaited at a time.
const PARALLEL: usize = 64;

/// Takes from WEBHOOKS no more than is worked on at once: an envelope that waits in memory already spends its time.
#[derive(Debug)]
pub(crate) struct Intake {
    consumer: PullConsumer,
    batch: usize,
}

impl Intake {
    pub(crate) fn new(consumer: PullConsumer, batch: usize) -> Self {
        Self { consumer, batch: batch.max(1) }
    }

    pub(crate) fn replace(&mut self, consumer: PullConsumer) {
        self.consumer = consumer;
    }

    /// What is there, up to a batch; else the next envelope as soon as it comes, with what came along. Empty when none
    /// came for a while, or `stop` did.
    pub(crate) async fn next(&self, stop: &CancellationToken) -> Result<Vec<Message>, async_nats::Error> {
        let mut messages = Vec::new();
        self.take(self.batch, &mut messages).await?;
        if messages.is_empty() {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                waited = self.wait(&mut messages) => waited?,
            }
        }
        let room = self.batch - messages.len();
        if messages.len() == 1 && room > 0 {
            // An error here comes back with the next call; what is in hand comes first.
            let _ = self.take(room, &mut messages).await;
        }
        Ok(messages)
    }

    /// Takes what is there.
    async fn take(&self, most: usize, into: &mut Vec<Message>) -> Result<(), async_nats::Error> {
        timeout(ANSWER, async {
            drain(self.consumer.fetch().max_messages(most).messages().await?, into).await
        })
        .await?
    }

    /// Waits for one envelope.
    async fn wait(&self, into: &mut Vec<Message>) -> Result<(), async_nats::Error> {
        let request = self.consumer.batch().max_messages(1).expires(WAIT);
        timeout(WAIT + ANSWER, async { drain(request.messages().await?, into).await }).await?
    }
}

async fn drain(mut batch: Batch, into: &mut Vec<Message>) -> Result<(), async_nats::Error> {
    let before = into.len();
    while let Some(message) = batch.next().await {
        match message {
            Ok(message) => into.push(message),
            // What ended a request that brought something will end the next one too, if it lasts.
            Err(failure) if into.len() == before => return Err(failure),
            Err(_) => break,
        }
    }
    Ok(())
}

/// Tells NATS again and again that the envelopes are still being worked on. Those that are done don't mind.
pub(crate) async fn keep(batch: &[Message]) -> Infallible {
    loop {
        sleep(KEEP).await;
        each(batch, AckKind::Progress).await;
    }
}

/// Gives envelopes back, to be taken by whoever is better off. One that can't be given back comes again when its time
/// is over.
pub(crate) async fn give_back(batch: &[Message]) {
    each(batch, AckKind::Nak(Some(COME_AGAIN))).await;
}

async fn each(batch: &[Message], kind: AckKind) {
    let telling = async {
        for message in batch {
            let _ = message.ack_with(kind).await;
        }
    };
    let _ = timeout(ANSWER, telling).await;
}

/// Acknowledges the envelopes and waits until NATS has taken it in. Says of how many it has not.
pub(crate) async fn settle(batch: &[Message]) -> usize {
    let answers = stream::iter(batch.to_vec())
        .map(|message| async move { timeout(ANSWER, message.double_ack()).await })
        .buffer_unordered(PARALLEL)
        .filter(|answer| std::future::ready(!matches!(answer, Ok(Ok(())))));
    answers.count().await
}
