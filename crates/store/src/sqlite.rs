//! SQLite: one writer, a few readers, and a transaction for each batch.

pub(crate) mod attempts;
mod contacts;
mod dispatch;
mod endpoints;
mod holds;
mod numbers;
pub(crate) mod reading;
mod record;
mod replays;
mod retention;
mod said;
mod schedule;
mod schema;
pub(crate) mod sends;
pub(crate) mod sent;
mod tell;

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::error::DatabaseError;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Transaction};
use staffetta_domain::{CommandId, TenantId};
use tokio::time::sleep;

use crate::metrics::Connections;
use crate::moment::Moment;
use crate::records::{CommandRow, EventRecord, command, in_order};
use crate::types::{Announcement, CommandRecord, OutboxPlace, StoreError, StoreOptions};

/// Connections for reading. They never wait for the writer.
const READERS: u32 = 4;

/// Pause before a database that another process is just making, or closing, is opened again.
const BUSY: Duration = Duration::from_millis(10);
/// What SQLite says of such a database, its variants in the higher bits.
const SQLITE_BUSY: i32 = 5;

/// Opens a pool, again and again while the database is busy: turning the write-ahead log on does not wait for others by
/// itself. Who calls this has a time limit.
async fn open<F>(connect: impl Fn() -> F) -> Result<SqlitePool, sqlx::Error>
where
    F: Future<Output = Result<SqlitePool, sqlx::Error>>,
{
    loop {
        match connect().await {
            Err(sqlx::Error::Database(error)) if is_busy(error.as_ref()) => sleep(BUSY).await,
            opened => return opened,
        }
    }
}

fn is_busy(error: &dyn DatabaseError) -> bool {
    error.code().and_then(|code| code.parse::<i32>().ok()).is_some_and(|code| code & 0xff == SQLITE_BUSY)
}

#[derive(Clone, Debug)]
pub(crate) struct Sqlite {
    writer: SqlitePool,
    /// The writer's pool where the database is in memory.
    readers: SqlitePool,
    in_memory: bool,
}

impl Sqlite {
    pub(crate) async fn connect(url: &str, options: &StoreOptions) -> Result<Self, StoreError> {
        let connect = SqliteConnectOptions::from_str(url)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(options.timeout)
            .disable_statement_logging();
        let in_memory = url.contains(":memory:") || url.contains("mode=memory");
        if !in_memory
            && let Some(folder) = connect.get_filename().parent().filter(|path| *path != Path::new(""))
        {
            tokio::fs::create_dir_all(folder).await.map_err(sqlx::Error::Io)?;
        }
        // A database in memory ends with its last connection, so the writer's is never closed.
        let pool = || {
            SqlitePoolOptions::new()
                .acquire_timeout(options.timeout)
                .idle_timeout(None)
                .max_lifetime(None)
                .test_before_acquire(false)
        };
        let writer = open(|| pool().max_connections(1).connect_with(connect.clone())).await?;
        let readers = if in_memory {
            writer.clone()
        } else {
            let connect = connect.create_if_missing(false);
            open(|| pool().max_connections(READERS).connect_with(connect.clone())).await?
        };
        Ok(Self { writer, readers, in_memory })
    }

    pub(crate) async fn migrate(&self) -> Result<(), StoreError> {
        let mut migrator: Migrator = sqlx::migrate!("./migrations/sqlite");
        migrator.set_ignore_missing(true);
        // The writer's lock holds off every other process until all steps are done.
        let mut transaction = self.begin().await?;
        migrator.run_direct(None, &mut *transaction, false).await.map_err(|error| match error {
            MigrateError::Execute(error) => StoreError::from(error),
            error => StoreError::Migration(error),
        })?;
        transaction.commit().await?;
        Ok(())
    }

    pub(crate) fn connections(&self) -> Connections {
        let readers = (!self.in_memory).then_some(&self.readers);
        let of = |pool: &SqlitePool| {
            Connections::of(pool.size(), pool.num_idle(), pool.options().get_max_connections())
        };
        [&self.writer].into_iter().chain(readers).map(of).sum()
    }

    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.readers).await?;
        Ok(())
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// A transaction that writes: it takes the lock at once, so that it never has to give up half way.
    async fn begin(&self) -> Result<Transaction<'static, sqlx::Sqlite>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    pub(crate) async fn announced(&self, places: &[OutboxPlace]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        let batches: BTreeSet<i64> = places.iter().map(|place| place.batch).collect();
        for batch in batches {
            let told = places.iter().filter(|place| place.batch == batch).map(|place| place.seq);
            let told = serde_json::to_string(&told.collect::<Vec<_>>()).expect("a list of numbers is JSON");
            sqlx::query(
                "UPDATE outbox
                 SET seqs = (SELECT json_group_array(value) FROM json_each(outbox.seqs)
                             WHERE value NOT IN (SELECT value FROM json_each(?2)))
                 WHERE batch = ?1",
            )
            .bind(batch)
            .bind(told)
            .execute(&mut *transaction)
            .await?;
            sqlx::query("DELETE FROM outbox WHERE batch = ? AND seqs = '[]'")
                .bind(batch)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    pub(crate) async fn unannounced(
        &self,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<Announcement>, StoreError> {
        let rows: Vec<EventRecord> = sqlx::query_as(
            "SELECT o.batch, e.seq, e.id, e.tenant, e.channel, e.type, e.subject, e.time, e.data, e.command_id,
                    e.callback_data, e.conversation, e.sequence, e.traceparent
             FROM outbox o, json_each(o.seqs) s
             JOIN events e ON e.seq = s.value
             WHERE o.recorded_at < ?
             ORDER BY o.batch, e.seq
             LIMIT ?",
        )
        .bind(Moment::from(before))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    pub(crate) async fn commands(
        &self,
        keys: &[(TenantId, CommandId)],
    ) -> Result<Vec<Option<CommandRecord>>, StoreError> {
        let mut reader = self.readers.acquire().await?;
        let mut rows: Vec<CommandRow> = Vec::with_capacity(keys.len());
        for (tenant, id) in keys {
            let row = sqlx::query_as(concat!(
                "SELECT ",
                command!(),
                " FROM commands c
                      LEFT JOIN messages m ON m.channel = c.channel AND m.wamid = c.wamid
                      LEFT JOIN schedule s ON s.tenant = c.tenant AND s.id = c.id
                      WHERE c.tenant = ? AND c.id = ?"
            ))
            .bind(tenant.as_str())
            .bind(id.as_str())
            .fetch_optional(&mut *reader)
            .await?;
            rows.extend(row);
        }
        in_order(keys, rows)
    }
}
