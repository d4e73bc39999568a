//! Sealing everything anew after the master key was replaced.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::sleep;

use super::RegistryError;
use super::bucket::{self, Held, Slots};
use super::newer;
use super::plan::{Step, keep_claim};
use super::store::RegistryStore;
use crate::secret::{MasterKey, Secret, SecretError};
use crate::together::MOST_TOGETHER;

/// What was sealed anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// The fields that were, as `app.meta-main/app_secret`.
    pub sealed_anew: Vec<String>,
    /// How many secrets the current key had sealed already.
    pub current: usize,
    /// What neither key opens, and fields and entries that this version does not know, as texts without secrets. It is
    /// left as it is.
    pub unopened: Vec<String>,
}

/// Tries while others write the same entries.
const TRIES: usize = 10;
/// Pause between them.
const PAUSE: Duration = Duration::from_millis(200);

impl RegistryStore {
    /// Seals anew with the current master key what the one before it sealed. Afterwards nothing needs that one any
    /// more, unless something is left unopened; the earlier forms of the entries are gone from the bucket's history.
    /// Safe to repeat.
    ///
    /// # Errors
    /// If there is no master key, if others wrote the same entries all the time, or if NATS does not answer.
    pub async fn rotate(&self) -> Result<Rotation, RegistryError> {
        let mut rotation = Rotation::default();
        for round in 0..TRIES {
            let stored = self.read().await?;
            let found = look(&stored, self.master.as_deref());
            if round == 0 {
                rotation.current = found.current;
            }
            let mut conflict = None;
            for steps in found.steps.chunks(MOST_TOGETHER) {
                match self.write(steps).await {
                    Ok(()) => {
                        let keys: Vec<&str> = steps.iter().map(|step| step.change.key.as_str()).collect();
                        let places = found.places.iter();
                        let written = places.filter(|place| keys.iter().any(|key| is_of(place, key)));
                        rotation.sealed_anew.extend(written.cloned());
                    }
                    Err(RegistryError::Conflict(key)) => conflict = Some(key),
                    Err(error) => return Err(error),
                }
            }
            match conflict {
                None => {
                    self.forget_history().await?;
                    rotation.unopened = found.unopened;
                    return Ok(rotation);
                }
                Some(_) => sleep(PAUSE).await,
            }
        }
        Err(RegistryError::Conflict("an entry".into()))
    }

    /// Takes earlier forms of all entries, deleted ones too, from the bucket: the key before opens them.
    async fn forget_history(&self) -> Result<(), RegistryError> {
        let unavailable = |error| RegistryError::Unavailable("cleared of its history", error);
        let stream = &self.bucket.stream;
        let subjects = stream.info_with_subjects(format!("{}>", self.bucket.prefix)).await;
        let mut subjects = subjects.map_err(|error| unavailable(error.into()))?;
        while let Some(subject) = subjects.next().await {
            let (subject, forms) = subject.map_err(|error| unavailable(error.into()))?;
            if forms > 1 {
                let purged = stream.purge().filter(subject).keep(1).await;
                purged.map_err(|error| unavailable(error.into()))?;
            }
        }
        Ok(())
    }
}

fn is_of(place: &str, key: &str) -> bool {
    place.strip_prefix(key).is_some_and(|rest| rest.starts_with('/'))
}

/// What there is to do.
#[derive(Debug, Default)]
struct Found {
    steps: Vec<Step>,
    places: Vec<String>,
    current: usize,
    unopened: Vec<String>,
}

fn look(stored: &Slots, master: Option<&MasterKey>) -> Found {
    let mut found = Found::default();
    let unreadable = stored.iter().filter(|(_, slot)| matches!(slot.held, Held::Unreadable));
    found.unopened.extend(unreadable.map(|(key, _)| format!("{key}: this version can't read the entry")));
    for (revision, entry) in bucket::entries(stored) {
        let sealed = entry.unknown().iter().filter(|(_, value)| newer::holds_sealed(value));
        found.unopened.extend(
            sealed
                .map(|(field, _)| format!("{}/{field}: this version does not know the secret", entry.key())),
        );
        let before = found.places.len();
        let fresh = entry.clone().with_secrets(|place, _, secret| match secret.sealed_anew(place, master) {
            Ok(Some(fresh)) => {
                found.places.push(place.to_owned());
                fresh
            }
            Ok(None) => {
                found.current += usize::from(matches!(secret, Secret::Sealed { .. }));
                secret.clone()
            }
            Err(problem) => {
                found.unopened.push(text(&problem));
                secret.clone()
            }
        });
        if found.places.len() > before {
            let mut fresh = fresh;
            keep_claim(&mut fresh, Some(entry), revision);
            found.steps.push(Step::replace(fresh, revision));
        }
    }
    found
}

fn text(problem: &SecretError) -> String {
    problem.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::bucket::Slot;
    use super::super::entry::Entry;
    use super::*;

    #[test]
    fn what_this_version_cannot_read_is_not_passed_over_in_silence() {
        let slot = |held| Slot { revision: 1, held };
        let stored = Slots::from([
            ("endpoint.later".to_owned(), slot(Held::Unreadable)),
            ("endpoint.gone".to_owned(), slot(Held::Deleted)),
        ]);
        assert_eq!(look(&stored, None).unopened, ["endpoint.later: this version can't read the entry"]);

        let later = r#"{ "id": "a", "colour": "red", "signs": [{ "name": "x", "key": { "sealed": "y" } }] }"#;
        let entry = Entry::read("app.a", later.as_bytes()).unwrap();
        let stored = Slots::from([("app.a".to_owned(), slot(Held::Entry(Box::new(entry))))]);
        assert_eq!(look(&stored, None).unopened, ["app.a/signs: this version does not know the secret"]);
    }
}
