//! The world around the machine: a clock of its own, and all that happens, in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use staffetta_bus::{DoubtPolicy, WebhookProgress, WindowTemplate};
use staffetta_domain::{CommandId, Lane, TenantId};
use staffetta_providers::cloud_api::{SendError, Taken};
use staffetta_runtime::RetryPolicy;

use super::super::{Action, Input, Request, Sent, View};
use super::database::Database;
use super::owner::Owner;
use super::plan::{Plan, SECOND, START, Trouble, wall};
use super::provider::Provider;
use super::queue::Queue;
use crate::Settings;
use crate::governor::{Ages, Dice, Governor};
use crate::hold::Key;

/// When a new owner sends after its predecessor has died: term, skew and a second.
const TAKEOVER: Duration = Duration::from_millis(2_800);
/// How long after everything goes well all must be at rest.
const LONGEST: Duration = Duration::from_secs(1_200);
/// How long each may take if all are to one user.
const PAIR: Duration = Duration::from_secs(7);
/// Last events that are kept for whoever looks into a failure.
const KEPT: usize = 120;

/// What happens at a moment.
pub(super) enum Event {
    Publish(usize),
    Woken(Lane, u64),
    /// Somebody looks through the whole queue.
    Look,
    /// What an owner wants done reaches whoever does it.
    Do(usize, Action),
    LookAtDoubts(usize, Vec<(TenantId, CommandId)>, WebhookProgress, Option<Timestamp>),
    /// An owner is told.
    Tell(usize, Input),
    Timer(usize, u64),
    Write(usize, Box<Request>),
    Arrive(usize, Box<Request>),
    Answered(usize, Box<Request>, Result<Taken, SendError>),
    /// The provider tells of a command.
    Status(String),
    Recorded(u64, String),
    /// The channel receives a message, and that is known.
    Inbound,
    Receipt(Duration),
    Befalls(Trouble),
    /// Another owner begins, with what the one before has told.
    Begin(Ages),
    Scheduled,
    NewToken,
    /// A status of some other message comes.
    OtherStatus,
    Heal,
}

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) plan: Plan,
    pub(super) now: Duration,
    events: BTreeMap<(Duration, u64), Event>,
    number: u64,
    pub(super) queue: Queue,
    pub(super) database: Database,
    pub(super) provider: Provider,
    pub(super) dead: BTreeSet<String>,
    pub(super) owners: Vec<Owner>,
    pub(super) beginning: bool,
    /// Counts what the channel receives while nobody sends for it.
    pub(super) standby: Governor,
    pub(super) view: View,
    pub(super) settings: Arc<Settings>,
    /// Webhooks that are not recorded, and the last number.
    webhooks: (BTreeSet<u64>, u64),
    pub(super) last_status: Option<Timestamp>,
    /// Whether everything goes well from now on.
    pub(super) healed: bool,
    pub(super) breach: Option<String>,
    pub(super) trace: Option<VecDeque<String>>,
    /// When each command was first written.
    pub(super) written: BTreeMap<String, Duration>,
    /// Commands that may be sent once more, and those that ever might.
    pub(super) may_repeat: BTreeSet<String>,
    pub(super) repeated: BTreeSet<String>,
}

