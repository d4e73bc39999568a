//! `tenants`: what a registry of many tenants costs, at rest and at work, against a small one.

mod standing;
mod steady;

use clap::Args;

use self::{standing::Standing, steady::Steady};
use crate::{
    disk,
    dispatch::Database,
    figures::{Aim, Met},
    registered::Registered,
};

/// How `bench tenants` measures.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Tenants of the great registry
    #[arg(long, default_value_t = 1_000)]
    tenants: usize,
    /// Its channels
    #[arg(long, default_value_t = 3_000)]
    channels: usize,
    /// Its endpoints
    #[arg(long, default_value_t = 1_000)]
    endpoints: usize,
    /// Measured seconds of each figure
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Rounds at work, in turns: the small registry, the great one
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds at rest before a look at a service's memory
    #[arg(long, default_value_t = 5)]
    rest: u64,
}

/// The small registry. Its tenants are the ones that do something, in both.
const SMALL: Registered = Registered { tenants: 10, channels: 30, endpoints: 10 };
/// At work, the great registry may change a figure by so much.
const CHANGE: f64 = 0.2;

/// Prints a table at rest and one at work, then the aims.
///
/// Fails when something that is measured goes wrong.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let &Options { tenants, channels, endpoints, .. } = options;
    let great = Registered { tenants, channels, endpoints };
    anyhow::ensure!(
        tenants >= SMALL.tenants && channels >= tenants && endpoints >= tenants && options.rounds > 0,
        "{} tenants or more, at least as many channels and endpoints, and a round or more",
        SMALL.tenants
    );
    println!("{}", disk::describe()?);
    let database = Database::start().await?;
    println!("\nat rest; small: {SMALL}; great: {great}");
    let small = Standing::measure(&database, SMALL, options.rest).await?;
    println!("{}", standing::table(&small, &Standing::measure(&database, great, options.rest).await?));

    println!("\nat work, medians of {} rounds; the same ten tenants do the same in both", options.rounds);
    let (mut beside_few, mut beside_many) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        beside_few.push(Steady::measure(&database, SMALL, SMALL.tenants, options.seconds).await?);
        beside_many.push(Steady::measure(&database, great, SMALL.tenants, options.seconds).await?);
    }
    let rows = steady::rows(&beside_few, &beside_many);
    println!("  {:<52}{:>10}{:>10}{:>8}", "", "small", "great", "ratio");
    for row in &rows {
        println!("{row}");
    }
    let spread = steady::to_all(&database, great, options.seconds).await?;
    println!("  {:<52}{:>20}", "250 events a second to all endpoints, p50, p99", spread);

    println!("\naims");
    for row in rows.iter().filter(|row| row.is_aim) {
        println!(
            "{}",
            Aim {
                what: row.what.into(),
                measured: format!("{:+.1} %", row.change() * 100.0),
                wanted: format!("at most {:.0} % worse", CHANGE * 100.0),
                met: Met::when(row.worse() <= CHANGE),
            }
        );
    }
    Ok(())
}
