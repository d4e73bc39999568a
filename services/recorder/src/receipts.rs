//! What channels received is told to whoever sends on them, before anything is recorded: it counts in their rate.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use staffetta_bus::Bus;
use staffetta_domain::{ChannelId, EventId};

use crate::envelope::Contents;

/// What arrived longer ago counts no more: a backlog need not be told.
const OLDEST: SignedDuration = SignedDuration::from_secs(10);

/// Tells each message that a channel has just received. Best effort.
pub(crate) async fn tell(bus: &Bus, contents: &Contents) {
    for (channel, receipts) in receipts(contents, Timestamp::now()) {
        bus.tell_received(channel, &receipts).await;
    }
}

/// The moment and the key of each. A message replayed from DEAD was received long ago.
fn receipts(contents: &Contents, now: Timestamp) -> BTreeMap<&ChannelId, Vec<(Timestamp, u64)>> {
    let mut receipts: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (leaf, origin) in contents.leaves.iter().zip(&contents.origins) {
        let carrier = &contents.carriers[origin.came];
        let is_fresh = !carrier.is_replay() && now.duration_since(carrier.received_at) <= OLDEST;
        if is_fresh && contents.found[origin.found].is_received() {
            let key = key(&leaf.event.id);
            receipts.entry(&leaf.event.channel).or_default().push((carrier.received_at, key));
        }
    }
    receipts
}

/// The first half of the id, which is a digest of number and wamid.
fn key(id: &EventId) -> u64 {
    id.as_str().get(..16).and_then(|half| u64::from_str_radix(half, 16).ok()).unwrap_or_default()
}
