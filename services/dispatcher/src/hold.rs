//! Why a channel waits as a whole, and for how long.
//!
//! When the wait is over one request goes ahead; the others follow once it is accepted.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use staffetta_domain::ErrorClass;

/// Keeps a channel from sending.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    standing: Option<Standing>,
    /// Holds in a row, without a send that went through in between.
    in_a_row: u32,
}

#[derive(Debug)]
struct Standing {
    until: Duration,
    /// Somebody has to act: with this the channel was refused.
    stopped_with: Option<Key>,
    /// The request that went ahead has no answer yet.
    trying: bool,
}

/// What a channel shows at the provider.
#[derive(Clone, Debug, Default)]
pub(crate) struct Key {
    /// The access token, if it has one.
    pub(crate) token: Option<SecretString>,
    /// The provider's id of its number, if the number is its own.
    pub(crate) number: Option<String>,
}

impl Key {
    /// Whether anything can be asked of the provider with it.
    pub(crate) fn is_whole(&self) -> bool {
        self.token.is_some() && self.number.is_some()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let text = |key: &Self| key.token.as_ref().map(|token| token.expose_secret().to_owned());
        self.number == other.number && text(self) == text(other)
    }
}

/// Why a channel is to wait.
#[derive(Debug)]
pub(crate) enum Cause {
    /// The provider could not be reached.
    Unreachable,
    /// It was refused because of what is no command's fault; with this key.
    Refused(ErrorClass, Key),
}

/// What a refusal changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// The channel waits a moment; nobody need know.
    Briefly,
    /// The channel stops until somebody acts: an operator should see it.
    Stopped,
    /// It waited already, or what was refused is no longer so.
    Already,
}

/// How often a stopped channel tries whether it may send again.
const PROBE: Duration = Duration::from_secs(300);
/// How long a number is in maintenance, at most.
const MAINTENANCE: Duration = Duration::from_secs(60);
/// The shortest wait.
const SHORTEST: Duration = Duration::from_millis(100);

impl Hold {
    /// Whether the channel waits at `now`, and until when.
    pub(crate) fn until(&self, now: Duration) -> Option<Duration> {
        self.standing.as_ref().map(|standing| standing.until).filter(|until| now < *until)
    }

    /// Whether one request alone may go, because a wait is over and nobody knows whether that helps.
    pub(crate) fn is_trying(&self) -> bool {
        self.standing.is_some()
    }

    /// Whether a request may go at `now`. If it does, [`goes`](Self::goes) says so.
    pub(crate) fn lets_go(&self, now: Duration) -> bool {
        self.standing.as_ref().is_none_or(|standing| now >= standing.until && !standing.trying)
    }

    /// The channel had stopped under an owner before. One request goes ahead: it is not known what has changed since.
    pub(crate) fn restore(&mut self, key: &Key, now: Duration) {
        self.standing.get_or_insert(Standing { until: now, stopped_with: Some(key.clone()), trying: false });
    }

    /// Somebody has lifted the stop: one request goes ahead at once, and a refusal is news again.
    pub(crate) fn lift(&mut self, now: Duration) {
        if let Some(standing) = &mut self.standing {
            *standing = Standing { until: now, stopped_with: None, trying: false };
        }
    }

    /// Something has changed at the provider: a stopped channel tries at once.
    pub(crate) fn try_now(&mut self, now: Duration) {
        if let Some(standing) = self.standing.as_mut().filter(|standing| standing.stopped_with.is_some()) {
            standing.until = standing.until.min(now);
        }
    }

    /// A request is on its way.
    pub(crate) fn goes(&mut self) {
        if let Some(standing) = &mut self.standing {
            standing.trying = true;
        }
    }

    /// A request that was begun at `begun` has ended. If it is the one that went ahead, another may.
    pub(crate) fn ended(&mut self, begun: Duration) {
        if let Some(standing) = &mut self.standing
            && begun >= standing.until
        {
            standing.trying = false;
        }
    }

    /// Takes note that a request, begun at `begun`, failed for a reason that concerns the whole channel. `key` is what
    /// the channel shows now.
    pub(crate) fn refused(
        &mut self,
        cause: Cause,
        named: Option<Duration>,
        key: &Key,
        begun: Duration,
        now: Duration,
    ) -> Held {
        // For a used up quota nobody need act, but somebody should see it.
        let stopping =
            matches!(cause, Cause::Refused(ErrorClass::Token | ErrorClass::Account | ErrorClass::Quota, _));
        if matches!(&cause, Cause::Refused(ErrorClass::Token, used) if used != key) {
            return Held::Already;
        }
        let stopped_with = self.standing.as_mut().and_then(|standing| standing.stopped_with.take());
        let already = stopped_with.is_some();
        if let Some(standing) = &mut self.standing
            && begun < standing.until
            && (already || !stopping)
        {
            // It was under way already when the channel was told to wait.
            standing.stopped_with = stopped_with;
            return Held::Already;
        }
        let growth = 1 << self.in_a_row.min(5);
        let wait = match &cause {
            Cause::Refused(ErrorClass::Token | ErrorClass::Account, _) => PROBE,
            Cause::Refused(ErrorClass::Maintenance, _) => MAINTENANCE,
            Cause::Refused(ErrorClass::Quota, _) => {
                (Duration::from_secs(60) * growth).min(Duration::from_secs(3600))
            }
            _ => Duration::from_secs(1) * growth,
        };
        self.in_a_row = self.in_a_row.saturating_add(1);
        let stopped_with = match cause {
            Cause::Refused(_, used) if stopping => Some(used),
            // Who stopped and is throttled now has not been let go by anybody.
            _ => stopped_with,
        };
        let until = now + named.unwrap_or(wait).max(SHORTEST);
        self.standing = Some(Standing { until, stopped_with, trying: false });
        match (stopping, already) {
            (false, _) => Held::Briefly,
            (true, false) => Held::Stopped,
            (true, true) => Held::Already,
        }
    }

