//! What PostgreSQL says of itself.

use jiff::Timestamp;
use sqlx::migrate::Migrator;

use super::Postgres;
use crate::moment::Moment;
use crate::schema::{Applied, DatabaseState, MOST_COUNTED, OutboxState, SchemaState, ServerRow};
use crate::types::StoreError;

impl Postgres {
    pub(crate) async fn schema_state(&self) -> Result<SchemaState, StoreError> {
        let migrator: Migrator = sqlx::migrate!("./migrations/postgres");
        let (is_there,): (bool,) = sqlx::query_as("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
            .fetch_one(&self.pool)
            .await?;
        let applied: Vec<Applied> = match is_there {
            false => Vec::new(),
            true => {
                sqlx::query_as("SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version")
                    .fetch_all(&self.pool)
                    .await?
            }
        };
        Ok(SchemaState::of(&migrator, &applied))
    }

    pub(crate) async fn database_state(&self) -> Result<DatabaseState, StoreError> {
        // Each may look at the sum, whoever the connections are.
        let row: ServerRow = sqlx::query_as(
            "SELECT current_setting('server_version') AS version,
                    pg_database_size(current_database()) AS bytes,
                    (SELECT sum(numbackends)::bigint FROM pg_stat_database) AS used,
                    current_setting('max_connections')::bigint AS most,
                    pg_is_in_recovery() AS read_only",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(row.state("PostgreSQL"))
    }

    pub(crate) async fn outbox_state(&self) -> Result<OutboxState, StoreError> {
        let (events, oldest): (i64, Option<Moment>) = sqlx::query_as(
            "SELECT COALESCE(sum(cardinality(seqs)), 0)::bigint, min(recorded_at)
             FROM (SELECT seqs, recorded_at FROM outbox ORDER BY batch LIMIT $1) o",
        )
        .bind(MOST_COUNTED)
        .fetch_one(&self.pool)
        .await?;
        Ok(OutboxState { events: events.unsigned_abs(), oldest: oldest.map(Timestamp::from) })
    }

    pub(crate) async fn server_time(&self) -> Result<Timestamp, StoreError> {
        let (now,): (Moment,) = sqlx::query_as("SELECT clock_timestamp()").fetch_one(&self.pool).await?;
        Ok(now.into())
    }
}
