//! How an actor begins: with what is kept of its endpoint.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use staffetta_bus::{Endpoint, EventEnds, boot_time};
use staffetta_store::{EndpointKey, EndpointPlace, EndpointState, Parked, StoreError};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{EndpointActor, Mailbox, Term, rules};
use crate::Shared;
use crate::machine::{MOST_PARKED, Machine, Now};
use crate::told::log_gone;

/// Pause before what could not be read is read again.
const AGAIN: Duration = Duration::from_secs(1);

/// More events than are ever parked of one endpoint.
const ALL_PARKED: u32 = 2 * MOST_PARKED as u32;

/// What is kept of an endpoint.
struct Kept {
    state: Option<EndpointState>,
    cursor: u64,
    parked: Vec<Parked>,
    /// Where EVENTS begins, and which it is.
    ends: EventEnds,
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
        let Kept { state, cursor, parked, ends } = loop {
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
        let lamp = shared.board.lamp(&key);
        mailbox.look(&ends, 0);
        mailbox.ask();
        Some(Self {
            shared,
            lease,
            over,
            superseded: CancellationToken::new(),
            key,
            endpoint,
            mailbox,
            log: ends.made_at,
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
    let cursor = match state.as_ref().filter(|state| state.cursor > 0) {
        Some(state) if is_elsewhere(state, &ends) => {
            leave_behind(shared, state, epoch, &ends).await?;
            ends.first
        }
        Some(state) => state.cursor,
        None => {
            info!(endpoint = %key.endpoint, "a new endpoint: events are delivered from now on");
            ends.last + 1
        }
    };
    let place = EndpointPlace {
        key: key.clone(),
        epoch,
        cursor,
        log: Some(ends.made_at),
        failing_since: state.as_ref().and_then(|state| state.failing_since),
        last_success: state.as_ref().and_then(|state| state.last_success),
        last_error: state.as_ref().and_then(|state| state.last_error.clone()),
    };
    if shared.store.keep_places(&[place]).await?.first() != Some(&true) {
        return Err(NotKept::Superseded);
    }
    // Read after the fence: what an earlier owner parked last is among them.
    let parked = shared.store.parked(key, ALL_PARKED).await?;
    Ok(Kept { state, cursor, parked, ends })
}

/// Whether the place that is kept is in an EVENTS that is gone: NATS was lost, or has an earlier state again.
fn is_elsewhere(state: &EndpointState, ends: &EventEnds) -> bool {
    state.cursor > ends.last + 1 || state.log.is_some_and(|log| log != ends.made_at)
}

/// Afterwards nothing is left of what an endpoint still had to get of an EVENTS that is gone, except a dead letter that
/// says so.
async fn leave_behind(
    shared: &Shared,
    state: &EndpointState,
    epoch: i64,
    ends: &EventEnds,
) -> Result<(), NotKept> {
    let EndpointState { key, cursor, log, failing_since, last_success, last_error, .. } = state.clone();
    let fence =
        EndpointPlace { key: key.clone(), epoch, cursor, log, failing_since, last_success, last_error };
    if shared.store.keep_places(&[fence]).await?.first() != Some(&true) {
        return Err(NotKept::Superseded);
    }
    let parked = shared.store.parked(&key, ALL_PARKED).await?;
    warn!(
        endpoint = %key.endpoint,
        place = cursor,
        parked = parked.len(),
        begins = ends.first,
        "EVENTS is another one than the endpoint was served from: delivery begins with its first event"
    );
    let letter = log_gone(&key, cursor, parked.len(), ends.made_at);
    shared.dead.write(&letter).await.map_err(|error| NotKept::NotNow(error.into()))?;
    let sequences: Vec<u64> = parked.iter().map(|parked| parked.sequence).collect();
    shared.store.unpark(&key, &sequences).await?;
    for replay in shared.store.replays(&key).await? {
        if replay.asked.as_nanosecond() < i128::from(ends.made_at) {
            warn!(endpoint = %key.endpoint, replay = replay.id, "a replay ends with the EVENTS that it was of");
            shared.store.end_replay(replay.id).await?;
        }
    }
    Ok(())
}
