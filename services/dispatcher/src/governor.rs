//! The rate of one channel: a log of the last sends and receipts, and a pace.
//!
//! A token bucket of 250 lets 500 messages into one second. The log lets none in that would be the 251st of any
//! second: a send may leave when fewer than the limit were written in the window before it. What the channel received
//! takes its share of the limit, also what is not known yet ([`inbound`]). The pace spreads what is not urgent evenly
//! over what is left of the second, so that an urgent command never waits for the next one.
//!
//! All times are times since the machine started; the caller brings the clock.

#[cfg(test)]
mod dice;
mod inbound;
#[cfg(test)]
mod simulation;
mod throttle;
mod way;

use std::collections::VecDeque;
use std::time::Duration;

use staffetta_domain::Lane;
use staffetta_providers::cloud_api::{WriteStamp, Written};

#[cfg(test)]
pub(crate) use dice::Dice;
use inbound::Inbound;
use throttle::Throttle;
use way::{SURE, UNKNOWN, Way};

/// What the limit counts in.
const SECOND: Duration = Duration::from_secs(1);
/// How far the pace may lag behind and catch up at once. What it lags more is made up for little by little: a bunch
/// would come back each second, and so would the gap before it, in which an urgent command finds no place.
const CATCH_UP: Duration = Duration::from_millis(25);
/// The time between two sends while there are places that the pace left unused, in parts of what it is otherwise.
const HURRY: f64 = 0.97;

/// How long to wait, at least and at most, for a request that was granted and is not written yet.
const UNWRITTEN: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// Decides when a channel may send.
#[derive(Debug)]
pub(crate) struct Governor {
    limit: usize,
    /// When each was granted, and when it was written.
    log: VecDeque<(Duration, WriteStamp)>,
    inbound: Inbound,
    throttle: Throttle,
    next_paced: Duration,
    way: Way,
}

/// How old the messages are that count in a channel's rate, in milliseconds, rounded down: what is taken for younger
/// counts longer.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Ages {
    pub(crate) sent: Vec<u32>,
    pub(crate) received: Vec<u32>,
    /// How many messages a second the provider grants, if it has said so.
    pub(crate) granted: Option<u32>,
}

