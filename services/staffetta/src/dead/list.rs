//! `staffetta dead list`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use staffetta_bus::{DeadStream, LetterFilter, LetterId};

use super::Filter;
use super::print::{Table, entry};

/// Which letters to list, and how.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    filter: Filter,
    /// Begin with this letter.
    #[arg(long, value_name = "ID")]
    from: Option<LetterId>,
    /// List at most as many.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Most letters that are read at a time.
const PAGE: usize = 100;
/// Most lines that are kept back to make columns of them.
const LINES: usize = 1_000;

pub(super) async fn run(arguments: Arguments, dead: &DeadStream) -> anyhow::Result<ExitCode> {
    let filter = LetterFilter::from(arguments.filter);
    let (mut next, mut left) = (arguments.from, arguments.limit);
    let mut table = Table::default();
    let mut out = io::stdout().lock();
    while left > 0 {
        let page = dead.page(&filter, next, left.min(PAGE)).await?;
        left -= page.letters.len();
        next = page.next;
        for letter in &page.letters {
            if arguments.json {
                writeln!(out, "{}", entry(letter))?;
            } else {
                table.add(letter);
            }
        }
        if table.len() >= LINES {
            out.write_all(table.take().as_bytes())?;
        }
        if next.is_none() {
            break;
        }
    }
    out.write_all(table.take().as_bytes())?;
    match next {
        Some(next) => eprintln!("there may be more: --from {next}"),
        None if left == arguments.limit && !arguments.json => eprintln!("no dead letters"),
        None => {}
    }
    Ok(ExitCode::SUCCESS)
}
