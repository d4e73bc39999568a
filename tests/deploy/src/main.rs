//! Runs the product beside a real Prometheus. Fails if a query of a dashboard or of an alert finds nothing, if a metric
//! is not as `docs/metrics.md` says, and if a service can be gone without an alert.
//!
//! `cargo xtask check-deploy` builds it and what it runs.

mod alerting;
mod load;
mod prometheus;
mod scraped;
mod shown;
mod world;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::ensure;
use clap::Parser;
use staffetta_deploy_check::{Dashboard, Page, Rules};
use tokio_util::sync::CancellationToken;

use crate::load::Load;
use crate::prometheus::Prometheus;
use crate::world::World;

#[derive(Debug, Parser)]
#[command(name = "staffetta-deploy-check", about, disable_help_subcommand = true)]
struct Cli {
    /// The folder with `deploy/` and `docs/`
    #[arg(long)]
    workspace: PathBuf,
    /// The program
    #[arg(long)]
    prometheus: PathBuf,
    /// The program
    #[arg(long)]
    promtool: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let page = Page::of(&cli.workspace)?;
    let rules = Rules::of(&cli.workspace)?;
    let dashboards = Dashboard::all_of(&cli.workspace)?;

    let began = Instant::now();
    let mut world = World::start(&cli.workspace).await?;
    let mut load = Load::start(&world).await?;
    let prometheus = Prometheus::start(&cli.prometheus, &rules, world.targets()).await?;
    println!("{:>6.1} s  everything runs", began.elapsed().as_secs_f32());

    let looked = CancellationToken::new();
    let looking = async {
        let faults = shown::look_at_all(&prometheus, &dashboards, &rules, &mut load).await;
        looked.cancel();
        faults
    };
    let (mut faults, ()) = tokio::try_join!(looking, world.go_through_outages(&looked))?;
    println!("{:>6.1} s  each query was asked", began.elapsed().as_secs_f32());
    faults.extend(scraped::compare_in_time(&world, &page, &cli.promtool).await?);
    println!("{:>6.1} s  each metric was held against its page", began.elapsed().as_secs_f32());
    load.stop().await?;
    faults.extend(alerting::miss_each_service(&prometheus, &mut world).await?);
    println!("{:>6.1} s  each service was missed", began.elapsed().as_secs_f32());

    for fault in &faults {
        println!("fault: {fault}");
    }
    ensure!(faults.is_empty(), "{} faults, see above", faults.len());
    Ok(())
}
