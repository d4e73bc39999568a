//! Events on their way to an endpoint: one FIFO for each conversation, of which one event at a time is tried.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Fault, Item};

/// Most events that are read and neither settled nor parked.
pub(super) const WINDOW: usize = 256;
/// Most bytes of them, the last one read aside.
const WINDOW_BYTES: usize = 4 << 20;
/// Most events of one read.
const READ: usize = 128;
/// Pause before a read that failed is tried again.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// Where a lane stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its head may go.
    Ready,
    /// Its head is on its way.
    Busy,
    /// Its head failed, and is tried again then.
    Waiting(Duration),
}

/// The events of one conversation, in their order.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) jobs: VecDeque<u64>,
    pub(super) state: State,
    /// Tries of its head so far.
    pub(super) attempts: u32,
    /// When the first of them failed.
    pub(super) since: Option<Timestamp>,
    pub(super) error: String,
    pub(super) fault: Option<Fault>,
}

/// An event that was read and is neither settled nor parked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    bytes: usize,
    pub(super) stored: Timestamp,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Flow {
    next: u64,
    hungry: bool,
    /// It was asked to look while a read was under way.
    look_again: bool,
    /// The youngest event that is known to be there.
    known: u64,
    /// Whether more became known while a read was under way: that one may have come too early.
    woken_meanwhile: bool,
    reading: bool,
    read_at: Duration,
    pub(super) window: BTreeMap<u64, Held>,
    bytes: usize,
    /// The conversation of each event, parked ones included.
    pub(super) of: BTreeMap<u64, Arc<str>>,
    pub(super) lanes: HashMap<Arc<str>, Lane>,
    ready: VecDeque<Arc<str>>,
    waiting: BTreeSet<(Duration, Arc<str>)>,
    pub(super) busy: usize,
}

/// An event whose turn it is.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) sequence: u64,
    pub(super) attempt: u32,
}

impl Flow {
    /// Reads from `next` on.
    pub(super) fn new(next: u64) -> Self {
        Self {
            next: next.max(1),
            hungry: true,
            look_again: false,
            known: 0,
            woken_meanwhile: false,
            reading: false,
            read_at: Duration::ZERO,
            window: BTreeMap::new(),
            bytes: 0,
            of: BTreeMap::new(),
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            waiting: BTreeSet::new(),
            busy: 0,
        }
    }

    /// Where to read on.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// All events below are settled or parked.
    pub(super) fn cursor(&self) -> u64 {
        self.window.first_key_value().map_or(self.next, |(sequence, _)| *sequence)
    }

    /// There may be something to read.
    pub(super) fn look(&mut self) {
        self.hungry = true;
        self.look_again |= self.reading;
    }

    /// An event of that number is there, or was.
    pub(super) fn woken(&mut self, sequence: u64) {
        self.woken_meanwhile |= self.reading && sequence > self.known;
        self.known = self.known.max(sequence);
        self.hungry |= self.known >= self.next;
    }

    /// Whether nothing is left, and nothing is being read.
    pub(super) fn is_empty(&self) -> bool {
        self.of.is_empty() && !self.reading
    }

    pub(super) fn is_hungry(&self) -> bool {
        self.hungry
    }

    pub(super) fn is_reading(&self) -> bool {
        self.reading
    }

    /// How much to read now, at most `most`; then that read is under way.
    pub(super) fn read(&mut self, most: usize, now: Duration) -> Option<(u64, usize)> {
        let room = WINDOW.saturating_sub(self.window.len());
        let roomy = room >= WINDOW / 4 || most < room;
        if !self.hungry || self.reading || self.read_at > now || !roomy || self.bytes >= WINDOW_BYTES {
            return None;
        }
        self.reading = true;
        Some((self.next, room.min(READ).min(most)))
    }

    /// When a read that failed is tried again.
    pub(super) fn read_again_at(&self, now: Duration) -> Option<Duration> {
        (self.hungry && !self.reading && self.read_at > now).then_some(self.read_at)
    }

    pub(super) fn read_failed(&mut self, now: Duration) {
        self.reading = false;
        self.read_at = now + READ_AGAIN;
    }

    /// A read has ended; `told` says whether there is more.
    pub(super) fn was_read(&mut self, next: u64, more: bool) {
        self.reading = false;
        let moved = next > self.next;
        self.next = self.next.max(next);
        // What was known before and does not come now comes with the next look.
        let woken = std::mem::take(&mut self.woken_meanwhile);
        let known = (moved || woken) && self.known >= self.next;
        self.hungry = more || known || std::mem::take(&mut self.look_again);
    }

    /// Puts an event that was read at the end of its lane. Gives back how many stand before it, and the last of them.
    pub(super) fn push(&mut self, item: &Item) -> (usize, Option<u64>) {
        self.window.insert(item.sequence, Held { bytes: item.bytes, stored: item.stored });
        self.bytes += item.bytes;
        self.append(item.sequence, &item.conversation)
    }

    /// Puts a parked event at the end of its lane.
    pub(super) fn append(&mut self, sequence: u64, conversation: &Arc<str>) -> (usize, Option<u64>) {
        let lane = self.lanes.entry(Arc::clone(conversation)).or_insert_with(|| {
            self.ready.push_back(Arc::clone(conversation));
            Lane {
                jobs: VecDeque::new(),
                state: State::Ready,
                attempts: 0,
                since: None,
                error: String::new(),
                fault: None,
            }
        });
        let before = (lane.jobs.len(), lane.jobs.back().copied());
        lane.jobs.push_back(sequence);
        self.of.insert(sequence, Arc::clone(conversation));
        before
    }

