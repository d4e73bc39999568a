//! One channel's decisions, without any I/O and without a clock: what happened is handed to it with the time, what is to
//! be done is taken from it. A test can therefore live through hours, crashes and lost answers in a moment.
//!
//! A command's way: read, claimed in the database, checked against its window and its recipient's state, granted a place
//! in the rate, sent, its outcome written, told as an event, and purged from the queue.

mod answer;
mod claiming;
mod doubt;
mod figures;
mod intake;
mod outcome;
mod sending;
mod settling;
#[cfg(test)]
mod simulation;
mod spans;
mod start;
mod stop;
mod templates;
mod window;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use staffetta_bus::{
    Batch, Channel, DeadLetter, DoubtPolicy, Provider, QueuedMessage, Registry, SendSubject, WindowTemplate,
};
use staffetta_domain::{Breadth, ChannelId, CommandId, Event, Lane, TenantId};
use staffetta_store::{ChannelHold, Claim, Claimed, RecentSend, Scheduled};

use crate::Settings;
use crate::governor::{Ages, Governor};
use crate::hold::{Hold, Key};
use crate::lane::{LaneState, Queued};
use crate::pairs::Pairs;

use doubt::Doubts;
pub(crate) use doubt::Evidence;
pub(crate) use figures::{Figures, Held, LaneFigures};
pub(crate) use intake::{Incoming, Rejection};
pub(crate) use sending::{Armed, Request, Sent};
pub(crate) use settling::{Order, Settled, Then, Written};
use spans::Spans;
use start::Start;
use stop::Stop;
use templates::TemplateHolds;

/// What the machine is told with everything else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Since the machine started.
    pub(crate) boot: Duration,
    /// What clocks on walls say.
    pub(crate) wall: Timestamp,
    /// Whether the lease is valid.
    pub(crate) may_send: bool,
    /// Until when the app's or the account's quota is used up.
    pub(crate) quota: Option<Duration>,
}

/// What the machine wants done. The answer comes back as an [`Input`].
#[derive(Debug)]
pub(crate) enum Action {
    /// What was known before of the channel's hold and of its recent sends.
    Load {
        since: Timestamp,
    },
    /// Whether the channel's hold still stands.
    AskHold,
    /// What the provider grants the number.
    AskThroughput(Key),
    Read {
        lane: Lane,
        from: u64,
        most: usize,
        known: u64,
    },
    ReadEach {
        lane: Lane,
        sequences: Vec<u64>,
    },
    Claim {
        lane: Lane,
        batch: Vec<Queued>,
        claims: Vec<Claim>,
    },
    Send(Box<Request>),
    Settle(Box<Order>),
    /// Writes the letter of a command of which the database need not know, or can't.
    Bury {
        lane: Lane,
        sequence: u64,
        letter: DeadLetter,
    },
    /// Ends commands that can't be read, unless their ids belong to others.
    Reject {
        lane: Lane,
        rejections: Vec<Rejection>,
    },
    /// Moves those of the commands of a read that are not due into the database until they are.
    Schedule {
        lane: Lane,
        commands: Vec<Incoming>,
        later: Vec<Scheduled>,
    },
    LookAtDoubts {
        keys: Vec<(TenantId, CommandId)>,
    },
    Purge {
        lane: Lane,
        floor: u64,
    },
    Delete {
        lane: Lane,
        sequences: Vec<u64>,
    },
    /// The app or the account waits, with all its channels.
    Quota {
        breadth: Breadth,
        until: Duration,
    },
    /// Keeps the hold, or forgets it, and tells the event.
    Hold {
        hold: Option<ChannelHold>,
        event: Event,
    },
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Input {
    Loaded {
        hold: Option<ChannelHold>,
        recent: Vec<RecentSend>,
    },
    /// Whether the hold still stands.
    HoldStands(bool),
    /// What the provider grants; `None` if it did not say.
    Throughput(Option<u32>),
    /// `None` if it failed.
    Read(Lane, Option<Batch>),
    /// Of each what was read, or that it is gone, or that it could not be read.
    ReadEach(Lane, Vec<(u64, Result<Option<QueuedMessage>, ()>)>),
    /// Of each that is not due, in their order, whether it waits in the database now; `None` if the database will never
    /// take it.
    Scheduled(Lane, Vec<Incoming>, Vec<Option<bool>>),
    /// `None` for each that the database will never take.
    Claimed(Lane, Vec<Queued>, Vec<Option<Claimed>>),
    Sent(Box<Sent>),
    Settled(Vec<Settled>),
    Doubts(Evidence),
    /// Whether it is done.
    Purged(Lane, u64, bool),
    /// Those that are gone.
    Deleted(Lane, Vec<u64>),
    HoldKept,
    /// Something was stored in that lane, with this number at least; 0 if the number is not known.
    Woken(Lane, u64),
    /// The channel received a message.
    Received(Duration),
    /// The provider told something of the channel or of its account.
    ChannelTold,
    /// The provider told something of a template.
    TemplateTold,
    /// The registry changed.
    View(Option<View>),
    /// Nothing new is to be begun.
    Stop,
}

/// What the registry says of the channel.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) rate: u32,
    pub(crate) key: Key,
    pub(crate) doubt_policy: DoubtPolicy,
    pub(crate) window_templates: BTreeMap<String, WindowTemplate>,
    /// Whether its provider's messages can be sent at all.
    pub(crate) sendable: bool,
}

