//! Publishing committed events.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use jiff::Timestamp;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use staffetta_bus::{
    Bus, DeadLetter, Encoding, Origin, Outgoing, PublishError, Registry, RegistryView, event_message,
    event_subject,
};
use staffetta_domain::{Event, EventId, EventType, TraceParent};
use staffetta_runtime::telemetry::meter;
use staffetta_runtime::trace::{Span, Step};
use staffetta_store::{Announcement, OutboxPlace, Store, StoreError};
use tokio::time::Instant;
use tracing::{debug, error, warn};

use crate::chains::chains;
use crate::dead::DeadLetters;

/// Longest time to publish one batch, with all tries.
const LIMIT: Duration = Duration::from_secs(15);
/// Longest wait for what is published as one; after it the events go one by one.
const TOGETHER_LIMIT: Duration = Duration::from_secs(5);
/// Fewest events that are sooner on the server's disk as one than one by one.
const WORTH_IT: usize = 32;
/// Most events that are published as one.
const TOGETHER: usize = 500;
/// Most bytes of events that are published as one, unless the first alone is larger.
const TOGETHER_BYTES: usize = 4 << 20;
/// Conversations that are published at the same time, where events go one by one.
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
    pub places: Vec<OutboxPlace>,
    /// How many are not, and wait for the next sweep.
    pub left: usize,
}

impl Announcer {
    /// Publishes over `bus` in each tenant's encoding and marks in `store`.
    pub fn new(bus: Bus, registry: RegistryView, store: Store) -> Self {
        let announced = meter()
            .u64_counter("staffetta.events.announced")
            .with_description("Events stored on EVENTS, by type")
            .build();
        let dead = DeadLetters::new(bus.clone());
        Self { bus, registry, store, dead, announced }
    }

    /// Publishes the events and notes it in the store. What fails is logged and left to the sweep: the caller has
    /// nothing more to do.
    pub async fn announce(&self, announcements: &[Announcement]) {
        let published = self.publish(announcements).await;
        if let Err(failure) = self.mark(&published.places).await {
            warn!(error = &failure as &dyn std::error::Error, "announced events could not be marked yet");
        }
    }

    /// Publishes the events, those of one conversation in their order, and waits for the acknowledgements, at most 15
    /// seconds. When one can't be published, the later ones of its conversation are left too.
    pub async fn publish(&self, announcements: &[Announcement]) -> Published {
        let registry = self.registry.load();
        let (deadline, begun) = (Instant::now() + LIMIT, SystemTime::now());
        let mut published = Published::default();
        let mut rest = announcements;
        // Nothing of a later part is published while something of an earlier one is left.
        while !rest.is_empty() && published.left == 0 {
            let part = first_part(&registry, rest);
            let (now, later) = rest.split_at(if part.is_empty() { rest.len() } else { part.len() });
            rest = later;
            if self.publish_together(part, deadline).await {
                self.told(now.iter().map(|announcement| &announcement.event), begun);
                published.places.extend(now.iter().map(|announcement| announcement.place));
            } else {
                self.publish_one_by_one(&registry, now, deadline, &mut published).await;
            }
        }
        published.left = announcements.len() - published.places.len();
        published
    }

    /// Notes in the store that these events are announced.
    ///
    /// # Errors
    /// As [`Store::announced`]. The events are announced once more by the next sweep, under the same ids.
    pub async fn mark(&self, places: &[OutboxPlace]) -> Result<(), StoreError> {
        self.store.announced(places).await
    }

    /// Whether the events are on EVENTS now. If not, perhaps they are all the same; one by one tells.
    async fn publish_together(&self, part: Vec<Outgoing>, deadline: Instant) -> bool {
        let largest = part.iter().map(size).max().unwrap_or_default();
        if part.len() < WORTH_IT || largest > self.bus.max_payload() {
            return false;
        }
        let count = part.len();
        let outcome = self.bus.publish_together(part, deadline.min(Instant::now() + TOGETHER_LIMIT)).await;
        if let Err(failure) = &outcome {
            // As it must be after a crash: some of them are there.
            debug!(error = failure as &dyn std::error::Error, count, "events go one by one");
        }
        outcome.is_ok()
    }

