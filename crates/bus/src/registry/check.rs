//! Whether entries fit together: every reference leads somewhere, and nothing is claimed twice.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use staffetta_domain::{ChannelId, EventType, TenantId};

use super::endpoints::{EndpointEntry, is_of};
use super::entry::{AppEntry, ChannelEntry, Entry, RETENTION_DAYS, TenantEntry};
use crate::secret::Secret;

/// What is wrong with an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) entry: String,
    /// The key that is wrong, if it is one.
    pub(super) key: Option<&'static str>,
    /// Names the key.
    pub(super) text: String,
    /// The other entry that it clashes with.
    pub(super) other: Option<String>,
}

/// The entries that are to be written, and all that there will be then.
pub(super) struct Check<'a> {
    wanted: &'a BTreeMap<String, Entry>,
    all: BTreeMap<&'a str, &'a Entry>,
}

impl<'a> Check<'a> {
    /// `others` are the entries that stay as they are; those that are wanted in another form count as that.
    pub(super) fn new(
        wanted: &'a BTreeMap<String, Entry>,
        others: impl Iterator<Item = (&'a str, &'a Entry)>,
    ) -> Self {
        let mut all: BTreeMap<&str, &Entry> = others.collect();
        all.extend(wanted.iter().map(|(key, entry)| (key.as_str(), entry)));
        Self { wanted, all }
    }

    /// The first thing that is wrong, in the order of the keys.
    pub(super) fn run(&self) -> Result<(), Problem> {
        self.numbers()?;
        self.api_keys()?;
        self.folders()?;
        for (key, entry) in self.wanted {
            let one = One { check: self, entry: key };
            match entry {
                Entry::App(app) => one.is_app(app)?,
                Entry::Tenant(tenant) => one.is_tenant(tenant)?,
                Entry::Channel(channel) => one.is_channel(channel)?,
                Entry::Endpoint(endpoint) => one.is_endpoint(endpoint)?,
            }
        }
        Ok(())
    }

    /// Among what is written at once, a number is claimed once. One that is stored may be taken over.
    fn numbers(&self) -> Result<(), Problem> {
        let mut claimed: HashMap<&str, &str> = HashMap::new();
        for (key, entry) in self.wanted {
            if let Entry::Channel(ChannelEntry { phone_number_id: Some(number), .. }) = entry
                && let Some(other) = claimed.insert(number, key)
            {
                return Err(clash(key, "phone_number_id", other, "has the same phone_number_id"));
            }
        }
        Ok(())
    }

    /// Nobody could say whose request it is.
    fn api_keys(&self) -> Result<(), Problem> {
        let mut owners: HashMap<String, &str> = HashMap::new();
        let tenants = |wanted: bool| {
            self.all.iter().filter_map(move |(key, entry)| match entry {
                Entry::Tenant(tenant) if self.wanted.contains_key(*key) == wanted => Some((*key, tenant)),
                _ => None,
            })
        };
        for (key, tenant) in tenants(false).chain(tenants(true)) {
            for api_key in &tenant.api_keys {
                let Ok(Secret::Digest { sha256 }) = api_key.secret.as_digest(key, None) else { continue };
                if let Some(other) = owners.insert(sha256, key)
                    && other != key
                    && self.wanted.contains_key(key)
                {
                    return Err(clash(key, "api_keys", other, "has the same key in api_keys"));
                }
            }
        }
        Ok(())
    }

    /// A spool folder is one endpoint's: another one in it would read the first one's events.
    fn folders(&self) -> Result<(), Problem> {
        let mut folders: BTreeMap<&Path, &str> = BTreeMap::new();
        for (key, entry) in &self.all {
            let Entry::Endpoint(EndpointEntry { path: Some(path), .. }) = entry else { continue };
            if let Some(other) = folders.insert(path, key) {
                self.folder_clash(key, other)?;
            }
        }
        for (path, key) in &folders {
            let around = path.ancestors().skip(1).find_map(|above| folders.get(above));
            if let Some(other) = around {
                self.folder_clash(key, other)?;
            }
        }
        Ok(())
    }

