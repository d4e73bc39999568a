//! Deleting what is old, in one short transaction of the writer's.

use jiff::Timestamp;
use sqlx::FromRow;
use sqlx::sqlite::SqliteConnection;
use staffetta_domain::TenantId;

use super::Sqlite;
use crate::moment::Moment;
use crate::retention::Pruned;
use crate::types::StoreError;

/// An event that goes.
#[derive(FromRow)]
struct Old {
    seq: i64,
    channel: String,
    subject: String,
    command_id: Option<String>,
    conversation: Option<i64>,
}

impl Sqlite {
    pub(crate) async fn prune(
        &self,
        tenant: &TenantId,
        before: Timestamp,
        tried: Moment,
        limit: u32,
    ) -> Result<Pruned, StoreError> {
        let (tenant, before) = (tenant.as_str(), Moment::from(before));
        let mut transaction = self.begin().await?;
        let old: Vec<Old> = sqlx::query_as(
            "SELECT seq, channel, subject, command_id, conversation
             FROM events
             WHERE tenant = ?1 AND recorded_at < ?2
               AND seq NOT IN (SELECT s.value FROM outbox o, json_each(o.seqs) s WHERE o.recorded_at < ?2)
             ORDER BY recorded_at
             LIMIT ?3",
        )
        .bind(tenant)
        .bind(before)
        .bind(i64::from(limit))
        .fetch_all(&mut *transaction)
        .await?;
        let mut pruned = Pruned::default();
        for event in &old {
            forget(&mut transaction, tenant, event, before, &mut pruned).await?;
        }
        if old.is_empty() {
            pruned = forget_conversations(&mut transaction, tenant, before, limit).await?;
        }
        let done = sqlx::query(
            "DELETE FROM attempts
             WHERE id IN (SELECT id FROM attempts WHERE tenant = ?1 AND at < ?2 ORDER BY at LIMIT ?3)",
        )
        .bind(tenant)
        .bind(tried)
        .bind(i64::from(limit))
        .execute(&mut *transaction)
        .await?;
        pruned.attempts = done.rows_affected();
        transaction.commit().await?;
        Ok(pruned)
    }
}

/// Deletes an event, and of the messages and the command that it belongs to what is old too.
async fn forget(
    connection: &mut SqliteConnection,
    tenant: &str,
    event: &Old,
    before: Moment,
    pruned: &mut Pruned,
) -> Result<(), StoreError> {
    let done =
        sqlx::query("DELETE FROM events WHERE seq = ?").bind(event.seq).execute(&mut *connection).await?;
    pruned.events += done.rows_affected();
    let done = sqlx::query(
        "DELETE FROM commands
         WHERE tenant = ?1 AND id = ?2 AND updated_at < ?3
           AND state IN ('accepted', 'rejected', 'failed', 'expired', 'cancelled')",
    )
    .bind(tenant)
    .bind(event.command_id.as_deref())
    .bind(before)
    .execute(&mut *connection)
    .await?;
    pruned.commands += done.rows_affected();
    // By the subject of the message's event, and by its conversation: of one that was edited before it came, and never
    // came, no event has the name.
    let done = sqlx::query(
        "DELETE FROM messages WHERE channel = ?1 AND wamid = ?2 AND tenant = ?3 AND recorded_at < ?4",
    )
    .bind(&event.channel)
    .bind(&event.subject)
    .bind(tenant)
    .bind(before)
    .execute(&mut *connection)
    .await?;
    pruned.messages += done.rows_affected();
    let done = sqlx::query(
        "DELETE FROM messages
         WHERE (channel, wamid) IN (
             SELECT m.channel, m.wamid FROM messages m
             WHERE m.conversation = (SELECT COALESCE(merged_into, id) FROM conversations WHERE id = ?1)
               AND m.at < ?3 AND m.tenant = ?2 AND m.recorded_at < ?3
             LIMIT 1)",
    )
    .bind(event.conversation)
    .bind(tenant)
    .bind(before)
    .execute(connection)
    .await?;
    pruned.messages += done.rows_affected();
    Ok(())
}

async fn forget_conversations(
    connection: &mut SqliteConnection,
    tenant: &str,
    before: Moment,
    limit: u32,
) -> Result<Pruned, StoreError> {
    let mut pruned = Pruned::default();
    let dead: Vec<i64> = sqlx::query_scalar(
        "SELECT c.id
         FROM conversations c
         WHERE c.tenant = ?1 AND c.merged_into IS NULL AND c.last_at < ?2 AND c.updated_at < ?2
           AND NOT EXISTS (SELECT 1 FROM messages m
                           WHERE m.conversation = c.id AND (m.at >= ?2 OR m.recorded_at >= ?2))
         ORDER BY c.last_at, c.id
         LIMIT ?3",
    )
    .bind(tenant)
    .bind(before)
    .bind(i64::from(limit))
    .fetch_all(&mut *connection)
    .await?;
    for id in dead {
        let done = sqlx::query("DELETE FROM messages WHERE conversation = ?")
            .bind(id)
            .execute(&mut *connection)
            .await?;
        pruned.messages += done.rows_affected();
        sqlx::query(
            "DELETE FROM identities
             WHERE COALESCE(conversation, former) IN (SELECT id FROM conversations WHERE id = ?1 OR merged_into = ?1)",
        )
        .bind(id)
        .execute(&mut *connection)
        .await?;
        let done = sqlx::query("DELETE FROM conversations WHERE id = ?1 OR merged_into = ?1")
            .bind(id)
            .execute(&mut *connection)
            .await?;
        pruned.conversations += done.rows_affected();
    }
    Ok(pruned)
}
