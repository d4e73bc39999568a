//! One TOML file, every key also as `STAFFETTA__SECTION__KEY`. A wrong key, type or value stops the start.

mod around;
mod check;
mod listen;
mod services;

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

pub use around::{
    AdminConfig, CalloutConfig, DatabaseConfig, GraphConfig, LogFormat, MediaConfig, NatsConfig,
    TelemetryConfig, TwilioConfig,
};
pub use listen::Listen;
pub use services::{
    ApiConfig, DeliveryConfig, DispatcherConfig, IngressConfig, RecorderConfig, SimulatorConfig,
};

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
    /// Logs, and what is sent to a collector.
    pub telemetry: TelemetryConfig,
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
            telemetry: TelemetryConfig::default(),
            graph: GraphConfig::default(),
            twilio: TwilioConfig::default(),
            media: MediaConfig::default(),
        }
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
    use secrecy::ExposeSecret;

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
            ("previous_master_key = \"1234567890123456\"", "previous_master_key"),
            ("[nats]\nuser = \"staffetta\"", "nats.password"),
            ("[nats]\nkey_file = \"key.pem\"", "nats.certificate_file"),
            ("[api]\nadmin_key = \"1234567890123456,short\"", "api.admin_key"),
            ("[api]\npublic_url = \"api.example.com\"", "api.public_url"),
            ("[ingress]\npublic_url = \"hooks.example.com\"", "ingress.public_url"),
            ("[telemetry]\notlp_endpoint = \"collector:4317\"", "telemetry.otlp_endpoint"),
            ("[telemetry]\ntrace_ratio = 2", "telemetry.trace_ratio"),
            ("[telemetry]\nlogs = \"xml\"", "telemetry.logs"),
            ("[delivery]\nconcurrency = 0", "delivery.concurrency"),
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
