//! What the API reads. Each list is one statement whose page is cut out by an index, and whose texts are looked up for
//! the rows of that page alone.

use sqlx::sqlite::SqliteConnection;
use staffetta_domain::{ConversationId, TenantId, Wamid};

use super::Sqlite;
use crate::moment::Moment;
use crate::reading::{
    ConversationCursor, ConversationFilter, ConversationRecord, ConversationRow, Marked, MessageCursor,
    MessageRecord, MessageRow, conversation, glob, number_range,
};
use crate::rows::storable;
use crate::types::StoreError;

/// What a message `m`, its events and its command say.
macro_rules! message {
    () => {
        "m.wamid, m.direction, m.kind, m.state, m.at, m.place, m.edited_at, m.withdrawn_at, m.command_id,
         (SELECT k.callback_data FROM commands k WHERE k.tenant = m.tenant AND k.id = m.command_id) AS callback_data,
         (SELECT k.content FROM commands k WHERE k.tenant = m.tenant AND k.id = m.command_id) AS sent,
         (SELECT e.data FROM events e WHERE e.seq = m.content_seq) AS brought,
         (SELECT e.data FROM events e WHERE e.seq = m.edit_seq) AS edit,
         (SELECT '[' || group_concat('[' || e.time || ',' || e.data || ']', ',') || ']'
          FROM json_each('[' || rtrim(m.steps, ',') || ']') s JOIN events e ON e.seq = s.value) AS steps"
    };
}

pub(crate) const CONVERSATIONS: &str = concat!(
    "SELECT ",
    conversation!(),
    ", ",
    message!(),
    " FROM conversations c
      LEFT JOIN contacts x ON x.tenant = c.tenant AND x.number = c.phone
      LEFT JOIN messages m ON m.channel = c.channel AND m.wamid = c.last_wamid
      WHERE c.tenant = ?1 AND c.merged_into IS NULL AND (c.last_at, c.id) < (?2, ?3)
        AND (?4 IS NULL OR c.channel = ?4)
        AND (?5 IS NULL OR c.name GLOB ?5 OR c.username GLOB ?5 OR x.name GLOB ?5 OR x.company GLOB ?5)
        AND (?6 IS NULL OR EXISTS (
                SELECT 1 FROM identities i WHERE i.conversation = c.id AND i.alias >= ?6 AND i.alias < ?7))
        AND (NOT ?8 OR c.unread > 0)
      ORDER BY c.last_at DESC, c.id DESC
      LIMIT ?9"
);

const CONVERSATION: &str = concat!(
    "SELECT ",
    conversation!(),
    ", ",
    message!(),
    " FROM conversations asked
      JOIN conversations c ON c.id = COALESCE(asked.merged_into, asked.id)
      LEFT JOIN contacts x ON x.tenant = c.tenant AND x.number = c.phone
      LEFT JOIN messages m ON m.channel = c.channel AND m.wamid = c.last_wamid
      WHERE asked.id = ?1 AND asked.tenant = ?2"
);

pub(crate) const MESSAGES: &str = concat!(
    "SELECT ",
    message!(),
    " FROM messages m
      WHERE m.conversation = ?1 AND (m.at, m.place) < (?2, ?3)
      ORDER BY m.at DESC, m.place DESC
      LIMIT ?4"
);

impl Sqlite {
    pub(crate) async fn conversations(
        &self,
        tenant: &TenantId,
        filter: &ConversationFilter,
        after: ConversationCursor,
        limit: u32,
    ) -> Result<Vec<ConversationRecord>, StoreError> {
        let numbers = filter.number.as_deref().map(number_range);
        let rows: Vec<ConversationRow> = sqlx::query_as(CONVERSATIONS)
            .bind(tenant.as_str())
            .bind(Moment::from(after.last_at))
            .bind(after.id.number())
            .bind(filter.channel.as_ref().map(|channel| channel.as_str()))
            .bind(filter.name.as_deref().map(|name| glob(&storable(name))))
            .bind(numbers.as_ref().map(|(from, _)| from))
            .bind(numbers.as_ref().map(|(_, to)| to))
            .bind(filter.unread_only)
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    pub(crate) async fn conversation(
        &self,
        tenant: &TenantId,
        id: ConversationId,
    ) -> Result<Option<ConversationRecord>, StoreError> {
        let mut reader = self.readers.acquire().await?;
        conversation(&mut reader, tenant, id).await
    }

    pub(crate) async fn conversation_messages(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        after: MessageCursor,
        limit: u32,
    ) -> Result<Option<Vec<MessageRecord>>, StoreError> {
        // Both statements see the same moment: the conversation can't be merged between them.
        let mut reading = self.readers.begin().await?;
        let found: Option<i64> = sqlx::query_scalar(
            "SELECT COALESCE(merged_into, id) FROM conversations WHERE id = ?1 AND tenant = ?2",
        )
        .bind(id.number())
        .bind(tenant.as_str())
        .fetch_optional(&mut *reading)
        .await?;
        let Some(found) = found else { return Ok(None) };
        let rows: Vec<MessageRow> = sqlx::query_as(MESSAGES)
            .bind(found)
            .bind(Moment::from(after.at))
            .bind(after.place)
            .bind(i64::from(limit))
            .fetch_all(&mut *reading)
            .await?;
        let records = rows.into_iter().filter_map(|row| row.record().transpose());
        records.collect::<Result<_, _>>().map(Some)
    }

    pub(crate) async fn mark_read(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        up_to: Option<&Wamid>,
    ) -> Result<Marked, StoreError> {
        let mut transaction = self.begin().await?;
        let Some(record) = conversation(&mut transaction, tenant, id).await? else {
            return Ok(Marked::NoConversation);
        };
        let left: Option<i64> = match up_to {
            None => Some(0),
            Some(wamid) => {
                sqlx::query_scalar(
                    "SELECT (SELECT count(*) FROM (
                                 SELECT 1 FROM messages m
                                 WHERE m.conversation = ?1 AND (m.at, m.place) > (u.at, u.place)
                                   AND m.direction = 'in' AND m.kind NOT IN ('system', 'request_welcome')
                                 LIMIT ?4
                             ))
                     FROM messages u
                     WHERE u.channel = ?2 AND u.wamid = ?3 AND u.conversation = ?1",
                )
                .bind(record.id.number())
                .bind(record.channel.as_str())
                .bind(storable(wamid.as_str()))
                .bind(i64::from(record.unread))
                .fetch_optional(&mut *transaction)
                .await?
            }
        };
        let Some(left) = left else { return Ok(Marked::NoMessage) };
        sqlx::query("UPDATE conversations SET unread = ?2, updated_at = ?3 WHERE id = ?1")
            .bind(record.id.number())
            .bind(left)
            .bind(Moment::now())
            .execute(&mut *transaction)
            .await?;
        let unread = u32::try_from(left).unwrap_or(record.unread);
        transaction.commit().await?;
        Ok(Marked::Read(Box::new(ConversationRecord { unread, ..record })))
    }
}

async fn conversation(
    connection: &mut SqliteConnection,
    tenant: &TenantId,
    id: ConversationId,
) -> Result<Option<ConversationRecord>, StoreError> {
    let row: Option<ConversationRow> = sqlx::query_as(CONVERSATION)
        .bind(id.number())
        .bind(tenant.as_str())
        .fetch_optional(connection)
        .await?;
    row.map(TryInto::try_into).transpose()
}
