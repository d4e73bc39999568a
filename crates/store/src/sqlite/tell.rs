//! Telling events: the steps that every transaction which tells something ends with.
//!
//! There is one writer, so nothing that was looked up can change before the transaction ends.

use std::collections::BTreeSet;

use sqlx::FromRow;
use sqlx::sqlite::SqliteConnection;

use crate::batch::{CommandFacts, Item, informed};
use crate::moment::Moment;
use crate::plan::{
    HeldRow, Home, Known, NameRow, NewConversation, NewName, Plan, Questions, Writes, concerned,
};
use crate::rows::{ConversationRow, EventRow, MessageRow, Refusal};
use crate::types::{Announcement, StoreError};

/// Tells what is new among `items`, each in its conversation's turn.
pub(super) async fn tell(
    connection: &mut SqliteConnection,
    items: &[Item<'_>],
    facts: &CommandFacts,
) -> Result<Vec<Announcement>, StoreError> {
    let items = informed(items, facts);
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let mut known = look_up(connection, &Questions::of(&items)).await?;
    let concerned = look_up_names(connection, &concerned(&items, &known)).await?;
    known.add_concerned(concerned);
    let count = items.len() as i64;
    let Ok(mut plan) = Plan::of(items, known) else {
        return Err(StoreError::Corrupt("a conversation"));
    };
    if plan.is_empty() {
        return Ok(Vec::new());
    }
    let now = Moment::now();
    let mut ids = Vec::new();
    for new in plan.new_conversations() {
        ids.push(create(connection, &new, now).await?);
    }
    plan.made(ids);
    for name in plan.names() {
        learn_name(connection, &name).await?;
    }
    for (id, profile) in plan.profiles() {
        sqlx::query(
            "UPDATE conversations
             SET phone = ?2, user_id = ?3, group_id = ?4, version = version + 1, updated_at = ?5
             WHERE id = ?1",
        )
        .bind(id)
        .bind(profile.phone.as_deref())
        .bind(profile.user_id.as_deref())
        .bind(profile.group.as_deref())
        .bind(now)
        .execute(&mut *connection)
        .await?;
    }
    for (loser, winner) in plan.merges() {
        merge(connection, loser, winner, now).await?;
    }
    let last: i64 =
        sqlx::query_scalar("SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)")
            .fetch_one(&mut *connection)
            .await?;
    let seqs: Vec<i64> = (last + 1..=last + count).collect();
    let writes = plan.number(&seqs, facts);
    write(connection, &writes, now).await?;
    Ok(writes.announcements())
}

async fn look_up(connection: &mut SqliteConnection, questions: &Questions<'_>) -> Result<Known, StoreError> {
    #[derive(FromRow)]
    struct Conversation {
        conversation: Option<i64>,
    }
    let mut known = Known { names: look_up_names(connection, &questions.names).await?, ..Known::default() };
    let mut wanted: BTreeSet<i64> =
        known.names.iter().flat_map(|row| [row.conversation, row.former]).flatten().collect();
    for (home, wamid) in &questions.messages {
        let found: Option<Conversation> = sqlx::query_as(
            "SELECT conversation FROM messages WHERE channel = ?1 AND wamid = ?2 AND tenant = ?3",
        )
        .bind(home.1)
        .bind(wamid.as_ref())
        .bind(home.0)
        .fetch_optional(&mut *connection)
        .await?;
        if let Some(Conversation { conversation: Some(conversation) }) = found {
            wanted.insert(conversation);
            known.messages.push((
                home.0.to_owned(),
                home.1.to_owned(),
                wamid.clone().into_owned(),
                conversation,
            ));
        }
    }
    for id in wanted {
        let held: Option<HeldRow> = sqlx::query_as(
            "SELECT id, sequence, version AS seen, version, merged_into, phone, user_id, group_id
             FROM conversations WHERE id = ?",
        )
        .bind(id)
        .fetch_optional(&mut *connection)
        .await?;
        known.held.extend(held);
    }
    for id in &questions.events {
        let told: Option<String> = sqlx::query_scalar("SELECT id FROM events WHERE id = ?")
            .bind(*id)
            .fetch_optional(&mut *connection)
            .await?;
        known.events.extend(told);
    }
    Ok(known)
}

async fn look_up_names(
    connection: &mut SqliteConnection,
    names: &[(Home<'_>, String)],
) -> Result<Vec<NameRow>, StoreError> {
    let mut rows: Vec<NameRow> = Vec::new();
    for (home, alias) in names {
        let found = sqlx::query_as(
            "SELECT i.tenant, i.channel, i.alias, COALESCE(c.merged_into, c.id) AS conversation, i.since,
                    COALESCE(f.merged_into, f.id) AS former, i.until
             FROM identities i
             LEFT JOIN conversations c ON c.id = i.conversation
             LEFT JOIN conversations f ON f.id = i.former
             WHERE i.channel = ?1 AND i.alias = ?2 AND i.tenant = ?3",
        )
        .bind(home.1)
        .bind(alias)
        .bind(home.0)
        .fetch_optional(&mut *connection)
        .await?;
        rows.extend(found);
    }
    Ok(rows)
}

async fn create(
    connection: &mut SqliteConnection,
    new: &NewConversation<'_>,
    now: Moment,
) -> Result<i64, StoreError> {
    let id = sqlx::query_scalar(
        "INSERT INTO conversations (tenant, channel, phone, user_id, group_id, last_at, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)
         RETURNING id",
    )
    .bind(new.tenant)
    .bind(new.channel)
    .bind(new.profile.phone.as_deref())
    .bind(new.profile.user_id.as_deref())
    .bind(new.profile.group.as_deref())
    .bind(new.at)
    .bind(now)
    .fetch_one(connection)
    .await?;
    Ok(id)
}

async fn learn_name(connection: &mut SqliteConnection, name: &NewName) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO identities (channel, alias, conversation, since, former, until, tenant)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (tenant, channel, alias) DO UPDATE SET
             conversation = excluded.conversation, since = excluded.since, former = excluded.former,
             until = excluded.until",
    )
    .bind(name.channel.as_str())
    .bind(name.alias.as_str())
    .bind(name.current.map(|(id, _)| id))
    .bind(name.current.map(|(_, at)| at))
    .bind(name.former.map(|(id, _)| id))
    .bind(name.former.map(|(_, at)| at))
    .bind(name.tenant.as_str())
    .execute(connection)
    .await?;
    Ok(())
}

/// Moves all that one conversation holds into another.
async fn merge(
    connection: &mut SqliteConnection,
    loser: i64,
    winner: i64,
    now: Moment,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE identities SET conversation = ?2 WHERE conversation = ?1")
        .bind(loser)
        .bind(winner)
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE messages SET conversation = ?2 WHERE conversation = ?1")
        .bind(loser)
        .bind(winner)
        .execute(&mut *connection)
        .await?;
    sqlx::query(
        "UPDATE conversations AS w
         SET unread = w.unread + l.unread,
             wrote_at = COALESCE(max(w.wrote_at, l.wrote_at), w.wrote_at, l.wrote_at),
             last_at = CASE WHEN l.newer THEN l.last_at ELSE w.last_at END,
             last_place = CASE WHEN l.newer THEN l.last_place ELSE w.last_place END,
             last_wamid = CASE WHEN l.newer THEN l.last_wamid ELSE w.last_wamid END,
             name = CASE WHEN l.named_later THEN COALESCE(l.name, w.name) ELSE COALESCE(w.name, l.name) END,
             username = CASE WHEN l.named_later THEN COALESCE(l.username, w.username)
                             ELSE COALESCE(w.username, l.username) END,
             named_at = COALESCE(max(w.named_at, l.named_at), w.named_at, l.named_at),
             held_code = CASE WHEN l.held_later THEN l.held_code ELSE w.held_code END,
             held_template = CASE WHEN l.held_later THEN l.held_template ELSE w.held_template END,
             held_at = CASE WHEN l.held_later THEN l.held_at ELSE w.held_at END,
             muted_code = CASE WHEN l.muted_later THEN l.muted_code ELSE w.muted_code END,
             muted_template = CASE WHEN l.muted_later THEN l.muted_template ELSE w.muted_template END,
             muted_at = CASE WHEN l.muted_later THEN l.muted_at ELSE w.muted_at END,
             created_at = min(w.created_at, l.created_at), updated_at = ?3
         FROM (SELECT l.*,
                      l.last_wamid IS NOT NULL
                          AND (w.last_wamid IS NULL OR (l.last_at, l.last_place) > (w.last_at, w.last_place)) AS newer,
                      COALESCE(l.named_at > COALESCE(w.named_at, 0), 0) AS named_later,
                      COALESCE(l.held_at > COALESCE(w.held_at, 0), 0) AS held_later,
                      COALESCE(l.muted_at > COALESCE(w.muted_at, 0), 0) AS muted_later
               FROM conversations l, conversations w WHERE l.id = ?1 AND w.id = ?2) l
         WHERE w.id = ?2",
    )
    .bind(loser)
    .bind(winner)
    .bind(now)
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "UPDATE conversations SET merged_into = ?2, unread = 0, updated_at = ?3 WHERE id = ?1 OR merged_into = ?1",
    )
    .bind(loser)
    .bind(winner)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the events, their note in the outbox, their messages and their conversations.
async fn write(
    connection: &mut SqliteConnection,
    writes: &Writes<'_>,
    now: Moment,
) -> Result<(), StoreError> {
    for row in &writes.events {
        insert_event(connection, row, now).await?;
    }
    let seqs: Vec<i64> = writes.events.iter().map(|row| row.seq).collect();
    sqlx::query("INSERT INTO outbox (batch, seqs, recorded_at) VALUES (?1, ?2, ?3)")
        .bind(writes.batch())
        .bind(serde_json::to_string(&seqs).expect("a list of numbers is JSON"))
        .bind(now)
        .execute(&mut *connection)
        .await?;
    for row in writes.messages.values() {
        keep_message(connection, row, now).await?;
    }
    for (id, row) in &writes.conversations {
        keep_conversation(connection, *id, row, now).await?;
        rule(connection, *id, row).await?;
    }
    Ok(())
}

async fn insert_event(
    connection: &mut SqliteConnection,
    row: &EventRow<'_>,
    now: Moment,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO events (seq, id, tenant, channel, type, subject, time, data, command_id, callback_data,
                             conversation, sequence, recorded_at, traceparent)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )
    .bind(row.seq)
    .bind(row.event.id.as_str())
    .bind(row.event.tenant.as_str())
    .bind(row.event.channel.as_str())
    .bind(row.event.kind.as_str())
    .bind(row.subject.as_ref())
    .bind(Moment::from(row.event.time))
    .bind(row.text.as_ref())
    .bind(row.command)
    .bind(row.callback_data)
    .bind(row.turn.map(|turn| turn.conversation))
    .bind(row.turn.map(|turn| turn.sequence))
    .bind(now)
    .bind(row.trace.map(|trace| trace.to_string()))
    .execute(connection)
    .await?;
    Ok(())
}

