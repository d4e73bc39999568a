//! Entries as files and the bucket hold them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use staffetta_domain::{AppId, ChannelId, TenantId};

use super::RegistryError;
use super::endpoints::EndpointEntry;
use super::keys::ApiKeyEntry;
use crate::codec::Encoding;
use crate::secret::{MasterKey, Secret, SecretError};

/// A Meta app.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppEntry {
    /// Its id, a part of its webhook's path.
    pub id: AppId,
    /// Signs its webhooks; two are valid while one replaces the other.
    #[serde(default, skip_serializing_if = "Secrets::is_empty")]
    pub app_secret: Secrets,
    /// What Meta shows when it verifies the webhook's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_token: Option<Secret>,
    /// The tenant that runs the app: its webhooks are then heard for that tenant's channels alone. One without a tenant is
    /// the operator's own, and serves all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
}

/// One secret, or a list of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "OneOrMany", into = "Vec<Secret>")]
pub struct Secrets(pub Vec<Secret>);

impl Secrets {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    Many(Vec<Secret>),
    One(Secret),
}

impl From<OneOrMany> for Secrets {
    fn from(secrets: OneOrMany) -> Self {
        match secrets {
            OneOrMany::Many(many) => Self(many),
            OneOrMany::One(one) => Self(vec![one]),
        }
    }
}

impl From<Secrets> for Vec<Secret> {
    fn from(secrets: Secrets) -> Self {
        secrets.0
    }
}

/// What becomes of a command whose outcome nobody can tell after the wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DoubtPolicy {
    /// It is sent again: no status ever came, so it most likely never left.
    #[default]
    Resend,
    /// It waits on DEAD for somebody to decide.
    Park,
}

/// One ERP customer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantEntry {
    /// Its id.
    pub id: TenantId,
    /// Its name, for people.
    #[serde(default)]
    pub name: String,
    /// What it shows at the API.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_keys: Vec<ApiKeyEntry>,
    /// How its events are written on EVENTS.
    #[serde(default)]
    pub encoding: Encoding,
    /// What becomes of its commands whose outcome nobody can tell.
    #[serde(default)]
    pub doubt_policy: DoubtPolicy,
    /// How long its events, messages and ended commands are kept, in days.
    #[serde(default = "default_retention_days", skip_serializing_if = "is_default_retention")]
    pub retention_days: u16,
    /// Requests a second that each of its API keys may make; what the configuration says if it is not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_requests_per_second: Option<u32>,
}

/// Bounds of `retention_days`. Providers repeat webhooks for seven days, and a leaf that is forgotten is new again.
pub(super) const RETENTION_DAYS: RangeInclusive<u16> = 8..=3650;

fn default_retention_days() -> u16 {
    90
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_default_retention(days: &u16) -> bool {
    *days == default_retention_days()
}

/// Whose API a channel speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Meta's Cloud API.
    CloudApi,
    /// Twilio.
    Twilio,
    /// The On-Premises client, or a look-alike.
    OnPremises,
}

/// A template that steps in when the window is shut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowTemplate {
    /// The template's name.
    pub name: String,
    /// Its language, as `it` or `pt_BR`.
    pub language: String,
}

/// One business phone number.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelEntry {
    /// Its id.
    pub id: ChannelId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Whose API it speaks.
    pub provider: Provider,
    /// The app whose webhooks bring its messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppId>,
    /// The WhatsApp Business Account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waba_id: Option<String>,
    /// Meta's id of the number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_number_id: Option<String>,
    /// The number, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_phone_number: Option<String>,
    /// What it shows at the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<Secret>,
    /// Messages a second, sent and received together.
    #[serde(default = "default_rate")]
    pub rate: u32,
    /// What steps in when the window is shut: for a text, for a document.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub window_templates: BTreeMap<String, WindowTemplate>,
}

fn default_rate() -> u32 {
    250
}

/// A registry file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryFile {
    #[serde(default)]
    app: Vec<AppEntry>,
    #[serde(default)]
    tenant: Vec<TenantEntry>,
    #[serde(default)]
    channel: Vec<ChannelEntry>,
    #[serde(default)]
    endpoint: Vec<EndpointEntry>,
}

impl RegistryFile {
    /// Reads a file's text.
    ///
    /// # Errors
    /// Names line and key.
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
            // The message alone: the full text would show the line, and that may hold a secret.
            RegistryError::File(format!("line {line}: {}", error.message()))
        })
    }

    /// All entries, those first that others refer to.
    pub fn entries(self) -> Vec<Entry> {
        let apps = self.app.into_iter().map(Entry::App);
        let tenants = self.tenant.into_iter().map(Entry::Tenant);
        let channels = self.channel.into_iter().map(Entry::Channel);
        let endpoints = self.endpoint.into_iter().map(Entry::Endpoint);
        apps.chain(tenants).chain(channels).chain(endpoints).collect()
    }
}

/// One entry of the registry.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A Meta app.
    App(AppEntry),
    /// A tenant.
    Tenant(TenantEntry),
    /// A channel.
    Channel(ChannelEntry),
    /// An endpoint.
    Endpoint(EndpointEntry),
}

