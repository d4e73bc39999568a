//! The commands of one recipient, in order: first those in memory, then those that are being read again, then those
//! that are set aside.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Queued, Totals};

/// One recipient's commands. The first of them is its head.
#[derive(Default)]
pub(super) struct Recipient {
    head: Head,
    here: VecDeque<Queued>,
    /// The first of them is never here already: it would be with the others.
    coming: VecDeque<(u64, Coming)>,
    aside: VecDeque<u64>,
    /// Bytes of what is in memory.
    bytes: usize,
}

/// How the head stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Head {
    /// It may go.
    #[default]
    Free,
    /// It is on its way.
    Taken,
    /// It may go at this moment.
    Waits(Duration),
}

/// Where a command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Memory,
    Aside,
}

/// How far a command that was set aside has come on its way back.
enum Coming {
    Wanted,
    Asked,
    /// One before it has yet to come.
    Here(Box<Queued>),
}

/// What the lane knows of a recipient, all of it following from its commands.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) ready: Option<u64>,
    pub(super) parked: Option<(Duration, u64)>,
    pub(super) loaded: Option<(Duration, u64)>,
    pub(super) away: Option<u64>,
    pub(super) hungry: Option<u64>,
    pub(super) totals: Totals,
}

/// With fewer than that in memory or coming, more are read: one that goes and one that follows it.
const FEW: usize = 2;
/// Up to so many. No more than one goes at a time, and one that has to wait may be set aside again.
const AHEAD: usize = 4;

impl Recipient {
    pub(super) fn push(&mut self, queued: Queued, most: usize) -> Place {
        if self.is_all_here() && self.here.len() < most {
            self.bytes += queued.bytes();
            self.here.push_back(queued);
            Place::Memory
        } else {
            self.aside.push_back(queued.sequence());
            Place::Aside
        }
    }

    pub(super) fn take(&mut self) -> Option<Queued> {
        self.head = Head::Taken;
        self.here.front().cloned()
    }

    /// The next one is the head. Tells where this one stood; `None` if it is not the head.
    pub(super) fn done(&mut self, sequence: u64) -> Option<Place> {
        if self.first() != Some(sequence) {
            return None;
        }
        self.head = Head::Free;
        if let Some(queued) = self.here.pop_front() {
            self.bytes -= queued.bytes();
            return Some(Place::Memory);
        }
        if self.coming.pop_front().is_some() {
            self.close_ranks();
        } else {
            self.aside.pop_front();
        }
        Some(Place::Aside)
    }

    /// Changes how the head stands, if it still is the head.
    pub(super) fn head_is(&mut self, head: Head, sequence: u64) {
        if self.first() == Some(sequence) {
            self.head = head;
        }
    }

    /// Keeps no more than the numbers; gives those whose commands were in memory.
    pub(super) fn set_aside(&mut self) -> Vec<u64> {
        let here = std::mem::take(&mut self.here);
        let coming = std::mem::take(&mut self.coming);
        for (sequence, _) in coming.iter().rev() {
            self.aside.push_front(*sequence);
        }
        for queued in here.iter().rev() {
            self.aside.push_front(queued.sequence());
        }
        self.bytes = 0;
        let early = coming.iter().filter(|(_, coming)| matches!(coming, Coming::Here(_)));
        here.iter().map(Queued::sequence).chain(early.map(|(sequence, _)| *sequence)).collect()
    }

    /// At most `most` numbers to read, in order.
    pub(super) fn ask(&mut self, most: usize) -> Vec<u64> {
        while self.here.len() + self.coming.len() < AHEAD
            && let Some(sequence) = self.aside.pop_front()
        {
            self.coming.push_back((sequence, Coming::Wanted));
        }
        let wanted = self.coming.iter_mut().filter(|(_, coming)| matches!(coming, Coming::Wanted));
        let asked = wanted.take(most).map(|(sequence, coming)| {
            *coming = Coming::Asked;
            *sequence
        });
        asked.collect()
    }

    /// Whether it was expected.
    pub(super) fn returned(&mut self, queued: Queued) -> bool {
        let Some(index) = self.coming_index(queued.sequence()) else { return false };
        self.bytes += queued.bytes();
        self.coming[index].1 = Coming::Here(Box::new(queued));
        self.close_ranks();
        true
    }

    /// It does not come back.
    pub(super) fn lose(&mut self, sequence: u64) {
        if let Some(index) = self.coming_index(sequence) {
            self.coming.remove(index);
            self.close_ranks();
        }
    }

    pub(super) fn unread(&mut self, sequence: u64) {
        if let Some(index) = self.coming_index(sequence) {
            self.coming[index].1 = Coming::Wanted;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.here.is_empty() && self.is_all_here()
    }

    pub(super) fn standing(&self) -> Standing {
        let head = self.here.front().map(Queued::sequence);
        let early = self.coming.iter().filter(|(_, coming)| matches!(coming, Coming::Here(_))).count();
        let is_asked = self.coming.iter().any(|(_, coming)| matches!(coming, Coming::Asked));
        let away = self.coming.front().map(|(sequence, _)| *sequence).or(self.aside.front().copied());
        let (in_memory, aside) = (self.here.len() + early, self.coming.len() - early + self.aside.len());
        let mut standing = Standing { away, ..Standing::default() };
        standing.totals = Totals { bytes: self.bytes, aside, ..Totals::default() };
        match self.head {
            Head::Waits(until) => {
                standing.parked = self.first().map(|first| (until, first));
                standing.loaded = standing.parked.filter(|_| in_memory > 0 && !is_asked);
                standing.totals.waiting = in_memory;
                standing.totals.waiting_bytes = self.bytes;
            }
            head_is => {
                standing.ready = head.filter(|_| head_is == Head::Free);
                standing.hungry = away.filter(|_| self.is_short());
            }
        }
        standing
    }

    fn is_short(&self) -> bool {
        let few = self.here.len() + self.coming.len() < FEW;
        (few && !self.aside.is_empty())
            || self.coming.iter().any(|(_, coming)| matches!(coming, Coming::Wanted))
    }

    fn is_all_here(&self) -> bool {
        self.coming.is_empty() && self.aside.is_empty()
    }

    fn first(&self) -> Option<u64> {
        let here = self.here.front().map(Queued::sequence);
        here.or_else(|| self.coming.front().map(|(sequence, _)| *sequence)).or(self.aside.front().copied())
    }

    fn coming_index(&self, sequence: u64) -> Option<usize> {
        self.coming.iter().position(|(coming, _)| *coming == sequence)
    }

    /// Those that came join the ones in memory as soon as all before them have.
    fn close_ranks(&mut self) {
        while let Some((sequence, coming)) = self.coming.pop_front() {
            match coming {
                Coming::Here(queued) => self.here.push_back(*queued),
                coming => {
                    self.coming.push_front((sequence, coming));
                    break;
                }
            }
        }
    }
}
