//! Writes the bucket REGISTRY.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use async_nats::jetstream::kv;
use futures_util::TryStreamExt;

use super::RegistryError;
use super::entry::{Entry, RETENTION_DAYS, RegistryFile};
use crate::secret::MasterKey;
use crate::{Bus, streams};

/// What applying a file would do, or did, to one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The entry's key.
    pub key: String,
    /// What happens to it.
    pub what: Changed,
}

/// What happens to an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is new.
    Created,
    /// These of its fields change.
    Updated(Vec<String>),
    /// It goes.
    Deleted,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Changed::Created => write!(f, "+ {}", self.key),
            Changed::Updated(fields) => write!(f, "~ {} ({})", self.key, fields.join(", ")),
            Changed::Deleted => write!(f, "- {}", self.key),
        }
    }
}

/// Writes the registry, for `staffetta apply` and the admin API.
#[derive(Debug)]
pub struct RegistryStore {
    bucket: kv::Store,
    master: Option<Arc<MasterKey>>,
}

/// A plan that [`RegistryStore::apply`] carries out: it holds the revisions that it was made for.
#[derive(Debug)]
pub struct Plan {
    steps: Vec<(Change, Step)>,
}

#[derive(Debug)]
enum Step {
    Create(Entry),
    Update(Entry, u64),
    Delete(u64),
}

impl Plan {
    /// What the plan does, in order.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.steps.iter().map(|(change, _)| change)
    }
}

impl RegistryStore {
    /// Opens the bucket.
    ///
    /// # Errors
    /// If NATS does not answer, or the bucket is not set up.
    pub async fn open(bus: &Bus, master: Option<Arc<MasterKey>>) -> Result<Self, RegistryError> {
        let bucket = bus.bucket(streams::REGISTRY).await;
        let bucket = bucket.map_err(|error| RegistryError::Unavailable("read", error.into()))?;
        Ok(Self { bucket, master })
    }

    /// Finds what has to change so that the registry holds what the files say. `keep` says what becomes of entries
    /// that no file names.
    ///
    /// # Errors
    /// Names the entry that refers to nothing or stands twice, or the secret that can't be sealed.
    pub async fn plan(&self, files: Vec<RegistryFile>, unnamed: Unnamed) -> Result<Plan, RegistryError> {
        let stored = self.stored().await?;
        let mut wanted: BTreeMap<String, Entry> = BTreeMap::new();
        let mut order = Vec::new();
        for entry in files.into_iter().flat_map(RegistryFile::entries) {
            let key = entry.key();
            order.push(key.clone());
            if wanted.insert(key.clone(), entry).is_some() {
                return Err(RegistryError::Wrong { entry: key, problem: "stands there twice".into() });
            }
        }
        check(&wanted, &stored, unnamed)?;
        let mut steps = Vec::new();
        for key in order {
            let entry = wanted[&key].clone();
            let fresh = entry.clone().for_storage(self.master.as_deref())?;
            let step = match stored.get(&key) {
                None => Some((Changed::Created, Step::Create(fresh))),
                Some((revision, old)) => {
                    let fields = self.different(entry, old.clone());
                    (!fields.is_empty()).then_some((Changed::Updated(fields), Step::Update(fresh, *revision)))
                }
            };
            if let Some((what, step)) = step {
                steps.push((Change { key, what }, step));
            }
        }
        if unnamed == Unnamed::Delete {
            for (key, (revision, _)) in stored.iter().rev() {
                if !wanted.contains_key(key) {
                    steps
                        .push((Change { key: key.clone(), what: Changed::Deleted }, Step::Delete(*revision)));
                }
            }
        }
        Ok(Plan { steps })
    }

    /// Carries a plan out, step by step; each takes effect only if nobody changed its entry since the plan was made.
    ///
    /// # Errors
    /// Names the entry that somebody else changed. The steps before it are done; planning again finds the rest.
    pub async fn apply(&self, plan: Plan) -> Result<(), RegistryError> {
        for (change, step) in plan.steps {
            let done = match step {
                Step::Create(entry) => self
                    .bucket
                    .create(&change.key, bytes_of(&entry))
                    .await
                    .map(drop)
                    .map_err(|error| (error.kind() == kv::CreateErrorKind::AlreadyExists, error.into())),
                Step::Update(entry, revision) => {
                    self.bucket.update(&change.key, bytes_of(&entry), revision).await.map(drop).map_err(
                        |error| (error.kind() == kv::UpdateErrorKind::WrongLastRevision, error.into()),
                    )
                }
                Step::Delete(revision) => {
                    self.bucket.delete_expect_revision(&change.key, Some(revision)).await.map_err(|error| {
                        (error.kind() == kv::UpdateErrorKind::WrongLastRevision, error.into())
                    })
                }
            };
            if let Err((conflict, error)) = done {
                return Err(if conflict {
                    RegistryError::Conflict(change.key)
                } else {
                    RegistryError::Unavailable("changed", error)
                });
            }
        }
        Ok(())
    }

