//! How often each call goes to PostgreSQL and back, seen on the wire.

use staffetta_domain::MessageState;
use staffetta_store::{Store, StoreOptions};

use crate::support::{afterwards, claim, id, new_command, patient, postgres_url, proof, taken, tenant};
use crate::wire::{Heard, Wire};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_is_a_few_statements() {
    let url = postgres_url().await;
    let wire = Wire::to(&url).await;
    let options = StoreOptions { max_connections: 1, ..patient() };
    let store = Store::connect(wire.url(), &options).await.unwrap();
    store.migrate().await.unwrap();
    for turn in 0..3 {
        for (call, heard) in each_call(&store, wire.heard(), turn).await {
            let heard: String = heard.chars().filter(|kind| "PQE".contains(*kind)).collect();
            // The first time statements are prepared, and the user becomes known.
            if turn == 0 {
                continue;
            }
            let expected = match call {
                // What became of commands, the look at all the rest, the writing of it.
                "settle" | "record" => "QEEEQ",
                // A claim that is no doubt tells nothing: it needs no more than the others.
                _ => "E",
            };
            assert_eq!(heard, expected, "{call}");
        }
    }
}

/// What was heard of each method's call, with ten rows each.
async fn each_call(store: &Store, heard: &Heard, turn: usize) -> Vec<(&'static str, String)> {
    let keys: Vec<_> = (0..10).map(|number| format!("c-{turn}-{number}")).collect();
    let name = |key: &str| format!("wamid.{key}");
    let mut calls = Vec::new();
    heard.take();
    store.enqueue(&keys.iter().map(|key| new_command(key)).collect::<Vec<_>>()).await.unwrap();
    calls.push(("enqueue", heard.take()));
    store.claim(&keys.iter().map(|key| claim(key, 1)).collect::<Vec<_>>()).await.unwrap();
    calls.push(("claim", heard.take()));
    store.settle(&keys[5..].iter().map(|key| taken(key, &name(key))).collect::<Vec<_>>()).await.unwrap();
    calls.push(("settle", heard.take()));
    let leaves: Vec<_> = keys.iter().map(|key| proof(&name(key), MessageState::Sent, key)).collect();
    store.record(&leaves).await.unwrap();
    calls.push(("record", heard.take()));
    let waiting = store.unannounced(afterwards(), 100).await.unwrap();
    calls.push(("unannounced", heard.take()));
    store.announced(&waiting.iter().map(|told| told.place).collect::<Vec<_>>()).await.unwrap();
    calls.push(("announced", heard.take()));
    store.commands(&keys.iter().map(|key| (tenant(), id(key))).collect::<Vec<_>>()).await.unwrap();
    calls.push(("commands", heard.take()));
    calls
}
