//! The dispatcher's and the api's transactions.

use sqlx::FromRow;
use sqlx::postgres::PgConnection;
use staffetta_domain::{CommandId, TenantId};

use super::columns::column;
use super::tell::{Abort, tell};
use super::{MOST_RACES, Postgres, end};
use crate::batch::{ClaimRow, Claiming, CommandFacts, OutcomeRow, Settling};
use crate::moment::Moment;
use crate::records::{ClaimedRow, CommandFactsRow, StandingRow, Standings, answers, doubts, facts};
use crate::rows::storable;
use crate::types::{Announcement, Claim, Claimed, NewCommand, Outcome, StoreError};

impl Postgres {
    pub(crate) async fn claim(
        &self,
        claims: &[Claim],
    ) -> Result<(Vec<Claimed>, Vec<Announcement>), StoreError> {
        let batch = Claiming::of(claims);
        if let Some(claimed) = self.claim_surely(claims, &batch).await? {
            return Ok((claimed, Vec::new()));
        }
        for _ in 0..MOST_RACES {
            let mut lease = self.lease().await?;
            let mut transaction = lease.begin().await?;
            let steps = claim(&mut transaction, claims, &batch).await;
            if let Some(claimed) = end(transaction, steps).await? {
                return Ok(claimed);
            }
        }
        Err(StoreError::too_slow())
    }

    /// Claims by one statement, which is a transaction of its own. It passes over commands that the claim of a newer
    /// owner would put in doubt, because that has to be told with the same commit: then the answer is `None`, and
    /// claiming again answers alike what was granted here.
    async fn claim_surely(
        &self,
        claims: &[Claim],
        batch: &Claiming<'_>,
    ) -> Result<Option<Vec<Claimed>>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let (rows, standings) = claim_rows(&mut connection, &batch.rows, Doubts::PassOver).await?;
        if rows.len() < batch.rows.len() {
            return Ok(None);
        }
        answers(claims, &rows, standings).map(Some)
    }

    pub(crate) async fn settle(&self, outcomes: &[Outcome]) -> Result<Vec<Announcement>, StoreError> {
        let batch = Settling::of(outcomes);
        for _ in 0..MOST_RACES {
            let mut lease = self.lease().await?;
            let mut transaction = lease.begin().await?;
            let steps = settle(&mut transaction, &batch).await;
            if let Some(told) = end(transaction, steps).await? {
                return Ok(told);
            }
        }
        Err(StoreError::too_slow())
    }

    pub(crate) async fn revive(&self, tenant: &TenantId, id: &CommandId) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE commands SET state = 'queued', attempt = 0, reason = NULL, perhaps_sent = false, updated_at = $3
             WHERE tenant = $1 AND id = $2 AND state IN ('rejected', 'failed', 'expired')",
        )
        .bind(tenant.as_str())
        .bind(id.as_str())
        .bind(Moment::now())
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    pub(crate) async fn enqueue(&self, commands: &[NewCommand]) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO commands (tenant, id, channel, lane, user_key, callback_data, state, created_at, updated_at)
             SELECT k.tenant, k.id, k.channel, k.lane, k.user_key, k.callback_data, 'queued', k.at, k.at
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::text[])
                 AS k (tenant, id, channel, lane, at, user_key, callback_data)
             ORDER BY k.tenant COLLATE \"C\", k.id COLLATE \"C\"
             ON CONFLICT (tenant, id) DO NOTHING",
        )
        .bind(column(commands, |command| command.tenant.as_str()))
        .bind(column(commands, |command| command.id.as_str()))
        .bind(column(commands, |command| command.channel.as_str()))
        .bind(column(commands, |command| command.lane.as_str()))
        .bind(column(commands, |command| Moment::from(command.at)))
        .bind(column(commands, |command| storable(&command.user)))
        .bind(column(commands, |command| command.callback_data.as_deref().map(storable)))
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

