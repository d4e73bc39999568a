//! How often one user may be written to: a burst on credit, then one message each six seconds.
//!
//! The receiver keeps for each user the moment at which the credit would be whole, puts it six seconds further with
//! each message, and refuses one (131056) when that moment is too far ahead. When a message arrives there lies
//! between its request and its answer. So this keeps a moment that is never earlier than the receiver's: messages
//! count from their answers, and those without one count besides.
//!
//! All times are times since the machine started; the caller brings the clock.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::governor::Turn;

/// What one message costs.
const SPACE: Micros = 6_000_000;
/// How many may go at once.
const BURST: Micros = 45;
/// How far ahead the credit may be whole when one more goes.
const CREDIT: Micros = (BURST - 1) * SPACE;
/// What has to be [remembered](Pairs::remember) of an owner before: everything that was sent this long ago or later.
pub(crate) const HISTORY: Duration = Duration::from_secs(540);
/// How much later than remembered a message may have arrived.
const ABOUT: Micros = 3_000_000;
/// The first wait after a refusal, in seconds; each one more is four times as long.
const FIRST_WAIT: u64 = 1;
/// The longest one.
const LONGEST_WAIT: u64 = 3_600;
/// For how long refusals in a row are remembered after the wait.
const IN_A_ROW: Micros = 600_000_000;
/// Between two looks for users whose credit is whole again.
const TIDY: Duration = Duration::from_secs(1);

/// Microseconds since the machine started, or before.
type Micros = i64;

/// Decides when a channel may write to a user again.
///
/// A user is forgotten when their credit is whole. Users are known by a number that nothing can be read from.
#[derive(Default)]
pub(crate) struct Pairs {
    users: HashMap<u64, Pair>,
    hasher: RandomState,
    tidied: Duration,
}

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pairs").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Default)]
struct Pair {
    /// When the credit is whole, at the latest, as far as answered messages go.
    whole_at: Micros,
    /// How many are on their way.
    unanswered: u32,
    /// Refusals in a row, and until when to wait after the last.
    refusals: u32,
    until: Micros,
}

impl Pair {
    /// From when on one more may go.
    fn next(&self, now: Micros) -> Micros {
        let ahead = self.whole_at.max(now) + Micros::from(self.unanswered) * SPACE;
        (ahead - CREDIT).max(self.until)
    }

    /// One has arrived at `at` at the latest.
    fn count(&mut self, at: Micros) {
        self.whole_at = self.whole_at.max(at) + SPACE;
    }

    fn is_whole(&self, now: Micros) -> bool {
        let forgiven = self.refusals == 0 || self.until + IN_A_ROW <= now;
        self.whole_at <= now && self.unanswered == 0 && self.until <= now && forgiven
    }
}

impl Pairs {
    /// Whether one more may go to `user` at `now`. Asked again at the moment it names, the answer may be a later one:
    /// others may have gone, or been answered late.
    pub(crate) fn turn(&self, user: &str, now: Duration) -> Turn {
        let Some(pair) = self.users.get(&self.key(user)) else { return Turn::Now };
        let next = pair.next(micros(now));
        if next <= micros(now) { Turn::Now } else { Turn::At(duration(next)) }
    }

    /// Takes the turn that [`turn`](Self::turn) gave: one is about to go. It must be ended by
    /// [`answered`](Self::answered), [`give_back`](Self::give_back) or [`refused`](Self::refused), by one of them.
    pub(crate) fn take(&mut self, user: &str, now: Duration) {
        self.tidy(now);
        let key = self.key(user);
        self.users.entry(key).or_default().unanswered += 1;
    }

    /// One that was taken at `begun` has an answer since `answered`, or is known to get none any more: it has arrived
    /// by then, or never does.
    pub(crate) fn answered(&mut self, user: &str, begun: Duration, answered: Duration) {
        let key = self.key(user);
        let pair = self.users.entry(key).or_default();
        pair.unanswered = pair.unanswered.saturating_sub(1);
        pair.count(micros(answered.max(begun)));
    }

    /// One that was taken never left.
    pub(crate) fn give_back(&mut self, user: &str) {
        let key = self.key(user);
        if let Some(pair) = self.users.get_mut(&key) {
            pair.unanswered = pair.unanswered.saturating_sub(1);
        }
    }

    /// An owner before sent one at about `at`. All of the last [`HISTORY`] have to be told, the oldest first if the
    /// credit is not to look more used up than it is: what came before can't be known, and the worst of it is taken.
    pub(crate) fn remember(&mut self, user: &str, at: Duration, now: Duration) {
        let key = self.key(user);
        // The credit was as far used up then as can be.
        let before = micros(now) - micros(HISTORY) + BURST * SPACE;
        let pair = self.users.entry(key).or_insert(Pair { whole_at: before, ..Pair::default() });
        pair.count((micros(at) + ABOUT).min(micros(now)));
    }

    /// The receiver refused one that was taken (131056). Gives back when to try again: after 1, 4, 16, … seconds, an
    /// hour at most, and not before the credit allows it.
    pub(crate) fn refused(&mut self, user: &str, now: Duration) -> Duration {
        let key = self.key(user);
        let pair = self.users.entry(key).or_default();
        pair.unanswered = pair.unanswered.saturating_sub(1);
        let wait = 4_u64.saturating_pow(pair.refusals).saturating_mul(FIRST_WAIT).min(LONGEST_WAIT);
        pair.refusals += 1;
        pair.until = micros(now) + micros(Duration::from_secs(wait));
        // Whatever we thought, there is no credit left.
        pair.whole_at = pair.whole_at.max(pair.until.min(micros(now) + SPACE) + CREDIT);
        duration(pair.next(micros(now)))
    }

    /// The receiver took one: refusals are not in a row any more.
    pub(crate) fn accepted(&mut self, user: &str) {
        let key = self.key(user);
        if let Some(pair) = self.users.get_mut(&key) {
            pair.refusals = 0;
            pair.until = 0;
        }
    }

    /// How many users are known.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.users.len()
    }

    fn key(&self, user: &str) -> u64 {
        self.hasher.hash_one(user)
    }

    fn tidy(&mut self, now: Duration) {
        if now < self.tidied + TIDY {
            return;
        }
        self.tidied = now;
        self.users.retain(|_, pair| !pair.is_whole(micros(now)));
    }
}

fn micros(time: Duration) -> Micros {
    Micros::try_from(time.as_micros()).unwrap_or(Micros::MAX / 4)
}

fn duration(time: Micros) -> Duration {
    Duration::from_micros(u64::try_from(time).unwrap_or(0))
}
