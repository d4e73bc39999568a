//! `staffetta dead`: what could not be processed, and the way back.

mod list;
mod print;
mod progress;
mod replay;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use staffetta_bus::{DeadStream, LetterFilter, ServiceName};
use staffetta_domain::{ChannelId, TenantId};
use staffetta_runtime::Config;

use crate::run::connect;
use crate::terminal::is_broken_pipe;

/// What to do with dead letters.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List letters, oldest first.
    List(list::Arguments),
    /// Show a letter with its payload, which holds personal data.
    Show(show::Arguments),
    /// Put letters back where they came from, and take them from DEAD.
    Replay(replay::Arguments),
}

/// Which letters.
#[derive(Clone, Debug, Default, Args)]
struct Filter {
    /// Written by this service: recorder, dispatcher, …
    #[arg(long)]
    service: Option<ServiceName>,
    /// Known to be this tenant's.
    #[arg(long)]
    tenant: Option<TenantId>,
    /// About this channel.
    #[arg(long)]
    channel: Option<ChannelId>,
    /// Given up for this reason: unrouted, malformed, invalid_command, …
    #[arg(long)]
    reason: Option<String>,
    /// Given up at this time or later, as 2026-11-21T09:30:00Z.
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Given up before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
}

impl From<Filter> for LetterFilter {
    fn from(filter: Filter) -> Self {
        let Filter { service, tenant, channel, reason, since, until } = filter;
        Self { service, tenant, channel, reason, since, until }
    }
}

/// Does what was asked. Fails with 1 where something asked for could not be done.
pub(crate) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<ExitCode> {
    let bus = connect(config, "staffetta dead").await?;
    let dead = DeadStream::new(bus.clone());
    let outcome = match arguments.command {
        Command::List(arguments) => list::run(arguments, &dead).await,
        Command::Show(arguments) => show::run(&arguments, &dead).await,
        Command::Replay(arguments) => replay::run(arguments, config, bus, &dead).await,
    };
    match outcome {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        outcome => outcome,
    }
}
