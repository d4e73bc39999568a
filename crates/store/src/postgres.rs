//! PostgreSQL: each batch is one transaction of a few statements.
//!
//! A transaction touches commands, then conversations, then aliases, then events, then messages, and the rows of each
//! table in the order of their keys. Two transactions that meet on the same rows therefore wait for each other in turn,
//! never in a circle. What a row is, is asked of the locked row (`ON CONFLICT … DO UPDATE`, `FOR UPDATE`), never of the
//! statement's snapshot: while it waited, another transaction may have moved it. What can't be asked so (whether an
//! event or an alias is new, where an alias leads) is looked up first and proved by the write: a transaction that was
//! overtaken in between starts again.

pub(crate) mod attempts;
mod columns;
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

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, Transaction};
use staffetta_domain::{CommandId, TenantId};
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::metrics::Connections;
use crate::moment::Moment;
use crate::records::{CommandRow, EventRecord, command, in_order};
use crate::types::{Announcement, CommandRecord, OutboxPlace, StoreError, StoreOptions};
use columns::column;
use tell::Abort;

/// A connection that was idle for longer is asked whether it still lives before it is used.
const SURELY_ALIVE: Duration = Duration::from_secs(5);

/// Longest wait for a lock while the schema is brought up to date: behind whoever waits for a table, everybody else who
/// wants it waits too.
const LOCK_WAIT: Duration = Duration::from_secs(3);
/// Pause before it is tried again.
const LOCK_PAUSE: Duration = Duration::from_millis(500);
/// What PostgreSQL says when that wait is over.
const LOCK_NOT_AVAILABLE: &str = "55P03";

fn is_locked_out(error: &MigrateError) -> bool {
    match error {
        MigrateError::Execute(sqlx::Error::Database(error))
        | MigrateError::ExecuteMigration(sqlx::Error::Database(error), _) => {
            error.code().as_deref() == Some(LOCK_NOT_AVAILABLE)
        }
        _ => false,
    }
}

fn joined(seqs: &BTreeSet<i64>) -> String {
    seqs.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
}

/// How often a transaction starts again because others were in its way: each time at least one of them has got through.
const MOST_RACES: usize = 50;

/// Ends a transaction: with what its steps gave, or with nothing if others were in its way and it must start again.
async fn end<T>(
    transaction: Transaction<'_, sqlx::Postgres>,
    steps: Result<T, Abort>,
) -> Result<Option<T>, StoreError> {
    match steps {
        Ok(done) => {
            transaction.commit().await?;
            Ok(Some(done))
        }
        Err(Abort::Raced) => {
            transaction.rollback().await?;
            Ok(None)
        }
        Err(Abort::Failed(error)) => Err(error),
    }
}

/// A connection for one transaction. When its start is given up before PostgreSQL has answered, the driver does not know
/// of it: all that the connection did later would be part of it, and never be committed. Such a one does not go back
/// to the pool.
struct Lease {
    connection: PoolConnection<sqlx::Postgres>,
    is_starting: bool,
}

