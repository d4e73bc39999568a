//! What each service can be told.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;

use super::Listen;

/// The service `ingress`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IngressConfig {
    /// Where webhooks arrive.
    pub listen: Listen,
    /// Most connections at a time.
    pub max_connections: usize,
    /// Most bytes of bodies in memory at a time.
    pub max_buffered_bytes: usize,
    /// Longest time between a webhook's arrival and its answer, in milliseconds.
    pub deadline_ms: u64,
    /// Publishes in flight at a time.
    pub publishes: usize,
    /// Where providers reach the webhooks, as `https://hooks.example.com`: `staffetta doctor` tries it, and the metrics
    /// show when its certificate ends.
    pub public_url: Option<String>,
}

impl Default for IngressConfig {
    fn default() -> Self {
        Self {
            listen: Listen::everywhere(8081),
            max_connections: 4096,
            max_buffered_bytes: 64 << 20,
            deadline_ms: 8_000,
            publishes: 4,
            public_url: None,
        }
    }
}

/// The service `recorder`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecorderConfig {
    /// Most envelopes of one batch.
    pub batch: usize,
    /// How often what tenants no longer keep is deleted, in seconds.
    pub prune_interval_seconds: u64,
}

impl Default for RecorderConfig {
    fn default() -> Self {
        Self { batch: 100, prune_interval_seconds: 3_600 }
    }
}

/// The service `dispatcher`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DispatcherConfig {
    /// Longest time for one request to the provider, in milliseconds.
    pub request_timeout_ms: u64,
    /// Most tries of one command.
    pub max_tries: u32,
    /// How long a command in doubt waits for a status that settles it, in seconds.
    pub doubt_wait_seconds: u64,
}

impl Default for DispatcherConfig {
    fn default() -> Self {
        Self { request_timeout_ms: 15_000, max_tries: 8, doubt_wait_seconds: 90 }
    }
}

/// The service `api`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiConfig {
    /// Where tenants connect.
    pub listen: Listen,
    /// Most connections at a time.
    pub max_connections: usize,
    /// What operators show at `/admin/v1`: one key, or several separated by commas while one replaces another. Without
    /// any, nobody gets in.
    pub admin_key: Option<SecretString>,
    /// Requests a second that one API key may make, unless its tenant has a limit of its own.
    pub requests_per_second: u32,
    /// Where tenants reach the API, as `https://api.example.com`; what the request names if it is not set.
    pub public_url: Option<String>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: Listen::everywhere(8080),
            max_connections: 4096,
            admin_key: None,
            requests_per_second: 1_000,
            public_url: None,
        }
    }
}

/// The service `delivery`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryConfig {
    /// Private and link-local networks that endpoints may lie in, separated by commas, as `10.1.0.0/16, ::1/128`. This
    /// machine itself is allowed where nothing is said and NATS runs on it too.
    pub allow_networks: Option<String>,
    /// Folder that every spool folder must lie in. Without it, no spool folder is used.
    pub spool_root: Option<PathBuf>,
    /// Longest time for one request to an endpoint, in milliseconds.
    pub request_timeout_ms: u64,
    /// Requests to one endpoint at a time.
    pub concurrency: usize,
    /// How long an endpoint may fail without a break before it is disabled, in seconds.
    pub disable_after_seconds: u64,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            allow_networks: None,
            spool_root: None,
            request_timeout_ms: 10_000,
            concurrency: 16,
            disable_after_seconds: 5 * 24 * 60 * 60,
        }
    }
}

/// The service `simulator`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimulatorConfig {
    /// Where it listens. `staffetta up` runs a simulator only where this is set; `staffetta simulator` takes port
    /// 8082 of this machine otherwise.
    pub listen: Option<Listen>,
    /// Where everything random in it begins.
    pub seed: u64,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self { listen: None, seed: 1 }
    }
}

impl SimulatorConfig {
    /// Where the simulator listens unless it is told otherwise.
    pub fn default_listen() -> Listen {
        Listen::local(8082)
    }
}
