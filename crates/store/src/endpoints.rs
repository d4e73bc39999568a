//! Where the delivery to each endpoint stands, so that whoever serves it next goes on there.
//!
//! Who serves an endpoint has an epoch, a number that grows with each change of ownership. What an owner writes after
//! another one has followed is refused: the place of an endpoint never goes back to what somebody else remembers.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use sqlx::FromRow;
use staffetta_domain::{EndpointId, Event, TenantId};

use crate::moment::Moment;
use crate::types::{Announcement, StoreError};
use crate::{Backend, Store, ask, within};

/// Attempts that are forgotten by one statement.
const FORGOTTEN: u32 = 5_000;

/// A tenant's endpoint. One of the same id that belongs to another tenant is another endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointKey {
    /// Whose it is.
    pub tenant: TenantId,
    /// The endpoint.
    pub endpoint: EndpointId,
}

/// All that is known of the delivery to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointState {
    /// The endpoint.
    pub key: EndpointKey,
    /// The sequence on EVENTS from which to read on; 0 if nobody has begun.
    pub cursor: u64,
    /// When that EVENTS was made, in nanoseconds since 1970; `None` if it was kept by a version that did not say.
    pub log: Option<i64>,
    /// The owner that wrote the place last; 0 if nobody has.
    pub epoch: i64,
    /// That nothing is delivered until somebody enables it again.
    pub disabled: Option<Disabled>,
    /// Since when nothing could be delivered.
    pub failing_since: Option<Timestamp>,
    /// When something was last delivered.
    pub last_success: Option<Timestamp>,
    /// Why the last delivery that failed did, without personal data.
    pub last_error: Option<String>,
    /// How many events wait for another try while others go on.
    pub parked: u64,
}

/// Why an endpoint is served no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disabled {
    /// Since when.
    pub at: Timestamp,
    /// Why, for a person.
    pub reason: String,
    /// The revision of the endpoint's entry in the registry that was found wanting.
    pub revision: u64,
}

/// How far an owner has come with an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPlace {
    /// The endpoint.
    pub key: EndpointKey,
    /// The owner.
    pub epoch: i64,
    /// The sequence on EVENTS from which to read on.
    pub cursor: u64,
    /// When that EVENTS was made, in nanoseconds since 1970.
    pub log: Option<i64>,
    /// Since when nothing could be delivered.
    pub failing_since: Option<Timestamp>,
    /// When something was last delivered.
    pub last_success: Option<Timestamp>,
    /// Why the last delivery that failed did, without personal data.
    pub last_error: Option<String>,
}

/// An event that waits for another try while those of other conversations go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Its sequence on EVENTS.
    pub sequence: u64,
    /// What it must keep its order with.
    pub conversation: String,
    /// Tries so far.
    pub attempts: u32,
    /// When the first one failed.
    pub since: Timestamp,
    /// When the next one is due.
    pub due: Timestamp,
    /// Why the last one failed, without personal data.
    pub error: String,
}

impl Store {
    /// How the delivery to an endpoint stands; `None` if nobody has begun.
    ///
    /// # Errors
    /// As every method's, and [`StoreError::Corrupt`].
    pub async fn endpoint_state(&self, key: &EndpointKey) -> Result<Option<EndpointState>, StoreError> {
        let mut found = ask!(self, endpoint_states(&key.tenant, Some(&key.endpoint)))?;
        Ok(found.pop())
    }

    /// The same of all of the tenant's endpoints, sorted by id.
    ///
    /// # Errors
    /// As [`endpoint_state`](Self::endpoint_state).
    pub async fn endpoint_states(&self, tenant: &TenantId) -> Result<Vec<EndpointState>, StoreError> {
        ask!(self, endpoint_states(tenant, None))
    }

