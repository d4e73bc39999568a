//! Channels that stopped sending until somebody acts.

use sqlx::FromRow;
use staffetta_domain::{ChannelId, TenantId};

use crate::moment::Moment;
use crate::types::{ChannelHold, StoreError};
use crate::{Backend, Store, ask, within};

impl Store {
    /// Keeps a channel's hold, in place of the one that it had.
    ///
    /// # Errors
    /// As every method's.
    pub async fn put_hold(&self, hold: &ChannelHold) -> Result<(), StoreError> {
        ask!(self, put_hold(hold))
    }

    /// Lifts a channel's hold. Says whether there was one.
    ///
    /// # Errors
    /// As every method's.
    pub async fn lift_hold(&self, tenant: &TenantId, channel: &ChannelId) -> Result<bool, StoreError> {
        ask!(self, lift_hold(tenant, channel))
    }

    /// A channel's hold, if it has one.
    ///
    /// # Errors
    /// As every method's, and [`StoreError::Corrupt`].
    pub async fn hold(
        &self,
        tenant: &TenantId,
        channel: &ChannelId,
    ) -> Result<Option<ChannelHold>, StoreError> {
        let held = self.holds(Some(tenant)).await?;
        Ok(held.into_iter().find(|hold| hold.channel == *channel))
    }

    /// The holds of the tenant's channels, or of everybody's, sorted by tenant and channel.
    ///
    /// # Errors
    /// As [`hold`](Self::hold).
    pub async fn holds(&self, tenant: Option<&TenantId>) -> Result<Vec<ChannelHold>, StoreError> {
        ask!(self, holds(tenant))
    }
}

/// A channel's hold.
#[derive(FromRow)]
pub(crate) struct HoldRow {
    tenant: String,
    channel: String,
    class: String,
    code: i64,
    reason: String,
    since: Moment,
}

impl TryFrom<HoldRow> for ChannelHold {
    type Error = StoreError;

    fn try_from(row: HoldRow) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt("a channel's hold");
        Ok(Self {
            tenant: row.tenant.parse().map_err(|_| corrupt())?,
            channel: row.channel.parse().map_err(|_| corrupt())?,
            class: row.class,
            code: row.code,
            reason: row.reason,
            since: row.since.into(),
        })
    }
}