/// Moves a message up, fills what is not known of it yet, and never takes anything back.
async fn keep_message(
    connection: &mut SqliteConnection,
    row: &MessageRow<'_>,
    now: Moment,
) -> Result<(), StoreError> {
    let steps: String = row.steps.iter().map(|seq| format!("{seq},")).collect();
    sqlx::query(
        "INSERT INTO messages (channel, wamid, tenant, conversation, direction, kind, state, command_id, at, timed,
                               place, content_seq, edit_seq, edited_at, withdrawn_at, steps, recorded_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?17)
         ON CONFLICT (channel, wamid) DO UPDATE SET
             conversation = COALESCE(messages.conversation, excluded.conversation),
             kind = COALESCE(NULLIF(messages.kind, 'media_placeholder'), excluded.kind, messages.kind),
             state = max(messages.state, excluded.state),
             command_id = COALESCE(messages.command_id, excluded.command_id),
             at = CASE WHEN messages.timed AND excluded.timed THEN min(messages.at, excluded.at)
                       WHEN excluded.timed THEN excluded.at
                       ELSE messages.at END,
             timed = messages.timed OR excluded.timed,
             content_seq = CASE WHEN messages.kind = 'media_placeholder'
                                THEN COALESCE(excluded.content_seq, messages.content_seq)
                                ELSE COALESCE(messages.content_seq, excluded.content_seq) END,
             edit_seq = CASE WHEN excluded.edited_at >= COALESCE(messages.edited_at, 0) THEN excluded.edit_seq
                             ELSE messages.edit_seq END,
             edited_at = COALESCE(max(messages.edited_at, excluded.edited_at), messages.edited_at,
                                  excluded.edited_at),
             withdrawn_at = COALESCE(min(messages.withdrawn_at, excluded.withdrawn_at), messages.withdrawn_at,
                                     excluded.withdrawn_at),
             steps = messages.steps || excluded.steps,
             updated_at = excluded.updated_at
         WHERE messages.tenant = excluded.tenant",
    )
    .bind(row.channel)
    .bind(row.wamid.as_ref())
    .bind(row.tenant)
    .bind(row.conversation)
    .bind(row.direction.as_str())
    .bind(row.kind.as_deref())
    .bind(row.state.rank())
    .bind(row.command)
    .bind(row.at)
    .bind(row.timed)
    .bind(row.place)
    .bind(row.content_seq)
    .bind(row.edit.map(|(_, seq)| seq))
    .bind(row.edit.map(|(at, _)| at))
    .bind(row.withdrawn_at)
    .bind(steps)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

