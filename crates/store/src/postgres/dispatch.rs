//! The dispatcher's and the api's statements.

use sqlx::FromRow;

use super::Postgres;
use super::columns::{bind_events, bind_messages, column};
use crate::moment::Moment;
use crate::records::{ClaimedRow, Told, announcements, answers};
use crate::rows::{Claiming, Settling};
use crate::types::{Announcement, Claim, Claimed, NewCommand, Outcome, StoreError};

/// A claimed row, and its `in_doubt` event if that is new.
#[derive(FromRow)]
struct ClaimAnswer {
    #[sqlx(flatten)]
    row: ClaimedRow,
    event_id: Option<String>,
    seq: Option<i64>,
    callback_data: Option<String>,
}

impl Postgres {
    pub(crate) async fn claim(
        &self,
        claims: &[Claim],
    ) -> Result<(Vec<Claimed>, Vec<Announcement>), StoreError> {
        let batch = Claiming::of(claims);
        let statement = sqlx::query_as::<_, ClaimAnswer>(
            "WITH said AS MATERIALIZED (
                 SELECT nextval('events_seq_seq') AS seq, e.*
                 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[],
                             $7::text[], $8::text[])
                     AS e (id, tenant, channel, type, subject, time, data, command_id)
             ), answered AS (
                 INSERT INTO commands AS c (tenant, id, channel, lane, user_key, kind, content, callback_data, state,
                                            attempt, epoch, sequence, claimed_at, created_at, updated_at)
                 SELECT k.tenant, k.id, k.channel, k.lane, k.user_key, k.kind, k.content, k.callback_data, 'sending',
                        1, k.epoch, k.sequence, k.at, k.at, k.at
                 FROM unnest($10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[],
                             $16::text[], $17::text[], $18::bigint[], $19::timestamptz[], $20::bigint[])
                     WITH ORDINALITY
                     AS k (tenant, id, channel, lane, user_key, kind, content, callback_data, epoch, at, sequence, n)
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
                     callback_data = COALESCE(c.callback_data, excluded.callback_data)
                 RETURNING c.tenant, c.id, c.state, c.attempt, COALESCE(c.claimed_at, c.created_at) AS since,
                           c.moved, c.callback_data
             ), told AS (
                 INSERT INTO events (seq, id, tenant, channel, type, subject, time, data, command_id, callback_data,
                                     recorded_at)
                 SELECT s.seq, s.id, s.tenant, s.channel, s.type, s.subject, s.time, s.data, s.command_id,
                        a.callback_data, $9
                 FROM said s
                 JOIN answered a ON a.tenant = s.tenant AND a.id = s.command_id
                 WHERE a.moved AND a.state = 'in_doubt'
                 ORDER BY s.id COLLATE \"C\"
                 ON CONFLICT (id) DO NOTHING
                 RETURNING tenant, command_id, id, seq
             ), waiting AS (
                 INSERT INTO outbox (seq) SELECT seq FROM told
             )
             SELECT a.*, t.id AS event_id, t.seq
             FROM answered a
             LEFT JOIN told t ON t.tenant = a.tenant AND t.command_id = a.id",
        );
        let answered = bind_events(statement, &batch.events)
            .bind(Moment::now())
            .bind(column(&batch.rows, |row| row.claim.tenant.as_str()))
            .bind(column(&batch.rows, |row| row.claim.id.as_str()))
            .bind(column(&batch.rows, |row| row.claim.channel.as_str()))
            .bind(column(&batch.rows, |row| row.claim.lane.as_str()))
            .bind(column(&batch.rows, |row| row.user.as_ref()))
            .bind(column(&batch.rows, |row| row.kind.as_ref()))
            .bind(column(&batch.rows, |row| row.content.as_ref()))
            .bind(column(&batch.rows, |row| row.callback_data.as_deref()))
            .bind(column(&batch.rows, |row| row.claim.epoch))
            .bind(column(&batch.rows, |row| Moment::from(row.claim.at)))
            .bind(column(&batch.rows, |row| row.claim.sequence))
            .fetch_all(&self.pool)
            .await?;
        let mut rows = Vec::with_capacity(answered.len());
        let mut told = Vec::new();
        for answer in answered {
            rows.push(answer.row);
            if let (Some(id), Some(seq)) = (answer.event_id, answer.seq) {
                told.push(Told { id, seq, callback_data: answer.callback_data });
            }
        }
        Ok((answers(claims, &rows)?, announcements(&batch.events, told)))
    }

    pub(crate) async fn settle(&self, outcomes: &[Outcome]) -> Result<Vec<Announcement>, StoreError> {
        let batch = Settling::of(outcomes);
        let statement = sqlx::query_as::<_, Told>(
            "WITH said AS MATERIALIZED (
                 SELECT nextval('events_seq_seq') AS seq, e.*
                 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[],
                             $7::text[], $8::text[])
                     AS e (id, tenant, channel, type, subject, time, data, command_id)
             ), ended AS MATERIALIZED (
                 SELECT *
                 FROM unnest($10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[],
                             $16::text[], $17::timestamptz[], $18::timestamptz[], $19::bool[], $20::text[],
                             $21::bigint[])
                     WITH ORDINALITY
                     AS o (tenant, id, channel, user_key, state, wamid, reason, claimed_at, at, postponed, lane, epoch,
                           n)
             ), moved AS (
                 INSERT INTO commands AS c (tenant, id, channel, lane, user_key, state, epoch, wamid, reason,
                                            claimed_at, created_at, updated_at)
                 SELECT tenant, id, channel, lane, user_key, state, epoch, wamid, reason, claimed_at, at, at
                 FROM ended
                 ORDER BY n
                 ON CONFLICT (tenant, id) DO UPDATE SET
                     state = excluded.state,
                     attempt = CASE
                         WHEN (c.tenant, c.id) IN (SELECT tenant, id FROM ended WHERE postponed)
                         THEN GREATEST(c.attempt - 1, 0) ELSE c.attempt END,
                     user_key = COALESCE(c.user_key, excluded.user_key),
                     wamid = COALESCE(excluded.wamid, c.wamid),
                     reason = excluded.reason,
                     claimed_at = COALESCE(c.claimed_at, excluded.claimed_at),
                     updated_at = excluded.updated_at
                 WHERE c.state IN ('queued', 'sending', 'in_doubt')
                     AND (c.epoch <= excluded.epoch OR excluded.state = 'accepted')
                 RETURNING c.tenant, c.id, c.callback_data
             ), told AS (
                 INSERT INTO events (seq, id, tenant, channel, type, subject, time, data, command_id, callback_data,
                                     recorded_at)
                 SELECT s.seq, s.id, s.tenant, s.channel, s.type, s.subject, s.time, s.data, s.command_id,
                        m.callback_data, $9
                 FROM said s
                 JOIN moved m ON m.tenant = s.tenant AND m.id = s.command_id
                 ORDER BY s.id COLLATE \"C\"
                 ON CONFLICT (id) DO NOTHING
                 RETURNING id, seq, callback_data
             ), waiting AS (
                 INSERT INTO outbox (seq) SELECT seq FROM told
             ), kept AS (
                 INSERT INTO messages AS m (channel, wamid, tenant, direction, user_key, kind, content, state,
                                            command_id, provider_time, recorded_at, updated_at)
                 SELECT u.channel, u.wamid, u.tenant, u.direction, COALESCE(u.user_key, c.user_key),
                        COALESCE(u.kind, c.kind), COALESCE(u.content, c.content), u.state, u.command_id,
                        u.provider_time, $9, $9
                 FROM unnest($22::text[], $23::text[], $24::text[], $25::text[], $26::text[], $27::text[],
                             $28::text[], $29::smallint[], $30::text[], $31::timestamptz[]) WITH ORDINALITY
                     AS u (channel, wamid, tenant, direction, user_key, kind, content, state, command_id,
                           provider_time, n)
                 LEFT JOIN commands c ON c.tenant = u.tenant AND c.id = u.command_id
                 ORDER BY u.n
                 ON CONFLICT (channel, wamid) DO UPDATE SET
                     user_key = COALESCE(m.user_key, excluded.user_key),
                     kind = COALESCE(m.kind, excluded.kind),
                     content = COALESCE(m.content, excluded.content),
                     command_id = COALESCE(m.command_id, excluded.command_id),
                     updated_at = excluded.updated_at
                 WHERE (m.user_key IS NULL AND excluded.user_key IS NOT NULL)
                    OR (m.kind IS NULL AND excluded.kind IS NOT NULL)
                    OR (m.content IS NULL AND excluded.content IS NOT NULL)
                    OR (m.command_id IS NULL AND excluded.command_id IS NOT NULL)
             )
             SELECT id, seq, callback_data FROM told",
        );
        let statement = bind_events(statement, &batch.events)
            .bind(Moment::now())
            .bind(column(&batch.rows, |row| row.outcome.tenant.as_str()))
            .bind(column(&batch.rows, |row| row.outcome.id.as_str()))
            .bind(column(&batch.rows, |row| row.outcome.channel.as_str()))
            .bind(column(&batch.rows, |row| row.user.as_deref()))
            .bind(column(&batch.rows, |row| row.outcome.settlement.state().as_str()))
            .bind(column(&batch.rows, |row| row.wamid.as_deref()))
            .bind(column(&batch.rows, |row| row.reason.as_deref()))
            .bind(column(&batch.rows, |row| row.claimed()))
            .bind(column(&batch.rows, |row| row.at()))
            .bind(column(&batch.rows, |row| row.postponed()))
            .bind(column(&batch.rows, |row| row.outcome.lane.as_str()))
            .bind(column(&batch.rows, |row| row.outcome.epoch));
        let told = bind_messages(statement, &batch.messages).fetch_all(&self.pool).await?;
        Ok(announcements(&batch.events, told))
    }

    pub(crate) async fn enqueue(&self, commands: &[NewCommand]) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO commands (tenant, id, channel, lane, state, created_at, updated_at)
             SELECT k.tenant, k.id, k.channel, k.lane, 'queued', k.at, k.at
             FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
                 AS k (tenant, id, channel, lane, at)
             ORDER BY k.tenant COLLATE \"C\", k.id COLLATE \"C\"
             ON CONFLICT (tenant, id) DO NOTHING",
        )
        .bind(column(commands, |command| command.tenant.as_str()))
        .bind(column(commands, |command| command.id.as_str()))
        .bind(column(commands, |command| command.channel.as_str()))
        .bind(column(commands, |command| command.lane.as_str()))
        .bind(column(commands, |command| Moment::from(command.at)))
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
