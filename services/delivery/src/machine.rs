//! What one endpoint's actor does next: which events are read, tried, parked and given up. No I/O, and no clock of its
//! own.
//!
//! Events are read ahead into a window. Each conversation is a lane of which one event at a time is tried; a lane whose
//! head fails for longer than a few seconds is parked: its events become rows of the database, and the place in the
//! stream goes on without them. When the endpoint as a whole fails, nothing is read or parked, and single requests see
//! whether it is back.

mod breaker;
mod flow;
mod outcome;
mod parking;
mod replay;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use staffetta_runtime::RetryPolicy;
use staffetta_store::Parked;

use breaker::{Breaker, Pass};
use flow::{Flow, Turn};
use parking::{Needed, Parking};
use replay::Replay;

pub(crate) use parking::MOST_PARKED;
pub(crate) use words::{Action, Failure, Fault, Input, Item, Lost, Now, Outcome, Rules, Source};

/// Waits between tries of one event.
const RETRY: RetryPolicy =
    RetryPolicy { first: Duration::from_secs(1), longest: Duration::from_secs(3_600), waits: u32::MAX };
/// Longest pause between two tries of an endpoint that can't be reached.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Longest pause that an endpoint may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);
/// Waits up to this one are spent in memory.
const IN_MEMORY: Duration = Duration::from_secs(3);
/// How long an event is tried: a little shorter than EVENTS keeps it.
pub(crate) const TRIED: SignedDuration = SignedDuration::from_secs(7 * 24 * 3_600 - 600);
/// Events of one conversation in the window; more are parked, so that one conversation does not fill it.
const LANE: usize = 64;
/// Pause before what can't be had just now is asked for again.
const NOT_NOW: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine {
    rules: Rules,
    breaker: Breaker,
    live: Flow,
    parking: Parking,
    /// What was parked although the stream has not been read so far: it is in order only behind what is read first.
    ahead: BTreeMap<u64, Arc<str>>,
    replay: Option<Replay>,
    resting: bool,
    stopping: bool,
    failing_since: Option<Timestamp>,
    last_success: Option<Timestamp>,
    last_error: Option<String>,
    actions: Vec<Action>,
}

impl Machine {
    /// Goes on at `cursor`, with what is parked.
    pub(crate) fn new(
        rules: Rules,
        cursor: u64,
        failing_since: Option<Timestamp>,
        parked: Vec<Parked>,
        now: &Now,
    ) -> Self {
        let (mut live, mut parking, mut ahead) = (Flow::new(cursor), Parking::default(), BTreeMap::new());
        for row in parked {
            let Parked { sequence, conversation, attempts, since, due, error } = row;
            parking.restore(sequence);
            let conversation: Arc<str> = conversation.into();
            if sequence >= cursor {
                ahead.insert(sequence, conversation);
                continue;
            }
            let (before, _) = live.append(sequence, &conversation);
            if before > 0 {
                continue;
            }
            if let Some((_, lane)) = live.lane(sequence) {
                lane.attempts = attempts;
                lane.since = (attempts > 0).then_some(since);
                lane.error = error;
                lane.fault = Some(Fault::Event);
            }
            let wait = Duration::try_from(due.duration_since(now.wall)).unwrap_or_default();
            live.postpone(sequence, now.boot + wait.min(RETRY.longest * 2));
        }
        Self {
            rules,
            breaker: Breaker::default(),
            live,
            parking,
            ahead,
            replay: None,
            resting: false,
            stopping: false,
            failing_since,
            last_success: None,
            last_error: None,
            actions: Vec::new(),
        }
    }

    /// All events below are settled or parked.
    pub(crate) fn cursor(&self) -> u64 {
        self.live.cursor()
    }

    /// Since when nothing could be delivered.
    pub(crate) fn failing_since(&self) -> Option<Timestamp> {
        self.failing_since
    }

    /// When something was last delivered, since this machine was made.
    pub(crate) fn last_success(&self) -> Option<Timestamp> {
        self.last_success
    }

    /// Why the last try that failed did, since this machine was made.
    pub(crate) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Whether the endpoint as a whole fails.
    pub(crate) fn is_broken(&self) -> bool {
        self.breaker.is_broken()
    }

    pub(crate) fn is_resting(&self) -> bool {
        self.resting
    }

    /// When the oldest event that is known to wait was stored; for a parked one, when it first failed.
    pub(crate) fn oldest(&mut self) -> Option<Timestamp> {
        let window = self.live.window.first_key_value().map(|(_, held)| held.stored);
        let first = self.live.of.first_key_value().map(|(sequence, _)| *sequence);
        let parked = first.and_then(|sequence| self.live.lane(sequence)).and_then(|(_, lane)| lane.since);
        [window, parked].into_iter().flatten().min()
    }

    /// How many events are parked.
    pub(crate) fn parked(&self) -> usize {
        self.parking.count()
    }

    /// The replay that is under way.
    pub(crate) fn replay(&self) -> Option<i64> {
        self.replay.as_ref().map(|replay| replay.id)
    }

