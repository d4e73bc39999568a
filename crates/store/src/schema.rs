//! The database seen from outside: its schema against the one that this code knows, how full it is, what waits in it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use sqlx::migrate::Migrator;

use crate::types::StoreError;
use crate::{Backend, Store, ask, within};

/// Most batches of the outbox that are counted.
pub(crate) const MOST_COUNTED: i64 = 10_000;

/// The schema that is there, against the one that this code knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaState {
    /// The last step that is applied; `None` in an empty database.
    pub applied: Option<i64>,
    /// The last step that this code knows.
    pub known: i64,
    /// Steps that this code knows and that are not applied, oldest first: [`migrate`](Store::migrate) applies them.
    pub pending: Vec<i64>,
    /// Steps that are applied and that this code does not know: a newer version was here.
    pub newer: Vec<i64>,
    /// Steps that began and did not end, or that were applied in another wording than this code's.
    pub broken: Vec<i64>,
}

/// The database server, or file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseState {
    /// `PostgreSQL` or `SQLite`.
    pub kind: &'static str,
    /// Its version, in its own words.
    pub version: String,
    /// Size of the database in bytes.
    pub bytes: u64,
    /// Connections of everybody to the server, and how many it takes. PostgreSQL alone.
    pub connections: Option<(u64, u64)>,
    /// Whether nothing can be written: a standby.
    pub read_only: bool,
}

/// The events that are committed and not told yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxState {
    /// How many, of the oldest 10,000 batches.
    pub events: u64,
    /// When the oldest of them was recorded.
    pub oldest: Option<Timestamp>,
}

/// A step as the database has it noted.
#[derive(sqlx::FromRow)]
pub(crate) struct Applied {
    version: i64,
    success: bool,
    checksum: Vec<u8>,
}

/// What the database says of itself.
#[derive(sqlx::FromRow)]
pub(crate) struct ServerRow {
    pub(crate) version: String,
    pub(crate) bytes: i64,
    pub(crate) used: Option<i64>,
    pub(crate) most: Option<i64>,
    pub(crate) read_only: bool,
}

impl ServerRow {
    pub(crate) fn state(self, kind: &'static str) -> DatabaseState {
        DatabaseState {
            kind,
            version: self.version,
            bytes: self.bytes.unsigned_abs(),
            connections: self
                .used
                .zip(self.most)
                .map(|(used, most)| (used.unsigned_abs(), most.unsigned_abs())),
            read_only: self.read_only,
        }
    }
}

impl Store {
    /// Compares the schema with the one that this code knows. Changes nothing.
    ///
    /// # Errors
    /// As every method's.
    pub async fn schema_state(&self) -> Result<SchemaState, StoreError> {
        ask!(self, schema_state())
    }

    /// What the database says of itself.
    ///
    /// # Errors
    /// As every method's.
    pub async fn database_state(&self) -> Result<DatabaseState, StoreError> {
        ask!(self, database_state())
    }

    /// What waits in the outbox.
    ///
    /// # Errors
    /// As every method's.
    pub async fn outbox_state(&self) -> Result<OutboxState, StoreError> {
        ask!(self, outbox_state())
    }

    /// The database server's clock; `None` for SQLite, which has none of its own.
    ///
    /// # Errors
    /// As every method's.
    pub async fn server_time(&self) -> Result<Option<Timestamp>, StoreError> {
        within(self, "server_time", async {
            match &*self.backend {
                Backend::Postgres(database) => database.server_time().await.map(Some),
                Backend::Sqlite(_) => Ok(None),
            }
        })
        .await
    }
}

impl SchemaState {
    pub(crate) fn of(migrator: &Migrator, applied: &[Applied]) -> Self {
        let known: BTreeMap<i64, &[u8]> = migrator
            .iter()
            .filter(|step| step.migration_type.is_up_migration())
            .map(|step| (step.version, step.checksum.as_ref()))
            .collect();
        let there: BTreeSet<i64> = applied.iter().map(|step| step.version).collect();
        let is_broken = |step: &&Applied| {
            !step.success || known.get(&step.version).is_some_and(|checksum| **checksum != step.checksum[..])
        };
        Self {
            applied: there.last().copied(),
            known: known.keys().last().copied().unwrap_or_default(),
            pending: known.keys().filter(|version| !there.contains(version)).copied().collect(),
            newer: there.iter().filter(|version| !known.contains_key(version)).copied().collect(),
            broken: applied.iter().filter(is_broken).map(|step| step.version).collect(),
        }
    }
}
