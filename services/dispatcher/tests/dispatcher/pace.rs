//! The channel's rate, measured where its requests arrive, and how much a busy machine shifts what is measured.

use std::time::{Duration, Instant};

use staffetta_testkit::Lateness;
use tokio::runtime::Handle;

use crate::harness::{NUMBER, World};

/// What two arrivals may be shifted against each other on a machine that has time.
const CALM: Duration = Duration::from_millis(50);

/// How late the two threads come to what is due: the one that sends, and the one that sees what arrives.
pub(crate) struct Beats {
    sending: Lateness,
    seeing: Lateness,
}

impl Beats {
    /// `begun` is when the provider's clock began, `seeing` the provider's thread. The other one is the caller's.
    pub(crate) fn start(begun: Instant, seeing: &Handle) -> Self {
        Self { sending: Lateness::of(&Handle::current(), begun), seeing: Lateness::of(seeing, begun) }
    }

    /// How much later than its writing a request may have been seen that was seen `at`: its sender may have been held up
    /// in the midst of the writing, then the proxy, then the provider.
    fn shift(&self, at: Duration) -> Duration {
        self.sending.around(at) + 2 * self.seeing.around(at)
    }

    /// The latest that either thread ever was.
    pub(crate) fn longest(&self) -> Duration {
        self.sending.longest().max(self.seeing.longest())
    }
}

/// No second held more than `rate`, give or take what the machine is seen to have shifted two arrivals against each
/// other.
pub(crate) fn assert_rate(world: &World, rate: u32) {
    let report = world.report(NUMBER);
    let arrivals: Vec<_> =
        report.sends.unwrap().iter().map(|send| Duration::from_micros(send.at_us)).collect();
    let spans = arrivals.windows(rate as usize + 1).map(|these| {
        let (first, last) = (these[0], these[rate as usize]);
        (last - first, world.beats.shift(first))
    });
    let shortest = spans.min_by_key(|(span, shift)| *span + *shift);
    println!(
        "worst second {:?}, used {:.4}, the shortest time for {} sends and its shift {shortest:?}",
        report.worst_second,
        report.sends_per_second / f64::from(rate),
        rate + 1
    );
    let Some((span, shift)) = shortest else { return };
    assert!(
        span + shift + CALM >= Duration::from_secs(1),
        "{} sends in {span:?}, shifted {shift:?}",
        rate + 1
    );
}