    /// Whether nothing that was begun is left.
    pub(crate) fn is_done(&self) -> bool {
        let replaying = self.replay.as_ref().is_some_and(|replay| replay.flow.busy > 0);
        self.live.busy == 0 && !replaying && self.parking.is_idle()
    }

    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    pub(crate) fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Takes note.
    pub(crate) fn handle(&mut self, input: Input, now: &Now) {
        match input {
            Input::Look => self.live.look(),
            Input::Woken(sequence) => self.live.woken(sequence),
            Input::Read { source: Source::Live, items, next, more } => {
                self.live.was_read(next, more);
                for item in items {
                    self.take(&item);
                }
                self.catch_up(if more { next } else { u64::MAX });
            }
            Input::Read { source: Source::Replay, items, next, more } => {
                if let Some(replay) = &mut self.replay {
                    let beyond = replay.was_read(&items, next, more);
                    self.actions.extend(beyond.map(|sequence| Action::Forget(Source::Replay, sequence)));
                }
            }
            Input::NotRead(source) => {
                if let Some(flow) = self.flow(source) {
                    flow.read_failed(now.boot);
                }
            }
            Input::Tried { source, sequence, stored, outcome } => {
                self.tried(source, sequence, stored, outcome, now);
            }
            Input::Parked => {
                for sequence in self.parking.written() {
                    let needed = if self.live.parked(sequence) { Needed::Yes } else { Needed::No };
                    self.parking.has_row(sequence, needed);
                    self.actions.push(Action::Forget(Source::Live, sequence));
                }
            }
            Input::NotParked => {
                for sequence in self.parking.not_written(now.boot) {
                    if self.live.of.contains_key(&sequence) {
                        self.parking.again(sequence);
                    } else {
                        self.parking.has_row(sequence, Needed::No);
                    }
                }
            }
            Input::Unparked => self.parking.removed(),
            Input::NotUnparked => self.parking.not_removed(now.boot),
            Input::GivenUp(source, sequence) => self.settle(source, sequence),
            Input::NotGivenUp(source, sequence) => {
                if let Some(flow) = self.flow(source) {
                    flow.wait(sequence, now.boot + NOT_NOW * 5);
                }
            }
            Input::Rest => self.resting = true,
            Input::Deliver => self.deliver(),
            Input::Replay(job) => {
                if self.replay.is_none() {
                    self.replay = Some(Replay::new(&job));
                }
            }
            Input::ReplayNoted => {
                if self.replay.as_mut().is_some_and(Replay::noted) {
                    self.replay = None;
                }
            }
            Input::ReplayNotNoted => {
                if let Some(replay) = &mut self.replay {
                    replay.not_noted();
                }
            }
            Input::Stop => self.stopping = true,
        }
    }

    fn flow(&mut self, source: Source) -> Option<&mut Flow> {
        match source {
            Source::Live => Some(&mut self.live),
            Source::Replay => self.replay.as_mut().map(|replay| &mut replay.flow),
        }
    }

    /// Puts an event that was read where it belongs.
    fn take(&mut self, item: &Item) {
        self.catch_up(item.sequence + 1);
        // A place that was kept may be older than what was parked.
        if self.live.of.contains_key(&item.sequence) {
            return self.actions.push(Action::Forget(Source::Live, item.sequence));
        }
        let (before, last) = self.live.push(item);
        if before >= LANE || last.is_some_and(|last| self.parking.is_or_will_be(last)) {
            self.parking.want(item.sequence);
        }
    }

    /// The stream has been read up to there: what is parked below is in order now.
    fn catch_up(&mut self, below: u64) {
        while let Some((sequence, _)) = self.ahead.first_key_value()
            && *sequence < below
            && let Some((sequence, conversation)) = self.ahead.pop_first()
        {
            self.live.append(sequence, &conversation);
        }
    }

    fn deliver(&mut self) {
        if self.resting {
            self.resting = false;
            self.breaker = Breaker::default();
            self.failing_since = None;
            self.live.release();
            self.live.look();
        }
    }

    fn settle(&mut self, source: Source, sequence: u64) {
        if let Some(flow) = self.flow(source) {
            flow.settle(sequence);
        }
        if source == Source::Live {
            self.parking.settled(sequence);
        }
        self.actions.push(Action::Forget(source, sequence));
    }

    /// Decides what is begun now. Gives back when to ask again if nothing happens until then.
    pub(crate) fn pump(&mut self, now: &Now) -> Option<Duration> {
        self.pump_parking(now);
        if !self.stopping && now.may_begin {
            if let Some(replay) = &mut self.replay {
                self.actions.extend(replay.note(now.boot));
            }
            if !self.resting {
                self.pump_tries(now);
            }
        }
        self.wakes(now).into_iter().flatten().filter(|at| *at > now.boot).min()
    }

    /// When something may change by itself.
    fn wakes(&self, now: &Now) -> [Option<Duration>; 7] {
        let mut wakes = [None; 7];
        wakes[0] = self.parking.again_at(now.boot);
        if self.stopping || !now.may_begin {
            return wakes;
        }
        let replay = self.replay.as_ref();
        wakes[1] = replay.and_then(Replay::note_at);
        if self.resting {
            return wakes;
        }
        wakes[2] = self.live.read_again_at(now.boot);
        wakes[3] = replay.and_then(|replay| replay.flow.read_again_at(now.boot));
        wakes[4] = self.breaker.probe_at();
        wakes[5] = self.live.next_due();
        wakes[6] = replay.and_then(|replay| replay.flow.next_due());
        wakes
    }

