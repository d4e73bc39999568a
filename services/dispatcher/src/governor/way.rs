//! The way from the writing of a request to the receiver, who counts when it arrives.

use std::time::Duration;

use staffetta_providers::cloud_api::{WriteStamp, Written};

/// How long a send counts beyond its second at least: 0.2 % of the limit.
pub(super) const SURE: Duration = Duration::from_millis(2);
/// How long a send counts beyond its second when nothing is known of its way.
pub(super) const UNKNOWN: Duration = Duration::from_millis(8);
/// What lateness may cost on average, for each send: 0.4 % of the limit.
const LATE_ON_AVERAGE: Duration = Duration::from_millis(4);
/// What lateness may cost at first, and what at once.
const LATE_AT_FIRST: Duration = Duration::from_millis(60);
const LATE_AT_MOST: Duration = Duration::from_millis(150);

/// What is known of the way to the receiver, who counts when a request arrives, somewhere between its writing and its
/// answer. One that was late counts longer: as long as its answer took more than the quickest ones do. A provider
/// that takes its time for every answer would make that dear, so it has a bound on average.
#[derive(Debug)]
pub(super) struct Way {
    quickest: Option<Duration>,
    allowance: Duration,
}

impl Default for Way {
    fn default() -> Self {
        Self { quickest: None, allowance: LATE_AT_FIRST }
    }
}

impl Way {
    /// Looks for the quickest of the first answers.
    pub(super) fn begin<'a>(&mut self, stamps: impl Iterator<Item = &'a WriteStamp>) {
        if self.quickest.is_none() {
            self.quickest = stamps.filter_map(took).min();
        }
    }

    /// How much later than the quickest this one may have arrived.
    fn late(&self, stamp: &WriteStamp) -> Option<Duration> {
        Some(took(stamp)?.saturating_sub(self.quickest?))
    }

    /// How long it counts beyond its second.
    pub(super) fn extra(&self, stamp: &WriteStamp) -> Duration {
        self.late(stamp).map_or(UNKNOWN, |late| SURE + late.min(self.allowance))
    }

    /// Takes note of one that counts no more.
    pub(super) fn learn(&mut self, stamp: &WriteStamp) {
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
