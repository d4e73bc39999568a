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

/// What the limit counts in.
const SECOND: Duration = Duration::from_secs(1);
/// How long a send counts beyond its second at least: 0.2 % of the limit.
const SURE: Duration = Duration::from_millis(2);
/// How long a send counts beyond its second when nothing is known of its way.
const UNKNOWN: Duration = Duration::from_millis(8);
/// What lateness may cost on average, for each send: 0.4 % of the limit.
const LATE_ON_AVERAGE: Duration = Duration::from_millis(4);
/// What lateness may cost at once.
const LATE_AT_MOST: Duration = Duration::from_millis(150);
/// How far the pace may lag behind and catch up.
const CATCH_UP: Duration = Duration::from_millis(100);

/// How long to wait, at least and at most, for a request that was granted and is not written yet.
const UNWRITTEN: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// Decides when a channel may send.
#[derive(Debug)]
pub(crate) struct Governor {
    limit: usize,
    /// When each was granted, and when it was written.
    log: VecDeque<(Duration, WriteStamp)>,
    next_paced: Duration,
    way: Way,
}

/// What is known of the way to the receiver, who counts when a request arrives, somewhere between its writing and its
/// answer. One that was late counts longer: as long as its answer took more than the quickest ones do. A provider
/// that takes its time for every answer would make that dear, so it has a bound on average.
#[derive(Debug)]
struct Way {
    quickest: Option<Duration>,
    allowance: Duration,
}

impl Way {
    /// How much later than the quickest this one may have arrived.
    fn late(&self, stamp: &WriteStamp) -> Option<Duration> {
        Some(took(stamp)?.saturating_sub(self.quickest?))
    }

    /// How long it counts beyond its second.
    fn extra(&self, stamp: &WriteStamp) -> Duration {
        self.late(stamp).map_or(UNKNOWN, |late| SURE + late.min(self.allowance))
    }

    /// Takes note of one that counts no more.
    fn learn(&mut self, stamp: &WriteStamp) {
        let spent = self.late(stamp).unwrap_or_default().min(self.allowance);
        self.allowance = (self.allowance - spent + LATE_ON_AVERAGE).min(LATE_AT_MOST);
        if let Some(took) = took(stamp) {
            // What was quickest long ago may not be any more.
            self.quickest =
                Some(self.quickest.map_or(took, |quickest| took.min(quickest + quickest / 1_000)));
        }
    }
}

/// From a request to its answer.
fn took(stamp: &WriteStamp) -> Option<Duration> {
    match stamp.written() {
        Written::At(written) => Some(stamp.answered()?.saturating_sub(written)),
        Written::Pending | Written::Never => None,
    }
}

/// Whether a send may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Now.
    Now,
    /// Not before this moment; ask again then.
    At(Duration),
}

impl Governor {
    /// A governor for `limit` messages a second, with an empty log: it is the caller's care that nothing was sent in
    /// the second before.
    pub(crate) fn new(limit: u32) -> Self {
        let way = Way { quickest: None, allowance: LATE_AT_MOST };
        Self { limit: limit.max(1) as usize, log: VecDeque::new(), next_paced: Duration::ZERO, way }
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
        self.forget(now);
        if self.log.len() < self.limit {
            return Turn::Now;
        }
        let granted = self.log.front().map_or(now, |(granted, _)| *granted);
        match self.next_place(now) {
            Some(at) => Turn::At(at),
            // All wait to be written. The longer the first one has, the less often it is looked at.
            None => Turn::At(now + (now.saturating_sub(granted) / 4).clamp(UNWRITTEN.0, UNWRITTEN.1)),
        }
    }

    /// Takes the turn that [`turn`](Self::turn) gave. The stamp must be marked or voided, whatever becomes of the send.
    pub(crate) fn take(&mut self, now: Duration, lane: Lane) -> WriteStamp {
        if lane != Lane::Urgent {
            self.next_paced =
                self.next_paced.max(now.saturating_sub(CATCH_UP)) + (SECOND + SURE) / self.limit as u32;
        }
        let stamp = WriteStamp::default();
        self.log.push_back((now, stamp.clone()));
        stamp
    }

    /// Counts a message that the channel received. It can't be refused, so the log may grow past the limit.
    pub(crate) fn received(&mut self, now: Duration) {
        self.forget(now);
        let stamp = WriteStamp::default();
        stamp.mark(now);
        self.log.push_back((now, stamp));
    }

    /// Whether nothing that counts is left: a new governor would decide alike.
    pub(crate) fn is_idle(&mut self, now: Duration) -> bool {
        self.forget(now);
        self.log.is_empty() && self.next_paced <= now
    }

