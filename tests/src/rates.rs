//! A channel's rate, as the provider saw it kept.

use anyhow::{Context, ensure};

/// How much later than the quickest a send may arrive, in microseconds.
const LATE_US: u64 = 200_000;
const SECOND_US: u64 = 1_000_000;

/// Whether no span of whole seconds holds more of these arrivals, in microseconds, than the rate, but for what a busy machine does to it: it
/// delays some arrivals and not the others, so that full seconds of the sender can show as a little less here, however
/// many they are. `cargo xtask bench dispatch` measures the second itself.
///
/// # Errors
/// When one holds more, and when there are less than three seconds' worth of sends: too few to tell.
pub fn rate_held(arrivals: &[u64], rate: u32) -> anyhow::Result<()> {
    let rate = usize::try_from(rate)?;
    let seconds = arrivals.len().saturating_sub(1) / rate;
    ensure!(seconds >= 3, "{} sends are too few to tell", arrivals.len());
    for second in 1..=seconds {
        let spans = arrivals.windows(second * rate + 1).map(|span| span[span.len() - 1] - span[0]);
        let shortest = spans.min().context("there is no such span")?;
        let least = u64::try_from(second)? * SECOND_US - LATE_US;
        ensure!(shortest >= least, "{} sends and one arrived within {shortest} µs", second * rate);
    }
    Ok(())
}
