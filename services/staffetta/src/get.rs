//! `staffetta get`: what the registry holds.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::bail;
use clap::{Args, ValueEnum};
use serde_json::json;
use staffetta_bus::{Entry, RegistryStore, to_toml};
use staffetta_runtime::Config;

use crate::parts::master_key;
use crate::run::connect;
use crate::terminal::{columns, is_broken_pipe};

/// What to show, and how.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A kind (app, tenant, channel, endpoint), or one entry of it, as channel/acme-orders; everything if not given.
    #[arg(value_name = "KIND[/ID]")]
    what: Option<Selection>,
    /// How it is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Output {
    /// One line an entry.
    #[default]
    Table,
    /// Entries with their revisions; of secrets only where they come from.
    Json,
    /// A registry file, secrets as they are stored: sealed, digested, or as names.
    Toml,
}

/// Which entries.
#[derive(Clone, Debug)]
struct Selection {
    kind: &'static str,
    id: Option<String>,
}

impl FromStr for Selection {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, id) = match text.split_once(['/', '.']) {
            Some((kind, id)) => (kind, Some(id.to_owned())),
            None => (text, None),
        };
        let kind = match kind {
            "app" | "apps" => "app",
            "tenant" | "tenants" => "tenant",
            "channel" | "channels" => "channel",
            "endpoint" | "endpoints" => "endpoint",
            _ => return Err("the kinds are app, tenant, channel and endpoint"),
        };
        Ok(Self { kind, id })
    }
}

/// Prints the entries that were asked for. Fails with 1 where the one that was named is not there.
pub(crate) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<ExitCode> {
    let bus = connect(config, "staffetta get").await?;
    let store = RegistryStore::open(&bus, master_key(config)).await?;
    let text = match arguments.what {
        Some(Selection { kind, id: Some(id) }) => {
            let key = format!("{kind}.{id}");
            let Some(entry) = store.entry(&key).await? else { bail!("{key} is not registered") };
            match arguments.output {
                Output::Json => format!("{:#}\n", json(&entry)),
                output => written(&[entry], output),
            }
        }
        selection => {
            let mut entries = store.entries().await?;
            if let Some(Selection { kind, .. }) = selection {
                entries.retain(|(_, entry)| entry.key().split('.').next() == Some(kind));
            }
            written(&entries, arguments.output)
        }
    };
    match io::stdout().lock().write_all(text.as_bytes()).map_err(Into::into) {
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        outcome => outcome.map(|()| ExitCode::SUCCESS),
    }
}

fn written(entries: &[(u64, Entry)], output: Output) -> String {
    match output {
        Output::Table => table(entries),
        Output::Json => {
            let entries: Vec<_> = entries.iter().map(json).collect();
            format!("{:#}\n", serde_json::Value::from(entries))
        }
        Output::Toml => to_toml(entries.iter().map(|(_, entry)| entry)),
    }
}

fn json((revision, entry): &(u64, Entry)) -> serde_json::Value {
    json!({ "key": entry.key(), "revision": revision, "entry": entry.shown() })
}

fn table(entries: &[(u64, Entry)]) -> String {
    let mut rows = vec![["ENTRY", "TENANT", "REVISION", "WHAT IT IS"].map(str::to_owned)];
    rows.extend(entries.iter().map(|(revision, entry)| {
        let tenant = match entry {
            Entry::Tenant(_) => String::new(),
            other => other.tenant().map(ToString::to_string).unwrap_or_default(),
        };
        [entry.key(), tenant, revision.to_string(), what_it_is(entry)]
    }));
    columns(&rows)
}

fn what_it_is(entry: &Entry) -> String {
    let name = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    match entry {
        Entry::App(app) => counted(app.app_secret.0.len(), "secret"),
        Entry::Tenant(tenant) => {
            let keys = counted(tenant.api_keys.len(), "key");
            if tenant.name.is_empty() { keys } else { format!("{}, {keys}", tenant.name) }
        }
        Entry::Channel(channel) => {
            let provider = name(json!(channel.provider));
            let number = channel.display_phone_number.as_ref().or(channel.phone_number_id.as_ref());
            let number = number.map(|number| format!(", {number}")).unwrap_or_default();
            format!("{provider}{number}, {} a second", channel.rate)
        }
        Entry::Endpoint(endpoint) => {
            let kind = name(json!(endpoint.kind));
            let path = endpoint.path.as_ref().map(|path| path.display().to_string());
            let target =
                endpoint.url.clone().or(path).map(|target| format!(", {target}")).unwrap_or_default();
            let off = if endpoint.enabled { "" } else { ", off" };
            format!("{kind}{target}{off}")
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
