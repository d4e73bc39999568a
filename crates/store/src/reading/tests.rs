//! How the databases find the pages: by an index, without sorting, however many rows there are.

use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use staffetta_testkit::Postgres;

use crate::postgres::{reading as postgres, sends as postgres_sends};
use crate::sqlite::{reading as sqlite, sends as sqlite_sends};
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
        "INSERT INTO commands (tenant, id, channel, lane, state, created_at, updated_at)
         SELECT 'acme', 'c-' || n, 'orders', 'normal', 'accepted', now(), now() FROM generate_series(1, 10000) n",
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
