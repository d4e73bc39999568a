//! How the databases find the pages: by an index, without sorting, however many rows there are.

use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use staffetta_testkit::Postgres;

use crate::postgres::{
    attempts as postgres_attempts, reading as postgres, sends as postgres_sends, sent as postgres_sent,
};
use crate::sqlite::{
    attempts as sqlite_attempts, reading as sqlite, sends as sqlite_sends, sent as sqlite_sent,
};
use crate::{Store, StoreOptions};

async fn migrated(url: &str) {
    let store = Store::connect(url, &StoreOptions::default()).await.unwrap();
    store.migrate().await.unwrap();
    store.close().await;
}

/// Ten thousand conversations of one tenant, and ten thousand messages of one of them.
async fn filled_postgres() -> PgConnection {
    let database = Postgres::shared().await.unwrap().database().await.unwrap();
    migrated(database.url()).await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    for statement in [
        "INSERT INTO conversations (tenant, channel, phone, name, wrote_at, last_at, last_wamid, created_at, updated_at)
         SELECT 'acme', 'orders', '39' || n, 'user ' || n, to_timestamp(1790000000 + n), to_timestamp(1790000000 + n),
                'wamid.last.' || n, now(), now()
         FROM generate_series(1, 10000) n",
        "INSERT INTO messages (channel, wamid, tenant, conversation, direction, kind, state, at, place, content_seq,
                               recorded_at, updated_at)
         SELECT 'orders', 'wamid.last.' || n, 'acme', n, 'in', 'text', 7, to_timestamp(1790000000 + n), n, n, now(), now()
         FROM generate_series(1, 10000) n",
        "INSERT INTO messages (channel, wamid, tenant, conversation, direction, kind, state, at, place, content_seq,
                               recorded_at, updated_at)
         SELECT 'orders', 'wamid.' || n, 'acme', 7, 'in', 'text', 7, to_timestamp(1790000000 + n), n, n, now(), now()
         FROM generate_series(10001, 20000) n",
        "INSERT INTO events (seq, id, tenant, channel, type, subject, time, data, recorded_at)
         SELECT n, gen_random_uuid(), 'acme', 'orders', 'staffetta.message.received', 'wamid.' || n, now(), '{}', now()
         FROM generate_series(1, 20000) n",
        "INSERT INTO identities (tenant, channel, alias, conversation, since)
         SELECT 'acme', 'orders', 'p:39' || n, n, now() FROM generate_series(1, 10000) n",
        "INSERT INTO commands (tenant, id, channel, lane, state, user_key, created_at, updated_at)
         SELECT 'acme', 'c-' || n, 'orders', 'normal', 'accepted', '39' || n, to_timestamp(1790000000 + n), now()
         FROM generate_series(1, 10000) n",
        "INSERT INTO schedule (tenant, id, channel, lane, due, payload, headers)
         SELECT 'acme', 'c-' || n, 'orders', 'normal', now(), '', '[]' FROM generate_series(1, 10000) n",
        "INSERT INTO contacts (tenant, number, name, whatsapp, updated_at)
         SELECT 'acme', '39' || n, 'user ' || n, true, now() FROM generate_series(1, 10000) n",
        "INSERT INTO attempts (tenant, endpoint, at, event, type, attempt, micros, error)
         SELECT 'acme', 'erp', to_timestamp(1790000000 + n), gen_random_uuid(), 'staffetta.message.received', 1, 1000,
                CASE WHEN n % 10 = 0 THEN 'HTTP 500' END
         FROM generate_series(1, 10000) n",
        "ANALYZE",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    connection
}

/// The plan for these arguments, and the one that PostgreSQL may settle on for all arguments once it has seen some.
async fn postgres_plans(statement: &str, types: &str, arguments: &str) -> Vec<String> {
    let mut database = filled_postgres().await;
    let prepare = format!("PREPARE page ({types}) AS {statement}");
    sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut database).await.unwrap();
    let mut plans = Vec::new();
    for mode in ["force_custom_plan", "force_generic_plan"] {
        let set = format!("SET plan_cache_mode = {mode}");
        sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut database).await.unwrap();
        let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE page ({arguments})"));
        let rows = sqlx::raw_sql(explain).fetch_all(&mut database).await.unwrap();
        let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        plans.push(lines.join("\n"));
    }
    plans
}

#[tokio::test]
async fn postgresql_finds_a_page_of_conversations_through_the_index() {
    let types = "text, timestamptz, bigint, text, text, text, text, bool, bigint";
    let arguments = "'acme', to_timestamp(1790005000), 5000, NULL, NULL, NULL, NULL, false, 50";
    for plan in postgres_plans(postgres::CONVERSATIONS, types, arguments).await {
        assert!(plan.contains("Index Scan using conversations_newest"), "{plan}");
        assert!(plan.contains("ROW(last_at, id) < ROW("), "{plan}");
        assert!(!plan.contains("Sort") && !plan.contains("Seq Scan"), "{plan}");
    }
}

