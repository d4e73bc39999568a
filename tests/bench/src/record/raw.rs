//! The rows that a run left, inserted into empty copies of its tables as fast as a client can: what a recorder would
//! reach that had nothing to understand, to look up or to announce.

mod cells;
mod table;

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use tokio::time::timeout;

use self::{cells::Cells, table::Table};
use super::cluster::{close, connect, run, settle, within};

/// Rows of the largest table that one transaction inserts.
const BATCH: i64 = 500;
/// Batches in memory at a time: they are read, then inserted, and only the latter is measured.
const CHUNK: i64 = 20;
const INSERT_LIMIT: Duration = Duration::from_secs(60);

/// How raw inserting went.
#[derive(Debug)]
pub(super) struct Raw {
    connections: usize,
    leaves: u64,
    rows: i64,
    /// Of each table.
    counts: String,
    /// Spent in transactions, without reading the rows.
    time: Duration,
}

/// Inserts all rows of the database at `url` again, over so many connections, and makes sure that they are there.
/// Nothing stays of it.
pub(super) async fn insert(url: &str, connections: usize, leaves: u64) -> anyhow::Result<Raw> {
    let mut reader = connect(url).await?;
    let tables = Table::all_with_rows(&mut reader).await?;
    let rows = tables.iter().map(|table| table.rows).sum();
    let counts: Vec<_> = tables.iter().map(|table| format!("{} {}", table.name, table.rows)).collect();
    for table in &tables {
        run(&mut reader, table.copy()).await?;
    }
    settle(url).await?;

    let mut writers = Vec::new();
    for _ in 0..connections {
        writers.push(connect(url).await?);
    }
    run(&mut reader, "SET synchronize_seqscans = off").await?;
    run(&mut reader, "BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    for table in &tables {
        run(&mut reader, table.cursor()).await?;
    }
    let batches = (tables.iter().map(|table| table.rows).max().unwrap_or(0) + BATCH - 1) / BATCH;
    let statement = statement(&tables);
    let mut time = Duration::ZERO;
    for first in (0..batches).step_by(usize::try_from(CHUNK)?) {
        let mut chunk = Vec::new();
        for batch in first..batches.min(first + CHUNK) {
            chunk.push(read(&mut reader, &tables, batch, batches).await?);
        }
        let start = Instant::now();
        let parts = writers.iter_mut().enumerate().map(async |(n, writer)| {
            for batch in chunk.iter().skip(n).step_by(connections) {
                write(writer, &statement, batch).await?;
            }
            anyhow::Ok(())
        });
        try_join_all(parts).await?;
        time += start.elapsed();
    }
    run(&mut reader, "COMMIT").await?;
    for table in &tables {
        let found = table::count(&mut reader, &table.copy_name()).await?;
        ensure!(found == table.rows, "{found} of {} rows of {} were inserted", table.rows, table.name);
        run(&mut reader, format!("DROP TABLE {}", table.copy_name())).await?;
    }
    for connection in writers.into_iter().chain([reader]) {
        close(connection).await?;
    }
    Ok(Raw { connections, leaves, rows, counts: counts.join(", "), time })
}

/// One statement for a batch: a single way there and back, and a transaction of its own.
fn statement(tables: &[Table]) -> String {
    let mut parameter = 0;
    let inserts: Vec<_> = tables
        .iter()
        .enumerate()
        .map(|(n, table)| format!("t{n} AS ({})", table.insert(&mut parameter)))
        .collect();
    format!("WITH {} SELECT", inserts.join(", "))
}

/// The columns of each table's share in a batch. Every batch has a share of every table, as large as all others.
async fn read(
    reader: &mut PgConnection,
    tables: &[Table],
    batch: i64,
    batches: i64,
) -> anyhow::Result<Vec<Cells>> {
    let mut columns = Vec::new();
    for table in tables {
        let share = table.rows * (batch + 1) / batches - table.rows * batch / batches;
        // To fetch no row would fetch the last one again.
        let rows = if share == 0 {
            Vec::new()
        } else {
            let fetch = AssertSqlSafe(table.fetch(share));
            within(sqlx::query(fetch).persistent(false).fetch_all(&mut *reader)).await?
        };
        for (n, column) in table.columns.iter().enumerate() {
            let mut cells = Cells::new(column.wire);
            for row in &rows {
                cells.add(row.try_get_raw(n).with_context(|| format!("reading {}", table.name))?)?;
            }
            columns.push(cells);
        }
    }
    Ok(columns)
}

async fn write(writer: &mut PgConnection, statement: &str, batch: &[Cells]) -> anyhow::Result<()> {
    let mut query = sqlx::query(AssertSqlSafe(statement));
    for cells in batch {
        query = query.bind(cells);
    }
    timeout(INSERT_LIMIT, query.execute(writer))
        .await
        .context("an insert took too long")?
        .context("inserting rows")?;
    Ok(())
}

impl Raw {
    /// Leaves a second, if recording were nothing but inserting.
    pub(super) fn leaves_per_second(&self) -> f64 {
        self.leaves as f64 / self.time.as_secs_f64()
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, rows, counts, time, .. } = self;
        write!(
            out,
            "  {:>10.0} leaves a second, {:.0} rows a second, over {connections} connection(s): {rows} rows in {:.1} s \
             ({counts})",
            self.leaves_per_second(),
            *rows as f64 / time.as_secs_f64(),
            time.as_secs_f64()
        )
    }
}
