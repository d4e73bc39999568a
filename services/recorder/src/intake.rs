//! Before both stages: envelopes in, and taken apart.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::Batch;
use futures_util::StreamExt;
use staffetta_bus::{Bus, RegistryView};
use staffetta_runtime::RetryPolicy;
use staffetta_runtime::crash::crash_point;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::envelope::{Contents, weight};
use crate::fitness::{Ability, Fitness};
use crate::hands::{Hands, Held};
use crate::metrics::Metrics;
use crate::receipts;

/// How long NATS holds a request for the next envelope while there is none.
const WAIT: Duration = Duration::from_secs(1);
/// Longest time for any answer beyond that.
const ANSWER: Duration = Duration::from_secs(3);
/// Between tries to reach NATS, for as long as it is away.
const RETRY: RetryPolicy =
    RetryPolicy { first: Duration::from_millis(100), longest: Duration::from_secs(5), waits: u32::MAX };
/// Most bytes of envelopes, unpacked, that are taken apart at a time, unless one alone is larger: in memory they
/// become many times as much.
const GROUP_BYTES: usize = 1 << 20;

/// Some envelopes, and what they hold.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) held: Held,
    pub(crate) contents: Contents,
    /// When the envelopes came.
    pub(crate) start: Instant,
}

/// Takes from WEBHOOKS, and no more than is soon worked on: the next batch is taken once the last group of this one is
/// handed on.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) bus: Bus,
    pub(crate) registry: RegistryView,
    pub(crate) consumer: PullConsumer,
    /// Most envelopes of one batch.
    pub(crate) batch: usize,
    pub(crate) hands: Hands,
    pub(crate) metrics: Metrics,
    pub(crate) fitness: Fitness,
}

impl Intake {
    /// Hands groups on until `stop`.
    pub(crate) async fn run(mut self, groups: Sender<Group>, stop: CancellationToken) {
        let mut waits = RETRY.waits(rand::random());
        while !stop.is_cancelled() {
            let next = self.next(&stop).await;
            self.fitness.note(Ability::Take, next.is_ok());
            match next {
                Ok(batch) => {
                    waits = RETRY.waits(rand::random());
                    if !self.hand_on(batch, &groups).await {
                        return;
                    }
                }
                Err(failure) => {
                    warn!(
                        error = failure.as_ref() as &dyn std::error::Error,
                        "WEBHOOKS could not be read, trying again"
                    );
                    self.reopen().await;
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = sleep(waits.next().unwrap_or(RETRY.longest)) => {}
                    }
                }
            }
        }
    }

    /// Takes a batch apart, group by group. False if nobody wants it any more.
    async fn hand_on(&self, batch: Vec<Message>, groups: &Sender<Group>) -> bool {
        if batch.is_empty() {
            return true;
        }
        crash_point("recorder.fetched");
        self.metrics.batch_size.record(batch.len() as u64, &[]);
        let start = Instant::now();
        let all: Vec<Held> = grouped(batch).into_iter().map(|group| self.hands.take(group)).collect();
        for held in all {
            let contents = Contents::of(&held, &self.registry.load());
            receipts::tell(&self.bus, &contents).await;
            self.metrics.count(&contents);
            if groups.send(Group { held, contents, start }).await.is_err() {
                return false;
            }
        }
        true
    }

    /// The consumer may be gone, with the whole stream: made anew, it starts with what is there.
    async fn reopen(&mut self) {
        if self.bus.is_connected() {
            match self.bus.webhook_consumer().await {
                Ok(consumer) => self.consumer = consumer,
                Err(failure) => {
                    warn!(
                        error = &failure as &dyn std::error::Error,
                        "the consumer of WEBHOOKS could not be made"
                    );
                }
            }
        }
    }

    /// What is there, up to a batch; else the next envelope as soon as it comes, with what came along. Empty when none
    /// came for a while.
    async fn next(&self, stop: &CancellationToken) -> Result<Vec<Message>, async_nats::Error> {
        let mut messages = Vec::new();
        self.take(self.batch, &mut messages).await?;
        if messages.is_empty() {
            self.wait(&mut messages).await?;
        }
        let room = self.batch - messages.len();
        if messages.len() == 1 && room > 0 && !stop.is_cancelled() {
            // An error here comes back with the next call; what is in hand comes first.
            let _ = self.take(room, &mut messages).await;
        }
        Ok(messages)
    }

    /// Takes what is there.
    async fn take(&self, most: usize, into: &mut Vec<Message>) -> Result<(), async_nats::Error> {
        timeout(ANSWER, async {
            drain(&mut self.consumer.fetch().max_messages(most).messages().await?, into).await
        })
        .await?
    }

    /// Waits for one envelope until NATS ends the request, after a stop too: what NATS gives to a request that nobody
    /// listens to any more would not come to anybody else before the consumer's time for it is over.
    async fn wait(&self, into: &mut Vec<Message>) -> Result<(), async_nats::Error> {
        let request = self.consumer.batch().max_messages(1).expires(WAIT);
        timeout(WAIT + ANSWER, async { drain(&mut request.messages().await?, into).await }).await?
    }
}

async fn drain(batch: &mut Batch, into: &mut Vec<Message>) -> Result<(), async_nats::Error> {
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

/// Splits a batch into groups that each hold no more than [`GROUP_BYTES`], or one envelope.
fn grouped(batch: Vec<Message>) -> Vec<Vec<Message>> {
    let mut groups: Vec<Vec<Message>> = Vec::new();
    let mut bytes = usize::MAX;
    for message in batch {
        let weight = weight(&message);
        bytes = bytes.saturating_add(weight);
        match groups.last_mut() {
            Some(group) if bytes <= GROUP_BYTES => group.push(message),
            _ => {
                bytes = weight;
                groups.push(vec![message]);
            }
        }
    }
    groups
}