    /// A request that was begun at `begun` was accepted. True if that ends a stop.
    pub(crate) fn accepted(&mut self, begun: Duration) -> bool {
        if self.standing.as_ref().is_some_and(|standing| begun < standing.until) {
            // It left before the channel was told to wait.
            return false;
        }
        self.in_a_row = 0;
        self.standing.take().is_some_and(|standing| standing.stopped_with.is_some())
    }

    /// A request that was begun at `begun` was refused for its own fault: so the channel is not kept waiting any more,
    /// unless somebody has to act.
    pub(crate) fn judged(&mut self, begun: Duration) {
        if self
            .standing
            .as_ref()
            .is_some_and(|standing| begun >= standing.until && standing.stopped_with.is_none())
        {
            self.standing = None;
            self.in_a_row = 0;
        }
    }

    /// What the channel shows now. True if that is something new to a stopped channel, which may then try at once.
    pub(crate) fn key_is(&mut self, key: &Key, now: Duration) -> bool {
        match &mut self.standing {
            Some(Standing { until, stopped_with: Some(used), trying }) if used != key => {
                *until = now;
                *trying = false;
                *used = key.clone();
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);
    const BEFORE: Duration = Duration::from_secs(999);

    fn key(token: &str) -> Key {
        Key { token: Some(token.to_owned().into()), number: Some("100".into()) }
    }

    fn refuse(hold: &mut Hold, class: ErrorClass, begun: Duration, now: Duration) -> Held {
        hold.refused(Cause::Refused(class, key("old")), None, &key("old"), begun, now)
    }

    #[test]
    fn a_bad_token_stops_until_there_is_another() {
        let mut hold = Hold::default();
        assert_eq!(refuse(&mut hold, ErrorClass::Token, BEFORE, NOW), Held::Stopped);
        assert_eq!(refuse(&mut hold, ErrorClass::Token, BEFORE, NOW), Held::Already);
        assert!(!hold.key_is(&key("old"), NOW));
        assert!(hold.until(NOW).is_some());
        assert!(hold.key_is(&key("new"), NOW));
        assert_eq!(hold.until(NOW), None);
        assert!(hold.accepted(NOW));
    }

    #[test]
    fn an_old_token_s_refusal_says_nothing_about_the_new_one() {
        let mut hold = Hold::default();
        let cause = Cause::Refused(ErrorClass::Token, key("old"));
        assert_eq!(hold.refused(cause, None, &key("new"), BEFORE, NOW), Held::Already);
        assert!(hold.lets_go(NOW));
    }

    #[test]
    fn throttling_waits_longer_each_time_and_forgets_when_it_is_over() {
        let mut hold = Hold::default();
        assert_eq!(refuse(&mut hold, ErrorClass::Throughput, BEFORE, NOW), Held::Briefly);
        assert_eq!(refuse(&mut hold, ErrorClass::Throughput, BEFORE, NOW), Held::Already);
        let over = hold.until(NOW).unwrap();
        assert_eq!(over, NOW + Duration::from_secs(1));
        assert_eq!(refuse(&mut hold, ErrorClass::Throughput, over, over), Held::Briefly);
        let over = hold.until(over).unwrap();
        assert_eq!(over, NOW + Duration::from_secs(3));
        assert!(!hold.accepted(NOW), "it was on its way before");
        assert!(!hold.lets_go(NOW));
        assert!(!hold.accepted(over));
        assert!(hold.lets_go(over));
    }

    #[test]
    fn one_request_goes_ahead_when_the_wait_is_over() {
        let mut hold = Hold::default();
        refuse(&mut hold, ErrorClass::Throughput, BEFORE, NOW);
        let over = hold.until(NOW).unwrap();
        assert!(!hold.lets_go(NOW) && hold.lets_go(over));
        hold.goes();
        assert!(!hold.lets_go(over));
        hold.ended(NOW);
        assert!(!hold.lets_go(over), "another one ended");
        hold.ended(over);
        assert!(hold.lets_go(over) && hold.is_trying());
    }

    #[test]
    fn a_stop_outlasts_a_throttle() {
        let mut hold = Hold::default();
        refuse(&mut hold, ErrorClass::Account, BEFORE, NOW);
        let over = hold.until(NOW).unwrap();
        assert_eq!(refuse(&mut hold, ErrorClass::Throughput, over, over), Held::Briefly);
        let over = hold.until(over).unwrap();
        assert!(hold.accepted(over), "the stop is over now");
    }
}
