//! Publishing committed events.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use opentelemetry::metrics::Counter;
use staffetta_bus::{
    Bus, DeadLetter, Encoding, PublishError, Registry, RegistryView, event_message, event_subject,
};
use staffetta_domain::{Event, EventId};
use staffetta_runtime::telemetry::meter;
use staffetta_store::{Announcement, Store, StoreError};
use tokio::time::Instant;
use tracing::{error, warn};

use crate::chains::chains;
use crate::dead::DeadLetters;

/// Longest time to publish one batch, with all tries.
const LIMIT: Duration = Duration::from_secs(15);
/// Conversations that are published at the same time.
const PARALLEL: usize = 64;

/// Tells committed events on EVENTS, each under its own id. Clones share everything.
#[derive(Clone, Debug)]
pub struct Announcer {
    pub(crate) bus: Bus,
    registry: RegistryView,
    pub(crate) store: Store,
    dead: DeadLetters,
    announced: Counter<u64>,
}

/// What [`Announcer::publish`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// The events that are on EVENTS, or on DEAD because they fit no message: they may be marked.
    pub seqs: Vec<i64>,
    /// How many are not, and wait for the next sweep.
    pub left: usize,
}

impl Announcer {
    /// Publishes over `bus` in each tenant's encoding and marks in `store`.
    pub fn new(bus: Bus, registry: RegistryView, store: Store) -> Self {
        let announced = meter()
            .u64_counter("staffetta.events.announced")
            .with_description("Events stored on EVENTS")
            .build();
        let dead = DeadLetters::new(bus.clone());
        Self { bus, registry, store, dead, announced }
    }

    /// Publishes the events and notes it in the store. What fails is logged and left to the sweep: the caller has
    /// nothing more to do.
    pub async fn announce(&self, announcements: &[Announcement]) {
        let published = self.publish(announcements).await;
        if let Err(failure) = self.mark(&published.seqs).await {
            warn!(error = &failure as &dyn std::error::Error, "announced events could not be marked yet");
        }
    }

    /// Publishes the events, those of one conversation in their order, and waits for the acknowledgements, at most 15
    /// seconds. When one can't be published, the later ones of its conversation are left too.
    pub async fn publish(&self, announcements: &[Announcement]) -> Published {
        if announcements.is_empty() {
            return Published::default();
        }
        let registry = self.registry.load();
        let deadline = Instant::now() + LIMIT;
        let mut published = Published { seqs: Vec::with_capacity(announcements.len()), left: 0 };
        let mut failures = Vec::new();
        // Boxed, or the compiler can't tell that the whole may move between threads.
        let publishing: Vec<BoxFuture<'_, _>> = chains(announcements)
            .into_iter()
            .map(|chain| self.publish_chain(&registry, chain, deadline).boxed())
            .collect();
        let mut running = stream::iter(publishing).buffer_unordered(PARALLEL);
        while let Some((seqs, failure)) = running.next().await {
            published.seqs.extend(seqs);
            failures.extend(failure);
        }
        published.left = announcements.len() - published.seqs.len();
        if let Some(failure) = failures.first() {
            let failure: &dyn std::error::Error = failure;
            warn!(error = failure, left = published.left, "events could not be announced yet");
        }
        self.announced.add(published.seqs.len() as u64, &[]);
        published
    }

    /// Notes in the store that these events are announced.
    ///
    /// # Errors
    /// As [`Store::announced`]. The events are announced once more by the next sweep, under the same ids.
    pub async fn mark(&self, seqs: &[i64]) -> Result<(), StoreError> {
        self.store.announced(seqs).await
    }

    async fn publish_chain(
        &self,
        registry: &Registry,
        chain: Vec<&Announcement>,
        deadline: Instant,
    ) -> (Vec<i64>, Option<PublishError>) {
        let mut seqs = Vec::with_capacity(chain.len());
        for Announcement { seq, event } in chain {
            let encoding =
                registry.tenant(&event.tenant).map_or_else(Encoding::default, |tenant| tenant.encoding);
            let (headers, payload) = event_message(event, encoding);
            let stored =
                self.bus.publish(event_subject(event), event.id.as_str(), headers, payload, deadline).await;
            let told = match stored {
                Ok(_) => Ok(()),
                Err(PublishError::TooLarge) => self.bury(event).await,
                Err(failure) => Err(failure),
            };
            match told {
                Ok(()) => seqs.push(*seq),
                Err(failure) => return (seqs, Some(failure)),
            }
        }
        (seqs, None)
    }

    /// An event that fits no message would be tried for ever. The database keeps it; the letter names it.
    async fn bury(&self, event: &Event) -> Result<(), PublishError> {
        error!(id = %event.id, "an event is larger than NATS takes");
        self.dead
            .write(&DeadLetter {
                id: EventId::of(&["dead", event.id.as_str()]),
                service: "outbox",
                tenant: Some(event.tenant.clone()),
                channel: Some(event.channel.clone()),
                reason: "too_large",
                detail: format!("event {} is larger than NATS takes: only the database has it", event.id),
                subject: event_subject(event),
                encoding: Encoding::Json,
                payload: Bytes::new(),
                time: Timestamp::now(),
            })
            .await
    }
}
