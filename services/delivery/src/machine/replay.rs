//! Events that are delivered once more, because somebody asked for it. What a live event is owed, they are not: they
//! have what room is left, are never parked, and are given up sooner.

use std::time::Duration;

use staffetta_store::ReplayJob;

use super::flow::Flow;
use super::{Action, Item};

/// How often an event is tried.
pub(super) const TRIES: u32 = 12;
/// How often it is noted how far a replay has come, at most.
const NOTE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) id: i64,
    last: u64,
    pub(super) flow: Flow,
    /// How far it has come, as is noted.
    noted: u64,
    noting: Option<u64>,
    note_at: Duration,
}

impl Replay {
    pub(super) fn new(job: &ReplayJob) -> Self {
        let flow = Flow::new(job.next);
        Self { id: job.id, last: job.last, noted: flow.next(), flow, noting: None, note_at: Duration::ZERO }
    }

    /// A read has ended. Gives back what does not belong to the replay.
    pub(super) fn was_read(&mut self, items: &[Item], next: u64, more: bool) -> impl Iterator<Item = u64> {
        let end = self.last.saturating_add(1);
        // Where nothing is left to read, nothing that belongs to it will come.
        let next = if more { next.min(end) } else { end };
        self.flow.was_read(next, next < end);
        let mut beyond = Vec::new();
        for item in items {
            if item.sequence <= self.last {
                self.flow.push(item);
            } else {
                beyond.push(item.sequence);
            }
        }
        beyond.into_iter()
    }

    fn is_over(&self) -> bool {
        self.flow.is_empty() && self.flow.next() > self.last
    }

    /// What is to be noted now.
    pub(super) fn note(&mut self, now: Duration) -> Option<Action> {
        if self.noting.is_some() || self.note_at > now {
            return None;
        }
        let at = self.flow.cursor();
        let action = if self.is_over() {
            Action::EndReplay { id: self.id }
        } else if at > self.noted {
            Action::MoveReplay { id: self.id, next: at }
        } else {
            return None;
        };
        self.noting = Some(at);
        self.note_at = now + NOTE;
        Some(action)
    }

    /// When something is noted next, if there is anything.
    pub(super) fn note_at(&self) -> Option<Duration> {
        let news = self.is_over() || self.flow.cursor() > self.noted;
        (self.noting.is_none() && news).then_some(self.note_at)
    }

    /// It is noted. True if that was its end.
    pub(super) fn noted(&mut self) -> bool {
        let noted = self.noting.take();
        self.noted = noted.unwrap_or(self.noted);
        self.is_over() && noted.is_some_and(|noted| noted > self.last)
    }

    pub(super) fn not_noted(&mut self) {
        self.noting = None;
    }
}
