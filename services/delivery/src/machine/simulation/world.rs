//! One life: what happens around the machine, and what must never.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use staffetta_store::{Parked, ReplayJob};

use super::super::*;

const START: Duration = Duration::from_secs(1_000);
const MILLI: Duration = Duration::from_millis(1);
/// No life needs more steps.
const STEPS: usize = 2_000_000;

/// An event on the stream.
#[derive(Clone)]
struct Stored {
    at: Duration,
    conversation: Arc<str>,
    wanted: bool,
    /// What the endpoint says to it, besides what it says to all.
    mood: Mood,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Fine,
    /// It is refused so many times.
    Refused(u32),
    /// The endpoint chokes on it so many times.
    Choking(u32),
    Unsaid,
}

/// What happens later.
#[derive(Debug)]
enum Due {
    Told {
        life: u32,
        input: Input,
    },
    /// A request arrives at the endpoint; its answer may be lost.
    Arrival {
        source: Source,
        sequence: u64,
    },
    Parking {
        life: u32,
        epoch: i64,
        cursor: u64,
        rows: Vec<Parked>,
        answered: bool,
    },
    Unparking {
        life: u32,
        sequences: Vec<u64>,
        answered: bool,
    },
    Wake {
        life: u32,
        sequence: u64,
    },
}