#[tokio::test]
async fn postgresql_finds_a_page_of_messages_through_the_index() {
    let types = "bigint, text, timestamptz, bigint, bigint";
    let arguments = "7, 'acme', to_timestamp(1790015000), 15000, 50";
    for plan in postgres_plans(postgres::MESSAGES, types, arguments).await {
        assert!(plan.contains("Index Scan using messages_in_order"), "{plan}");
        assert!(plan.contains("ROW(at, place) < ROW("), "{plan}");
        assert!(!plan.contains("Sort") && !plan.contains("Seq Scan"), "{plan}");
    }
}

/// The `detail` column of the plan. SQLite plans by the schema alone, so empty tables do.
async fn sqlite_plan(statement: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("staffetta.db").display());
    migrated(&url).await;
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let statement = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
    let rows: Vec<(i64, i64, i64, String)> =
        sqlx::query_as(statement).fetch_all(&mut connection).await.unwrap();
    rows.into_iter().map(|row| row.3).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn sqlite_finds_a_page_of_conversations_through_the_index() {
    let plan = sqlite_plan(sqlite::CONVERSATIONS).await;
    // Those of the very moment of the cursor are told apart one by one.
    let search = "SEARCH c USING INDEX conversations_newest (tenant=? AND last_at<?)";
    assert!(plan.starts_with(search), "{plan}");
    assert!(!plan.contains("TEMP B-TREE") && !plan.contains("SCAN c"), "{plan}");
}

#[tokio::test]
async fn sqlite_finds_a_page_of_messages_through_the_index() {
    let plan = sqlite_plan(sqlite::MESSAGES).await;
    let search = "SEARCH m USING INDEX messages_in_order (conversation=? AND (at,place)<(?,?))";
    assert!(plan.starts_with(search), "{plan}");
    assert!(!plan.contains("TEMP B-TREE") && !plan.contains("SCAN m"), "{plan}");
}

#[tokio::test]
async fn postgresql_finds_what_left_lately_through_two_indexes() {
    let types = "text, text, timestamptz, timestamptz, bigint, bigint";
    let arguments = "'acme', 'orders', to_timestamp(1790009900), to_timestamp(1790009960), 100000, 270000";
    for plan in postgres_plans(postgres_sends::RECENT_SENDS, types, arguments).await {
        assert!(plan.contains("conversations_newest"), "{plan}");
        assert!(plan.contains("messages_in_order"), "{plan}");
        assert!(!plan.contains("Seq Scan"), "{plan}");
    }
}

#[tokio::test]
async fn sqlite_finds_what_left_lately_through_two_indexes() {
    let plan = sqlite_plan(sqlite_sends::RECENT_SENDS).await;
    let conversations = "SEARCH conversations USING INDEX conversations_newest (tenant=? AND last_at>?)";
    let messages = "SEARCH m USING INDEX messages_in_order (conversation=? AND at>?)";
    assert!(plan.contains(conversations) && plan.contains(messages), "{plan}");
}

#[tokio::test]
async fn postgresql_finds_a_page_of_commands_through_the_index() {
    let types = "text, timestamptz, text, timestamptz, text, text, text, text, text, bigint";
    let arguments = "'acme', to_timestamp(1790005000), 'c-5000', to_timestamp(1790001000), '', NULL, '39', '39:', NULL, 50";
    for plan in postgres_plans(postgres_sent::SENT, types, arguments).await {
        assert!(plan.contains("Index Scan Backward using commands_by_age"), "{plan}");
        assert!(plan.contains("ROW(created_at, (id)::text) < ROW("), "{plan}");
        assert!(!plan.contains("Sort") && !plan.contains("Seq Scan"), "{plan}");
    }
    let arguments = "'acme', to_timestamp(1790009000), 'c-9000', to_timestamp(1790001000), 4999";
    for plan in
        postgres_plans(postgres_sent::EDGE, "text, timestamptz, text, timestamptz, bigint", arguments).await
    {
        assert!(plan.contains("Index Only Scan Backward using commands_by_age"), "{plan}");
        assert!(!plan.contains("Sort"), "{plan}");
    }
}

