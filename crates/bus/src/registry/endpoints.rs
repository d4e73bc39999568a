//! Endpoints: where a tenant wants its events.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use staffetta_domain::{ChannelId, EndpointId, Event, EventType, TenantId};

use super::entry::Secrets;
use super::newer::Fields;
use super::snapshot::Tenant;
use crate::secret::Secret;

/// Where a tenant wants its events, as files and the bucket hold it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointEntry {
    /// Its id.
    pub id: EndpointId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Of which kind it is.
    pub kind: EndpointKind,
    /// Whether anything is delivered. What happens meanwhile is delivered later, as far as EVENTS still holds it.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
    /// Only events of these channels; of all if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<ChannelId>,
    /// Only events of these types, with or without `staffetta.`, `*` at the end for all that begin so; all if none is
    /// named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// `webhook`: where events are posted.
    #[serde(default, alias = "ws_webhook_url", skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// `webhook`: how an event is written; CloudEvents unless it says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<EndpointFormat>,
    /// `webhook`: signs what is delivered; all of them sign while one replaces another.
    #[serde(default, skip_serializing_if = "Secrets::is_empty")]
    pub secret: Secrets,
    /// `webhook`, `form`: the field `ticket`, by which the web service knows us.
    #[serde(default, alias = "ws_webhook_ticket", skip_serializing_if = "Option::is_none")]
    pub ticket: Option<Secret>,
    /// `webhook`, `form`: the field `context_string`.
    #[serde(default, alias = "ws_webhook_context_string", skip_serializing_if = "Option::is_none")]
    pub context_string: Option<String>,
    /// `spool`: the folder.
    #[serde(default, alias = "check_file_path", skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// `spool`: how often the folder is looked at for commands, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_interval: Option<u64>,
    /// `spool`: the channel of commands that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelId>,
    /// What a newer version wrote into it.
    #[serde(skip)]
    pub(super) unknown: Fields,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_yes(value: &bool) -> bool {
    *value
}

/// Of which kind an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointKind {
    /// Events are posted to a URL.
    Webhook,
    /// Events are files in a folder, and so are commands.
    Spool,
    /// The tenant reads EVENTS itself; a durable consumer keeps its place.
    Nats,
}

/// How an event is written for a webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointFormat {
    /// CloudEvents in structured JSON, with a Standard Webhooks signature.
    #[default]
    #[serde(rename = "cloudevents")]
    CloudEvents,
    /// Meta's own envelope, signed as Meta signs.
    CloudApi,
    /// Form fields, with a ticket and a context string.
    Form,
}

/// Bounds of `check_interval`, in milliseconds.
const CHECK_INTERVAL: std::ops::RangeInclusive<u64> = 100..=3_600_000;
const DEFAULT_CHECK_INTERVAL: u64 = 1_000;

impl EndpointEntry {
    /// What is wrong with it, apart from what it refers to: the key, and a text that names it.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        let foreign = |keys: &[(&'static str, bool)], kind: &str| {
            let (key, _) = keys.iter().find(|(_, there)| *there)?;
            Some((*key, format!("{key} does not belong to an endpoint of kind {kind}")))
        };
        let wrong = |key: &'static str, problem: &str| Some((key, format!("{key} {problem}")));
        let webhook = [
            ("url", self.url.is_some()),
            ("format", self.format.is_some()),
            ("secret", !self.secret.is_empty()),
            ("ticket", self.ticket.is_some()),
            ("context_string", self.context_string.is_some()),
        ];
        let spool = [
            ("path", self.path.is_some()),
            ("check_interval", self.check_interval.is_some()),
            ("channel", self.channel.is_some()),
        ];
        match self.kind {
            EndpointKind::Webhook => {
                if let Some(problem) = foreign(&spool, "webhook") {
                    return Some(problem);
                }
                match self.url.as_deref() {
                    None => return wrong("url", "is missing"),
                    Some(url) if !(url.starts_with("https://") || url.starts_with("http://")) => {
                        return wrong("url", "must begin with https:// or http://");
                    }
                    Some(_) => {}
                }
                if self.format != Some(EndpointFormat::Form) {
                    foreign(&webhook[3..], "webhook that is not of format form")
                } else {
                    None
                }
            }
            EndpointKind::Spool => {
                if let Some(problem) = foreign(&webhook, "spool") {
                    return Some(problem);
                }
                match &self.path {
                    None => return wrong("path", "is missing"),
                    Some(path) if !is_plain(path) => {
                        return wrong("path", "must be absolute, without . and ..");
                    }
                    Some(_) => {}
                }
                let interval = self.check_interval.unwrap_or(DEFAULT_CHECK_INTERVAL);
                let (least, most) = (CHECK_INTERVAL.start(), CHECK_INTERVAL.end());
                match CHECK_INTERVAL.contains(&interval) {
                    true => None,
                    false => wrong("check_interval", &format!("must be {least} to {most} milliseconds")),
                }
            }
            EndpointKind::Nats => foreign(&webhook, "nats").or_else(|| foreign(&spool, "nats")),
        }
    }
}

