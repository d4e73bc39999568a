//! The attempt log.

use super::Postgres;
use super::columns::column;
use crate::attempts::{Attempt, AttemptCursor, AttemptFilter, AttemptRow, micros};
use crate::endpoints::EndpointKey;
use crate::moment::Moment;
use crate::rows::storable;
use crate::types::StoreError;

/// A macro, so that each list is one text whose plan is its own.
macro_rules! attempts {
    ($condition:literal) => {
        concat!(
            "SELECT id, replace(event::text, '-', '') AS event, type, at, attempt, micros, status, error
             FROM attempts
             WHERE tenant = $1 AND endpoint = $2 AND (at, id) < ($3, $4) AND ",
            $condition,
            " ORDER BY at DESC, id DESC LIMIT $5"
        )
    };
}

pub(crate) const ATTEMPTS: &str = attempts!("true");
pub(crate) const FAILED_ATTEMPTS: &str = attempts!("error IS NOT NULL");
/// An event is tried a few dozen times at most, by all endpoints together: they are sorted.
pub(crate) const ATTEMPTS_OF_EVENT: &str =
    "SELECT id, replace(event::text, '-', '') AS event, type, at, attempt, micros, status, error
     FROM (SELECT * FROM attempts WHERE event = $6::uuid OFFSET 0) a
     WHERE tenant = $1 AND endpoint = $2 AND (at, id) < ($3, $4) AND (NOT $7 OR error IS NOT NULL)
     ORDER BY at DESC, id DESC
     LIMIT $5";

impl Postgres {
    pub(crate) async fn log_attempts(&self, attempts: &[Attempt]) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO attempts (tenant, endpoint, event, type, at, attempt, micros, status, error)
             SELECT k.tenant, k.endpoint, k.event::uuid, k.type, k.at, k.attempt, k.micros, k.status, k.error
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::int[], $7::bigint[],
                         $8::int[], $9::text[]) WITH ORDINALITY
                 AS k (tenant, endpoint, event, type, at, attempt, micros, status, error, n)
             ORDER BY k.n",
        )
        .bind(column(attempts, |attempt| attempt.key.tenant.as_str()))
        .bind(column(attempts, |attempt| attempt.key.endpoint.as_str()))
        .bind(column(attempts, |attempt| attempt.event.as_str()))
        .bind(column(attempts, |attempt| attempt.kind.as_str()))
        .bind(column(attempts, |attempt| Moment::from(attempt.at)))
        .bind(column(attempts, |attempt| attempt.attempt.cast_signed()))
        .bind(column(attempts, |attempt| micros(attempt.duration)))
        .bind(column(attempts, |attempt| attempt.status.map(i32::from)))
        .bind(column(attempts, |attempt| attempt.error.as_deref().map(storable)))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    pub(crate) async fn attempts(
        &self,
        key: &EndpointKey,
        filter: &AttemptFilter,
        after: AttemptCursor,
        limit: u32,
    ) -> Result<Vec<AttemptRow>, StoreError> {
        let statement = match filter {
            AttemptFilter { event: Some(_), .. } => ATTEMPTS_OF_EVENT,
            AttemptFilter { failed_only: true, .. } => FAILED_ATTEMPTS,
            AttemptFilter { failed_only: false, .. } => ATTEMPTS,
        };
        let mut query = sqlx::query_as(statement)
            .bind(key.tenant.as_str())
            .bind(key.endpoint.as_str())
            .bind(Moment::from(after.at))
            .bind(after.id)
            .bind(i64::from(limit));
        if let Some(event) = &filter.event {
            query = query.bind(event.as_str()).bind(filter.failed_only);
        }
        Ok(query.fetch_all(&self.pool).await?)
    }

    pub(crate) async fn forget_attempts(&self, key: &EndpointKey, limit: u32) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "DELETE FROM attempts
             WHERE ctid = ANY (ARRAY(SELECT ctid FROM attempts
                                     WHERE tenant = $1 AND endpoint = $2
                                     LIMIT $3
                                     FOR UPDATE))",
        )
        .bind(key.tenant.as_str())
        .bind(key.endpoint.as_str())
        .bind(i64::from(limit))
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected())
    }
}
