//! What the configuration says, as far as it can be judged by itself.

use std::env;
use std::path::Path;

use super::finding::{Area, Finding, Notes};
use super::patient::Patient;
use crate::run;

pub(super) fn examine(patient: &Patient<'_>, file: Option<&Path>) -> Vec<Finding> {
    let config = patient.config;
    let mut notes = Notes::of(Area::Configuration);
    // Names alone: values may be secrets, and need not be text.
    let variables =
        env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STAFFETTA__")).count();
    let from = file.map_or_else(|| "no file".to_owned(), |file| file.display().to_string());
    notes.ok(
        "configuration.read",
        None,
        format!("{from}, {variables} STAFFETTA__ variables; every key is known"),
    );
    if config.master_key.is_some() {
        let seen = match config.previous_master_key {
            Some(_) => "set, and the one before it too",
            None => "set",
        };
        notes.ok("configuration.master-key", None, seen);
    } else {
        notes.warning(
            "configuration.master-key",
            None,
            "not set: secrets that are sealed in the registry can't be opened, and literal ones not be stored",
            "Set master_key (32 random bytes as hex, as `openssl rand -hex 32` prints them) to the same value in every \
             process, or keep all secrets as { env = … } or { file = … }.",
        );
    }
    if config.api.admin_key.is_none() {
        notes.note(
            "configuration.admin-key",
            None,
            "api.admin_key is not set: nobody gets into /admin/v1",
            "Set it where operators should see channels, endpoints and tenants over HTTP.",
        );
    }
    storage(patient, &mut notes);
    replicas(patient, &mut notes);
    notes.end()
}

fn storage(patient: &Patient<'_>, notes: &mut Notes) {
    use secrecy::ExposeSecret;
    let is_file = patient.config.database_url().expose_secret().starts_with("sqlite:");
    if is_file && patient.config.nats.url.is_some() {
        notes.note(
            "configuration.storage",
            None,
            "SQLite with a NATS server of its own address: all processes must run on this one machine",
            "Set database.url to a postgres:// address where services run on several machines.",
        );
    } else {
        notes.ok("configuration.storage", None, if is_file { "SQLite" } else { "PostgreSQL" });
    }
}

fn replicas(patient: &Patient<'_>, notes: &mut Notes) {
    let nats = &patient.config.nats;
    let servers = run::servers(patient.config).len();
    match nats.replicas {
        1 if servers > 1 => notes.warning(
            "configuration.replicas",
            None,
            format!("nats.replicas is 1 and nats.url names {servers} servers: a lost server takes its streams with it"),
            "Set nats.replicas to 3 and run `staffetta migrate`.",
        ),
        2 | 4 => notes.warning(
            "configuration.replicas",
            None,
            format!("nats.replicas is {}: an even number bears no more losses than one less", nats.replicas),
            "Set nats.replicas to 3 (bears one lost server) or 5 (two), and run `staffetta migrate`.",
        ),
        replicas => notes.ok("configuration.replicas", None, format!("nats.replicas is {replicas}")),
    }
}
