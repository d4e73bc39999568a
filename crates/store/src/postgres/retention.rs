//! Deleting what is old: rows that somebody else holds are passed over, so nobody waits in a circle.

use jiff::Timestamp;
use staffetta_domain::TenantId;

use super::Postgres;
use crate::moment::Moment;
use crate::retention::Pruned;
use crate::types::StoreError;

impl Postgres {
    pub(crate) async fn prune(
        &self,
        tenant: &TenantId,
        before: Timestamp,
        tried: Moment,
        limit: u32,
    ) -> Result<Pruned, StoreError> {
        let (before, limit) = (Moment::from(before), i64::from(limit));
        let attempts = self.prune_attempts(tenant, tried, limit).await?;
        if attempts > 0 {
            return Ok(Pruned { attempts, ..Pruned::default() });
        }
        let pruned = self.prune_events(tenant, before, limit).await?;
        if pruned.events > 0 {
            return Ok(pruned);
        }
        self.prune_conversations(tenant, before, limit).await
    }

    async fn prune_attempts(&self, tenant: &TenantId, before: Moment, limit: i64) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "DELETE FROM attempts
             WHERE ctid = ANY (ARRAY(SELECT ctid FROM attempts
                                     WHERE tenant = $1 AND at < $2
                                     ORDER BY at
                                     LIMIT $3
                                     FOR UPDATE SKIP LOCKED))",
        )
        .bind(tenant.as_str())
        .bind(before)
        .bind(limit)
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }

    async fn prune_events(
        &self,
        tenant: &TenantId,
        before: Moment,
        limit: i64,
    ) -> Result<Pruned, StoreError> {
        // A message is found by the subject of its event, and by its conversation: of one that was edited before it
        // came, and never came, no event has the name.
        let (events, messages, commands): (i64, i64, i64) = sqlx::query_as(
            "WITH old AS MATERIALIZED (
                 SELECT seq, channel, subject, command_id, conversation
                 FROM events
                 WHERE tenant = $1 AND recorded_at < $2
                   AND seq NOT IN (SELECT unnest(seqs) FROM outbox WHERE recorded_at < $2)
                 ORDER BY recorded_at
                 LIMIT $3
                 FOR UPDATE SKIP LOCKED
             ), told_of AS MATERIALIZED (
                 SELECT m.channel, m.wamid
                 FROM (SELECT DISTINCT channel, subject FROM old) o
                 JOIN messages m ON m.channel = o.channel AND m.wamid = o.subject
                 WHERE m.tenant = $1 AND m.recorded_at < $2
                 ORDER BY m.channel, m.wamid
                 FOR UPDATE OF m SKIP LOCKED
             ), left_over AS MATERIALIZED (
                 SELECT m.channel, m.wamid
                 FROM (SELECT DISTINCT COALESCE(c.merged_into, c.id) AS id
                       FROM old JOIN conversations c ON c.id = old.conversation) c
                 JOIN messages m ON m.conversation = c.id AND m.at < $2
                 WHERE m.tenant = $1 AND m.recorded_at < $2
                 LIMIT $3
                 FOR UPDATE OF m SKIP LOCKED
             ), ended AS MATERIALIZED (
                 SELECT c.id
                 FROM (SELECT DISTINCT command_id FROM old) o
                 JOIN commands c ON c.tenant = $1 AND c.id = o.command_id
                 WHERE c.state IN ('accepted', 'rejected', 'failed', 'expired', 'cancelled') AND c.updated_at < $2
                 ORDER BY c.id
                 FOR UPDATE OF c SKIP LOCKED
             ), gone AS (
                 DELETE FROM events WHERE seq = ANY (ARRAY(SELECT seq FROM old ORDER BY seq)) RETURNING 1
             ), gone_messages AS (
                 DELETE FROM messages m
                 USING (SELECT * FROM told_of UNION SELECT * FROM left_over) o
                 WHERE m.channel = o.channel AND m.wamid = o.wamid
                 RETURNING 1
             ), gone_commands AS (
                 DELETE FROM commands c USING ended WHERE c.tenant = $1 AND c.id = ended.id RETURNING 1
             )
             SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM gone_messages),
                    (SELECT count(*) FROM gone_commands)",
        )
        .bind(tenant.as_str())
        .bind(before)
        .bind(limit)
        .fetch_one(&self.pool)
        .await?;
        let [events, messages, commands] = [events, messages, commands].map(i64::cast_unsigned);
        Ok(Pruned { events, messages, commands, ..Pruned::default() })
    }

    async fn prune_conversations(
        &self,
        tenant: &TenantId,
        before: Moment,
        limit: i64,
    ) -> Result<Pruned, StoreError> {
        let (conversations, messages): (i64, i64) = sqlx::query_as(
            "WITH dead AS MATERIALIZED (
                 SELECT c.id
                 FROM conversations c
                 WHERE c.tenant = $1 AND c.merged_into IS NULL AND c.last_at < $2 AND c.updated_at < $2
                   AND NOT EXISTS (SELECT FROM messages m
                                   WHERE m.conversation = c.id AND (m.at >= $2 OR m.recorded_at >= $2))
                 ORDER BY c.last_at, c.id
                 LIMIT $3
                 FOR UPDATE OF c SKIP LOCKED
             ), gone_messages AS (
                 DELETE FROM messages WHERE conversation IN (SELECT id FROM dead) RETURNING 1
             ), gone AS (
                 DELETE FROM conversations
                 WHERE id IN (SELECT id FROM dead
                              UNION ALL SELECT c.id FROM dead JOIN conversations c ON c.merged_into = dead.id)
                 RETURNING id
             ), gone_names AS (
                 DELETE FROM identities i USING gone WHERE i.conversation = gone.id
             ), gone_former AS (
                 DELETE FROM identities i USING gone WHERE i.conversation IS NULL AND i.former = gone.id
             )
             SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM gone_messages)",
        )
        .bind(tenant.as_str())
        .bind(before)
        .bind(limit)
        .fetch_one(&self.pool)
        .await?;
        let [conversations, messages] = [conversations, messages].map(i64::cast_unsigned);
        Ok(Pruned { conversations, messages, ..Pruned::default() })
    }
}
