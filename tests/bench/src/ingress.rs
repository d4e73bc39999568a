//! `ingress`: signed webhooks to their 200, beside raw publishing with acknowledgement of the same payloads.

mod bed;
mod connection;
mod load;
mod payload;
mod table;

use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use staffetta_testkit::NatsSync;

use self::{bed::Bed, load::Span, payload::Payloads, table::Row};
use crate::disk;

/// How `bench ingress` measures.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Sizes of the webhooks, in bytes
    #[arg(long, value_delimiter = ',', default_values_t = [700, 2048])]
    sizes: Vec<usize>,
    /// Requests in flight
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    concurrency: Vec<usize>,
    /// When NATS syncs to disk
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Sync::Default, Sync::Always])]
    sync: Vec<Sync>,
    /// Runs of each kind in a row of the table, raw and webhooks in turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measured seconds of a run
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds before the measured ones
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
}

/// When NATS syncs to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sync {
    /// The server's own: every two minutes
    Default,
    /// Before each acknowledgement, as in production
    Always,
}

impl Sync {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Always => "always",
        }
    }

    pub(crate) fn of_nats(self) -> NatsSync {
        match self {
            Self::Default => NatsSync::Interval,
            Self::Always => NatsSync::Always,
        }
    }
}

/// Prints a table row by row, then the aims.
///
/// Fails when a process ends, an answer does not come, or a webhook that was answered 200 is not on the stream.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let within_reason = |seconds: f64| (0.0..=3600.0).contains(&seconds);
    ensure!(options.rounds > 0 && options.seconds > 0.0, "nothing to measure");
    ensure!(within_reason(options.seconds) && within_reason(options.warm_up), "a run takes an hour at most");
    ensure!(options.concurrency.iter().all(|&count| count > 0), "concurrency starts at 1");
    let span = Span {
        warm_up: Duration::from_secs_f64(options.warm_up),
        measured: Duration::from_secs_f64(options.seconds),
    };
    println!("{}", disk::describe()?);
    let mut rows = Vec::new();
    for &sync in &options.sync {
        let mut bed = Bed::set_up(sync.of_nats()).await?;
        table::print_head(sync, bed.nats_version());
        for &size in &options.sizes {
            let payloads = Payloads::of(size, bed.address())?;
            for &concurrency in &options.concurrency {
                let mut row = Row::new(sync, size, concurrency);
                for _ in 0..options.rounds {
                    row.raw.push(bed.publish_raw(&payloads, concurrency, span).await?);
                    row.webhooks.push(bed.post_webhooks(&payloads, concurrency, span).await?);
                }
                println!("{row}");
                rows.push(row);
            }
        }
        bed.tear_down().await?;
    }
    table::print_aims(&rows);
    Ok(())
}
