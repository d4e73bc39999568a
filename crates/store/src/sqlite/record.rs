//! The recorder's transaction.

use sqlx::sqlite::SqliteConnection;
use staffetta_domain::Leaf;

use super::Sqlite;
use super::tell::tell;
use crate::batch::{CommandFacts, Proof, Recording};
use crate::moment::Moment;
use crate::records::{CommandFactsRow, facts};
use crate::types::{Announcement, StoreError};

impl Sqlite {
    pub(crate) async fn record(&self, leaves: &[Leaf]) -> Result<Vec<Announcement>, StoreError> {
        let batch = Recording::of(leaves);
        let mut transaction = self.begin().await?;
        let facts = accept(&mut transaction, &batch).await?;
        let told = tell(&mut transaction, &batch.items, &facts).await?;
        transaction.commit().await?;
        Ok(told)
    }
}

/// Settles the commands that the leaves prove to have been accepted, and asks what is known of each that is named.
async fn accept(
    connection: &mut SqliteConnection,
    batch: &Recording<'_>,
) -> Result<CommandFacts, StoreError> {
    let now = Moment::now();
    let mut rows: Vec<CommandFactsRow> = Vec::new();
    for ((tenant, id), refused) in batch.commands() {
        let row = sqlx::query_as(
            "SELECT tenant, id, user_key, kind, callback_data, traceparent,
                    state IN ('queued', 'sending', 'in_doubt') AS moved,
                    CASE WHEN ?3 AND kind = 'template' THEN content END AS template
             FROM commands WHERE tenant = ?1 AND id = ?2",
        )
        .bind(tenant)
        .bind(id)
        .bind(refused)
        .fetch_optional(&mut *connection)
        .await?;
        rows.extend(row);
    }
    for Proof { tenant, command, wamid } in &batch.proofs {
        sqlx::query(
            "UPDATE commands SET state = 'accepted', wamid = ?1, reason = NULL, updated_at = ?2
             WHERE tenant = ?3 AND id = ?4 AND state IN ('queued', 'sending', 'in_doubt')",
        )
        .bind(wamid.as_deref())
        .bind(now)
        .bind(tenant.as_str())
        .bind(command.as_str())
        .execute(&mut *connection)
        .await?;
    }
    Ok(facts(rows))
}
