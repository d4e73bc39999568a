//! `dispatch`: commands from SEND to the provider's socket.

mod arrivals;
mod backlog;
mod bed;
mod beside;
mod cell;
mod commands;
mod database;
mod ends;
mod matrix;
mod provider;
mod quiet;
mod waiting;

use std::time::Duration;

use anyhow::ensure;
use clap::{Args, ValueEnum};

use self::{
    backlog::{Drained, Load},
    bed::Bed,
    commands::Lane,
    ends::Ends,
    matrix::Matrix,
    provider::{Spread, Webhooks},
    waiting::Waiting,
};
pub(crate) use self::{beside::Beside, database::Database};
use crate::{
    disk,
    figures::{Aim, Met, micros_each, millis},
    registered::Registered,
};

/// How `bench dispatch` measures.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What is measured
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Part::ALL)]
    parts: Vec<Part>,
    /// matrix: messages a second that the channel may have [default: 80,250,1000]
    #[arg(long, value_delimiter = ',')]
    rates: Option<Vec<u32>>,
    /// matrix: how much of the rate is users' messages, in percent [default: 0,20,60]
    #[arg(long, value_delimiter = ',')]
    inbound: Option<Vec<u32>>,
    /// matrix: how users' messages lie in time
    #[arg(long, value_enum, default_value_t = Spread::Even)]
    spread: Spread,
    /// matrix: how many dispatchers run [default: 1,3]
    #[arg(long, value_delimiter = ',')]
    replicas: Option<Vec<usize>>,
    /// matrix: which of them end meanwhile
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Ends::None, Ends::Both])]
    ends: Vec<Ends>,
    /// matrix: the measured seconds of a cell in which none ends [default: 10]
    #[arg(long)]
    seconds: Option<u32>,
    /// together: channels that send [default: 40]
    #[arg(long)]
    channels: Option<usize>,
    /// together: commands that wait on each of them [default: 3000]
    #[arg(long)]
    commands_each: Option<usize>,
    /// single: commands, one at a time [default: 400]
    #[arg(long)]
    singles: Option<usize>,
    /// waiting: commands in the great backlog [default: 1000000]
    #[arg(long)]
    backlog: Option<usize>,
    /// A short look: other defaults, which fit no aim
    #[arg(long)]
    quick: bool,
}

/// What can be measured apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// One channel: each rate with each share of users' messages, with replicas that end and without
    Matrix,
    /// Many channels together
    Together,
    /// One command at a time
    Single,
    /// Urgent commands beside a campaign
    Urgent,
    /// A great backlog
    Waiting,
}

impl Part {
    const ALL: [Self; 5] = [Self::Matrix, Self::Together, Self::Single, Self::Urgent, Self::Waiting];
}

/// Messages a second of each channel, except where the matrix or a great backlog says otherwise.
const RATE: u32 = 250;
/// Of the channel with the great backlog: the more is sent, the more would be kept.
const FAST: u32 = 1_000;
/// An urgent command leaves within this.
const URGENT: Duration = Duration::from_millis(100);
/// Memory may be so many times what it was after the first minute.
const FLAT: f64 = 1.25;

/// How much is measured.
struct Extent {
    matrix: Matrix,
    together: Load,
    singles: usize,
    /// Commands and seconds.
    campaign: (usize, u64),
    backlog: (usize, u64),
}

/// Prints the figures of each part as it ends, then the aims.
///
/// Fails when a process ends by itself, and when a command does not arrive.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let extent = options.extent()?;
    println!("{}", disk::describe()?);
    let database = Database::start().await?;
    let (mut aims, mut failed) = (Vec::new(), 0);
    for part in &options.parts {
        match part {
            Part::Matrix => {
                println!("\none channel with a backlog, users' messages {}", extent.matrix.spread.name());
                let table = extent.matrix.measure(&database).await;
                aims.extend(table.aims());
                failed += table.failed;
            }
            Part::Together => aims.extend(together(&database, extent.together).await?),
            Part::Single => single(&database, extent.singles).await?,
            Part::Urgent => {
                let beside = waiting(&database, RATE, extent.campaign).await?;
                aims.push(urgent_aim(RATE, &beside));
            }
            Part::Waiting => {
                let great = waiting(&database, FAST, extent.backlog).await?;
                aims.extend([urgent_aim(FAST, &great), memory_aim(&great)]);
            }
        }
    }
    println!("\naims");
    for aim in aims {
        println!("{aim}");
    }
    ensure!(failed == 0, "{failed} combinations went wrong");
    Ok(())
}

