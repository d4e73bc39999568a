//! What stands around the services: NATS, the database, the providers.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

use super::Listen;

/// The message bus.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsConfig {
    /// Servers, separated by commas. `staffetta up` starts a server of its own where none is given.
    pub url: Option<String>,
    /// Where a server that `staffetta up` starts listens.
    pub listen: Listen,
    /// The `nats-server` program, 2.15 or newer, for `staffetta up`.
    pub server: PathBuf,
    /// Copies of each stream.
    pub replicas: u8,
    /// Most bytes that WEBHOOKS may hold; beyond, the provider gets 503. The NATS server must have room for it.
    pub webhooks_max_bytes: i64,
    /// Most commands that one lane of one channel may hold; beyond, publishing is refused.
    pub lane_max_commands: i64,
    /// The user that services connect as, where the server asks who they are.
    pub user: Option<String>,
    /// That user's password.
    pub password: Option<SecretString>,
    /// The authorities (PEM) that may vouch for the servers, in place of the system's own. With it every connection is
    /// encrypted.
    pub ca_file: Option<PathBuf>,
    /// The certificate (PEM) that services show, where the server asks for one.
    pub certificate_file: Option<PathBuf>,
    /// The private key (PEM) of that certificate.
    pub key_file: Option<PathBuf>,
    /// Tenants that connect to NATS themselves.
    pub callout: CalloutConfig,
}

/// Tenants that connect to NATS themselves: the server asks the service `api` who they are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CalloutConfig {
    /// The seed (`SA…`) of the account key whose public part is the server's `auth_callout.issuer`. Without it tenants can't
    /// connect.
    pub issuer_seed: Option<SecretString>,
    /// The seed (`SX…`) of the curve key whose public part is the server's `auth_callout.xkey`.
    pub xkey_seed: Option<SecretString>,
    /// The account that tenants are put into.
    pub account: String,
}

impl Default for CalloutConfig {
    fn default() -> Self {
        Self { issuer_seed: None, xkey_seed: None, account: "TENANTS".into() }
    }
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            url: None,
            listen: Listen::local(4222),
            server: "nats-server".into(),
            replicas: 1,
            webhooks_max_bytes: 1 << 30,
            lane_max_commands: 1_000_000,
            user: None,
            password: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            callout: CalloutConfig::default(),
        }
    }
}

/// The database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// `sqlite:<path>` or `postgres://…`; SQLite in the data folder where none is given.
    pub url: Option<SecretString>,
    /// Most connections of one process (PostgreSQL).
    pub max_connections: u32,
    /// Longest wait for one answer, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self { url: None, max_connections: 8, timeout_ms: 10_000 }
    }
}

/// `/metrics`, `/livez`, `/readyz`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Where they are served.
    pub listen: Listen,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: Listen::everywhere(9090) }
    }
}

/// Logs, and what is sent to an OpenTelemetry collector.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// The collector that takes OTLP over HTTP, as `http://collector:4318`; `OTEL_EXPORTER_OTLP_ENDPOINT` if it is not
    /// set. Without either nothing is sent.
    pub otlp_endpoint: Option<String>,
    /// The share of new traces that is recorded, 0 to 1. A trace that somebody else began is recorded if they do.
    pub trace_ratio: f64,
    /// How logs are written; text on a terminal and JSON elsewhere if it is not set.
    pub logs: Option<LogFormat>,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { otlp_endpoint: None, trace_ratio: 1.0, logs: None }
    }
}

/// The Cloud API.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GraphConfig {
    /// Scheme and host, and a path if there is one.
    pub base_url: String,
    /// The version that stands in each path.
    pub version: String,
}

impl Default for GraphConfig {
    fn default() -> Self {
        Self { base_url: "https://graph.facebook.com".into(), version: "v24.0".into() }
    }
}

/// Twilio.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TwilioConfig {
    /// Scheme and host.
    pub base_url: String,
}

impl Default for TwilioConfig {
    fn default() -> Self {
        Self { base_url: "https://api.twilio.com".into() }
    }
}

/// The media store.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MediaConfig {
    /// `file:<folder>`, `s3://…`
    pub url: Option<String>,
}
