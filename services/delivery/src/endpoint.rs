//! One endpoint's actor: does what the endpoint's machine decides, and tells it what came of that. It owns everything it
//! counts, so nothing in it is locked. An idle actor has no timer.

mod opening;
mod work;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::Timestamp;
use staffetta_bus::{Endpoint, EventEnds, Lease, LoggedEvent, Target, boot_time};
use staffetta_domain::EndpointId;
use staffetta_store::{Disabled, EndpointKey, EndpointPlace, EndpointState, ReplayJob};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::Shared;
use crate::attempt::{Tried, Try};
use crate::board::{Fares, Lamp, State};
use crate::machine::{Action, Input, Machine, Now, Outcome, Rules, Source};
use crate::spool::Pickup;

/// How others reach an actor.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    notify: Notify,
    flags: AtomicU8,
    /// The youngest event of the tenant that is known to be stored.
    known: AtomicU64,
    /// Where EVENTS began when it was last looked at.
    first: AtomicU64,
    /// Which EVENTS that was: when it was made.
    log: AtomicI64,
    /// Everything below has been there for so long that a read would have found it.
    quiet_below: AtomicU64,
}

/// There may be something to read.
const LOOK: u8 = 1;
/// Something was stored.
const WOKEN: u8 = 4;
/// The database may say something new of the endpoint.
const STATE: u8 = 2;

impl Mailbox {
    /// An event was stored; 0 if it is not known which.
    pub(crate) fn wake(&self, sequence: u64) {
        self.known.fetch_max(sequence, Ordering::AcqRel);
        self.flag(if sequence > 0 { WOKEN } else { LOOK });
    }

    /// EVENTS was looked at.
    pub(crate) fn look(&self, ends: &EventEnds, quiet_below: u64) {
        self.first.fetch_max(ends.first, Ordering::AcqRel);
        self.log.store(ends.made_at, Ordering::Release);
        self.quiet_below.fetch_max(quiet_below, Ordering::AcqRel);
        self.flag(LOOK);
    }

    /// Somebody may have disabled or enabled the endpoint, or asked for a replay.
    pub(crate) fn ask(&self) {
        self.flag(STATE);
    }

    fn flag(&self, flag: u8) {
        self.flags.fetch_or(flag, Ordering::AcqRel);
        self.notify.notify_one();
    }
}

/// What some work came to.
enum Done {
    Told(Input),
    /// A read, with the events that it brought.
    Read {
        source: Source,
        events: Vec<Arc<LoggedEvent>>,
        next: u64,
        more: bool,
    },
    /// Somebody else owns the endpoint.
    Superseded,
    /// What the database said when so many changes of the endpoint were begun or ended.
    State {
        changes: u32,
        state: Box<EndpointState>,
        replays: Vec<ReplayJob>,
    },
    NoState,
    Disabled(Disabled),
    Enabled,
}

/// How long an actor that is told to stop waits for what is on its way.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
/// How long its pickup of files may take to finish the one it is at.
const LAST_FILE: Duration = Duration::from_secs(2);
/// Requests at a time in the whole process below which every endpoint has fewer than it may.
const SCARCE: usize = 512;
/// An idle endpoint's place moves on with the stream this often, so that what others' events push out of it is not
/// taken for something lost.
const MOVE_ON: Duration = Duration::from_secs(3_600);

/// The actor of one endpoint.
pub(crate) struct EndpointActor {
    shared: Shared,
    lease: Lease,
    over: CancellationToken,
    /// Fires when somebody else has kept a place, or EVENTS is another one: what follows begins with what is kept.
    superseded: CancellationToken,
    key: EndpointKey,
    endpoint: Arc<Endpoint>,
    mailbox: Arc<Mailbox>,
    /// The EVENTS in which the place counts: when it was made.
    log: i64,
    machine: Machine,
    /// Events that are at hand; others are read again when it is their turn.
    events: HashMap<(Source, u64), Arc<LoggedEvent>>,
    disabled: Option<Disabled>,
    /// It is being disabled or enabled, and what the database says meanwhile does not count.
    changing: bool,
    changes: u32,
    asking: bool,
    /// The replay that ended last: what was asked before may still name it.
    replayed: i64,
    kept: Option<EndpointPlace>,
    last_success: Option<Timestamp>,
    last_error: Option<String>,
    moved_on: Duration,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    tries: JoinSet<Tried>,
    /// Stops what picks up files as the entry says now.
    pickup: Option<CancellationToken>,
    pickups: JoinSet<()>,
    lamp: Arc<Lamp>,
}