impl View {
    /// `None` if the channel is not this tenant's, or not any more.
    pub(crate) fn of(registry: &Registry, tenant: &TenantId, id: &ChannelId) -> Option<Self> {
        let channel: &Channel = registry.channel(id).filter(|channel| channel.tenant.id == *tenant)?;
        // A number that another channel has claimed since is not its own.
        let own =
            |number: &&String| registry.channel_of_number(number).is_some_and(|channel| channel.id == *id);
        Some(Self {
            rate: channel.rate,
            key: Key {
                token: channel.access_token.clone(),
                number: channel.phone_number_id.as_ref().filter(own).cloned(),
            },
            doubt_policy: channel.tenant.doubt_policy,
            window_templates: channel.window_templates.clone(),
            sendable: channel.provider == Provider::CloudApi && channel.phone_number_id.is_some(),
        })
    }
}

/// What is known of a channel's past when it begins.
#[derive(Debug)]
pub(crate) struct Past {
    pub(crate) governor: Governor,
    /// What the provider granted it.
    pub(crate) granted: Option<u32>,
}

/// The decisions of one channel under one lease.
pub(crate) struct Machine {
    tenant: TenantId,
    id: ChannelId,
    epoch: i64,
    settings: Arc<Settings>,
    view: View,
    start: Start,
    lanes: [LaneState; 3],
    /// The youngest command that is known to be stored.
    known: [u64; 3],
    reading: [bool; 3],
    fetching: [bool; 3],
    claiming: [usize; 3],
    armed: [VecDeque<Armed>; 3],
    in_flight: usize,
    governor: Governor,
    pairs: Pairs,
    hold: Hold,
    stop: Stop,
    templates: TemplateHolds,
    doubts: Doubts,
    purge_at: Option<Duration>,
    purging: [bool; 3],
    deleting: [bool; 3],
    floor_moved: [Duration; 3],
    stopping: bool,
    /// Queue entries of commands that were known already.
    pub(crate) copies: u64,
    spans: Spans,
    todo: Vec<Action>,
}

/// Most commands of one read.
const READ: usize = 250;
/// Most commands that are read singly at a time.
const READ_EACH: usize = 32;
/// Between two purges of a busy channel.
const PURGE_EVERY: Duration = Duration::from_millis(250);
/// How long a floor stands before what is settled above it is deleted singly.
const FLOOR_STANDS: Duration = Duration::from_secs(2);
/// Most commands that are deleted singly at a time.
const DELETE: usize = 200;
/// When a lease that is about to run out, and may yet be renewed, keeps commands waiting.
const LEASE_LOOK: Duration = Duration::from_millis(50);