    /// Drops what lies before the window, or was never written.
    fn forget(&mut self, now: Duration) {
        if self.way.quickest.is_none() {
            self.way.quickest = self.log.iter().filter_map(|(_, stamp)| took(stamp)).min();
        }
        // In the order of their grants, and so nearly in that of their writing: one that counts longer keeps its place
        // and holds up nobody behind it.
        let mut index = 0;
        while let Some((_, stamp)) = self.log.get(index) {
            match stamp.written() {
                Written::At(at) if at + SECOND > now => return,
                Written::At(at) if at + SECOND + self.way.extra(stamp) <= now => self.way.learn(stamp),
                Written::Never => {}
                Written::At(_) | Written::Pending => {
                    index += 1;
                    continue;
                }
            }
            self.log.remove(index);
        }
    }

    /// When one of those that count stops counting; `None` if that can't be told yet.
    fn next_place(&self, now: Duration) -> Option<Duration> {
        let mut earliest = Duration::MAX;
        for (_, stamp) in &self.log {
            let Written::At(at) = stamp.written() else { continue };
            earliest = earliest.min(at + SECOND + self.way.extra(stamp));
            if at + SECOND > now {
                // Those behind it were written later, and end later than the earliest up to here.
                break;
            }
        }
        (earliest < Duration::MAX).then_some(earliest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a received message counts.
    const WINDOW: Duration = SECOND.saturating_add(UNKNOWN);

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

    /// Sends in bulk for 20 seconds; each arrives and is answered as `way(n)` says after it was written. Gives back
    /// the arrivals.
    fn run_way(limit: u32, way: impl Fn(usize) -> (Duration, Duration)) -> Vec<Duration> {
        let mut governor = Governor::new(limit);
        let (mut now, mut arrivals, mut answers) = (Duration::from_secs(10), Vec::new(), Vec::new());
        while now < Duration::from_secs(30) {
            answers.retain(|(at, stamp): &(Duration, WriteStamp)| {
                if *at <= now {
                    stamp.answer(*at);
                }
                *at > now
            });
            while governor.turn(now, Lane::Bulk) == Turn::Now {
                let stamp = governor.take(now, Lane::Bulk);
                stamp.mark(now);
                let (arrives, answered) = way(arrivals.len());
                arrivals.push(now + arrives);
                answers.push((now + answered, stamp));
            }
            now += Duration::from_micros(250);
        }
        arrivals.sort();
        arrivals
    }

    #[test]
    fn one_that_was_late_counts_longer() {
        let (short, long) = (Duration::from_micros(500), Duration::from_millis(70));
        for limit in [50_u32, 250] {
            // Whatever holds one up holds up its answer.
            let way = |n: usize| if n % 97 == 13 { (long, long + short) } else { (short, short * 2) };
            let arrivals = run_way(limit, way);
            assert!(worst_second(&arrivals) <= limit as usize, "{} at {limit}", worst_second(&arrivals));
            assert!(arrivals.len() as f64 >= 0.99 * f64::from(limit) * 20.0, "{} at {limit}", arrivals.len());
        }
    }

    #[test]
    fn a_provider_that_takes_its_time_costs_little() {
        let way =
            |n: usize| (Duration::from_micros(500), Duration::from_millis(20 + (n as u64 * 7_919) % 180));
        let arrivals = run_way(250, way);
        assert!(worst_second(&arrivals) <= 250);
        assert!(arrivals.len() >= 4_950, "{}", arrivals.len());
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
        assert!(governor.is_idle(now + WINDOW));
    }

    #[test]
    fn a_lower_limit_counts_what_was_sent_under_the_higher_one() {
        let mut governor = Governor::new(250);
        let before = run(&mut governor, Duration::from_secs(2), |_| Lane::Urgent, |_| Duration::ZERO);
        governor.set_limit(20);
        let now = Duration::from_secs(12);
        let last = *before.last().unwrap();
        let Turn::At(mut at) = governor.turn(now, Lane::Urgent) else { panic!("no turn yet") };
        while let Turn::At(next) = governor.turn(at, Lane::Urgent) {
            assert!(next > at);
            at = next;
        }
        let still_counted = before.iter().filter(|sent| **sent + WINDOW > at).count();
        assert!(still_counted < 20 && at <= last + WINDOW, "{still_counted} at {at:?}");
    }

    #[test]
    fn a_send_that_never_left_gives_its_place_back() {
        let mut governor = Governor::new(1);
        let now = Duration::from_secs(10);
        let stamp = governor.take(now, Lane::Urgent);
        assert_eq!(governor.turn(now, Lane::Urgent), Turn::At(now + UNWRITTEN.0));
        let later = now + Duration::from_secs(5);
        assert_eq!(governor.turn(later, Lane::Urgent), Turn::At(later + UNWRITTEN.1));
        stamp.void();
        assert_eq!(governor.turn(now, Lane::Urgent), Turn::Now);
    }
}
