//! The bucket REGISTRY: everything in it at one moment, and what changes from there on.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::kv;
use futures_util::StreamExt;
use staffetta_domain::EndpointId;
use tokio::time::timeout;

use super::entry::Entry;

/// What the bucket holds under a key.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// The revision of the last change.
    pub(super) revision: u64,
    pub(super) held: Held,
}

#[derive(Clone, Debug)]
pub(super) enum Held {
    Entry(Box<Entry>),
    /// Written by a version that knows more, or by hand.
    Unreadable,
    /// Nothing any more.
    Deleted,
}

impl Slot {
    pub(super) fn entry(&self) -> Option<&Entry> {
        match &self.held {
            Held::Entry(entry) => Some(entry),
            Held::Unreadable | Held::Deleted => None,
        }
    }
}

/// The bucket's keys, deleted ones too.
pub(super) type Slots = BTreeMap<String, Slot>;

/// Longest pause between two entries while all are read.
const NEXT: Duration = Duration::from_secs(5);

/// Reads every key at once; the watch goes on from there.
pub(super) async fn read(bucket: &kv::Store) -> Result<(Slots, kv::Watch), async_nats::Error> {
    let opening = async {
        // The bucket's own status is that of the moment at which it was opened.
        let empty = bucket.stream.get_info().await?.state.messages == 0;
        Ok::<_, async_nats::Error>((empty, bucket.watch_with_history(">").await?))
    };
    let (empty, mut watch) = timeout(NEXT, opening).await.map_err(|_| "no answer in time")??;
    let mut slots = Slots::new();
    let mut complete = empty;
    while !complete {
        let next = timeout(NEXT, watch.next()).await.map_err(|_| "no answer in time")?;
        let entry = next.ok_or("the watch ended")??;
        // `seen_current` is true of the first one already, where the server had sent all before it said how many.
        complete = entry.delta == 0;
        take(&mut slots, &entry);
    }
    Ok((slots, watch))
}

/// Makes the slots hold what a change says.
pub(super) fn take(slots: &mut Slots, changed: &kv::Entry) {
    let held = match changed.operation {
        kv::Operation::Put => Entry::read(&changed.key, &changed.value)
            .map_or(Held::Unreadable, |entry| Held::Entry(Box::new(entry))),
        kv::Operation::Delete | kv::Operation::Purge => Held::Deleted,
    };
    slots.insert(changed.key.clone(), Slot { revision: changed.revision, held });
}

/// The entries, with their revisions.
pub(super) fn entries(slots: &Slots) -> impl Iterator<Item = (u64, &Entry)> {
    slots.values().filter_map(|slot| Some((slot.revision, slot.entry()?)))
}

/// The endpoints whose entries this version can't read.
pub(super) fn unreadable_endpoints(slots: &Slots) -> impl Iterator<Item = EndpointId> {
    let unreadable = slots.iter().filter(|(_, slot)| matches!(slot.held, Held::Unreadable));
    unreadable.filter_map(|(key, _)| key.strip_prefix("endpoint.")?.parse().ok())
}
