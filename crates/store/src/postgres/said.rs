//! Where messages were said.

use staffetta_domain::{ChannelId, TenantId, Wamid};

use super::Postgres;
use crate::rows::storable;
use crate::types::StoreError;

impl Postgres {
    pub(crate) async fn conversation_of(
        &self,
        tenant: &TenantId,
        channel: &ChannelId,
        wamid: &Wamid,
    ) -> Result<Option<i64>, StoreError> {
        let found: Option<Option<i64>> = sqlx::query_scalar(
            "SELECT conversation FROM messages WHERE tenant = $1 AND channel = $2 AND wamid = $3",
        )
        .bind(tenant.as_str())
        .bind(channel.as_str())
        .bind(storable(wamid.as_str()))
        .fetch_optional(&self.pool)
        .await?;
        Ok(found.flatten())
    }
}
