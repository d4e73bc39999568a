//! How PostgreSQL finds what is looked up most, in a database that was filled. The statements have the shape of those
//! that the store runs, with values in place of parameters.

use anyhow::Context;
use sqlx::{AssertSqlSafe, PgConnection};

use super::cluster::{close, connect, run, within};

/// Things that one batch of the recorder looks up.
const BATCH: i64 = 500;
/// Things on one page.
const PAGE: i64 = 50;

/// What a message's events say of it.
const TEXT: &str = "(SELECT e.data FROM events e WHERE e.seq = m.content_seq) AS brought,
    (SELECT e.data FROM events e WHERE e.seq = m.edit_seq) AS edit,
    (SELECT string_agg(e.data, ',') FROM events e WHERE e.seq = ANY (m.steps)) AS steps";

/// Prints the plan of each look-up, with what it took and read. The first of each kind finds its index cold.
pub(super) async fn print(url: &str) -> anyhow::Result<()> {
    let mut connection = connect(url).await?;
    // Random numbers of one seed, and what is looked up taken from the tables themselves.
    run(&mut connection, "SELECT setseed(0.5)").await?;
    run(
        &mut connection,
        format!(
            "CREATE TEMPORARY TABLE wanted AS
             SELECT e.id, m.channel, m.wamid, e.conversation, 'p:' || c.phone AS alias, c.tenant
             FROM (SELECT (1 + random() * (SELECT max(seq) - 1 FROM events))::bigint AS seq
                   FROM generate_series(1, {BATCH})) AS drawn
             JOIN events e USING (seq)
             JOIN messages m ON m.channel = e.channel AND m.wamid = e.subject
             JOIN conversations c ON c.id = e.conversation;
             ANALYZE wanted"
        ),
    )
    .await?;
    let (conversation, tenant): (i64, String) = within(
        sqlx::query_as("SELECT conversation, tenant FROM wanted LIMIT 1").fetch_optional(&mut connection),
    )
    .await?
    .context("nothing was drawn")?;
    let (last_at, id): (String, i64) = within(
        sqlx::query_as(
            "SELECT last_at::text, id FROM conversations WHERE tenant = $1 ORDER BY last_at DESC, id DESC
             OFFSET (SELECT count(*) / 2 FROM conversations WHERE tenant = $1) LIMIT 1",
        )
        .bind(&tenant)
        .fetch_one(&mut connection),
    )
    .await?;
    let page = |from: &str| {
        format!(
            "SELECT c.id, c.phone, c.name, c.unread, c.last_at, m.direction, m.state, {TEXT} FROM (
                 SELECT * FROM conversations c
                 WHERE c.tenant = '{tenant}' AND c.merged_into IS NULL AND (c.last_at, c.id) < {from}
                 ORDER BY c.last_at DESC, c.id DESC LIMIT {PAGE}
             ) c LEFT JOIN LATERAL (
                 SELECT * FROM messages WHERE channel = c.channel AND wamid = c.last_wamid LIMIT 1
             ) m ON true
             ORDER BY c.last_at DESC, c.id DESC"
        )
    };
    let keys = |columns: [&str; 2]| {
        format!(
            "unnest(ARRAY(SELECT {0} FROM wanted), ARRAY(SELECT {1} FROM wanted)) AS k ({0}, {1})",
            columns[0], columns[1]
        )
    };
    for (what, sql) in [
        (
            "events of a batch by their id",
            "SELECT e.seq FROM unnest(ARRAY(SELECT id FROM wanted)) AS k (id) JOIN events e ON e.id = k.id".into(),
        ),
        (
            "messages of a batch by their wamid",
            format!(
                "SELECT m.conversation FROM {} JOIN messages m ON m.channel = k.channel AND m.wamid = k.wamid",
                keys(["channel", "wamid"])
            ),
        ),
        (
            "the aliases of a batch",
            format!(
                "SELECT i.conversation FROM {} JOIN identities i
                     ON i.tenant = '{tenant}' AND i.channel = k.channel AND i.alias = k.alias",
                keys(["channel", "alias"])
            ),
        ),
        ("a tenant's newest conversations, with their last messages", page("('infinity', 0)")),
        ("a page of them in the middle", page(&format!("('{last_at}', {id})"))),
        (
            "the newest messages of a conversation",
            format!(
                "SELECT m.wamid, m.direction, m.kind, m.state, m.at, {TEXT} FROM (
                     SELECT * FROM messages WHERE conversation = {conversation} AND (at, place) < ('infinity', 0)
                     ORDER BY at DESC, place DESC LIMIT {PAGE}
                 ) m"
            ),
        ),
        (
            "a tenant's oldest events, for retention",
            format!(
                "SELECT seq FROM events WHERE tenant = '{tenant}' AND recorded_at < now() - interval '50 days'
                 ORDER BY recorded_at LIMIT 1000"
            ),
        ),
    ] {
        println!("\n{what}");
        for line in explain(&mut connection, &sql).await? {
            println!("  {line}");
        }
    }
    close(connection).await
}

async fn explain(connection: &mut PgConnection, sql: &str) -> anyhow::Result<Vec<String>> {
    let explain = AssertSqlSafe(format!("EXPLAIN (ANALYZE, BUFFERS) {sql}"));
    within(sqlx::query_scalar(explain).persistent(false).fetch_all(connection)).await
}