/// Whether it is one way to say where a folder is, and no other leads there.
fn is_plain(path: &Path) -> bool {
    // Its components leave `.` out.
    let plain: PathBuf = path.components().collect();
    path.is_absolute()
        && plain.as_os_str().len() == path.as_os_str().to_string_lossy().trim_end_matches('/').len().max(1)
        && !path.components().any(|part| part == Component::ParentDir)
}

/// An endpoint, its secrets at hand.
#[derive(Debug)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Whose it is.
    pub tenant: Arc<Tenant>,
    /// The revision of its entry: it changes whenever the entry does.
    pub revision: u64,
    /// Whether anything is delivered.
    pub enabled: bool,
    /// Only events of these channels; of all if empty.
    pub channels: Vec<ChannelId>,
    /// Only events of these types; of all if empty.
    pub types: Vec<String>,
    /// Where its events go.
    pub target: Target,
    /// Why nothing can be delivered, without secrets: one of its secrets can't be had.
    pub problem: Option<String>,
}

/// Where an endpoint's events go.
#[derive(Debug)]
pub enum Target {
    /// To a URL.
    Webhook(Webhook),
    /// Into a folder.
    Spool(Spool),
    /// The tenant fetches them.
    Nats,
}

/// A URL that events are posted to.
#[derive(Debug)]
pub struct Webhook {
    /// Where.
    pub url: String,
    /// How an event is written.
    pub format: EndpointFormat,
    /// Each of them signs.
    pub secrets: Vec<SecretString>,
    /// `form`: by which the web service knows us.
    pub ticket: Option<SecretString>,
    /// `form`: the field `context_string`.
    pub context_string: Option<String>,
}

/// A folder for events and commands.
#[derive(Debug)]
pub struct Spool {
    /// The folder.
    pub path: PathBuf,
    /// How often it is looked at for commands.
    pub check_interval: Duration,
    /// The channel of commands that name none.
    pub channel: Option<ChannelId>,
}

impl Endpoint {
    /// The entry with its secrets, and why one of them can't be had.
    pub(super) fn new(
        entry: &EndpointEntry,
        revision: u64,
        tenant: Arc<Tenant>,
        mut resolve: impl FnMut(&str, &Secret) -> Result<SecretString, String>,
    ) -> Self {
        let mut problem = entry.problem().map(|(_, problem)| problem);
        let mut have = |field: &str, secret: &Secret| match resolve(field, secret) {
            Ok(secret) => Some(secret),
            Err(why) => {
                problem = Some(why);
                None
            }
        };
        let target = match entry.kind {
            EndpointKind::Webhook => Target::Webhook(Webhook {
                url: entry.url.clone().unwrap_or_default(),
                format: entry.format.unwrap_or_default(),
                secrets: entry.secret.0.iter().filter_map(|secret| have("secret", secret)).collect(),
                ticket: entry.ticket.as_ref().and_then(|ticket| have("ticket", ticket)),
                context_string: entry.context_string.clone(),
            }),
            EndpointKind::Spool => Target::Spool(Spool {
                path: entry.path.clone().unwrap_or_default(),
                check_interval: Duration::from_millis(entry.check_interval.unwrap_or(DEFAULT_CHECK_INTERVAL)),
                channel: entry.channel.clone(),
            }),
            EndpointKind::Nats => Target::Nats,
        };
        Self {
            id: entry.id.clone(),
            tenant,
            revision,
            enabled: entry.enabled,
            channels: entry.channels.clone(),
            types: entry.types.clone(),
            target,
            problem,
        }
    }

