//! Writes the bucket REGISTRY.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::kv::{self, Operation};
use async_nats::jetstream::{self, ErrorCode};
use tokio::time::Instant;

use super::bucket::{self, Slot, Slots};
use super::check::Check;
use super::diff::{Change, Changed};
use super::entry::Entry;
use super::file::RegistryFile;
use super::plan::{Plan, Step, Unnamed, keep_claim};
use super::{RegistryError, export};
use crate::secret::MasterKey;
use crate::together::{MOST_TOGETHER, NotTogether, Outgoing};
use crate::{Bus, streams};

/// Writes the registry, for `staffetta apply` and the admin API.
#[derive(Debug)]
pub struct RegistryStore {
    pub(super) bus: Bus,
    pub(super) bucket: kv::Store,
    pub(super) master: Option<Arc<MasterKey>>,
}

/// Longest time to write what NATS takes as one.
const WRITE: Duration = Duration::from_secs(10);
/// What a bucket calls a deletion.
const OPERATION: &str = "KV-Operation";

impl RegistryStore {
    /// Opens the bucket.
    ///
    /// # Errors
    /// If NATS does not answer, or the bucket is not set up.
    pub async fn open(bus: &Bus, master: Option<Arc<MasterKey>>) -> Result<Self, RegistryError> {
        let bucket = bus.bucket(streams::REGISTRY).await;
        let bucket = bucket.map_err(|error| RegistryError::Unavailable("read", error.into()))?;
        let store = Self { bus: bus.clone(), bucket, master };
        store.allow_writing_together().await?;
        Ok(store)
    }

    /// A bucket that an earlier version made does not take several changes as one yet.
    async fn allow_writing_together(&self) -> Result<(), RegistryError> {
        let mut config = self.bucket.stream.cached_info().config.clone();
        if config.allow_atomic_publish {
            return Ok(());
        }
        config.allow_atomic_publish = true;
        let updated = self.bus.jetstream().update_stream(config).await;
        updated.map(drop).map_err(|error| RegistryError::Unavailable("changed", error.into()))
    }

    /// Finds what has to change so that the registry holds what the files say. `unnamed` says what becomes of entries
    /// that no file names.
    ///
    /// # Errors
    /// Names the entry that refers to nothing or stands twice, or the secret that can't be sealed; its file, line and
    /// key too, where it comes from one.
    pub async fn plan(&self, files: Vec<RegistryFile>, unnamed: Unnamed) -> Result<Plan, RegistryError> {
        let stored = self.read().await?;
        Plan::new(&stored, files, unnamed, self.master.as_deref())
    }

    /// Carries a plan out: all of it or nothing, and only if nobody changed one of its entries since it was made. More
    /// changes than NATS takes as one (1,000) are made so many at a time.
    ///
    /// # Errors
    /// Names the entries that somebody else changed, and says how much is done if it is not nothing. Planning again
    /// finds the rest.
    pub async fn apply(&self, plan: Plan) -> Result<(), RegistryError> {
        let all = plan.steps.len();
        let mut done = 0;
        for steps in plan.steps.chunks(MOST_TOGETHER) {
            if let Err(error) = self.write(steps).await {
                return Err(match done {
                    0 => error,
                    _ => RegistryError::Partly { done, all, reason: Box::new(error) },
                });
            }
            done += steps.len();
        }
        Ok(())
    }

    /// The entry of that key, and its revision.
    ///
    /// # Errors
    /// If NATS does not answer.
    pub async fn entry(&self, key: &str) -> Result<Option<(u64, Entry)>, RegistryError> {
        // Another character would be refused by the client, or be a wildcard.
        if !key
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
        {
            return Ok(None);
        }
        let found = self.bucket.entry(key).await.map_err(unread)?;
        Ok(found.and_then(|found| match found.operation {
            Operation::Put => Some((found.revision, Entry::read(key, &found.value)?)),
            Operation::Delete | Operation::Purge => None,
        }))
    }

