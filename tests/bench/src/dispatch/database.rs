//! PostgreSQL as production runs it, as far as durability goes: the test cluster itself never waits for the disk.

use std::time::Duration;

use anyhow::Context;
use sqlx::{Connection, PgConnection};
use staffetta_testkit::{Postgres, until};
use tokio::time::timeout;

use crate::machine;

const QUERY_LIMIT: Duration = Duration::from_secs(30);
const RELOAD_LIMIT: Duration = Duration::from_secs(30);

/// A cluster that syncs each commit to disk.
#[derive(Debug)]
pub(crate) struct Database {
    cluster: &'static Postgres,
    postmaster: u32,
}

impl Database {
    /// Fails when PostgreSQL is not installed, does not come up, or keeps its settings.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let cluster = Postgres::shared().await?;
        let url = cluster.database().await?.url().to_owned();
        let postmaster =
            timeout(QUERY_LIMIT, make_durable(&url)).await.context("PostgreSQL is too slow")??;
        Ok(Self { cluster, postmaster })
    }

    /// The address of a fresh, empty database.
    pub(crate) async fn create(&self) -> anyhow::Result<String> {
        Ok(self.cluster.database().await?.url().to_owned())
    }

    /// CPU time of all of its processes so far.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        machine::cpu_with_children(self.postmaster)
    }
}

/// Gives back the id of the process that all others of the cluster are children of.
async fn make_durable(url: &str) -> anyhow::Result<u32> {
    let mut connection = PgConnection::connect(url).await.context("connecting to PostgreSQL")?;
    for sql in [
        "ALTER SYSTEM SET fsync = 'on'",
        "ALTER SYSTEM SET full_page_writes = 'on'",
        "SELECT pg_reload_conf()",
    ] {
        sqlx::query(sql).execute(&mut connection).await.context("changing PostgreSQL's settings")?;
    }
    until("PostgreSQL to sync", RELOAD_LIMIT, async || {
        let sql = "SELECT current_setting('fsync') || current_setting('full_page_writes')";
        let settings: String = sqlx::query_scalar(sql).fetch_one(&mut connection).await.ok()?;
        (settings == "onon").then_some(())
    })
    .await?;
    let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
    let postmaster = machine::parent(backend.try_into().context("PostgreSQL's process id is negative")?)?;
    connection.close().await.context("closing the connection")?;
    Ok(postmaster)
}
