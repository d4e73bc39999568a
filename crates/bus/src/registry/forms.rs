//! Entries in their forms: as the bucket holds them, as people are shown them, as what they mean.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::RegistryError;
use super::entry::Entry;
use super::newer::{self, Fields};
use crate::secret::{MasterKey, Secret, SecretError};

/// Whether a service uses a secret itself, or only compares what somebody shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SecretRole {
    Used,
    Shown,
}

/// The field of the registry's own that no file and nobody else writes.
const CLAIMED: &str = "claimed";

impl Entry {
    /// Reads an entry of the bucket; `None` for one that this version does not understand.
    pub(super) fn read(key: &str, value: &[u8]) -> Option<Self> {
        fn read<T: DeserializeOwned>(mut fields: Fields) -> Option<(T, Fields)> {
            let unknown = newer::take_unknown::<T>(&mut fields);
            Some((serde_json::from_value(Value::Object(fields)).ok()?, unknown))
        }
        let fields: Fields = serde_json::from_slice(value).ok()?;
        if !newer::is_for_us(&fields) {
            return None;
        }
        let (mut entry, unknown) = match key.split_once('.')?.0 {
            "app" => read(fields).map(|(entry, unknown)| (Self::App(entry), unknown)),
            "tenant" => read(fields).map(|(entry, unknown)| (Self::Tenant(entry), unknown)),
            "channel" => read(fields).map(|(entry, unknown)| (Self::Channel(entry), unknown)),
            "endpoint" => read(fields).map(|(entry, unknown)| (Self::Endpoint(entry), unknown)),
            _ => None,
        }?;
        *entry.unknown_mut() = unknown;
        Some(entry)
    }

    /// Reads an entry of one of the kinds `app`, `tenant`, `channel` and `endpoint` that somebody sent as JSON.
    ///
    /// # Errors
    /// Names the key that is unknown, or whose value is wrong.
    pub fn from_json(kind: &str, value: Value) -> Result<Self, RegistryError> {
        fn read<T: DeserializeOwned>(kind: &str, value: Value) -> Result<T, RegistryError> {
            let wrong = |key: Option<String>, problem: String| RegistryError::Wrong {
                place: None,
                entry: kind.to_owned(),
                key,
                problem,
            };
            if value.get(CLAIMED).is_some() {
                return Err(wrong(Some(CLAIMED.into()), "claimed is kept by the registry itself".into()));
            }
            serde_path_to_error::deserialize(value).map_err(|error| {
                let key = error.path().to_string();
                let problem = error.inner().to_string();
                match key.as_str() {
                    "." => wrong(None, problem),
                    _ if problem.contains(&format!("`{key}`")) => wrong(Some(key), problem),
                    _ => wrong(Some(key.clone()), format!("{key}: {problem}")),
                }
            })
        }
        match kind {
            "app" => read(kind, value).map(Self::App),
            "tenant" => read(kind, value).map(Self::Tenant),
            "channel" => read(kind, value).map(Self::Channel),
            "endpoint" => read(kind, value).map(Self::Endpoint),
            _ => Err(RegistryError::File(format!("{kind} is no kind of entry"))),
        }
    }

    /// The entry as the bucket holds it, with what a newer version wrote into it.
    pub(super) fn to_json(&self) -> Value {
        let mut json = self.known();
        if let Some(fields) = json.as_object_mut() {
            fields.extend(self.unknown().clone());
        }
        json
    }

    /// What this version knows of it.
    fn known(&self) -> Value {
        fn json(entry: &impl Serialize) -> Value {
            serde_json::to_value(entry).expect("entries have text keys only")
        }
        match self {
            Self::App(entry) => json(entry),
            Self::Tenant(entry) => json(entry),
            Self::Channel(entry) => json(entry),
            Self::Endpoint(entry) => json(entry),
        }
    }

