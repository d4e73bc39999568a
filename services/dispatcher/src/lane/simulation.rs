//! A lane under everything that may happen to it in any order, beside a model too plain to be wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use super::tests::queued;
use super::*;

/// Seeds that failed once.
const FAILED: [u64; 0] = [];
/// Seeds that are always tried, and as many that nobody has tried before.
const SEEDS: u64 = 500;
/// What happens under one seed.
const STEPS: usize = 150;
const USERS: usize = 12;
/// So little that all of it is used up.
const BOUNDS: Bounds = Bounds { commands: 20, bytes: 2_000, of_one: 5, numbers: 40 };

/// One command of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It stands in the queue, and the lane may know it.
    Stands,
    /// It can't be sent: its recipient does not wait for it.
    Invalid,
    Taken,
    Parked(Duration),
    /// It is through and not settled.
    Done,
    Settled,
    /// Somebody else has taken it out of the queue.
    Gone,
}

struct World {
    random: u64,
    lane: LaneState,
    patterns: Vec<Queued>,
    /// Number, recipient, size and state of every command.
    commands: BTreeMap<u64, (usize, usize, State)>,
    asked: BTreeSet<u64>,
    next: u64,
    now: Duration,
    purged: u64,
    deleted: BTreeSet<u64>,
}

/// Tells the seed of a test that fails.
struct Tell(u64);

impl Drop for Tell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed is {}", self.0);
        }
    }
}

fn seeds() -> impl Iterator<Item = u64> {
    let new = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let new = (0..SEEDS).map(move |n| new.wrapping_mul(SEEDS).wrapping_add(n));
    FAILED.into_iter().chain(0..SEEDS).chain(new)
}

#[test]
fn whatever_happens_nothing_is_lost_and_nothing_overtakes() {
    for seed in seeds() {
        let _tell = Tell(seed);
        // With few numbers the lane stops reading, with many it sets aside what waits.
        let numbers = if seed.is_multiple_of(2) { 40 } else { 90 };
        let mut world = World::new(seed, Bounds { numbers, ..BOUNDS });
        for step in 0..STEPS {
            world.step();
            if step.is_multiple_of(8) {
                world.check();
            }
        }
        world.finish();
    }
}

#[test]
fn who_waits_hides_nobody() {
    for seed in seeds() {
        let _tell = Tell(seed);
        World::new(seed, Bounds { numbers: 150, ..BOUNDS }).serve_all_but_some();
    }
}

impl World {
    fn new(seed: u64, bounds: Bounds) -> Self {
        Self {
            random: seed,
            lane: LaneState::within(bounds),
            patterns: (0..USERS).map(|user| queued(0, &format!("39348000{user:04}"), 0)).collect(),
            commands: BTreeMap::new(),
            asked: BTreeSet::new(),
            next: 1,
            now: Duration::ZERO,
            purged: 0,
            deleted: BTreeSet::new(),
        }
    }

    /// Below `end` (splitmix64).
    fn below(&mut self, end: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }

    fn publish(&mut self) {
        for _ in 0..self.below(12) {
            // A few recipients get most of it.
            let users = if self.below(2) == 0 { 2 } else { USERS };
            let (user, size) = (self.below(users), self.below(100));
            self.commands.insert(self.next, (user, size, State::Stands));
            self.next += 1 + self.below(3) as u64;
        }
    }

    fn queued(&self, sequence: u64) -> Queued {
        let (user, size, _) = self.commands[&sequence];
        let mut queued = self.patterns[user].clone();
        queued.message.sequence = sequence;
        queued.message.payload = vec![b'x'; size].into();
        queued
    }

    fn state(&self, sequence: u64) -> State {
        self.commands[&sequence].2
    }

    fn set(&mut self, sequence: u64, state: State) {
        self.commands.get_mut(&sequence).unwrap().2 = state;
    }

    fn all(&self, is: impl Fn(State) -> bool) -> Vec<u64> {
        let all = self.commands.iter().filter(|(_, command)| is(command.2));
        all.map(|(sequence, _)| *sequence).collect()
    }

    fn any(&mut self, is: impl Fn(State) -> bool) -> Option<u64> {
        let some = self.all(is);
        if some.is_empty() { None } else { Some(some[self.below(some.len())]) }
    }

    fn read(&mut self, most: usize) {
        let room = self.lane.room().min(most);
        let unread =
            self.commands.range(self.lane.cursor..).filter(|(_, command)| command.2 == State::Stands);
        let sequences: Vec<u64> = unread.map(|(sequence, _)| *sequence).take(room).collect();
        for sequence in sequences {
            self.lane.read(sequence);
            if self.below(20) == 0 {
                self.set(sequence, State::Invalid);
            } else {
                self.lane.push(self.queued(sequence));
            }
        }
    }

