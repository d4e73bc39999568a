//! The rate of one channel: a log of the last sends and receipts, and a pace.
//!
//! A token bucket of 250 lets 500 messages into one second. The log lets none in that would be the 251st of any
//! second: a send may leave when fewer than the limit were written in the window before it. The pace spreads what is
//! not urgent evenly over the second, so that an urgent command never waits for the next one.
//!
//! All times are times since the machine started; the caller brings the clock.

use std::collections::VecDeque;
use std::time::Duration;

use staffetta_domain::Lane;
use staffetta_providers::cloud_api::{WriteStamp, Written};

/// A second, and what the way to the receiver may shift two requests against each other. Costs 0.6 % of the limit.
const WINDOW: Duration = Duration::from_millis(1_006);
/// How far the pace may lag behind and catch up: timers fire a little late.
const CATCH_UP: Duration = Duration::from_millis(25);

/// Decides when a channel may send.
#[derive(Debug)]
pub(crate) struct Governor {
    limit: usize,
    log: VecDeque<WriteStamp>,
    next_paced: Duration,
}

/// Whether a send may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Now.
    Now,
    /// Not before this moment; ask again then.
    At(Duration),
    /// When a request that was granted earlier has been written; ask again a little later.
    AfterWrite,
}

impl Governor {
    /// A governor for `limit` messages a second, with an empty log: it is the caller's care that nothing was sent in
    /// the second before.
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit: limit.max(1) as usize, log: VecDeque::new(), next_paced: Duration::ZERO }
    }

    /// Changes the limit. What was sent still counts.
    pub(crate) fn set_limit(&mut self, limit: u32) {
        self.limit = limit.max(1) as usize;
    }

    /// Whether a command of `lane` may leave at `now`.
    pub(crate) fn turn(&mut self, now: Duration, lane: Lane) -> Turn {
        if lane != Lane::Urgent && now < self.next_paced {
            return Turn::At(self.next_paced);
        }
        while let Some(front) = self.log.front() {
            match front.written() {
                Written::Never => {}
                Written::At(at) if at + WINDOW <= now => {}
                Written::At(at) if self.log.len() >= self.limit => return Turn::At(at + WINDOW),
                Written::Pending if self.log.len() >= self.limit => return Turn::AfterWrite,
                Written::At(_) | Written::Pending => break,
            }
            self.log.pop_front();
        }
        Turn::Now
    }

    /// Takes the turn that [`turn`](Self::turn) gave. The stamp must be marked or voided, whatever becomes of the send.
    pub(crate) fn take(&mut self, now: Duration, lane: Lane) -> WriteStamp {
        if lane != Lane::Urgent {
            self.next_paced = self.next_paced.max(now.saturating_sub(CATCH_UP)) + WINDOW / self.limit as u32;
        }
        let stamp = WriteStamp::default();
        self.log.push_back(stamp.clone());
        stamp
    }

    /// Counts a message that the channel received.
    pub(crate) fn received(&mut self, now: Duration) {
        let stamp = WriteStamp::default();
        stamp.mark(now);
        self.log.push_back(stamp);
        // Received ones can't be refused, so the log may grow past the limit; what is older than the window goes.
        while self.log.len() > self.limit
            && self.log.front().is_some_and(|front| match front.written() {
                Written::At(at) => at + WINDOW <= now,
                Written::Never => true,
                Written::Pending => false,
            })
        {
            self.log.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends as fast as it is allowed for `span`, each written `delay(n)` after its grant; gives back the times.
    fn run(
        governor: &mut Governor,
        span: Duration,
        lane: impl Fn(usize) -> Lane,
        delay: impl Fn(usize) -> Duration,
    ) -> Vec<Duration> {
        let step = Duration::from_micros(250);
        let (mut now, mut sent, mut waiting) = (Duration::from_secs(10), Vec::new(), Vec::new());
        let end = now + span;
        while now < end {
            waiting.retain(|(at, stamp): &(Duration, WriteStamp)| {
                if *at <= now {
                    stamp.mark(*at);
                }
                *at > now
            });
            while governor.turn(now, lane(sent.len())) == Turn::Now {
                let stamp = governor.take(now, lane(sent.len()));
                let at = now + delay(sent.len());
                if at <= now {
                    stamp.mark(at);
                } else {
                    waiting.push((at, stamp));
                }
                sent.push(at);
            }
            now += step;
        }
        sent.sort();
        sent
    }

    fn worst_second(times: &[Duration]) -> usize {
        let mut worst = 0;
        for (start, time) in times.iter().enumerate() {
            let end = times.partition_point(|other| *other < *time + Duration::from_secs(1));
            worst = worst.max(end - start);
        }
        worst
    }

    #[test]
    fn the_limit_holds_in_every_second_and_is_used() {
        for limit in [20_u32, 80, 250, 1000] {
            let mut governor = Governor::new(limit);
            let times = run(&mut governor, Duration::from_secs(20), |_| Lane::Bulk, |_| Duration::ZERO);
            assert!(worst_second(&times) <= limit as usize, "limit {limit}");
            assert!(times.len() as f64 >= 0.99 * f64::from(limit) * 20.0, "{} at limit {limit}", times.len());
        }
    }

    #[test]
    fn urgent_ones_have_no_pace_but_the_same_limit() {
        let mut governor = Governor::new(250);
        let times = run(&mut governor, Duration::from_secs(5), |_| Lane::Urgent, |_| Duration::ZERO);
        assert_eq!(times.iter().filter(|time| **time < Duration::from_secs(11)).count(), 250);
        assert!(worst_second(&times) <= 250);
    }

    #[test]
    fn what_is_written_late_counts_when_it_is_written() {
        let mut governor = Governor::new(100);
        // Every tenth request waits 300 ms for its connection.
        let delay = |n: usize| if n.is_multiple_of(10) { Duration::from_millis(300) } else { Duration::ZERO };
        let times = run(&mut governor, Duration::from_secs(10), |_| Lane::Normal, delay);
        assert!(worst_second(&times) <= 100, "{}", worst_second(&times));
    }

    #[test]
    fn received_messages_use_up_the_limit() {
        let mut governor = Governor::new(10);
        let now = Duration::from_secs(10);
        for _ in 0..10 {
            governor.received(now);
        }
        assert_eq!(governor.turn(now, Lane::Urgent), Turn::At(now + WINDOW));
        assert_eq!(governor.turn(now + WINDOW, Lane::Urgent), Turn::Now);
    }

    #[test]
    fn a_send_that_never_left_gives_its_place_back() {
        let mut governor = Governor::new(1);
        let now = Duration::from_secs(10);
        let stamp = governor.take(now, Lane::Urgent);
        assert_eq!(governor.turn(now, Lane::Urgent), Turn::AfterWrite);
        stamp.void();
        assert_eq!(governor.turn(now, Lane::Urgent), Turn::Now);
    }
}
