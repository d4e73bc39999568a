//! From measurements to figures on the screen.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;

/// Latencies above this are told as this.
const LONGEST: Duration = Duration::from_secs(60);

/// How long things took, in three significant digits.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, micros(LONGEST), 3);
        Self(histogram.expect("the bounds are constants that hdrhistogram takes"))
    }

    pub(crate) fn add(&mut self, time: Duration) {
        self.0.saturating_record(micros(time).max(1));
    }

    /// The longest of them; 0 for none.
    pub(crate) fn longest(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let at = |percentile| Duration::from_micros(self.0.value_at_percentile(percentile));
        Percentiles { p50: at(50.0), p99: at(99.0), p999: at(99.9) }
    }
}

fn micros(time: Duration) -> u64 {
    time.as_micros().try_into().unwrap_or(u64::MAX)
}

/// Three points of a distribution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Percentiles {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) p999: Duration,
}

impl Percentiles {
    /// Each point's median over several runs.
    pub(crate) fn medians(runs: &[Self]) -> Self {
        let of = |point: fn(&Self) -> Duration| {
            Duration::from_secs_f64(median(runs.iter().map(|run| point(run).as_secs_f64())))
        };
        Self { p50: of(|run| run.p50), p99: of(|run| run.p99), p999: of(|run| run.p999) }
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p99, p999 } = self;
        write!(out, "{:>8} {:>8} {:>8}", millis(*p50), millis(*p99), millis(*p999))
    }
}

/// What stands above [`Percentiles`] in a table.
pub(crate) const PERCENTILES_HEAD: &str = "  p50 ms   p99 ms p99.9 ms";

/// Milliseconds as a table shows them.
pub(crate) fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    match millis {
        ..10.0 => format!("{millis:.2}"),
        ..100.0 => format!("{millis:.1}"),
        _ => format!("{millis:.0}"),
    }
}

/// The middle of some figures; of two in the middle, their mean. 0 for none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Microseconds of CPU for each of `count` things; 0 for none.
pub(crate) fn micros_each(cpu: Duration, count: u64) -> f64 {
    if count == 0 { 0.0 } else { cpu.as_secs_f64() * 1e6 / count as f64 }
}

/// A figure beside what it should be.
#[derive(Debug)]
pub(crate) struct Aim {
    pub(crate) what: String,
    pub(crate) measured: String,
    pub(crate) wanted: String,
    pub(crate) met: Met,
}

/// How a figure stands to its aim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    Pass,
    Short,
}

impl Met {
    pub(crate) fn when(reached: bool) -> Self {
        if reached { Self::Pass } else { Self::Short }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = match self.met {
            Met::Pass => "PASS",
            Met::Short => "short",
        };
        write!(out, "{met:<6}{:<44}{:>14}   wanted {}", self.what, self.measured, self.wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_does_not_follow_the_outlier() {
        assert_eq!(median([3.0, 1000.0, 1.0]), 3.0);
        assert_eq!(median([4.0, 1.0, 2.0, 9.0]), 3.0);
        assert_eq!(median([]), 0.0);
    }

    #[test]
    fn percentiles_are_those_of_what_was_added() {
        let mut latencies = Latencies::new();
        (1..=1000).for_each(|millis| latencies.add(Duration::from_millis(millis)));
        let Percentiles { p50, p99, p999 } = latencies.percentiles();
        let longest = latencies.longest();
        for (found, wanted) in [(p50, 500), (p99, 990), (p999, 999), (longest, 1_000)] {
            assert!(found.as_millis().abs_diff(wanted) <= 1, "{found:?} is not {wanted} ms");
        }
    }
}