    /// The entry as people may read it and [`Entry::from_json`] takes it back: of each stored secret it shows where it
    /// comes from, or how its sealed form or its digest begins.
    pub fn shown(&self) -> Value {
        let mut shown = self.clone().with_secrets(|_, _, secret| secret.shown());
        shown.unknown_mut().clear();
        shown.public()
    }

    /// The entry as it is stored, without what the registry notes for itself. Literal secrets are sealed in it, not
    /// hidden.
    pub(super) fn public(&self) -> Value {
        let mut json = self.to_json();
        if let Some(fields) = json.as_object_mut() {
            fields.remove(CLAIMED);
        }
        json
    }

    /// The entry with every secret changed by `change`, which is told the secret's place (entry and field) and role.
    pub(super) fn map_secrets(
        mut self,
        mut change: impl FnMut(&str, SecretRole, &Secret) -> Result<Secret, SecretError>,
    ) -> Result<Self, SecretError> {
        let key = self.key();
        let mut apply = |field: &str, role, secret: &mut Secret| {
            *secret = change(&format!("{key}/{field}"), role, secret)?;
            Ok(())
        };
        match &mut self {
            Self::App(entry) => {
                for secret in &mut entry.app_secret.0 {
                    apply("app_secret", SecretRole::Used, secret)?;
                }
                if let Some(secret) = &mut entry.verify_token {
                    apply("verify_token", SecretRole::Used, secret)?;
                }
            }
            Self::Tenant(entry) => {
                for key in &mut entry.api_keys {
                    apply("api_keys", SecretRole::Shown, &mut key.secret)?;
                }
            }
            Self::Channel(entry) => {
                if let Some(secret) = &mut entry.access_token {
                    apply("access_token", SecretRole::Used, secret)?;
                }
            }
            Self::Endpoint(entry) => {
                for secret in &mut entry.secret.0 {
                    apply("secret", SecretRole::Used, secret)?;
                }
                if let Some(ticket) = &mut entry.ticket {
                    apply("ticket", SecretRole::Used, ticket)?;
                }
            }
        }
        Ok(self)
    }

    /// The same with a change that can't fail.
    pub(super) fn with_secrets(self, mut change: impl FnMut(&str, SecretRole, &Secret) -> Secret) -> Self {
        let key = self.key();
        let changed = self.map_secrets(|place, role, secret| Ok(change(place, role, secret)));
        changed.unwrap_or_else(|_| unreachable!("{key}: the change never fails"))
    }

    /// What a newer version wrote into it.
    pub(super) fn unknown(&self) -> &Fields {
        match self {
            Self::App(entry) => &entry.unknown,
            Self::Tenant(entry) => &entry.unknown,
            Self::Channel(entry) => &entry.unknown,
            Self::Endpoint(entry) => &entry.unknown,
        }
    }

    fn unknown_mut(&mut self) -> &mut Fields {
        match self {
            Self::App(entry) => &mut entry.unknown,
            Self::Tenant(entry) => &mut entry.unknown,
            Self::Channel(entry) => &mut entry.unknown,
            Self::Endpoint(entry) => &mut entry.unknown,
        }
    }

    /// The entry as it may be stored: no literal secret is left in it. What a marker stands for comes from `old`, and
    /// so does what a newer version wrote there.
    pub(super) fn for_storage(
        mut self,
        old: Option<&Self>,
        master: Option<&MasterKey>,
    ) -> Result<Self, SecretError> {
        if let Some(old) = old {
            self.unknown_mut().clone_from(old.unknown());
        }
        let old = old.map(Self::secrets).unwrap_or_default();
        self.map_secrets(|place, role, secret| match (role, secret) {
            (_, Secret::Marker(marker)) => old
                .iter()
                .find(|(at, stored)| at == place && stored.is_shown_as(marker))
                .map(|(_, stored)| stored.clone())
                .ok_or_else(|| SecretError::NotStored(place.into())),
            (SecretRole::Used, secret) => secret.for_storage(place, master),
            (SecretRole::Shown, secret) => secret.as_digest(place, master),
        })
    }

