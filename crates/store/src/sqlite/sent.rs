//! A tenant's commands, newest first: a page is cut out by an index, between the place where it begins and the last one
//! that may be looked at for it.

use staffetta_domain::{ChannelId, CommandState, TenantId};

use super::Sqlite;
use crate::records::{CommandRow, command};
use crate::rows::storable;
use crate::sent::{MOST_LOOKS, PlaceRow, SentCursor, SentFilter, SentPage, Start};
use crate::types::StoreError;

pub(crate) const SENT: &str = concat!(
    "SELECT ",
    command!(),
    " FROM commands c
     LEFT JOIN messages m ON m.channel = c.channel AND m.wamid = c.wamid
     LEFT JOIN schedule s ON s.tenant = c.tenant AND s.id = c.id
     WHERE c.tenant = ?1 AND (c.created_at, c.id) < (?2, ?3) AND (c.created_at, c.id) >= (?4, ?5)
       AND (?6 IS NULL OR c.channel = ?6)
       AND (?7 IS NULL OR (c.user_key >= ?7 AND c.user_key < ?8))
       AND (?9 IS NULL OR c.state = ?9)
     ORDER BY c.created_at DESC, c.id DESC
     LIMIT ?10"
);

/// The last command that may be looked at.
pub(crate) const EDGE: &str = "SELECT created_at, id
     FROM commands
     WHERE tenant = ?1 AND (created_at, id) < (?2, ?3) AND created_at >= ?4
     ORDER BY created_at DESC, id DESC
     LIMIT 1 OFFSET ?5";

/// The commands whose message has that name, on each of the tenant's channels: all channels on which it ever spoke to
/// somebody, found one by one.
pub(crate) const SENT_AS: &str = concat!(
    "WITH RECURSIVE channels AS (
         SELECT (SELECT min(channel) FROM identities WHERE tenant = ?1) AS channel
         UNION ALL
         SELECT (SELECT min(channel) FROM identities WHERE tenant = ?1 AND channel > k.channel)
         FROM channels k
         WHERE k.channel IS NOT NULL
     )
     SELECT ",
    command!(),
    " FROM channels k
     JOIN messages m ON m.channel = k.channel AND m.wamid = ?2 AND m.tenant = ?1
     JOIN commands c ON c.tenant = ?1 AND c.id = m.command_id
     LEFT JOIN schedule s ON s.tenant = c.tenant AND s.id = c.id
     WHERE c.wamid = ?2 AND (c.created_at, c.id) < (?3, ?4) AND c.created_at >= ?5
       AND (?6 IS NULL OR c.channel = ?6)
       AND (?7 IS NULL OR (c.user_key >= ?7 AND c.user_key < ?8))
       AND (?9 IS NULL OR c.state = ?9)
     ORDER BY c.created_at DESC, c.id DESC
     LIMIT ?10"
);

impl Sqlite {
    pub(crate) async fn sent(
        &self,
        tenant: &TenantId,
        filter: &SentFilter,
        start: &Start,
        limit: u32,
    ) -> Result<SentPage, StoreError> {
        let edge: Option<PlaceRow> = if filter.is_choosy() && filter.wamid.is_none() {
            sqlx::query_as(EDGE)
                .bind(tenant.as_str())
                .bind(start.created)
                .bind(&start.id)
                .bind(filter.from())
                .bind(i64::from(MOST_LOOKS) - 1)
                .fetch_optional(&self.readers)
                .await?
        } else {
            None
        };
        let numbers = filter.numbers();
        let query = match &filter.wamid {
            Some(wamid) => sqlx::query_as(SENT_AS)
                .bind(tenant.as_str())
                .bind(storable(wamid.as_str()))
                .bind(start.created)
                .bind(&start.id)
                .bind(filter.from()),
            None => sqlx::query_as(SENT)
                .bind(tenant.as_str())
                .bind(start.created)
                .bind(&start.id)
                .bind(edge.as_ref().map_or(filter.from(), |edge| edge.created_at))
                .bind(edge.as_ref().map_or("", |edge| edge.id.as_str())),
        };
        let rows: Vec<CommandRow> = query
            .bind(filter.channel.as_ref().map(ChannelId::as_str))
            .bind(numbers.as_ref().map(|(from, _)| storable(from)))
            .bind(numbers.as_ref().map(|(_, to)| storable(to)))
            .bind(filter.state.map(CommandState::as_str))
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await?;
        let records = rows.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        let edge = edge.map(SentCursor::try_from).transpose()?;
        Ok(SentPage::of(records, limit, edge))
    }
}
