//! What is found, and how bad it is.

use clap::ValueEnum;

/// What belongs together, in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Area {
    /// The file and the variables.
    Configuration,
    /// The server, the streams, who reads them, what ended on DEAD.
    Nats,
    /// This machine's clock against all others.
    Clocks,
    /// The database, its schema, the events that wait in it.
    Database,
    /// Apps, tenants, channels, endpoints, keys.
    Registry,
    /// Whether the Graph API can be reached.
    Provider,
    /// Tokens, numbers and subscriptions, as the provider sees them.
    Channels,
    /// Whether the provider can reach us.
    Webhooks,
    /// Where the delivery to tenants stands.
    Endpoints,
    /// Channels that have stopped sending.
    Holds,
    /// Processes that are asked directly.
    Services,
}

impl Area {
    pub(super) const ALL: [Self; 11] = [
        Self::Configuration,
        Self::Nats,
        Self::Clocks,
        Self::Database,
        Self::Registry,
        Self::Provider,
        Self::Channels,
        Self::Webhooks,
        Self::Endpoints,
        Self::Holds,
        Self::Services,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Nats => "nats",
            Self::Clocks => "clocks",
            Self::Database => "database",
            Self::Registry => "registry",
            Self::Provider => "provider",
            Self::Channels => "channels",
            Self::Webhooks => "webhooks",
            Self::Endpoints => "endpoints",
            Self::Holds => "holds",
            Self::Services => "services",
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Will be wrong, or is already for somebody.
    Warning,
    /// Wrong now, or can't be looked at.
    Error,
}

impl Level {
    pub(super) const ALL: [Self; 4] = [Self::Ok, Self::Note, Self::Warning, Self::Error];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) area: Area,
    /// Its name for programs, as `nats.stream`: one of [`CHECKS`].
    pub(super) check: &'static str,
    pub(super) level: Level,
    /// What it is about, if there are several: a stream, a channel, an app.
    pub(super) subject: Option<String>,
    /// What was seen. No secret, no phone number, no message id.
    pub(super) seen: String,
    /// What to do, unless it is well.
    pub(super) todo: Option<String>,
}

impl Finding {
    /// The page that says more.
    pub(super) fn page(&self) -> Option<&'static str> {
        let known = CHECKS.iter().find(|(check, _)| *check == self.check);
        known.map(|(_, page)| *page).filter(|_| self.level > Level::Ok)
    }
}

/// All checks, and the page to read where one finds something.
pub(super) const CHECKS: [(&str, &str); 43] = [
    ("configuration.read", "docs/configuration.md"),
    ("configuration.master-key", "docs/registry.md"),
    ("configuration.admin-key", "docs/admin-api.md"),
    ("configuration.storage", "docs/configuration.md"),
    ("configuration.replicas", "docs/configuration.md"),
    ("nats.connection", "docs/runbooks/StaffettaNatsDisconnected.md"),
    ("nats.version", "docs/doctor.md#nats"),
    ("nats.payload", "docs/doctor.md#nats"),
    ("nats.jetstream", "docs/runbooks/StaffettaStreamFull.md"),
    ("nats.stream", "docs/doctor.md#nats"),
    ("nats.setting", "docs/doctor.md#nats"),
    ("nats.copies", "docs/runbooks/StaffettaReplicasMissing.md"),
    ("nats.fill", "docs/runbooks/StaffettaStreamFull.md"),
    ("nats.webhooks-wait", "docs/runbooks/StaffettaWebhooksWait.md"),
    ("nats.commands-wait", "docs/runbooks/StaffettaCommandsWait.md"),
    ("nats.recorder", "docs/runbooks/StaffettaWebhooksWait.md"),
    ("nats.owners", "docs/runbooks/StaffettaPartsUnowned.md"),
    ("nats.dead", "docs/runbooks/StaffettaDeadLetters.md"),
    ("clocks.skew", "docs/doctor.md#clocks"),
    ("database.connection", "docs/runbooks/StaffettaDatabaseErrors.md"),
    ("database.version", "docs/doctor.md#database"),
    ("database.schema", "docs/doctor.md#database"),
    ("database.outbox", "docs/runbooks/StaffettaOutboxWait.md"),
    ("database.size", "docs/doctor.md#database"),
    ("database.connections", "docs/runbooks/StaffettaPoolExhausted.md"),
    ("registry.read", "docs/registry.md"),
    ("registry.entry", "docs/runbooks/StaffettaRegistryDiffers.md"),
    ("registry.app", "docs/runbooks/StaffettaAppWithoutSecret.md"),
    ("registry.channel", "docs/registry.md"),
    ("registry.key", "docs/runbooks/StaffettaKeyExpires.md"),
    ("provider.reach", "docs/runbooks/StaffettaSendErrors.md"),
    ("provider.certificate", "docs/doctor.md#provider"),
    ("channels.asked", "docs/doctor.md#channels"),
    ("channels.token", "docs/runbooks/StaffettaTokenExpires.md"),
    ("channels.number", "docs/runbooks/StaffettaChannelHeld.md"),
    ("channels.rate", "docs/runbooks/StaffettaThroughputRefused.md"),
    ("channels.subscription", "docs/runbooks/StaffettaNoWebhooks.md"),
    ("webhooks.reach", "docs/runbooks/StaffettaNoWebhooks.md"),
    ("webhooks.certificate", "docs/runbooks/StaffettaCertificateExpires.md"),
    ("endpoints.state", "docs/runbooks/StaffettaEndpointDisabled.md"),
    ("holds.channel", "docs/runbooks/StaffettaChannelHeld.md"),
    ("services.ready", "docs/runbooks/StaffettaNotReady.md"),
    ("services.certificate", "docs/runbooks/StaffettaCertificateExpires.md"),
];

