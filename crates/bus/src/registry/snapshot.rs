//! The registry as services read it: resolved, indexed, and complete at one moment.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use secrecy::SecretString;
use staffetta_domain::{AppId, ChannelId, EndpointId, TenantId};

use super::endpoints::{Endpoint, EndpointEntry};
use super::entry::{ChannelEntry, DoubtPolicy, Entry, Provider, RETENTION_DAYS, WindowTemplate};
use super::keys::{ApiKeyEntry, Key, Scope};
use crate::codec::Encoding;
use crate::secret::{MasterKey, Secret, key_digest};

/// A Meta app, its secrets at hand.
#[derive(Debug)]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// Any of them may sign a webhook. Empty if none could be had: then the app's webhooks can't be taken.
    pub secrets: Vec<SecretString>,
    /// What Meta shows when it verifies the webhook's address.
    pub verify_token: Option<SecretString>,
    /// The tenant that runs it: it is heard for that tenant's channels alone. `None`: the operator's own, heard for all.
    pub tenant: Option<TenantId>,
}

/// A tenant.
#[derive(Debug)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// How its events are written on EVENTS.
    pub encoding: Encoding,
    /// What becomes of its commands whose outcome nobody can tell.
    pub doubt_policy: DoubtPolicy,
    /// How long its events, messages and ended commands are kept, in days.
    pub retention_days: u16,
    /// Its name, for people.
    pub name: String,
    /// Requests a second that each of its API keys may make, if it has a limit of its own.
    pub api_requests_per_second: Option<u32>,
}

/// A channel, its token at hand.
#[derive(Debug)]
pub struct Channel {
    /// Its id.
    pub id: ChannelId,
    /// Whose it is.
    pub tenant: Arc<Tenant>,
    /// Whose API it speaks.
    pub provider: Provider,
    /// Meta's id of the number.
    pub phone_number_id: Option<String>,
    /// The WhatsApp Business Account.
    pub waba_id: Option<String>,
    /// The number, for people.
    pub display_phone_number: Option<String>,
    /// What it shows at the provider; `None` if it can't be had.
    pub access_token: Option<SecretString>,
    /// Messages a second, sent and received together.
    pub rate: u32,
    /// The app whose webhooks bring its messages, and whose calls its sends are.
    pub app: Option<AppId>,
    /// What steps in when the window is shut: for a `text`, for a `document`.
    pub window_templates: BTreeMap<String, WindowTemplate>,
    /// The revision at which it claimed its number: of two channels that claim one the higher one has it.
    pub revision: u64,
    /// Whether another channel claimed its number later: what the number does is that one's.
    pub number_lost: bool,
}

/// The whole registry at one moment.
#[derive(Debug, Default)]
pub struct Registry {
    apps: HashMap<AppId, Arc<App>>,
    tenants: HashMap<TenantId, Arc<Tenant>>,
    channels: HashMap<ChannelId, Arc<Channel>>,
    endpoints: HashMap<EndpointId, Arc<Endpoint>>,
    keys: HashMap<String, Arc<Key>>,
    numbers: HashMap<String, ChannelId>,
    unreadable_endpoints: Vec<EndpointId>,
    revision: u64,
    problems: Vec<String>,
}

impl Registry {
    /// Resolves `entries`, given with their revisions. What can't be resolved becomes a problem and leaves the rest
    /// as it is.
    pub(crate) fn resolve<'a>(
        entries: impl Iterator<Item = (u64, &'a Entry)>,
        master: Option<&MasterKey>,
    ) -> Self {
        let mut registry = Self::default();
        let mut channels: Vec<(u64, &ChannelEntry)> = Vec::new();
        let mut endpoints: Vec<(u64, &EndpointEntry)> = Vec::new();
        let mut shared = HashSet::new();
        for (revision, entry) in entries {
            registry.revision = registry.revision.max(revision);
            match entry {
                Entry::App(entry) => {
                    let place = |field: &str| format!("app.{}/{field}", entry.id);
                    let mut secrets = Vec::new();
                    for secret in &entry.app_secret.0 {
                        secrets.extend(registry.keep(secret.resolve(&place("app_secret"), master)));
                    }
                    let verify_token = entry.verify_token.as_ref();
                    let verify_token = verify_token
                        .and_then(|token| registry.keep(token.resolve(&place("verify_token"), master)));
                    let tenant = entry.tenant.clone();
                    let app = App { id: entry.id.clone(), secrets, verify_token, tenant };
                    registry.apps.insert(entry.id.clone(), Arc::new(app));
                }
                Entry::Tenant(entry) => {
                    let tenant = Tenant {
                        id: entry.id.clone(),
                        encoding: entry.encoding,
                        doubt_policy: entry.doubt_policy,
                        retention_days: entry
                            .retention_days
                            .clamp(*RETENTION_DAYS.start(), *RETENTION_DAYS.end()),
                        name: entry.name.clone(),
                        api_requests_per_second: entry.api_requests_per_second,
                    };
                    let tenant = Arc::new(tenant);
                    for key in &entry.api_keys {
                        registry.add_key(key, &tenant, master, &mut shared);
                    }
                    registry.tenants.insert(entry.id.clone(), tenant);
                }
                Entry::Channel(entry) => channels.push((entry.claim(revision), entry)),
                Entry::Endpoint(entry) => endpoints.push((revision, entry)),
            }
        }
        // The last claim of a number wins.
        let mut holders: HashMap<&str, u64> = HashMap::new();
        for (claim, entry) in &channels {
            if let Some(number) = &entry.phone_number_id
                && registry.tenants.contains_key(&entry.tenant)
            {
                let holder = holders.entry(number).or_default();
                *holder = (*holder).max(*claim);
            }
        }
        for (claim, entry) in channels {
            let number = entry.phone_number_id.as_deref();
            let lost = number.and_then(|number| holders.get(number)).is_some_and(|holder| *holder > claim);
            registry.add_channel(entry, claim, lost, master);
        }
        for (revision, entry) in endpoints {
            registry.add_endpoint(entry, revision, master);
        }
        // Nobody could say whose request it is.
        registry.keys.retain(|digest, _| !shared.contains(digest));
        registry
    }

