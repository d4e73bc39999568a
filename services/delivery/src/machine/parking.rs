//! Which events wait in the database, so that the others of their endpoint can go on.

use std::collections::BTreeSet;
use std::time::Duration;

/// Most events of one endpoint that are parked.
pub(crate) const MOST_PARKED: usize = 10_000;
/// Most of them that are written at a time.
const BATCH: usize = 500;
/// Pause before a write that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Parking {
    /// Those of which the database has a row.
    parked: BTreeSet<u64>,
    /// Those that are to get one, or another one.
    wanted: BTreeSet<u64>,
    /// Those whose rows are being written.
    writing: BTreeSet<u64>,
    /// Those whose rows are not needed any more.
    done: BTreeSet<u64>,
    removing: BTreeSet<u64>,
    write_at: Duration,
    remove_at: Duration,
}

impl Parking {
    /// It is parked, as the database says.
    pub(super) fn restore(&mut self, sequence: u64) {
        self.parked.insert(sequence);
    }

    pub(super) fn is_parked(&self, sequence: u64) -> bool {
        self.parked.contains(&sequence)
    }

    /// Whether it has a row, or is to get one.
    pub(super) fn is_or_will_be(&self, sequence: u64) -> bool {
        self.is_parked(sequence) || self.wanted.contains(&sequence) || self.writing.contains(&sequence)
    }

    /// How many have a row.
    pub(super) fn count(&self) -> usize {
        self.parked.len()
    }

    /// Whether no more can be parked.
    pub(super) fn is_full(&self) -> bool {
        self.parked.len() + self.wanted.len() >= MOST_PARKED
    }

    /// Its row is to be written, if there is room for it.
    pub(super) fn want(&mut self, sequence: u64) {
        if self.is_parked(sequence) || !self.is_full() {
            self.wanted.insert(sequence);
        }
    }

    /// The event is settled: its row is not needed any more.
    pub(super) fn settled(&mut self, sequence: u64) {
        self.wanted.remove(&sequence);
        // While it is being written, it can't be removed.
        if self.parked.remove(&sequence) && !self.writing.contains(&sequence) {
            self.done.insert(sequence);
        }
    }

    /// The rows to write now, if there are any.
    pub(super) fn write(&mut self, now: Duration) -> Option<&BTreeSet<u64>> {
        if self.wanted.is_empty() || !self.writing.is_empty() || self.write_at > now {
            return None;
        }
        while self.writing.len() < BATCH
            && let Some(sequence) = self.wanted.pop_first()
        {
            self.writing.insert(sequence);
        }
        Some(&self.writing)
    }

    /// They are written. Gives back them all, to find out which were settled meanwhile.
    pub(super) fn written(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.writing)
    }

    /// A row was written of an event that still needs it, or does not.
    pub(super) fn has_row(&mut self, sequence: u64, needed: Needed) {
        match needed {
            Needed::Yes => drop(self.parked.insert(sequence)),
            Needed::No => drop(self.done.insert(sequence)),
        }
    }

    /// Nobody knows whether they are written. Gives back them all, to find out which were settled meanwhile.
    pub(super) fn not_written(&mut self, now: Duration) -> BTreeSet<u64> {
        self.write_at = now + AGAIN;
        std::mem::take(&mut self.writing)
    }

    /// Another try of a row that may not be written.
    pub(super) fn again(&mut self, sequence: u64) {
        self.wanted.insert(sequence);
    }

    /// The rows to remove now, if there are any.
    pub(super) fn remove(&mut self, now: Duration) -> Option<Vec<u64>> {
        if self.done.is_empty() || !self.removing.is_empty() || self.remove_at > now {
            return None;
        }
        while self.removing.len() < BATCH
            && let Some(sequence) = self.done.pop_first()
        {
            self.removing.insert(sequence);
        }
        Some(self.removing.iter().copied().collect())
    }

    pub(super) fn removed(&mut self) {
        self.removing.clear();
    }

    pub(super) fn not_removed(&mut self, now: Duration) {
        self.remove_at = now + AGAIN;
        self.done.append(&mut self.removing);
    }

    /// When something that failed is tried again.
    pub(super) fn again_at(&self, now: Duration) -> Option<Duration> {
        let write = (!self.wanted.is_empty() && self.writing.is_empty()).then_some(self.write_at);
        let remove = (!self.done.is_empty() && self.removing.is_empty()).then_some(self.remove_at);
        [write, remove].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Whether nothing is left to be written or removed.
    pub(super) fn is_idle(&self) -> bool {
        self.wanted.is_empty() && self.writing.is_empty() && self.done.is_empty() && self.removing.is_empty()
    }
}

/// Whether an event's row is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needed {
    Yes,
    No,
}