async fn claim(
    connection: &mut PgConnection,
    claims: &[Claim],
    batch: &Claiming<'_>,
) -> Result<(Vec<Claimed>, Vec<Announcement>), Abort> {
    let (rows, standings) = claim_rows(connection, &batch.rows, Doubts::Make).await?;
    let told = tell(connection, &batch.items, &doubts(&rows)).await?;
    Ok((answers(claims, &rows, standings)?, told))
}

async fn settle(connection: &mut PgConnection, batch: &Settling<'_>) -> Result<Vec<Announcement>, Abort> {
    let facts = settle_rows(connection, &batch.rows).await?;
    tell(connection, &batch.items, &facts).await
}

/// What becomes of commands whose claim is a doubt.
#[derive(Clone, Copy)]
enum Doubts {
    /// They are in doubt.
    Make,
    /// They stay as they are, and are not among the answers.
    PassOver,
}

/// A claimed command, or how the channel stands with the user of one.
#[derive(FromRow)]
struct Answer {
    tenant: String,
    id: String,
    state: Option<String>,
    attempt: Option<i32>,
    since: Option<Moment>,
    moved: Option<bool>,
    perhaps_sent: Option<bool>,
    user_key: Option<String>,
    kind: Option<String>,
    callback_data: Option<String>,
    traceparent: Option<String>,
    #[sqlx(flatten)]
    standing: StandingRow,
}

