//! One command at a time: how long it takes from its publish to the provider's socket when nothing else is going on.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use tokio::time::{Instant as Moment, sleep};

use super::{
    bed::{Bed, text},
    provider::{micros_since, number},
};
use crate::figures::{Latencies, PERCENTILES_HEAD};

/// Commands before the measured ones: connections open, statements are prepared.
const WARM_UP: usize = 50;
/// Between two commands, so that each finds the one before settled.
const SPACE: Duration = Duration::from_millis(50);
const LOOK: Duration = Duration::from_millis(250);
const LAST_LIMIT: Duration = Duration::from_secs(60);

/// Lines to print.
///
/// Fails when a command does not arrive.
pub(super) async fn measure(bed: &mut Bed<'_>, commands: usize) -> anyhow::Result<String> {
    bed.start_dispatcher().await?;
    let origin = Instant::now();
    for n in 0..WARM_UP {
        bed.publish(0, n).await?;
        sleep(SPACE).await;
    }
    until_settled(bed).await?;
    bed.provider.forget().await?;

    let mut published = HashMap::with_capacity(commands);
    let mut stored = Latencies::new();
    for n in WARM_UP..WARM_UP + commands {
        let start = Instant::now();
        published.insert(text(n), micros_since(origin));
        bed.publish(0, n).await?;
        stored.add(start.elapsed());
        sleep(SPACE).await;
    }
    until_settled(bed).await?;
    let offset = bed.provider.compare_clocks(origin).await?;

    let report = bed.provider.detailed_report().await?;
    let seen = report.channels.get(&number(0)).context("the simulator forgot a number")?;
    ensure!(seen.sends.len() == commands, "{} of {commands} commands arrived", seen.sends.len());
    let mut arrived = Latencies::new();
    for arrival in &seen.sends {
        let text = arrival.text.as_ref().context("a send without text arrived")?;
        let start = published.get(text).context("a send that nobody asked for arrived")?;
        let took = offset.ours(arrival.at_us) - start;
        arrived.add(Duration::from_micros(took.try_into().unwrap_or(0)));
    }
    Ok(format!(
        "  {:<44}{PERCENTILES_HEAD}\n  {:<44}{}\n  {:<44}{}\n  the simulator's clock is known to \u{b1} {} \u{b5}s",
        "",
        "publish to NATS' acknowledgement",
        stored.percentiles(),
        "publish to the provider's socket",
        arrived.percentiles(),
        offset.doubt_us()
    ))
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
