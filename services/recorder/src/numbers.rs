//! Tells both sides when a number changes hands: whoever claims it last has it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use staffetta_bus::{Registry, RegistryView};
use staffetta_domain::{ChannelId, Event, EventId, EventType, Leaf, TenantId};
use staffetta_outbox::Announcer;
use staffetta_store::{NumberClaim, NumberMoved, Store, StoreError};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Most claims of one transaction.
const CHUNK: usize = 500;
/// Pause before the database is asked again.
const AGAIN: Duration = Duration::from_secs(5);

/// Follows whose numbers are. Several recorders may do so at the same time: a move is one event for each side, whoever
/// tells it.
#[derive(Debug)]
pub(crate) struct Numbers {
    pub(crate) store: Store,
    pub(crate) registry: RegistryView,
    pub(crate) announcer: Announcer,
}

impl Numbers {
    /// Looks at the registry whenever it changes, until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut known = BTreeMap::new();
        loop {
            let owners = owners(&self.registry.load());
            let is_known = |claim: &&NumberClaim| {
                known.get(&claim.number).is_some_and(|known: &NumberClaim| {
                    (&known.tenant, &known.channel) == (&claim.tenant, &claim.channel)
                })
            };
            let new: Vec<NumberClaim> = owners.values().filter(|claim| !is_known(claim)).cloned().collect();
            let failed = match self.claim(&new).await {
                Ok(()) => {
                    known = owners;
                    false
                }
                Err(failure) => {
                    warn!(
                        error = &failure as &dyn std::error::Error,
                        "who owns which number waits for the database"
                    );
                    true
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.registry.changed() => {}
                () = sleep(AGAIN), if failed => {}
            }
        }
    }

    async fn claim(&self, claims: &[NumberClaim]) -> Result<(), StoreError> {
        for some in claims.chunks(CHUNK) {
            let moved = self.store.claim_numbers(some).await?;
            if moved.is_empty() {
                continue;
            }
            let now = Timestamp::now();
            let leaves: Vec<Leaf> =
                moved.iter().flat_map(|moved| told(moved, now)).map(Leaf::of_event).collect();
            // A crash from here on brings the same moves again, and their events have the same ids.
            let announcements = self.store.record(&leaves).await?;
            self.announcer.announce(&announcements).await;
            let told: Vec<_> = moved.iter().map(|moved| (moved.number.clone(), moved.revision)).collect();
            self.store.numbers_told(&told).await?;
            info!(numbers = told.len(), "numbers changed hands");
        }
        Ok(())
    }
}

/// The channels that own their numbers.
fn owners(registry: &Registry) -> BTreeMap<String, NumberClaim> {
    let owned = registry.channels().filter_map(|channel| {
        let number = channel.phone_number_id.clone()?;
        let owner = registry.channel_of_number(&number)?;
        (owner.id == channel.id).then(|| NumberClaim {
            number,
            tenant: channel.tenant.id.clone(),
            channel: channel.id.clone(),
            // A number that was given back goes to an older claim.
            revision: registry.revision().max(channel.revision),
        })
    });
    owned.map(|claim| (claim.number.clone(), claim)).collect()
}

/// What each side is told. Neither learns who the other is.
fn told(moved: &NumberMoved, now: Timestamp) -> impl Iterator<Item = Event> {
    let event = |side: &(TenantId, ChannelId), change: &str| {
        let (tenant, channel) = side;
        let revision = moved.revision.to_string();
        let key = ["number", change, &moved.number, &revision, tenant.as_str(), channel.as_str()];
        let data = serde_json::json!({ "change": change, "phone_number_id": moved.number });
        Event {
            id: EventId::of(&key),
            tenant: tenant.clone(),
            channel: channel.clone(),
            kind: EventType::ChannelChanged,
            time: now,
            subject: channel.to_string(),
            data: data.as_object().cloned().unwrap_or_default(),
            trace: None,
        }
    };
    let lost = moved.from.as_ref().map(|side| event(side, "number_lost"));
    lost.into_iter().chain([event(&moved.to, "number_claimed")])
}
