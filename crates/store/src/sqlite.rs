//! SQLite: one writer, a few readers, and a transaction for each batch.

mod dispatch;
mod record;

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::error::DatabaseError;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Transaction};
use staffetta_domain::{CommandId, TenantId};
use tokio::time::sleep;

use crate::moment::Moment;
use crate::records::{CommandRow, EventRecord, in_order};
use crate::rows::MessageRow;
use crate::types::{Announcement, CommandRecord, StoreError, StoreOptions};

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
    readers: SqlitePool,
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
        Ok(Self { writer, readers })
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

    pub(crate) async fn announced(&self, seqs: &[i64]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for seq in seqs {
            sqlx::query("DELETE FROM outbox WHERE seq = ?").bind(seq).execute(&mut *transaction).await?;
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
            "SELECT seq, id, tenant, channel, type, subject, time, data, command_id, callback_data
             FROM outbox JOIN events USING (seq)
             WHERE recorded_at < ?
             ORDER BY seq
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
            let row = sqlx::query_as(
                "SELECT c.tenant, c.id, c.channel, c.lane, c.state, m.state AS message, c.wamid, c.attempt, c.reason,
                        c.created_at, c.updated_at
                 FROM commands c LEFT JOIN messages m ON m.channel = c.channel AND m.wamid = c.wamid
                 WHERE c.tenant = ? AND c.id = ?",
            )
            .bind(tenant.as_str())
            .bind(id.as_str())
            .fetch_optional(&mut *reader)
            .await?;
            rows.extend(row);
        }
        in_order(keys, rows)
    }
}

/// Moves a message up, fills what is not known of it yet, and never takes anything back.
async fn keep_message(
    connection: &mut SqliteConnection,
    row: &MessageRow<'_>,
    now: Moment,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO messages (channel, wamid, tenant, direction, user_key, kind, content, state, command_id,
                               provider_time, recorded_at, updated_at)
         SELECT u.channel, u.wamid, u.tenant, u.direction, COALESCE(u.user_key, c.user_key),
                COALESCE(u.kind, c.kind), COALESCE(u.content, c.content), u.state, u.command_id, u.provider_time,
                u.now, u.now
         FROM (SELECT ?1 AS channel, ?2 AS wamid, ?3 AS tenant, ?4 AS direction, ?5 AS user_key, ?6 AS kind,
                      ?7 AS content, ?8 AS state, ?9 AS command_id, ?10 AS provider_time, ?11 AS now) u
         LEFT JOIN commands c ON c.tenant = u.tenant AND c.id = u.command_id
         WHERE true
         ON CONFLICT (channel, wamid) DO UPDATE SET
             state = max(messages.state, excluded.state),
             user_key = COALESCE(messages.user_key, excluded.user_key),
             kind = COALESCE(messages.kind, excluded.kind),
             content = COALESCE(messages.content, excluded.content),
             command_id = COALESCE(messages.command_id, excluded.command_id),
             provider_time = COALESCE(min(messages.provider_time, excluded.provider_time),
                                      messages.provider_time, excluded.provider_time),
             updated_at = excluded.updated_at
         WHERE excluded.state > messages.state
            OR excluded.provider_time < messages.provider_time
            OR (messages.user_key IS NULL AND excluded.user_key IS NOT NULL)
            OR (messages.kind IS NULL AND excluded.kind IS NOT NULL)
            OR (messages.content IS NULL AND excluded.content IS NOT NULL)
            OR (messages.command_id IS NULL AND excluded.command_id IS NOT NULL)
            OR (messages.provider_time IS NULL AND excluded.provider_time IS NOT NULL)",
    )
    .bind(row.channel)
    .bind(row.wamid.as_ref())
    .bind(row.tenant)
    .bind(row.direction())
    .bind(row.user.as_deref())
    .bind(row.kind.as_deref())
    .bind(row.content.as_deref())
    .bind(row.state.rank())
    .bind(row.command.map(CommandId::as_str))
    .bind(row.at)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}
