//! Channels' holds.

use staffetta_domain::{ChannelId, TenantId};

use super::Sqlite;
use crate::holds::HoldRow;
use crate::moment::Moment;
use crate::rows::storable;
use crate::types::{ChannelHold, StoreError};

impl Sqlite {
    pub(crate) async fn put_hold(&self, hold: &ChannelHold) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO channel_holds (tenant, channel, class, code, reason, since)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (tenant, channel) DO UPDATE SET
                 class = excluded.class, code = excluded.code, reason = excluded.reason, since = excluded.since",
        )
        .bind(hold.tenant.as_str())
        .bind(hold.channel.as_str())
        .bind(storable(&hold.class))
        .bind(hold.code)
        .bind(storable(&hold.reason))
        .bind(Moment::from(hold.since))
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    pub(crate) async fn lift_hold(&self, tenant: &TenantId, channel: &ChannelId) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM channel_holds WHERE tenant = ?1 AND channel = ?2")
            .bind(tenant.as_str())
            .bind(channel.as_str())
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    pub(crate) async fn holds(&self, tenant: Option<&TenantId>) -> Result<Vec<ChannelHold>, StoreError> {
        let rows: Vec<HoldRow> = sqlx::query_as(
            "SELECT tenant, channel, class, code, reason, since
             FROM channel_holds
             WHERE ?1 IS NULL OR tenant = ?1
             ORDER BY tenant, channel",
        )
        .bind(tenant.map(TenantId::as_str))
        .fetch_all(&self.readers)
        .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }
}
