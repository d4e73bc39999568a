//! Logs on standard error, and over OTLP beside them.

use std::io::IsTerminal;

use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{LogFormat, TelemetryConfig};

/// What the exporters' own HTTP client says, sent by that client, would never end.
const NOT_EXPORTED: [&str; 5] = ["opentelemetry", "hyper", "reqwest", "h2", "rustls"];

/// Sends logs to standard error: readable on a terminal, one JSON object a line elsewhere. `RUST_LOG` filters them.
pub fn start_logs(config: &TelemetryConfig) {
    start(config, None);
}

pub(super) fn start(config: &TelemetryConfig, loggers: Option<&SdkLoggerProvider>) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,async_nats=warn,opentelemetry=warn"));
    let exported = loggers.map(|loggers| {
        OpenTelemetryTracingBridge::new(loggers).with_filter(filter_fn(|said| {
            !NOT_EXPORTED.iter().any(|silent| said.target().starts_with(silent))
        }))
    });
    let shown: Box<dyn Layer<Registry> + Send + Sync> = match format(config) {
        LogFormat::Text => Box::new(
            tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal())
                .with_target(false),
        ),
        LogFormat::Json => {
            Box::new(tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr))
        }
    };
    // A second call, as in tests, keeps the first one's settings.
    let _ = Registry::default().with(shown).with(exported).with(filter).try_init();
}

fn format(config: &TelemetryConfig) -> LogFormat {
    let by_place = if std::io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json };
    config.logs.unwrap_or(by_place)
}
