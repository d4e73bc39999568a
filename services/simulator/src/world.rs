//! The simulated world: the numbers, what they have seen, and the rules applied to each send.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value};
use tokio::sync::{Notify, mpsc};

use crate::chance::{Purpose, generator, happens, trace_id};
use crate::faults::Faults;
use crate::inbound::Stream;
use crate::limits::{Pairs, Throughput, UserWindows};
use crate::media::Shelf;
use crate::options::{Behaviour, Options, SimChannel, WebhookTarget};
use crate::postman::Scheduled;
use crate::profile;
use crate::received::Received;
use crate::registration::Registration;
use crate::report::{Detail, Ledger, Report};
use crate::templates::Templates;
use crate::throughput::{ThroughputLevel, Upgrading};
use crate::usage::Usage;
use crate::users::Users;
use crate::webhooks::{Item, Notice, Source, Update};

/// Everything the simulator knows. One short lock guards it: no await, no scan of a log under it but the
/// copy that a report takes.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    started: Instant,
    state: Mutex<State>,
    post: mpsc::Sender<Scheduled>,
    waiting: AtomicU64,
    traces: AtomicU64,
    /// Told when a stream of inbound messages is set.
    pub(crate) streams_changed: Notify,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) channels: HashMap<Arc<str>, Channel>,
    pub(crate) behaviour: Arc<Behaviour>,
    pub(crate) faults: Faults,
    pub(crate) templates: Templates,
    pub(crate) users: Users,
    pub(crate) shelf: Shelf,
    /// Missing while nobody speaks of it, which costs a send nothing.
    pub(crate) usage: Option<Usage>,
    pub(crate) refused: BTreeMap<u32, u64>,
    pub(crate) log_room: usize,
    log_capacity: usize,
    webhook: Option<WebhookTarget>,
    webhook_posts: u64,
}

/// One number.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) config: SimChannel,
    pub(crate) behaviour: Option<Arc<Behaviour>>,
    pub(crate) source: Option<Arc<Source>>,
    pub(crate) level: Option<ThroughputLevel>,
    pub(crate) upgrading: Option<Upgrading>,
    pub(crate) users: Users,
    pub(crate) throughput: Throughput,
    pub(crate) pairs: Pairs,
    pub(crate) windows: UserWindows,
    pub(crate) registration: Registration,
    /// Whether the account's webhooks are on.
    pub(crate) subscribed: bool,
    /// When its token ends, in Unix seconds; `None` if never.
    pub(crate) token_ends: Option<u64>,
    pub(crate) profile: Map<String, Value>,
    pub(crate) received: Received,
    pub(crate) sends: u64,
    pub(crate) inbound: u64,
    pub(crate) files: u64,
    notices: u64,
    pub(crate) stream: Option<Stream>,
    pub(crate) ledger: Ledger,
}

impl World {
    pub(crate) fn new(options: &Options, post: mpsc::Sender<Scheduled>) -> Self {
        let state = State {
            channels: HashMap::new(),
            behaviour: Arc::new(options.behaviour.clone()),
            faults: Faults::default(),
            templates: Templates::default(),
            users: Users::default(),
            shelf: Shelf::default(),
            usage: None,
            refused: BTreeMap::new(),
            log_room: options.log_capacity,
            log_capacity: options.log_capacity,
            webhook: options.webhook.clone(),
            webhook_posts: 0,
        };
        let world = Self {
            seed: options.seed,
            started: Instant::now(),
            state: Mutex::new(state),
            post,
            waiting: AtomicU64::new(0),
            traces: AtomicU64::new(0),
            streams_changed: Notify::new(),
        };
        for channel in &options.channels {
            world.state().put_channel(channel.clone());
        }
        world
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock leaves figures at worst one apart: still better told than lost.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Microseconds from the start to `instant`.
    pub(crate) fn micros(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.started).as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn now(&self) -> u64 {
        self.micros(Instant::now())
    }

    pub(crate) fn trace_id(&self) -> String {
        let counter = self.traces.fetch_add(1, Ordering::Relaxed);
        trace_id(&mut generator(self.seed, "", Purpose::Trace, counter))
    }

    /// Hands an update to the postman, due after `delay`, and its duplicate if it shall have one. Gives
    /// back how many were lost because too many wait already.
    pub(crate) fn tell(&self, update: Update, delay: Duration, duplicate: bool) -> u64 {
        let due = self.due(&update.behaviour, delay);
        let mut lost = 0;
        if duplicate {
            let again = delay + Duration::from_millis(update.behaviour.duplicate_after_ms);
            lost += u64::from(!self.schedule(self.due(&update.behaviour, again), update.clone()));
        }
        lost + u64::from(!self.schedule(due, update))
    }

    /// Hands a change of a field to the number's webhook, due after `delay`, if it has one. `common` is what
    /// holds for numbers without a behaviour of their own.
    pub(crate) fn announce(
        &self,
        channel: &mut Channel,
        common: &Arc<Behaviour>,
        (field, value): (&'static str, Value),
        delay: Duration,
    ) {
        channel.notices += 1;
        let number = &channel.config.phone_number_id;
        let mut rng = generator(self.seed, number, Purpose::Notice, channel.notices);
        let behaviour = channel.behaviour.as_ref().unwrap_or(common).clone();
        let duplicate = happens(&mut rng, behaviour.duplicate);
        let time = unix_ms().saturating_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)) / 1000;
        let notice = Item::Notice(Arc::new(Notice { field, time, value }));
        if let Some(update) = channel.update(&behaviour, notice) {
            channel.ledger.webhooks.lost += self.tell(update, delay, duplicate);
        }
    }

