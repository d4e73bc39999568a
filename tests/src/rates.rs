//! A channel's rate, as the provider saw it kept.

use std::time::Duration;

use anyhow::{Context, ensure};
use staffetta_testkit::Lateness;

/// How much later than the quickest a send may arrive on a machine that has time.
const LATE: Duration = Duration::from_millis(200);

/// Whether no span of whole seconds holds more of these arrivals, in microseconds, than the rate, but for what a busy
/// machine does to it: it delays some arrivals and not the others, so that full seconds of the sender can show as a
/// little less here, however many they are, and as less by whatever the provider itself was late. `cargo xtask bench
/// dispatch` measures the second itself.
///
/// # Errors
/// When one holds more, and when there are less than three seconds' worth of sends: too few to tell.
pub fn rate_held(arrivals: &[u64], rate: u32, provider: &Lateness) -> anyhow::Result<()> {
    let rate = usize::try_from(rate)?;
    let seconds = arrivals.len().saturating_sub(1) / rate;
    ensure!(seconds >= 3, "{} sends are too few to tell", arrivals.len());
    for second in 1..=seconds {
        let full = Duration::from_secs(u64::try_from(second)?);
        let spans = arrivals.windows(second * rate + 1).map(|span| {
            let (first, last) = (Duration::from_micros(span[0]), Duration::from_micros(span[span.len() - 1]));
            (last - first, provider.around(first))
        });
        let (span, late) = spans.min_by_key(|(span, late)| *span + *late).context("there is no such span")?;
        ensure!(
            span + late + LATE >= full,
            "{} sends and one arrived within {span:?}, and the provider was {late:?} late",
            second * rate
        );
    }
    Ok(())
}
