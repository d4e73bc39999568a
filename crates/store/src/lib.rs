//! What Staffetta remembers: events, messages and commands, in SQLite or PostgreSQL.
//!
//! One interface, two databases, one set of contract tests. Every method takes a batch and is one transaction. Calling one again with the same arguments changes nothing and tells nothing new: that
//! is what makes every crash before an acknowledgement harmless.

mod attempts;
mod batch;
mod contacts;
mod endpoints;
mod error;
mod holds;
mod metrics;
mod moment;
mod numbers;
mod plan;
mod postgres;
mod reading;
mod records;
mod replays;
mod retention;
mod rows;
mod said;
mod schedule;
mod schema;
mod sends;
mod sent;
mod sqlite;
mod types;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use staffetta_domain::{CommandId, Leaf, TenantId};
use tokio::time::{Instant, timeout};

pub use crate::attempts::{Attempt, AttemptCursor, AttemptFilter};
pub use crate::contacts::Contact;
pub use crate::endpoints::{Disabled, EndpointKey, EndpointPlace, EndpointState, Parked};
use crate::metrics::{Connections, Metrics};
pub use crate::numbers::{NumberClaim, NumberMoved};
use crate::postgres::Postgres;
pub use crate::reading::{
    ConversationCursor, ConversationFilter, ConversationRecord, Edit, Marked, MessageCursor, MessageError,
    MessageRecord, Step,
};
pub use crate::replays::ReplayJob;
pub use crate::retention::Pruned;
pub use crate::schema::{DatabaseState, OutboxState, SchemaState};
pub use crate::sent::{SentCursor, SentFilter, SentPage};
use crate::sqlite::Sqlite;
pub use crate::types::{
    Announcement, Cancelled, ChannelHold, Claim, Claimed, CommandRecord, NewCommand, OutboxPlace, Outcome,
    RecentSend, Refused, Scheduled, Settlement, Standing, StoreError, StoreOptions,
};

/// Longest wait for the schema to be brought up to date, other processes that do the same included.
const MIGRATION_LIMIT: Duration = Duration::from_secs(300);

/// The database. Clones share its connections.
///
/// Every method fails with [`StoreError::Unavailable`] when the answer takes longer than
/// [`StoreOptions::timeout`]. What was asked may then have been done or not, and asking again is always right;
/// [`claim`](Self::claim) says what that means there.
#[derive(Clone, Debug)]
pub struct Store {
    backend: Arc<Backend>,
    limit: Duration,
    metrics: Metrics,
}

#[derive(Clone, Debug)]
enum Backend {
    Postgres(Postgres),
    Sqlite(Sqlite),
}

impl Backend {
    /// Its name in the semantic conventions.
    fn system(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "postgresql",
            Self::Sqlite(_) => "sqlite",
        }
    }

    fn connections(&self) -> Connections {
        match self {
            Self::Postgres(database) => database.connections(),
            Self::Sqlite(database) => database.connections(),
        }
    }
}

/// Runs one method of whichever database it is, within the store's time limit, and measures it under its name. On the
/// heap, because a transaction's future is too large to be part of everybody's.
macro_rules! ask {
    ($store:expr, $method:ident($($argument:expr),*)) => {
        within($store, stringify!($method), async {
            match &*$store.backend {
                Backend::Postgres(database) => Box::pin(database.$method($($argument),*)).await,
                Backend::Sqlite(database) => Box::pin(database.$method($($argument),*)).await,
            }
        })
        .await
    };
}
use ask;

impl Store {
    /// Opens `sqlite:<path>` (made if missing, with its folder; `sqlite::memory:` lives as long as the store) or
    /// `postgres://…`, and reaches it once. The schema is left to [`migrate`](Self::migrate).
    ///
    /// # Errors
    /// [`StoreError::UnknownDatabase`] for any other address; the others as they say.
    pub async fn connect(url: &str, options: &StoreOptions) -> Result<Self, StoreError> {
        let limit = options.timeout;
        let backend = if url.starts_with("sqlite:") {
            Backend::Sqlite(limited(limit, Sqlite::connect(url, options)).await?)
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Backend::Postgres(limited(limit, Postgres::connect(url, options)).await?)
        } else {
            return Err(StoreError::UnknownDatabase);
        };
        let backend = Arc::new(backend);
        Ok(Self { metrics: Metrics::of(&backend), backend, limit })
    }

