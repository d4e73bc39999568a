//! How an actor begins: with what is kept of its endpoint.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use staffetta_bus::{Endpoint, boot_time};
use staffetta_store::{EndpointKey, EndpointPlace, EndpointState, Parked, StoreError};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{EndpointActor, Mailbox, Term, rules};
use crate::Shared;
use crate::machine::{MOST_PARKED, Machine, Now};

/// Pause before what could not be read is read again.
const AGAIN: Duration = Duration::from_secs(1);

/// What is kept of an endpoint.
struct Kept {
    state: Option<EndpointState>,
    cursor: u64,
    parked: Vec<Parked>,
    /// Where EVENTS begins.
    first: u64,
}

/// Why there is nothing to begin with.
enum NotKept {
    /// Somebody else owns the endpoint.
    Superseded,
    /// NATS or the database did not answer.
    NotNow(anyhow::Error),
}

impl From<StoreError> for NotKept {
    fn from(error: StoreError) -> Self {
        Self::NotNow(error.into())
    }
}

impl EndpointActor {
    /// Reads what is kept of the endpoint until it can be had. An endpoint that was never seen begins now. `None` if
    /// somebody else owns it.
    pub(super) async fn open(
        shared: Shared,
        Term { lease, over }: Term,
        endpoint: Arc<Endpoint>,
        mailbox: Arc<Mailbox>,
    ) -> Option<Self> {
        let key = EndpointKey { tenant: endpoint.tenant.id.clone(), endpoint: endpoint.id.clone() };
        let Kept { state, cursor, parked, first } = loop {
            match read(&shared, &key, lease.epoch()).await {
                Ok(kept) => break kept,
                Err(NotKept::Superseded) => return None,
                Err(NotKept::NotNow(error)) => {
                    warn!(endpoint = %key.endpoint, error = format!("{error:#}"), "not served yet");
                    sleep(AGAIN).await;
                }
            }
        };
        let now = Now { boot: boot_time(), wall: Timestamp::now(), may_begin: lease.is_valid(), room: 1 };
        let failing_since = state.as_ref().and_then(|state| state.failing_since);
        let machine = Machine::new(rules(&shared, &endpoint), cursor, failing_since, parked, &now);
        let lamp = shared.metrics.lamp();
        mailbox.look(first, 0);
        mailbox.ask();
        Some(Self {
            shared,
            lease,
            over,
            superseded: CancellationToken::new(),
            key,
            endpoint,
            mailbox,
            machine,
            events: HashMap::new(),
            disabled: state.as_ref().and_then(|state| state.disabled.clone()),
            changing: false,
            changes: 0,
            asking: false,
            replayed: 0,
            kept: None,
            last_success: state.as_ref().and_then(|state| state.last_success),
            last_error: state.and_then(|state| state.last_error),
            moved_on: now.boot,
            work: FuturesUnordered::new(),
            tries: JoinSet::new(),
            pickup: None,
            pickups: JoinSet::new(),
            lamp,
        })
    }
}

/// Afterwards the place is kept under this owner's epoch, so that no earlier one can write any more.
async fn read(shared: &Shared, key: &EndpointKey, epoch: i64) -> Result<Kept, NotKept> {
    let state = shared.store.endpoint_state(key).await?;
    let ends = shared.log.ends().await.map_err(|error| NotKept::NotNow(error.into()))?;
    let cursor = match state.as_ref().map(|state| state.cursor).filter(|cursor| *cursor > 0) {
        Some(cursor) => cursor,
        None => {
            info!(endpoint = %key.endpoint, "a new endpoint: events are delivered from now on");
            ends.last + 1
        }
    };
    let place = EndpointPlace {
        key: key.clone(),
        epoch,
        cursor,
        failing_since: state.as_ref().and_then(|state| state.failing_since),
        last_success: state.as_ref().and_then(|state| state.last_success),
        last_error: state.as_ref().and_then(|state| state.last_error.clone()),
    };
    if shared.store.keep_places(&[place]).await?.first() != Some(&true) {
        return Err(NotKept::Superseded);
    }
    // Read after the fence: what an earlier owner parked last is among them.
    let limit = u32::try_from(MOST_PARKED * 2).unwrap_or(u32::MAX);
    let parked = shared.store.parked(key, limit).await?;
    Ok(Kept { state, cursor, parked, first: ends.first })
}
