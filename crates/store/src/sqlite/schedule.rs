//! Commands that are due later, or taken back.

use jiff::Timestamp;
use staffetta_domain::{CommandId, CommandState, Event, TenantId};

use super::Sqlite;
use super::tell::tell;
use crate::batch::cancelled_item;
use crate::moment::Moment;
use crate::records::{CommandFactsRow, facts};
use crate::rows::storable;
use crate::schedule::{
    ScheduledRow, StateRow, Waiting, by_time, distinct, headers_of, not_cancelled, taken_until,
};
use crate::types::{Cancelled, Scheduled, StoreError};

impl Sqlite {
    pub(crate) async fn schedule(&self, commands: &[Scheduled]) -> Result<Vec<bool>, StoreError> {
        let mut transaction = self.begin().await?;
        let mut rows = Vec::with_capacity(commands.len());
        for command in distinct(commands) {
            let row: StateRow = sqlx::query_as(
                "INSERT INTO commands (tenant, id, channel, lane, state, created_at, updated_at, user_key, callback_data)
                 VALUES (?1, ?2, ?3, ?4, 'queued', ?5, ?5, ?6, ?7)
                 ON CONFLICT (tenant, id) DO UPDATE SET state = commands.state
                 RETURNING tenant, id, state",
            )
            .bind(command.tenant.as_str())
            .bind(command.id.as_str())
            .bind(command.channel.as_str())
            .bind(command.lane.as_str())
            .bind(Moment::now())
            .bind(storable(&command.user))
            .bind(command.callback_data.as_deref().map(storable))
            .fetch_one(&mut *transaction)
            .await?;
            rows.push(row);
        }
        let waiting = Waiting::of(rows);
        for command in distinct(commands).into_iter().filter(|command| waiting.has(command)) {
            sqlx::query(
                "INSERT INTO schedule (tenant, id, channel, lane, due, payload, headers)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (tenant, id) DO NOTHING",
            )
            .bind(command.tenant.as_str())
            .bind(command.id.as_str())
            .bind(command.channel.as_str())
            .bind(command.lane.as_str())
            .bind(Moment::from(command.due))
            .bind(command.payload.as_slice())
            .bind(headers_of(command))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(commands.iter().map(|command| waiting.has(command)).collect())
    }

    pub(crate) async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<Scheduled>, StoreError> {
        let rows: Vec<ScheduledRow> = sqlx::query_as(
            "UPDATE schedule SET taken_until = ?3
             WHERE place IN (SELECT place
                             FROM schedule
                             WHERE due <= ?1 AND (taken_until IS NULL OR taken_until <= ?1)
                             ORDER BY due, place
                             LIMIT ?2)
             RETURNING tenant, id, channel, lane, due, place, payload, headers,
                 (SELECT user_key FROM commands c WHERE c.tenant = schedule.tenant AND c.id = schedule.id) AS user_key,
                 (SELECT callback_data FROM commands c
                  WHERE c.tenant = schedule.tenant AND c.id = schedule.id) AS callback_data",
        )
        .bind(Moment::from(now))
        .bind(i64::from(limit))
        .bind(taken_until(now))
        .fetch_all(&self.writer)
        .await?;
        by_time(rows)
    }

    pub(crate) async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let next: Option<Moment> = sqlx::query_scalar("SELECT due FROM schedule ORDER BY due, place LIMIT 1")
            .fetch_optional(&self.readers)
            .await?;
        Ok(next.map(Into::into))
    }

    pub(crate) async fn unschedule(&self, keys: &[(TenantId, CommandId)]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for (tenant, id) in keys {
            sqlx::query("DELETE FROM schedule WHERE tenant = ?1 AND id = ?2")
                .bind(tenant.as_str())
                .bind(id.as_str())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    pub(crate) async fn cancel(
        &self,
        tenant: &TenantId,
        id: &CommandId,
        event: &Event,
    ) -> Result<Cancelled, StoreError> {
        let mut transaction = self.begin().await?;
        let state: Option<String> = sqlx::query_scalar(
            "SELECT CASE WHEN state = 'queued' AND perhaps_sent THEN 'in_doubt' ELSE state END
             FROM commands WHERE tenant = ?1 AND id = ?2",
        )
        .bind(tenant.as_str())
        .bind(id.as_str())
        .fetch_optional(&mut *transaction)
        .await?;
        if state.as_deref() != Some(CommandState::Queued.as_str()) {
            return not_cancelled(state.as_deref());
        }
        let moved: Vec<CommandFactsRow> = sqlx::query_as(
            "UPDATE commands SET state = 'cancelled', reason = NULL, updated_at = ?3
             WHERE tenant = ?1 AND id = ?2
             RETURNING tenant, id, user_key, kind, callback_data, traceparent, 1 AS moved",
        )
        .bind(tenant.as_str())
        .bind(id.as_str())
        .bind(Moment::from(event.time))
        .fetch_all(&mut *transaction)
        .await?;
        sqlx::query("DELETE FROM schedule WHERE tenant = ?1 AND id = ?2")
            .bind(tenant.as_str())
            .bind(id.as_str())
            .execute(&mut *transaction)
            .await?;
        let told = tell(&mut transaction, &[cancelled_item(event, id)], &facts(moved)).await?;
        transaction.commit().await?;
        Ok(Cancelled::Done(told))
    }
}