    async fn publish_one_by_one(
        &self,
        registry: &Registry,
        announcements: &[Announcement],
        deadline: Instant,
        published: &mut Published,
    ) {
        let before = published.places.len();
        let mut failures = Vec::new();
        // Boxed, or the compiler can't tell that the whole may move between threads.
        let publishing: Vec<BoxFuture<'_, _>> = chains(announcements)
            .into_iter()
            .map(|chain| self.publish_chain(registry, chain, deadline).boxed())
            .collect();
        let mut running = stream::iter(publishing).buffer_unordered(PARALLEL);
        while let Some((places, failure)) = running.next().await {
            published.places.extend(places);
            failures.extend(failure);
        }
        published.left = announcements.len() - (published.places.len() - before);
        if let Some(failure) = failures.first() {
            let failure: &dyn std::error::Error = failure;
            warn!(error = failure, left = published.left, "events could not be announced yet");
        }
    }

    async fn publish_chain(
        &self,
        registry: &Registry,
        chain: Vec<&Announcement>,
        deadline: Instant,
    ) -> (Vec<OutboxPlace>, Option<PublishError>) {
        let mut places = Vec::with_capacity(chain.len());
        for Announcement { place, event, .. } in chain {
            let Outgoing { subject, id, headers, payload } = outgoing(registry, event);
            let begun = SystemTime::now();
            let told = match self.bus.publish(subject, &id, headers, payload, deadline).await {
                Ok(_) => {
                    self.told([event].into_iter(), begun);
                    Ok(())
                }
                Err(failure) => {
                    trace(event, begun, Some(&failure));
                    match failure {
                        PublishError::TooLarge => self.bury(event).await,
                        failure => Err(failure),
                    }
                }
            };
            match told {
                Ok(()) => places.push(*place),
                Err(failure) => return (places, Some(failure)),
            }
        }
        (places, None)
    }

    /// Counts events that are on EVENTS now, and shows it in their traces.
    fn told<'e>(&self, events: impl Iterator<Item = &'e Event>, begun: SystemTime) {
        let mut kinds: Vec<(EventType, u64)> = Vec::new();
        for event in events {
            match kinds.iter_mut().find(|(kind, _)| *kind == event.kind) {
                Some((_, count)) => *count += 1,
                None => kinds.push((event.kind, 1)),
            }
            trace(event, begun, None);
        }
        for (kind, count) in kinds {
            self.announced.add(count, &[KeyValue::new("kind", kind.kind())]);
        }
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
                origin: Origin::Other,
            })
            .await
    }
}

/// Shows in an event's trace that it was published since `begun`, or was not. What tenants read beside the event is its
/// own trace, the same however often it is told.
fn trace(event: &Event, begun: SystemTime, failure: Option<&PublishError>) {
    let Some(parent) = event.trace.filter(TraceParent::is_sampled) else { return };
    let mut span = Span::start_at(Step::Producer, "publish EVENTS", Some(parent), begun, &[]);
    if span.is_recording() {
        span.publishes_on("EVENTS");
        span.set("messaging.message.id", event.id.to_string());
        span.set("staffetta.tenant", event.tenant.to_string());
        span.set("staffetta.channel", event.channel.to_string());
        span.set("staffetta.event.type", event.kind.as_str());
    }
    if let Some(failure) = failure {
        span.fail(failure.code());
    }
    span.end();
}

/// The first events as messages, as many as are published as one at most; none where there are too few to be worth it.
fn first_part(registry: &Registry, announcements: &[Announcement]) -> Vec<Outgoing> {
    let mut part: Vec<Outgoing> = Vec::new();
    if announcements.len() < WORTH_IT {
        return part;
    }
    let mut bytes = 0;
    for announcement in announcements.iter().take(TOGETHER) {
        let message = outgoing(registry, &announcement.event);
        bytes += size(&message);
        if !part.is_empty() && bytes > TOGETHER_BYTES {
            break;
        }
        part.push(message);
    }
    part
}

fn outgoing(registry: &Registry, event: &Event) -> Outgoing {
    let encoding = registry.tenant(&event.tenant).map_or_else(Encoding::default, |tenant| tenant.encoding);
    let (headers, payload) = event_message(event, encoding);
    Outgoing { subject: event_subject(event), id: event.id.to_string(), headers, payload }
}

/// At least as many bytes as the message has on its way, headers included.
fn size(message: &Outgoing) -> usize {
    const HEADERS: usize = 1 << 10;
    message.payload.len() + HEADERS
}