    /// The same, knowing of these endpoints alone that the bucket holds something.
    pub(crate) fn with_unreadable_endpoints(mut self, ids: impl Iterator<Item = EndpointId>) -> Self {
        self.unreadable_endpoints = ids.collect();
        self
    }

    fn add_key(
        &mut self,
        entry: &ApiKeyEntry,
        tenant: &Arc<Tenant>,
        master: Option<&MasterKey>,
        shared: &mut HashSet<String>,
    ) {
        let place = format!("tenant.{}/api_keys", tenant.id);
        let Some(digest) = self.keep(entry.secret.digest(&place, master)) else { return };
        let key = Key {
            tenant: Arc::clone(tenant),
            id: digest.chars().take(12).collect(),
            name: entry.name.clone(),
            scopes: if entry.scopes.is_empty() { Scope::ALL.to_vec() } else { entry.scopes.clone() },
            expires: entry.expires,
        };
        if let Some(other) = self.keys.insert(digest.clone(), Arc::new(key))
            && other.tenant.id != tenant.id
        {
            self.problems
                .push(format!("{place}: tenant.{} has the same key: it opens neither", other.tenant.id));
            shared.insert(digest);
        }
    }

    fn add_endpoint(&mut self, entry: &EndpointEntry, revision: u64, master: Option<&MasterKey>) {
        let Some(tenant) = self.tenants.get(&entry.tenant).cloned() else {
            self.problems
                .push(format!("endpoint.{}: its tenant {} is not registered", entry.id, entry.tenant));
            return;
        };
        let resolve = |field: &str, secret: &Secret| {
            let place = format!("endpoint.{}/{field}", entry.id);
            secret.resolve(&place, master).map_err(|problem| problem.to_string())
        };
        let endpoint = Endpoint::new(entry, revision, tenant, resolve);
        self.problems.extend(endpoint.problem.clone());
        self.endpoints.insert(entry.id.clone(), Arc::new(endpoint));
    }

    fn add_channel(
        &mut self,
        entry: &ChannelEntry,
        revision: u64,
        number_lost: bool,
        master: Option<&MasterKey>,
    ) {
        let Some(tenant) = self.tenants.get(&entry.tenant).cloned() else {
            self.problems
                .push(format!("channel.{}: its tenant {} is not registered", entry.id, entry.tenant));
            return;
        };
        let token = entry.access_token.as_ref();
        let place = format!("channel.{}/access_token", entry.id);
        let access_token = token.and_then(|token| self.keep(token.resolve(&place, master)));
        if let Some(number) = &entry.phone_number_id
            && !number_lost
        {
            self.numbers.insert(number.clone(), entry.id.clone());
        }
        let channel = Channel {
            id: entry.id.clone(),
            tenant,
            provider: entry.provider,
            phone_number_id: entry.phone_number_id.clone(),
            waba_id: entry.waba_id.clone(),
            display_phone_number: entry.display_phone_number.clone(),
            access_token,
            rate: entry.rate,
            app: entry.app.clone(),
            window_templates: entry.window_templates.clone(),
            revision,
            number_lost,
        };
        self.channels.insert(entry.id.clone(), Arc::new(channel));
    }

    fn keep<T>(&mut self, resolved: Result<T, crate::SecretError>) -> Option<T> {
        resolved.map_err(|problem| self.problems.push(problem.to_string())).ok()
    }

    /// All apps, in no order.
    pub fn apps(&self) -> impl Iterator<Item = &Arc<App>> {
        self.apps.values()
    }

    /// The app of that id.
    pub fn app(&self, id: &AppId) -> Option<&Arc<App>> {
        self.apps.get(id)
    }

    /// All tenants, in no order.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.tenants.values()
    }

    /// The tenant of that id.
    pub fn tenant(&self, id: &TenantId) -> Option<&Arc<Tenant>> {
        self.tenants.get(id)
    }

    /// The channel of that id.
    pub fn channel(&self, id: &ChannelId) -> Option<&Arc<Channel>> {
        self.channels.get(id)
    }

    /// All channels, in no order.
    pub fn channels(&self) -> impl Iterator<Item = &Arc<Channel>> {
        self.channels.values()
    }

    /// The channel that owns Meta's number of that id.
    pub fn channel_of_number(&self, phone_number_id: &str) -> Option<&Arc<Channel>> {
        self.channels.get(self.numbers.get(phone_number_id)?)
    }

    /// All endpoints, in no order.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.endpoints.values()
    }

    /// The endpoint of that id.
    pub fn endpoint(&self, id: &EndpointId) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(id)
    }

    /// Endpoints whose entries this version can't read: they are not among the others, and not gone either.
    pub fn unreadable_endpoints(&self) -> impl Iterator<Item = &EndpointId> {
        self.unreadable_endpoints.iter()
    }

    /// The tenants' API keys.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.values()
    }

    /// The API key that somebody shows, if it is known. Whether its time is over is for the caller to see.
    pub fn key(&self, shown: &str) -> Option<&Arc<Key>> {
        self.keys.get(&key_digest(shown))
    }

    /// The revision of the youngest entry.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What could not be resolved, as texts without secrets.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}
