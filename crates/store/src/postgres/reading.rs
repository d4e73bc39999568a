//! What the API reads. Each list is one statement whose page is cut out by an index, and whose texts are looked up for
//! the rows of that page alone.

use staffetta_domain::{ConversationId, TenantId, Wamid};

use super::Postgres;
use crate::moment::Moment;
use crate::reading::{
    ConversationCursor, ConversationFilter, ConversationRecord, ConversationRow, Marked, MessageCursor,
    MessageRecord, MessageRow, conversation, number_range, regex,
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
         (SELECT '[' || string_agg('[' || (extract(epoch FROM e.time) * 1000000)::bigint || ',' || e.data || ']', ',')
                 || ']'
          FROM events e WHERE e.seq = ANY (m.steps)) AS steps"
    };
}

/// The tenant's contact of the user of `c`. See [`last_message`] for the `LIMIT`.
macro_rules! contact {
    () => {
        "LEFT JOIN LATERAL (
             SELECT * FROM contacts WHERE tenant = c.tenant AND number = c.phone LIMIT 1
         ) x ON true "
    };
}

/// The last message of `c`. The `LIMIT` keeps this a look-up for each conversation: joined, the conversations would
/// lose their order.
macro_rules! last_message {
    () => {
        "LEFT JOIN LATERAL (
             SELECT * FROM messages WHERE channel = c.channel AND wamid = c.last_wamid LIMIT 1
         ) m ON true"
    };
}

/// The `OFFSET` keeps what is asked of each conversation a look-up too: without it the answers may be gathered for all
/// conversations first.
pub(crate) const CONVERSATIONS: &str = concat!(
    "SELECT ",
    conversation!(),
    ", ",
    message!(),
    " FROM (
         SELECT * FROM conversations c
         WHERE c.tenant = $1 AND c.merged_into IS NULL AND (c.last_at, c.id) < ($2, $3)
           AND ($4::text IS NULL OR c.channel = $4)
           AND ($5::text IS NULL OR c.name ~ $5 OR c.username ~ $5 OR EXISTS (
                   SELECT FROM contacts x
                   WHERE x.tenant = $1 AND x.number = c.phone AND (x.name ~ $5 OR x.company ~ $5)
                   OFFSET 0))
           AND ($6::text IS NULL OR EXISTS (
                   SELECT FROM identities i WHERE i.conversation = c.id AND i.alias >= $6 AND i.alias < $7
                   OFFSET 0))
           AND (NOT $8 OR c.unread > 0)
         ORDER BY c.last_at DESC, c.id DESC
         LIMIT $9
     ) c ",
    contact!(),
    last_message!(),
    " ORDER BY c.last_at DESC, c.id DESC"
);

const CONVERSATION: &str = concat!(
    "SELECT ",
    conversation!(),
    ", ",
    message!(),
    " FROM conversations asked
      JOIN conversations c ON c.id = COALESCE(asked.merged_into, asked.id) ",
    contact!(),
    last_message!(),
    " WHERE asked.id = $1 AND asked.tenant = $2"
);

/// One empty row of a conversation without messages, none where there is no conversation.
pub(crate) const MESSAGES: &str = concat!(
    "SELECT ",
    message!(),
    " FROM conversations c
      LEFT JOIN LATERAL (
          SELECT * FROM messages
          WHERE conversation = COALESCE(c.merged_into, c.id) AND (at, place) < ($3, $4)
          ORDER BY at DESC, place DESC
          LIMIT $5
      ) m ON true
      WHERE c.id = $1 AND c.tenant = $2"
);

/// How often a conversation that is merged while it is being locked is looked up again.
const TRIES: u32 = 4;

impl Postgres {
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
            .bind(filter.name.as_deref().map(|name| regex(&storable(name))))
            .bind(numbers.as_ref().map(|(from, _)| from))
            .bind(numbers.as_ref().map(|(_, to)| to))
            .bind(filter.unread_only)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    pub(crate) async fn conversation(
        &self,
        tenant: &TenantId,
        id: ConversationId,
    ) -> Result<Option<ConversationRecord>, StoreError> {
        let row: Option<ConversationRow> = sqlx::query_as(CONVERSATION)
            .bind(id.number())
            .bind(tenant.as_str())
            .fetch_optional(&self.pool)
            .await?;
        row.map(TryInto::try_into).transpose()
    }

    pub(crate) async fn conversation_messages(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        after: MessageCursor,
        limit: u32,
    ) -> Result<Option<Vec<MessageRecord>>, StoreError> {
        let rows: Vec<MessageRow> = sqlx::query_as(MESSAGES)
            .bind(id.number())
            .bind(tenant.as_str())
            .bind(Moment::from(after.at))
            .bind(after.place)
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let records = rows.into_iter().filter_map(|row| row.record().transpose());
        records.collect::<Result<_, _>>().map(Some)
    }

    /// The conversation's row is locked first and counted in afterwards, by a statement of its own: it sees all
    /// messages of whoever held the lock before, and who comes later adds to what is written here.
    pub(crate) async fn mark_read(
        &self,
        tenant: &TenantId,
        id: ConversationId,
        up_to: Option<&Wamid>,
    ) -> Result<Marked, StoreError> {
        for _ in 0..TRIES {
            let Some(record) = self.conversation(tenant, id).await? else {
                return Ok(Marked::NoConversation);
            };
            let mut lease = self.lease().await?;
            let mut transaction = lease.begin().await?;
            let locked: Option<(String, i32)> = sqlx::query_as(
                "SELECT channel, unread FROM conversations WHERE id = $1 AND merged_into IS NULL FOR UPDATE",
            )
            .bind(record.id.number())
            .fetch_optional(&mut *transaction)
            .await?;
            let Some((channel, unread)) = locked else { continue };
            let left: Option<i64> = match up_to {
                None => Some(0),
                Some(wamid) => {
                    sqlx::query_scalar(
                        "SELECT (SELECT count(*) FROM (
                                     SELECT FROM messages m
                                     WHERE m.conversation = $1 AND (m.at, m.place) > (u.at, u.place)
                                       AND m.direction = 'in' AND m.kind NOT IN ('system', 'request_welcome')
                                     LIMIT $4
                                 ) m)
                         FROM messages u
                         WHERE u.channel = $2 AND u.wamid = $3 AND u.conversation = $1",
                    )
                    .bind(record.id.number())
                    .bind(channel)
                    .bind(storable(wamid.as_str()))
                    .bind(i64::from(unread))
                    .fetch_optional(&mut *transaction)
                    .await?
                }
            };
            let Some(left) = left else { return Ok(Marked::NoMessage) };
            sqlx::query("UPDATE conversations SET unread = $2, updated_at = $3 WHERE id = $1")
                .bind(record.id.number())
                .bind(i32::try_from(left).unwrap_or(unread))
                .bind(Moment::now())
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            drop(lease);
            let record = self.conversation(tenant, record.id).await?;
            return Ok(record.map_or(Marked::NoConversation, |record| Marked::Read(Box::new(record))));
        }
        Err(StoreError::too_slow())
    }
}
