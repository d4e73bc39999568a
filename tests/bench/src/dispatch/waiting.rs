//! A channel with a great backlog in its lane `bulk`: the memory that it costs, and what urgent commands take beside it.

use std::{collections::HashMap, fmt, time::Duration};

use anyhow::ensure;
use tokio::time::{Instant, sleep, sleep_until};

use super::{bed::Bed, commands::Lane, quiet};
use crate::figures::{Latencies, PERCENTILES_HEAD, millis};

/// One urgent command a second, a little more: not always at the same place in a second.
const SPACE: Duration = Duration::from_millis(1_013);
/// The dispatcher's memory is looked at so often.
const LOOK: Duration = Duration::from_millis(200);
/// The memory after this time is what the most is compared with.
const FIRST: Duration = Duration::from_secs(60);
/// Looks at the memory that are shown.
const SHOWN: u32 = 6;
/// The last urgent command arrives within this.
const LAST: Duration = Duration::from_secs(10);

/// How it went.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) urgent: Latencies,
    commands: usize,
    left: u64,
    /// When the first look that counts was, and what it saw, in bytes.
    pub(super) first: (Duration, u64),
    pub(super) most: u64,
    /// After equal times.
    shown: Vec<u64>,
}

/// Starts a dispatcher and looks on for `span`. The backlog should last longer.
///
/// Fails when it did not, and when an urgent command does not arrive.
pub(super) async fn measure(bed: &mut Bed<'_>, commands: usize, span: Duration) -> anyhow::Result<Waiting> {
    let clock = bed.provider.compare_clocks(bed.origin).await?;
    bed.start_dispatchers(1).await?;
    let start = Instant::now();
    let first_after = FIRST.min(span / 2);
    let (mut first, mut most, mut shown) = (None, 0, Vec::new());
    let mut published = HashMap::new();
    let mut next = start + SPACE;
    while start.elapsed() < span {
        sleep_until(next.min(Instant::now() + LOOK)).await;
        bed.check_running()?;
        if Instant::now() >= next {
            next += SPACE;
            let n = commands + published.len();
            let at = bed.now();
            bed.publish(0, Lane::Urgent, n).await?;
            published.insert(n, at);
        }
        let (elapsed, memory) = (start.elapsed(), bed.memory()?);
        most = memory.max(most);
        if first.is_none() && elapsed >= first_after {
            first = Some((elapsed, memory));
        }
        if elapsed * SHOWN >= span * (shown.len() as u32 + 1) {
            shown.push(memory);
        }
    }
    sleep(LAST.min(span)).await;
    let left = bed.waiting().await?;
    ensure!(left > 0, "the backlog was gone before the measurement was over");
    let urgent = quiet::latencies(bed, clock, commands, &published).await?;
    Ok(Waiting { urgent, commands, left, first: first.unwrap_or((span, most)), most, shown })
}

impl Waiting {
    /// The most memory, as a multiple of that of the first look.
    pub(super) fn grown(&self) -> f64 {
        self.most as f64 / self.first.1 as f64
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
        writeln!(out, "  {:<44}{PERCENTILES_HEAD}   max ms", "")?;
        let what = "urgent: publish to the provider's socket";
        let (urgent, longest) = (self.urgent.percentiles(), millis(self.urgent.longest()));
        writeln!(out, "  {what:<44}{urgent} {longest:>8}")?;
        writeln!(
            out,
            "  the dispatcher's memory: {} MB after {:.0} s, {} MB at most; over time {} MB",
            megabytes(self.first.1),
            self.first.0.as_secs_f64(),
            megabytes(self.most),
            self.shown.iter().map(|&bytes| megabytes(bytes)).collect::<Vec<_>>().join(" ")
        )?;
        write!(out, "  {} of {} commands still waited", self.left, self.commands)
    }
}
