//! `dispatch`: commands from SEND to the provider's socket.

mod backlog;
mod bed;
mod database;
mod provider;
mod quiet;

use anyhow::ensure;
use clap::Args;

use self::{
    backlog::{Drained, Load},
    bed::Bed,
    database::Database,
};
use crate::{
    disk,
    figures::{Aim, Met, micros_each},
};

/// How `bench dispatch` measures.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Commands on the one channel
    #[arg(long, default_value_t = 10_000)]
    commands: usize,
    /// Channels that send together
    #[arg(long, default_value_t = 20)]
    channels: usize,
    /// Commands on each of them
    #[arg(long, default_value_t = 5_000)]
    commands_each: usize,
    /// Messages a second that a channel may send
    #[arg(long, default_value_t = 250)]
    rate: u32,
    /// Commands published one at a time, for the latency at rest
    #[arg(long, default_value_t = 400)]
    singles: usize,
}

/// Prints the figures of each part as it ends, then the aims.
///
/// Fails when a process ends, a command does not arrive, or one arrives twice.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let Options { commands, channels, commands_each, rate, singles } = *options;
    ensure!(
        commands > 1 && commands_each > 1 && channels > 0 && rate > 0 && singles > 0,
        "nothing to measure"
    );
    println!("{}", disk::describe()?);
    let database = Database::start().await?;

    let alone = Load { channels: 1, commands_each: commands, rate };
    println!("\none channel, {commands} commands waiting, {rate}/s allowed");
    let alone = drain(&database, alone).await?;

    let together = Load { channels, commands_each, rate };
    println!("\n{channels} channels, {commands_each} commands waiting on each, {rate}/s allowed to each");
    let together = drain(&database, together).await?;

    println!("\none command at a time, nothing waiting: {singles} commands");
    let mut bed = Bed::set_up(&database, Load { channels: 1, commands_each: 0, rate }).await?;
    println!("{}", quiet::measure(&mut bed, singles).await?);
    bed.tear_down().await?;

    println!("\naims");
    for aim in aims(&alone, &together) {
        println!("{aim}");
    }
    Ok(())
}

async fn drain(database: &Database, load: Load) -> anyhow::Result<Drained> {
    let mut bed = Bed::set_up(database, load).await?;
    let drained = backlog::drain(&mut bed, load).await?;
    println!("{drained}");
    bed.tear_down().await?;
    Ok(drained)
}

fn aims(alone: &Drained, together: &Drained) -> [Aim; 4] {
    let used = |what: &str, share: f64| Aim {
        what: what.into(),
        measured: format!("{:.2} %", share * 100.0),
        wanted: "99 % or more".into(),
        met: Met::when(share >= 0.99),
    };
    let worst = |what: &str, drained: &Drained| Aim {
        what: what.into(),
        measured: drained.worst_second.to_string(),
        wanted: format!("{} or fewer", drained.load.rate),
        met: Met::when(drained.worst_second <= u64::from(drained.load.rate)),
    };
    [
        used("one channel: used share of the rate", alone.least_used_share),
        worst("one channel: sends in the worst second", alone),
        used("together: least used share of a channel", together.least_used_share),
        worst("together: sends in the worst second", together),
    ]
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
        write!(
            out,
            "  CPU \u{b5}s a message: dispatcher {:.1}, PostgreSQL {:.1}, nats-server {:.1}, simulator {:.1}",
            each(self.cpu.dispatcher),
            each(self.cpu.postgres),
            each(self.cpu.nats),
            each(self.cpu.simulator)
        )
    }
}
