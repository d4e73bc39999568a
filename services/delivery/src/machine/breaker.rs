//! Whether an endpoint is fit to be sent anything: a circuit breaker with growing pauses.

use std::sync::Arc;
use std::time::Duration;

use staffetta_runtime::RetryPolicy;

/// What may be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// As much as there is room for.
    All,
    /// One request, to see whether it goes through.
    Probe,
    /// Nothing, for now.
    Nothing,
}

/// Failures in a row that break the circuit, if they are of two conversations at least: one event that an endpoint
/// chokes on must not keep the others from it.
const ENOUGH: u32 = 5;
/// Pauses before each probe.
const PAUSES: RetryPolicy =
    RetryPolicy { first: Duration::from_secs(1), longest: Duration::from_secs(60), waits: u32::MAX };
/// Pauses do not grow after so many probes.
const GROWING: u32 = 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    broken: Option<Broken>,
    in_a_row: u32,
    /// The conversation of the first failure in the row, until there is another one's.
    only: Option<Arc<str>>,
    several: bool,
}

#[derive(Debug)]
struct Broken {
    until: Duration,
    probes: u32,
    /// The event that is on its way to see.
    probe: Option<u64>,
}

impl Breaker {
    pub(super) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    pub(super) fn pass(&self, now: Duration) -> Pass {
        match &self.broken {
            None => Pass::All,
            Some(broken) if broken.probe.is_none() && now >= broken.until => Pass::Probe,
            Some(_) => Pass::Nothing,
        }
    }

    /// When the next probe may go; `None` if that needs no waiting.
    pub(super) fn probe_at(&self) -> Option<Duration> {
        self.broken.as_ref().filter(|broken| broken.probe.is_none()).map(|broken| broken.until)
    }

    /// A request was begun.
    pub(super) fn began(&mut self, sequence: u64) {
        if let Some(broken) = &mut self.broken {
            broken.probe = Some(sequence);
        }
    }

    /// The endpoint answered, and is well. True if that mends the circuit.
    pub(super) fn answered(&mut self, sequence: u64, now: Duration) -> bool {
        match &mut self.broken {
            Some(broken) if broken.probe != Some(sequence) => {
                // It was begun before: perhaps all is well again.
                broken.until = broken.until.min(now);
                false
            }
            broken => {
                let mended = broken.is_some();
                *self = Self::default();
                mended
            }
        }
    }

    /// A request failed for a reason that concerns the endpoint as a whole, which may have asked to be left alone for
    /// the time `wait`.
    pub(super) fn failed(
        &mut self,
        sequence: u64,
        conversation: &Arc<str>,
        wait: Option<Duration>,
        now: Duration,
    ) {
        let pause = |probes: u32| {
            let pause = PAUSES.after(probes.clamp(1, GROWING), sequence).unwrap_or(PAUSES.longest);
            pause.min(PAUSES.longest).max(wait.unwrap_or_default())
        };
        match &mut self.broken {
            Some(broken) if broken.probe == Some(sequence) => {
                broken.probe = None;
                broken.probes += 1;
                broken.until = now + pause(broken.probes);
            }
            Some(broken) => broken.until = broken.until.max(now + wait.unwrap_or_default()),
            None => {
                self.in_a_row += 1;
                self.several |= self.only.get_or_insert_with(|| Arc::clone(conversation)) != conversation;
                if wait.is_some() || (self.in_a_row >= ENOUGH && self.several) {
                    self.broken = Some(Broken { until: now + pause(1), probes: 1, probe: None });
                }
            }
        }
    }

    /// A request ended without anything that tells of the endpoint.
    pub(super) fn told_nothing(&mut self, sequence: u64) {
        if let Some(broken) = self.broken.as_mut().filter(|broken| broken.probe == Some(sequence)) {
            broken.probe = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    fn break_it(breaker: &mut Breaker) {
        for (sequence, conversation) in [(1, "a"), (2, "b"), (3, "a"), (4, "b"), (5, "a")] {
            assert_eq!(breaker.pass(NOW), Pass::All);
            breaker.failed(sequence, &conversation.into(), None, NOW);
        }
        assert_eq!(breaker.pass(NOW), Pass::Nothing);
    }

    #[test]
    fn it_breaks_after_five_and_mends_after_one_probe() {
        let mut breaker = Breaker::default();
        break_it(&mut breaker);
        let at = breaker.probe_at().unwrap();
        assert_eq!(breaker.pass(at), Pass::Probe);
        breaker.began(6);
        assert_eq!(breaker.pass(at), Pass::Nothing, "one at a time");
        assert!(!breaker.answered(5, at), "a straggler is no probe");
        assert!(breaker.answered(6, at));
        assert_eq!(breaker.pass(at), Pass::All);
    }

    #[test]
    fn pauses_grow_up_to_a_minute() {
        let mut breaker = Breaker::default();
        break_it(&mut breaker);
        let (mut now, mut longest) = (NOW, Duration::ZERO);
        for sequence in 6..30 {
            let at = breaker.probe_at().unwrap();
            longest = longest.max(at - now);
            now = at;
            breaker.began(sequence);
            breaker.failed(sequence, &"a".into(), None, now);
        }
        assert!(longest > Duration::from_secs(45) && longest <= Duration::from_secs(60), "{longest:?}");
    }

    #[test]
    fn one_conversation_alone_breaks_nothing() {
        let mut breaker = Breaker::default();
        for sequence in 1..50 {
            breaker.failed(sequence, &"a".into(), None, NOW);
        }
        assert_eq!(breaker.pass(NOW), Pass::All);
    }

    #[test]
    fn who_asks_for_a_pause_gets_it_at_once() {
        let mut breaker = Breaker::default();
        breaker.failed(1, &"a".into(), Some(Duration::from_secs(30)), NOW);
        assert_eq!(breaker.probe_at(), Some(NOW + Duration::from_secs(30)));
    }
}
