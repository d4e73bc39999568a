//! Batches as large as they come.

use staffetta_domain::{CommandState, MessageState};
use staffetta_store::Store;

use crate::support::{afterwards, claim, granted, id, on_both, proof, taken, tenant};

on_both!(five_hundred_commands_go_through_in_one_batch_each);

async fn five_hundred_commands_go_through_in_one_batch_each(store: Store) {
    let keys: Vec<_> = (0..500).map(|number| format!("c-{number}")).collect();
    let name = |key: &str| format!("wamid.{key}");
    let (claimed, _) = store.claim(&keys.iter().map(|key| claim(key, 1)).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(claimed, vec![granted(1); 500]);
    let half: Vec<_> = keys[..250].iter().map(|key| taken(key, &name(key))).collect();
    assert_eq!(store.settle(&half).await.unwrap().len(), 250);
    let leaves: Vec<_> = keys.iter().map(|key| proof(&name(key), MessageState::Sent, key)).collect();
    let told = store.record(&leaves).await.unwrap();
    assert_eq!(told.len(), 750);
    assert!(told.is_sorted_by_key(|told| told.place));
    let waiting = store.unannounced(afterwards(), 2000).await.unwrap();
    assert_eq!(waiting.len(), 1000);
    store.announced(&waiting.iter().map(|told| told.place).collect::<Vec<_>>()).await.unwrap();
    assert!(store.unannounced(afterwards(), 2000).await.unwrap().is_empty());
    let keys: Vec<_> = keys.iter().map(|key| (tenant(), id(key))).collect();
    for found in store.commands(&keys).await.unwrap() {
        let found = found.unwrap();
        assert_eq!((found.state, found.message), (CommandState::Accepted, Some(MessageState::Sent)));
    }
}
