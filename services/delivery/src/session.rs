//! The parts that this process owns: an actor for each of their endpoints.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures_util::StreamExt;
use staffetta_bus::{
    Endpoint, EventEnds, EventWake, OwnershipChange as Change, QueueError, Returned, Target, boot_time,
    part_of,
};
use staffetta_domain::{EndpointId, TenantId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::Shared;
use crate::consumers::Consumers;
use crate::endpoint::{EndpointActor, Mailbox, Term};
use crate::orphans;

/// How often everything is looked at: a wake-up may be missed.
const LOOK: Duration = Duration::from_secs(5);
/// Looks after the last event was stored: a replica may be late.
const LOOKS: u32 = 6;
/// Endpoints of which the database is asked at each look; the others have their turn later.
const ASKED: usize = 100;
/// How long ago EVENTS must have ended somewhere for every reader to have seen what is below.
const QUIET: Duration = Duration::from_secs(600);
/// How often that is noted.
const QUIET_EVERY: Duration = Duration::from_secs(60);
/// How long keeping the places may take when a part is given back.
const LAST_PLACES: Duration = Duration::from_secs(2);
/// How often it is looked for what is left of endpoints that are registered no more.
const ORPHANS_EVERY: Duration = Duration::from_secs(300);

/// Serves the parts that it is given until it has given all of them back.
pub(crate) struct Session {
    shared: Shared,
    parts: HashMap<u16, Part>,
    served: HashMap<EndpointId, Served>,
    by_tenant: HashMap<TenantId, Vec<Arc<Mailbox>>>,
    actors: JoinSet<EndpointId>,
    /// At most one look at EVENTS at a time: nobody waits for it.
    looks: JoinSet<Result<EventEnds, QueueError>>,
    /// Where EVENTS ended, and when, newest last.
    ends: VecDeque<(Duration, u64)>,
    /// What the last look found, and how often it has been found.
    last_look: (Option<EventEnds>, u32),
    /// Where in the list of endpoints the database is asked next.
    asked: usize,
    consumers: Consumers,
    /// Parts whose last places are being kept.
    returning: JoinSet<u16>,
    orphans: JoinSet<orphans::Seen>,
    orphans_at: Duration,
    seen: orphans::Seen,
}

/// A part that this process owns.
struct Part {
    term: Term,
    asked_back: AskedBack,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum AskedBack {
    No,
    /// Its actors are ending.
    Yes,
    /// They have ended, and their places are being kept.
    Leaving,
}

impl Part {
    fn is_kept(&self) -> bool {
        self.asked_back == AskedBack::No && !self.term.lease.lost().is_cancelled()
    }
}

/// An endpoint that has an actor.
struct Served {
    tenant: TenantId,
    epoch: i64,
    mailbox: Arc<Mailbox>,
}

impl Session {
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            consumers: Consumers::new(shared.bus.clone()),
            shared,
            parts: HashMap::new(),
            served: HashMap::new(),
            by_tenant: HashMap::new(),
            actors: JoinSet::new(),
            looks: JoinSet::new(),
            ends: VecDeque::new(),
            last_look: (None, 0),
            asked: 0,
            returning: JoinSet::new(),
            orphans: JoinSet::new(),
            orphans_at: boot_time() + ORPHANS_EVERY,
            seen: orphans::Seen::default(),
        }
    }

    /// Serves until `changes` end, then waits until nothing is on its way any more. Whatever ends the serving fires
    /// `stop`, before the wait: others may take over meanwhile.
    ///
    /// # Errors
    /// If an actor died, or NATS ended the subscription.
    pub(crate) async fn run(
        mut self,
        mut changes: mpsc::Receiver<Change>,
        returned: mpsc::Sender<Returned>,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let outcome = self.follow(&mut changes, &returned).await;
        drop((changes, returned));
        stop.cancel();
        for part in self.parts.values() {
            part.term.over.cancel();
            part.term.lease.end();
        }
        let mut drained = Ok(());
        while let Some(ended) = self.actors.join_next().await {
            drained = drained.and(ended.context("an endpoint's actor died").map(drop));
        }
        outcome.and(drained)
    }

    async fn follow(
        &mut self,
        changes: &mut mpsc::Receiver<Change>,
        returned: &mpsc::Sender<Returned>,
    ) -> anyhow::Result<()> {
        let mut wakes = self.shared.log.wakes().await?;
        let mut registry = self.shared.registry.clone();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Some(change) => self.changed(change, returned).await,
                    None => return Ok(()),
                },
                wake = wakes.next() => self.wake(&wake.context("the wake-ups ended")?),
                () = registry.changed() => self.reconcile(),
                Some(ended) = self.actors.join_next() => {
                    self.ended(&ended.context("an endpoint's actor died")?);
                }
                Some(part) = self.returning.join_next() => {
                    self.give_back(part.context("keeping the places died")?, returned).await;
                }
                Some(looked) = self.looks.join_next() => {
                    self.looked(looked.context("a look at EVENTS died")?);
                }
                Some(seen) = self.orphans.join_next() => {
                    self.seen = seen.context("the look for what is left of endpoints died")?;
                }
                () = self.consumers.work() => {}
                _ = look.tick() => self.look(),
            }
        }
    }

    async fn changed(&mut self, change: Change, returned: &mpsc::Sender<Returned>) {
        match change {
            Change::Gained { part, lease, handover: _ } => {
                self.shared.board.gained(part, lease.clone());
                let term = Term { lease, over: CancellationToken::new() };
                self.parts.insert(part, Part { term, asked_back: AskedBack::No });
                self.reconcile();
            }
            Change::GiveBack { part } => {
                let Some(held) = self.parts.get_mut(&part) else {
                    return give(returned, Returned { part, handover: None }).await;
                };
                held.term.over.cancel();
                held.asked_back = AskedBack::Yes;
                self.leave_if_free(part);
            }
        }
    }

    /// An actor has ended.
    fn ended(&mut self, id: &EndpointId) {
        let Some(served) = self.served.remove(id) else { return };
        self.index();
        let part = part_of(id.as_str());
        self.leave_if_free(part);
        // Another one that would end in the same way waits for the next look.
        if self.parts.get(&part).is_some_and(|part| part.term.lease.epoch() != served.epoch) {
            self.reconcile();
        }
    }

    /// Once no actor of a part that was asked back is left, their places are kept, and then it goes back.
    fn leave_if_free(&mut self, part: u16) {
        let Some(held) = self.parts.get_mut(&part) else { return };
        if held.asked_back != AskedBack::Yes || self.served.keys().any(|id| part_of(id.as_str()) == part) {
            return;
        }
        held.asked_back = AskedBack::Leaving;
        let places = self.shared.places.clone();
        self.returning.spawn(async move {
            places.flush(LAST_PLACES).await;
            part
        });
    }

    async fn give_back(&mut self, part: u16, returned: &mpsc::Sender<Returned>) {
        if let Some(held) = self.parts.remove(&part) {
            held.term.lease.end();
            self.shared.board.lost(part);
            // Nothing of it is on its way: the next owner need not wait.
            give(returned, Returned { part, handover: Some(Bytes::new()) }).await;
        }
    }

    /// Starts what should run and does not. What should not run any more finds out by itself.
    fn reconcile(&mut self) {
        let registry = self.shared.registry.load();
        let mut consumers = Vec::new();
        let mut started = false;
        for endpoint in registry.endpoints() {
            let Some(part) = self.parts.get(&part_of(endpoint.id.as_str())).filter(|part| part.is_kept())
            else {
                continue;
            };
            match endpoint.target {
                Target::Nats => consumers.push(Arc::clone(endpoint)),
                Target::Webhook(_) | Target::Spool(_) => {
                    if !self.served.contains_key(&endpoint.id) {
                        let term = Term { lease: part.term.lease.clone(), over: part.term.over.clone() };
                        started = true;
                        let (served, actor) = start(&self.shared, term, endpoint);
                        self.actors.spawn(actor);
                        self.served.insert(endpoint.id.clone(), served);
                    }
                }
            }
        }
        if started {
            self.index();
        }
        let owned = self.parts.iter().filter(|(_, part)| part.is_kept()).map(|(part, _)| *part).collect();
        let unreadable = registry.unreadable_endpoints().cloned().collect();
        self.consumers.should_be(consumers, unreadable, owned);
    }

    fn index(&mut self) {
        self.by_tenant.clear();
        for served in self.served.values() {
            self.by_tenant.entry(served.tenant.clone()).or_default().push(Arc::clone(&served.mailbox));
        }
    }

    fn wake(&self, wake: &EventWake) {
        for mailbox in self.by_tenant.get(&wake.tenant).into_iter().flatten() {
            mailbox.wake(wake.sequence);
            // What is told of no channel may be told of an endpoint.
            if wake.channel.as_str() == "none" {
                mailbox.ask();
            }
        }
    }

    fn look(&mut self) {
        self.parts
            .retain(|_, part| part.asked_back != AskedBack::No || !part.term.lease.lost().is_cancelled());
        self.reconcile();
        if self.looks.is_empty() && !self.served.is_empty() {
            let log = self.shared.log.clone();
            self.looks.spawn(async move { log.ends().await });
        }
        let turn = self.served.values().cycle().skip(self.asked % self.served.len().max(1));
        for served in turn.take(ASKED.min(self.served.len())) {
            served.mailbox.ask();
        }
        self.asked = self.asked.wrapping_add(ASKED);
        let now = boot_time();
        let keeps_order = self.parts.get(&0).is_some_and(Part::is_kept);
        if keeps_order && now >= self.orphans_at && self.orphans.is_empty() {
            self.orphans_at = now + ORPHANS_EVERY;
            let (registry, store) = (self.shared.registry.clone(), self.shared.store.clone());
            self.orphans.spawn(orphans::forget(registry, store, std::mem::take(&mut self.seen)));
        }
    }

    /// Tells everybody where EVENTS begins, and what a read must have found by now.
    fn looked(&mut self, ends: Result<EventEnds, QueueError>) {
        let ends = match ends {
            Ok(ends) => ends,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "looking again in a moment");
                return;
            }
        };
        let now = boot_time();
        if self.last_look.0.is_some_and(|before| before.made_at != ends.made_at) {
            // Of another stream: its numbers say nothing about this one.
            self.ends.clear();
        }
        if self.ends.back().is_none_or(|(at, _)| *at + QUIET_EVERY <= now) {
            self.ends.push_back((now, ends.last));
        }
        while self.ends.get(1).is_some_and(|(at, _)| *at + QUIET <= now) {
            self.ends.pop_front();
        }
        let quiet = self.ends.front().filter(|(at, _)| *at + QUIET <= now).map_or(0, |(_, last)| last + 1);
        let (before, times) = &mut self.last_look;
        *times = if before.replace(ends) == Some(ends) { times.saturating_add(1) } else { 0 };
        // Where nothing happens, there is nothing to look for.
        if *times < LOOKS {
            for served in self.served.values() {
                served.mailbox.look(&ends, quiet);
            }
        }
    }
}

fn start(
    shared: &Shared,
    term: Term,
    endpoint: &Arc<Endpoint>,
) -> (Served, impl Future<Output = EndpointId> + Send + use<>) {
    let mailbox = Arc::<Mailbox>::default();
    let (tenant, epoch) = (endpoint.tenant.id.clone(), term.lease.epoch());
    let actor = EndpointActor::run(shared.clone(), term, Arc::clone(endpoint), Arc::clone(&mailbox));
    (Served { tenant, epoch, mailbox }, actor)
}

/// Whoever owns the leases may be gone: then there is nothing to give back to.
async fn give(returned: &mpsc::Sender<Returned>, part: Returned) {
    let _ = returned.send(part).await;
}
