//! `staffetta dead show`.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use staffetta_bus::{DeadStream, LetterId};

use super::print::{page, whole};

/// Which letter to show, and how.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The letter's id, as `staffetta dead list` shows it.
    id: LetterId,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: &Arguments, dead: &DeadStream) -> anyhow::Result<ExitCode> {
    let Some(letter) = dead.get(arguments.id).await? else {
        bail!("there is no dead letter {}", arguments.id);
    };
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", whole(&letter))?;
    } else {
        write!(out, "{}", page(&letter))?;
    }
    Ok(ExitCode::SUCCESS)
}
