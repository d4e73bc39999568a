//! Commands that are due later, or taken back.

use jiff::Timestamp;
use sqlx::postgres::PgConnection;
use staffetta_domain::{CommandId, CommandState, Event, TenantId};

use super::columns::column;
use super::tell::{Abort, tell};
use super::{MOST_RACES, Postgres, end};
use crate::batch::{Item, cancelled_item};
use crate::moment::Moment;
use crate::records::{CommandFactsRow, facts};
use crate::rows::storable;
use crate::schedule::{
    ScheduledRow, StateRow, Waiting, by_time, distinct, headers_of, not_cancelled, taken_until,
};
use crate::types::{Cancelled, Scheduled, StoreError};

impl Postgres {
    pub(crate) async fn schedule(&self, commands: &[Scheduled]) -> Result<Vec<bool>, StoreError> {
        let all = distinct(commands);
        let mut sorted = all.clone();
        sorted.sort_unstable_by_key(|command| (&command.tenant, &command.id));
        let mut lease = self.lease().await?;
        let mut transaction = lease.begin().await?;
        // A row that is known is locked without a change: neither a claim nor a cancellation comes between.
        let rows: Vec<StateRow> = sqlx::query_as(
            "INSERT INTO commands AS c (tenant, id, channel, lane, user_key, callback_data, state, created_at,
                                        updated_at)
             SELECT tenant, id, channel, lane, user_key, callback_data, 'queued', $5, $5
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $6::text[], $7::text[]) WITH ORDINALITY
                 AS k (tenant, id, channel, lane, user_key, callback_data, n)
             ORDER BY n
             ON CONFLICT (tenant, id) DO UPDATE SET state = c.state
             RETURNING c.tenant, c.id, c.state",
        )
        .bind(column(&sorted, |command| command.tenant.as_str()))
        .bind(column(&sorted, |command| command.id.as_str()))
        .bind(column(&sorted, |command| command.channel.as_str()))
        .bind(column(&sorted, |command| command.lane.as_str()))
        .bind(Moment::now())
        .bind(column(&sorted, |command| storable(&command.user)))
        .bind(column(&sorted, |command| command.callback_data.as_deref().map(storable)))
        .fetch_all(&mut *transaction)
        .await?;
        let waiting = Waiting::of(rows);
        let queued: Vec<_> = all.into_iter().filter(|command| waiting.has(command)).collect();
        sqlx::query(
            "INSERT INTO schedule (tenant, id, channel, lane, due, payload, headers)
             SELECT tenant, id, channel, lane, due, payload, headers
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bytea[], $7::text[])
                 WITH ORDINALITY AS k (tenant, id, channel, lane, due, payload, headers, n)
             ORDER BY n
             ON CONFLICT (tenant, id) DO NOTHING",
        )
        .bind(column(&queued, |command| command.tenant.as_str()))
        .bind(column(&queued, |command| command.id.as_str()))
        .bind(column(&queued, |command| command.channel.as_str()))
        .bind(column(&queued, |command| command.lane.as_str()))
        .bind(column(&queued, |command| Moment::from(command.due)))
        .bind(column(&queued, |command| command.payload.as_slice()))
        .bind(column(&queued, |command| headers_of(command)))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(commands.iter().map(|command| waiting.has(command)).collect())
    }

    pub(crate) async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<Scheduled>, StoreError> {
        let rows: Vec<ScheduledRow> = sqlx::query_as(
            "WITH taken AS MATERIALIZED (
                 SELECT tenant, id
                 FROM schedule
                 WHERE due <= $1 AND (taken_until IS NULL OR taken_until <= $1)
                 ORDER BY due, place
                 LIMIT $2
                 FOR UPDATE SKIP LOCKED
             )
             UPDATE schedule s SET taken_until = $3
             FROM taken
             WHERE s.tenant = taken.tenant AND s.id = taken.id
             RETURNING s.tenant, s.id, s.channel, s.lane, s.due, s.place, s.payload, s.headers,
                 (SELECT user_key FROM commands c WHERE c.tenant = s.tenant AND c.id = s.id) AS user_key,
                 (SELECT callback_data FROM commands c WHERE c.tenant = s.tenant AND c.id = s.id) AS callback_data",
        )
        .bind(Moment::from(now))
        .bind(i64::from(limit))
        .bind(taken_until(now))
        .fetch_all(&self.pool)
        .await?;
        by_time(rows)
    }

    pub(crate) async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let next: Option<Moment> = sqlx::query_scalar("SELECT due FROM schedule ORDER BY due, place LIMIT 1")
            .fetch_optional(&self.pool)
            .await?;
        Ok(next.map(Into::into))
    }

    pub(crate) async fn unschedule(&self, keys: &[(TenantId, CommandId)]) -> Result<(), StoreError> {
        sqlx::query(
            "WITH sent AS MATERIALIZED (
                 SELECT s.tenant, s.id
                 FROM unnest($1::text[], $2::text[]) AS k (tenant, id)
                 JOIN schedule s ON s.tenant = k.tenant AND s.id = k.id
                 ORDER BY s.tenant, s.id
                 FOR UPDATE OF s
             )
             DELETE FROM schedule s USING sent WHERE s.tenant = sent.tenant AND s.id = sent.id",
        )
        .bind(column(keys, |(tenant, _)| tenant.as_str()))
        .bind(column(keys, |(_, id)| id.as_str()))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub(crate) async fn cancel(
        &self,
        tenant: &TenantId,
        id: &CommandId,
        event: &Event,
    ) -> Result<Cancelled, StoreError> {
        let item = cancelled_item(event, id);
        for _ in 0..MOST_RACES {
            let mut lease = self.lease().await?;
            let mut transaction = lease.begin().await?;
            let steps = cancel(&mut transaction, tenant, id, &item).await;
            if let Some(cancelled) = end(transaction, steps).await? {
                return Ok(cancelled);
            }
        }
        Err(StoreError::too_slow())
    }
}

async fn cancel(
    connection: &mut PgConnection,
    tenant: &TenantId,
    id: &CommandId,
    item: &Item<'_>,
) -> Result<Cancelled, Abort> {
    // Whoever claims it waits for this lock, or has had it before: then the state is no longer `queued`.
    let state: Option<String> = sqlx::query_scalar(
        "SELECT CASE WHEN state = 'queued' AND perhaps_sent THEN 'in_doubt' ELSE state END
             FROM commands WHERE tenant = $1 AND id = $2 FOR UPDATE",
    )
    .bind(tenant.as_str())
    .bind(id.as_str())
    .fetch_optional(&mut *connection)
    .await?;
    if state.as_deref() != Some(CommandState::Queued.as_str()) {
        return Ok(not_cancelled(state.as_deref())?);
    }
    let moved: Vec<CommandFactsRow> = sqlx::query_as(
        "UPDATE commands c SET state = 'cancelled', reason = NULL, updated_at = $3
         WHERE tenant = $1 AND id = $2
         RETURNING tenant, id, user_key, kind, callback_data, traceparent, true AS moved",
    )
    .bind(tenant.as_str())
    .bind(id.as_str())
    .bind(Moment::from(item.event.time))
    .fetch_all(&mut *connection)
    .await?;
    sqlx::query("DELETE FROM schedule WHERE tenant = $1 AND id = $2")
        .bind(tenant.as_str())
        .bind(id.as_str())
        .execute(&mut *connection)
        .await?;
    tell(connection, std::slice::from_ref(item), &facts(moved)).await.map(Cancelled::Done)
}