    /// Whether the event is one that its tenant wants here. Another tenant's never is.
    pub fn wants(&self, event: &Event) -> bool {
        event.tenant == self.tenant.id
            && (self.channels.is_empty() || self.channels.contains(&event.channel))
            && self.wants_type(event.kind)
    }

    /// Whether events of that type are wanted here, if they are of the right channel.
    pub fn wants_type(&self, kind: EventType) -> bool {
        self.types.is_empty() || self.types.iter().any(|wanted| is_of(kind.as_str(), wanted))
    }
}

/// Whether a type's name is, or begins as, a filter says.
pub(super) fn is_of(name: &str, wanted: &str) -> bool {
    let short = name.strip_prefix("staffetta.").unwrap_or(name);
    let wanted = wanted.strip_prefix("staffetta.").unwrap_or(wanted);
    match wanted.strip_suffix('*') {
        Some(beginning) => short.starts_with(beginning),
        None => short == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(toml: &str) -> Option<String> {
        let entry: EndpointEntry = toml::from_str(&format!("id = \"e\"\ntenant = \"acme\"\n{toml}")).unwrap();
        entry.problem().map(|(_, problem)| problem)
    }

    #[test]
    fn an_endpoint_has_what_its_kind_needs_and_nothing_else() {
        for fine in [
            "kind = \"webhook\"\nurl = \"https://erp.example/hooks\"\nformat = \"cloudevents\"\nsecret = \"s\"",
            "kind = \"webhook\"\nws_webhook_url = \"https://a.example\"\nformat = \"form\"\nws_webhook_ticket = \"t\"",
            "kind = \"spool\"\ncheck_file_path = \"/spool/acme\"\ncheck_interval = 5000",
            "kind = \"spool\"\npath = \"/spool/acme/\"",
            "kind = \"nats\"\ntypes = [\"message.*\"]",
        ] {
            assert_eq!(problem(fine), None, "{fine}");
        }
        for (wrong, word) in [
            ("kind = \"webhook\"", "url"),
            ("kind = \"webhook\"\nurl = \"ftp://a.example\"", "url"),
            ("kind = \"webhook\"\nurl = \"https://a.example\"\npath = \"/a\"", "path"),
            ("kind = \"webhook\"\nurl = \"https://a.example\"\nticket = \"t\"", "ticket"),
            ("kind = \"spool\"", "path"),
            ("kind = \"spool\"\npath = \"a\"", "path"),
            ("kind = \"spool\"\npath = \"/a/../b\"", "path"),
            ("kind = \"spool\"\npath = \"/a/./b\"", "path"),
            ("kind = \"spool\"\npath = \"/a//b\"", "path"),
            ("kind = \"spool\"\npath = \"/a\"\ncheck_interval = 1", "check_interval"),
            ("kind = \"nats\"\nurl = \"https://a.example\"", "url"),
        ] {
            assert!(problem(wrong).is_some_and(|problem| problem.contains(word)), "{wrong}");
        }
    }

    #[test]
    fn filters_name_types_with_or_without_their_beginning() {
        assert!(is_of("staffetta.message.received", "staffetta.message.received"));
        assert!(is_of("staffetta.message.received", "message.received"));
        assert!(is_of("staffetta.message.received", "message.*"));
        assert!(is_of("staffetta.message.received", "*"));
        assert!(!is_of("staffetta.message.received", "message"));
        assert!(!is_of("staffetta.message.received", "command.*"));
    }
}