    /// The head is its recipient's first, and nothing stops it.
    fn take(&mut self) -> Option<u64> {
        let has_ready = self.lane.has_ready();
        let taken = self.lane.take();
        assert_eq!(has_ready, taken.is_some());
        let sequence = taken?.sequence();
        let (user, _, state) = self.commands[&sequence];
        assert_eq!(state, State::Stands, "{sequence} was handed over before");
        for (before, (_, _, state)) in
            self.commands.range(..sequence).filter(|(_, command)| command.0 == user)
        {
            let over = matches!(state, State::Invalid | State::Done | State::Settled | State::Gone);
            assert!(over, "{sequence} goes before {before}, which is {state:?}");
        }
        self.set(sequence, State::Taken);
        Some(sequence)
    }

    fn done(&mut self, sequence: u64) {
        self.lane.done(&self.queued(sequence));
        self.set(sequence, State::Done);
    }

    fn settle(&mut self, sequence: u64) {
        self.lane.settled(sequence);
        self.set(sequence, State::Settled);
    }

    fn wake(&mut self, later: Duration) {
        self.now += later;
        let next = self.lane.wake(self.now);
        let mut wakes = BTreeSet::new();
        for (_, _, state) in self.commands.values_mut() {
            match *state {
                State::Parked(until) if until <= self.now => *state = State::Stands,
                State::Parked(until) if until < Duration::MAX => drop(wakes.insert(until)),
                _ => {}
            }
        }
        assert_eq!(next, wakes.first().copied());
    }

    fn want(&mut self, most: usize) {
        let wanted = self.lane.wanted(most);
        assert!(wanted.len() <= most);
        for sequence in wanted {
            assert!(sequence < self.lane.cursor);
            assert!(matches!(self.state(sequence), State::Stands | State::Gone), "{sequence} is wanted");
            assert!(self.asked.insert(sequence), "{sequence} is wanted twice");
        }
    }

    fn answer(&mut self, sequence: u64) {
        self.asked.remove(&sequence);
        match (self.state(sequence), self.below(12)) {
            (_, 0) => self.lane.unread(&[sequence]),
            (State::Gone, _) => self.lane.missing(sequence),
            (_, 1) => {
                self.lane.rejected(sequence);
                self.set(sequence, State::Invalid);
            }
            _ => self.lane.returned(self.queued(sequence)),
        }
    }

    /// Somebody else takes one that is set aside out of the queue.
    fn steal(&mut self) {
        let first_away: Vec<u64> = self.asked.iter().copied().collect();
        if !first_away.is_empty() {
            let sequence = first_away[self.below(first_away.len())];
            self.set(sequence, State::Gone);
        }
    }

    fn clean(&mut self) {
        if let Some(floor) = self.lane.floor() {
            assert!(floor > self.purged);
            self.lane.purged(floor);
            self.purged = floor;
            let kept = self.commands.split_off(&floor);
            for (sequence, (_, _, state)) in std::mem::replace(&mut self.commands, kept) {
                assert!(matches!(state, State::Settled | State::Gone), "{sequence} is purged and {state:?}");
            }
        }
        let most = self.below(5);
        let islands = self.lane.islands(most);
        assert!(islands.is_sorted() && islands.len() == most.min(self.lane.island_count()));
        for island in &islands {
            assert_eq!(self.state(*island), State::Settled);
            assert!(*island > self.purged);
            assert!(self.deleted.insert(*island), "{island} was deleted before");
        }
        self.lane.deleted(&islands);
    }

    fn step(&mut self) {
        let is_taken = |state| state == State::Taken;
        match self.below(14) {
            0 | 1 if self.commands.len() < 80 => self.publish(),
            2 | 3 => {
                let most = self.below(16);
                self.read(most);
            }
            4..=6 => drop(self.take()),
            7 => {
                let open = |state| matches!(state, State::Taken | State::Parked(_));
                if let Some(sequence) = self.any(open) {
                    self.done(sequence);
                }
            }
            8 => {
                if let Some(sequence) = self.any(|state| matches!(state, State::Done | State::Invalid)) {
                    self.settle(sequence);
                }
            }
            9 => {
                if let Some(sequence) = self.any(|state| matches!(state, State::Taken | State::Parked(_))) {
                    self.lane.again(&self.queued(sequence));
                    self.set(sequence, State::Stands);
                }
            }
            10 => {
                if let Some(sequence) = self.any(is_taken) {
                    let wait = 1 + self.below(20) as u64;
                    let until = if wait > 15 { Duration::MAX } else { self.now + Duration::from_secs(wait) };
                    self.lane.park(&self.queued(sequence), until);
                    self.set(sequence, State::Parked(until));
                }
            }
            11 => {
                let later = Duration::from_secs(self.below(8) as u64);
                self.wake(later);
            }
            0 | 1 | 12 => {
                let most = self.below(8);
                self.want(most);
                if self.below(8) == 0 {
                    self.steal();
                }
            }
            _ => {
                for _ in 0..self.below(4) {
                    let asked: Vec<u64> = self.asked.iter().copied().collect();
                    if !asked.is_empty() {
                        let sequence = asked[self.below(asked.len())];
                        self.answer(sequence);
                    }
                }
                self.clean();
            }
        }
    }

