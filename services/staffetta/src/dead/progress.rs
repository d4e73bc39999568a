//! How far a long replay has come: a bar on a terminal, else a line now and then.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// Between two lines.
const EVERY: Duration = Duration::from_secs(5);

pub(super) enum Progress {
    Bar(ProgressBar),
    Lines { looked_at: u64, next: Instant },
}

impl Progress {
    pub(super) fn start() -> Self {
        if !io::stderr().is_terminal() {
            return Self::Lines { looked_at: 0, next: Instant::now() + EVERY };
        }
        let style = ProgressStyle::with_template("{bar:40} {pos} of {len} looked at, {msg} ({eta} left)");
        Self::Bar(ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    /// So many more letters were looked at, so many are left, and this is what became of them so far.
    pub(super) fn advance(&mut self, more: u64, left: u64, so_far: &str) {
        match self {
            Self::Bar(bar) => {
                bar.inc(more);
                bar.set_length(bar.position() + left);
                bar.set_message(so_far.to_owned());
            }
            Self::Lines { looked_at, next } => {
                *looked_at += more;
                if *next <= Instant::now() {
                    *next = Instant::now() + EVERY;
                    eprintln!("{looked_at} of {} looked at, {so_far}", *looked_at + left);
                }
            }
        }
    }

    /// A line for good.
    pub(super) fn say(&self, line: &str) {
        match self {
            Self::Bar(bar) => bar.suspend(|| eprintln!("{line}")),
            Self::Lines { .. } => eprintln!("{line}"),
        }
    }

    pub(super) fn end(self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
