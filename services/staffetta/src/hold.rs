//! `staffetta hold`: channels that have stopped until somebody acts, and letting them try again.

mod lift;
mod list;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use staffetta_runtime::Config;

use crate::parts::connect_store;
use crate::terminal::is_broken_pipe;

/// What to do with holds.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the channels that have stopped, and why.
    List(list::Arguments),
    /// Let a channel try again, once the cause is gone.
    Lift(lift::Arguments),
}

/// Does what was asked. Fails with 1 where something asked for could not be done.
pub(crate) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<ExitCode> {
    let store = connect_store(config).await.context("opening the database, where the holds are")?;
    let outcome = match arguments.command {
        Command::List(arguments) => list::run(&arguments, &store).await,
        Command::Lift(arguments) => lift::run(&arguments, &store).await,
    };
    store.close().await;
    match outcome {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        outcome => outcome,
    }
}