/// Findings of one area as they are made.
#[derive(Debug)]
pub(super) struct Notes {
    area: Area,
    found: Vec<Finding>,
}

impl Notes {
    pub(super) fn of(area: Area) -> Self {
        Self { area, found: Vec::new() }
    }

    pub(super) fn end(self) -> Vec<Finding> {
        self.found
    }

    pub(super) fn ok(&mut self, check: &'static str, subject: Option<&str>, seen: impl Into<String>) {
        self.add(check, Level::Ok, subject, seen.into(), None);
    }

    pub(super) fn note(
        &mut self,
        check: &'static str,
        subject: Option<&str>,
        seen: impl Into<String>,
        todo: impl Into<String>,
    ) {
        self.add(check, Level::Note, subject, seen.into(), Some(todo.into()));
    }

    pub(super) fn warning(
        &mut self,
        check: &'static str,
        subject: Option<&str>,
        seen: impl Into<String>,
        todo: impl Into<String>,
    ) {
        self.add(check, Level::Warning, subject, seen.into(), Some(todo.into()));
    }

    pub(super) fn error(
        &mut self,
        check: &'static str,
        subject: Option<&str>,
        seen: impl Into<String>,
        todo: impl Into<String>,
    ) {
        self.add(check, Level::Error, subject, seen.into(), Some(todo.into()));
    }

    /// Something to do, as bad as it is.
    pub(super) fn at(
        &mut self,
        level: Level,
        check: &'static str,
        subject: Option<&str>,
        seen: impl Into<String>,
        todo: impl Into<String>,
    ) {
        let todo = (level > Level::Ok).then(|| todo.into());
        self.add(check, level, subject, seen.into(), todo);
    }

    fn add(
        &mut self,
        check: &'static str,
        level: Level,
        subject: Option<&str>,
        seen: String,
        todo: Option<String>,
    ) {
        let (area, subject) = (self.area, subject.map(str::to_owned));
        self.found.push(Finding { area, check, level, subject, seen, todo });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_page_lists_every_check_and_no_other() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/doctor.md");
        let text = fs::read_to_string(docs).unwrap();
        let areas = Area::ALL.map(Area::name);
        let named: BTreeSet<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
            .map(|(name, _)| name)
            .filter(|name| name.split_once('.').is_some_and(|(area, _)| areas.contains(&area)))
            .collect();
        let known: BTreeSet<&str> = CHECKS.iter().map(|(check, _)| *check).collect();
        assert_eq!(known.len(), CHECKS.len(), "a check stands twice");
        assert_eq!(named, known);
    }

    #[test]
    fn the_pages_that_are_named_are_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for (check, page) in CHECKS {
            let (file, section) = page.split_once('#').unwrap_or((page, ""));
            let text = fs::read_to_string(root.join(file)).unwrap_or_else(|_| panic!("{check}: no {file}"));
            let is_heading = |line: &str| {
                line.starts_with('#') && line.trim_start_matches(['#', ' ']).to_lowercase() == section
            };
            assert!(section.is_empty() || text.lines().any(is_heading), "{check}: no {page}");
        }
    }

    #[test]
    fn worse_is_more() {
        assert!(Level::Ok < Level::Note && Level::Note < Level::Warning && Level::Warning < Level::Error);
    }
}
