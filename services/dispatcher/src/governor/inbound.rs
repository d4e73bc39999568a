//! What a channel receives, which takes its share of the limit: known late, and not for us to refuse.

use std::collections::VecDeque;
use std::time::Duration;

use super::SECOND;
use super::way::UNKNOWN;

/// Longer than anything that counts.
const KEPT: Duration = Duration::from_millis(1_500);
/// How long the fullest and the emptiest second are remembered: this many of these.
const SPELLS: usize = 15;
const SPELL: Duration = Duration::from_secs(1);
/// How much the fullest and the emptiest second may differ for the stream to be steady.
const STEADY: usize = 3;
/// From here on arrivals come by chance: see [`Inbound::chance`].
const BY_CHANCE: f64 = 0.5;
/// How many standard deviations chance may bring: more come once in 100,000 times.
const SURENESS: f64 = 4.2;
/// The moments ahead, in milliseconds, at which the limit must hold with what chance may bring until then.
const AHEAD: [u64; 8] = [0, 20, 50, 100, 200, 350, 500, 700];
/// How many arrivals the first guess counts for, which is chance.
const FIRST: usize = 16;
/// What is on its way to us counts at the provider already.
const ON_THE_WAY: Duration = Duration::from_millis(2);

/// The messages that a channel received.
///
/// A stream that is steady takes the fullest second of late, known in advance. One that comes by chance takes what is
/// known, what must have come since, and what chance may bring before enough of what counts now stops counting.
#[derive(Debug)]
pub(super) struct Inbound {
    /// When they arrived, in order.
    arrivals: VecDeque<Duration>,
    /// How late they become known, and how far out of order: the most of late.
    delay: Duration,
    disorder: Duration,
    /// Everything up to here was looked at.
    reviewed: Duration,
    spells: VecDeque<Spell>,
    /// The queue that would be if arrivals were worked off at the rate of the limit.
    queue: f64,
    /// How long that queue is on average, compared with that of arrivals by chance: 0 for an even stream.
    chance: f64,
    /// How many arrivals that average is of.
    seen: usize,
}

/// The fullest and the emptiest second that ended within a while, as seen at the arrivals.
#[derive(Clone, Copy, Debug)]
struct Spell {
    since: Duration,
    most: usize,
    least: usize,
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            arrivals: VecDeque::new(),
            delay: Duration::ZERO,
            disorder: Duration::ZERO,
            reviewed: Duration::ZERO,
            spells: VecDeque::new(),
            queue: 0.0,
            chance: 1.0,
            seen: FIRST,
        }
    }
}

impl Inbound {
    /// Counts a message that arrived at `arrived` and is known since `now`.
    pub(super) fn received(&mut self, arrived: Duration, now: Duration, limit: usize) {
        let arrived = arrived.min(now);
        if arrived + SECOND <= now {
            return;
        }
        self.delay = (self.delay - self.delay / 256).max(now - arrived);
        self.disorder -= self.disorder / 256;
        match self.arrivals.back() {
            Some(last) if *last > arrived => {
                self.disorder = self.disorder.max(*last - arrived);
                let place = self.arrivals.partition_point(|other| *other <= arrived);
                self.arrivals.insert(place, arrived);
            }
            _ => self.arrivals.push_back(arrived),
        }
        while self.arrivals.len() > 4 * limit.max(64)
            || self.arrivals.front().is_some_and(|first| *first + KEPT <= now)
        {
            self.arrivals.pop_front();
        }
        self.review(self.known_until(now), limit);
    }

    /// How many of `limit` messages a second are to be left to what is received, beside the sends of the last second, of
    /// which so many as `ended` tells count no more at a moment.
    pub(super) fn share(&mut self, limit: usize, now: Duration, ended: impl Fn(Duration) -> usize) -> usize {
        while self.spells.front().is_some_and(|spell| spell.since + SPELL * SPELLS as u32 <= now) {
            self.spells.pop_front();
        }
        if self.spells.is_empty() && self.is_idle(now) {
            return 0;
        }
        let until = self.known_until(now);
        let rate = self.between(until.saturating_sub(SECOND), until) as f64;
        let unknown = (now + ON_THE_WAY).saturating_sub(until).as_secs_f64();
        let after = self.between(until, now);
        let expected = after.max((rate * unknown).round() as usize);
        let counted = self.between(now.saturating_sub(SECOND), until) + expected;
        if let Some(steady) = self.steady(counted) {
            return steady;
        }
        let dearest = (limit as f64 - rate).max(0.0) / 2.0;
        let most = AHEAD.iter().map(|ahead| {
            let ahead = Duration::from_millis(*ahead);
            let known = self.between((now + ahead).saturating_sub(SECOND + UNKNOWN), until);
            let expected = (after as f64).max(rate * unknown) + rate * ahead.as_secs_f64();
            let by_chance = (self.chance.sqrt() * excess(expected)).min(dearest);
            (known + (expected + by_chance).round() as usize).saturating_sub(ended(now + ahead))
        });
        most.max().unwrap_or(counted)
    }

