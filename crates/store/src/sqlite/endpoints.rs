//! Where the delivery to endpoints stands.

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;
use staffetta_domain::{EndpointId, Event, TenantId};

use super::Sqlite;
use super::tell::tell;
use crate::batch::{CommandFacts, Item};
use crate::endpoints::{
    Disabled, EndpointKey, EndpointPlace, EndpointRow, EndpointState, Parked, ParkedRow, last_of_each,
    written,
};
use crate::moment::Moment;
use crate::rows::storable;
use crate::types::{Announcement, StoreError};

impl Sqlite {
    pub(crate) async fn endpoint_states(
        &self,
        tenant: &TenantId,
        endpoint: Option<&EndpointId>,
    ) -> Result<Vec<EndpointState>, StoreError> {
        let rows: Vec<EndpointRow> = sqlx::query_as(
            "SELECT e.tenant, e.endpoint, e.cursor, e.log_made_at, e.epoch, e.disabled_at, e.disabled_reason,
                    e.disabled_revision, e.failing_since, e.last_success, e.last_error,
                    (SELECT count(*) FROM parked p WHERE p.tenant = e.tenant AND p.endpoint = e.endpoint) AS parked
             FROM endpoints e
             WHERE e.tenant = ?1 AND (?2 IS NULL OR e.endpoint = ?2)
             ORDER BY e.endpoint",
        )
        .bind(tenant.as_str())
        .bind(endpoint.map(EndpointId::as_str))
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    pub(crate) async fn keep_places(&self, places: &[EndpointPlace]) -> Result<Vec<bool>, StoreError> {
        let mut transaction = self.begin().await?;
        let mut keys = Vec::with_capacity(places.len());
        for place in last_of_each(places, |place| &place.key) {
            if keep_place(&mut transaction, place).await? {
                keys.push((place.key.tenant.to_string(), place.key.endpoint.to_string()));
            }
        }
        transaction.commit().await?;
        Ok(written(places, &keys))
    }

    pub(crate) async fn park(&self, place: &EndpointPlace, parked: &[Parked]) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        if !keep_place(&mut transaction, place).await? {
            return Ok(false);
        }
        for event in last_of_each(parked, |event| event.sequence) {
            sqlx::query(
                "INSERT INTO parked (tenant, endpoint, sequence, conversation, attempts, since, due, error)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (tenant, endpoint, sequence) DO UPDATE SET
                     conversation = excluded.conversation, attempts = excluded.attempts, since = excluded.since,
                     due = excluded.due, error = excluded.error",
            )
            .bind(place.key.tenant.as_str())
            .bind(place.key.endpoint.as_str())
            .bind(event.sequence.cast_signed())
            .bind(storable(&event.conversation))
            .bind(event.attempts.cast_signed())
            .bind(Moment::from(event.since))
            .bind(Moment::from(event.due))
            .bind(storable(&event.error))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    pub(crate) async fn unpark(&self, key: &EndpointKey, sequences: &[u64]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for sequence in sequences {
            sqlx::query("DELETE FROM parked WHERE tenant = ?1 AND endpoint = ?2 AND sequence = ?3")
                .bind(key.tenant.as_str())
                .bind(key.endpoint.as_str())
                .bind(sequence.cast_signed())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    pub(crate) async fn parked(&self, key: &EndpointKey, limit: u32) -> Result<Vec<Parked>, StoreError> {
        let rows: Vec<ParkedRow> = sqlx::query_as(
            "SELECT sequence, conversation, attempts, since, due, error
             FROM parked
             WHERE tenant = ?1 AND endpoint = ?2
             ORDER BY sequence
             LIMIT ?3",
        )
        .bind(key.tenant.as_str())
        .bind(key.endpoint.as_str())
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    pub(crate) async fn disable_endpoint(
        &self,
        key: &EndpointKey,
        disabled: &Disabled,
        event: &Event,
    ) -> Result<Vec<Announcement>, StoreError> {
        let mut transaction = self.begin().await?;
        let done = sqlx::query(
            "INSERT INTO endpoints (tenant, endpoint, disabled_at, disabled_reason, disabled_revision, updated_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?3)
             ON CONFLICT (tenant, endpoint) DO UPDATE SET
                 disabled_at = excluded.disabled_at, disabled_reason = excluded.disabled_reason,
                 disabled_revision = excluded.disabled_revision, updated_at = excluded.updated_at
             WHERE endpoints.disabled_at IS NULL OR endpoints.disabled_revision < excluded.disabled_revision",
        )
        .bind(key.tenant.as_str())
        .bind(key.endpoint.as_str())
        .bind(Moment::from(disabled.at))
        .bind(storable(&disabled.reason))
        .bind(disabled.revision.cast_signed())
        .execute(&mut *transaction)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(Vec::new());
        }
        let told = tell(&mut transaction, &[Item::of_event(event)], &CommandFacts::default()).await?;
        transaction.commit().await?;
        Ok(told)
    }

    pub(crate) async fn enable_endpoint(
        &self,
        key: &EndpointKey,
        at: Timestamp,
        event: &Event,
    ) -> Result<Option<Vec<Announcement>>, StoreError> {
        let mut transaction = self.begin().await?;
        let done = sqlx::query(
            "UPDATE endpoints
             SET disabled_at = NULL, disabled_reason = NULL, disabled_revision = NULL, failing_since = NULL,
                 updated_at = ?3
             WHERE tenant = ?1 AND endpoint = ?2 AND disabled_at IS NOT NULL",
        )
        .bind(key.tenant.as_str())
        .bind(key.endpoint.as_str())
        .bind(Moment::from(at))
        .execute(&mut *transaction)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(None);
        }
        let told = tell(&mut transaction, &[Item::of_event(event)], &CommandFacts::default()).await?;
        transaction.commit().await?;
        Ok(Some(told))
    }

    pub(crate) async fn forget_endpoint(&self, key: &EndpointKey) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for statement in [
            "DELETE FROM endpoints WHERE tenant = ?1 AND endpoint = ?2",
            "DELETE FROM parked WHERE tenant = ?1 AND endpoint = ?2",
            "DELETE FROM replays WHERE tenant = ?1 AND endpoint = ?2",
        ] {
            sqlx::query(statement)
                .bind(key.tenant.as_str())
                .bind(key.endpoint.as_str())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// Writes the place, unless a higher epoch has. Says whether it did.
async fn keep_place(connection: &mut SqliteConnection, place: &EndpointPlace) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "INSERT INTO endpoints (tenant, endpoint, epoch, cursor, failing_since, last_success, last_error, updated_at,
                                log_made_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (tenant, endpoint) DO UPDATE SET
             epoch = excluded.epoch, cursor = excluded.cursor, failing_since = excluded.failing_since,
             last_success = excluded.last_success, last_error = excluded.last_error, updated_at = excluded.updated_at,
             log_made_at = excluded.log_made_at
         WHERE endpoints.epoch <= excluded.epoch",
    )
    .bind(place.key.tenant.as_str())
    .bind(place.key.endpoint.as_str())
    .bind(place.epoch)
    .bind(place.cursor.cast_signed())
    .bind(place.failing_since.map(Moment::from))
    .bind(place.last_success.map(Moment::from))
    .bind(place.last_error.as_deref().map(storable))
    .bind(Moment::now())
    .bind(place.log)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}