impl Ages {
    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.received.is_empty()
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
    /// the second before, or is told by [`take_over`](Self::take_over).
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            limit: limit.max(1) as usize,
            log: VecDeque::new(),
            inbound: Inbound::default(),
            throttle: Throttle::default(),
            next_paced: Duration::ZERO,
            way: Way::default(),
        }
    }

    /// Changes the limit. What was sent still counts.
    pub(crate) fn set_limit(&mut self, limit: u32) {
        self.limit = limit.max(1) as usize;
    }

    /// What it allows at `now`, received messages included: less than the limit after the provider said that it was
    /// too much.
    pub(crate) fn limit_now(&self, now: Duration) -> u32 {
        u32::try_from(self.throttle.allows(self.limit, now)).unwrap_or(u32::MAX)
    }

    /// How many messages of the last second count in the limit, sent and received; what was granted and is not written
    /// counts as sent.
    pub(crate) fn used(&self, now: Duration) -> u32 {
        let counts = |stamp: &WriteStamp| match stamp.written() {
            Written::At(at) => at + SECOND > now,
            Written::Pending => true,
            Written::Never => false,
        };
        let sent = self.log.iter().filter(|(_, stamp)| counts(stamp)).count();
        let received = self.inbound.counting(now).filter(|at| *at + SECOND > now).count();
        u32::try_from(sent + received).unwrap_or(u32::MAX)
    }

    /// Whether a command of `lane` may leave at `now`.
    pub(crate) fn turn(&mut self, now: Duration, lane: Lane) -> Turn {
        if lane != Lane::Urgent && now < self.next_paced {
            return Turn::At(self.next_paced);
        }
        self.forget(now);
        let room = self.room(now);
        if self.log.len() < room {
            return Turn::Now;
        }
        let place = self.next_place(now);
        let at = match (place, self.inbound.next_change(now)) {
            (Some(place), Some(change)) => place.min(change),
            (Some(at), None) | (None, Some(at)) => at,
            // All wait to be written. The longer the first one has, the less often it is looked at.
            (None, None) => {
                let granted = self.log.front().map_or(now, |(granted, _)| *granted);
                now + (now.saturating_sub(granted) / 4).clamp(UNWRITTEN.0, UNWRITTEN.1)
            }
        };
        Turn::At(at)
    }

    /// Takes the turn that [`turn`](Self::turn) gave. The stamp must be marked or voided, whatever becomes of the send.
    pub(crate) fn take(&mut self, now: Duration, lane: Lane) -> WriteStamp {
        if lane != Lane::Urgent {
            let room = self.room(now);
            let mut step = (SECOND + SURE).div_f64(room.max(1) as f64);
            // In its first second it has left nothing unused.
            let began = self.log.front().is_none_or(|(granted, _)| *granted + SECOND > now);
            if !began && self.log.len() + 1 < room {
                step = step.mul_f64(HURRY);
            }
            self.next_paced = self.next_paced.max(now.saturating_sub(CATCH_UP)) + step;
        }
        let stamp = WriteStamp::default();
        self.log.push_back((now, stamp.clone()));
        stamp
    }

    /// Counts a message that the channel received: it reached us at `arrived`, and that is known since `now`. It can't
    /// be refused, so it may be one more than the limit. One that is older than a second counts no more.
    pub(crate) fn received(&mut self, arrived: Duration, now: Duration) {
        self.inbound.received(arrived, now, self.limit);
    }

    /// The provider said that it was too much: less is sent from now on, until it has been content for a while.
    pub(crate) fn throttled(&mut self, now: Duration) {
        self.throttle.refused(self.limit, now);
    }

    /// Whether nothing that counts is left: a new governor would decide alike.
    pub(crate) fn is_idle(&mut self, now: Duration) -> bool {
        self.forget(now);
        self.log.is_empty()
            && self.next_paced <= now
            && self.inbound.is_idle(now)
            && self.throttle.allows(self.limit, now) == self.limit
    }

    /// The ages of all that counts, for the owner after this one. What was granted and is not written counts as new.
    pub(crate) fn handover(&mut self, now: Duration) -> Ages {
        self.forget(now);
        let sent = self.log.iter().filter_map(|(_, stamp)| match stamp.written() {
            Written::At(at) => Some(at),
            Written::Pending => Some(now),
            Written::Never => None,
        });
        let age = |at: Duration| u32::try_from(now.saturating_sub(at).as_millis()).unwrap_or(u32::MAX);
        let received = self.inbound.counting(now).map(age).collect();
        Ages { sent: sent.map(age).collect(), received, granted: None }
    }

    /// Counts what the owner before [handed over](Self::handover), as if it had been that old at `now`.
    pub(crate) fn take_over(&mut self, ages: &Ages, now: Duration) {
        let at = |age: &u32| now.saturating_sub(Duration::from_millis(u64::from(*age)));
        let mut received: Vec<Duration> = ages.received.iter().map(at).collect();
        received.sort_unstable();
        for arrived in received {
            // How late the other one knew of them says nothing of us.
            self.inbound.received(arrived, arrived, self.limit);
        }
        for age in &ages.sent {
            let at = at(age);
            let stamp = WriteStamp::default();
            stamp.mark(at);
            self.log.push_back((at, stamp));
        }
        self.log.make_contiguous().sort_by_key(|(granted, _)| *granted);
    }

    /// How many sends may be in one second.
    fn room(&mut self, now: Duration) -> usize {
        let allowed = self.throttle.allows(self.limit, now);
        let log = &self.log;
        // Good enough for a look ahead: by their grants.
        let ended = |at: Duration| log.partition_point(|(granted, _)| *granted + SECOND + UNKNOWN <= at);
        allowed.saturating_sub(self.inbound.share(allowed, now, ended))
    }

    /// Drops what lies before the window, or was never written.
    fn forget(&mut self, now: Duration) {
        self.way.begin(self.log.iter().map(|(_, stamp)| stamp));
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
            governor.received(now, now);
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