    /// What the lane says is true of the model, and what it has added up is the sum.
    fn check(&self) {
        let lane = &self.lane;
        let open = |state| !matches!(state, State::Settled | State::Gone);
        let read = self.commands.range(..lane.cursor);
        let oldest = read.clone().find(|(_, command)| open(command.2)).map(|(sequence, _)| *sequence);
        let bottom = lane.bottom();
        assert!(bottom <= oldest.unwrap_or(lane.cursor), "the floor passes {oldest:?}");
        let known_open = |sequence: u64| open(self.state(sequence)) || self.state(sequence) == State::Gone;
        assert!(bottom == lane.cursor || known_open(bottom), "the floor stands at nothing");

        let islands = read.filter(|(sequence, command)| {
            command.2 == State::Settled && **sequence > bottom && !self.deleted.contains(sequence)
        });
        assert!(islands.map(|(sequence, _)| sequence).eq(lane.islands.iter()));

        let mut totals = Totals::default();
        let mut keys = [const { BTreeSet::new() }; 3];
        for recipient in lane.recipients.values() {
            let standing = recipient.standing();
            totals.bytes += standing.totals.bytes;
            totals.aside += standing.totals.aside;
            totals.waiting += standing.totals.waiting;
            totals.waiting_bytes += standing.totals.waiting_bytes;
            for (keys, key) in keys.iter_mut().zip([standing.ready, standing.away, standing.hungry]) {
                keys.extend(key);
            }
            assert!(!recipient.is_empty());
        }
        assert_eq!(totals, lane.totals);
        for (keys, index) in keys.iter().zip([&lane.ready, &lane.away, &lane.hungry]) {
            assert!(keys.iter().eq(index.keys()));
        }
        assert!(lane.asked.keys().copied().collect::<BTreeSet<_>>() == self.asked);

        // One that was set aside and ends all the same is in the memory of whoever ends it.
        let ending = self.commands.values().filter(|command| command.2 == State::Done).count();
        assert!(lane.open.len() + lane.asked.len() <= self.lane.bounds.commands + ending);
        assert!(totals.bytes < self.lane.bounds.bytes + 10 * 100);
        assert!(
            totals.aside <= self.lane.bounds.numbers
                && lane.islands.len() <= self.lane.bounds.numbers + self.lane.bounds.commands
        );
    }

    /// Once nobody has to wait any more all are handed over, and nothing stays behind.
    fn finish(&mut self) {
        for _ in 0..10_000 {
            if self.lane.cursor >= self.next && self.lane.bottom() == self.lane.cursor {
                break;
            }
            self.serve();
            self.wake(Duration::from_secs(100));
            for sequence in self.all(|state| matches!(state, State::Parked(_))) {
                self.lane.again(&self.queued(sequence));
                self.set(sequence, State::Stands);
            }
            self.lane.cursor = self.lane.cursor.max(if self.all_read() { self.next } else { 0 });
        }
        self.check();
        assert_eq!(self.all(|state| !matches!(state, State::Settled | State::Gone)), [0; 0]);
        assert_eq!(self.lane.room(), self.lane.bounds.commands);
    }

    fn all_read(&self) -> bool {
        self.commands.range(self.lane.cursor..).next().is_none()
    }

    /// Does all that can be done now.
    fn serve(&mut self) {
        self.read(usize::MAX);
        self.want(10);
        for sequence in std::mem::take(&mut self.asked) {
            self.answer(sequence);
        }
        while self.take().is_some() {}
        for sequence in self.all(|state| state == State::Taken) {
            self.done(sequence);
        }
        for sequence in self.all(|state| matches!(state, State::Done | State::Invalid)) {
            self.settle(sequence);
        }
        self.clean();
    }

    /// Half of the recipients wait without end, and have as many commands as may be set aside: the others get theirs.
    fn serve_all_but_some(&mut self) {
        let Bounds { commands, numbers, .. } = self.lane.bounds;
        while self.commands.len() + 12 < numbers - commands {
            self.publish();
        }
        let waits = |user: usize| user.is_multiple_of(2);
        for _ in 0..1_000 {
            self.read(usize::MAX);
            self.want(10);
            for sequence in std::mem::take(&mut self.asked) {
                self.answer(sequence);
            }
            while let Some(sequence) = self.take() {
                if waits(self.commands[&sequence].0) {
                    self.lane.park(&self.queued(sequence), Duration::MAX);
                    self.set(sequence, State::Parked(Duration::MAX));
                } else {
                    self.done(sequence);
                }
            }
            for sequence in self.all(|state| matches!(state, State::Done | State::Invalid)) {
                self.settle(sequence);
            }
            self.clean();
            if self.all_read() && self.lane.hungry.is_empty() {
                break;
            }
        }
        self.check();
        for (sequence, (user, _, state)) in &self.commands {
            assert!(waits(*user) || *state == State::Settled, "{sequence} is {state:?}");
        }
    }
}