/// Whether the endpoint is being disabled or enabled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Changing {
    Yes,
    No,
}

/// How long an actor may deliver.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    pub(crate) lease: Lease,
    /// Fires when it is to let go of its endpoint.
    pub(crate) over: CancellationToken,
}

impl EndpointActor {
    /// Delivers until its term is over, until the lease is lost, or until the endpoint is registered no more. What was
    /// not delivered stays where it is. Fails never; a panic is its owner's matter.
    pub(crate) async fn run(
        shared: Shared,
        term: Term,
        endpoint: Arc<Endpoint>,
        mailbox: Arc<Mailbox>,
    ) -> EndpointId {
        let id = endpoint.id.clone();
        let lost = term.lease.lost().clone();
        let over = term.over.clone();
        let opening = async {
            tokio::select! {
                opened = Self::open(shared, term, endpoint, mailbox) => opened,
                () = over.cancelled() => None,
                () = lost.cancelled() => None,
            }
        };
        if let Some(mut actor) = opening.await {
            actor.work().await;
            actor.leave().await;
        }
        id
    }

    async fn work(&mut self) {
        let mut registry = self.shared.registry.clone();
        let (lost, over, superseded) =
            (self.lease.lost().clone(), self.over.clone(), self.superseded.clone());
        let mut stop_at: Option<Duration> = None;
        // It may have changed while nobody served it.
        self.enable_if_changed_since();
        self.registry_changed();
        loop {
            let now = self.now();
            let mut next = self.machine.pump(&now);
            for action in self.machine.take_actions() {
                self.perform(action, &now);
            }
            self.note_place();
            if let Some(stop_at) = stop_at {
                if now.boot >= stop_at || (self.machine.is_done() && self.tries.is_empty()) {
                    return;
                }
                next = Some(next.map_or(stop_at, |next| next.min(stop_at)));
            }
            let stopping = stop_at.is_some();
            let mut stop = || stop_at = Some(now.boot + LAST_ANSWERS);
            let mailbox = Arc::clone(&self.mailbox);
            tokio::select! {
                () = over.cancelled(), if !stopping => { stop(); self.tell(Input::Stop) }
                () = lost.cancelled(), if !stopping => { stop(); self.tell(Input::Stop) }
                () = superseded.cancelled(), if !stopping => { stop(); self.tell(Input::Stop) }
                () = registry.changed(), if !stopping => {
                    if !self.registry_changed() {
                        stop();
                        self.tell(Input::Stop);
                    }
                }
                () = mailbox.notify.notified() => self.collect_mail(),
                Some(done) = self.work.next() => self.done(done),
                Some(tried) = self.tries.join_next() => {
                    if let Ok(tried) = tried {
                        self.tried(tried);
                    } else {
                        // Which one it was, nobody can tell: the next owner tries it again.
                        stop();
                        self.superseded.cancel();
                        self.tell(Input::Stop);
                    }
                }
                () = sleep_until(next), if next.is_some() => {}
            }
        }
    }

    /// What is still on its way is left; the place is kept.
    async fn leave(&mut self) {
        self.tries.abort_all();
        if let Some(pickup) = self.pickup.take() {
            pickup.cancel();
        }
        let ended = timeout(LAST_FILE, async { while self.pickups.join_next().await.is_some() {} });
        if ended.await.is_err() {
            debug!(endpoint = %self.key.endpoint, "the pickup of files did not end in time");
        }
        self.note_place();
    }

    fn now(&self) -> Now {
        let free = self.shared.requests.available_permits();
        // Where room is scarce, each has a little.
        let room = if free > SCARCE { usize::MAX } else { (free / 64).max(1) };
        Now { boot: boot_time(), wall: Timestamp::now(), may_begin: self.lease.is_valid(), room }
    }