    /// Brings the schema up to date. Several processes may do so at once; a schema that is newer than this code is
    /// left as it is. A step waits for a PostgreSQL table that somebody holds three seconds at a time, so that nobody who
    /// works with it waits behind the step for longer.
    ///
    /// # Errors
    /// [`StoreError::Migration`] when a step fails: the steps before it stay. [`StoreError::Unavailable`] after five
    /// minutes.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        limited(MIGRATION_LIMIT, async {
            match &*self.backend {
                Backend::Postgres(database) => database.migrate(MIGRATION_LIMIT).await,
                Backend::Sqlite(database) => database.migrate().await,
            }
        })
        .await
    }

    /// Reaches the database once.
    ///
    /// # Errors
    /// As every method's.
    pub async fn ping(&self) -> Result<(), StoreError> {
        ask!(self, ping())
    }

    /// Closes all connections, this store's clones' too, once their statements have ended or the time limit is over.
    pub async fn close(&self) {
        let closing = async {
            match &*self.backend {
                Backend::Postgres(database) => database.close().await,
                Backend::Sqlite(database) => database.close().await,
            }
        };
        if timeout(self.limit, closing).await.is_err() {
            tracing::warn!("the database's connections did not close in time");
        }
    }

    /// Records each leaf whose event is new, and moves messages and commands as the leaves say. Gives back the new
    /// events in the order of the leaves; the `accepted` of a command that a status settles stands right before
    /// the status.
    ///
    /// # Errors
    /// As every method's. Nothing of the batch was recorded, or all of it (after `Unavailable`: its events are then
    /// among the [`unannounced`](Self::unannounced)).
    pub async fn record(&self, leaves: &[Leaf]) -> Result<Vec<Announcement>, StoreError> {
        if leaves.is_empty() {
            return Ok(Vec::new());
        }
        ask!(self, record(leaves))
    }

    /// Notes that these events are on EVENTS: they are not among the unannounced any more.
    ///
    /// # Errors
    /// As every method's.
    pub async fn announced(&self, places: &[OutboxPlace]) -> Result<(), StoreError> {
        if places.is_empty() {
            return Ok(());
        }
        ask!(self, announced(places))
    }

    /// The oldest events that were recorded before `before` and never noted as announced, oldest first, at most
    /// `limit`.
    ///
    /// # Errors
    /// As every method's.
    pub async fn unannounced(&self, before: Timestamp, limit: u32) -> Result<Vec<Announcement>, StoreError> {
        ask!(self, unannounced(before, limit))
    }

    /// Notes, before any request is made, that these commands are about to be sent, and says of each whether it may.
    /// Answers stand in the order of the claims; the announcements are the `in_doubt` events that took effect.
    ///
    /// # Errors
    /// As every method's. After `Unavailable` the claims may have been granted unheard: claiming again, with the same
    /// epoch and sequence, gives the same answer.
    pub async fn claim(&self, claims: &[Claim]) -> Result<(Vec<Claimed>, Vec<Announcement>), StoreError> {
        if claims.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        ask!(self, claim(claims))
    }

    /// Writes how commands ended, or wait for another try, and gives back the events that took effect. A command that
    /// has ended is left alone and tells nothing. Of several outcomes of one command the first counts.
    ///
    /// # Errors
    /// As every method's.
    pub async fn settle(&self, outcomes: &[Outcome]) -> Result<Vec<Announcement>, StoreError> {
        if outcomes.is_empty() {
            return Ok(Vec::new());
        }
        ask!(self, settle(outcomes))
    }

    /// Queues a command again that ended without being sent: rejected, failed or expired. Says whether it did; a
    /// command that is open, accepted or unknown is left alone.
    ///
    /// # Errors
    /// As every method's.
    pub async fn revive(&self, tenant: &TenantId, id: &CommandId) -> Result<bool, StoreError> {
        ask!(self, revive(tenant, id))
    }

    /// Makes each command known as queued, unless it is known already.
    ///
    /// # Errors
    /// As every method's.
    pub async fn enqueue(&self, commands: &[NewCommand]) -> Result<(), StoreError> {
        if commands.is_empty() {
            return Ok(());
        }
        ask!(self, enqueue(commands))
    }

    /// The commands of these keys, in the order of the keys; `None` for each that nobody has seen.
    ///
    /// # Errors
    /// As every method's, and [`StoreError::Corrupt`].
    pub async fn commands(
        &self,
        keys: &[(TenantId, CommandId)],
    ) -> Result<Vec<Option<CommandRecord>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        ask!(self, commands(keys))
    }

    /// One command, or `None` if nobody has seen it.
    ///
    /// # Errors
    /// As [`commands`](Self::commands).
    pub async fn command(
        &self,
        tenant: &TenantId,
        id: &CommandId,
    ) -> Result<Option<CommandRecord>, StoreError> {
        let mut found = self.commands(&[(tenant.clone(), id.clone())]).await?;
        Ok(found.pop().flatten())
    }
}

/// Runs an operation of `store` within its time limit, and measures it under that name.
async fn within<T>(
    store: &Store,
    operation: &'static str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let started = Instant::now();
    let done = limited(store.limit, work).await;
    store.metrics.ended(operation, started.elapsed(), done.as_ref().err());
    done
}

async fn limited<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(StoreError::too_slow()))
}