    /// When less may be left to them.
    pub(super) fn next_change(&self, now: Duration) -> Option<Duration> {
        let first = self.arrivals.partition_point(|arrived| *arrived + SECOND + UNKNOWN <= now);
        let expires = self.arrivals.get(first).map(|arrived| *arrived + SECOND + UNKNOWN);
        expires.or_else(|| self.spells.front().map(|spell| spell.since + SPELL * SPELLS as u32))
    }

    /// Whether none counts any more.
    pub(super) fn is_idle(&self, now: Duration) -> bool {
        self.arrivals.back().is_none_or(|last| *last + SECOND + UNKNOWN <= now)
    }

    /// When those that count arrived.
    pub(super) fn counting(&self, now: Duration) -> impl Iterator<Item = Duration> {
        let first = self.arrivals.partition_point(|arrived| *arrived + SECOND + UNKNOWN <= now);
        self.arrivals.range(first..).copied()
    }

    /// Up to when all arrivals are known, as far as can be told.
    fn known_until(&self, now: Duration) -> Duration {
        let last = self.arrivals.back().copied().unwrap_or_default();
        last.saturating_sub(self.disorder).max(now.saturating_sub(self.delay))
    }

    /// How many arrived after `from` and not after `until`.
    fn between(&self, from: Duration, until: Duration) -> usize {
        let up_to = |end: Duration| self.arrivals.partition_point(|arrived| *arrived <= end);
        up_to(until).saturating_sub(up_to(from))
    }

    /// The fullest second of late, if the stream is steady and goes on: `counted` is how full this one is.
    fn steady(&self, counted: usize) -> Option<usize> {
        if self.chance > BY_CHANCE {
            return None;
        }
        let most = self.spells.iter().map(|spell| spell.most).max()?;
        let least = self.spells.iter().map(|spell| spell.least).min()?;
        let range = most - least;
        let wide = STEADY.max((0.6 * (most as f64).sqrt()) as usize);
        let goes_on = counted + wide >= most && counted <= most + wide;
        // What differs by more than a message or two has not shown its most yet.
        (range <= wide && goes_on).then_some(most + range.saturating_sub(1) / 3)
    }

    /// Remembers that the second before `at` had `count` arrivals.
    fn show(&mut self, at: Duration, count: usize) {
        match self.spells.back_mut() {
            Some(spell) if at < spell.since + SPELL => {
                spell.most = spell.most.max(count);
                spell.least = spell.least.min(count);
            }
            _ => self.spells.push_back(Spell { since: at, most: count, least: count }),
        }
    }

    /// Looks at the arrivals up to `until`, which are known to be all.
    fn review(&mut self, until: Duration, limit: usize) {
        let from = self.arrivals.partition_point(|arrived| *arrived <= self.reviewed);
        let to = self.arrivals.partition_point(|arrived| *arrived <= until);
        for index in from..to {
            let arrived = self.arrivals[index];
            let tail = self.arrivals.partition_point(|other| *other + SECOND <= arrived);
            let count = index + 1 - tail;
            // In its first second a stream has no full one to show.
            if tail > 0 {
                self.show(arrived, count);
            }
            let load = (count as f64 / limit as f64).min(0.9);
            let passed = arrived.saturating_sub(self.reviewed).as_secs_f64();
            self.queue = (self.queue - passed * limit as f64).max(0.0);
            let by_chance = load / (2.0 * (1.0 - load));
            self.seen = (self.seen + 1).min(256 + 2 * count);
            let weight = 1.0 / self.seen as f64;
            self.chance += weight * ((self.queue / by_chance).min(1_000.0) - self.chance);
            self.chance = self.chance.clamp(0.0, 10.0);
            self.queue += 1.0;
            self.reviewed = arrived;
        }
    }
}

/// What may come beyond the `expected` number, by chance.
fn excess(expected: f64) -> f64 {
    if expected > 0.0 { SURENESS * expected.sqrt() + (SURENESS * SURENESS - 1.0) / 6.0 } else { 0.0 }
}