pub(super) struct World {
    dice: SmallRng,
    now: Duration,
    turn: u64,
    due: BTreeMap<(Duration, u64), Due>,
    stream: BTreeMap<u64, Stored>,
    /// Spans in which the endpoint is down.
    outages: Vec<(Duration, Duration)>,
    database_outages: Vec<(Duration, Duration)>,
    deaths: Vec<Duration>,
    /// Owners so far. What an earlier one has begun may still arrive.
    life: u32,
    machine: Machine,
    rules: Rules,
    // The database.
    cursor: u64,
    epoch: i64,
    rows: BTreeMap<u64, Parked>,
    replay: Option<ReplayJob>,
    keep_at: Duration,
    look_at: Duration,
    // What was seen.
    flying: BTreeMap<u64, Arc<str>>,
    delivered: BTreeMap<Arc<str>, Vec<u64>>,
    times: BTreeMap<u64, u32>,
    given_up: BTreeSet<u64>,
    tried: BTreeMap<u64, u32>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = SmallRng::seed_from_u64(seed);
        let rules = Rules {
            concurrency: dice.random_range(1..=8),
            disable_after: Duration::from_secs(5 * 24 * 3_600),
        };
        let conversations = [1, 3, 10, 200][dice.random_range(0..4)];
        let count = [20, 100, 400, 900][dice.random_range(0..4)];
        let span = [1, 30, 600][dice.random_range(0..3)];
        let odd = [0.0, 0.02, 0.2][dice.random_range(0..3)];
        let mut times: Vec<u64> = (0..count).map(|_| dice.random_range(0..=span * 1_000)).collect();
        times.sort_unstable();
        let mut stream = BTreeMap::new();
        let mut sequence = 7;
        for at in times {
            sequence += dice.random_range(1..4);
            let mood = match dice.random_bool(odd).then(|| dice.random_range(0..4)) {
                Some(0) => Mood::Refused(dice.random_range(1..9)),
                Some(1) => Mood::Choking(dice.random_range(1..9)),
                Some(2) => Mood::Unsaid,
                _ => Mood::Fine,
            };
            let conversation = format!("c{}", dice.random_range(0..conversations)).into();
            let wanted = !dice.random_bool(0.05);
            stream.insert(sequence, Stored { at: START + MILLI * at as u32, conversation, wanted, mood });
        }
        let mut spans = |most: u32, longest: u64| {
            (0..dice.random_range(0..=most))
                .map(|_| {
                    let from = START + MILLI * dice.random_range(0..=(span * 1_500) as u32);
                    (from, from + MILLI * dice.random_range(100..longest * 1_000) as u32)
                })
                .collect::<Vec<_>>()
        };
        let (outages, database_outages) = (spans(2, 300), spans(1, 20));
        let deaths = spans(3, 10).into_iter().map(|(from, _)| from).collect();
        let replay = dice.random_bool(0.2).then(|| ReplayJob {
            id: 1,
            key: staffetta_store::EndpointKey {
                tenant: "acme".parse().expect("an id"),
                endpoint: "erp".parse().expect("an id"),
            },
            next: 1,
            last: sequence / 2,
            from: wall(START),
            until: wall(START),
            asked: wall(START),
        });
        let now = Now { boot: START, wall: wall(START), may_begin: true, room: usize::MAX };
        Self {
            dice,
            now: START,
            turn: 0,
            due: BTreeMap::new(),
            stream,
            outages,
            database_outages,
            deaths,
            life: 1,
            machine: Machine::new(rules, 1, None, Vec::new(), &now),
            rules,
            cursor: 1,
            epoch: 1,
            rows: BTreeMap::new(),
            replay,
            keep_at: START,
            look_at: START,
            flying: BTreeMap::new(),
            delivered: BTreeMap::new(),
            times: BTreeMap::new(),
            given_up: BTreeSet::new(),
            tried: BTreeMap::new(),
        }
    }

    /// Lives until everything is delivered, or something is wrong.
    pub(super) fn live(mut self) -> Result<(), String> {
        self.wake_all();
        for _ in 0..STEPS {
            let now = self.moment();
            let wake = self.machine.pump(&now);
            for action in self.machine.take_actions() {
                self.perform(action)?;
            }
            if self.is_over() {
                return self.judge();
            }
            let next = self.due.first_key_value().map(|((at, _), _)| *at);
            let death = self.deaths.iter().copied().min();
            let soon = [next, wake, death, Some(self.keep_at), Some(self.look_at)];
            let at = soon.into_iter().flatten().min().unwrap_or(self.look_at).max(self.now);
            self.now = at;
            if death.is_some_and(|death| death <= at) {
                self.deaths.retain(|death| *death > at);
                self.die();
            } else if self.keep_at <= at {
                self.keep_at = at + Duration::from_secs(1);
                if !within(&self.database_outages, at) {
                    self.cursor = self.machine.cursor();
                }
            } else if self.look_at <= at {
                self.look_at = at + Duration::from_secs(5);
                self.tell(Input::Look);
                if let Some(job) = self.replay.clone().filter(|_| self.machine.replay().is_none()) {
                    self.tell(Input::Replay(job));
                }
            } else if next.is_some_and(|next| next <= at)
                && let Some((_, due)) = self.due.pop_first()
            {
                self.happen(due)?;
            }
        }
        Err(format!("no end: {} of {} at {:?}", self.times.len(), self.stream.len(), self.now))
    }

    fn moment(&self) -> Now {
        Now { boot: self.now, wall: wall(self.now), may_begin: true, room: usize::MAX }
    }

    fn tell(&mut self, input: Input) {
        let now = self.moment();
        self.machine.handle(input, &now);
    }

    fn later(&mut self, most: u32, due: Due) {
        let at = self.now + MILLI * self.dice.random_range(0..=most);
        self.turn += 1;
        self.due.insert((at, self.turn), due);
    }

    fn wake_all(&mut self) {
        let coming: Vec<_> = self.stream.iter().map(|(sequence, stored)| (*sequence, stored.at)).collect();
        for (sequence, at) in coming {
            // Some wake-ups are lost.
            if at >= self.now && !self.dice.random_bool(0.1) {
                self.turn += 1;
                self.due.insert((at, self.turn), Due::Wake { life: self.life, sequence });
            }
        }
    }

    /// The owner dies, or gives the endpoint back: another one begins with what is kept.
    fn die(&mut self) {
        if self.dice.random_bool(0.5) && !within(&self.database_outages, self.now) {
            self.cursor = self.machine.cursor();
        }
        self.life += 1;
        self.epoch += 1;
        self.flying.clear();
        // Requests that are on their way arrive or don't; nobody hears of them.
        let arrivals = self.dice.random_bool(0.5);
        self.due.retain(|_, due| arrivals || !matches!(due, Due::Arrival { .. }));
        // A successor begins after what was on its way: the lease's time sees to that.
        while let Some(key) =
            self.due.iter().find(|(_, due)| matches!(due, Due::Arrival { .. })).map(|(key, _)| *key)
        {
            if let Some(Due::Arrival { sequence, .. }) = self.due.remove(&key) {
                self.arrive(sequence);
            }
        }
        self.now += Duration::from_secs(3);
        let now = self.moment();
        let rows = self.rows.values().cloned().collect();
        self.machine = Machine::new(self.rules, self.cursor, None, rows, &now);
        self.wake_all();
    }

    fn perform(&mut self, action: Action) -> Result<(), String> {
        let life = self.life;
        match action {
            Action::Read { source, from, most } => {
                let fails = self.dice.random_bool(0.02);
                let here: Vec<_> = self
                    .stream
                    .range(from..)
                    .filter(|(_, stored)| stored.at <= self.now)
                    .take(most + 1)
                    .map(|(sequence, stored)| (*sequence, stored.clone()))
                    .collect();
                let more = here.len() > most;
                let read = &here[..here.len().min(most)];
                let next = read.last().map_or(from, |(sequence, _)| sequence + 1);
                let items = read.iter().filter(|(_, stored)| stored.wanted);
                let items = items
                    .map(|(sequence, stored)| Item {
                        sequence: *sequence,
                        stored: wall(stored.at),
                        bytes: 1_000,
                        conversation: Arc::clone(&stored.conversation),
                    })
                    .collect();
                let input =
                    if fails { Input::NotRead(source) } else { Input::Read { source, items, next, more } };
                self.later(3, Due::Told { life, input });
            }
            Action::Try { source, sequence, attempt } => {
                let stored = &self.stream[&sequence];
                if source == Source::Live {
                    let conversation = Arc::clone(&stored.conversation);
                    if self.flying.values().any(|other| *other == conversation) {
                        return Err(format!("two of {conversation} at a time"));
                    }
                    self.flying.insert(sequence, conversation);
                    if self.flying.len() > self.rules.concurrency {
                        return Err("too many at a time".into());
                    }
                }
                if attempt == 0 {
                    return Err("a try without a number".into());
                }
                let slow = self.dice.random_bool(0.05);
                self.later(if slow { 9_000 } else { 20 }, Due::Arrival { source, sequence });
            }
            Action::Park { cursor, rows } => {
                let answered = !self.dice.random_bool(0.05);
                self.later(10, Due::Parking { life, epoch: self.epoch, cursor, rows, answered });
            }
            Action::Unpark(sequences) => {
                let answered = !self.dice.random_bool(0.05);
                self.later(10, Due::Unparking { life, sequences, answered });
            }
            Action::GiveUp { source, sequence, .. } => {
                if source == Source::Live {
                    return Err(format!("{sequence} is given up long before its time"));
                }
                self.given_up.insert(sequence);
                self.later(10, Due::Told { life, input: Input::GivenUp(source, sequence) });
            }
            Action::Disable(reason) => return Err(format!("disabled: {reason}")),
            Action::MoveReplay { next, .. } => {
                if let Some(job) = &mut self.replay {
                    job.next = job.next.max(next);
                }
                self.later(5, Due::Told { life, input: Input::ReplayNoted });
            }
            Action::EndReplay { .. } => {
                self.replay = None;
                self.later(5, Due::Told { life, input: Input::ReplayNoted });
            }
            Action::Forget(..) => {}
        }
        Ok(())
    }

    fn happen(&mut self, due: Due) -> Result<(), String> {
        let alive = self.life;
        match due {
            Due::Told { life, input } if life == alive => self.tell(input),
            Due::Wake { life, sequence } if life == alive => self.tell(Input::Woken(sequence)),
            Due::Told { .. } | Due::Wake { .. } => {}
            Due::Arrival { source, sequence, .. } => {
                let outcome =
                    if source == Source::Replay { Outcome::Delivered } else { self.arrive(sequence) };
                self.flying.remove(&sequence);
                let stored = Some(wall(self.stream[&sequence].at));
                self.tell(Input::Tried { source, sequence, stored, outcome });
            }
            Due::Parking { life, epoch, cursor, rows, answered } => {
                let there = !within(&self.database_outages, self.now) && epoch == self.epoch;
                if there {
                    self.cursor = cursor;
                    for row in rows {
                        self.rows.insert(row.sequence, row);
                    }
                    if self.rows.len() > MOST_PARKED {
                        return Err("too many are parked".into());
                    }
                }
                if life == alive {
                    self.tell(if there && answered { Input::Parked } else { Input::NotParked });
                }
            }
            Due::Unparking { life, sequences, answered } => {
                let there = !within(&self.database_outages, self.now);
                if there {
                    self.rows.retain(|sequence, _| !sequences.contains(sequence));
                }
                if life == alive {
                    self.tell(if there && answered { Input::Unparked } else { Input::NotUnparked });
                }
            }
        }
        Ok(())
    }

    /// A request has come to the endpoint.
    fn arrive(&mut self, sequence: u64) -> Outcome {
        let failed = |fault| Outcome::Failed(Failure { fault, wait: None, error: "answered so".into() });
        let tries = self.tried.entry(sequence).or_default();
        *tries += 1;
        let stored = &self.stream[&sequence];
        if within(&self.outages, self.now) {
            *tries -= 1;
            return failed(Fault::Endpoint);
        }
        match stored.mood {
            Mood::Refused(times) if *tries <= times => return failed(Fault::Event),
            Mood::Choking(times) if *tries <= times => return failed(Fault::Endpoint),
            Mood::Unsaid => {
                self.times.insert(sequence, 1);
                return Outcome::Unsaid;
            }
            Mood::Fine | Mood::Refused(_) | Mood::Choking(_) => {}
        }
        *self.times.entry(sequence).or_default() += 1;
        let seen = self.delivered.entry(Arc::clone(&stored.conversation)).or_default();
        if !seen.contains(&sequence) {
            seen.push(sequence);
        }
        if self.dice.random_bool(0.01) { failed(Fault::Endpoint) } else { Outcome::Delivered }
    }

    fn is_over(&self) -> bool {
        let last = self.stream.last_key_value().map_or(0, |(sequence, _)| *sequence);
        self.deaths.is_empty()
            && self.machine.cursor() > last
            && self.machine.is_done()
            && self.rows.is_empty()
            && self.replay.is_none()
            && self.machine.replay().is_none()
    }

    fn judge(&self) -> Result<(), String> {
        for (sequence, stored) in &self.stream {
            let times = self.times.get(sequence).copied().unwrap_or(0);
            if stored.wanted && times == 0 {
                return Err(format!("{sequence} is lost"));
            }
            if !stored.wanted && times > 0 {
                return Err(format!("{sequence} was not wanted"));
            }
        }
        for (conversation, seen) in &self.delivered {
            if !seen.is_sorted() {
                return Err(format!("{conversation} came in the order {seen:?}"));
            }
        }
        // Everything is over soon after the last trouble, unless an event is refused in itself: its pauses grow to an hour,
        // and several that the endpoint chokes on look like one that is down, and have one probe a minute.
        let odd =
            self.stream.values().filter(|stored| !matches!(stored.mood, Mood::Fine | Mood::Unsaid)).count();
        let patience = match u32::try_from(odd) {
            Ok(0) => Duration::from_secs(900),
            odd => Duration::from_secs(4 * 3_600) + Duration::from_secs(600) * odd.unwrap_or(u32::MAX),
        };
        let longest = self.outages.iter().chain(&self.database_outages).map(|(_, until)| *until).max();
        let last = self.stream.values().map(|stored| stored.at).max();
        let due = longest.max(last).unwrap_or(START) + patience;
        if self.now > due { Err(format!("it took until {:?}", self.now - START)) } else { Ok(()) }
    }
}

fn within(spans: &[(Duration, Duration)], at: Duration) -> bool {
    spans.iter().any(|(from, until)| (*from..*until).contains(&at))
}

fn wall(now: Duration) -> Timestamp {
    let base = Timestamp::from_second(1_795_000_000).expect("a time of this century");
    base + SignedDuration::try_from(now).expect("a short time")
}
