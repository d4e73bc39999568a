//! Entries as files and the bucket hold them.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use staffetta_domain::{AppId, ChannelId, TenantId};

use super::endpoints::EndpointEntry;
use super::keys::ApiKeyEntry;
use super::newer::Fields;
use crate::codec::Encoding;
use crate::secret::Secret;

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
    /// What a newer version wrote into it.
    #[serde(skip)]
    pub(super) unknown: Fields,
}

/// One secret, or a list of them.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Secrets(pub Vec<Secret>);

impl Secrets {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Secrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Secrets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret, or a list of secrets")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Secrets, E> {
                Ok(Secrets(vec![Secret::literal(text)]))
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Secrets, E> {
                // Serde's own error would show it.
                Err(E::custom("a secret must be a text, or a table with env or file"))
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Secrets, E> {
                self.visit_i64(0)
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Secrets, E> {
                self.visit_i64(0)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Secrets, A::Error> {
                Secret::deserialize(MapAccessDeserializer::new(map)).map(|secret| Secrets(vec![secret]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Secrets, A::Error> {
                let mut secrets = Vec::new();
                while let Some(secret) = list.next_element()? {
                    secrets.push(secret);
                }
                Ok(Secrets(secrets))
            }
        }

        deserializer.deserialize_any(Reading)
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
    /// What a newer version wrote into it.
    #[serde(skip)]
    pub(super) unknown: Fields,
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
    /// The revision at which it claimed its number, if the entry was written again since. Kept by the registry alone:
    /// a new token, or a new master key, is no new claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) claimed: Option<u64>,
    /// What a newer version wrote into it.
    #[serde(skip)]
    pub(super) unknown: Fields,
}

impl ChannelEntry {
    /// The revision at which it claimed its number, of the entry that has this revision.
    pub(super) fn claim(&self, revision: u64) -> u64 {
        self.claimed.unwrap_or(revision)
    }

    /// Whether the entry that follows `old` claims the number anew.
    pub(super) fn claims_anew(&self, old: &Self) -> bool {
        self.phone_number_id != old.phone_number_id || self.tenant != old.tenant
    }
}

fn default_rate() -> u32 {
    250
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

    /// Whose it is, if it is a tenant's.
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::App(entry) => entry.tenant.as_ref(),
            Self::Tenant(entry) => Some(&entry.id),
            Self::Channel(entry) => Some(&entry.tenant),
            Self::Endpoint(entry) => Some(&entry.tenant),
        }
    }
}

/// Where the entries of a kind stand in an order in which none comes before what it refers to.
pub(super) fn rank(key: &str) -> usize {
    let kind = key.split('.').next().unwrap_or_default();
    KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len())
}

/// The kinds of entries, those first that others refer to.
pub(super) const KINDS: [&str; 4] = ["tenant", "app", "channel", "endpoint"];
