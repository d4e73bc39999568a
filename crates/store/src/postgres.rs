//! PostgreSQL: each batch is one statement, and so one round trip and one transaction.
//!
//! A statement touches commands, then events, then messages, and the rows of each table in the byte order of their
//! keys. Two statements that meet on the same rows therefore wait for each other in turn, never in a circle. What a
//! row is, is asked of the locked row (`ON CONFLICT … DO UPDATE`, `FOR UPDATE`), never of the statement's snapshot:
//! while it waited, another statement may have moved it.

mod columns;
mod dispatch;
mod record;

use std::io;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};
use staffetta_domain::{CommandId, TenantId};
use tokio::time::timeout;

use crate::moment::Moment;
use crate::records::{CommandRow, EventRecord, in_order};
use crate::types::{Announcement, CommandRecord, StoreError, StoreOptions};

/// A connection that was idle for longer is asked whether it still lives before it is used.
const SURELY_ALIVE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(crate) struct Postgres {
    pool: PgPool,
}

impl Postgres {
    pub(crate) async fn connect(url: &str, options: &StoreOptions) -> Result<Self, StoreError> {
        let connect = PgConnectOptions::from_str(url)?
            .application_name("staffetta")
            .options([("statement_timeout", options.timeout.as_millis())])
            .disable_statement_logging();
        let limit = options.timeout;
        let pool = PgPoolOptions::new()
            .max_connections(options.max_connections)
            .acquire_timeout(options.timeout)
            .test_before_acquire(false)
            .before_acquire(move |connection, meta| {
                Box::pin(async move {
                    if meta.idle_for < SURELY_ALIVE {
                        return Ok(true);
                    }
                    Ok(matches!(timeout(limit / 4, connection.ping()).await, Ok(Ok(()))))
                })
            })
            // The pool waits for the end of what a connection was doing, without a limit of its own: one that has
            // fallen silent would never come back, nor let another one be opened in its place.
            .after_release(move |connection, _| {
                Box::pin(async move {
                    let silent = |_| sqlx::Error::Io(io::ErrorKind::TimedOut.into());
                    timeout(limit, connection.ping()).await.map_err(silent)??;
                    Ok(true)
                })
            })
            .connect_with(connect)
            .await?;
        Ok(Self { pool })
    }

    /// Uses a connection of its own: a lock that a failure leaves behind goes with it, and steps may take long.
    pub(crate) async fn migrate(&self, limit: Duration) -> Result<(), StoreError> {
        let mut migrator: Migrator = sqlx::migrate!("./migrations/postgres");
        migrator.set_ignore_missing(true);
        let connect = self.pool.connect_options().as_ref().clone();
        let mut connection = connect.options([("statement_timeout", limit.as_millis())]).connect().await?;
        migrator.run_direct(None, &mut connection, false).await.map_err(|error| match error {
            MigrateError::Execute(error) => StoreError::from(error),
            error => StoreError::Migration(error),
        })?;
        connection.close().await?;
        Ok(())
    }

    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    pub(crate) async fn announced(&self, seqs: &[i64]) -> Result<(), StoreError> {
        sqlx::query(
            "WITH told AS (
                 SELECT seq FROM outbox WHERE seq = ANY ($1) ORDER BY seq FOR UPDATE
             )
             DELETE FROM outbox USING told WHERE outbox.seq = told.seq",
        )
        .bind(seqs)
        .execute(&self.pool)
        .await?;
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
             WHERE recorded_at < $1
             ORDER BY seq
             LIMIT $2",
        )
        .bind(Moment::from(before))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    pub(crate) async fn commands(
        &self,
        keys: &[(TenantId, CommandId)],
    ) -> Result<Vec<Option<CommandRecord>>, StoreError> {
        let tenants: Vec<_> = keys.iter().map(|(tenant, _)| tenant.as_str()).collect();
        let ids: Vec<_> = keys.iter().map(|(_, id)| id.as_str()).collect();
        let rows: Vec<CommandRow> = sqlx::query_as(
            "SELECT c.tenant, c.id, c.channel, c.lane, c.state, m.state AS message, c.wamid, c.attempt, c.reason,
                    c.created_at, c.updated_at
             FROM (SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) AS k (tenant, id)) k
             JOIN commands c ON c.tenant = k.tenant AND c.id = k.id
             LEFT JOIN messages m ON m.channel = c.channel AND m.wamid = c.wamid",
        )
        .bind(tenants)
        .bind(ids)
        .fetch_all(&self.pool)
        .await?;
        in_order(keys, rows)
    }
}