    /// It is parked: nothing of it is held here but its place in its lane. False if it was settled meanwhile.
    pub(super) fn parked(&mut self, sequence: u64) -> bool {
        if let Some(held) = self.window.remove(&sequence) {
            self.bytes -= held.bytes;
        }
        self.of.contains_key(&sequence)
    }

    /// Moves those whose wait is over to those that may go.
    pub(super) fn wake(&mut self, now: Duration) {
        while let Some((due, _)) = self.waiting.first()
            && *due <= now
            && let Some((_, conversation)) = self.waiting.pop_first()
        {
            self.make_ready(conversation);
        }
    }

    fn make_ready(&mut self, conversation: Arc<str>) {
        if let Some(lane) = self.lanes.get_mut(&conversation) {
            lane.state = State::Ready;
            self.ready.push_back(conversation);
        }
    }

    /// Those that wait because of the endpoint may go at once.
    pub(super) fn release(&mut self) {
        let released: Vec<_> = self
            .waiting
            .iter()
            .filter(|(_, conversation)| {
                let fault = self.lanes.get(conversation).and_then(|lane| lane.fault);
                matches!(fault, Some(Fault::Endpoint | Fault::Gone))
            })
            .cloned()
            .collect();
        for waiting in released {
            self.waiting.remove(&waiting);
            self.make_ready(waiting.1);
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// When the first of those that wait may go.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.waiting.first().map(|(due, _)| *due)
    }

    /// The next one to go, which then is on its way.
    pub(super) fn begin(&mut self) -> Option<Turn> {
        let conversation = self.ready.pop_front()?;
        self.go(&conversation)
    }

    /// One that was never tried.
    pub(super) fn begin_fresh(&mut self) -> Option<Turn> {
        let fresh =
            |conversation: &Arc<str>| self.lanes.get(conversation).is_some_and(|lane| lane.attempts == 0);
        let place = self.ready.iter().position(fresh)?;
        let conversation = self.ready.remove(place)?;
        self.go(&conversation)
    }

    /// The one that has waited for the endpoint longest, before its time.
    pub(super) fn begin_early(&mut self) -> Option<Turn> {
        let endpoint_s = |(_, conversation): &&(Duration, Arc<str>)| {
            self.lanes.get(conversation).is_some_and(|lane| lane.fault == Some(Fault::Endpoint))
        };
        let waiting = self.waiting.iter().find(endpoint_s)?.clone();
        self.waiting.remove(&waiting);
        self.go(&waiting.1)
    }

    fn go(&mut self, conversation: &Arc<str>) -> Option<Turn> {
        let lane = self.lanes.get_mut(conversation)?;
        let sequence = *lane.jobs.front()?;
        lane.state = State::Busy;
        self.busy += 1;
        Some(Turn { sequence, attempt: lane.attempts + 1 })
    }

    /// Takes the head of a lane that waits, as if it had been tried.
    pub(super) fn seize(&mut self, sequence: u64) -> bool {
        let Some(conversation) = self.of.get(&sequence).cloned() else { return false };
        let Some(lane) = self.lanes.get(&conversation) else { return false };
        let State::Waiting(due) = lane.state else { return false };
        if lane.jobs.front() != Some(&sequence) {
            return false;
        }
        self.waiting.remove(&(due, Arc::clone(&conversation)));
        self.go(&conversation).is_some()
    }

    /// The lane of an event.
    pub(super) fn lane(&mut self, sequence: u64) -> Option<(Arc<str>, &mut Lane)> {
        let conversation = self.of.get(&sequence)?;
        Some((Arc::clone(conversation), self.lanes.get_mut(conversation)?))
    }

    /// The event that was on its way is done with: the one behind it may go.
    pub(super) fn settle(&mut self, sequence: u64) {
        self.busy = self.busy.saturating_sub(1);
        if let Some(held) = self.window.remove(&sequence) {
            self.bytes -= held.bytes;
        }
        let Some(conversation) = self.of.remove(&sequence) else { return };
        let Some(lane) = self.lanes.get_mut(&conversation) else { return };
        lane.jobs.pop_front();
        (lane.attempts, lane.since, lane.fault) = (0, None, None);
        lane.error.clear();
        if lane.jobs.is_empty() {
            self.lanes.remove(&conversation);
        } else {
            self.make_ready(conversation);
        }
    }

    /// The event that was on its way has to wait until `due`.
    pub(super) fn wait(&mut self, sequence: u64, due: Duration) {
        self.busy = self.busy.saturating_sub(1);
        self.postpone(sequence, due);
    }

    /// A head that nobody tries now has to wait until `due`.
    pub(super) fn postpone(&mut self, sequence: u64, due: Duration) {
        let Some(conversation) = self.of.get(&sequence).cloned() else { return };
        if let Some(lane) = self.lanes.get_mut(&conversation) {
            if lane.state == State::Ready {
                self.ready.retain(|ready| *ready != conversation);
            }
            lane.state = State::Waiting(due);
            self.waiting.insert((due, conversation));
        }
    }
}
