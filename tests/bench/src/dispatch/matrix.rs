//! One channel under every combination: a line for each.

use std::{fmt, time::Duration};

use super::{
    cell::{Cell, Outcome},
    database::Database,
    ends::{Ends, How},
    provider::Spread,
};
use crate::figures::{Aim, Met, millis};

/// Of what users' messages leave, this share should be used.
const USED: f64 = 0.99;
/// Sends should go on after a kill, and after a stop, within these times.
const AFTER_KILL: Duration = Duration::from_secs(4);
const AFTER_STOP: Duration = Duration::from_secs(1);

/// The combinations.
#[derive(Clone, Debug)]
pub(super) struct Matrix {
    pub(super) rates: Vec<u32>,
    pub(super) inbound: Vec<u32>,
    pub(super) spread: Spread,
    pub(super) replicas: Vec<usize>,
    pub(super) ends: Vec<Ends>,
    pub(super) seconds: u32,
}

/// What was measured where.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    pub(super) failed: usize,
}

#[derive(Debug)]
struct Row {
    cell: Cell,
    outcome: Outcome,
}

impl Matrix {
    /// Prints each line as soon as it is measured. A cell that goes wrong is told in its line and counted.
    pub(super) async fn measure(&self, database: &Database) -> Table {
        println!(
            "{:>5} {:>3} {:>4}  {:<10} {:>8} {:>6} {:>8} {:>8} {:>5} {:>5}  refused",
            "rate", "in%", "repl", "ends", "used", "worst", "kill ms", "stop ms", "twice", "order"
        );
        let mut table = Table::default();
        for cell in self.cells() {
            match cell.measure(database).await {
                Ok(outcome) => {
                    let row = Row { cell, outcome };
                    println!("{row}");
                    table.rows.push(row);
                }
                Err(error) => {
                    println!("{cell} went wrong: {error:#}");
                    table.failed += 1;
                }
            }
        }
        table
    }

    fn cells(&self) -> impl Iterator<Item = Cell> {
        let (spread, seconds) = (self.spread, self.seconds);
        self.rates.iter().flat_map(move |&rate| {
            self.inbound.iter().flat_map(move |&inbound| {
                self.replicas.iter().flat_map(move |&replicas| {
                    let cell = move |&ends| Cell { rate, inbound, spread, replicas, ends, seconds };
                    self.ends.iter().map(cell)
                })
            })
        })
    }
}

impl Table {
    /// The worst of each figure.
    pub(super) fn aims(&self) -> Vec<Aim> {
        let Some(least) = self.rows.iter().map(|row| row.outcome.used).min_by(f64::total_cmp) else {
            return Vec::new();
        };
        let above = |row: &Row| row.outcome.worst_second.saturating_sub(row.cell.rate.into());
        let most_above = self.rows.iter().map(above).max().unwrap_or(0);
        let twice: u64 = self.rows.iter().map(|row| row.outcome.twice).sum();
        let out_of_order: usize = self.rows.iter().map(|row| row.outcome.out_of_order).sum();
        let refused: u64 = self.rows.iter().map(|row| row.outcome.refusals()).sum();
        let none = |what: &str, count: u64| Aim {
            what: what.into(),
            measured: count.to_string(),
            wanted: "none".into(),
            met: Met::when(count == 0),
        };
        let mut aims = vec![
            Aim {
                what: "least used share of what was left".into(),
                measured: format!("{:.2} %", least * 100.0),
                wanted: "99 % or more".into(),
                met: Met::when(least >= USED),
            },
            none("most above the rate in a sliding second", most_above),
        ];
        for (what, how, limit) in [
            ("longest without a send around a kill", How::Killed, AFTER_KILL),
            ("longest without a send around a stop", How::Stopped, AFTER_STOP),
        ] {
            if let Some(longest) = self.rows.iter().filter_map(|row| row.outcome.longest_gap(how)).max() {
                aims.push(Aim {
                    what: what.into(),
                    measured: format!("{} ms", millis(longest)),
                    wanted: format!("{} ms or less", limit.as_millis()),
                    met: Met::when(longest <= limit),
                });
            }
        }
        aims.extend([
            none("commands that arrived twice", twice),
            none("commands out of order", out_of_order as u64),
            none("refused sends", refused),
        ]);
        aims
    }
}

impl Row {
    /// What falls short, by the head of its column.
    fn short(&self) -> Vec<&'static str> {
        let Self { cell, outcome } = self;
        let late = |how, limit| outcome.longest_gap(how).is_some_and(|gap| gap > limit);
        [
            ("used", outcome.used < USED),
            ("worst", outcome.worst_second > cell.rate.into()),
            ("kill", late(How::Killed, AFTER_KILL)),
            ("stop", late(How::Stopped, AFTER_STOP)),
            ("twice", outcome.twice > 0),
            ("order", outcome.out_of_order > 0),
            ("refused", outcome.refusals() > 0),
        ]
        .into_iter()
        .filter_map(|(what, short)| short.then_some(what))
        .collect()
    }
}

impl Outcome {
    fn longest_gap(&self, of: How) -> Option<Duration> {
        self.gaps.iter().filter(|&&(how, _)| how == of).map(|&(_, gap)| gap).max()
    }

    fn refusals(&self) -> u64 {
        self.refused.iter().map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, inbound, replicas, ends, .. } = self;
        write!(out, "{rate:>5} {inbound:>3} {replicas:>4}  {:<10}", ends.name())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cell, outcome } = self;
        let gap = |how| outcome.longest_gap(how).map_or_else(|| "-".into(), millis);
        let refused: Vec<_> =
            outcome.refused.iter().map(|(code, count)| format!("{code} \u{d7} {count}")).collect();
        let refused = if refused.is_empty() { "-".into() } else { refused.join(", ") };
        let short = self.short();
        let met = if short.is_empty() { "PASS".into() } else { format!("short: {}", short.join(", ")) };
        write!(
            out,
            "{cell} {:>6.2} % {:>6} {:>8} {:>8} {:>5} {:>5}  {refused:<12} {met}",
            outcome.used * 100.0,
            outcome.worst_second,
            gap(How::Killed),
            gap(How::Stopped),
            outcome.twice,
            outcome.out_of_order
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(used: f64, worst_second: u64, kill: u64, refused: u64) -> Row {
        let cell =
            Cell { rate: 250, inbound: 20, spread: Spread::Even, replicas: 3, ends: Ends::Both, seconds: 10 };
        let gaps =
            vec![(How::Killed, Duration::from_millis(kill)), (How::Stopped, Duration::from_millis(300))];
        let refused = vec![("130429".into(), refused)];
        Row { cell, outcome: Outcome { used, worst_second, gaps, twice: 0, out_of_order: 0, refused } }
    }

    #[test]
    fn a_row_names_what_falls_short() {
        assert_eq!(row(0.991, 250, 3_900, 0).short(), [""; 0]);
        assert_eq!(row(0.98, 251, 4_100, 1).short(), ["used", "worst", "kill", "refused"]);
        assert!(row(0.98, 250, 3_000, 0).to_string().ends_with("short: used"));
    }

    #[test]
    fn the_aims_are_judged_by_the_worst_row() {
        let table = Table { rows: vec![row(0.999, 250, 3_000, 0), row(0.99, 253, 3_500, 0)], failed: 0 };
        let aims = table.aims();
        let short: Vec<_> = aims.iter().filter(|aim| aim.met == Met::Short).collect();
        assert!(matches!(short[..], [Aim { measured, .. }] if measured == "3"), "{aims:?}");
        assert!(Table::default().aims().is_empty());
    }
}
