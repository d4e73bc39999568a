//! Where the delivery to endpoints stands. Each write is one statement that asks the locked row for its epoch.

use jiff::Timestamp;
use sqlx::postgres::PgConnection;
use staffetta_domain::{EndpointId, Event, TenantId};

use super::columns::column;
use super::tell::{Abort, tell};
use super::{MOST_RACES, Postgres, end};
use crate::batch::{CommandFacts, Item};
use crate::endpoints::{
    Disabled, EndpointKey, EndpointPlace, EndpointRow, EndpointState, Parked, ParkedRow, last_of_each,
    written,
};
use crate::moment::Moment;
use crate::rows::storable;
use crate::types::{Announcement, StoreError};

impl Postgres {
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
             WHERE e.tenant = $1 AND ($2::text IS NULL OR e.endpoint = $2)
             ORDER BY e.endpoint",
        )
        .bind(tenant.as_str())
        .bind(endpoint.map(EndpointId::as_str))
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    pub(crate) async fn keep_places(&self, places: &[EndpointPlace]) -> Result<Vec<bool>, StoreError> {
        let rows = last_of_each(places, |place| &place.key);
        let keys: Vec<(String, String)> = sqlx::query_as(
            "INSERT INTO endpoints AS e (tenant, endpoint, epoch, cursor, failing_since, last_success, last_error,
                                         updated_at, log_made_at)
             SELECT k.tenant, k.endpoint, k.epoch, k.cursor, k.failing_since, k.last_success, k.last_error, $8,
                    k.log_made_at
             FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::timestamptz[],
                         $7::text[], $9::bigint[]) WITH ORDINALITY
                 AS k (tenant, endpoint, epoch, cursor, failing_since, last_success, last_error, log_made_at, n)
             ORDER BY k.n
             ON CONFLICT (tenant, endpoint) DO UPDATE SET
                 epoch = excluded.epoch, cursor = excluded.cursor, failing_since = excluded.failing_since,
                 last_success = excluded.last_success, last_error = excluded.last_error,
                 updated_at = excluded.updated_at, log_made_at = excluded.log_made_at
             WHERE e.epoch <= excluded.epoch
             RETURNING e.tenant, e.endpoint",
        )
        .bind(column(&rows, |place| place.key.tenant.as_str()))
        .bind(column(&rows, |place| place.key.endpoint.as_str()))
        .bind(column(&rows, |place| place.epoch))
        .bind(column(&rows, |place| place.cursor.cast_signed()))
        .bind(column(&rows, |place| place.failing_since.map(Moment::from)))
        .bind(column(&rows, |place| place.last_success.map(Moment::from)))
        .bind(column(&rows, |place| place.last_error.as_deref().map(storable)))
        .bind(Moment::now())
        .bind(column(&rows, |place| place.log))
        .fetch_all(&self.pool)
        .await?;
        Ok(written(places, &keys))
    }

    /// One statement: the rows are written only if the place is, and whoever else writes it waits for both.
    pub(crate) async fn park(&self, place: &EndpointPlace, parked: &[Parked]) -> Result<bool, StoreError> {
        let rows = last_of_each(parked, |event| event.sequence);
        let written: i64 = sqlx::query_scalar(
            "WITH place AS (
                 INSERT INTO endpoints AS e (tenant, endpoint, epoch, cursor, failing_since, last_success, last_error,
                                             updated_at, log_made_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $15)
                 ON CONFLICT (tenant, endpoint) DO UPDATE SET
                     epoch = excluded.epoch, cursor = excluded.cursor, failing_since = excluded.failing_since,
                     last_success = excluded.last_success, last_error = excluded.last_error,
                     updated_at = excluded.updated_at, log_made_at = excluded.log_made_at
                 WHERE e.epoch <= excluded.epoch
                 RETURNING 1
             ), left_behind AS (
                 INSERT INTO parked (tenant, endpoint, sequence, conversation, attempts, since, due, error)
                 SELECT $1, $2, k.sequence, k.conversation, k.attempts, k.since, k.due, k.error
                 FROM place,
                      unnest($9::bigint[], $10::text[], $11::int[], $12::timestamptz[], $13::timestamptz[], $14::text[])
                          WITH ORDINALITY AS k (sequence, conversation, attempts, since, due, error, n)
                 ORDER BY k.n
                 ON CONFLICT (tenant, endpoint, sequence) DO UPDATE SET
                     conversation = excluded.conversation, attempts = excluded.attempts, since = excluded.since,
                     due = excluded.due, error = excluded.error
             )
             SELECT count(*) FROM place",
        )
        .bind(place.key.tenant.as_str())
        .bind(place.key.endpoint.as_str())
        .bind(place.epoch)
        .bind(place.cursor.cast_signed())
        .bind(place.failing_since.map(Moment::from))
        .bind(place.last_success.map(Moment::from))
        .bind(place.last_error.as_deref().map(storable))
        .bind(Moment::now())
        .bind(column(&rows, |event| event.sequence.cast_signed()))
        .bind(column(&rows, |event| storable(&event.conversation)))
        .bind(column(&rows, |event| event.attempts.cast_signed()))
        .bind(column(&rows, |event| Moment::from(event.since)))
        .bind(column(&rows, |event| Moment::from(event.due)))
        .bind(column(&rows, |event| storable(&event.error)))
        .bind(place.log)
        .fetch_one(&self.pool)
        .await?;
        Ok(written > 0)
    }

    pub(crate) async fn unpark(&self, key: &EndpointKey, sequences: &[u64]) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM parked WHERE tenant = $1 AND endpoint = $2 AND sequence = ANY ($3)")
            .bind(key.tenant.as_str())
            .bind(key.endpoint.as_str())
            .bind(column(sequences, |sequence| sequence.cast_signed()))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    pub(crate) async fn parked(&self, key: &EndpointKey, limit: u32) -> Result<Vec<Parked>, StoreError> {
        let rows: Vec<ParkedRow> = sqlx::query_as(
            "SELECT sequence, conversation, attempts, since, due, error
             FROM parked
             WHERE tenant = $1 AND endpoint = $2
             ORDER BY sequence
             LIMIT $3",
        )
        .bind(key.tenant.as_str())
        .bind(key.endpoint.as_str())
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    pub(crate) async fn disable_endpoint(
        &self,
        key: &EndpointKey,
        disabled: &Disabled,
        event: &Event,
    ) -> Result<Vec<Announcement>, StoreError> {
        let item = Item::of_event(event);
        for _ in 0..MOST_RACES {
            let mut lease = self.lease().await?;
            let mut transaction = lease.begin().await?;
            let steps = disable(&mut transaction, key, disabled, &item).await;
            if let Some(told) = end(transaction, steps).await? {
                return Ok(told);
            }
        }
        Err(StoreError::too_slow())
    }

    pub(crate) async fn enable_endpoint(
        &self,
        key: &EndpointKey,
        at: Timestamp,
        event: &Event,
    ) -> Result<Option<Vec<Announcement>>, StoreError> {
        let item = Item::of_event(event);
        for _ in 0..MOST_RACES {
            let mut lease = self.lease().await?;
            let mut transaction = lease.begin().await?;
            let steps = enable(&mut transaction, key, at, &item).await;
            if let Some(told) = end(transaction, steps).await? {
                return Ok(told);
            }
        }
        Err(StoreError::too_slow())
    }

    pub(crate) async fn forget_endpoint(&self, key: &EndpointKey) -> Result<(), StoreError> {
        sqlx::query(
            "WITH gone AS (
                 DELETE FROM endpoints WHERE tenant = $1 AND endpoint = $2
             ), gone_parked AS (
                 DELETE FROM parked WHERE tenant = $1 AND endpoint = $2
             )
             DELETE FROM replays WHERE tenant = $1 AND endpoint = $2",
        )
        .bind(key.tenant.as_str())
        .bind(key.endpoint.as_str())
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

async fn disable(
    connection: &mut PgConnection,
    key: &EndpointKey,
    disabled: &Disabled,
    item: &Item<'_>,
) -> Result<Vec<Announcement>, Abort> {
    let done = sqlx::query(
        "INSERT INTO endpoints AS e (tenant, endpoint, disabled_at, disabled_reason, disabled_revision, updated_at)
         VALUES ($1, $2, $3, $4, $5, $3)
         ON CONFLICT (tenant, endpoint) DO UPDATE SET
             disabled_at = excluded.disabled_at, disabled_reason = excluded.disabled_reason,
             disabled_revision = excluded.disabled_revision, updated_at = excluded.updated_at
         WHERE e.disabled_at IS NULL OR e.disabled_revision < excluded.disabled_revision",
    )
    .bind(key.tenant.as_str())
    .bind(key.endpoint.as_str())
    .bind(Moment::from(disabled.at))
    .bind(storable(&disabled.reason))
    .bind(disabled.revision.cast_signed())
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(Vec::new());
    }
    tell(connection, std::slice::from_ref(item), &CommandFacts::default()).await
}

async fn enable(
    connection: &mut PgConnection,
    key: &EndpointKey,
    at: Timestamp,
    item: &Item<'_>,
) -> Result<Option<Vec<Announcement>>, Abort> {
    let done = sqlx::query(
        "UPDATE endpoints
         SET disabled_at = NULL, disabled_reason = NULL, disabled_revision = NULL, failing_since = NULL, updated_at = $3
         WHERE tenant = $1 AND endpoint = $2 AND disabled_at IS NOT NULL",
    )
    .bind(key.tenant.as_str())
    .bind(key.endpoint.as_str())
    .bind(Moment::from(at))
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    tell(connection, std::slice::from_ref(item), &CommandFacts::default()).await.map(Some)
}
