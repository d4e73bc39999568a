//! What Meta counts: messages a second per number, messages per pair, the customer service window.
//!
//! All times are microseconds since the simulator started.

use std::collections::{HashMap, VecDeque};

use crate::options::{PairLimit, WindowState, Windows};

/// One second.
pub(crate) const SECOND_US: u64 = 1_000_000;

/// Beyond this many users the oldest knowledge that no longer matters is dropped.
const USERS_BEFORE_PRUNING: usize = 100_000;

/// The messages of the last second, inbound and outbound together.
#[derive(Debug, Default)]
pub(crate) struct Throughput {
    times: VecDeque<u64>,
}

impl Throughput {
    /// Counts one message if that keeps the sliding second that ends with it within `limit`.
    pub(crate) fn admit(&mut self, at: u64, limit: usize) -> bool {
        self.forget_before(at);
        let past = self.times.partition_point(|&time| time + SECOND_US <= at);
        if self.times.len() - past >= limit {
            return false;
        }
        self.insert(at);
        true
    }

    /// Counts one message that can't be refused.
    pub(crate) fn record(&mut self, at: u64) {
        self.forget_before(at);
        self.insert(at);
    }

    fn forget_before(&mut self, at: u64) {
        // Bodies that are read side by side can swap places, so a little more than a second is kept.
        while self.times.front().is_some_and(|&time| time + 2 * SECOND_US <= at) {
            self.times.pop_front();
        }
    }

    fn insert(&mut self, at: u64) {
        let place = self.times.iter().rev().take_while(|&&time| time > at).count();
        self.times.insert(self.times.len() - place, at);
    }
}

/// How far each user's credit is used up: the time at which it would be whole again.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    whole_at: HashMap<Box<str>, u64>,
    prune_at: usize,
}

impl Pairs {
    /// Counts one message to `user` if their credit has room for it.
    pub(crate) fn admit(&mut self, user: &str, at: u64, limit: PairLimit) -> bool {
        let interval = limit.interval_ms.saturating_mul(1000);
        let credit = interval.saturating_mul(u64::from(limit.burst.get() - 1));
        let whole_at = self.whole_at.get(user).copied().unwrap_or(0).max(at);
        if whole_at - at > credit {
            return false;
        }
        let next = whole_at.saturating_add(interval);
        if let Some(known) = self.whole_at.get_mut(user) {
            *known = next;
        } else {
            if self.whole_at.len() >= self.prune_at.max(USERS_BEFORE_PRUNING) {
                self.whole_at.retain(|_, whole_at| *whole_at > at);
                self.prune_at = self.whole_at.len() * 2;
            }
            self.whole_at.insert(user.into(), next);
        }
        true
    }
}

/// When each user last wrote.
#[derive(Debug, Default)]
pub(crate) struct UserWindows {
    wrote_at: HashMap<Box<str>, u64>,
    prune_at: usize,
}

impl UserWindows {
    /// The user wrote: their window is open from now on.
    pub(crate) fn open(&mut self, user: &str, at: u64, windows: Windows) {
        if self.wrote_at.len() >= self.prune_at.max(USERS_BEFORE_PRUNING) {
            let length = windows.length_ms.saturating_mul(1000);
            self.wrote_at.retain(|_, wrote_at| at.saturating_sub(*wrote_at) < length);
            self.prune_at = self.wrote_at.len() * 2;
        }
        self.wrote_at.insert(user.into(), at);
    }

    /// Whether a free-form message may go to the user.
    pub(crate) fn state(&self, user: &str, at: u64, windows: Windows) -> WindowState {
        match self.wrote_at.get(user) {
            None => windows.initially,
            Some(&wrote_at) if at.saturating_sub(wrote_at) < windows.length_ms.saturating_mul(1000) => {
                WindowState::Open
            }
            Some(_) => WindowState::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::options::WindowMode;

    #[test]
    fn a_second_slides_and_holds_no_more_than_the_limit() {
        let mut window = Throughput::default();
        assert!(window.admit(0, 2));
        assert!(window.admit(400_000, 2));
        assert!(!window.admit(999_999, 2), "the first is still inside");
        assert!(window.admit(1_000_000, 2), "exactly a second later the first is outside");
        assert!(!window.admit(1_399_999, 2));
        assert!(window.admit(1_400_000, 2));
    }

    #[test]
    fn inbound_messages_use_the_same_second() {
        let mut window = Throughput::default();
        window.record(10);
        window.record(20);
        assert!(!window.admit(30, 2));
        window.record(40);
        assert!(window.admit(1_000_020, 2), "only the one at 40 is left");
        assert!(!window.admit(1_000_021, 2));
    }

    #[test]
    fn arrivals_that_swapped_places_are_counted_where_they_belong() {
        let mut window = Throughput::default();
        assert!(window.admit(500, 3));
        assert!(window.admit(300, 3));
        assert!(window.admit(400, 3));
        assert!(!window.admit(1_000_299, 3));
        assert!(window.admit(1_000_300, 3));
        assert!(!window.admit(1_000_399, 3));
    }

    #[test]
    fn a_pair_has_a_burst_and_then_one_each_interval() {
        let limit = PairLimit { burst: NonZeroU32::new(3).unwrap(), interval_ms: 6_000 };
        let mut pairs = Pairs::default();
        for _ in 0..3 {
            assert!(pairs.admit("39", 0, limit));
        }
        assert!(!pairs.admit("39", 0, limit));
        assert!(pairs.admit("40", 0, limit), "other users have their own credit");
        assert!(!pairs.admit("39", 5_999_999, limit));
        assert!(pairs.admit("39", 6_000_000, limit));
        assert!(!pairs.admit("39", 6_000_000, limit));
        assert!(pairs.admit("39", 60_000_000, limit));
    }

    #[test]
    fn a_window_opens_with_a_message_and_closes_later() {
        let windows = Windows { mode: WindowMode::Sync, initially: WindowState::Closed, length_ms: 1_000 };
        let mut users = UserWindows::default();
        assert_eq!(users.state("39", 0, windows), WindowState::Closed);
        users.open("39", 0, windows);
        assert_eq!(users.state("39", 999_999, windows), WindowState::Open);
        assert_eq!(users.state("39", 1_000_000, windows), WindowState::Closed);
    }
}
