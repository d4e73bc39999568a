//! The recorder's statement.

use staffetta_domain::Leaf;

use super::Postgres;
use super::columns::{bind_events, bind_messages, column};
use crate::moment::Moment;
use crate::records::{Told, announcements};
use crate::rows::Recording;
use crate::types::{Announcement, StoreError};

impl Postgres {
    pub(crate) async fn record(&self, leaves: &[Leaf]) -> Result<Vec<Announcement>, StoreError> {
        let batch = Recording::of(leaves);
        // Places are given in the order of the leaves; rows are locked in the order of their keys. The `IN` is hashed,
        // where a join with a batch of unknown size would compare each row with each.
        let statement = sqlx::query_as::<_, Told>(
            "WITH said AS MATERIALIZED (
                 SELECT nextval('events_seq_seq') AS seq, e.*
                 FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[],
                             $7::text[], $8::text[], $9::bool[])
                     AS e (id, tenant, channel, type, subject, time, data, command_id, conditional)
             ), open AS MATERIALIZED (
                 SELECT c.tenant, c.id, p.wamid
                 FROM unnest($10::text[], $11::text[], $12::text[]) WITH ORDINALITY AS p (tenant, id, wamid, n)
                 JOIN commands c ON c.tenant = p.tenant AND c.id = p.id
                 WHERE c.state IN ('queued', 'sending', 'in_doubt')
                 ORDER BY p.n
                 FOR UPDATE OF c
             ), accepted AS (
                 UPDATE commands c
                 SET state = 'accepted', wamid = open.wamid, reason = NULL, updated_at = $13
                 FROM open
                 WHERE c.tenant = open.tenant AND c.id = open.id
                 RETURNING c.tenant, c.id
             ), told AS (
                 INSERT INTO events (seq, id, tenant, channel, type, subject, time, data, command_id, callback_data,
                                     recorded_at)
                 SELECT s.seq, s.id, s.tenant, s.channel, s.type, s.subject, s.time, s.data, s.command_id,
                        c.callback_data, $13
                 FROM said s
                 LEFT JOIN commands c ON c.tenant = s.tenant AND c.id = s.command_id
                 WHERE NOT s.conditional OR (s.tenant, s.command_id) IN (SELECT tenant, id FROM accepted)
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
                        u.provider_time, $13, $13
                 FROM unnest($14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[],
                             $20::text[], $21::smallint[], $22::text[], $23::timestamptz[]) WITH ORDINALITY
                     AS u (channel, wamid, tenant, direction, user_key, kind, content, state, command_id,
                           provider_time, n)
                 LEFT JOIN commands c ON c.tenant = u.tenant AND c.id = u.command_id
                 ORDER BY u.n
                 ON CONFLICT (channel, wamid) DO UPDATE SET
                     state = GREATEST(m.state, excluded.state),
                     user_key = COALESCE(m.user_key, excluded.user_key),
                     kind = COALESCE(m.kind, excluded.kind),
                     content = COALESCE(m.content, excluded.content),
                     command_id = COALESCE(m.command_id, excluded.command_id),
                     provider_time = LEAST(m.provider_time, excluded.provider_time),
                     updated_at = excluded.updated_at
                 WHERE excluded.state > m.state
                    OR excluded.provider_time < m.provider_time
                    OR (m.user_key IS NULL AND excluded.user_key IS NOT NULL)
                    OR (m.kind IS NULL AND excluded.kind IS NOT NULL)
                    OR (m.content IS NULL AND excluded.content IS NOT NULL)
                    OR (m.command_id IS NULL AND excluded.command_id IS NOT NULL)
                    OR (m.provider_time IS NULL AND excluded.provider_time IS NOT NULL)
             )
             SELECT id, seq, callback_data FROM told",
        );
        let statement = bind_events(statement, &batch.events)
            .bind(column(&batch.events, |row| row.conditional))
            .bind(column(&batch.proofs, |proof| proof.tenant.as_str()))
            .bind(column(&batch.proofs, |proof| proof.command.as_str()))
            .bind(column(&batch.proofs, |proof| proof.wamid.as_deref()))
            .bind(Moment::now());
        let told = bind_messages(statement, &batch.messages).fetch_all(&self.pool).await?;
        Ok(announcements(&batch.events, told))
    }
}
