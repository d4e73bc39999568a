//! Group commit: what waits while a publish is in flight leaves together in the next one.

mod pace;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use bytes::{Bytes, BytesMut};
use staffetta_bus::{Bus, PublishError, webhook_subject};
use staffetta_domain::TraceParent;
use staffetta_runtime::crash::crash_point;
use staffetta_runtime::trace::{Span, Step};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinSet, yield_now};
use tokio::time::{Instant, timeout_at};
use tracing::{error, warn};
use uuid::Uuid;

pub(crate) use self::pace::Pace;
use crate::answer::Outcome;
use crate::body::Held;
use crate::complaint::Complaints;
use crate::envelope;
use crate::metrics::Metrics;

/// Most bytes of an envelope of more than one webhook.
const MAX_BYTES: usize = 64 << 10;
/// Most webhooks of an envelope.
const MAX_WEBHOOKS: usize = 100;
/// Most webhooks that wait.
const MAX_WAITING: usize = 10_000;
/// The one shard there is so far.
const SHARD: u32 = 0;

/// Where handlers hand webhooks in. The committer ends when every clone is gone.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    bus: Bus,
    queue: mpsc::Sender<Waiting>,
    pace: Arc<Pace>,
    deadline: Duration,
}

/// One webhook that waits for its publish.
#[derive(Debug)]
struct Waiting {
    /// An envelope of this webhook alone.
    encoded: Bytes,
    arrived: Instant,
    /// Its request, in its trace.
    trace: Option<TraceParent>,
    /// Counts until NATS has answered, whether or not somebody still waits for it.
    held: Held,
    reply: oneshot::Sender<Outcome>,
}

/// Owns every publish.
#[derive(Debug)]
pub(crate) struct Committer {
    queue: mpsc::Receiver<Waiting>,
    /// Taken from the queue, but the envelope before had no room for it.
    next: Option<Waiting>,
    lanes: usize,
    publishes: JoinSet<()>,
    /// Each publish in flight, with the arrival of its oldest webhook.
    in_flight: Vec<(Id, Instant)>,
    pace: Arc<Pace>,
    publisher: Arc<Publisher>,
}

#[derive(Debug)]
struct Publisher {
    bus: Bus,
    subject: String,
    deadline: Duration,
    metrics: Metrics,
    complaints: Complaints,
}

/// A queue and the committer that empties it, `lanes` publishes at a time, each webhook within `deadline` of its
/// arrival.
pub(crate) fn desk(bus: Bus, lanes: usize, deadline: Duration, metrics: Metrics) -> (Desk, Committer) {
    let (sender, queue) = mpsc::channel(MAX_WAITING);
    let pace = Arc::new(Pace::new(deadline / 2));
    let committer = Committer {
        queue,
        next: None,
        lanes,
        publishes: JoinSet::new(),
        in_flight: Vec::with_capacity(lanes),
        pace: Arc::clone(&pace),
        publisher: Arc::new(Publisher {
            bus: bus.clone(),
            subject: webhook_subject(SHARD),
            deadline,
            metrics,
            complaints: Complaints::default(),
        }),
    };
    (Desk { bus, queue: sender, pace, deadline }, committer)
}

impl Desk {
    /// Whether NATS keeps up.
    pub(crate) fn pace(&self) -> Arc<Pace> {
        Arc::clone(&self.pace)
    }

    /// Why a webhook would be refused right now, if it would.
    pub(crate) fn refuses(&self) -> Option<Outcome> {
        if !self.bus.is_connected() {
            return Some(Outcome::Unavailable);
        }
        self.pace.is_stalled().then_some(Outcome::Slow)
    }

    /// Has a webhook stored that arrived at `arrived`, by a request of `trace`. [`Outcome::Stored`] means that NATS has
    /// acknowledged it; any other outcome leaves open whether it is stored.
    pub(crate) async fn store(
        &self,
        encoded: Bytes,
        held: Held,
        arrived: Instant,
        trace: Option<TraceParent>,
    ) -> Outcome {
        let (reply, answer) = oneshot::channel();
        match self.queue.try_send(Waiting { encoded, arrived, trace, held, reply }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Outcome::Full,
            Err(mpsc::error::TrySendError::Closed(_)) => return Outcome::Unavailable,
        }
        match timeout_at(arrived + self.deadline, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Outcome::Unavailable,
            Err(_) => Outcome::Slow,
        }
    }
}

