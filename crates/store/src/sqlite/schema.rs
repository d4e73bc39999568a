//! What SQLite says of its file.

use jiff::Timestamp;
use sqlx::migrate::Migrator;

use super::Sqlite;
use crate::moment::Moment;
use crate::schema::{Applied, DatabaseState, MOST_COUNTED, OutboxState, SchemaState, ServerRow};
use crate::types::StoreError;

impl Sqlite {
    pub(crate) async fn schema_state(&self) -> Result<SchemaState, StoreError> {
        let migrator: Migrator = sqlx::migrate!("./migrations/sqlite");
        let (is_there,): (bool,) =
            sqlx::query_as("SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = '_sqlx_migrations')")
                .fetch_one(&self.readers)
                .await?;
        let applied: Vec<Applied> = match is_there {
            false => Vec::new(),
            true => {
                sqlx::query_as("SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version")
                    .fetch_all(&self.readers)
                    .await?
            }
        };
        Ok(SchemaState::of(&migrator, &applied))
    }

    pub(crate) async fn database_state(&self) -> Result<DatabaseState, StoreError> {
        let row: ServerRow = sqlx::query_as(
            "SELECT sqlite_version() AS version, page_count * page_size AS bytes,
                    NULL AS used, NULL AS most, FALSE AS read_only
             FROM pragma_page_count(), pragma_page_size()",
        )
        .fetch_one(&self.readers)
        .await?;
        Ok(row.state("SQLite"))
    }

    pub(crate) async fn outbox_state(&self) -> Result<OutboxState, StoreError> {
        let (events, oldest): (i64, Option<Moment>) = sqlx::query_as(
            "SELECT COALESCE(sum(json_array_length(seqs)), 0), min(recorded_at)
             FROM (SELECT seqs, recorded_at FROM outbox ORDER BY batch LIMIT ?)",
        )
        .bind(MOST_COUNTED)
        .fetch_one(&self.readers)
        .await?;
        Ok(OutboxState { events: events.unsigned_abs(), oldest: oldest.map(Timestamp::from) })
    }
}