impl Entry {
    /// The entry's key in the bucket.
    pub fn key(&self) -> String {
        match self {
            Self::App(entry) => format!("app.{}", entry.id),
            Self::Tenant(entry) => format!("tenant.{}", entry.id),
            Self::Channel(entry) => format!("channel.{}", entry.id),
            Self::Endpoint(entry) => format!("endpoint.{}", entry.id),
        }
    }

    /// Reads an entry of the bucket; `None` for one that this version does not understand.
    pub(crate) fn read(key: &str, value: &[u8]) -> Option<Self> {
        match key.split_once('.')?.0 {
            "app" => serde_json::from_slice(value).ok().map(Self::App),
            "tenant" => serde_json::from_slice(value).ok().map(Self::Tenant),
            "channel" => serde_json::from_slice(value).ok().map(Self::Channel),
            "endpoint" => serde_json::from_slice(value).ok().map(Self::Endpoint),
            _ => None,
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        let json = match self {
            Self::App(entry) => serde_json::to_value(entry),
            Self::Tenant(entry) => serde_json::to_value(entry),
            Self::Channel(entry) => serde_json::to_value(entry),
            Self::Endpoint(entry) => serde_json::to_value(entry),
        };
        json.expect("entries have text keys only")
    }

    /// The entry with every secret changed by `change`, which is told the secret's place, and whether it is an API key.
    fn map_secrets(
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

    /// The entry as it may be stored: no literal secret is left in it.
    pub(crate) fn for_storage(self, master: Option<&MasterKey>) -> Result<Self, SecretError> {
        self.map_secrets(|place, role, secret| match role {
            SecretRole::Used => secret.for_storage(place, master),
            SecretRole::Shown => Ok(secret.as_digest()),
        })
    }

    /// What two entries that mean the same have in common: sealed secrets opened, API keys digested.
    pub(crate) fn meaning(self, master: Option<&MasterKey>) -> serde_json::Value {
        let opened = self.clone().map_secrets(|place, role, secret| {
            Ok(match (role, secret) {
                (SecretRole::Shown, secret) => secret.as_digest(),
                (SecretRole::Used, Secret::Literal(_) | Secret::Sealed { .. }) => {
                    Secret::Digest { sha256: secret.digest(place, master)? }
                }
                (SecretRole::Used, other) => other.clone(),
            })
        });
        opened.unwrap_or(self).to_json()
    }
}

/// Whether a service uses a secret itself, or only compares what somebody shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SecretRole {
    Used,
    Shown,
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTRACT: &str = r#"
[[app]]
id="meta-main"
app_secret={env="META_APP_SECRET"}
verify_token={env="META_VERIFY_TOKEN"}
[[tenant]]
id="acme"
name="Acme S.p.A."
api_keys=[{env="ACME_KEY"}]
[[channel]]
id="acme-orders"
tenant="acme"
provider="cloud_api"
app="meta-main"
waba_id="1"
phone_number_id="2"
display_phone_number="39"
access_token={env="ACME_TOKEN"}
rate=250
window_templates={ text={name="avviso_testo",language="it"}, document={name="avviso_documento",language="it"} }
[[endpoint]]
id="acme-erp"
tenant="acme"
kind="webhook"
url="https://erp.acme.example/hooks"
format="cloudevents"
secret={env="ACME_HOOK"}
"#;

    #[test]
    fn the_contracts_own_example_is_read_and_comes_back_from_the_bucket() {
        let entries = RegistryFile::parse(CONTRACT).unwrap().entries();
        let keys: Vec<String> = entries.iter().map(Entry::key).collect();
        assert_eq!(keys, ["app.meta-main", "tenant.acme", "channel.acme-orders", "endpoint.acme-erp"]);
        for entry in entries {
            let json = entry.to_json();
            let again = Entry::read(&entry.key(), json.to_string().as_bytes()).unwrap();
            assert_eq!(again.to_json(), json);
        }
    }

    #[test]
    fn an_error_names_the_line_and_the_key_but_no_value() {
        let error = RegistryFile::parse("[[app]]\nid=\"a\"\napp_secre=\"hush\"\n").unwrap_err().to_string();
        assert!(
            error.contains("line 3") && error.contains("app_secre") && !error.contains("hush"),
            "{error}"
        );
    }

    #[test]
    fn sealing_again_means_the_same() {
        let master = MasterKey::new(&"one master key of ours".to_owned().into());
        let text = "[[app]]\nid=\"a\"\napp_secret=[\"one\",\"two\"]\nverify_token=\"v\"\n";
        let entry = RegistryFile::parse(text).unwrap().entries().remove(0);
        let stored = entry.clone().for_storage(Some(&master)).unwrap();
        let again = entry.clone().for_storage(Some(&master)).unwrap();
        assert_ne!(stored.to_json(), again.to_json());
        assert_eq!(stored.meaning(Some(&master)), again.clone().meaning(Some(&master)));
        assert_eq!(again.meaning(Some(&master)), entry.meaning(Some(&master)));
    }
}
