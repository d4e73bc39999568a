//! The one binary: a subcommand for each service, all of them together, and the operator's tools.

mod apply;
mod dead;
mod demo;
mod doctor;
mod export;
mod get;
mod healthy;
mod hold;
mod nats_child;
mod nats_keys;
mod parts;
mod rotate;
mod run;
mod terminal;
mod watch;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use staffetta_runtime::Config;

use crate::parts::Part;

/// The gateway between ERP systems and the WhatsApp Business Platform.
#[derive(Debug, Parser)]
#[command(name = "staffetta", version, about, disable_help_subcommand = true)]
struct Cli {
    /// The configuration, a TOML file. Every key also goes as STAFFETTA__SECTION__KEY.
    #[arg(long, env = "STAFFETTA_CONFIG", global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All services in one process, with a NATS server of its own where `nats.url` names none.
    Up,
    /// Take webhooks in.
    Ingress,
    /// Turn webhooks into events.
    Recorder,
    /// Send commands.
    Dispatcher,
    /// Deliver events to the tenants' endpoints.
    Delivery,
    /// Serve the tenants' HTTP API.
    Api,
    /// Stand in for WhatsApp's Cloud API.
    Simulator,
    /// Write registry files into the registry.
    Apply(apply::Arguments),
    /// Show what the registry holds.
    Get(get::Arguments),
    /// Write the registry as a file that `apply` takes.
    Export,
    /// Seal the registry's secrets anew with `master_key`, after it has replaced `previous_master_key`.
    RotateMasterKey,
    /// List, show and replay what could not be processed.
    Dead(dead::Arguments),
    /// List the channels that have stopped sending, and let them try again.
    Hold(hold::Arguments),
    /// Print fresh keys for tenants that connect to NATS themselves.
    NatsKeys,
    /// Look at a running installation, and say what is wrong and what to do: 0 if nothing is, 2 if something is.
    Doctor(doctor::Arguments),
    /// Ask a process on this machine whether it is ready: 0 if it is. For health checks.
    Healthy,
    /// Bring the database's schema, the streams and the buckets up to date.
    Migrate,
    /// Show a message coming in and two going out, with everything that takes part.
    Demo {
        /// End after the round trips: 0 if none is missing.
        #[arg(long)]
        once: bool,
    },
}

/// What a configuration that can't be used ends with: EX_USAGE of sysexits.
const WRONG_CONFIG: u8 = 64;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let config = match Config::load(cli.config.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            if let Command::Doctor(arguments) = &cli.command {
                return doctor::without_configuration(arguments, &error);
            }
            eprintln!("{error}");
            return ExitCode::from(WRONG_CONFIG);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(execute(cli.command, config, cli.config.as_deref()));
    // Whatever still runs here is a blocking call that nobody waits for.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {failure:#}");
            ExitCode::FAILURE
        }
    }
}

async fn execute(command: Command, config: Config, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    match command {
        Command::NatsKeys => return nats_keys::run(),
        Command::Demo { once } => return demo::run(once).await,
        Command::Dead(arguments) => return dead::run(arguments, &config).await,
        Command::Hold(arguments) => return hold::run(arguments, &config).await,
        Command::Apply(arguments) => return apply::run(arguments, &config).await,
        Command::Get(arguments) => return get::run(arguments, &config).await,
        Command::Export => return export::run(&config).await,
        Command::RotateMasterKey => return rotate::run(&config).await,
        Command::Doctor(arguments) => return doctor::run(arguments, &config, file).await,
        Command::Healthy => return healthy::run(&config).await,
        Command::Migrate => run::migrate(&config).await?,
        Command::Up => run::up(config).await?,
        Command::Ingress => run::alone(&config, Part::Ingress).await?,
        Command::Recorder => run::alone(&config, Part::Recorder).await?,
        Command::Dispatcher => run::alone(&config, Part::Dispatcher).await?,
        Command::Delivery => run::alone(&config, Part::Delivery).await?,
        Command::Api => run::alone(&config, Part::Api).await?,
        Command::Simulator => run::alone(&config, Part::Simulator).await?,
    }
    Ok(ExitCode::SUCCESS)
}
