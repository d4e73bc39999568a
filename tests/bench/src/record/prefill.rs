//! A database that has been in use for long: filled by the server itself, with rows as wide as real ones but for the
//! events' data, which is small.
//!
//! Each conversation has its turn, again and again: a message of the user's, then the three statuses of an answer.

use std::time::Instant;

use futures_util::future::try_join;
use sqlx::PgConnection;

use super::{
    cluster::{close, connect, run, settle, within},
    population::Population,
};

/// Turns that one statement adds.
const CHUNK: u64 = 50_000;
/// Events of one turn.
const TURN: u64 = 4;
/// Events of one conversation, about.
const OF_A_CONVERSATION: u64 = 500;
/// Days that they spread over: fewer than retention keeps.
const DAYS: u64 = 60;
/// Prime, so that turns that follow each other belong to conversations that lie apart.
const STRIDE: u64 = 7_919;
/// How full an index is that has been filled in random order, in percent.
const FILL: u32 = 75;

/// What is to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    channels: usize,
    tenants: usize,
    conversations: u64,
    turns: u64,
}

/// Fills a database that has its tables and nothing in them, and prints how far it is.
///
/// Conversations are those of the population's first users, so that the recorder knows many who write next.
pub(super) async fn fill(url: &str, population: Population, events: u64) -> anyhow::Result<()> {
    let shape = Shape::of(population, events);
    let start = Instant::now();
    let (mut one, mut other) = (connect(url).await?, connect(url).await?);
    for table in ["events", "messages", "conversations", "identities"] {
        run(&mut one, format!("ALTER TABLE {table} SET (autovacuum_enabled = false)")).await?;
    }
    let indexes = take_indexes(&mut one).await?;
    let chunks: Vec<_> = (0..shape.turns.div_ceil(CHUNK)).collect();
    for (done, pair) in chunks.chunks(2).enumerate() {
        let add = async |connection: &mut PgConnection, chunk: Option<&u64>| match chunk {
            Some(chunk) => shape.add(connection, chunk * CHUNK, shape.turns.min((chunk + 1) * CHUNK)).await,
            None => Ok(()),
        };
        try_join(add(&mut one, pair.first()), add(&mut other, pair.get(1))).await?;
        let tenths = |pairs: usize| pairs * 2 * 10 / chunks.len();
        if tenths(done + 1) > tenths(done) {
            println!("  {:>3} % of the rows after {} s", tenths(done + 1) * 10, start.elapsed().as_secs());
        }
    }
    shape.finish(&mut one).await?;
    close(other).await?;

    run(&mut one, "SET maintenance_work_mem = '1GB'").await?;
    for index in indexes {
        run(&mut one, index.create).await?;
        println!("  {} after {} s", index.name, start.elapsed().as_secs());
    }
    for table in ["events", "messages", "conversations", "identities"] {
        run(&mut one, format!("ALTER TABLE {table} RESET (autovacuum_enabled)")).await?;
        run(&mut one, format!("VACUUM (ANALYZE) {table}")).await?;
    }
    println!("  filled after {} s", start.elapsed().as_secs());
    print_sizes(&mut one).await?;
    close(one).await?;
    settle(url).await
}

impl Shape {
    fn of(population: Population, events: u64) -> Self {
        let mut conversations = (events / OF_A_CONVERSATION).max(1);
        if conversations.is_multiple_of(STRIDE) {
            conversations += 1;
        }
        let turns = events.div_ceil(TURN).next_multiple_of(conversations);
        Self { channels: population.channels, tenants: population.tenants, conversations, turns }
    }

