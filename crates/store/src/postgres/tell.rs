//! Telling events: the steps that every statement which tells something ends with, in its transaction.

use std::collections::{BTreeMap, HashMap};

use sqlx::FromRow;
use sqlx::postgres::PgConnection;
use staffetta_domain::Profile;

use super::columns::{bind_messages, column};
use crate::batch::{CommandFacts, Item, informed};
use crate::moment::Moment;
use crate::plan::{
    HeldRow, Home, Known, NameRow, NewConversation, NewName, Plan, Questions, Raced, Writes, concerned,
};
use crate::rows::{Refusal, storable};
use crate::types::{Announcement, StoreError};

/// Why a transaction has to be given up.
pub(super) enum Abort {
    /// Another one changed what this one had looked up: the same again will work.
    Raced,
    /// The database failed.
    Failed(StoreError),
}

impl From<Raced> for Abort {
    fn from(_: Raced) -> Self {
        Self::Raced
    }
}

impl From<sqlx::Error> for Abort {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<StoreError> for Abort {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

/// Tells what is new among `items`, each in its conversation's turn.
pub(super) async fn tell(
    connection: &mut PgConnection,
    items: &[Item<'_>],
    facts: &CommandFacts,
) -> Result<Vec<Announcement>, Abort> {
    let items = informed(items, facts);
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let (mut known, seqs) = look_up(connection, &Questions::of(&items), items.len()).await?;
    let concerned = concerned(&items, &known);
    if !concerned.is_empty() {
        known.add_concerned(look_up_names(connection, &concerned).await?);
    }
    let mut plan = Plan::of(items, known)?;
    if plan.is_empty() {
        return Ok(Vec::new());
    }
    let now = Moment::now();
    let created = plan.new_conversations();
    if !created.is_empty() {
        plan.made(create(connection, &created, now).await?);
    }
    learn_names(connection, plan.names()).await?;
    rename(connection, plan.profiles(), now).await?;
    for (loser, winner) in plan.merges() {
        merge(connection, loser, winner, now).await?;
    }
    let writes = plan.number(&seqs, facts);
    write(connection, &writes, now).await?;
    rule(connection, &writes).await?;
    Ok(writes.announcements())
}

/// One of several sorts of rows; which one, says the first column.
#[derive(FromRow)]
struct Answer {
    sort: i32,
    tenant: Option<String>,
    channel: Option<String>,
    name: Option<String>,
    conversation: Option<i64>,
    since: Option<Moment>,
    former: Option<i64>,
    until: Option<Moment>,
    sequence: Option<i64>,
    seen: Option<i64>,
    version: Option<i64>,
    phone: Option<String>,
    user_id: Option<String>,
    group_id: Option<String>,
    seqs: Option<Vec<i64>>,
}

/// Looks everything up and locks the conversations, in the order of their numbers. Also takes numbers for so many
/// events.
async fn look_up(
    connection: &mut PgConnection,
    questions: &Questions<'_>,
    events: usize,
) -> Result<(Known, Vec<i64>), Abort> {
    let answers: Vec<Answer> = sqlx::query_as(
        "WITH names AS MATERIALIZED (
             SELECT i.tenant, i.channel, i.alias, COALESCE(c.merged_into, c.id) AS conversation, i.since,
                    COALESCE(f.merged_into, f.id) AS former, i.until
             FROM unnest($7::text[], $1::text[], $2::text[]) AS k (tenant, channel, alias)
             JOIN identities i ON i.tenant = k.tenant AND i.channel = k.channel AND i.alias = k.alias
             LEFT JOIN conversations c ON c.id = i.conversation
             LEFT JOIN conversations f ON f.id = i.former
         ), spoken AS MATERIALIZED (
             SELECT m.tenant, m.channel, m.wamid, m.conversation
             FROM unnest($8::text[], $3::text[], $4::text[]) AS k (tenant, channel, wamid)
             JOIN messages m ON m.channel = k.channel AND m.wamid = k.wamid
             WHERE m.tenant = k.tenant AND m.conversation IS NOT NULL
         ), wanted AS MATERIALIZED (
             SELECT c.id, c.version
             FROM (SELECT conversation AS id FROM names UNION SELECT former FROM names
                   UNION SELECT conversation FROM spoken) w
             JOIN conversations c ON c.id = w.id
         ), held AS MATERIALIZED (
             SELECT c.id, c.sequence, c.version, c.merged_into, c.phone, c.user_id, c.group_id
             FROM conversations c
             WHERE c.id = ANY (ARRAY(SELECT id FROM wanted))
             ORDER BY c.id
             FOR UPDATE
         )
         SELECT 1 AS sort, tenant, channel, alias AS name, conversation, since, former, until, NULL::bigint AS sequence,
                NULL::bigint AS seen, NULL::bigint AS version, NULL::text AS phone, NULL::text AS user_id,
                NULL::text AS group_id, NULL::bigint[] AS seqs
         FROM names
         UNION ALL
         SELECT 2, tenant, channel, wamid, conversation, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
         FROM spoken
         UNION ALL
         SELECT 3, NULL, NULL, NULL, id, NULL, merged_into, NULL, sequence, NULL, version, phone, user_id, group_id, NULL
         FROM held
         UNION ALL
         SELECT 6, NULL, NULL, NULL, id, NULL, NULL, NULL, NULL, version, NULL, NULL, NULL, NULL, NULL
         FROM wanted
         UNION ALL
         SELECT 4, NULL, NULL, k.id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
         FROM unnest($5::text[]) AS k (id) JOIN events e ON e.id = k.id::uuid
         UNION ALL
         SELECT 5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
                ARRAY(SELECT nextval('events_seq_seq') FROM generate_series(1, $6))",
    )
    .bind(column(&questions.names, |(home, _)| home.1))
    .bind(column(&questions.names, |(_, alias)| alias.as_str()))
    .bind(column(&questions.messages, |(home, _)| home.1))
    .bind(column(&questions.messages, |(_, wamid)| wamid.as_ref()))
    .bind(&questions.events)
    .bind(i32::try_from(events).unwrap_or(i32::MAX))
    .bind(column(&questions.names, |(home, _)| home.0))
    .bind(column(&questions.messages, |(home, _)| home.0))
    .fetch_all(connection)
    .await?;

    let (mut known, mut seqs, mut seen) = (Known::default(), Vec::new(), HashMap::new());
    for answer in answers {
        let Answer { channel, name, conversation, .. } = answer;
        match (answer.sort, channel, name, conversation) {
            (1, Some(channel), Some(alias), conversation) => known.names.push(NameRow {
                tenant: answer.tenant.unwrap_or_default(),
                channel,
                alias,
                conversation,
                since: answer.since,
                former: answer.former,
                until: answer.until,
            }),
            (2, Some(channel), Some(wamid), Some(conversation)) => {
                known.messages.push((answer.tenant.unwrap_or_default(), channel, wamid, conversation));
            }
            (3, _, _, Some(id)) => known.held.push(HeldRow {
                id,
                sequence: answer.sequence.unwrap_or_default(),
                seen: 0,
                version: answer.version.unwrap_or_default(),
                merged_into: answer.former,
                phone: answer.phone,
                user_id: answer.user_id,
                group_id: answer.group_id,
            }),
            (4, _, Some(id), _) => {
                known.events.insert(id);
            }
            (6, _, _, Some(id)) => {
                seen.insert(id, answer.seen.unwrap_or_default());
            }
            _ => seqs = answer.seqs.unwrap_or_default(),
        }
    }
    for row in &mut known.held {
        row.seen = seen.get(&row.id).copied().unwrap_or_default();
    }
    seqs.sort_unstable();
    Ok((known, seqs))
}

/// Looks up aliases alone.
async fn look_up_names(
    connection: &mut PgConnection,
    names: &[(Home<'_>, String)],
) -> Result<Vec<NameRow>, Abort> {
    let found = sqlx::query_as(
        "SELECT i.tenant, i.channel, i.alias, COALESCE(c.merged_into, c.id) AS conversation, i.since,
                COALESCE(f.merged_into, f.id) AS former, i.until
         FROM unnest($1::text[], $2::text[], $3::text[]) AS k (tenant, channel, alias)
         JOIN identities i ON i.tenant = k.tenant AND i.channel = k.channel AND i.alias = k.alias
         LEFT JOIN conversations c ON c.id = i.conversation
         LEFT JOIN conversations f ON f.id = i.former",
    )
    .bind(column(names, |(home, _)| home.0))
    .bind(column(names, |(home, _)| home.1))
    .bind(column(names, |(_, alias)| alias.as_str()))
    .fetch_all(connection)
    .await?;
    Ok(found)
}

/// Makes conversations and gives back their numbers, in their order: numbers are taken as rows come.
async fn create(
    connection: &mut PgConnection,
    created: &[NewConversation<'_>],
    now: Moment,
) -> Result<Vec<i64>, Abort> {
    let mut ids: Vec<i64> = sqlx::query_scalar(
        "INSERT INTO conversations (tenant, channel, phone, user_id, group_id, last_at, created_at, updated_at)
         SELECT tenant, channel, phone, user_id, group_id, at, $7, $7
         FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[]) WITH ORDINALITY
             AS k (tenant, channel, phone, user_id, group_id, at, n)
         ORDER BY n
         RETURNING id",
    )
    .bind(column(created, |new| new.tenant))
    .bind(column(created, |new| new.channel))
    .bind(column(created, |new| new.profile.phone.as_deref().map(storable)))
    .bind(column(created, |new| new.profile.user_id.as_deref().map(storable)))
    .bind(column(created, |new| new.profile.group.as_deref().map(storable)))
    .bind(column(created, |new| new.at))
    .bind(now)
    .fetch_all(connection)
    .await?;
    ids.sort_unstable();
    Ok(ids)
}

/// Writes aliases. One that somebody else has just made is theirs.
async fn learn_names(connection: &mut PgConnection, names: Vec<NewName>) -> Result<(), Abort> {
    let (new, changed): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.is_new);
    if !new.is_empty() {
        let done = names_statement(
            "INSERT INTO identities (tenant, channel, alias, conversation, since, former, until)
             SELECT tenant, channel, alias, conversation, since, former, until
             FROM unnest($7::text[], $1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::bigint[],
                         $6::timestamptz[])
                 WITH ORDINALITY AS k (tenant, channel, alias, conversation, since, former, until, n)
             ORDER BY n
             ON CONFLICT (tenant, channel, alias) DO NOTHING",
            &new,
        )
        .execute(&mut *connection)
        .await?;
        if done.rows_affected() != new.len() as u64 {
            return Err(Abort::Raced);
        }
    }
    if !changed.is_empty() {
        names_statement(
            "UPDATE identities i
             SET conversation = k.conversation, since = k.since, former = k.former, until = k.until
             FROM unnest($7::text[], $1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::bigint[],
                         $6::timestamptz[])
                 AS k (tenant, channel, alias, conversation, since, former, until)
             WHERE i.tenant = k.tenant AND i.channel = k.channel AND i.alias = k.alias",
            &changed,
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

fn names_statement<'q>(
    sql: &'static str,
    names: &'q [NewName],
) -> sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments> {
    sqlx::query(sql)
        .bind(column(names, |name| name.channel.as_str()))
        .bind(column(names, |name| name.alias.as_str()))
        .bind(column(names, |name| name.current.map(|(id, _)| id)))
        .bind(column(names, |name| name.current.map(|(_, at)| at)))
        .bind(column(names, |name| name.former.map(|(id, _)| id)))
        .bind(column(names, |name| name.former.map(|(_, at)| at)))
        .bind(column(names, |name| name.tenant.as_str()))
}

async fn rename(
    connection: &mut PgConnection,
    profiles: BTreeMap<i64, Profile>,
    now: Moment,
) -> Result<(), Abort> {
    if profiles.is_empty() {
        return Ok(());
    }
    let profiles: Vec<_> = profiles.into_iter().collect();
    sqlx::query(
        "UPDATE conversations c
         SET phone = k.phone, user_id = k.user_id, group_id = k.group_id, version = c.version + 1, updated_at = $5
         FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) AS k (id, phone, user_id, group_id)
         WHERE c.id = k.id",
    )
    .bind(column(&profiles, |(id, _)| *id))
    .bind(column(&profiles, |(_, profile)| profile.phone.as_deref().map(storable)))
    .bind(column(&profiles, |(_, profile)| profile.user_id.as_deref().map(storable)))
    .bind(column(&profiles, |(_, profile)| profile.group.as_deref().map(storable)))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Moves all that one conversation holds into another. Both rows are locked, and so nobody adds to either meanwhile.
async fn merge(connection: &mut PgConnection, loser: i64, winner: i64, now: Moment) -> Result<(), Abort> {
    sqlx::query("UPDATE identities SET conversation = $2 WHERE conversation = $1")
        .bind(loser)
        .bind(winner)
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE messages SET conversation = $2 WHERE conversation = $1")
        .bind(loser)
        .bind(winner)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "UPDATE conversations w
         SET unread = w.unread + l.unread, wrote_at = GREATEST(w.wrote_at, l.wrote_at),
             last_at = CASE WHEN l.newer THEN l.last_at ELSE w.last_at END,
             last_place = CASE WHEN l.newer THEN l.last_place ELSE w.last_place END,
             last_wamid = CASE WHEN l.newer THEN l.last_wamid ELSE w.last_wamid END,
             name = CASE WHEN l.named_later THEN COALESCE(l.name, w.name) ELSE COALESCE(w.name, l.name) END,
             username = CASE WHEN l.named_later THEN COALESCE(l.username, w.username)
                             ELSE COALESCE(w.username, l.username) END,
             named_at = GREATEST(w.named_at, l.named_at),
             held_code = CASE WHEN l.held_later THEN l.held_code ELSE w.held_code END,
             held_template = CASE WHEN l.held_later THEN l.held_template ELSE w.held_template END,
             held_at = CASE WHEN l.held_later THEN l.held_at ELSE w.held_at END,
             muted_code = CASE WHEN l.muted_later THEN l.muted_code ELSE w.muted_code END,
             muted_template = CASE WHEN l.muted_later THEN l.muted_template ELSE w.muted_template END,
             muted_at = CASE WHEN l.muted_later THEN l.muted_at ELSE w.muted_at END,
             created_at = LEAST(w.created_at, l.created_at), updated_at = $3
         FROM (SELECT l.*,
                      l.last_wamid IS NOT NULL
                          AND (w.last_wamid IS NULL OR (l.last_at, l.last_place) > (w.last_at, w.last_place)) AS newer,
                      l.named_at > COALESCE(w.named_at, '-infinity') AS named_later,
                      l.held_at > COALESCE(w.held_at, '-infinity') AS held_later,
                      l.muted_at > COALESCE(w.muted_at, '-infinity') AS muted_later
               FROM conversations l, conversations w WHERE l.id = $1 AND w.id = $2) l
         WHERE w.id = $2",
    )
    .bind(loser)
    .bind(winner)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE conversations SET merged_into = $2, unread = 0, updated_at = $3 WHERE id = $1 OR merged_into = $1",
    )
    .bind(loser)
    .bind(winner)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the events, their note in the outbox, their messages and their conversations.
async fn write(connection: &mut PgConnection, writes: &Writes<'_>, now: Moment) -> Result<(), Abort> {
    let mut events: Vec<_> = writes.events.iter().collect();
    events.sort_unstable_by(|a, b| a.event.id.cmp(&b.event.id));
    let messages: Vec<_> = writes.messages.values().collect();
    let conversations: Vec<_> = writes.conversations.iter().collect();
    let statement = sqlx::query_as::<_, (i64,)>(
        "WITH told AS (
             INSERT INTO events (seq, id, tenant, channel, type, subject, time, data, command_id, callback_data,
                                 conversation, sequence, recorded_at, traceparent)
             SELECT seq, id::uuid, tenant, channel, type, subject, time, data, command_id, callback_data, conversation,
                    sequence, $13, traceparent
             FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
                         $8::text[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], $42::text[]) WITH ORDINALITY
                 AS e (seq, id, tenant, channel, type, subject, time, data, command_id, callback_data, conversation,
                       sequence, traceparent, n)
             ORDER BY n
             ON CONFLICT (id) DO NOTHING
             RETURNING 1
         ), waiting AS (
             INSERT INTO outbox (batch, seqs, recorded_at) VALUES ($14, $15, $13)
         ), kept AS (
             INSERT INTO messages AS m (channel, wamid, tenant, conversation, direction, kind, state, command_id, at,
                                        timed, place, content_seq, edit_seq, edited_at, withdrawn_at, steps,
                                        recorded_at, updated_at)
             SELECT channel, wamid, tenant, conversation, direction, kind, state, command_id, at, timed, place,
                    content_seq, edit_seq, edited_at, withdrawn_at,
                    COALESCE(string_to_array(NULLIF(steps, ''), ',')::bigint[], '{}'), $13, $13
             FROM unnest($16::text[], $17::text[], $18::text[], $19::bigint[], $20::text[], $21::text[],
                         $22::smallint[], $23::text[], $24::timestamptz[], $25::bool[], $26::bigint[], $27::bigint[],
                         $28::bigint[], $29::timestamptz[], $30::timestamptz[], $31::text[]) WITH ORDINALITY
                 AS u (channel, wamid, tenant, conversation, direction, kind, state, command_id, at, timed, place,
                       content_seq, edit_seq, edited_at, withdrawn_at, steps, n)
             ORDER BY n
             ON CONFLICT (channel, wamid) DO UPDATE SET
                 conversation = COALESCE(m.conversation, excluded.conversation),
                 kind = COALESCE(NULLIF(m.kind, 'media_placeholder'), excluded.kind, m.kind),
                 state = GREATEST(m.state, excluded.state),
                 command_id = COALESCE(m.command_id, excluded.command_id),
                 at = CASE WHEN m.timed AND excluded.timed THEN LEAST(m.at, excluded.at)
                           WHEN excluded.timed THEN excluded.at
                           ELSE m.at END,
                 timed = m.timed OR excluded.timed,
                 content_seq = CASE WHEN m.kind = 'media_placeholder' THEN COALESCE(excluded.content_seq, m.content_seq)
                                    ELSE COALESCE(m.content_seq, excluded.content_seq) END,
                 edit_seq = CASE WHEN excluded.edited_at >= COALESCE(m.edited_at, '-infinity') THEN excluded.edit_seq
                                 ELSE m.edit_seq END,
                 edited_at = GREATEST(m.edited_at, excluded.edited_at),
                 withdrawn_at = LEAST(m.withdrawn_at, excluded.withdrawn_at),
                 steps = m.steps || excluded.steps,
                 updated_at = excluded.updated_at
             WHERE m.tenant = excluded.tenant
         ), moved AS (
             UPDATE conversations c SET
                 sequence = u.sequence,
                 unread = c.unread + u.unread,
                 wrote_at = GREATEST(c.wrote_at, u.wrote_at),
                 (last_at, last_place, last_wamid) = (
                     SELECT CASE WHEN newer THEN u.last_at ELSE c.last_at END,
                            CASE WHEN newer THEN u.last_place ELSE c.last_place END,
                            CASE WHEN newer THEN u.last_wamid ELSE c.last_wamid END
                     FROM (SELECT u.last_at IS NOT NULL AND (c.last_wamid IS NULL
                                      OR (u.last_at, u.last_place) > (c.last_at, c.last_place)) AS newer) n),
                 name = CASE WHEN u.named_at >= COALESCE(c.named_at, '-infinity') THEN COALESCE(u.name, c.name)
                             ELSE c.name END,
                 username = CASE WHEN u.named_at >= COALESCE(c.named_at, '-infinity')
                                 THEN COALESCE(u.username, c.username) ELSE c.username END,
                 named_at = GREATEST(c.named_at, u.named_at),
                 updated_at = $13
             FROM unnest($32::bigint[], $33::bigint[], $34::int[], $35::timestamptz[], $36::timestamptz[],
                         $37::bigint[], $38::text[], $39::timestamptz[], $40::text[], $41::text[])
                 AS u (id, sequence, unread, wrote_at, last_at, last_place, last_wamid, named_at, name, username)
             WHERE c.id = u.id
         )
         SELECT count(*) FROM told",
    )
    .bind(column(&events, |row| row.seq))
    .bind(column(&events, |row| row.event.id.as_str()))
    .bind(column(&events, |row| row.event.tenant.as_str()))
    .bind(column(&events, |row| row.event.channel.as_str()))
    .bind(column(&events, |row| row.event.kind.as_str()))
    .bind(column(&events, |row| row.subject.as_ref()))
    .bind(column(&events, |row| Moment::from(row.event.time)))
    .bind(column(&events, |row| row.text.as_ref()))
    .bind(column(&events, |row| row.command))
    .bind(column(&events, |row| row.callback_data))
    .bind(column(&events, |row| row.turn.map(|turn| turn.conversation)))
    .bind(column(&events, |row| row.turn.map(|turn| turn.sequence)))
    .bind(now)
    .bind(writes.batch())
    .bind(column(&writes.events, |row| row.seq));
    let (told,) = bind_messages(statement, &messages)
        .bind(column(&conversations, |(id, _)| **id))
        .bind(column(&conversations, |(_, row)| row.sequence))
        .bind(column(&conversations, |(_, row)| row.unread))
        .bind(column(&conversations, |(_, row)| row.wrote_at))
        .bind(column(&conversations, |(_, row)| row.last.as_ref().map(|last| last.0)))
        .bind(column(&conversations, |(_, row)| row.last.as_ref().map(|last| last.1)))
        .bind(column(&conversations, |(_, row)| row.last.as_ref().map(|last| last.2.as_ref())))
        .bind(column(&conversations, |(_, row)| row.named.as_ref().map(|named| named.at)))
        .bind(column(&conversations, |(_, row)| row.named.as_ref().and_then(|named| named.name.as_deref())))
        .bind(column(&conversations, |(_, row)| {
            row.named.as_ref().and_then(|named| named.username.as_deref())
        }))
        .bind(column(&events, |row| row.trace.map(|trace| trace.to_string())))
        .fetch_one(connection)
        .await?;
    // Another one told one of them between the look and now: with its number missing there would be a gap.
    if told == events.len() as i64 { Ok(()) } else { Err(Abort::Raced) }
}

/// Keeps who can't be written to, or can be again, unless something newer is known. Few events say so: a statement of
/// its own, in which the others need not carry it.
async fn rule(connection: &mut PgConnection, writes: &Writes<'_>) -> Result<(), Abort> {
    let rows: Vec<_> = writes.conversations.iter().filter(|(_, row)| row.rules()).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let code = |refusal: &Option<Refusal<'_>>| refusal.as_ref().and_then(|refusal| refusal.code);
    let at = |refusal: &Option<Refusal<'_>>| refusal.as_ref().map(|refusal| refusal.at);
    sqlx::query(
        "UPDATE conversations c SET
             (held_code, held_at, held_template) = (
                 SELECT CASE WHEN later THEN u.held_code ELSE c.held_code END,
                        CASE WHEN later THEN u.held_at ELSE c.held_at END,
                        CASE WHEN later THEN u.held_template ELSE c.held_template END
                 FROM (SELECT u.held_at > COALESCE(c.held_at, '-infinity') AS later) n),
             (muted_code, muted_at, muted_template) = (
                 SELECT CASE WHEN later THEN u.muted_code ELSE c.muted_code END,
                        CASE WHEN later THEN u.muted_at ELSE c.muted_at END,
                        CASE WHEN later THEN u.muted_template ELSE c.muted_template END
                 FROM (SELECT u.muted_at > COALESCE(c.muted_at, '-infinity') AS later) n)
         FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::text[], $5::bigint[], $6::timestamptz[],
                     $7::text[])
             AS u (id, held_code, held_at, held_template, muted_code, muted_at, muted_template)
         WHERE c.id = u.id",
    )
    .bind(column(&rows, |(id, _)| **id))
    .bind(column(&rows, |(_, row)| code(&row.held)))
    .bind(column(&rows, |(_, row)| at(&row.held)))
    .bind(column(&rows, |(_, row)| template(&row.held)))
    .bind(column(&rows, |(_, row)| code(&row.muted)))
    .bind(column(&rows, |(_, row)| at(&row.muted)))
    .bind(column(&rows, |(_, row)| template(&row.muted)))
    .execute(connection)
    .await?;
    Ok(())
}

fn template<'r>(refusal: &'r Option<Refusal<'_>>) -> Option<&'r str> {
    refusal.as_ref().and_then(|refusal| refusal.template.as_deref())
}
