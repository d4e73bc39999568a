//! Values that no type can tell from right ones.

use secrecy::ExposeSecret;

use super::{Config, ConfigError};

impl Config {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
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
        for (key, url) in [
            ("api.public_url", &self.api.public_url),
            ("ingress.public_url", &self.ingress.public_url),
            ("telemetry.otlp_endpoint", &self.telemetry.otlp_endpoint),
        ] {
            if url.as_ref().is_some_and(|url| !(url.starts_with("http://") || url.starts_with("https://"))) {
                return wrong(key, "must begin with http:// or https://");
            }
        }
        if !(0.0..=1.0).contains(&self.telemetry.trace_ratio) {
            return wrong("telemetry.trace_ratio", "must be 0 to 1");
        }
        if self.nats.user.is_some() != self.nats.password.is_some() {
            return wrong("nats.user", "and nats.password must both be there, or neither");
        }
        if self.nats.certificate_file.is_some() != self.nats.key_file.is_some() {
            return wrong("nats.certificate_file", "and nats.key_file must both be there, or neither");
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
}
