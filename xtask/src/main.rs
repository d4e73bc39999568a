//! What a developer and CI call: `cargo xtask <command>`.
//!
//! It builds before everything else does, so it stays small: whatever needs the product's crates lives in a package
//! of its own, and its command here builds and runs that package.

mod workspace;

mod bench;
mod ci;
mod demo;
mod deploy;
mod fuzz;
mod test;
mod tools;
mod upgrade;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{bench::Bench, tools::Tools, workspace::Workspace};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Tests, checks and runs Staffetta",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Get what is missing (nats-server), build, and watch messages go out and come back
    Demo {
        /// End after the round trips: 0 if none is missing
        #[arg(long)]
        once: bool,
    },
    /// Get what is missing (nats-server, PostgreSQL), build everything and run every test
    Test {
        /// What to hand to `cargo test`: a filter, or `NAME -- --nocapture`
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Get what is missing (nats-server, PostgreSQL), build for release, and measure
    Bench {
        /// What to measure
        bench: Bench,
        /// What to hand to the benchmark: `-- --help` lists it
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Look for bodies that the parser of webhooks cannot take; each is kept as a regression test
    Fuzz {
        /// How long to look
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Check what is in `deploy/`: the files, then a run of the product that a real Prometheus watches
    CheckDeploy {
        /// Read the files alone, which takes seconds
        #[arg(long, conflicts_with = "renew")]
        files: bool,
        /// Only make anew what is generated: the dashboards, and the chart's copies of them and of the alerts
        #[arg(long)]
        renew: bool,
    },
    /// Build the version before too, and exchange the one for the other and back, service by service, under load
    UpgradeCheck {
        /// The commit of the version before: else HEAD if the tree has changes, and the one before HEAD if it has none
        #[arg(long)]
        from: Option<String>,
    },
    /// Check format, lints, supply chain and what is in `deploy/`, run every test, and fuzz for a while
    Ci,
    /// Get what is missing and print it as shell variables: `eval "$(cargo xtask tools)"`
    Tools,
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let workspace = Workspace::find()?;
    match cli.command {
        Command::Demo { once } => demo::build_and_run(&workspace, if once { &["--once"] } else { &[] }),
        Command::Test { args } => test::run_all(&workspace, &args),
        Command::Bench { bench, args } => bench::run_one(&workspace, bench, &args),
        Command::Fuzz { seconds } => fuzz::look_for(&workspace, seconds),
        Command::CheckDeploy { renew: true, .. } => deploy::renew(&workspace),
        Command::CheckDeploy { files: true, .. } => deploy::check_files(&workspace),
        Command::CheckDeploy { .. } => deploy::check_all(&workspace),
        Command::UpgradeCheck { from } => upgrade::check(&workspace, from.as_deref()),
        Command::Ci => ci::run_steps(&workspace),
        Command::Tools => {
            print!("{}", Tools::get(&workspace)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}
