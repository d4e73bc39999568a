//! What left lately: the conversations in which something was said lately are found by one index, and the messages of
//! each by another. In a campaign there are very many of them with one message each, so two are looked for before all.

use staffetta_domain::{ChannelId, TenantId};

use super::Sqlite;
use crate::moment::Moment;
use crate::sends::{MOST_LOOKS, MOST_SENDS, SendRow};
use crate::types::{RecentSend, StoreError};

/// A message without a command whose content is known was sent from the phone's own app.
pub(crate) const RECENT_SENDS: &str = "SELECT c.phone, c.user_id, m.at
     FROM (
         SELECT id, phone, user_id FROM conversations
         WHERE tenant = ?1 AND merged_into IS NULL AND last_at >= ?3 AND channel = ?2
         ORDER BY last_at DESC, id DESC
         LIMIT ?6
     ) c
     CROSS JOIN messages m ON m.conversation = c.id AND m.at >= ?4
     WHERE EXISTS (
             SELECT 1 FROM messages
             WHERE conversation = c.id AND at >= ?4 AND direction = 'out'
               AND (command_id IS NOT NULL OR content_seq IS NULL)
             LIMIT 1 OFFSET 1
         )
       AND m.direction = 'out' AND (m.command_id IS NOT NULL OR m.content_seq IS NULL)
     ORDER BY m.at DESC
     LIMIT ?5";

impl Sqlite {
    pub(crate) async fn recent_sends(
        &self,
        tenant: &TenantId,
        channel: &ChannelId,
        since: Moment,
        listed: Moment,
    ) -> Result<Vec<RecentSend>, StoreError> {
        let rows: Vec<SendRow> = sqlx::query_as(RECENT_SENDS)
            .bind(tenant.as_str())
            .bind(channel.as_str())
            .bind(listed)
            .bind(since)
            .bind(MOST_SENDS)
            .bind(MOST_LOOKS)
            .fetch_all(&self.readers)
            .await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }
}
