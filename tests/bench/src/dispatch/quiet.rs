//! One command at a time: how long it takes from its publish to the provider's socket when nothing else is going on.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use tokio::time::{Instant as Moment, sleep};

use super::{arrivals::Arrivals, bed::Bed, commands::Lane, provider::Offset};
use crate::figures::{Latencies, PERCENTILES_HEAD};

/// Commands before the measured ones: connections open, statements are prepared.
const WARM_UP: usize = 50;
/// Between two commands, so that each finds the one before settled.
const SPACE: Duration = Duration::from_millis(50);
const LOOK: Duration = Duration::from_millis(250);
const LAST_LIMIT: Duration = Duration::from_secs(60);

/// How long single commands took.
#[derive(Debug)]
pub(super) struct Quiet {
    /// To NATS' acknowledgement.
    stored: Latencies,
    /// To the provider's socket.
    pub(super) arrived: Latencies,
    clock: Offset,
}

/// Publishes one command after the other.
///
/// Fails when one does not arrive.
pub(super) async fn measure(bed: &mut Bed<'_>, commands: usize) -> anyhow::Result<Quiet> {
    let clock = bed.provider.compare_clocks(bed.origin).await?;
    bed.start_dispatchers(1).await?;
    let mut published = HashMap::with_capacity(commands);
    let mut stored = Latencies::new();
    for n in 0..WARM_UP + commands {
        let start = (Instant::now(), bed.now());
        bed.publish(0, Lane::Normal, n).await?;
        if n >= WARM_UP {
            published.insert(n, start.1);
            stored.add(start.0.elapsed());
        }
        sleep(SPACE).await;
    }
    until_settled(bed).await?;
    let arrived = latencies(bed, clock, WARM_UP, &published).await?;
    Ok(Quiet { stored, arrived, clock })
}

/// From each publish to its arrival at the first number; only commands from `first` on count.
///
/// Fails when one did not arrive.
pub(super) async fn latencies(
    bed: &Bed<'_>,
    clock: Offset,
    first: usize,
    published: &HashMap<usize, i64>,
) -> anyhow::Result<Latencies> {
    let seen = bed.provider.detailed_report().await?.take_channel(0)?;
    let arrivals = Arrivals::of(seen, clock)?.times_from(first);
    let mut latencies = Latencies::new();
    for (n, start) in published {
        let at = arrivals.get(n).with_context(|| format!("command {n} did not arrive"))?;
        latencies.add(Duration::from_micros((at - start).try_into().unwrap_or(0)));
    }
    Ok(latencies)
}

async fn until_settled(bed: &mut Bed<'_>) -> anyhow::Result<()> {
    let end = Moment::now() + LAST_LIMIT;
    while bed.waiting().await? > 0 {
        bed.check_running()?;
        ensure!(Moment::now() < end, "commands were not settled within {LAST_LIMIT:?}");
        sleep(LOOK).await;
    }
    Ok(())
}

impl std::fmt::Display for Quiet {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(out, "  {:<44}{PERCENTILES_HEAD}", "")?;
        writeln!(out, "  {:<44}{}", "publish to NATS' acknowledgement", self.stored.percentiles())?;
        writeln!(out, "  {:<44}{}", "publish to the provider's socket", self.arrived.percentiles())?;
        write!(out, "  the simulator's clock is known to \u{b1} {} \u{b5}s", self.clock.doubt_us())
    }
}
