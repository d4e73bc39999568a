//! `record`: a backlog of webhooks to committed rows and announced events, beside raw inserts of the same rows; and one
//! webhook after the other, from its 200 to its event.

mod backlog;
mod bed;
mod check;
mod cluster;
mod end_to_end;
mod plans;
mod population;
mod prefill;
mod raw;
mod webhooks;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use clap::Args;

use self::{
    backlog::Drained,
    bed::Bed,
    cluster::Cluster,
    end_to_end::{EndToEnd, Pace},
    population::Population,
};
use crate::{
    disk,
    figures::{Aim, Met, millis},
    ingress::Sync,
};

/// How `bench record` measures.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Leaves on WEBHOOKS when the recorder starts [default: 1000000; 200000 with --prefill]
    #[arg(long)]
    leaves: Option<u64>,
    /// Tenants that the channels belong to
    #[arg(long, default_value_t = 5)]
    tenants: usize,
    /// Channels that the leaves belong to
    #[arg(long, default_value_t = 20)]
    channels: usize,
    /// Users who write and are written to, each on one channel
    #[arg(long, default_value_t = 30_000)]
    users: usize,
    /// What the leaves are made from: the same number, the same leaves
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Connections of raw inserting, one run for each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    raw: Vec<usize>,
    /// Webhooks a second, end to end
    #[arg(long, default_value_t = 250)]
    rate: u32,
    /// Measured seconds, end to end
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// When NATS syncs to disk
    #[arg(long, value_enum, default_value_t = Sync::Always)]
    sync: Sync,
    /// A PostgreSQL setting as name=value; shared_buffers is 1GB unless set here
    #[arg(long = "postgres", value_name = "SETTING")]
    settings: Vec<String>,
    /// Instead: the backlog with an empty database, then with one that holds so many events, and the plans of what is
    /// looked up most
    #[arg(long, value_name = "ROWS")]
    prefill: Option<u64>,
}

const LEAVES: u64 = 1_000_000;
const LEAVES_BESIDE_PREFILLED: u64 = 200_000;
/// Memory may be so many times what it was after a tenth of the backlog.
const FLAT: f64 = 1.25;
const END_TO_END: Duration = Duration::from_millis(50);

/// What the recorder has to do.
#[derive(Clone, Copy, Debug)]
struct Load {
    population: Population,
    leaves: u64,
    seed: u64,
    sync: Sync,
}

/// Prints the figures of each part as it ends, then the aims.
///
/// Fails when a process ends, and when a leaf is not recorded and announced, or is twice.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let load = options.load()?;
    println!("{}", disk::describe()?);
    let cluster = Cluster::start(&options.settings).await?;
    println!("{}", cluster.describe().await?);
    match options.prefill {
        None => beside_raw(&cluster, load, options).await,
        Some(rows) => beside_prefilled(&cluster, load, rows).await,
    }
}

impl Options {
    fn load(&self) -> anyhow::Result<Load> {
        let &Self { tenants, channels, users, seed, sync, .. } = self;
        ensure!(
            tenants > 0 && channels >= tenants && users >= channels,
            "there are no more tenants than channels, and no more channels than users"
        );
        ensure!(channels <= 10_000 && users <= 10_000_000, "at most 10000 channels and 10000000 users");
        ensure!(self.seconds > 0 && self.raw.iter().all(|&count| count > 0), "nothing to measure");
        ensure!(self.leaves != Some(0) && self.prefill != Some(0), "nothing to record");
        let usual = if self.prefill.is_some() { LEAVES_BESIDE_PREFILLED } else { LEAVES };
        let population = Population { tenants, channels, users };
        Ok(Load { population, leaves: self.leaves.unwrap_or(usual), seed, sync })
    }
}

async fn beside_raw(cluster: &Cluster, load: Load, options: &Options) -> anyhow::Result<()> {
    let bed = Bed::set_up(cluster.create().await?, load).await?;
    let drained = record(&bed, cluster, load).await?;

    println!("\nthe same rows, inserted into empty tables");
    let mut fastest = 0.0_f64;
    for &connections in &options.raw {
        let raw = raw::insert(&bed.url, connections, load.leaves).await?;
        fastest = fastest.max(raw.leaves_per_second());
        println!("{raw}");
    }

    println!("\nend to end");
    cluster::settle(&bed.url).await?;
    let mut recorder = bed.start("recorder").await?;
    let pace = Pace { rate: options.rate, seconds: options.seconds };
    let end_to_end = end_to_end::measure(&bed, &mut recorder, load, pace).await?;
    println!("{end_to_end}");
    recorder.stop().await?;
    bed.tear_down().await?;

    println!("\naims");
    for aim in aims(&drained, fastest, &end_to_end) {
        println!("{aim}");
    }
    Ok(())
}

fn aims(drained: &Drained, raw: f64, end_to_end: &EndToEnd) -> [Aim; 3] {
    let share = drained.per_second() / raw;
    let first = drained.memory.first().map_or(f64::NAN, |&first| first as f64);
    let grown = drained.most_memory as f64 / first;
    let p99 = end_to_end.p99();
    [
        Aim {
            what: "recorded, as a share of raw inserts".into(),
            measured: format!("{share:.2}"),
            wanted: "0.5 or more".into(),
            met: Met::when(share >= 0.5),
        },
        Aim {
            what: "most memory, times that after a tenth".into(),
            measured: format!("{grown:.2}"),
            wanted: format!("{FLAT} or less"),
            met: Met::when(grown <= FLAT),
        },
        Aim {
            what: "from the 200 to the event, p99".into(),
            measured: format!("{} ms", millis(p99)),
            wanted: format!("less than {} ms", millis(END_TO_END)),
            met: Met::when(p99 < END_TO_END),
        },
    ]
}

async fn beside_prefilled(cluster: &Cluster, load: Load, rows: u64) -> anyhow::Result<()> {
    println!("\nan empty database");
    let bed = Bed::set_up(cluster.create().await?, load).await?;
    let empty = record(&bed, cluster, load).await?;
    bed.tear_down().await?;

    println!("\na database with {rows} events");
    // A NATS server of its own: the one before would take the same events for repeats.
    let bed = Bed::set_up(cluster.create().await?, load).await?;
    // The recorder's start makes the tables.
    bed.start("recorder").await?.stop().await?;
    prefill::fill(&bed.url, load.population, rows).await?;
    let full = record(&bed, cluster, load).await?;
    println!("  {:>10.2} of the speed with an empty database", full.per_second() / empty.per_second());

    println!("\nplans");
    plans::print(&bed.url).await?;
    bed.tear_down().await
}

/// Lays the backlog, records it, makes sure of it and prints how it went.
async fn record(bed: &Bed, cluster: &Cluster, load: Load) -> anyhow::Result<Drained> {
    let before = check::newest(&bed.url).await?;
    let laid = backlog::lay(bed, load).await?;
    cluster::settle(&bed.url).await?;
    println!("\nbacklog: {laid}; nats-server {}, sync {}", bed.nats_version(), load.sync.name());
    let (recorder, drained) = backlog::drain(bed, cluster, load.leaves).await?;
    println!("{drained}");
    recorder.stop().await?;
    check::all_once(bed, load.leaves, before).await?;
    println!("  {} events in the database, the same on EVENTS, none of them twice", load.leaves);
    Ok(drained)
}

/// The Unix second.
fn now() -> anyhow::Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).context("the clock stands before 1970")?.as_secs())
}