    /// All entries with their revisions, in the order of their keys.
    ///
    /// # Errors
    /// If NATS does not answer.
    pub async fn entries(&self) -> Result<Vec<(u64, Entry)>, RegistryError> {
        let stored = self.read().await?;
        Ok(bucket::entries(&stored).map(|(revision, entry)| (revision, entry.clone())).collect())
    }

    /// Writes one entry: a new one, or in place of the one that has the `expected` revision. Gives back its revision.
    ///
    /// # Errors
    /// If it does not fit to what is stored, if a secret in it can't be stored, or with [`RegistryError::Conflict`] if
    /// the entry has another revision, or is there although it should be new.
    pub async fn put(&self, entry: Entry, expected: Option<u64>) -> Result<u64, RegistryError> {
        let stored = self.read().await?;
        let key = entry.key();
        let slot = stored.get(&key);
        let old = slot.and_then(Slot::entry);
        if old.and(slot).map(|slot| slot.revision) != expected {
            return Err(RegistryError::Conflict(key));
        }
        let wanted = BTreeMap::from([(key.clone(), entry)]);
        let others = stored.iter().filter_map(|(key, slot)| Some((key.as_str(), slot.entry()?)));
        Check::new(&wanted, others).run().map_err(|problem| RegistryError::Wrong {
            place: None,
            entry: problem.entry,
            key: problem.key.map(str::to_owned),
            problem: problem.text,
        })?;
        let Some(entry) = wanted.into_values().next() else { return Err(RegistryError::Conflict(key)) };
        let fresh = entry.for_storage(old, self.master.as_deref());
        let mut fresh = fresh.map_err(|problem| RegistryError::Secret { place: None, problem })?;
        let revision = slot.map_or(0, |slot| slot.revision);
        keep_claim(&mut fresh, old, revision);
        let written = self.bucket.update(&key, bytes_of(&fresh), revision).await;
        written.map_err(|error| match error.kind() {
            kv::UpdateErrorKind::WrongLastRevision => RegistryError::Conflict(key),
            _ => RegistryError::Unavailable("changed", error.into()),
        })
    }

    /// Deletes the entry of that key, if it has the `expected` revision.
    ///
    /// # Errors
    /// With [`RegistryError::Wrong`] if other entries refer to it, whose keys it names; with
    /// [`RegistryError::Conflict`] if it has another revision, or is not there.
    pub async fn delete(&self, key: &str, expected: u64) -> Result<(), RegistryError> {
        let stored = self.read().await?;
        if !stored.get(key).is_some_and(|slot| slot.entry().is_some() && slot.revision == expected) {
            return Err(RegistryError::Conflict(key.to_owned()));
        }
        let referring: Vec<String> = bucket::entries(&stored)
            .filter(|(_, entry)| entry.refers_to(key))
            .map(|(_, entry)| entry.key())
            .collect();
        if !referring.is_empty() {
            let most = 10;
            let more = match referring.len().checked_sub(most) {
                None | Some(0) => String::new(),
                Some(more) => format!(" and {more} more"),
            };
            let names = referring.iter().take(most).cloned().collect::<Vec<_>>().join(", ");
            return Err(RegistryError::Wrong {
                place: None,
                entry: key.to_owned(),
                key: None,
                problem: format!("{names}{more} still refer to it"),
            });
        }
        let deleted = self.bucket.delete_expect_revision(key, Some(expected)).await;
        deleted.map_err(|error| match error.kind() {
            kv::UpdateErrorKind::WrongLastRevision => RegistryError::Conflict(key.to_owned()),
            _ => RegistryError::Unavailable("changed", error.into()),
        })
    }

    /// Everything as a registry file that `staffetta apply` takes: here it would change nothing, and elsewhere it
    /// needs the same master key where secrets are sealed.
    ///
    /// # Errors
    /// If NATS does not answer.
    pub async fn export(&self) -> Result<String, RegistryError> {
        let entries = self.entries().await?;
        Ok(export::to_toml(entries.iter().map(|(_, entry)| entry)))
    }