    fn tell(&mut self, input: Input) {
        let now = self.now();
        self.machine.handle(input, &now);
    }

    fn tried(&mut self, tried: Tried) {
        let Tried { revision, source, sequence, stored, outcome } = tried;
        let outcome = match outcome {
            // What fails by an entry that has changed meanwhile says nothing of the new one, a 410 least of all.
            Outcome::Failed(failure) if revision != self.endpoint.revision => Outcome::NotNow(failure.error),
            outcome => outcome,
        };
        self.tell(Input::Tried { source, sequence, stored, outcome });
    }

    /// False if the endpoint is not registered any more, or not as one that is delivered to.
    fn registry_changed(&mut self) -> bool {
        let registry = self.shared.registry.load();
        let found = registry.endpoint(&self.key.endpoint).filter(|found| found.tenant.id == self.key.tenant);
        let Some(endpoint) = found.filter(|found| !matches!(found.target, Target::Nats)) else {
            return false;
        };
        let changed = endpoint.revision != self.endpoint.revision;
        // Secrets in files change without the entry.
        self.endpoint = Arc::clone(endpoint);
        if changed || self.pickup.is_none() {
            self.machine.set_rules(rules(&self.shared, &self.endpoint));
            self.pick_up();
        }
        if changed {
            info!(endpoint = %self.key.endpoint, "the endpoint's entry has changed");
            // Whatever was wrong with it may be mended.
            self.tell(Input::Rest);
            self.enable_if_changed_since();
        }
        self.stand();
        true
    }

    /// Enables the endpoint if its entry is not the one for which it was disabled.
    fn enable_if_changed_since(&mut self) {
        let revision = self.endpoint.revision;
        if self.disabled.as_ref().is_some_and(|disabled| disabled.revision < revision) && !self.changing {
            self.change_is(Changing::Yes);
            self.work.push(self.enable("the endpoint's entry has changed"));
        }
    }

    fn change_is(&mut self, changing: Changing) {
        self.changing = changing == Changing::Yes;
        self.changes = self.changes.wrapping_add(1);
    }

    /// Delivers if nothing is against it.
    fn stand(&mut self) {
        let delivers = self.endpoint.enabled
            && self.endpoint.problem.is_none()
            && self.disabled.is_none()
            && !self.changing;
        self.tell(if delivers { Input::Deliver } else { Input::Rest });
        if !delivers {
            self.events.clear();
        }
    }

    /// Takes up files as the endpoint's entry says now.
    fn pick_up(&mut self) {
        if let Some(pickup) = self.pickup.take() {
            // It ends by itself: two at a time on one folder do no harm.
            pickup.cancel();
        }
        while self.pickups.try_join_next().is_some() {}
        let stop = CancellationToken::new();
        if self.endpoint.enabled
            && let Some(root) = self.shared.settings.spool_root.clone()
            && let Some(pickup) = Pickup::new(
                Arc::clone(&self.endpoint),
                root,
                self.shared.bus.clone(),
                self.shared.registry.clone(),
                self.shared.store.clone(),
            )
        {
            self.pickups.spawn(pickup.run(stop.clone()));
        }
        self.pickup = Some(stop);
    }

