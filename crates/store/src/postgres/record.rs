//! The recorder's transaction.

use sqlx::postgres::PgConnection;
use staffetta_domain::Leaf;

use super::columns::column;
use super::tell::{Abort, tell};
use super::{MOST_RACES, Postgres, end};
use crate::batch::{CommandFacts, Recording};
use crate::moment::Moment;
use crate::records::{CommandFactsRow, facts};
use crate::types::{Announcement, StoreError};

impl Postgres {
    pub(crate) async fn record(&self, leaves: &[Leaf]) -> Result<Vec<Announcement>, StoreError> {
        let batch = Recording::of(leaves);
        for _ in 0..MOST_RACES {
            let mut lease = self.lease().await?;
            let mut transaction = lease.begin().await?;
            let steps = record(&mut transaction, &batch).await;
            if let Some(told) = end(transaction, steps).await? {
                return Ok(told);
            }
        }
        Err(StoreError::too_slow())
    }
}

async fn record(connection: &mut PgConnection, batch: &Recording<'_>) -> Result<Vec<Announcement>, Abort> {
    let facts = accept(connection, batch).await?;
    tell(connection, &batch.items, &facts).await
}

/// Settles the commands that the leaves prove to have been accepted, and asks what is known of each that is named.
async fn accept(connection: &mut PgConnection, batch: &Recording<'_>) -> Result<CommandFacts, Abort> {
    let named = batch.commands();
    if named.is_empty() {
        return Ok(CommandFacts::default());
    }
    let rows: Vec<CommandFactsRow> = sqlx::query_as(
        "WITH open AS MATERIALIZED (
             SELECT c.tenant, c.id, p.wamid
             FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS p (tenant, id, wamid, n)
             JOIN commands c ON c.tenant = p.tenant AND c.id = p.id
             WHERE c.state IN ('queued', 'sending', 'in_doubt')
             ORDER BY p.n
             FOR UPDATE OF c
         ), accepted AS (
             UPDATE commands c
             SET state = 'accepted', wamid = open.wamid, reason = NULL, updated_at = $4
             FROM open
             WHERE c.tenant = open.tenant AND c.id = open.id
             RETURNING c.tenant, c.id
         )
         SELECT c.tenant, c.id, c.user_key, c.kind, c.callback_data, c.traceparent,
                (c.tenant, c.id) IN (SELECT tenant, id FROM accepted) AS moved,
                CASE WHEN k.refused AND c.kind = 'template' THEN c.content END AS template
         FROM unnest($5::text[], $6::text[], $7::bool[]) AS k (tenant, id, refused)
         JOIN commands c ON c.tenant = k.tenant AND c.id = k.id",
    )
    .bind(column(&batch.proofs, |proof| proof.tenant.as_str()))
    .bind(column(&batch.proofs, |proof| proof.command.as_str()))
    .bind(column(&batch.proofs, |proof| proof.wamid.as_deref()))
    .bind(Moment::now())
    .bind(column(&named, |((tenant, _), _)| *tenant))
    .bind(column(&named, |((_, id), _)| *id))
    .bind(column(&named, |(_, refused)| *refused))
    .fetch_all(connection)
    .await?;
    Ok(facts(rows))
}
