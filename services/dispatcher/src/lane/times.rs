//! When the commands of a lane were stored, to the second: one note for all that were stored close together.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

/// How far apart two notes are at least.
const CLOSE: SignedDuration = SignedDuration::from_secs(1);

/// Numbers of the stream with the times at which they were stored, both growing.
#[derive(Debug, Default)]
pub(super) struct Times(VecDeque<(u64, Timestamp)>);

impl Times {
    /// The command with this number, the youngest so far, was stored then.
    pub(super) fn note(&mut self, sequence: u64, stored: Timestamp) {
        let is_new =
            self.0.back().is_none_or(|(last, at)| *last < sequence && stored.duration_since(*at) >= CLOSE);
        if is_new {
            self.0.push_back((sequence, stored));
        }
    }

    /// Nobody asks any more for what is below this number.
    pub(super) fn forget_below(&mut self, sequence: u64) {
        while self.0.get(1).is_some_and(|(next, _)| *next <= sequence) {
            self.0.pop_front();
        }
    }

    /// When the command with this number was stored, at most a second too early.
    pub(super) fn of(&self, sequence: u64) -> Option<Timestamp> {
        let after = self.0.partition_point(|(noted, _)| *noted <= sequence);
        self.0.get(after.checked_sub(1)?).map(|(_, stored)| *stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_commands_takes_one_note() {
        let at = |millis: i64| Timestamp::from_millisecond(1_790_000_000_000 + millis).unwrap();
        let mut times = Times::default();
        for number in 0..10_000_u64 {
            times.note(number + 10, at(i64::try_from(number).unwrap()));
        }
        assert_eq!(times.0.len(), 10);
        assert_eq!((times.of(9), times.of(10), times.of(2_509)), (None, Some(at(0)), Some(at(2_000))));
        times.forget_below(2_509);
        assert_eq!((times.0.len(), times.of(2_509), times.of(2_009)), (8, Some(at(2_000)), None));
        assert_eq!(times.of(99_999), Some(at(9_000)));
    }
}
