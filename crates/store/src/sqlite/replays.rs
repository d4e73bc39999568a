//! Events that an endpoint is to be sent once more.

use super::Sqlite;
use crate::endpoints::EndpointKey;
use crate::moment::Moment;
use crate::replays::{ReplayJob, ReplayRow};
use crate::types::StoreError;

impl Sqlite {
    pub(crate) async fn add_replay(&self, job: &ReplayJob) -> Result<i64, StoreError> {
        let id = sqlx::query_scalar(
            "INSERT INTO replays (tenant, endpoint, next, last, from_at, until_at, asked_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             RETURNING id",
        )
        .bind(job.key.tenant.as_str())
        .bind(job.key.endpoint.as_str())
        .bind(job.next.cast_signed())
        .bind(job.last.cast_signed())
        .bind(Moment::from(job.from))
        .bind(Moment::from(job.until))
        .bind(Moment::from(job.asked))
        .fetch_one(&self.writer)
        .await?;
        Ok(id)
    }

    pub(crate) async fn replays(&self, key: &EndpointKey) -> Result<Vec<ReplayRow>, StoreError> {
        let rows = sqlx::query_as(
            "SELECT id, next, last, from_at, until_at, asked_at
             FROM replays
             WHERE tenant = ?1 AND endpoint = ?2
             ORDER BY id",
        )
        .bind(key.tenant.as_str())
        .bind(key.endpoint.as_str())
        .fetch_all(&self.readers)
        .await?;
        Ok(rows)
    }

    pub(crate) async fn move_replay(&self, id: i64, next: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE replays SET next = ?2 WHERE id = ?1 AND next < ?2")
            .bind(id)
            .bind(next.cast_signed())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    pub(crate) async fn end_replay(&self, id: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM replays WHERE id = ?1").bind(id).execute(&self.writer).await?;
        Ok(())
    }
}