    fn pump_tries(&mut self, now: &Now) {
        self.give_up_the_oldest(now);
        match self.breaker.pass(now.boot) {
            Pass::All => self.begin_all(now),
            Pass::Probe => self.probe(now),
            Pass::Nothing => {}
        }
    }

    fn pump_parking(&mut self, now: &Now) {
        if let Some(sequences) = self.parking.remove(now.boot) {
            self.actions.push(Action::Unpark(sequences));
        }
        if let Some(writing) = self.parking.write(now.boot) {
            let mut rows = Vec::with_capacity(writing.len());
            for sequence in writing {
                rows.extend(row(&mut self.live, *sequence, now));
            }
            let below = self.live.window.keys().find(|sequence| !writing.contains(sequence)).copied();
            let cursor = below.unwrap_or(self.live.next());
            self.actions.push(Action::Park { cursor, rows });
        }
    }

    /// What has waited for so long that EVENTS drops it is given up, though the endpoint can't be tried.
    fn give_up_the_oldest(&mut self, now: &Now) {
        if let Some((sequence, held)) = self.live.window.first_key_value()
            && held.stored + TRIED <= now.wall
        {
            let sequence = *sequence;
            if self.live.seize(sequence) {
                self.give_up(Source::Live, sequence, Lost::Undelivered);
            }
        }
    }

    fn begin_all(&mut self, now: &Now) {
        let room = self.rules.concurrency.min(now.room).max(1);
        let replaying = self.replay.as_ref().map_or(0, |replay| replay.flow.busy);
        self.live.wake(now.boot);
        while self.live.busy + replaying < room
            && let Some(turn) = self.live.begin()
        {
            self.begin(Source::Live, &turn);
        }
        if !self.parking.is_full() {
            self.read(Source::Live, usize::MAX, now);
        }
        if !self.live.is_ready() {
            self.begin_replayed(room, now);
        }
    }

    /// Replays have what is left, and never more than a quarter.
    fn begin_replayed(&mut self, room: usize, now: &Now) {
        let live = self.live.busy;
        let Some(replay) = &mut self.replay else { return };
        replay.flow.wake(now.boot);
        let mut turns = Vec::new();
        while replay.flow.busy < (room / 4).max(1)
            && replay.flow.busy + live < room
            && let Some(turn) = replay.flow.begin()
        {
            turns.push(turn);
        }
        for turn in turns {
            self.begin(Source::Replay, &turn);
        }
        self.read(Source::Replay, usize::MAX, now);
    }

    /// One request sees whether the endpoint is back: with an event that it has not seen, if there is one, since another
    /// may be what it chokes on.
    fn probe(&mut self, now: &Now) {
        self.live.wake(now.boot);
        if let Some(turn) = self.live.begin_fresh() {
            return self.begin(Source::Live, &turn);
        }
        if self.live.is_reading() {
            return;
        }
        if self.live.is_hungry() && !self.parking.is_full() && self.read(Source::Live, 1, now) {
            return;
        }
        if let Some(turn) = self.live.begin().or_else(|| self.live.begin_early()) {
            return self.begin(Source::Live, &turn);
        }
        let Some(replay) = &mut self.replay else { return };
        replay.flow.wake(now.boot);
        if let Some(turn) = replay.flow.begin().or_else(|| replay.flow.begin_early()) {
            return self.begin(Source::Replay, &turn);
        }
        self.read(Source::Replay, 1, now);
    }

    fn begin(&mut self, source: Source, turn: &Turn) {
        let Turn { sequence, attempt } = *turn;
        self.breaker.began(sequence);
        self.actions.push(Action::Try { source, sequence, attempt });
    }

    /// Whether a read is begun.
    fn read(&mut self, source: Source, most: usize, now: &Now) -> bool {
        let Some((from, most)) = self.flow(source).and_then(|flow| flow.read(most, now.boot)) else {
            return false;
        };
        self.actions.push(Action::Read { source, from, most });
        true
    }
}

/// An event's row, as it stands.
fn row(live: &mut Flow, sequence: u64, now: &Now) -> Option<Parked> {
    let (conversation, lane) = live.lane(sequence)?;
    let due = match lane.state {
        flow::State::Waiting(due) => due.saturating_sub(now.boot),
        flow::State::Ready | flow::State::Busy => Duration::ZERO,
    };
    let is_head = lane.jobs.front() == Some(&sequence);
    let due = SignedDuration::try_from(due).unwrap_or_default();
    Some(Parked {
        sequence,
        conversation: conversation.to_string(),
        attempts: if is_head { lane.attempts } else { 0 },
        since: lane.since.unwrap_or(now.wall),
        due: now.wall + due,
        error: if is_head { lane.error.clone() } else { "waits behind an earlier event".into() },
    })
}