    /// The turns with these numbers, and what is known of each. `second` is when it was, in Unix seconds.
    fn turns(self, from: u64, to: u64) -> String {
        let Self { channels, tenants, conversations, turns } = self;
        let days = DAYS * 86_400;
        format!(
            "(SELECT turn, round, c + 1 AS conversation, 't' || c % {channels} % {tenants} AS tenant,
                     'c' || c % {channels} AS channel, '39340' || lpad(c::text, 7, '0') AS phone, second,
                     'wamid.HBgM' || lpad(c::text, 8, '0') || 'FQIAEhgU' AS wamid
              FROM (SELECT turn, turn / {conversations} AS round, turn * {STRIDE} % {conversations} AS c,
                           extract(epoch FROM now())::bigint - {days} + turn * {days} / {turns} AS second
                    FROM generate_series({from}::bigint, {to}::bigint - 1) AS turn) AS numbers) AS turns"
        )
    }

    async fn add(self, connection: &mut PgConnection, from: u64, to: u64) -> anyhow::Result<()> {
        let turns = self.turns(from, to);
        run(
            connection,
            format!(
                "INSERT INTO events (seq, id, tenant, channel, type, subject, time, data, recorded_at, conversation,
                                     sequence)
                 SELECT turn * {TURN} + step, gen_random_uuid(), tenant, channel,
                        CASE step WHEN 1 THEN 'staffetta.message.received' ELSE 'staffetta.message.status' END,
                        wamid || upper(md5(turn || CASE step WHEN 1 THEN 'in' ELSE 'out' END)) || 'AA==',
                        to_timestamp(second),
                        '{{\"conversation_id\":\"c' || conversation || '\",\"sequence\":' || round * {TURN} + step
                            || ',\"raw\":{{\"timestamp\":\"' || second || '\",\"recipient_id\":\"' || phone || '\"}}}}',
                        to_timestamp(second), conversation, round * {TURN} + step
                 FROM {turns} CROSS JOIN generate_series(1, {TURN}) AS step"
            ),
        )
        .await?;
        run(
            connection,
            format!(
                "INSERT INTO messages (channel, wamid, tenant, direction, kind, state, at, conversation, place,
                                       content_seq, steps, recorded_at, updated_at)
                 SELECT channel, wamid || upper(md5(turn || direction)) || 'AA==', tenant, direction, kind, state,
                        to_timestamp(second), conversation, turn * {TURN} + first,
                        CASE direction WHEN 'in' THEN turn * {TURN} + 1 END,
                        CASE direction WHEN 'in' THEN '{{}}'
                             ELSE ARRAY[turn * {TURN} + 2, turn * {TURN} + 3, turn * {TURN} + 4] END,
                        to_timestamp(second), to_timestamp(second)
                 FROM {turns} CROSS JOIN (VALUES ('in', 'text', 7, 1), ('out', NULL, 5, 2))
                      AS sides (direction, kind, state, first)"
            ),
        )
        .await
    }

    /// What follows from the turns: the conversations, whose they are, and where the numbers go on.
    async fn finish(self, connection: &mut PgConnection) -> anyhow::Result<()> {
        let Self { conversations, turns, .. } = self;
        let last = self.turns(turns - conversations, turns);
        run(
            connection,
            format!(
                "INSERT INTO conversations (id, tenant, channel, phone, name, named_at, sequence, wrote_at, last_at,
                                            last_place, last_wamid, created_at, updated_at)
                 SELECT conversation, tenant, channel, phone, 'Giulia Bianchi ' || conversation - 1,
                        to_timestamp(second), (round + 1) * {TURN}, to_timestamp(second), to_timestamp(second),
                        turn * {TURN} + 2, wamid || upper(md5(turn || 'out')) || 'AA==',
                        to_timestamp(second) - interval '{DAYS} days', to_timestamp(second)
                 FROM {last}"
            ),
        )
        .await?;
        run(
            connection,
            "INSERT INTO identities (tenant, channel, alias, conversation, since)
             SELECT tenant, channel, 'p:' || phone, id, created_at FROM conversations",
        )
        .await?;
        for (table, column, number) in
            [("events", "seq", turns * TURN), ("conversations", "id", conversations)]
        {
            run(
                connection,
                format!("SELECT setval(pg_get_serial_sequence('{table}', '{column}'), {number})"),
            )
            .await?;
        }
        Ok(())
    }
}

/// An index that is away while its table is filled.
#[derive(Debug)]
struct Index {
    name: String,
    create: String,
}

/// Takes the indexes away: to build them at the end is many times faster, and those of constraints are built as full as
/// they are after a long time.
async fn take_indexes(connection: &mut PgConnection) -> anyhow::Result<Vec<Index>> {
    let constraints = "SELECT quote_ident(conname), conrelid::regclass::text, pg_get_constraintdef(oid)
         FROM pg_constraint WHERE contype IN ('p', 'u') AND conrelid IN
              ('events'::regclass, 'messages'::regclass, 'conversations'::regclass, 'identities'::regclass)
         ORDER BY conrelid, conname";
    let constraints: Vec<(String, String, String)> =
        within(sqlx::query_as(constraints).fetch_all(&mut *connection)).await?;
    let others = "SELECT quote_ident(indexname), indexdef FROM pg_indexes
         WHERE tablename IN ('events', 'messages', 'conversations', 'identities')
               AND indexname NOT IN (SELECT conname FROM pg_constraint)
         ORDER BY tablename, indexname";
    let others: Vec<(String, String)> = within(sqlx::query_as(others).fetch_all(&mut *connection)).await?;
    let mut indexes = Vec::new();
    for (name, table, definition) in constraints {
        run(connection, format!("ALTER TABLE {table} DROP CONSTRAINT {name}")).await?;
        let create = format!(
            "ALTER TABLE {table} ADD CONSTRAINT {name} {definition} WITH (fillfactor = {FILL});
             ALTER INDEX {name} RESET (fillfactor)"
        );
        indexes.push(Index { name, create });
    }
    for (name, create) in others {
        run(connection, format!("DROP INDEX {name}")).await?;
        indexes.push(Index { name, create });
    }
    Ok(indexes)
}

async fn print_sizes(connection: &mut PgConnection) -> anyhow::Result<()> {
    let sql = "SELECT relname::text, relkind = 'i', reltuples::bigint, pg_relation_size(oid) FROM pg_class
         WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i') AND pg_relation_size(oid) > 1000000
         ORDER BY pg_relation_size(oid) DESC";
    let sizes: Vec<(String, bool, i64, i64)> =
        within(sqlx::query_as(sql).fetch_all(&mut *connection)).await?;
    for (name, is_index, entries, bytes) in &sizes {
        let what = if *is_index { "index" } else { "table" };
        println!("  {what} {name:<28} {entries:>12} entries {:>9} MB", bytes / 1_000_000);
    }
    let all: i64 = sizes.iter().map(|(_, _, _, bytes)| bytes).sum();
    println!("  in all {:>53} MB", all / 1_000_000);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_conversation_has_the_same_number_of_turns() {
        let population = Population { tenants: 2, channels: 3, users: 100 };
        for events in [1, 4_000, 100_001, 50_000_000, 500 * STRIDE] {
            let shape = Shape::of(population, events);
            assert!(shape.turns * TURN >= events, "{shape:?}");
            assert!(shape.turns.is_multiple_of(shape.conversations), "{shape:?}");
            assert!(!shape.conversations.is_multiple_of(STRIDE), "{shape:?}");
        }
    }
}