    /// Writes how far owners have come, and says of each, in their order, whether it is still the owner: `false` means
    /// that a higher epoch has written, and nothing was changed. Of several places of one endpoint the last counts, and
    /// the answer is the same for all.
    ///
    /// # Errors
    /// As every method's.
    pub async fn keep_places(&self, places: &[EndpointPlace]) -> Result<Vec<bool>, StoreError> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        ask!(self, keep_places(places))
    }

    /// Parks events, or keeps what has become of parked ones, and with them the place of which they are left behind:
    /// both or neither. `false`: a higher epoch has written, and nothing was changed. Of several with one sequence the
    /// last counts.
    ///
    /// # Errors
    /// As every method's.
    pub async fn park(&self, place: &EndpointPlace, parked: &[Parked]) -> Result<bool, StoreError> {
        ask!(self, park(place, parked))
    }

    /// Takes events off that are parked: they are delivered, or given up. Others stay.
    ///
    /// # Errors
    /// As every method's.
    pub async fn unpark(&self, key: &EndpointKey, sequences: &[u64]) -> Result<(), StoreError> {
        if sequences.is_empty() {
            return Ok(());
        }
        ask!(self, unpark(key, sequences))
    }

    /// The events that are parked, by sequence, at most `limit`.
    ///
    /// # Errors
    /// As every method's, and [`StoreError::Corrupt`].
    pub async fn parked(&self, key: &EndpointKey, limit: u32) -> Result<Vec<Parked>, StoreError> {
        ask!(self, parked(key, limit))
    }

    /// Disables an endpoint, as of a revision of its entry in the registry, and tells `event`. One that is disabled as
    /// of this revision, or of a later one, is left as it is, and nothing is told; nor is an event that was told before.
    ///
    /// # Errors
    /// As every method's.
    pub async fn disable_endpoint(
        &self,
        key: &EndpointKey,
        reason: &str,
        revision: u64,
        at: Timestamp,
        event: &Event,
    ) -> Result<Vec<Announcement>, StoreError> {
        let disabled = Disabled { at, reason: reason.to_owned(), revision };
        ask!(self, disable_endpoint(key, &disabled, event))
    }

    /// Enables an endpoint again, as if it had never failed, and tells `event` unless it was told before. `None`: it
    /// was not disabled, and nothing was done. `at` is noted as the moment of the change.
    ///
    /// # Errors
    /// As every method's.
    pub async fn enable_endpoint(
        &self,
        key: &EndpointKey,
        at: Timestamp,
        event: &Event,
    ) -> Result<Option<Vec<Announcement>>, StoreError> {
        ask!(self, enable_endpoint(key, at, event))
    }

    /// Forgets everything of an endpoint that is no longer registered: its state, what is parked, its replays and its
    /// attempts. Asking again, after an error, forgets the rest.
    ///
    /// # Errors
    /// As every method's.
    pub async fn forget_endpoint(&self, key: &EndpointKey) -> Result<(), StoreError> {
        ask!(self, forget_endpoint(key))?;
        // There may be millions of attempts: no transaction is to last that long.
        while ask!(self, forget_attempts(key, FORGOTTEN))? == u64::from(FORGOTTEN) {}
        Ok(())
    }
}

/// The last one of each key, sorted by key.
pub(crate) fn last_of_each<'a, T, K: Ord>(items: &'a [T], key: impl Fn(&'a T) -> K) -> Vec<&'a T> {
    let last: BTreeMap<K, &T> = items.iter().map(|item| (key(item), item)).collect();
    last.into_values().collect()
}

/// Whether each place was written, in the order of the places.
pub(crate) fn written(places: &[EndpointPlace], keys: &[(String, String)]) -> Vec<bool> {
    let keys: HashSet<_> =
        keys.iter().map(|(tenant, endpoint)| (tenant.as_str(), endpoint.as_str())).collect();
    let is_written =
        |place: &EndpointPlace| keys.contains(&(place.key.tenant.as_str(), place.key.endpoint.as_str()));
    places.iter().map(is_written).collect()
}

/// How the delivery to an endpoint stands.
#[derive(FromRow)]
pub(crate) struct EndpointRow {
    tenant: String,
    endpoint: String,
    cursor: i64,
    log_made_at: Option<i64>,
    epoch: i64,
    disabled_at: Option<Moment>,
    disabled_reason: Option<String>,
    disabled_revision: Option<i64>,
    failing_since: Option<Moment>,
    last_success: Option<Moment>,
    last_error: Option<String>,
    parked: i64,
}

impl TryFrom<EndpointRow> for EndpointState {
    type Error = StoreError;

    fn try_from(row: EndpointRow) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt("an endpoint's state");
        let disabled = row.disabled_at.map(|at| Disabled {
            at: at.into(),
            reason: row.disabled_reason.unwrap_or_default(),
            revision: row.disabled_revision.unwrap_or_default().cast_unsigned(),
        });
        Ok(Self {
            key: EndpointKey {
                tenant: row.tenant.parse().map_err(|_| corrupt())?,
                endpoint: row.endpoint.parse().map_err(|_| corrupt())?,
            },
            cursor: row.cursor.cast_unsigned(),
            log: row.log_made_at,
            epoch: row.epoch,
            disabled,
            failing_since: row.failing_since.map(Into::into),
            last_success: row.last_success.map(Into::into),
            last_error: row.last_error,
            parked: row.parked.cast_unsigned(),
        })
    }
}

/// A parked event.
#[derive(FromRow)]
pub(crate) struct ParkedRow {
    sequence: i64,
    conversation: String,
    attempts: i32,
    since: Moment,
    due: Moment,
    error: String,
}

impl TryFrom<ParkedRow> for Parked {
    type Error = StoreError;

    fn try_from(row: ParkedRow) -> Result<Self, StoreError> {
        Ok(Self {
            sequence: row.sequence.cast_unsigned(),
            conversation: row.conversation,
            attempts: u32::try_from(row.attempts).map_err(|_| StoreError::Corrupt("a parked event"))?,
            since: row.since.into(),
            due: row.due.into(),
            error: row.error,
        })
    }
}
