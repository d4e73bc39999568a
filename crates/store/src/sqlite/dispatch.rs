//! The dispatcher's and the api's transactions.

use sqlx::sqlite::SqliteConnection;
use staffetta_domain::{CommandId, TenantId};

use super::Sqlite;
use super::tell::tell;
use crate::batch::{ClaimRow, Claiming, OutcomeRow, Settling};
use crate::moment::Moment;
use crate::records::{ClaimedRow, CommandFactsRow, StandingRow, Standings, answers, doubts, facts};
use crate::rows::storable;
use crate::types::{Announcement, Claim, Claimed, NewCommand, Outcome, StoreError};

impl Sqlite {
    pub(crate) async fn claim(
        &self,
        claims: &[Claim],
    ) -> Result<(Vec<Claimed>, Vec<Announcement>), StoreError> {
        let batch = Claiming::of(claims);
        let mut transaction = self.begin().await?;
        let (mut rows, mut standings) = (Vec::with_capacity(batch.rows.len()), Standings::new());
        for row in &batch.rows {
            let claimed = claim(&mut transaction, row).await?;
            let standing = standing(&mut transaction, row).await?;
            standings.insert((claimed.tenant.clone(), claimed.id.clone()), standing.into());
            rows.push(claimed);
        }
        let told = tell(&mut transaction, &batch.items, &doubts(&rows)).await?;
        transaction.commit().await?;
        Ok((answers(claims, &rows, standings)?, told))
    }

    pub(crate) async fn settle(&self, outcomes: &[Outcome]) -> Result<Vec<Announcement>, StoreError> {
        let batch = Settling::of(outcomes);
        let mut transaction = self.begin().await?;
        let mut moved: Vec<CommandFactsRow> = Vec::with_capacity(batch.rows.len());
        for row in &batch.rows {
            moved.extend(settle(&mut transaction, row).await?);
        }
        let told = tell(&mut transaction, &batch.items, &facts(moved)).await?;
        transaction.commit().await?;
        Ok(told)
    }