impl World {
    pub(super) fn new(plan: Plan, dice: Dice) -> Self {
        let mut provider = Provider::new(plan.limit, &plan.users);
        let is_away = |(_, trouble): &(Duration, Trouble)| matches!(trouble, Trouble::DatabaseAway(_));
        provider.forgives_pairs = plan.troubles.iter().any(is_away);
        let template = |name: &str| WindowTemplate { name: name.into(), language: "it".into() };
        let view = View {
            rate: plan.limit,
            key: key(&provider.token),
            doubt_policy: plan.policy,
            window_templates: BTreeMap::from([("text".into(), template("avviso"))]),
            sendable: true,
        };
        let retry = RetryPolicy { first: SECOND, longest: SECOND * 60, waits: 5 };
        let settings = Arc::new(Settings { max_tries: 5, doubt_wait: plan.doubt_wait, retry });
        let mut world = Self {
            dice,
            now: START - SECOND * 5,
            events: BTreeMap::new(),
            number: 0,
            queue: Queue::default(),
            database: Database::default(),
            provider,
            dead: BTreeSet::new(),
            owners: Vec::new(),
            beginning: true,
            standby: Governor::new(plan.limit),
            view,
            settings,
            webhooks: (BTreeSet::new(), 0),
            last_status: None,
            healed: false,
            breach: None,
            trace: None,
            written: BTreeMap::new(),
            may_repeat: BTreeSet::new(),
            repeated: BTreeSet::new(),
            plan,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for user in &self.plan.users {
            self.database.users.insert(user.number.clone(), user.known.clone());
        }
        for command in &self.plan.commands {
            if self.dice.share() < self.plan.faults.unrecordable {
                self.database.refuses.insert(command.id.clone());
            }
        }
        let publications: Vec<_> = self.plan.commands.iter().map(|command| command.at).collect();
        for (index, at) in publications.into_iter().enumerate() {
            self.at(at, Event::Publish(index));
        }
        for (at, trouble) in self.plan.troubles.clone() {
            self.at(at, Event::Befalls(trouble));
        }
        if self.plan.inbound.is_some() {
            // What is received has been received for long.
            self.at(START - SECOND * 4, Event::Inbound);
        }
        self.at(START - SECOND, Event::Begin(Ages::default()));
        self.at(START, Event::Look);
        self.at(START, Event::Scheduled);
        self.at(self.healed_at(), Event::Heal);
    }

    pub(super) fn at(&mut self, at: Duration, event: Event) {
        self.number += 1;
        self.events.insert((at.max(self.now), self.number), event);
    }

    pub(super) fn after(&mut self, from: u64, to: u64, event: Event) {
        let wait = self.dice.micros(from, to);
        self.at(self.now + wait, event);
    }

    /// Whether something of that likelihood happens; nothing does once all is well.
    pub(super) fn strikes(&mut self, likelihood: f64) -> bool {
        !self.healed && likelihood > 0.0 && self.dice.share() < likelihood
    }

    pub(super) fn breach(&mut self, breach: String) {
        self.note(|| format!("BREACH {breach}"));
        self.breach.get_or_insert(breach);
    }

    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            if trace.len() == KEPT {
                trace.pop_front();
            }
            trace.push_back(format!("{:?} {}", self.now.saturating_sub(START), what()));
        }
    }

    /// Lives until nothing is left to be done.
    pub(super) fn run(&mut self) -> Result<(), String> {
        while let Some(((at, _), event)) = self.events.pop_first() {
            self.now = at;
            self.happens(event);
            if let Some(breach) = self.breach.take() {
                return Err(breach);
            }
            if self.is_over() {
                return Ok(());
            }
            if self.now > self.healed_at() + LONGEST + PAIR * self.plan.commands.len() as u32 {
                let states = self.database.rows.iter().filter(|(_, row)| !row.state.is_final());
                let states: Vec<_> = states.map(|(id, row)| format!("{id} {}", row.state.as_str())).collect();
                return Err(format!("it never ends: {:?} {states:?}", self.queue.left()));
            }
        }
        Err("nothing happens any more".into())
    }

    fn last_publication(&self) -> Duration {
        self.plan.commands.last().map_or(START, |command| command.at)
    }

    fn healed_at(&self) -> Duration {
        self.last_publication() + SECOND * 120
    }

    fn is_over(&self) -> bool {
        self.now > self.last_publication()
            && Lane::ALL.into_iter().all(|lane| self.queue.is_empty(lane))
            && self.database.schedule.is_empty()
            && self.owners.iter().all(Owner::is_at_rest)
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Publish(index) => {
                let command = self.plan.commands[index].clone();
                self.publish(command.lane, &command.id, command.payload());
            }
            Event::Woken(lane, sequence) => self.tell_current(Input::Woken(lane, sequence)),
            Event::Look => {
                for lane in Lane::ALL {
                    if !self.queue.is_empty(lane) {
                        self.tell_current(Input::Woken(lane, 0));
                    }
                }
                self.at(self.now + SECOND * 5, Event::Look);
            }
            Event::Do(owner, action) => self.perform(owner, action),
            Event::LookAtDoubts(owner, keys, webhooks, last_status) => {
                self.look_at_doubts(owner, &keys, webhooks, last_status);
            }
            Event::Tell(owner, input) => self.tell(owner, input),
            Event::Timer(owner, number) => self.timer(owner, number),
            Event::Write(owner, request) => self.write(owner, request),
            Event::Arrive(owner, request) => self.arrive(owner, request),
            Event::Answered(owner, request, result) => self.answered(owner, *request, result),
            Event::Status(id) => {
                self.webhooks.1 += 1;
                let number = self.webhooks.1;
                self.webhooks.0.insert(number);
                let away = self.database.away_until.max(self.now);
                let late = self.dice.micros(2_000, 40_000);
                self.at(away + late, Event::Recorded(number, id));
            }
            Event::Recorded(number, id) => {
                self.webhooks.0.remove(&number);
                self.last_status = Some(wall(self.now));
                self.note(|| format!("status of {id}"));
                self.database.tell(&id, wall(self.now));
            }
            Event::Inbound => self.receive(),
            Event::Receipt(arrived) => {
                self.standby.received(arrived, self.now);
                self.tell_current(Input::Received(arrived));
            }
            Event::Befalls(trouble) => self.befalls(trouble),
            Event::Begin(ages) => self.begin_owner(&ages),
            Event::Scheduled => self.take_due(),
            Event::NewToken => {
                self.view.key = key(&self.provider.token);
                self.show_view();
            }
            Event::OtherStatus => {
                self.last_status = Some(wall(self.now));
                self.at(self.now + SECOND * 5, Event::OtherStatus);
            }
            Event::Heal => {
                self.healed = true;
                self.provider.refuses = None;
                self.database.hold = None;
                self.tell_current(Input::ChannelTold);
                self.at(self.now, Event::OtherStatus);
            }
        }
    }

    fn publish(&mut self, lane: Lane, id: &str, payload: Vec<u8>) {
        let sequence = self.queue.publish(lane, id, payload, wall(self.now));
        self.note(|| format!("{id} is entry {sequence} of {lane}"));
        if !self.strikes(self.plan.faults.wake_lost) {
            self.after(200, 2_000, Event::Woken(lane, sequence));
        }
    }

    /// Puts on SEND what is due.
    fn take_due(&mut self) {
        let now = wall(self.now);
        let due = self.database.schedule.values_mut().filter(|(it, until)| it.due <= now && *until <= now);
        let mut taken = Vec::new();
        for (scheduled, until) in due {
            *until = now + jiff::SignedDuration::from_secs(30);
            taken.push(scheduled.clone());
        }
        taken.sort_by_key(|scheduled| scheduled.due);
        for scheduled in taken {
            let id = scheduled.id.to_string();
            self.publish(scheduled.lane, &id, scheduled.payload);
            if !self.strikes(self.plan.faults.queue) {
                self.database.schedule.remove(&id);
            }
        }
        self.at(self.now + SECOND, Event::Scheduled);
    }

    fn receive(&mut self) {
        let Some(every) = self.plan.inbound else { return };
        if let Err(breach) = self.provider.count(self.now) {
            self.breach(breach);
        }
        let arrived = self.now;
        self.after(3_000, 15_000, Event::Receipt(arrived));
        if self.now < self.last_publication() + SECOND * 10 {
            self.at(self.now + every, Event::Inbound);
        }
    }

    fn befalls(&mut self, trouble: Trouble) {
        self.note(|| format!("{trouble:?}"));
        match trouble {
            Trouble::Kill => self.kill(),
            Trouble::Stop => self.stop(),
            Trouble::Pause(pause) => self.pause(pause),
            Trouble::DatabaseAway(away) => self.database.away_until = self.now + away,
            Trouble::Token(wait) => {
                self.provider.token = format!("good-{}", self.number);
                self.at(self.now + wait, Event::NewToken);
            }
            Trouble::Refuses(span, code) => self.provider.refuses = Some((self.now + span, code)),
            Trouble::Lift => self.database.hold = None,
            Trouble::Rate(rate) => {
                self.view.rate = rate;
                self.show_view();
            }
            Trouble::Policy(policy) => {
                self.view.doubt_policy = policy;
                self.show_view();
            }
            Trouble::Cancel(index) => {
                let id = self.plan.commands[index].id.clone();
                self.database.cancel(&id);
            }
        }
    }

    fn show_view(&mut self) {
        if self.view.doubt_policy == DoubtPolicy::Resend {
            self.plan.policy = DoubtPolicy::Resend;
        }
        self.tell_current(Input::View(Some(self.view.clone())));
    }

    /// How far the webhooks are recorded.
    pub(super) fn progress(&self) -> WebhookProgress {
        let (open, last) = &self.webhooks;
        WebhookProgress { open: open.first().copied().unwrap_or(last + 1), last: *last }
    }

    /// When another owner begins after one that died, or may have.
    pub(super) fn succeed(&mut self) {
        self.beginning = true;
        let wait = self.dice.micros(0, 900_000);
        self.at(self.now + TAKEOVER + wait, Event::Begin(Ages::default()));
    }

    pub(super) fn sent(request: Request, result: Result<Taken, SendError>) -> Input {
        let Request { armed, key, begun, .. } = request;
        Input::Sent(Box::new(Sent { armed, key, begun, result, usage: Default::default() }))
    }
}

fn key(token: &str) -> Key {
    Key { token: Some(token.to_owned().into()), number: Some("100".into()) }
}