impl Machine {
    pub(crate) fn new(
        (tenant, id): (TenantId, ChannelId),
        epoch: i64,
        settings: Arc<Settings>,
        view: View,
        Past { governor, granted }: Past,
        now: &Now,
    ) -> Self {
        let mut machine = Self {
            tenant,
            id,
            epoch,
            settings,
            view,
            start: Start::default(),
            lanes: std::array::from_fn(|_| LaneState::new()),
            known: [0; 3],
            reading: [false; 3],
            fetching: [false; 3],
            claiming: [0; 3],
            armed: std::array::from_fn(|_| VecDeque::new()),
            in_flight: 0,
            governor,
            pairs: Pairs::default(),
            hold: Hold::default(),
            stop: Stop::default(),
            templates: TemplateHolds::default(),
            doubts: Doubts::default(),
            purge_at: None,
            purging: [false; 3],
            deleting: [false; 3],
            floor_moved: [now.boot; 3],
            stopping: false,
            copies: 0,
            spans: Spans::default(),
            todo: Vec::new(),
        };
        machine.begin(granted, now);
        machine
    }

    /// What is to be done since the last call.
    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.todo)
    }

    /// Takes in what happened.
    pub(crate) fn handle(&mut self, input: Input, now: &Now) {
        match input {
            Input::Loaded { hold, recent } => self.loaded(hold, recent, now),
            Input::HoldStands(stands) => self.hold_stands(stands, now),
            Input::Throughput(granted) => self.granted(granted, now),
            Input::Read(lane, batch) => {
                self.reading[lane as usize] = false;
                match batch {
                    Some(batch) => self.take_in(lane, batch, now),
                    None => self.lanes[lane as usize].holds_more(),
                }
            }
            Input::Scheduled(lane, commands, answers) => {
                self.reading[lane as usize] = false;
                self.put_off(lane, commands, answers, now);
            }
            Input::ReadEach(lane, results) => self.take_back(lane, results, now),
            Input::Claimed(lane, batch, answers) => self.claimed(lane, batch, answers, now),
            Input::Sent(sent) => self.sent(*sent, now),
            Input::Settled(settled) => {
                settled.into_iter().for_each(|settled| self.settled(settled, now));
            }
            Input::Doubts(evidence) => self.judge_doubts(evidence, now),
            Input::Purged(lane, floor, done) => {
                self.purging[lane as usize] = false;
                if done {
                    self.lanes[lane as usize].purged(floor);
                } else {
                    self.purge_soon(now);
                }
            }
            Input::Deleted(lane, gone) => {
                self.deleting[lane as usize] = false;
                self.lanes[lane as usize].deleted(&gone);
                if gone.is_empty() {
                    // Another try when the floor has stood as long again.
                    self.floor_moved[lane as usize] = now.boot;
                }
            }
            Input::HoldKept => self.hold_kept(),
            Input::Woken(lane, sequence) => {
                self.known[lane as usize] = self.known[lane as usize].max(sequence);
                self.lanes[lane as usize].holds_more();
            }
            Input::Received(arrived) => self.governor.received(arrived, now.boot),
            Input::ChannelTold => self.channel_told(now),
            Input::TemplateTold => self.templates.forget(),
            Input::View(Some(view)) => self.view_changed(view, now),
            Input::View(None) | Input::Stop => self.begin_stop(now),
        }
    }

    /// Starts whatever can be started now; tells when to look again without any other reason.
    pub(crate) fn pump(&mut self, now: &Now) -> Option<Duration> {
        let mut next = Next::default();
        for lane in Lane::ALL {
            next.at(self.lanes[lane as usize].wake(now.boot));
            self.read_more(lane);
            self.fetch_more(lane);
        }
        if !self.stopping {
            next.at(self.look_at_start(now));
            match self.waits_until(now) {
                Some(until) => {
                    // What is claimed and not sent can't be cancelled, and is in doubt if this process dies.
                    self.disarm(now);
                    next.at(Some(until));
                }
                None if !self.start.is_over() => {}
                None if !now.may_send => next.at(self.has_work().then_some(now.boot + LEASE_LOOK)),
                None => {
                    for lane in Lane::ALL {
                        self.claim_more(lane, now);
                        next.at(self.lanes[lane as usize].wake(now.boot));
                    }
                    next.at(self.send_more(now));
                }
            }
            next.at(self.look_at_hold(now));
            next.at(self.look_at_doubts(now));
        }
        next.at(self.purge(now));
        next.0
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// The floors that have not been purged yet.
    pub(crate) fn last_floors(&self) -> Vec<(SendSubject, u64)> {
        let floor = |lane: Lane| Some((self.subject(lane), self.lanes[lane as usize].floor()?));
        Lane::ALL.into_iter().filter_map(floor).collect()
    }

    /// What whoever sends for the channel next has to know.
    pub(crate) fn handover(&mut self, now: &Now) -> Ages {
        Ages { granted: self.grant(), ..self.governor.handover(now.boot) }
    }

    pub(crate) fn subject(&self, lane: Lane) -> SendSubject {
        SendSubject { tenant: self.tenant.clone(), channel: self.id.clone(), lane }
    }

    /// Until when the whole channel waits.
    fn waits_until(&self, now: &Now) -> Option<Duration> {
        let quota = now.quota.filter(|until| *until > now.boot);
        self.hold.until(now.boot).max(quota)
    }

    fn read_more(&mut self, lane: Lane) {
        let state = &mut self.lanes[lane as usize];
        let room = state.room();
        if self.stopping || self.reading[lane as usize] || !state.has_more() || room < READ / 2 {
            return;
        }
        self.reading[lane as usize] = true;
        state.asked();
        let (from, known) = (state.cursor, self.known[lane as usize]);
        self.todo.push(Action::Read { lane, from, most: room.min(READ), known });
    }

    /// Reads again what was set aside.
    fn fetch_more(&mut self, lane: Lane) {
        if self.stopping || self.fetching[lane as usize] {
            return;
        }
        let sequences = self.lanes[lane as usize].wanted(READ_EACH);
        if !sequences.is_empty() {
            self.fetching[lane as usize] = true;
            self.todo.push(Action::ReadEach { lane, sequences });
        }
    }

    /// The command need not be read again.
    fn close(&mut self, lane: Lane, sequence: u64, now: &Now) {
        self.lanes[lane as usize].settled(sequence);
        self.purge_soon(now);
    }

    fn purge_soon(&mut self, now: &Now) {
        self.purge_at.get_or_insert(now.boot + PURGE_EVERY);
    }

    fn purge(&mut self, now: &Now) -> Option<Duration> {
        // What is left when it stops is purged at the very end.
        if self.stopping {
            return None;
        }
        let mut next = Next::default();
        let due = self.purge_at.take_if(|at| *at <= now.boot).is_some();
        for lane in Lane::ALL {
            let index = lane as usize;
            if due && let Some(floor) = self.lanes[index].floor() {
                self.floor_moved[index] = now.boot;
                if std::mem::replace(&mut self.purging[index], true) {
                    self.purge_soon(now);
                } else {
                    self.todo.push(Action::Purge { lane, floor });
                }
            }
            if self.deleting[index] || self.lanes[index].islands(1).is_empty() {
                continue;
            }
            let stands_until = self.floor_moved[index] + FLOOR_STANDS;
            if stands_until <= now.boot && !self.purging[index] {
                self.deleting[index] = true;
                self.todo.push(Action::Delete { lane, sequences: self.lanes[index].islands(DELETE) });
            } else {
                next.at(Some(stands_until.max(now.boot + PURGE_EVERY)));
            }
        }
        next.at(self.purge_at);
        next.0
    }

    fn view_changed(&mut self, view: View, now: &Now) {
        let before = std::mem::replace(&mut self.view, view);
        if before.key != self.view.key {
            self.key_changed(&before.key, now);
        }
        self.set_limit();
        self.hold.key_is(&self.view.key, now.boot);
    }

    /// Begins nothing new from here on, and gives back what was claimed and not sent.
    fn begin_stop(&mut self, now: &Now) {
        self.stopping = true;
        self.disarm(now);
    }

    /// Whether anything waits to be claimed or sent.
    fn has_work(&self) -> bool {
        self.lanes.iter().any(LaneState::has_ready) || self.armed.iter().any(|armed| !armed.is_empty())
    }
}

/// The earliest of some moments.
#[derive(Default)]
struct Next(Option<Duration>);

impl Next {
    fn at(&mut self, moment: Option<Duration>) {
        self.0 = match (self.0, moment) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}