impl Committer {
    /// Publishes what is handed in, until nobody can hand in any more and NATS has answered everything.
    pub(crate) async fn run(mut self) {
        loop {
            let free = self.publishes.len() < self.lanes;
            if free && let Some(first) = self.next.take() {
                self.start(first);
                continue;
            }
            tokio::select! {
                Some(ended) = self.publishes.join_next_with_id() => self.end(ended),
                first = self.queue.recv(), if free => match first {
                    Some(first) => {
                        // Handlers that are ready to run hand theirs in first. Where none is, this costs nothing.
                        yield_now().await;
                        self.start(first);
                    }
                    None => break,
                },
            }
        }
        while let Some(ended) = self.publishes.join_next_with_id().await {
            self.end(ended);
        }
    }

    fn start(&mut self, first: Waiting) {
        let group = self.gather(first);
        let Some(oldest) = group.first().map(|waiting| waiting.arrived) else { return };
        let publisher = Arc::clone(&self.publisher);
        let publish = self.publishes.spawn(async move { publisher.publish(group, oldest).await });
        self.in_flight.push((publish.id(), oldest));
        self.tell_pace();
    }

    /// Takes what waits, as far as it fits. Who has given up waiting has been told 503: that webhook comes again.
    fn gather(&mut self, first: Waiting) -> Vec<Waiting> {
        let room = MAX_BYTES.min(envelope::largest(&self.publisher.bus));
        let mut bytes = 0;
        let mut group = Vec::new();
        let mut next = Some(first);
        while let Some(waiting) = next {
            if !waiting.reply.is_closed() {
                if !group.is_empty() && bytes + waiting.encoded.len() > room {
                    self.next = Some(waiting);
                    break;
                }
                bytes += waiting.encoded.len();
                group.push(waiting);
                if group.len() == MAX_WEBHOOKS {
                    break;
                }
            }
            next = self.queue.try_recv().ok();
        }
        group
    }

    fn end(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(failure) => {
                // Its webhooks were told 503 when their replies were dropped.
                error!(error = %failure, "a publish died");
                failure.id()
            }
        };
        self.in_flight.retain(|(publish, _)| *publish != id);
        self.tell_pace();
    }

    fn tell_pace(&self) {
        self.pace.waits_since(self.in_flight.iter().map(|(_, oldest)| *oldest).min());
    }
}

impl Publisher {
    /// Publishes a group as one message and tells everybody in it how that went.
    async fn publish(&self, group: Vec<Waiting>, oldest: Instant) {
        let payload = join(&group);
        let started = Instant::now();
        let id = Uuid::now_v7().to_string();
        let mut span = publish_span(&group, &id);
        crash_point("ingress.before-publish");
        let deadline = oldest + self.deadline;
        let published =
            self.bus.publish(self.subject.clone(), &id, HeaderMap::new(), payload, deadline).await;
        crash_point("ingress.after-publish");
        self.metrics.published(group.len(), started.elapsed());
        let outcome = match published {
            Ok(_) => Outcome::Stored,
            Err(problem) => {
                if let Some(span) = &mut span {
                    span.fail(problem.code());
                }
                self.outcome(problem)
            }
        };
        drop(span);
        for Waiting { held, reply, .. } in group {
            drop(held);
            // Who asked may be gone.
            let _ = reply.send(outcome);
        }
    }

    fn outcome(&self, problem: PublishError) -> Outcome {
        let (outcome, subject) = match &problem {
            PublishError::Unavailable => (Outcome::Unavailable, "unavailable"),
            PublishError::TimedOut => (Outcome::Slow, "slow"),
            PublishError::Full => (Outcome::Full, "full"),
            PublishError::TooLarge => (Outcome::Unstorable, "too large"),
            PublishError::Refused(_) => (Outcome::Unavailable, "refused"),
        };
        if self.complaints.due(subject) {
            let error = format!("{:#}", anyhow::Error::from(problem));
            warn!(error, "webhooks are answered 503");
        }
        outcome
    }
}

/// The publish in the trace of the first webhook that has one, with the others' beside it; `None` where nobody wants to
/// know.
fn publish_span(group: &[Waiting], id: &str) -> Option<Span> {
    let mut traced = group.iter().filter_map(|waiting| waiting.trace).filter(TraceParent::is_sampled);
    let first = traced.next()?;
    let others: Vec<TraceParent> = traced.collect();
    let mut span =
        Span::start_at(Step::Producer, "publish WEBHOOKS", Some(first), SystemTime::now(), &others);
    if span.is_recording() {
        span.publishes_on("WEBHOOKS");
        span.set("messaging.message.id", id.to_owned());
        span.set("messaging.batch.message_count", group.len() as i64);
    }
    Some(span)
}

fn join(group: &[Waiting]) -> Bytes {
    if let [alone] = group {
        return alone.encoded.clone();
    }
    let mut payload = BytesMut::with_capacity(group.iter().map(|waiting| waiting.encoded.len()).sum());
    for waiting in group {
        payload.extend_from_slice(&waiting.encoded);
    }
    payload.freeze()
}