    pub(crate) async fn revive(&self, tenant: &TenantId, id: &CommandId) -> Result<bool, StoreError> {
        let mut transaction = self.begin().await?;
        let done = sqlx::query(
            "UPDATE commands SET state = 'queued', attempt = 0, reason = NULL, perhaps_sent = 0, updated_at = ?3
             WHERE tenant = ?1 AND id = ?2 AND state IN ('rejected', 'failed', 'expired')",
        )
        .bind(tenant.as_str())
        .bind(id.as_str())
        .bind(Moment::now())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    pub(crate) async fn enqueue(&self, commands: &[NewCommand]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for command in commands {
            sqlx::query(
                "INSERT INTO commands (tenant, id, channel, lane, state, created_at, updated_at, user_key, callback_data)
                 VALUES (?1, ?2, ?3, ?4, 'queued', ?5, ?5, ?6, ?7)
                 ON CONFLICT (tenant, id) DO NOTHING",
            )
            .bind(command.tenant.as_str())
            .bind(command.id.as_str())
            .bind(command.channel.as_str())
            .bind(command.lane.as_str())
            .bind(Moment::from(command.at))
            .bind(storable(&command.user))
            .bind(command.callback_data.as_deref().map(storable))
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// Grants the claim, or puts the command in doubt, or leaves it as it is.
async fn claim(connection: &mut SqliteConnection, row: &ClaimRow<'_>) -> Result<ClaimedRow, StoreError> {
    let claimed = sqlx::query_as(
        "INSERT INTO commands (tenant, id, channel, lane, user_key, kind, content, callback_data, state, attempt,
                               epoch, granted_to, sequence, claimed_at, created_at, updated_at, traceparent)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'sending', 1, ?9, ?9, ?11, ?10, ?10, ?10, ?12)
         ON CONFLICT (tenant, id) DO UPDATE SET
             moved = commands.state = 'queued'
                 OR (commands.state IN ('sending', 'in_doubt')
                 AND (commands.epoch < excluded.epoch
                     OR (commands.epoch = excluded.epoch AND commands.sequence = excluded.sequence))),
             state = CASE
                 WHEN commands.state = 'queued' THEN 'sending'
                 WHEN commands.state = 'sending' AND commands.epoch < excluded.epoch THEN 'in_doubt'
                 ELSE commands.state END,
             attempt = CASE WHEN commands.state = 'queued' THEN commands.attempt + 1 ELSE commands.attempt END,
             epoch = CASE
                 WHEN commands.state = 'queued' THEN excluded.epoch
                 ELSE max(commands.epoch, excluded.epoch) END,
             granted_to = CASE WHEN commands.state = 'queued' THEN excluded.epoch ELSE commands.granted_to END,
             sequence = CASE
                 WHEN commands.state = 'queued' OR (commands.state IN ('sending', 'in_doubt') AND commands.epoch < excluded.epoch)
                 THEN excluded.sequence ELSE commands.sequence END,
             claimed_at = CASE
                 WHEN commands.state = 'queued' THEN excluded.claimed_at
                 ELSE commands.claimed_at END,
             reason = CASE WHEN commands.state = 'queued' THEN NULL ELSE commands.reason END,
             updated_at = CASE
                 WHEN commands.state = 'queued'
                     OR (commands.state IN ('sending', 'in_doubt') AND commands.epoch < excluded.epoch)
                 THEN excluded.updated_at ELSE commands.updated_at END,
             user_key = COALESCE(commands.user_key, excluded.user_key),
             kind = COALESCE(commands.kind, excluded.kind),
             content = COALESCE(commands.content, excluded.content),
             callback_data = COALESCE(commands.callback_data, excluded.callback_data),
             traceparent = COALESCE(commands.traceparent, excluded.traceparent)
         RETURNING tenant, id, state, attempt, COALESCE(claimed_at, created_at) AS since, moved,
                   perhaps_sent, user_key, kind, callback_data, traceparent",
    )
    .bind(row.claim.tenant.as_str())
    .bind(row.claim.id.as_str())
    .bind(row.claim.channel.as_str())
    .bind(row.claim.lane.as_str())
    .bind(row.user.as_ref())
    .bind(row.kind.as_ref())
    .bind(row.content.as_ref())
    .bind(row.callback_data.as_deref())
    .bind(row.claim.epoch)
    .bind(Moment::from(row.claim.at))
    .bind(row.claim.sequence)
    .bind(row.trace.as_deref())
    .fetch_one(connection)
    .await?;
    Ok(claimed)
}

/// How the channel stands with the user.
async fn standing(connection: &mut SqliteConnection, row: &ClaimRow<'_>) -> Result<StandingRow, StoreError> {
    let found = sqlx::query_as(
        "SELECT c.wrote_at, c.held_code, c.held_at, c.held_template, c.muted_code, c.muted_at, c.muted_template,
                EXISTS (SELECT 1 FROM contacts o
                        WHERE o.tenant = ?1 AND o.number IN (?4, c.phone) AND NOT o.whatsapp) AS switched_off
         FROM (SELECT 1)
         LEFT JOIN identities i ON i.tenant = ?1 AND i.channel = ?2 AND i.alias = ?3
         LEFT JOIN conversations c ON c.id = i.conversation",
    )
    .bind(row.claim.tenant.as_str())
    .bind(row.claim.channel.as_str())
    .bind(row.alias.as_deref())
    .bind(row.number())
    .fetch_one(connection)
    .await?;
    Ok(found)
}

/// The command, if it was still open: the outcome is its own now. That nothing was sent is a fact, as an acceptance is,
/// but of one try: it counts although another owner has followed, as long as that one only doubts; and not for a try
/// that was claimed after it was said.
async fn settle(
    connection: &mut SqliteConnection,
    row: &OutcomeRow<'_>,
) -> Result<Option<CommandFactsRow>, StoreError> {
    let moved = sqlx::query_as(
        "INSERT INTO commands (tenant, id, channel, lane, user_key, state, epoch, wamid, reason, claimed_at,
                               created_at, updated_at)
         VALUES (?1, ?2, ?3, ?11, ?4, ?5, ?12, ?6, ?7, ?8, ?9, ?9)
         ON CONFLICT (tenant, id) DO UPDATE SET
             state = excluded.state,
             attempt = CASE
                 WHEN ?10 AND commands.state <> 'queued' THEN max(commands.attempt - 1, 0)
                 ELSE commands.attempt END,
             perhaps_sent = commands.perhaps_sent
                 OR (commands.state = 'in_doubt' AND excluded.state = 'queued'
                     AND commands.granted_to IS NOT excluded.epoch),
             granted_to = NULL,
             user_key = COALESCE(commands.user_key, excluded.user_key),
             wamid = COALESCE(excluded.wamid, commands.wamid),
             reason = excluded.reason,
             claimed_at = COALESCE(commands.claimed_at, excluded.claimed_at),
             updated_at = excluded.updated_at
         WHERE commands.state IN ('queued', 'sending', 'in_doubt')
             AND (commands.epoch <= excluded.epoch OR excluded.state = 'accepted'
                  OR (excluded.state = 'queued' AND commands.state = 'in_doubt'
                      AND commands.granted_to = excluded.epoch))
             AND (excluded.state <> 'queued' OR commands.claimed_at IS NULL
                  OR commands.claimed_at <= excluded.updated_at)
         RETURNING tenant, id, user_key, kind, callback_data, traceparent, 1 AS moved",
    )
    .bind(row.outcome.tenant.as_str())
    .bind(row.outcome.id.as_str())
    .bind(row.outcome.channel.as_str())
    .bind(row.user.as_deref())
    .bind(row.outcome.settlement.state().as_str())
    .bind(row.wamid.as_deref())
    .bind(row.reason.as_deref())
    .bind(row.claimed())
    .bind(row.at())
    .bind(row.postponed())
    .bind(row.outcome.lane.as_str())
    .bind(row.outcome.epoch)
    .fetch_optional(connection)
    .await?;
    Ok(moved)
}