/// Grants the claims, or puts the commands in doubt, or leaves them as they are; and reads what is known of their
/// users, whose conversations nobody has to wait for. The `LIMIT`s keep the contacts look-ups by tenant and number:
/// joined, they may be looked through for the number alone.
async fn claim_rows(
    connection: &mut PgConnection,
    rows: &[ClaimRow<'_>],
    doubts: Doubts,
) -> Result<(Vec<ClaimedRow>, Standings), StoreError> {
    let answers: Vec<Answer> = sqlx::query_as(
        "WITH claims AS MATERIALIZED (
             SELECT *
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                         $7::text[], $8::text[], $9::bigint[], $10::timestamptz[], $11::bigint[], $12::text[], $14::text[],
                         $15::text[])
                 WITH ORDINALITY
                 AS k (tenant, id, channel, lane, user_key, kind, content, callback_data, epoch, at, sequence, alias,
                       number, traceparent, n)
         ), claimed AS (
             INSERT INTO commands AS c (tenant, id, channel, lane, user_key, kind, content, callback_data, state,
                                        attempt, epoch, granted_to, sequence, claimed_at, created_at, updated_at,
                                        traceparent)
             SELECT k.tenant, k.id, k.channel, k.lane, k.user_key, k.kind, k.content, k.callback_data, 'sending',
                    1, k.epoch, k.epoch, k.sequence, k.at, k.at, k.at, k.traceparent
             FROM claims k
             ORDER BY k.n
             ON CONFLICT (tenant, id) DO UPDATE SET
                 moved = c.state = 'queued'
                     OR (c.state IN ('sending', 'in_doubt')
                         AND (c.epoch < excluded.epoch
                              OR (c.epoch = excluded.epoch AND c.sequence = excluded.sequence))),
                 state = CASE
                     WHEN c.state = 'queued' THEN 'sending'
                     WHEN c.state = 'sending' AND c.epoch < excluded.epoch THEN 'in_doubt'
                     ELSE c.state END,
                 attempt = CASE WHEN c.state = 'queued' THEN c.attempt + 1 ELSE c.attempt END,
                 epoch = CASE
                     WHEN c.state = 'queued' THEN excluded.epoch
                     ELSE GREATEST(c.epoch, excluded.epoch) END,
                 granted_to = CASE WHEN c.state = 'queued' THEN excluded.epoch ELSE c.granted_to END,
                 sequence = CASE
                     WHEN c.state = 'queued' OR (c.state IN ('sending', 'in_doubt') AND c.epoch < excluded.epoch)
                     THEN excluded.sequence ELSE c.sequence END,
                 claimed_at = CASE WHEN c.state = 'queued' THEN excluded.claimed_at ELSE c.claimed_at END,
                 reason = CASE WHEN c.state = 'queued' THEN NULL ELSE c.reason END,
                 updated_at = CASE
                     WHEN c.state = 'queued'
                         OR (c.state IN ('sending', 'in_doubt') AND c.epoch < excluded.epoch)
                     THEN excluded.updated_at ELSE c.updated_at END,
                 user_key = COALESCE(c.user_key, excluded.user_key),
                 kind = COALESCE(c.kind, excluded.kind),
                 content = COALESCE(c.content, excluded.content),
                 callback_data = COALESCE(c.callback_data, excluded.callback_data),
                 traceparent = COALESCE(c.traceparent, excluded.traceparent)
             WHERE $13 OR NOT (c.state IN ('sending', 'in_doubt') AND c.epoch < excluded.epoch)
             RETURNING c.tenant, c.id, c.state, c.attempt, COALESCE(c.claimed_at, c.created_at) AS since,
                       c.moved, c.perhaps_sent, c.user_key, c.kind, c.callback_data, c.traceparent
         )
         SELECT tenant, id, state, attempt, since, moved, perhaps_sent, user_key, kind, callback_data, traceparent,
                NULL::timestamptz AS wrote_at, NULL::bigint AS held_code, NULL::timestamptz AS held_at,
                NULL::text AS held_template, NULL::bigint AS muted_code, NULL::timestamptz AS muted_at,
                NULL::text AS muted_template, false AS switched_off
         FROM claimed
         UNION ALL
         SELECT k.tenant, k.id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, c.wrote_at, c.held_code,
                c.held_at, c.held_template, c.muted_code, c.muted_at, c.muted_template,
                COALESCE(o.switched_off, p.switched_off, false)
         FROM claims k
         LEFT JOIN identities i ON i.tenant = k.tenant AND i.channel = k.channel AND i.alias = k.alias
         LEFT JOIN conversations c ON c.id = i.conversation
         LEFT JOIN LATERAL (
             SELECT true AS switched_off FROM contacts
             WHERE tenant = k.tenant AND number = k.number AND NOT whatsapp LIMIT 1
         ) o ON true
         LEFT JOIN LATERAL (
             SELECT true AS switched_off FROM contacts
             WHERE tenant = k.tenant AND number = c.phone AND NOT whatsapp LIMIT 1
         ) p ON true
         WHERE c.wrote_at IS NOT NULL OR c.held_code IS NOT NULL OR c.muted_code IS NOT NULL
            OR o.switched_off OR p.switched_off",
    )
    .bind(column(rows, |row| row.claim.tenant.as_str()))
    .bind(column(rows, |row| row.claim.id.as_str()))
    .bind(column(rows, |row| row.claim.channel.as_str()))
    .bind(column(rows, |row| row.claim.lane.as_str()))
    .bind(column(rows, |row| row.user.as_ref()))
    .bind(column(rows, |row| row.kind.as_ref()))
    .bind(column(rows, |row| row.content.as_ref()))
    .bind(column(rows, |row| row.callback_data.as_deref()))
    .bind(column(rows, |row| row.claim.epoch))
    .bind(column(rows, |row| Moment::from(row.claim.at)))
    .bind(column(rows, |row| row.claim.sequence))
    .bind(column(rows, |row| row.alias.as_deref()))
    .bind(matches!(doubts, Doubts::Make))
    .bind(column(rows, |row| row.number()))
    .bind(column(rows, |row| row.trace.as_deref()))
    .fetch_all(connection)
    .await?;
    let (mut claimed, mut standings) = (Vec::with_capacity(rows.len()), Standings::new());
    for answer in answers {
        let Answer { tenant, id, user_key, kind, callback_data, traceparent, standing, .. } = answer;
        match (answer.state, answer.attempt, answer.since, answer.moved.zip(answer.perhaps_sent)) {
            (Some(state), Some(attempt), Some(since), Some((moved, perhaps_sent))) => {
                claimed.push(ClaimedRow {
                    tenant,
                    id,
                    state,
                    attempt,
                    since,
                    moved,
                    perhaps_sent,
                    user_key,
                    kind,
                    callback_data,
                    traceparent,
                })
            }
            _ => {
                standings.insert((tenant, id), standing.into());
            }
        }
    }
    Ok((claimed, standings))
}

