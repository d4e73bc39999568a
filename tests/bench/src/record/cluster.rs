//! PostgreSQL as production runs it, as far as durability goes.

use std::time::Duration;

use anyhow::{Context, ensure};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use staffetta_testkit::Postgres;
use tokio::time::timeout;

use crate::machine;

/// What one statement that is not measured may take.
const QUERY_LIMIT: Duration = Duration::from_secs(1_800);

/// Waiting for the disk, and half of the memory that a small server gives its database. Options win over these.
const SETTINGS: [(&str, &str); 4] =
    [("fsync", "on"), ("full_page_writes", "on"), ("synchronous_commit", "on"), ("shared_buffers", "1GB")];

/// Whoever reads a figure wants to know these.
const SHOWN: [&str; 8] = [
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
    "autovacuum",
];

/// A cluster that syncs each commit to disk; gone with its files when dropped.
#[derive(Debug)]
pub(super) struct Cluster {
    postgres: Postgres,
    postmaster: u32,
}

impl Cluster {
    /// `settings` are `name=value`, and win over the ones here.
    ///
    /// Fails when one is not of that form or PostgreSQL does not take it, and when `fsync` is not on.
    pub(super) async fn start(settings: &[String]) -> anyhow::Result<Self> {
        let ours = SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut all: Vec<_> = ours.collect();
        for setting in settings {
            let (name, value) = setting
                .split_once('=')
                .with_context(|| format!("{setting} is not of the form name=value"))?;
            all.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        let postgres = Postgres::start_with(&all).await?;
        let postmaster = postgres.process().id().context("PostgreSQL does not run")?;
        Ok(Self { postgres, postmaster })
    }

    /// The address of a fresh, empty database.
    pub(super) async fn create(&self) -> anyhow::Result<String> {
        Ok(self.postgres.database().await?.url().to_owned())
    }

    /// CPU time of all of its processes so far.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        machine::cpu_with_children(self.postmaster)
    }

    /// One line about its settings.
    ///
    /// Fails when it does not wait for the disk: its figures would mean nothing.
    pub(super) async fn describe(&self) -> anyhow::Result<String> {
        let mut connection = connect(&self.create().await?).await?;
        let mut shown = Vec::new();
        for name in SHOWN {
            let value: String = within(
                sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(&mut connection),
            )
            .await?;
            ensure!(name != "fsync" || value == "on", "PostgreSQL must run with fsync on");
            shown.push(format!("{name} {value}"));
        }
        close(connection).await?;
        Ok(format!("PostgreSQL: {}", shown.join(", ")))
    }
}

/// A connection of its own.
pub(super) async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    within(PgConnection::connect(url)).await.context("connecting to PostgreSQL")
}

/// Ends a connection in order.
pub(super) async fn close(connection: PgConnection) -> anyhow::Result<()> {
    within(connection.close()).await.context("closing a connection to PostgreSQL")
}

/// Runs a statement that is made of names from the database's own catalogue, and of nothing from outside.
pub(super) async fn run(connection: &mut PgConnection, sql: impl Into<String>) -> anyhow::Result<()> {
    let sql = sql.into();
    let first = sql.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned();
    let statement = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection);
    within(statement).await.with_context(|| format!("PostgreSQL failed with: {first} \u{2026}"))?;
    Ok(())
}

/// Waits for PostgreSQL, but not for ever.
pub(super) async fn within<T>(answer: impl Future<Output = sqlx::Result<T>>) -> anyhow::Result<T> {
    let answer = timeout(QUERY_LIMIT, answer).await;
    Ok(answer.with_context(|| format!("PostgreSQL did not answer within {QUERY_LIMIT:?}"))??)
}

/// Writes out what is dirty, so that whatever comes next starts like everything else.
pub(super) async fn settle(url: &str) -> anyhow::Result<()> {
    let mut connection = connect(url).await?;
    run(&mut connection, "CHECKPOINT").await?;
    close(connection).await
}