    pub(super) async fn read(&self) -> Result<Slots, RegistryError> {
        let read = bucket::read(&self.bucket).await;
        read.map(|(slots, _)| slots).map_err(|error| RegistryError::Unavailable("read", error))
    }

    /// Writes all of the steps, or none of them.
    pub(super) async fn write(&self, steps: &[Step]) -> Result<(), RegistryError> {
        if steps.is_empty() {
            return Ok(());
        }
        let inbox = self.bus.client().new_inbox();
        let messages = steps.iter().enumerate().map(|(number, step)| {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, step.expected.to_string());
            if step.entry.is_none() {
                headers.insert(OPERATION, "DEL");
            }
            Outgoing {
                subject: format!("{}{}", self.bucket.prefix, step.change.key),
                id: format!("{inbox}.{number}"),
                headers,
                payload: step.entry.as_ref().map(bytes_of).unwrap_or_default(),
            }
        });
        match self.bus.publish_together(messages.collect(), Instant::now() + WRITE).await {
            Ok(()) => Ok(()),
            Err(refused) => self.settle(steps, refused).await,
        }
    }

    /// Finds out what became of steps of which it is not known, and of which step somebody else was the cause.
    async fn settle(&self, steps: &[Step], refused: NotTogether) -> Result<(), RegistryError> {
        let stored = self.read().await?;
        let revision = |step: &Step| stored.get(&step.change.key).map_or(0, |slot| slot.revision);
        let is_as_written = |step: &Step| {
            let there = stored.get(&step.change.key).and_then(Slot::entry).map(Entry::to_json);
            there == step.entry.as_ref().map(Entry::to_json)
        };
        if steps.iter().all(|step| revision(step) > step.expected && is_as_written(step)) {
            return Ok(());
        }
        let changed: Vec<&str> = steps
            .iter()
            .filter(|step| revision(step) != step.expected)
            .map(|step| step.change.key.as_str())
            .collect();
        match (changed.as_slice(), is_conflict(&refused)) {
            ([], false) => Err(RegistryError::Unavailable("changed", refused.into())),
            ([], true) => Err(RegistryError::Conflict(steps[0].change.key.clone())),
            (keys, _) => Err(RegistryError::Conflict(keys.join(", "))),
        }
    }
}

fn unread(error: impl Into<async_nats::Error>) -> RegistryError {
    RegistryError::Unavailable("read", error.into())
}

fn is_conflict(refused: &NotTogether) -> bool {
    let cause = std::error::Error::source(refused);
    let code =
        cause.and_then(|cause| cause.downcast_ref::<jetstream::Error>()).map(jetstream::Error::error_code);
    code == Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE)
}

fn bytes_of(entry: &Entry) -> bytes::Bytes {
    entry.to_json().to_string().into()
}

impl Entry {
    /// Whether the entry of that key must be there for this one.
    fn refers_to(&self, key: &str) -> bool {
        let Some((kind, id)) = key.split_once('.') else { return false };
        match (kind, self) {
            ("tenant", Self::Tenant(_)) => false,
            ("tenant", other) => other.tenant().is_some_and(|tenant| tenant.as_str() == id),
            ("app", Self::Channel(channel)) => channel.app.as_ref().is_some_and(|app| app.as_str() == id),
            ("channel", Self::Endpoint(endpoint)) => {
                endpoint.channels.iter().chain(&endpoint.channel).any(|channel| channel.as_str() == id)
            }
            _ => false,
        }
    }
}

impl Step {
    /// Puts an entry in place of the one that has this revision.
    pub(super) fn replace(entry: Entry, expected: u64) -> Self {
        let change = Change { key: entry.key(), what: Changed::Updated(Vec::new()) };
        Self { change, entry: Some(entry), expected }
    }
}