async fn keep_conversation(
    connection: &mut SqliteConnection,
    id: i64,
    row: &ConversationRow<'_>,
    now: Moment,
) -> Result<(), StoreError> {
    let (last_at, last_place, last_wamid) = match &row.last {
        Some((at, place, wamid)) => (Some(*at), Some(*place), Some(wamid.as_ref())),
        None => (None, None, None),
    };
    let (named_at, name, username) = match &row.named {
        Some(named) => (Some(named.at), named.name.as_deref(), named.username.as_deref()),
        None => (None, None, None),
    };
    sqlx::query(
        "UPDATE conversations AS c SET
             sequence = ?2,
             unread = c.unread + ?3,
             wrote_at = COALESCE(max(c.wrote_at, ?4), c.wrote_at, ?4),
             last_at = CASE WHEN u.newer THEN ?5 ELSE c.last_at END,
             last_place = CASE WHEN u.newer THEN ?6 ELSE c.last_place END,
             last_wamid = CASE WHEN u.newer THEN ?7 ELSE c.last_wamid END,
             name = CASE WHEN u.renamed THEN COALESCE(?9, c.name) ELSE c.name END,
             username = CASE WHEN u.renamed THEN COALESCE(?10, c.username) ELSE c.username END,
             named_at = COALESCE(max(c.named_at, ?8), c.named_at, ?8),
             updated_at = ?11
         FROM (SELECT ?5 IS NOT NULL
                          AND (last_wamid IS NULL OR (?5, ?6) > (last_at, last_place)) AS newer,
                      COALESCE(?8 >= COALESCE(named_at, 0), 0) AS renamed
               FROM conversations WHERE id = ?1) u
         WHERE c.id = ?1",
    )
    .bind(id)
    .bind(row.sequence)
    .bind(row.unread)
    .bind(row.wrote_at)
    .bind(last_at)
    .bind(last_place)
    .bind(last_wamid)
    .bind(named_at)
    .bind(name)
    .bind(username)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps that the user can't be written to, or can be again, unless something newer is known.
async fn rule(
    connection: &mut SqliteConnection,
    id: i64,
    row: &ConversationRow<'_>,
) -> Result<(), StoreError> {
    if let Some(Refusal { at, code, template }) = &row.held {
        sqlx::query(
            "UPDATE conversations SET held_code = ?2, held_at = ?3, held_template = ?4
             WHERE id = ?1 AND (held_at IS NULL OR held_at < ?3)",
        )
        .bind(id)
        .bind(code)
        .bind(at)
        .bind(template.as_deref())
        .execute(&mut *connection)
        .await?;
    }
    if let Some(Refusal { at, code, template }) = &row.muted {
        sqlx::query(
            "UPDATE conversations SET muted_code = ?2, muted_at = ?3, muted_template = ?4
             WHERE id = ?1 AND (muted_at IS NULL OR muted_at < ?3)",
        )
        .bind(id)
        .bind(code)
        .bind(at)
        .bind(template.as_deref())
        .execute(connection)
        .await?;
    }
    Ok(())
}
