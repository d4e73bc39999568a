//! Why a channel waits as a whole, and for how long.

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
    class: ErrorClass,
    until: Duration,
    /// The token that was refused.
    token: Option<SecretString>,
}

/// What changed when a send was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// The channel waits a moment; nobody need know.
    Briefly,
    /// The channel stops until somebody acts: an operator should see it.
    Stopped,
    /// It stood still already.
    Already,
}

/// How often a stopped channel tries whether it may send again.
const PROBE: Duration = Duration::from_secs(300);

impl Hold {
    /// Whether the channel waits at `now`, and until when.
    pub(crate) fn until(&self, now: Duration) -> Option<Duration> {
        self.standing.as_ref().map(|standing| standing.until).filter(|until| now < *until)
    }

    /// Whether somebody has to act before the channel sends.
    pub(crate) fn is_stopped(&self) -> bool {
        self.standing
            .as_ref()
            .is_some_and(|standing| matches!(standing.class, ErrorClass::Token | ErrorClass::Account))
    }

    /// Takes note of a refusal that concerns the whole channel.
    pub(crate) fn refused(
        &mut self,
        class: ErrorClass,
        named: Option<Duration>,
        token: Option<&SecretString>,
        now: Duration,
    ) -> Held {
        if self.until(now).is_some() && !matches!(class, ErrorClass::Token | ErrorClass::Account) {
            return Held::Already;
        }
        let already = self.is_stopped();
        let growth = 1 << self.in_a_row.min(5);
        let wait = match class {
            ErrorClass::Token | ErrorClass::Account => PROBE,
            ErrorClass::Quota => (Duration::from_secs(60) * growth).min(Duration::from_secs(3600)),
            _ => Duration::from_secs(1) * growth,
        };
        self.in_a_row = self.in_a_row.saturating_add(1);
        let until = now + named.unwrap_or(wait).max(Duration::from_millis(100));
        self.standing = Some(Standing { class, until, token: token.cloned() });
        match class {
            ErrorClass::Token | ErrorClass::Account if already => Held::Already,
            ErrorClass::Token | ErrorClass::Account => Held::Stopped,
            _ => Held::Briefly,
        }
    }

    /// A send went through. True if that ends a stop.
    pub(crate) fn accepted(&mut self) -> bool {
        self.in_a_row = 0;
        let stopped = self.is_stopped();
        self.standing = None;
        stopped
    }

    /// The channel may have a new token. True if that lets it try at once.
    pub(crate) fn token_is(&mut self, token: Option<&SecretString>) -> bool {
        let text = |token: Option<&SecretString>| token.map(|token| token.expose_secret().to_owned());
        let changed = match &self.standing {
            Some(standing) => self.is_stopped() && text(standing.token.as_ref()) != text(token),
            None => false,
        };
        if changed && let Some(standing) = &mut self.standing {
            standing.until = Duration::ZERO;
            standing.token = token.cloned();
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    fn token(text: &str) -> SecretString {
        text.to_owned().into()
    }

    #[test]
    fn a_bad_token_stops_until_there_is_another() {
        let mut hold = Hold::default();
        assert_eq!(hold.refused(ErrorClass::Token, None, Some(&token("old")), NOW), Held::Stopped);
        assert_eq!(hold.refused(ErrorClass::Token, None, Some(&token("old")), NOW), Held::Already);
        assert!(!hold.token_is(Some(&token("old"))));
        assert!(hold.until(NOW).is_some());
        assert!(hold.token_is(Some(&token("new"))));
        assert_eq!(hold.until(NOW), None);
        assert!(hold.accepted());
    }

    #[test]
    fn throttling_waits_longer_each_time_and_forgets_when_it_is_over() {
        let mut hold = Hold::default();
        assert_eq!(hold.refused(ErrorClass::Throughput, None, None, NOW), Held::Briefly);
        assert_eq!(hold.refused(ErrorClass::Throughput, None, None, NOW), Held::Already);
        let second = hold.until(NOW).unwrap();
        assert_eq!(second, NOW + Duration::from_secs(1));
        hold.refused(ErrorClass::Throughput, None, None, second);
        assert_eq!(hold.until(second), Some(second + Duration::from_secs(2)));
        assert!(!hold.accepted());
        assert_eq!(hold.until(second), None);
    }
}
