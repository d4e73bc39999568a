//! One lane of one channel in memory: what was read from the queue, in order per recipient.
//!
//! Each recipient has a queue of its own, with at most one command on its way. A command that has to wait holds back
//! its own recipient and nobody else.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use staffetta_bus::QueuedMessage;
use staffetta_domain::Command;

/// A command that was read and is not settled.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    /// How it stands in the queue.
    pub(crate) message: QueuedMessage,
    /// What to send.
    pub(crate) command: Command,
}

impl Queued {
    /// Its number in the stream.
    pub(crate) fn sequence(&self) -> u64 {
        self.message.sequence
    }
}

/// One lane.
#[derive(Debug, Default)]
pub(crate) struct LaneState {
    /// The number to read from next.
    pub(crate) cursor: u64,
    /// Whether the queue may hold commands that were not read.
    more: bool,
    fifos: HashMap<Box<str>, VecDeque<Queued>>,
    /// Heads that may go now, the oldest first.
    ready: BTreeMap<u64, Box<str>>,
    /// Heads that wait for a moment.
    parked: BTreeSet<(Duration, u64, Box<str>)>,
    /// Everything read and not settled.
    open: BTreeSet<u64>,
    bytes: usize,
    purged: u64,
}

/// Most commands of one lane in memory.
const MAX_COMMANDS: usize = 1_000;
/// Most bytes of one lane in memory.
const MAX_BYTES: usize = 8 << 20;

impl LaneState {
    /// A lane of which nothing was read, and that may hold something.
    pub(crate) fn new() -> Self {
        Self { cursor: 1, more: true, ..Self::default() }
    }

    /// How many commands may be read now.
    pub(crate) fn room(&self) -> usize {
        if self.bytes >= MAX_BYTES { 0 } else { MAX_COMMANDS.saturating_sub(self.open.len()) }
    }

    /// Whether the queue may hold commands that nobody has asked for.
    pub(crate) fn has_more(&self) -> bool {
        self.more
    }

    /// The queue is being asked. What [`holds_more`](Self::holds_more) says from here on, whether the answer or a
    /// wake-up before it, counts for after the answer: a command may have been stored while it was on its way.
    pub(crate) fn asked(&mut self) {
        self.more = false;
    }

    /// The queue may hold more.
    pub(crate) fn holds_more(&mut self) {
        self.more = true;
    }

    /// Notes that a command was read. It stays open until [`settled`](Self::settled).
    pub(crate) fn read(&mut self, sequence: u64) {
        self.open.insert(sequence);
        self.cursor = self.cursor.max(sequence.saturating_add(1));
    }

    /// Puts a command behind the others of its recipient.
    pub(crate) fn push(&mut self, queued: Queued) {
        let key: Box<str> = queued.command.to.key().into();
        self.bytes += queued.message.payload.len();
        let fifo = self.fifos.entry(key.clone()).or_default();
        if fifo.is_empty() {
            self.ready.insert(queued.sequence(), key);
        }
        fifo.push_back(queued);
    }

    /// The oldest head that may go. It stays the head of its recipient until [`done`](Self::done), and comes back
    /// after [`park`](Self::park) or [`again`](Self::again).
    pub(crate) fn take(&mut self) -> Option<Queued> {
        let (_, key) = self.ready.pop_first()?;
        self.fifos.get(&key)?.front().cloned()
    }

    /// Whether any head may go.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The head is through, one way or the other: the next of its recipient may go.
    pub(crate) fn done(&mut self, queued: &Queued) {
        let key = queued.command.to.key();
        let Some(fifo) = self.fifos.get_mut(key) else { return };
        if fifo.front().is_none_or(|head| head.sequence() != queued.sequence()) {
            return;
        }
        fifo.pop_front();
        self.bytes = self.bytes.saturating_sub(queued.message.payload.len());
        match fifo.front() {
            Some(next) => {
                self.ready.insert(next.sequence(), key.into());
            }
            None => {
                self.fifos.remove(key);
            }
        }
    }

    /// The head may go again.
    pub(crate) fn again(&mut self, queued: &Queued) {
        self.ready.insert(queued.sequence(), queued.command.to.key().into());
    }