impl Lease {
    async fn begin(&mut self) -> Result<Transaction<'_, sqlx::Postgres>, StoreError> {
        self.is_starting = true;
        let transaction = self.connection.begin().await?;
        self.is_starting = false;
        Ok(transaction)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.is_starting {
            self.connection.close_on_drop();
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Postgres {
    pool: PgPool,
}

impl Postgres {
    pub(crate) async fn connect(url: &str, options: &StoreOptions) -> Result<Self, StoreError> {
        let connect = PgConnectOptions::from_str(url)?
            .application_name("staffetta")
            // A process that dies without a word in the middle of a transaction holds its locks no longer than that.
            .options([
                ("statement_timeout", options.timeout.as_millis()),
                ("idle_in_transaction_session_timeout", options.timeout.as_millis()),
            ])
            // Statements are planned while tables are empty, and kept: then only their indexes are fit to grow.
            .options([
                ("enable_seqscan", "off"),
                ("enable_hashjoin", "off"),
                ("enable_mergejoin", "off"),
                ("jit", "off"),
                ("plan_cache_mode", "force_generic_plan"),
            ])
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
                    timeout(limit, connection.ping()).await.map_err(silent)?.map(|()| true)
                })
            })
            .connect_with(connect)
            .await?;
        Ok(Self { pool })
    }

    /// Tries again and again while somebody else is at the schema, or holds a table that a step changes: whoever calls
    /// this has a time limit. Uses a connection of its own each time: a lock that a failure leaves behind goes with it,
    /// and steps may take long.
    pub(crate) async fn migrate(&self, limit: Duration) -> Result<(), StoreError> {
        let mut migrator: Migrator = sqlx::migrate!("./migrations/postgres");
        migrator.set_ignore_missing(true);
        let times = [("statement_timeout", limit.as_millis()), ("lock_timeout", LOCK_WAIT.as_millis())];
        let connect = self.pool.connect_options().as_ref().clone().options(times);
        loop {
            let mut connection = connect.connect().await?;
            match migrator.run_direct(None, &mut connection, false).await {
                Ok(()) => return Ok(connection.close().await?),
                Err(error) if is_locked_out(&error) => {
                    warn!("the schema, or a table of it, is in somebody's hands: trying again");
                    drop(connection);
                    sleep(LOCK_PAUSE).await;
                }
                Err(MigrateError::Execute(error)) => return Err(error.into()),
                Err(error) => return Err(StoreError::Migration(error)),
            }
        }
    }

    pub(crate) fn connections(&self) -> Connections {
        Connections::of(self.pool.size(), self.pool.num_idle(), self.pool.options().get_max_connections())
    }

    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    async fn lease(&self) -> Result<Lease, StoreError> {
        Ok(Lease { connection: self.pool.acquire().await?, is_starting: false })
    }

    pub(crate) async fn announced(&self, places: &[OutboxPlace]) -> Result<(), StoreError> {
        let mut batches: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
        for place in places {
            batches.entry(place.batch).or_default().insert(place.seq);
        }
        let numbers: Vec<i64> = batches.keys().copied().collect();
        // Most batches are announced as a whole: one look tells, where comparing each event with each would be long.
        let whole = sqlx::query(
            "DELETE FROM outbox o
             USING unnest($1::bigint[], $2::text[]) AS k (batch, seqs)
             WHERE o.batch = k.batch AND array_to_string(o.seqs, ',') = k.seqs",
        )
        .bind(&numbers)
        .bind(batches.values().map(joined).collect::<Vec<_>>())
        .execute(&self.pool)
        .await?;
        if whole.rows_affected() == numbers.len() as u64 {
            return Ok(());
        }
        // What is left of the others stays.
        sqlx::query(
            "WITH told AS MATERIALIZED (
                 SELECT batch, ARRAY(SELECT s FROM unnest(seqs) s WHERE s <> ALL ($2)) AS left_over
                 FROM outbox WHERE batch = ANY ($1) ORDER BY batch FOR UPDATE
             ), whole AS (
                 DELETE FROM outbox o USING told WHERE o.batch = told.batch AND told.left_over = '{}'
             )
             UPDATE outbox o SET seqs = told.left_over
             FROM told
             WHERE o.batch = told.batch AND told.left_over <> '{}'",
        )
        .bind(numbers)
        .bind(column(places, |place| place.seq))
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
            "SELECT o.batch, e.seq, replace(e.id::text, '-', '') AS id, tenant, channel, type, subject, time, data,
                    command_id, callback_data, conversation, sequence, traceparent
             FROM (SELECT batch, unnest(seqs) AS seq FROM outbox WHERE recorded_at < $1 ORDER BY batch LIMIT $2) o
             JOIN events e ON e.seq = o.seq
             ORDER BY e.seq",
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
        let rows: Vec<CommandRow> = sqlx::query_as(concat!(
            "SELECT ",
            command!(),
            " FROM (SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) AS k (tenant, id)) k
                  JOIN commands c ON c.tenant = k.tenant AND c.id = k.id
                  LEFT JOIN messages m ON m.channel = c.channel AND m.wamid = c.wamid
                  LEFT JOIN schedule s ON s.tenant = c.tenant AND s.id = c.id"
        ))
        .bind(tenants)
        .bind(ids)
        .fetch_all(&self.pool)
        .await?;
        in_order(keys, rows)
    }
}
