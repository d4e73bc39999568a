//! A row for each size and concurrency, and the aims below.

use std::{fmt, time::Duration};

use super::{Sync, load::Run};
use crate::figures::{Aim, Met, PERCENTILES_HEAD, Percentiles, median, millis};

/// The aims hold at this concurrency.
const AIMED: usize = 64;
/// A generator busier than this is part of what limits the figure.
const BUSY: f64 = 0.9;

/// All runs of one size and concurrency.
#[derive(Debug)]
pub(super) struct Row {
    sync: Sync,
    size: usize,
    concurrency: usize,
    pub(super) raw: Vec<Run>,
    pub(super) webhooks: Vec<Run>,
}

impl Row {
    pub(super) fn new(sync: Sync, size: usize, concurrency: usize) -> Self {
        Self { sync, size, concurrency, raw: Vec::new(), webhooks: Vec::new() }
    }

    fn per_second(&self) -> f64 {
        median(self.webhooks.iter().map(|run| run.per_second))
    }

    fn ratio(&self) -> f64 {
        let raw = median(self.raw.iter().map(|run| run.per_second));
        if raw > 0.0 { self.per_second() / raw } else { 0.0 }
    }

    fn cpu_of_ingress(&self) -> f64 {
        cpu(&self.webhooks, 0)
    }

    fn latencies(runs: &[Run]) -> Percentiles {
        Percentiles::medians(&runs.iter().map(|run| run.latencies).collect::<Vec<_>>())
    }
}

/// The median of the `which`th watched process.
fn cpu(runs: &[Run], which: usize) -> f64 {
    median(runs.iter().filter_map(|run| run.cpu_micros.get(which).copied()))
}

fn generator(runs: &[Run]) -> String {
    let busy = median(runs.iter().map(|run| run.generator));
    let mark = if busy > BUSY { "!" } else { "" };
    format!("{:.0}%{mark}", busy * 100.0)
}

pub(super) fn print_head(sync: Sync, nats_version: &str) {
    println!("\nnats-server {nats_version}, file storage, sync {}", sync.name());
    println!(
        "{:>6} {:>4} | {:^71} | {:^52} |",
        "", "", "webhooks to their 200", "raw publish to its acknowledgement"
    );
    println!(
        "{:>6} {:>4} | {:>8} {PERCENTILES_HEAD} {:>9} {:>9} {:>6} {:>8} | {:>8} {PERCENTILES_HEAD} {:>9} {:>6} | {:>6}",
        "bytes",
        "c",
        "/s",
        "ingress\u{b5}s",
        "nats \u{b5}s",
        "gen",
        "503",
        "/s",
        "nats \u{b5}s",
        "gen",
        "ratio"
    );
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused: u64 = self.webhooks.iter().map(|run| run.refused).sum();
        write!(out, "{:>6} {:>4} | ", self.size, self.concurrency)?;
        write!(out, "{:>8.0} {} ", self.per_second(), Self::latencies(&self.webhooks))?;
        write!(out, "{:>9.1} {:>9.1} ", self.cpu_of_ingress(), cpu(&self.webhooks, 1))?;
        write!(out, "{:>6} {refused:>8} | ", generator(&self.webhooks))?;
        let raw = median(self.raw.iter().map(|run| run.per_second));
        write!(out, "{raw:>8.0} {} ", Self::latencies(&self.raw))?;
        write!(out, "{:>9.1} {:>6} | {:>6.2}", cpu(&self.raw, 0), generator(&self.raw), self.ratio())
    }
}

/// Prints each aim that the rows have a figure for.
pub(super) fn print_aims(rows: &[Row]) {
    let aimed: Vec<&Row> = rows.iter().filter(|row| row.concurrency == AIMED).collect();
    if aimed.is_empty() {
        return;
    }
    println!("\naims at concurrency {AIMED}");
    for aim in aimed.into_iter().flat_map(aims) {
        println!("{aim}");
    }
    println!(
        "\nmedians of the rounds; gen: how busy the generator's one thread was, ! where it limits the figure"
    );
}

fn aims(row: &Row) -> Vec<Aim> {
    let name = |what: &str| format!("{} B, {}: {what}", row.size, row.sync.name());
    let ratio = |wanted: f64| Aim {
        what: name("webhooks for each raw publish"),
        measured: format!("{:.2}", row.ratio()),
        wanted: format!("{wanted} or more"),
        met: Met::when(row.ratio() >= wanted),
    };
    let cpu = row.cpu_of_ingress();
    let cpu = Aim {
        what: name("CPU of ingress for a webhook"),
        measured: format!("{cpu:.1} \u{b5}s"),
        wanted: "less than 40 \u{b5}s".into(),
        met: Met::when(cpu > 0.0 && cpu < 40.0),
    };
    match row.sync {
        Sync::Default => vec![ratio(0.4), cpu],
        Sync::Always => {
            let p99 = Row::latencies(&row.webhooks).p99;
            let throughput = Aim {
                what: name("webhooks a second"),
                measured: format!("{:.0}", row.per_second()),
                wanted: "10000 or more".into(),
                met: Met::when(row.per_second() >= 10_000.0),
            };
            let latency = Aim {
                what: name("p99"),
                measured: format!("{} ms", millis(p99)),
                wanted: "less than 50 ms".into(),
                met: Met::when(!p99.is_zero() && p99 < Duration::from_millis(50)),
            };
            vec![throughput, latency, ratio(5.0), cpu]
        }
    }
}