    /// The head may go again at `until`.
    pub(crate) fn park(&mut self, queued: &Queued, until: Duration) {
        self.parked.insert((until, queued.sequence(), queued.command.to.key().into()));
    }

    /// Lets the heads go whose moment has come, and tells when the next one's comes.
    pub(crate) fn wake(&mut self, now: Duration) -> Option<Duration> {
        while let Some((until, _, _)) = self.parked.first()
            && *until <= now
        {
            if let Some((_, sequence, key)) = self.parked.pop_first() {
                self.ready.insert(sequence, key);
            }
        }
        self.parked.first().map(|(until, _, _)| *until)
    }

    /// The command need not stay in the queue any more.
    pub(crate) fn settled(&mut self, sequence: u64) {
        self.open.remove(&sequence);
    }

    /// Below this number everything is settled; `None` if that was purged already.
    pub(crate) fn floor(&self) -> Option<u64> {
        let floor = self.open.first().copied().unwrap_or(self.cursor);
        (floor > self.purged.max(1)).then_some(floor)
    }

    /// Notes that the queue was purged below `floor`.
    pub(crate) fn purged(&mut self, floor: u64) {
        self.purged = self.purged.max(floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use staffetta_domain::{CommandFields, Lane};

    fn queued(sequence: u64, to: &str) -> Queued {
        let json =
            serde_json::json!({"id": sequence.to_string(), "to": to, "type": "text", "text": {"body": "x"}});
        let fields: CommandFields = serde_json::from_value(json).unwrap();
        let (tenant, channel) = ("acme".parse().unwrap(), "acme-orders".parse().unwrap());
        let command = fields.check(&tenant, &channel, Lane::Normal, || "x".parse().unwrap()).unwrap();
        let message = QueuedMessage {
            sequence,
            stored: "2026-11-21T09:30:00Z".parse().unwrap(),
            headers: async_nats::HeaderMap::new(),
            payload: "x".into(),
        };
        Queued { message, command }
    }

    fn lane(entries: &[(u64, &str)]) -> LaneState {
        let mut lane = LaneState::new();
        for (sequence, to) in entries {
            lane.read(*sequence);
            lane.push(queued(*sequence, to));
        }
        lane
    }

    const ANNA: &str = "393480000001";
    const BRUNO: &str = "393480000002";

    #[test]
    fn one_recipient_waits_for_its_own_and_nobody_else() {
        let mut lane = lane(&[(1, ANNA), (2, ANNA), (3, BRUNO)]);
        let first = lane.take().unwrap();
        assert_eq!(first.sequence(), 1);
        assert_eq!(lane.take().unwrap().sequence(), 3);
        assert!(lane.take().is_none());
        lane.done(&first);
        assert_eq!(lane.take().unwrap().sequence(), 2);
        lane.done(&first);
        assert!(lane.take().is_none(), "the second is on its way");
    }

    #[test]
    fn a_parked_head_keeps_its_place() {
        let mut lane = lane(&[(1, ANNA), (2, ANNA)]);
        let first = lane.take().unwrap();
        let until = Duration::from_secs(5);
        lane.park(&first, until);
        assert_eq!(lane.wake(Duration::from_secs(4)), Some(until));
        assert!(lane.take().is_none());
        assert_eq!(lane.wake(until), None);
        assert_eq!(lane.take().unwrap().sequence(), 1);
    }

    #[test]
    fn a_wake_up_while_the_queue_is_asked_is_not_forgotten() {
        let mut lane = LaneState::new();
        assert!(lane.has_more());
        lane.asked();
        lane.holds_more();
        lane.read(1);
        assert!(lane.has_more());
        lane.asked();
        assert!(!lane.has_more());
    }

    #[test]
    fn the_floor_stands_at_the_oldest_open_command() {
        let mut lane = lane(&[(4, ANNA), (7, BRUNO), (9, BRUNO)]);
        assert_eq!(lane.floor(), Some(4));
        lane.settled(7);
        assert_eq!(lane.floor(), Some(4));
        lane.settled(4);
        assert_eq!(lane.floor(), Some(9));
        lane.purged(9);
        assert_eq!(lane.floor(), None);
        lane.settled(9);
        assert_eq!(lane.floor(), Some(10));
    }
}