    /// What is stored already is not the fault of what is wanted now.
    fn folder_clash(&self, key: &str, other: &str) -> Result<(), Problem> {
        let (key, other) = match (self.wanted.contains_key(key), self.wanted.contains_key(other)) {
            (true, _) => (key, other),
            (false, true) => (other, key),
            (false, false) => return Ok(()),
        };
        Err(clash(key, "path", other, "has its path at the same place, in it or around it"))
    }
}

fn clash(entry: &str, key: &'static str, other: &str, problem: &str) -> Problem {
    let text = format!("{other} {problem}");
    Problem { entry: entry.to_owned(), key: Some(key), text, other: Some(other.to_owned()) }
}

/// One entry that is checked.
struct One<'a> {
    check: &'a Check<'a>,
    entry: &'a str,
}

impl One<'_> {
    fn wrong(&self, key: &'static str, text: String) -> Result<(), Problem> {
        Err(Problem { entry: self.entry.to_owned(), key: Some(key), text, other: None })
    }

    fn tenant(&self, tenant: &TenantId) -> Result<(), Problem> {
        match self.check.all.contains_key(format!("tenant.{tenant}").as_str()) {
            true => Ok(()),
            false => self.wrong("tenant", format!("its tenant {tenant} is not registered")),
        }
    }

    fn is_app(&self, app: &AppEntry) -> Result<(), Problem> {
        app.tenant.as_ref().map_or(Ok(()), |tenant| self.tenant(tenant))
    }

    fn is_tenant(&self, tenant: &TenantEntry) -> Result<(), Problem> {
        if !RETENTION_DAYS.contains(&tenant.retention_days) {
            let (least, most) = (RETENTION_DAYS.start(), RETENTION_DAYS.end());
            return self.wrong(
                "retention_days",
                format!(
                    "retention_days must be {least} to {most}: webhooks are repeated for 7 days, and must be known then"
                ),
            );
        }
        if tenant.api_requests_per_second == Some(0) {
            return self
                .wrong("api_requests_per_second", "api_requests_per_second must be at least 1".into());
        }
        Ok(())
    }

    fn is_channel(&self, channel: &ChannelEntry) -> Result<(), Problem> {
        self.tenant(&channel.tenant)?;
        if let Some(app) = &channel.app {
            match self.check.all.get(format!("app.{app}").as_str()) {
                Some(Entry::App(found))
                    if found.tenant.as_ref().is_none_or(|owner| *owner == channel.tenant) => {}
                Some(_) => return self.wrong("app", format!("its app {app} is another tenant's")),
                None => return self.wrong("app", format!("its app {app} is not registered")),
            }
        }
        if channel.rate == 0 {
            return self.wrong("rate", "rate must be at least 1".into());
        }
        let unknown =
            channel.window_templates.keys().find(|kind| !matches!(kind.as_str(), "text" | "document"));
        if let Some(kind) = unknown {
            let text = format!("window_templates has no use for {kind}: it holds text and document");
            return self.wrong("window_templates", text);
        }
        Ok(())
    }

    fn is_endpoint(&self, endpoint: &EndpointEntry) -> Result<(), Problem> {
        self.tenant(&endpoint.tenant)?;
        if let Some((key, problem)) = endpoint.problem() {
            return self.wrong(key, problem);
        }
        for id in &endpoint.channels {
            self.own_channel("channels", id, &endpoint.tenant)?;
        }
        if let Some(id) = &endpoint.channel {
            self.own_channel("channel", id, &endpoint.tenant)?;
        }
        let is_known = |wanted: &&String| EventType::ALL.iter().any(|kind| is_of(kind.as_str(), wanted));
        if let Some(unknown) = endpoint.types.iter().find(|wanted| !is_known(wanted)) {
            return self.wrong("types", format!("types: there is no event of type {unknown}"));
        }
        Ok(())
    }

    fn own_channel(&self, key: &'static str, id: &ChannelId, tenant: &TenantId) -> Result<(), Problem> {
        match self.check.all.get(format!("channel.{id}").as_str()) {
            Some(Entry::Channel(channel)) if channel.tenant == *tenant => Ok(()),
            _ => self.wrong(key, format!("{key}: its tenant has no channel {id}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::RegistryFile;
    use super::*;

    const BASE: &str =
        "tenant = [{ id = \"acme\" }, { id = \"other\" }]\napp = [{ id = \"theirs\", tenant = \"other\" }]\n";

    fn entries(text: &str) -> BTreeMap<String, Entry> {
        let file = RegistryFile::parse(text).unwrap();
        file.entries().into_iter().map(|entry| (entry.key(), entry)).collect()
    }

    fn checked(text: &str) -> Result<(), String> {
        let stored = entries(BASE);
        let wanted = entries(text);
        let others = stored.iter().map(|(key, entry)| (key.as_str(), entry));
        Check::new(&wanted, others).run().map_err(|problem| {
            assert!(problem.text.contains(problem.key.unwrap_or_default()), "{problem:?}");
            format!("{}: {}", problem.entry, problem.text)
        })
    }

    #[test]
    fn a_tenants_events_are_kept_for_as_long_as_webhooks_are_repeated() {
        for fine in ["", "retention_days = 8", "retention_days = 3650"] {
            assert_eq!(checked(&format!("[[tenant]]\nid = \"acme\"\n{fine}")), Ok(()), "{fine}");
        }
        for wrong in ["retention_days = 7", "retention_days = 3651"] {
            let error = checked(&format!("[[tenant]]\nid = \"acme\"\n{wrong}")).unwrap_err();
            assert!(
                error.contains("tenant.acme") && error.contains("retention_days must be 8 to 3650"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_does_not_fit_together_is_told() {
        let channel = |id: &str, more: &str| {
            format!("[[channel]]\nid = \"{id}\"\ntenant = \"acme\"\nprovider = \"cloud_api\"\n{more}\n")
        };
        let endpoint = |id: &str, more: &str| {
            format!("[[endpoint]]\nid = \"{id}\"\ntenant = \"acme\"\nkind = \"nats\"\n{more}\n")
        };
        let spool = |id: &str, path: &str| {
            format!("[[endpoint]]\nid = \"{id}\"\ntenant = \"acme\"\nkind = \"spool\"\npath = \"{path}\"\n")
        };
        let key = "api_keys = [\"a long random key\"]\n";
        for (text, problem) in [
            (channel("a", "").replace("acme", "nobody"), "channel.a: its tenant nobody"),
            (channel("a", "app = \"none\""), "channel.a: its app none is not registered"),
            (channel("a", "app = \"theirs\""), "channel.a: its app theirs is another tenant's"),
            (channel("a", "rate = 0"), "channel.a: rate must be at least 1"),
            (channel("a", "window_templates = { txt = { name = \"n\", language = \"it\" } }"), "txt"),
            (
                channel("a", "phone_number_id = \"1\"") + &channel("b", "phone_number_id = \"1\""),
                "channel.b: channel.a has the same phone_number_id",
            ),
            (endpoint("e", "channels = [\"a\"]"), "endpoint.e: channels: its tenant has no channel a"),
            (
                endpoint("e", "types = [\"mesage.*\"]"),
                "endpoint.e: types: there is no event of type mesage.*",
            ),
            (spool("e", "/spool/a") + &spool("f", "/spool/a"), "endpoint.f: endpoint.e has its path"),
            (spool("e", "/spool/a/b") + &spool("f", "/spool/a"), "endpoint.e: endpoint.f has its path"),
            (
                format!("[[tenant]]\nid = \"a\"\n{key}[[tenant]]\nid = \"b\"\n{key}"),
                "tenant.b: tenant.a has the same key in api_keys",
            ),
        ] {
            let error = checked(&text).unwrap_err();
            assert!(error.contains(problem), "{text}{error}");
        }
        let fine = channel("a", "phone_number_id = \"1\"")
            + &endpoint(
                "e",
                "channels = [\"a\"]\ntypes = [\"message.*\", \"staffetta.command.failed\", \"*\"]",
            )
            + &spool("f", "/spool/a")
            + &spool("g", "/spool/ab");
        assert_eq!(checked(&fine), Ok(()));
    }
}
