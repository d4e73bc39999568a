//! `staffetta dead replay`.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use staffetta_bus::{Bus, DeadStream, Letter, LetterFilter, LetterId};
use staffetta_outbox::{ReplayError, Replays};
use staffetta_runtime::Config;
use staffetta_store::Store;

use super::Filter;
use super::progress::Progress;
use crate::parts::connect_store;

/// Which letters to replay.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// These letters.
    #[arg(required_unless_present_any = ["Filter", "all"], conflicts_with_all = ["Filter", "all"])]
    id: Vec<LetterId>,
    #[command(flatten)]
    filter: Filter,
    /// All that are there now.
    #[arg(long)]
    all: bool,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Replay at most as many.
    #[arg(long)]
    limit: Option<usize>,
}

/// Most letters that are read and replayed at a time.
const PAGE: usize = 100;

/// What became of the letters so far.
#[derive(Debug, Default)]
struct Counts {
    replayed: u64,
    failed: u64,
    /// Those of them that can't be replayed, ever.
    hopeless: u64,
    /// Not replayed, because their messages may have been sent.
    left: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} replayed, {} failed", self.replayed, self.failed)?;
        if self.left > 0 {
            write!(f, ", {} left alone", self.left)?;
        }
        Ok(())
    }
}

struct Run {
    /// None in a dry run.
    replays: Option<Replays>,
    progress: Progress,
    counts: Counts,
}

pub(super) async fn run(
    arguments: Arguments,
    config: &Config,
    bus: Bus,
    dead: &DeadStream,
) -> anyhow::Result<ExitCode> {
    let replays = match arguments.dry_run {
        true => None,
        false => Some(Replays::new(bus, open_store(config).await?)),
    };
    let mut run = Run { replays, progress: Progress::start(), counts: Counts::default() };
    let outcome = if arguments.id.is_empty() {
        run.some(dead, &arguments.filter.into(), arguments.limit.unwrap_or(usize::MAX)).await
    } else {
        let named = arguments.id.iter().take(arguments.limit.unwrap_or(usize::MAX));
        run.named(dead, named.copied()).await
    };
    let Run { progress, counts, replays } = run;
    progress.end();
    match replays {
        Some(_) => println!("{counts}"),
        None => println!("{counts} (dry run: nothing was done)"),
    }
    outcome?;
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Bringing the database up to date is the services' business.
async fn open_store(config: &Config) -> anyhow::Result<Store> {
    connect_store(config).await.context("opening the database, where commands are queued again")
}

impl Run {
    async fn named(&mut self, dead: &DeadStream, ids: impl Iterator<Item = LetterId>) -> anyhow::Result<()> {
        for id in ids {
            match dead.get(id).await? {
                Some(letter) => self.replay(&[letter]).await,
                None => self.fail(id, "it is not there"),
            }
        }
        Ok(())
    }

    /// Replays what is there now: a letter that dies again meanwhile is not taken twice.
    async fn some(
        &mut self,
        dead: &DeadStream,
        filter: &LetterFilter,
        mut wanted: usize,
    ) -> anyhow::Result<()> {
        let Some(last) = dead.last().await? else { return Ok(()) };
        let mut next = None;
        while wanted > 0 {
            let page = dead.page(filter, next, wanted.min(PAGE)).await?;
            let mut letters = page.letters;
            letters.retain(|letter| letter.id <= last);
            if filter.reason.is_none() {
                let before = letters.len();
                letters.retain(|letter| !letter.may_be_sent_already());
                self.leave(before - letters.len());
            }
            wanted -= letters.len();
            let (failed, hopeless) = (self.counts.failed, self.counts.hopeless);
            self.replay(&letters).await;
            self.progress.advance(page.looked_at, page.left, &self.counts.to_string());
            // What can't be replayed ever says nothing of the others.
            let all_failed =
                self.counts.failed - failed == letters.len() as u64 && self.counts.hopeless == hopeless;
            anyhow::ensure!(
                letters.len() < PAGE || !all_failed,
                "{PAGE} failed one after the other: stopped"
            );
            next = page.next.filter(|next| *next <= last);
            if next.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn leave(&mut self, count: usize) {
        if count > 0 && self.counts.left == 0 {
            self.progress.say(
                "letters of outcome_unknown are left alone: their messages may have been sent. \
                 Replay them with --reason outcome_unknown, or by id",
            );
        }
        self.counts.left += count as u64;
    }

    async fn replay(&mut self, letters: &[Letter]) {
        let Some(replays) = &self.replays else {
            for letter in letters {
                match letter.way_back() {
                    Ok(way) => {
                        println!("{} {} would go to {}", letter.id, letter.reason, way.subject);
                        self.counts.replayed += 1;
                    }
                    Err(why) => {
                        self.counts.hopeless += 1;
                        self.fail(letter.id, &why.to_string());
                    }
                }
            }
            return;
        };
        for (letter, outcome) in letters.iter().zip(replays.replay(letters).await) {
            match outcome {
                Ok(_) => self.counts.replayed += 1,
                Err(error) => {
                    self.counts.hopeless += u64::from(matches!(error, ReplayError::NotReplayable(_)));
                    self.fail(letter.id, &chain(&error));
                }
            }
        }
    }

    fn fail(&mut self, id: LetterId, why: &str) {
        self.counts.failed += 1;
        self.progress.say(&format!("{id}: {why}"));
    }
}

/// An error with all its causes, on one line.
fn chain(error: &ReplayError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
