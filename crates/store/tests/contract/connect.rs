//! Reaching a database, and bringing its schema up to date.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use staffetta_store::{Store, StoreError, StoreOptions};
use staffetta_testkit::{FaultProxy, until};
use tokio::time::timeout;

use crate::support::{
    afterwards, claim, id, migrated, new_command, on_both, patient, postgres_url, tenant, text, told,
};
use crate::wire::Wire;

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(120);

on_both!(it_answers_until_it_is_closed, migrating_again_changes_nothing);

async fn it_answers_until_it_is_closed(store: Store) {
    store.ping().await.unwrap();
    store.close().await;
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
}

async fn migrating_again_changes_nothing(store: Store) {
    store.record(&[text("wamid.A")]).await.unwrap();
    store.migrate().await.unwrap();
    assert!(store.record(&[text("wamid.A")]).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_address_of_another_kind_is_refused() {
    for url in ["", "mysql://localhost/x", "staffetta.db", "postgresqlite:x"] {
        let refused = Store::connect(url, &StoreOptions::default()).await.unwrap_err();
        assert!(matches!(refused, StoreError::UnknownDatabase), "{url}");
    }
}

#[tokio::test]
async fn a_broken_address_is_refused_and_not_taken_for_a_database_that_is_away() {
    let refused = Store::connect("postgres://127.0.0.1:port/x", &StoreOptions::default()).await.unwrap_err();
    assert!(matches!(refused, StoreError::Refused(_)), "{refused:?}");
}

#[tokio::test]
async fn a_database_in_memory_works_as_one_in_a_file() {
    let store = Store::connect("sqlite::memory:", &StoreOptions::default()).await.unwrap();
    store.migrate().await.unwrap();
    assert_eq!(store.record(&[text("wamid.A")]).await.unwrap().len(), 1);
    let other = Store::connect("sqlite::memory:", &StoreOptions::default()).await.unwrap();
    other.migrate().await.unwrap();
    assert_eq!(other.record(&[text("wamid.A")]).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_may_migrate_sqlite_at_once() {
    let folder = tempfile::tempdir().unwrap();
    migrate_at_once(&format!("sqlite:{}", folder.path().join("staffetta.db").display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_may_migrate_postgres_at_once() {
    migrate_at_once(&postgres_url().await).await;
}

async fn migrate_at_once(url: &str) {
    let migrate = || async {
        let store = Store::connect(url, &patient()).await.unwrap();
        store.migrate().await.unwrap();
        store.close().await;
    };
    join_all((0..8).map(|_| migrate())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_is_away_is_unavailable_and_then_there_again() {
    let direct = postgres_url().await;
    let (before, after) = direct.split_once('@').unwrap();
    let (address, name) = after.split_once('/').unwrap();
    let proxy = FaultProxy::before(address.parse::<SocketAddr>().unwrap()).await.unwrap();
    let url = format!("{before}@{}/{name}", proxy.address());
    let witness = migrated(&direct).await;
    let options = StoreOptions { timeout: Duration::from_secs(1), ..StoreOptions::default() };
    let store =
        until("a connection", LIMIT, async || Store::connect(&url, &options).await.ok()).await.unwrap();
    recorded(&store, "wamid.A").await;

    proxy.stall().await.unwrap();
    let silent = store.record(&[text("wamid.B")]).await.unwrap_err();
    assert!(matches!(silent, StoreError::Unavailable(_)), "{silent:?}");

    proxy.cut().await.unwrap();
    let gone = store.claim(&[claim("c-1", 1)]).await.unwrap_err();
    assert!(matches!(gone, StoreError::Unavailable(_)), "{gone:?}");

    proxy.heal().await.unwrap();
    recorded(&store, "wamid.C").await;
    let waiting = witness.unannounced(afterwards(), 10).await.unwrap();
    assert_eq!(told(&waiting), [("message.received", "wamid.A"), ("message.received", "wamid.C")]);
}

/// Records a message as soon as the store does. One that gave up waiting may have recorded it all the same: what the
/// database holds afterwards counts.
async fn recorded(store: &Store, name: &str) {
    let recorded = async || store.record(&[text(name)]).await.ok();
    until("the database", LIMIT, recorded).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_a_transaction_given_up_at_its_start_is_kept() {
    let url = postgres_url().await;
    let (before, after) = url.split_once('@').unwrap();
    let (address, name) = after.split_once('/').unwrap();
    let proxy = FaultProxy::before(address.parse::<SocketAddr>().unwrap()).await.unwrap();
    let wire = Wire::to(&format!("{before}@{}/{name}", proxy.address())).await;
    let options = StoreOptions { max_connections: 1, timeout: LIMIT };
    let store = Store::connect(wire.url(), &options).await.unwrap();
    store.migrate().await.unwrap();
    store.ping().await.unwrap();

    wire.at_rest().await;
    proxy.stall().await.unwrap();
    let begun = until("BEGIN", LIMIT, async || wire.heard().take().contains('Q').then_some(()));
    let given_up = [text("wamid.A")];
    tokio::select! {
        recorded = store.record(&given_up) => panic!("{recorded:?}"),
        begun = begun => begun.unwrap(),
    }
    proxy.heal().await.unwrap();
    store.enqueue(&[new_command("c-1")]).await.unwrap();

    let other = Store::connect(&url, &patient()).await.unwrap();
    assert!(other.command(&tenant(), &id("c-1")).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_fell_silent_are_given_up() {
    let wire = Wire::to(&postgres_url().await).await;
    let options = StoreOptions { max_connections: 2, timeout: Duration::from_secs(1) };
    let connected = async || Store::connect(wire.url(), &options).await.ok();
    let store = until("a connection", LIMIT, connected).await.unwrap();
    let calls = || join_all((0..4).map(|_| store.ping()));
    let answered = async || calls().await.iter().all(Result::is_ok).then_some(());
    until("connections that answer", LIMIT, answered).await.unwrap();
    // The driver has no limit for the last question that it asks a connection on its way back to the pool.
    wire.at_rest().await;
    wire.silence();
    // The first two have the silent connections. To the others one may be given up just in time for a new one.
    for answer in &calls().await[..2] {
        assert!(matches!(answer, Err(StoreError::Unavailable(_))));
    }
    let again = async || store.ping().await.ok();
    until("a connection that answers", LIMIT, again).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_that_another_process_is_writing_is_unavailable_and_then_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("staffetta.db").display());
    let witness = migrated(&url).await;
    let options = StoreOptions { timeout: Duration::from_millis(200), ..StoreOptions::default() };
    let store =
        until("the database", LIMIT, async || Store::connect(&url, &options).await.ok()).await.unwrap();
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let other = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let busy = store.record(&[text("wamid.A")]).await.unwrap_err();
    assert!(matches!(busy, StoreError::Unavailable(_)), "{busy:?}");
    let read = async || store.command(&tenant(), &id("c-1")).await.ok();
    let found = until("an answer: readers don't wait for writers", LIMIT, read).await.unwrap();
    assert!(found.is_none());
    other.rollback().await.unwrap();
    recorded(&store, "wamid.A").await;
    let waiting = witness.unannounced(afterwards(), 10).await.unwrap();
    assert_eq!(told(&waiting), [("message.received", "wamid.A")]);
}

/// A dump, or an analyst's open transaction, reads a table for long: nobody waits behind the step that wants it, and the
/// step is done once it is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_the_schema_waits_for_a_table_without_holding_others_up() {
    let url = postgres_url().await;
    let store = Store::connect(&url, &patient()).await.unwrap();
    store.migrate().await.unwrap();
    // As it was before the last step.
    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    for back in [
        "ALTER TABLE commands DROP COLUMN traceparent",
        "ALTER TABLE events DROP COLUMN traceparent",
        "DELETE FROM _sqlx_migrations WHERE version = 5",
    ] {
        sqlx::query(back).execute(&pool).await.unwrap();
    }
    let mut reading = pool.begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM events").execute(&mut *reading).await.unwrap();
    let migrating = tokio::spawn({
        let store = store.clone();
        async move { store.migrate().await }
    });
    let pending = async || store.schema_state().await.unwrap().pending;
    // Behind the step that waits, a reader waits no longer than the step does.
    let count = timeout(LIMIT, sqlx::query("SELECT 1 FROM events").execute(&pool));
    until("the step waits", LIMIT, async || {
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                     AND (query LIKE '%0005%' OR query LIKE '%ADD COLUMN traceparent%')";
        let (waiting,): (i64,) = sqlx::query_as(waits).fetch_one(&pool).await.unwrap();
        (waiting > 0).then_some(())
    })
    .await
    .unwrap();
    count.await.unwrap().unwrap();
    assert_eq!(pending().await, [5]);
    reading.rollback().await.unwrap();
    timeout(LIMIT, migrating).await.unwrap().unwrap().unwrap();
    assert!(pending().await.is_empty());
}