    /// When something that happens after `delay` is told: at the end of the span in which updates gather.
    fn due(&self, behaviour: &Behaviour, delay: Duration) -> Instant {
        let due = Instant::now() + delay;
        match behaviour.batch_wait_ms.saturating_mul(1000) {
            0 => due,
            span => due + Duration::from_micros(span - self.micros(due) % span),
        }
    }

    fn schedule(&self, due: Instant, update: Update) -> bool {
        let taken = self.post.try_send((due.into(), update)).is_ok();
        if taken {
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    pub(crate) fn webhooks_sent(&self, updates: &[Update]) {
        self.waiting.fetch_sub(updates.len() as u64, Ordering::Relaxed);
        let mut state = self.state();
        state.webhook_posts += 1;
        state.for_each_ledger(updates, |ledger| ledger.webhooks.sent += 1);
    }

    pub(crate) fn webhooks_retried(&self, updates: &[Update]) {
        self.state().for_each_ledger(updates, |ledger| ledger.webhooks.retried += 1);
    }

    pub(crate) fn webhooks_lost(&self, updates: &[Update]) {
        self.waiting.fetch_sub(updates.len() as u64, Ordering::Relaxed);
        self.state().for_each_ledger(updates, |ledger| ledger.webhooks.lost += 1);
    }

    pub(crate) fn report(&self, detail: Detail) -> Report {
        let (ledgers, refused, webhook_posts) = {
            let (now, state) = (self.now(), self.state());
            let copy = |(id, channel): (&Arc<str>, &Channel)| {
                (id.to_string(), channel.rate_at(now).get(), channel.ledger.clone())
            };
            let ledgers: Vec<_> = state.channels.iter().map(copy).collect();
            (ledgers, state.refused.clone(), state.webhook_posts)
        };
        let channels = ledgers.into_iter().map(|(id, rate, ledger)| (id, ledger.report(rate, detail)));
        Report {
            channels: channels.collect(),
            refused,
            webhooks_waiting: self.waiting.load(Ordering::Relaxed),
            webhook_posts,
        }
    }
}

impl State {
    /// Registers a number, or replaces what is configured of it: what it has seen stays.
    pub(crate) fn put_channel(&mut self, config: SimChannel) {
        let id: Arc<str> = config.phone_number_id.as_str().into();
        let source = config.webhook.clone().or_else(|| self.webhook.clone()).map(|target| {
            Arc::new(Source {
                phone_number_id: id.clone(),
                display_phone_number: config.display_phone_number.clone(),
                waba_id: config.waba_id.clone(),
                target,
            })
        });
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.config = config;
            channel.source = source;
            channel.upgrading = None;
            channel.level = None;
            channel.token_ends = None;
            return;
        }
        let channel = Channel {
            config,
            behaviour: None,
            source,
            level: None,
            upgrading: None,
            users: Users::default(),
            throughput: Throughput::default(),
            pairs: Pairs::default(),
            windows: UserWindows::default(),
            registration: Registration::default(),
            subscribed: true,
            token_ends: None,
            profile: profile::empty(),
            received: Received::default(),
            sends: 0,
            inbound: 0,
            files: 0,
            notices: 0,
            stream: None,
            ledger: Ledger::default(),
        };
        self.channels.insert(id, channel);
    }

    /// Forgets what was seen. Limits, windows and the counters that make ids unique stay.
    pub(crate) fn reset_report(&mut self) {
        self.refused.clear();
        self.webhook_posts = 0;
        self.log_room = self.log_capacity;
        for channel in self.channels.values_mut() {
            channel.ledger = Ledger::default();
        }
    }

    fn for_each_ledger(&mut self, updates: &[Update], count: impl Fn(&mut Ledger)) {
        for update in updates {
            if let Some(channel) = self.channels.get_mut(&update.source.phone_number_id) {
                count(&mut channel.ledger);
            }
        }
    }
}

impl Channel {
    /// An update of this number, if it has a webhook and its account is subscribed.
    pub(crate) fn update(&self, behaviour: &Arc<Behaviour>, item: Item) -> Option<Update> {
        let source = self.source.clone().filter(|_| self.subscribed)?;
        Some(Update { source, behaviour: behaviour.clone(), item })
    }
}

/// Unix time in milliseconds.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
