//! The attempt log.

use super::Sqlite;
use crate::attempts::{Attempt, AttemptCursor, AttemptFilter, AttemptRow, micros};
use crate::endpoints::EndpointKey;
use crate::moment::Moment;
use crate::rows::storable;
use crate::types::StoreError;

/// A macro, so that each list is one text whose plan is its own.
macro_rules! attempts {
    ($condition:literal) => {
        concat!(
            "SELECT id, event, type, at, attempt, micros, status, error
             FROM attempts
             WHERE tenant = ?1 AND endpoint = ?2 AND (at, id) < (?3, ?4) AND ",
            $condition,
            " ORDER BY at DESC, id DESC LIMIT ?5"
        )
    };
}

pub(crate) const ATTEMPTS: &str = attempts!("true");
pub(crate) const FAILED_ATTEMPTS: &str = attempts!("error IS NOT NULL");
/// An event is tried a few dozen times at most, by all endpoints together: they are sorted.
pub(crate) const ATTEMPTS_OF_EVENT: &str = "SELECT id, event, type, at, attempt, micros, status, error
     FROM attempts INDEXED BY attempts_of_event
     WHERE event = ?6 AND tenant = ?1 AND endpoint = ?2 AND (at, id) < (?3, ?4) AND (NOT ?7 OR error IS NOT NULL)
     ORDER BY at DESC, id DESC
     LIMIT ?5";

impl Sqlite {
    pub(crate) async fn log_attempts(&self, attempts: &[Attempt]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for attempt in attempts {
            sqlx::query(
                "INSERT INTO attempts (tenant, endpoint, event, type, at, attempt, micros, status, error)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )
            .bind(attempt.key.tenant.as_str())
            .bind(attempt.key.endpoint.as_str())
            .bind(attempt.event.as_str())
            .bind(attempt.kind.as_str())
            .bind(Moment::from(attempt.at))
            .bind(attempt.attempt.cast_signed())
            .bind(micros(attempt.duration))
            .bind(attempt.status.map(i32::from))
            .bind(attempt.error.as_deref().map(storable))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
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
        Ok(query.fetch_all(&self.readers).await?)
    }

    pub(crate) async fn forget_attempts(&self, key: &EndpointKey, limit: u32) -> Result<u64, StoreError> {
        let done = sqlx::query(
            "DELETE FROM attempts
             WHERE id IN (SELECT id FROM attempts WHERE tenant = ?1 AND endpoint = ?2 LIMIT ?3)",
        )
        .bind(key.tenant.as_str())
        .bind(key.endpoint.as_str())
        .bind(i64::from(limit))
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected())
    }
}
