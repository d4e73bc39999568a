//! What the database says of itself.

use std::time::Duration;

use jiff::Timestamp;
use staffetta_store::{OutboxState, SchemaState, Store};

use crate::support::{on_both, patient, text};

on_both!(
    a_schema_is_up_to_date_once_it_is_migrated,
    what_is_recorded_waits_in_the_outbox,
    it_says_how_large_it_is
);

async fn a_schema_is_up_to_date_once_it_is_migrated(store: Store) {
    let schema = store.schema_state().await.unwrap();
    assert_eq!(schema.applied, Some(schema.known));
    assert_eq!(
        schema,
        SchemaState { applied: schema.applied, known: schema.known, ..SchemaState::default() }
    );
}

async fn what_is_recorded_waits_in_the_outbox(store: Store) {
    assert_eq!(store.outbox_state().await.unwrap(), OutboxState::default());
    let before = Timestamp::now();
    let told = store.record(&[text("wamid.A"), text("wamid.B")]).await.unwrap();
    store.record(&[text("wamid.C")]).await.unwrap();
    let state = store.outbox_state().await.unwrap();
    assert_eq!(state.events, 3);
    let age = before.duration_since(state.oldest.unwrap());
    assert!(age.unsigned_abs() < Duration::from_secs(60), "{age}");
    store.announced(&told.iter().map(|told| told.place).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(store.outbox_state().await.unwrap().events, 1);
}

async fn it_says_how_large_it_is(store: Store) {
    let state = store.database_state().await.unwrap();
    assert!(state.bytes > 0 && !state.version.is_empty() && !state.read_only, "{state:?}");
    assert_eq!(state.connections.is_some(), state.kind == "PostgreSQL");
    if let Some((used, most)) = state.connections {
        assert!(used > 0 && used <= most, "{used} of {most}");
    }
    match store.server_time().await.unwrap() {
        Some(time) => assert!(time.duration_since(Timestamp::now()).unsigned_abs() < Duration::from_secs(60)),
        None => assert_eq!(state.kind, "SQLite"),
    }
}

#[tokio::test]
async fn an_empty_database_lacks_every_step() {
    let postgres = crate::support::postgres_url().await;
    for url in ["sqlite::memory:", &postgres] {
        let store = Store::connect(url, &patient()).await.unwrap();
        let schema = store.schema_state().await.unwrap();
        assert_eq!((schema.applied, schema.newer, schema.broken), (None, vec![], vec![]));
        assert_eq!(schema.pending.last(), Some(&schema.known));
    }
}
