//! One TOML file, every key also as `STAFFETTA__SECTION__KEY`. A wrong key, type or value stops the start.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// Everything that can be configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where Staffetta keeps files of its own: the SQLite database, the data of a NATS server that it started.
    pub data_dir: PathBuf,
    /// Seals the registry's literal secrets; at least 16 characters, best 32 random bytes as hex.
    pub master_key: Option<SecretString>,
    /// The key before it, while what it sealed is sealed anew: it opens, and seals nothing.
    pub previous_master_key: Option<SecretString>,
    /// How long a stopping process may take to finish what it began, in seconds.
    pub drain_seconds: u64,
    /// The message bus.
    pub nats: NatsConfig,
    /// The database.
    pub database: DatabaseConfig,
    /// The service `ingress`.
    pub ingress: IngressConfig,
    /// The service `recorder`.
    pub recorder: RecorderConfig,
    /// The service `dispatcher`.
    pub dispatcher: DispatcherConfig,
    /// The service `api`.
    pub api: ApiConfig,
    /// The service `delivery`.
    pub delivery: DeliveryConfig,
    /// The service `simulator`.
    pub simulator: SimulatorConfig,
    /// `/metrics`, `/livez`, `/readyz`.
    pub admin: AdminConfig,
    /// The Cloud API.
    pub graph: GraphConfig,
    /// Twilio.
    pub twilio: TwilioConfig,
    /// The media store.
    pub media: MediaConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "staffetta-data".into(),
            master_key: None,
            previous_master_key: None,
            drain_seconds: 30,
            nats: NatsConfig::default(),
            database: DatabaseConfig::default(),
            ingress: IngressConfig::default(),
            recorder: RecorderConfig::default(),
            dispatcher: DispatcherConfig::default(),
            api: ApiConfig::default(),
            delivery: DeliveryConfig::default(),
            simulator: SimulatorConfig::default(),
            admin: AdminConfig::default(),
            graph: GraphConfig::default(),
            twilio: TwilioConfig::default(),
            media: MediaConfig::default(),
        }
    }
}

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
    /// The account that holds the streams.
    pub account: String,
}

impl Default for CalloutConfig {
    fn default() -> Self {
        Self { issuer_seed: None, xkey_seed: None, account: "$G".into() }
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
}

impl Default for IngressConfig {
    fn default() -> Self {
        Self {
            listen: Listen::everywhere(8081),
            max_connections: 4096,
            max_buffered_bytes: 64 << 20,
            deadline_ms: 8_000,
            publishes: 4,
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

/// An address to listen on: `8081`, `:8081` (every address), `127.0.0.1:8081`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

impl Listen {
    fn everywhere(port: u16) -> Self {
        Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port))
    }

    fn local(port: u16) -> Self {
        Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Listen;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port, or an address and a port like 127.0.0.1:8081")
            }

            fn visit_i64<E: serde::de::Error>(self, port: i64) -> Result<Listen, E> {
                let port = u16::try_from(port)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(port), &self))?;
                Ok(Listen::everywhere(port))
            }