    fn collect_mail(&mut self) {
        let flags = self.mailbox.flags.swap(0, Ordering::AcqRel);
        if flags & WOKEN != 0 {
            self.tell(Input::Woken(self.mailbox.known.load(Ordering::Acquire)));
        }
        if flags & LOOK != 0 {
            if self.mailbox.log.load(Ordering::Acquire) != self.log {
                warn!(endpoint = %self.key.endpoint, "EVENTS was made anew: the endpoint's place is looked up again");
                return self.superseded.cancel();
            }
            self.tell(Input::Look);
        }
        if flags & STATE != 0 && !self.asking {
            self.asking = true;
            self.work.push(self.ask());
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Told(input) => {
                let replay = self.machine.replay();
                self.tell(input);
                if let Some(ended) = replay.filter(|_| self.machine.replay().is_none()) {
                    self.replayed = ended;
                    // There may be another one.
                    self.mailbox.ask();
                }
            }
            Done::Read { source, events, next, more } => {
                let items = events.iter().map(|event| work::item(event)).collect();
                for event in events {
                    self.events.insert((source, event.sequence), event);
                }
                self.tell(Input::Read { source, items, next, more });
            }
            Done::Superseded => self.superseded.cancel(),
            Done::NoState => self.asking = false,
            Done::State { changes, state, replays } => {
                self.asking = false;
                // What was asked before a change says nothing about it.
                if changes == self.changes && !self.changing && self.disabled != state.disabled {
                    self.disabled = state.disabled;
                    self.stand();
                }
                let job = replays.into_iter().find(|job| job.id > self.replayed);
                if let Some(job) = job.filter(|_| self.machine.replay().is_none()) {
                    info!(endpoint = %self.key.endpoint, "events are delivered once more");
                    self.tell(Input::Replay(job));
                }
            }
            Done::Disabled(disabled) => {
                self.change_is(Changing::No);
                self.disabled = Some(disabled);
                // The entry may have changed while that was written and told.
                self.enable_if_changed_since();
                self.stand();
            }
            Done::Enabled => {
                self.change_is(Changing::No);
                self.disabled = None;
                self.stand();
            }
        }
    }

    fn perform(&mut self, action: Action, now: &Now) {
        match action {
            Action::Try { source, sequence, attempt } => {
                let event = self.events.get(&(source, sequence)).cloned();
                let (key, endpoint) = (self.key.clone(), Arc::clone(&self.endpoint));
                let labels = self.lamp.labels().clone();
                let turn = Try { key, endpoint, labels, source, sequence, attempt, event };
                self.tries.spawn(turn.run(self.shared.clone()));
            }
            Action::Forget(source, sequence) => drop(self.events.remove(&(source, sequence))),
            Action::Disable(reason) => {
                self.change_is(Changing::Yes);
                self.events.clear();
                self.work.push(self.disable(reason, now.wall));
            }
            action => {
                if let Some(work) = self.work_for(action, now) {
                    self.work.push(work);
                }
            }
        }
    }

    /// Hands the place to those who keep it, if it has changed, and shows how the endpoint fares.
    fn note_place(&mut self) {
        self.last_success = self.machine.last_success().or(self.last_success);
        if self.machine.last_error() != self.last_error.as_deref() && self.machine.last_error().is_some() {
            self.last_error = self.machine.last_error().map(str::to_owned);
        }
        let broken = self.machine.is_broken();
        if broken {
            self.events.clear();
        }
        let state = match (self.machine.is_resting(), broken) {
            (true, _) => State::Disabled,
            (false, true) => State::Broken,
            (false, false) => State::Well,
        };
        let (oldest, parked) = (self.machine.oldest(), self.machine.parked());
        self.lamp.show(Fares { state, oldest, parked });
        let place = self.place(self.machine.cursor());
        if self.kept.as_ref() != Some(&place) && !self.superseded.is_cancelled() {
            self.shared.places.note(place.clone(), &self.superseded);
            self.kept = Some(place);
        }
    }

    fn place(&self, cursor: u64) -> EndpointPlace {
        EndpointPlace {
            key: self.key.clone(),
            epoch: self.lease.epoch(),
            cursor,
            log: Some(self.log),
            failing_since: self.machine.failing_since(),
            last_success: self.last_success,
            last_error: self.last_error.clone(),
        }
    }
}

/// How this endpoint is treated.
fn rules(shared: &Shared, endpoint: &Endpoint) -> Rules {
    let concurrency = match endpoint.target {
        Target::Webhook(_) | Target::Nats => shared.settings.concurrency,
        // One file after the other: the manifest has their order.
        Target::Spool(_) => 1,
    };
    Rules { concurrency, disable_after: shared.settings.disable_after }
}

async fn sleep_until(at: Option<Duration>) {
    let Some(at) = at else { return };
    sleep(at.saturating_sub(boot_time())).await;
}
