//! What the accepted sends of one channel tell, one by one.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, ensure};

use super::{
    commands::number_in,
    ends::End,
    provider::{Offset, Seen},
};

/// The gap that an end causes begins within this time after it.
const FOLLOWS_US: i64 = 5_000_000;
/// This share of the sends comes last, and may have waited for a doubt: there is no backlog any more.
const LAST: usize = 50;

/// Accepted sends in order of arrival.
#[derive(Debug)]
pub(super) struct Arrivals(Vec<Arrived>);

/// One accepted send.
#[derive(Clone, Debug)]
struct Arrived {
    /// On our clock.
    at_us: i64,
    to: String,
    /// Which command of the channel it is.
    number: usize,
}

/// A time without an accepted send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) from_us: i64,
    pub(super) to_us: i64,
}

impl Gap {
    pub(super) fn micros(self) -> i64 {
        self.to_us - self.from_us
    }
}

impl Arrivals {
    /// Fails when one is not what was published.
    pub(super) fn of(seen: Seen, clock: Offset) -> anyhow::Result<Self> {
        ensure!(seen.not_logged == 0, "the simulator's log was full");
        let arrived = seen.sends.into_iter().map(|send| {
            let number = send.text.as_deref().and_then(number_in);
            let number = number.context("a send that nobody asked for arrived")?;
            Ok(Arrived { at_us: clock.ours(send.at_us), to: send.to, number })
        });
        Ok(Self(arrived.collect::<anyhow::Result<_>>()?))
    }

    /// Different commands that arrived.
    pub(super) fn commands(&self) -> usize {
        self.0.iter().map(|arrived| arrived.number).collect::<HashSet<_>>().len()
    }

    /// When each arrived first, for the commands from this number on.
    pub(super) fn times_from(&self, number: usize) -> HashMap<usize, i64> {
        let mut times = HashMap::new();
        for arrived in self.0.iter().filter(|arrived| arrived.number >= number) {
            times.entry(arrived.number).or_insert(arrived.at_us);
        }
        times
    }

    /// Commands that arrived for the first time after a later one to the same recipient had arrived.
    pub(super) fn out_of_order(&self) -> usize {
        let (mut seen, mut newest) = (HashSet::new(), HashMap::<&str, usize>::new());
        let first = self.0.iter().filter(|arrived| seen.insert(arrived.number));
        first
            .filter(|arrived| {
                let newest = newest.entry(&arrived.to).or_insert(arrived.number);
                *newest = arrived.number.max(*newest);
                *newest > arrived.number
            })
            .count()
    }

    /// The longest time without a send around that end; `None` if nothing was sent after it.
    pub(super) fn gap_of(&self, end: End) -> Option<Gap> {
        let around = self.0.windows(2).filter_map(|pair| match pair {
            [one, next] if next.at_us > end.at_us && one.at_us < end.at_us + FOLLOWS_US => {
                Some(Gap { from_us: one.at_us, to_us: next.at_us })
            }
            _ => None,
        });
        around.max_by_key(|gap| gap.micros())
    }

    /// Sends a second from that moment until there was hardly a backlog any more, the gaps left out; 0 if too few
    /// arrived to tell.
    pub(super) fn rate_from(&self, from_us: i64, gaps: &[Gap]) -> f64 {
        let backlog = &self.0[..self.0.len() - self.0.len() / LAST];
        let steady = &backlog[backlog.partition_point(|arrived| arrived.at_us < from_us)..];
        let [first, .., last] = steady else { return 0.0 };
        let within = gaps.iter().filter(|gap| first.at_us <= gap.from_us && gap.to_us <= last.at_us);
        let idle: i64 = within.clone().map(|gap| gap.micros()).sum();
        // n sends have n - 1 spaces between them, and a gap is one.
        let spaces = steady.len() - 1 - within.count();
        spaces as f64 * 1e6 / (last.at_us - first.at_us - idle) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::{super::ends::How, *};

    /// At these milliseconds, to these, these numbers.
    fn arrivals(all: &[(i64, &str, usize)]) -> Arrivals {
        let arrived =
            all.iter().map(|&(at, to, number)| Arrived { at_us: at * 1_000, to: to.into(), number });
        Arrivals(arrived.collect())
    }

    #[test]
    fn order_counts_for_each_recipient_alone_and_copies_do_not_count() {
        let seen = arrivals(&[
            (0, "a", 0),
            (1, "b", 5),
            (2, "a", 4),
            (3, "a", 3),
            (4, "b", 5),
            (5, "a", 0),
            (6, "b", 9),
        ]);
        assert_eq!((seen.out_of_order(), seen.commands()), (1, 5));
        assert_eq!(seen.times_from(5), HashMap::from([(5, 1_000), (9, 6_000)]));
    }

    #[test]
    fn a_gap_is_left_out_of_the_rate() {
        // Ten a second, three seconds of nothing, ten a second.
        let times = (0..50).map(|n| n * 100).chain((0..50).map(|n| 7_900 + n * 100));
        let all: Vec<_> = times.enumerate().map(|(n, at)| (at, "a", n)).collect();
        let seen = arrivals(&all);
        let gap = seen.gap_of(End { how: How::Killed, at_us: 4_950_000 }).unwrap();
        assert_eq!(gap, Gap { from_us: 4_900_000, to_us: 7_900_000 });
        assert!((seen.rate_from(1_000_000, &[gap]) - 10.0).abs() < 1e-9);
        assert!(seen.rate_from(1_000_000, &[]) < 8.0);
        assert_eq!(seen.rate_from(60_000_000, &[]), 0.0);
        assert_eq!(seen.gap_of(End { how: How::Killed, at_us: 60_000_000 }), None);
    }
}