            fn visit_u64<E: serde::de::Error>(self, port: u64) -> Result<Listen, E> {
                self.visit_i64(i64::try_from(port).unwrap_or(i64::MAX))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Listen, E> {
                if let Ok(port) = text.trim_start_matches(':').parse() {
                    return Ok(Listen::everywhere(port));
                }
                let text = text.replace("localhost", "127.0.0.1");
                text.parse()
                    .map(Listen)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Str(&text), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Why a configuration can't be used. Names the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or a variable could not be read, or a key or a type is wrong.
    #[error("configuration: {0}")]
    Unreadable(#[from] config::ConfigError),
    /// A value is wrong.
    #[error("configuration: {key} {problem}")]
    Wrong {
        /// The key.
        key: &'static str,
        /// What it must be.
        problem: &'static str,
    },
}

impl Config {
    /// Reads the file, if one is given, then the environment, which wins.
    ///
    /// # Errors
    /// Names the key that is unknown, or whose type or value is wrong.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let environment =
            config::Environment::with_prefix("STAFFETTA").prefix_separator("__").separator("__");
        Self::from_sources(file, environment)
    }

    fn from_sources(file: Option<&Path>, environment: config::Environment) -> Result<Self, ConfigError> {
        let mut builder = config::Config::builder();
        if let Some(file) = file {
            builder = builder.add_source(config::File::from(file).format(config::FileFormat::Toml));
        }
        let config: Self = builder.add_source(environment).build()?.try_deserialize()?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, problem| Err(ConfigError::Wrong { key, problem });
        if self.master_key.as_ref().is_some_and(|key| key.expose_secret().len() < 16) {
            return wrong("master_key", "must have at least 16 characters");
        }
        if self.previous_master_key.is_some() && self.master_key.is_none() {
            return wrong("master_key", "must be there beside previous_master_key");
        }
        if self
            .api
            .admin_key
            .as_ref()
            .is_some_and(|keys| keys.expose_secret().split(',').any(|key| key.trim().len() < 16))
        {
            return wrong("api.admin_key", "must have at least 16 characters");
        }
        if self.delivery.request_timeout_ms < 100 {
            return wrong("delivery.request_timeout_ms", "must be at least 100");
        }
        if self.delivery.disable_after_seconds < 60 {
            return wrong("delivery.disable_after_seconds", "must be at least 60");
        }
        if !(1..=5).contains(&self.nats.replicas) {
            return wrong("nats.replicas", "must be 1 to 5");
        }
        if let Some(url) = &self.database.url {
            let url = url.expose_secret();
            if !["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| url.starts_with(scheme)) {
                return wrong("database.url", "must begin with sqlite: or postgres:");
            }
        }
        for (key, url) in
            [("graph.base_url", &self.graph.base_url), ("twilio.base_url", &self.twilio.base_url)]
        {
            if !(url.starts_with("http://") || url.starts_with("https://")) {
                return wrong(key, "must begin with http:// or https://");
            }
        }
        for (key, number) in [
            ("ingress.max_connections", self.ingress.max_connections),
            ("ingress.publishes", self.ingress.publishes),
            ("recorder.batch", self.recorder.batch),
            ("api.max_connections", self.api.max_connections),
            ("api.requests_per_second", self.api.requests_per_second as usize),
            ("delivery.concurrency", self.delivery.concurrency),
            ("database.max_connections", self.database.max_connections as usize),
            ("dispatcher.max_tries", self.dispatcher.max_tries as usize),
        ] {
            if number == 0 {
                return wrong(key, "must be at least 1");
            }
        }
        if self.recorder.prune_interval_seconds == 0 {
            return wrong("recorder.prune_interval_seconds", "must be at least 1");
        }
        if self.ingress.deadline_ms < 1_000 {
            return wrong("ingress.deadline_ms", "must be at least 1000");
        }
        if self.nats.webhooks_max_bytes < 1 << 20 {
            return wrong("nats.webhooks_max_bytes", "must be at least 1048576");
        }
        if self.nats.lane_max_commands < 1 {
            return wrong("nats.lane_max_commands", "must be at least 1");
        }
        if self.ingress.max_buffered_bytes < 8 << 20 {
            return wrong("ingress.max_buffered_bytes", "must be at least 8388608");
        }
        Ok(())
    }

    /// The database's address: what is configured, or SQLite in the data folder.
    pub fn database_url(&self) -> SecretString {
        match &self.database.url {
            Some(url) => url.clone(),
            None => format!("sqlite:{}", self.data_dir.join("staffetta.db").display()).into(),
        }
    }

    /// How long a stopping process may take to finish what it began.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("staffetta.toml");
        std::fs::write(&file, toml).unwrap();
        let source =
            environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let environment = config::Environment::with_prefix("STAFFETTA")
            .prefix_separator("__")
            .separator("__")
            .source(Some(source));
        Config::from_sources(Some(&file), environment)
    }

    #[test]
    fn nothing_given_is_a_configuration() {
        let config = load("", &[]).unwrap();
        assert_eq!(config.ingress.listen.0.port(), 8081);
        assert_eq!(config.graph.base_url, "https://graph.facebook.com");
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let config = load(
            "[ingress]\nlisten = 1\n[api]\nlisten = \"127.0.0.1:5\"",
            &[("STAFFETTA__INGRESS__LISTEN", "2"), ("STAFFETTA__MASTER_KEY", "1234567890123456")],
        )
        .unwrap();
        assert_eq!(config.ingress.listen.0.port(), 2);
        assert_eq!(config.api.listen.0, "127.0.0.1:5".parse().unwrap());
        assert_eq!(config.master_key.unwrap().expose_secret(), "1234567890123456");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (toml, name) in [
            ("[ingres]\nlisten = 1", "ingres"),
            ("[ingress]\nlisen = 1", "lisen"),
            ("[ingress]\nlisten = \"x\"", "ingress.listen"),
            ("[ingress]\nlisten = 70000", "ingress.listen"),
            ("[ingress]\npublishes = 0", "ingress.publishes"),
            ("[nats]\nreplicas = \"many\"", "nats.replicas"),
            ("master_key = \"short\"", "master_key"),
            ("[database]\nurl = \"mysql://x\"", "database.url"),
            ("[graph]\nbase_url = \"graph\"", "graph.base_url"),
        ] {
            let error = load(toml, &[]).unwrap_err().to_string();
            assert!(error.contains(name), "{toml:?} gave {error:?}");
        }
    }

    #[test]
    fn a_secret_does_not_print() {
        let config = load("master_key = \"1234567890123456\"", &[]).unwrap();
        assert!(!format!("{config:?}").contains("1234567890123456"));
    }
}