impl Options {
    fn extent(&self) -> anyhow::Result<Extent> {
        let quick = |usual, quick| if self.quick { quick } else { usual };
        let of = |given: &Option<Vec<u32>>, usual: &[u32], short: &[u32]| {
            given.clone().unwrap_or_else(|| if self.quick { short } else { usual }.to_vec())
        };
        let replicas = if self.quick { vec![3] } else { vec![1, 3] };
        let matrix = Matrix {
            rates: of(&self.rates, &[80, 250, 1_000], &[250]),
            inbound: of(&self.inbound, &[0, 20, 60], &[0, 60]),
            spread: self.spread,
            replicas: self.replicas.clone().unwrap_or(replicas),
            ends: self.ends.clone(),
            seconds: self.seconds.unwrap_or(if self.quick { 4 } else { 10 }),
        };
        let together = Load {
            channels: self.channels.unwrap_or(quick(40, 8)),
            commands_each: self.commands_each.unwrap_or(quick(3_000, 1_000)),
            rate: RATE,
            lane: Lane::Normal,
            others: Registered::NONE,
        };
        let singles = self.singles.unwrap_or(quick(400, 50));
        let backlog = self.backlog.unwrap_or(quick(1_000_000, 50_000));
        let is_some = matrix.seconds > 0
            && matrix.rates.iter().all(|rate| (1..=10_000).contains(rate))
            && matrix.replicas.iter().all(|replicas| (1..=32).contains(replicas))
            && together.channels > 0
            && together.commands_each > 1
            && singles > 0
            && backlog > 0;
        ensure!(is_some, "nothing to measure, or more than 10000 a second or 32 replicas");
        ensure!(
            matrix.inbound.iter().all(|&share| share <= 90),
            "at most 90 % of the rate are users' messages"
        );
        let (campaign, great) =
            if self.quick { ((20_000, 10), (backlog, 20)) } else { ((100_000, 60), (backlog, 150)) };
        Ok(Extent { matrix, together, singles, campaign, backlog: great })
    }
}

async fn together(database: &Database, load: Load) -> anyhow::Result<[Aim; 2]> {
    let Load { channels, commands_each, rate, .. } = load;
    println!("\n{channels} channels, {commands_each} commands waiting on each, {rate}/s allowed to each");
    let mut bed = Bed::set_up(database, load, Webhooks::None).await?;
    let drained = backlog::drain(&mut bed, load).await?;
    println!("{drained}");
    bed.tear_down().await?;
    Ok([
        Aim {
            what: "together: least used share of a channel".into(),
            measured: format!("{:.2} %", drained.least_used_share * 100.0),
            wanted: "99 % or more".into(),
            met: Met::when(drained.least_used_share >= 0.99),
        },
        Aim {
            what: "together: sends in the worst second".into(),
            measured: drained.worst_second.to_string(),
            wanted: format!("{rate} or fewer"),
            met: Met::when(drained.worst_second <= u64::from(rate)),
        },
    ])
}

async fn single(database: &Database, commands: usize) -> anyhow::Result<()> {
    println!("\none command at a time, nothing waiting: {commands} commands");
    let others = Registered::NONE;
    let load = Load { channels: 1, commands_each: 0, rate: RATE, lane: Lane::Normal, others };
    let mut bed = Bed::set_up(database, load, Webhooks::None).await?;
    println!("{}", quiet::measure(&mut bed, commands).await?);
    bed.tear_down().await
}

async fn waiting(
    database: &Database,
    rate: u32,
    (commands, seconds): (usize, u64),
) -> anyhow::Result<Waiting> {
    println!(
        "\n{commands} commands in the lane bulk of one channel, {rate}/s, one urgent a second, {seconds} s"
    );
    let others = Registered::NONE;
    let load = Load { channels: 1, commands_each: commands, rate, lane: Lane::Bulk, others };
    let mut bed = Bed::set_up(database, load, Webhooks::None).await?;
    let seen = waiting::measure(&mut bed, commands, Duration::from_secs(seconds)).await?;
    println!("{seen}");
    bed.tear_down().await?;
    Ok(seen)
}

fn urgent_aim(rate: u32, seen: &Waiting) -> Aim {
    let longest = seen.urgent.longest();
    Aim {
        what: format!("longest of an urgent command at {rate}/s"),
        measured: format!("{} ms", millis(longest)),
        wanted: format!("{} ms or less", URGENT.as_millis()),
        met: Met::when(longest <= URGENT),
    }
}

fn memory_aim(seen: &Waiting) -> Aim {
    let grown = seen.grown();
    Aim {
        what: "most memory, times that after a minute".into(),
        measured: format!("{grown:.2}"),
        wanted: format!("{FLAT} or less"),
        met: Met::when(grown <= FLAT),
    }
}

impl std::fmt::Display for Drained {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let each = |cpu| micros_each(cpu, self.accepted);
        writeln!(
            out,
            "  {:>10.1} messages a second\n  {:>10.2} % of the rate used by the channel that used least, {:.2} % on average",
            self.per_second,
            self.least_used_share * 100.0,
            self.mean_used_share * 100.0
        )?;
        writeln!(
            out,
            "  {:>10} sends of one channel in its worst sliding second, {} refused by the provider",
            self.worst_second, self.refused
        )?;
        writeln!(
            out,
            "  CPU \u{b5}s a message: dispatcher {:.1}, PostgreSQL {:.1}, nats-server {:.1}, simulator {:.1}",
            each(self.cpu.dispatcher),
            each(self.cpu.postgres),
            each(self.cpu.nats),
            each(self.cpu.simulator)
        )?;
        write!(out, "  {:>10.1} MB at most in the dispatcher", self.most_memory as f64 / f64::from(1 << 20))
    }
}