/// Moves the commands that are still open, and says which. That nothing was sent is a fact, as an acceptance is, but of
/// one try: it counts although another owner has followed, as long as that one only doubts; and not for a try that was
/// claimed after it was said.
async fn settle_rows(connection: &mut PgConnection, rows: &[OutcomeRow<'_>]) -> Result<CommandFacts, Abort> {
    let moved: Vec<CommandFactsRow> = sqlx::query_as(
        "WITH ended AS MATERIALIZED (
             SELECT *
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                         $8::timestamptz[], $9::timestamptz[], $10::bool[], $11::text[], $12::bigint[])
                 WITH ORDINALITY
                 AS o (tenant, id, channel, user_key, state, wamid, reason, claimed_at, at, postponed, lane, epoch, n)
         )
         INSERT INTO commands AS c (tenant, id, channel, lane, user_key, state, epoch, wamid, reason,
                                    claimed_at, created_at, updated_at)
         SELECT tenant, id, channel, lane, user_key, state, epoch, wamid, reason, claimed_at, at, at
         FROM ended
         ORDER BY n
         ON CONFLICT (tenant, id) DO UPDATE SET
             state = excluded.state,
             attempt = CASE
                 WHEN c.state <> 'queued' AND (c.tenant, c.id) IN (SELECT tenant, id FROM ended WHERE postponed)
                 THEN GREATEST(c.attempt - 1, 0) ELSE c.attempt END,
             perhaps_sent = c.perhaps_sent
                 OR (c.state = 'in_doubt' AND excluded.state = 'queued'
                     AND c.granted_to IS DISTINCT FROM excluded.epoch),
             granted_to = NULL,
             user_key = COALESCE(c.user_key, excluded.user_key),
             wamid = COALESCE(excluded.wamid, c.wamid),
             reason = excluded.reason,
             claimed_at = COALESCE(c.claimed_at, excluded.claimed_at),
             updated_at = excluded.updated_at
         WHERE c.state IN ('queued', 'sending', 'in_doubt')
             AND (c.epoch <= excluded.epoch OR excluded.state = 'accepted'
                  OR (excluded.state = 'queued' AND c.state = 'in_doubt' AND c.granted_to = excluded.epoch))
             AND (excluded.state <> 'queued' OR c.claimed_at IS NULL OR c.claimed_at <= excluded.updated_at)
         RETURNING c.tenant, c.id, c.user_key, c.kind, c.callback_data, c.traceparent, true AS moved",
    )
    .bind(column(rows, |row| row.outcome.tenant.as_str()))
    .bind(column(rows, |row| row.outcome.id.as_str()))
    .bind(column(rows, |row| row.outcome.channel.as_str()))
    .bind(column(rows, |row| row.user.as_deref()))
    .bind(column(rows, |row| row.outcome.settlement.state().as_str()))
    .bind(column(rows, |row| row.wamid.as_deref()))
    .bind(column(rows, |row| row.reason.as_deref()))
    .bind(column(rows, OutcomeRow::claimed))
    .bind(column(rows, OutcomeRow::at))
    .bind(column(rows, OutcomeRow::postponed))
    .bind(column(rows, |row| row.outcome.lane.as_str()))
    .bind(column(rows, |row| row.outcome.epoch))
    .fetch_all(connection)
    .await?;
    Ok(facts(moved))
}
