//! SEND as the simulation has it: three lanes, read with some lag.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use staffetta_bus::{Batch, QueuedMessage};
use staffetta_domain::Lane;

/// How far a replica that lags is behind.
const LAG: SignedDuration = SignedDuration::from_millis(50);

/// The stream.
#[derive(Default)]
pub(super) struct Queue {
    lanes: [BTreeMap<u64, Entry>; 3],
    pub(super) last: u64,
}

/// An entry, and the command that it stands for.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) id: String,
    message: QueuedMessage,
}

impl Queue {
    pub(super) fn publish(&mut self, lane: Lane, id: &str, payload: Vec<u8>, stored: Timestamp) -> u64 {
        self.last += 1;
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", "application/json");
        headers.insert(async_nats::header::NATS_MESSAGE_ID, id);
        let message = QueuedMessage { sequence: self.last, stored, headers, payload: payload.into() };
        self.lanes[lane as usize].insert(self.last, Entry { id: id.to_owned(), message });
        self.last
    }

    /// As a replica reads that has everything.
    pub(super) fn read(&self, lane: Lane, from: u64, most: usize) -> Batch {
        self.read_where(lane, from, most, |_| true)
    }

    /// As a replica reads that lags.
    pub(super) fn read_late(&self, lane: Lane, from: u64, most: usize, known: u64, now: Timestamp) -> Batch {
        let mut batch = self.read_where(lane, from, most, |entry| entry.message.stored + LAG <= now);
        batch.more |= batch.messages.last().is_some_and(|last| last.sequence < known);
        batch
    }

    fn read_where(&self, lane: Lane, from: u64, most: usize, sees: impl Fn(&Entry) -> bool) -> Batch {
        let mut rest =
            self.lanes[lane as usize].range(from..).map(|(_, entry)| entry).filter(|entry| sees(entry));
        let messages = rest.by_ref().take(most).map(|entry| entry.message.clone()).collect();
        Batch { messages, more: rest.next().is_some() }
    }

    pub(super) fn get(&self, lane: Lane, sequence: u64) -> Option<QueuedMessage> {
        self.lanes[lane as usize].get(&sequence).map(|entry| entry.message.clone())
    }

    /// Takes away what is below the floor.
    pub(super) fn purge(&mut self, lane: Lane, floor: u64) -> Vec<Entry> {
        let lane = &mut self.lanes[lane as usize];
        let kept = lane.split_off(&floor);
        std::mem::replace(lane, kept).into_values().collect()
    }

    pub(super) fn delete(&mut self, sequence: u64) -> Option<Entry> {
        self.lanes.iter_mut().find_map(|lane| lane.remove(&sequence))
    }

    pub(super) fn holds(&self, id: &str) -> bool {
        self.lanes.iter().flat_map(BTreeMap::values).any(|entry| entry.id == id)
    }

    pub(super) fn is_empty(&self, lane: Lane) -> bool {
        self.lanes[lane as usize].is_empty()
    }

    /// What is left, for a person.
    pub(super) fn left(&self) -> Vec<(u64, &str)> {
        let entries = self.lanes.iter().flatten();
        entries.map(|(sequence, entry)| (*sequence, entry.id.as_str())).collect()
    }
}