    /// Its secrets with their places.
    pub(super) fn secrets(&self) -> Vec<(String, Secret)> {
        let mut secrets = Vec::new();
        self.clone().with_secrets(|place, _, secret| {
            secrets.push((place.to_owned(), secret.clone()));
            secret.clone()
        });
        secrets
    }

    /// What two entries that mean the same have in common: sealed secrets opened and digested, API keys digested. A
    /// secret that can't be opened means itself.
    pub(super) fn meaning(self, master: Option<&MasterKey>) -> Self {
        self.with_secrets(|place, role, secret| {
            let meant = match (role, secret) {
                (SecretRole::Shown, secret) => secret.as_digest(place, master).ok(),
                (SecretRole::Used, Secret::Literal(_) | Secret::Sealed { .. }) => {
                    secret.digest(place, master).ok().map(|sha256| Secret::Digest { sha256 })
                }
                _ => None,
            };
            meant.unwrap_or_else(|| secret.clone())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::RegistryFile;
    use super::*;

    fn master() -> MasterKey {
        MasterKey::new(&"one master key of ours".to_owned().into())
    }

    fn app() -> Entry {
        let text = "[[app]]\nid=\"a\"\napp_secret=[\"one\",\"two\"]\nverify_token=\"v\"\n";
        RegistryFile::parse(text).unwrap().entries().remove(0)
    }

    #[test]
    fn sealing_again_means_the_same() {
        let master = master();
        let stored = app().for_storage(None, Some(&master)).unwrap();
        let again = app().for_storage(None, Some(&master)).unwrap();
        assert_ne!(stored.to_json(), again.to_json());
        let meaning = |entry: Entry| entry.meaning(Some(&master)).to_json();
        assert_eq!(meaning(stored), meaning(again.clone()));
        assert_eq!(meaning(again), meaning(app()));
    }

    #[test]
    fn what_people_are_shown_goes_back_in_and_keeps_the_secrets() {
        let master = master();
        let stored = app().for_storage(None, Some(&master)).unwrap();
        let mut shown = stored.shown();
        let text = shown.to_string();
        assert!(!text.contains("one") && text.contains("\"secret\":true"), "{text}");
        for (_, secret) in stored.secrets() {
            let Secret::Sealed { sealed } = secret else { panic!("all are sealed") };
            assert!(!text.contains(&sealed));
        }
        // One secret less, in another order.
        shown["app_secret"] = vec![shown["app_secret"][1].clone()].into();
        let back = Entry::from_json("app", shown.clone()).unwrap();
        let back = back.for_storage(Some(&stored), Some(&master)).unwrap();
        assert_eq!(back.to_json()["app_secret"][0], stored.to_json()["app_secret"][1]);
        // What is gone can't be kept.
        let stale = Entry::from_json("app", stored.shown()).unwrap();
        let other = app().for_storage(None, Some(&master)).unwrap();
        assert!(matches!(stale.for_storage(Some(&other), Some(&master)), Err(SecretError::NotStored(_))));
    }

    #[test]
    fn json_that_is_wrong_is_told_by_its_key_and_without_secrets() {
        for (kind, json, word) in [
            ("app", serde_json::json!({"id": "a", "app_secre": "hush"}), "app_secre"),
            ("app", serde_json::json!({"id": "a", "verify_token": {"sceret": "hush"}}), "verify_token"),
            ("app", serde_json::json!({"id": "A B"}), "id"),
            ("tenant", serde_json::json!({"id": "a", "api_keys": [{"key": 5, "x": "hush"}]}), "api_keys"),
            (
                "channel",
                serde_json::json!({"id": "c", "tenant": "a", "provider": "cloud_api", "rate": "x"}),
                "rate",
            ),
            (
                "channel",
                serde_json::json!({"id": "c", "tenant": "a", "provider": "cloud_api", "claimed": 1}),
                "claimed",
            ),
            ("keys", serde_json::json!({}), "keys"),
        ] {
            let error = Entry::from_json(kind, json).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("hush"), "{error}");
        }
    }
}