    async fn stored(&self) -> Result<BTreeMap<String, (u64, Entry)>, RegistryError> {
        let unavailable = |error| RegistryError::Unavailable("read", error);
        let keys = self.bucket.keys().await.map_err(|error| unavailable(error.into()))?;
        let keys: Vec<String> = keys.try_collect().await.map_err(|error| unavailable(error.into()))?;
        let mut stored = BTreeMap::new();
        for key in keys {
            let entry = self.bucket.entry(&key).await.map_err(|error| unavailable(error.into()))?;
            if let Some(found) = entry
                && let Some(entry) = Entry::read(&key, &found.value)
            {
                stored.insert(key, (found.revision, entry));
            }
        }
        Ok(stored)
    }

    /// The names of the fields in which two entries differ in meaning.
    fn different(&self, new: Entry, old: Entry) -> Vec<String> {
        let (new, old) = (new.meaning(self.master.as_deref()), old.meaning(self.master.as_deref()));
        let names = |entry: &serde_json::Value| -> BTreeSet<String> {
            entry.as_object().into_iter().flat_map(|fields| fields.keys().cloned()).collect()
        };
        names(&new)
            .union(&names(&old))
            .filter(|name| new.get(name.as_str()) != old.get(name.as_str()))
            .cloned()
            .collect()
    }
}

/// What becomes of entries that no file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unnamed {
    /// They stay.
    Keep,
    /// They go.
    Delete,
}

fn bytes_of(entry: &Entry) -> bytes::Bytes {
    entry.to_json().to_string().into()
}

/// Every reference must lead somewhere, and a number may stand in one file entry only.
fn check(
    wanted: &BTreeMap<String, Entry>,
    stored: &BTreeMap<String, (u64, Entry)>,
    unnamed: Unnamed,
) -> Result<(), RegistryError> {
    let there =
        |key: &str| wanted.contains_key(key) || (unnamed == Unnamed::Keep && stored.contains_key(key));
    let mut numbers: HashMap<&str, &str> = HashMap::new();
    for (key, entry) in wanted {
        let wrong = |problem: String| Err(RegistryError::Wrong { entry: key.clone(), problem });
        match entry {
            Entry::App(app) => {
                if let Some(tenant) = &app.tenant
                    && !there(&format!("tenant.{tenant}"))
                {
                    return wrong(format!("its tenant {tenant} is not registered"));
                }
            }
            Entry::Tenant(tenant) => {
                if !RETENTION_DAYS.contains(&tenant.retention_days) {
                    let (least, most) = (RETENTION_DAYS.start(), RETENTION_DAYS.end());
                    return wrong(format!(
                        "retention_days must be {least} to {most}: webhooks are repeated for 7 days, and must be known then"
                    ));
                }
            }
            Entry::Endpoint(endpoint) => {
                if !there(&format!("tenant.{}", endpoint.tenant)) {
                    return wrong(format!("its tenant {} is not registered", endpoint.tenant));
                }
                if let Some(problem) = endpoint.problem() {
                    return wrong(problem);
                }
            }
            Entry::Channel(channel) => {
                if !there(&format!("tenant.{}", channel.tenant)) {
                    return wrong(format!("its tenant {} is not registered", channel.tenant));
                }
                if let Some(app) = &channel.app
                    && !there(&format!("app.{app}"))
                {
                    return wrong(format!("its app {app} is not registered"));
                }
                if channel.rate == 0 {
                    return wrong("rate must be at least 1".into());
                }
                if let Some(number) = &channel.phone_number_id
                    && let Some(other) = numbers.insert(number, key)
                {
                    return wrong(format!("{other} has the same phone_number_id"));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_events_are_kept_for_as_long_as_webhooks_are_repeated() {
        let checked = |days: &str| {
            let file = RegistryFile::parse(&format!("[[tenant]]\nid = \"acme\"\n{days}")).unwrap();
            let wanted = file.entries().into_iter().map(|entry| (entry.key(), entry)).collect();
            check(&wanted, &BTreeMap::new(), Unnamed::Keep).map_err(|error| error.to_string())
        };
        for fine in ["", "retention_days = 8", "retention_days = 3650"] {
            assert_eq!(checked(fine), Ok(()), "{fine}");
        }
        for wrong in ["retention_days = 7", "retention_days = 3651"] {
            let error = checked(wrong).unwrap_err();
            assert!(
                error.contains("tenant.acme") && error.contains("retention_days must be 8 to 3650"),
                "{error}"
            );
        }
    }
}