#[tokio::test]
async fn postgresql_finds_a_message_by_name_on_each_channel() {
    let types = "text, text, timestamptz, text, timestamptz, text, text, text, text, bigint";
    let arguments = "'acme', 'wamid.7', to_timestamp(1790005000), '', to_timestamp(1790001000), NULL, NULL, NULL, NULL, 50";
    for plan in postgres_plans(postgres_sent::SENT_AS, types, arguments).await {
        assert!(plan.contains("Index Only Scan using identities_pkey"), "{plan}");
        assert!(plan.contains("Index Scan using messages_pkey on messages m"), "{plan}");
        assert!(plan.contains("Index Scan using commands_pkey on commands c"), "{plan}");
        assert!(!plan.contains("Seq Scan"), "{plan}");
    }
}

#[tokio::test]
async fn postgresql_finds_a_page_of_attempts_through_an_index() {
    let types = "text, text, timestamptz, bigint, bigint";
    let arguments = "'acme', 'erp', to_timestamp(1790005000), 5000, 50";
    let lists = [
        (postgres_attempts::ATTEMPTS, "attempts_pkey"),
        (postgres_attempts::FAILED_ATTEMPTS, "attempts_failed"),
    ];
    for (statement, index) in lists {
        for plan in postgres_plans(statement, types, arguments).await {
            assert!(plan.contains(&format!("Index Scan Backward using {index}")), "{plan}");
            assert!(!plan.contains("Sort") && !plan.contains("Seq Scan"), "{plan}");
        }
    }
    let types = "text, text, timestamptz, bigint, bigint, text, bool";
    let arguments = "'acme', 'erp', now(), 5000, 50, '0123456789abcdef0123456789abcdef', false";
    for plan in postgres_plans(postgres_attempts::ATTEMPTS_OF_EVENT, types, arguments).await {
        assert!(plan.contains("attempts_of_event") && !plan.contains("Seq Scan"), "{plan}");
    }
}

#[tokio::test]
async fn sqlite_finds_a_page_of_commands_or_of_attempts_through_an_index() {
    let commands =
        "SEARCH c USING INDEX commands_by_age (tenant=? AND (created_at,id)>(?,?) AND (created_at,id)<(?,?))";
    for (statement, search) in [
        (sqlite_sent::SENT, commands),
        (
            sqlite_sent::EDGE,
            "USING COVERING INDEX commands_by_age (tenant=? AND created_at>? AND (created_at,id)<(?,?))",
        ),
        (sqlite_attempts::ATTEMPTS, "USING INDEX attempts_newest (tenant=? AND endpoint=? AND "),
        (sqlite_attempts::FAILED_ATTEMPTS, "USING INDEX attempts_failed (tenant=? AND endpoint=? AND "),
    ] {
        let plan = sqlite_plan(statement).await;
        assert!(plan.contains(search), "{plan}");
        assert!(!plan.contains("TEMP B-TREE") && !plan.contains("SCAN"), "{plan}");
    }
    let plan = sqlite_plan(sqlite_sent::SENT_AS).await;
    assert!(plan.contains("SEARCH m USING") && plan.contains("SEARCH c USING"), "{plan}");
    let plan = sqlite_plan(sqlite_attempts::ATTEMPTS_OF_EVENT).await;
    assert!(plan.contains("SEARCH attempts USING INDEX attempts_of_event (event=?)"), "{plan}");
}

/// PostgreSQL plans while the tables are empty, and keeps the plan while they grow: then two indexes that begin alike
/// look equally good.
#[tokio::test]
async fn postgresql_never_looks_for_one_command_among_all_of_its_tenants() {
    let database = Postgres::shared().await.unwrap().database().await.unwrap();
    migrated(database.url()).await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    for statement in [
        "SET plan_cache_mode = force_generic_plan",
        "SET enable_seqscan = off",
        "SET enable_hashjoin = off",
        "SET enable_mergejoin = off",
        "PREPARE one (text, text) AS UPDATE commands SET reason = NULL WHERE tenant = $1 AND id = $2",
        "PREPARE many (text[], text[]) AS
         UPDATE commands c SET reason = NULL FROM unnest($1, $2) AS k (tenant, id)
         WHERE c.tenant = k.tenant AND c.id = k.id",
        "PREPARE told (text, int) AS
         UPDATE commands c SET reason = NULL FROM generate_series(1, $2) n
         WHERE c.tenant = $1 || (n % 50) AND c.id = md5(n::text)",
    ] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
    for call in ["one ('a', 'b')", "many ('{a}', '{b}')", "told ('a', 3)"] {
        let explain = AssertSqlSafe(format!("EXPLAIN EXECUTE {call}"));
        let rows = sqlx::raw_sql(explain).fetch_all(&mut connection).await.unwrap();
        let plan = rows.iter().map(|row| row.get::<String, _>(0)).collect::<Vec<_>>().join("\n");
        assert!(plan.contains("Index Scan using commands_pkey"), "{plan}");
    }
}
