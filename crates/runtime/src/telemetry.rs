//! Logs on standard error, metrics for `/metrics`, and the small server that shows them with the process's health.

use std::fmt::Write as _;
use std::io::IsTerminal;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use opentelemetry::metrics::{Histogram, Meter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::error;
use tracing_subscriber::EnvFilter;

use crate::health::Health;
use crate::http::{Limits, serve};

/// What a process measures of itself.
#[derive(Clone, Debug)]
pub struct Telemetry {
    registry: prometheus::Registry,
    provider: SdkMeterProvider,
}

impl Telemetry {
    /// Collects what the instruments of [`meter`] measure from here on.
    ///
    /// # Errors
    /// If the exporter can't be set up.
    pub fn start() -> anyhow::Result<Self> {
        let registry = prometheus::Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()
            .context("setting up the metrics exporter")?;
        let resource = Resource::builder().with_service_name("staffetta").build();
        let provider = SdkMeterProvider::builder().with_resource(resource).with_reader(exporter).build();
        opentelemetry::global::set_meter_provider(provider.clone());
        Ok(Self { registry, provider })
    }

    /// Everything measured so far, in the Prometheus text format.
    ///
    /// # Errors
    /// If an instrument's figures can't be written.
    pub fn render(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        prometheus::TextEncoder::new()
            .encode_utf8(&self.registry.gather(), &mut text)
            .context("writing metrics")?;
        Ok(text)
    }

    /// Ends the collection.
    pub fn stop(&self) {
        if let Err(failure) = self.provider.shutdown() {
            error!(error = %failure, "metrics did not stop cleanly");
        }
    }
}

/// Sends logs to standard error: readable on a terminal, one JSON object a line elsewhere. `RUST_LOG` filters them.
pub fn start_logs() {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,async_nats=warn,opentelemetry=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call, as in tests, keeps the first one's settings.
    let _ = if std::io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
}

/// Where a service gets its instruments.
pub fn meter() -> Meter {
    opentelemetry::global::meter("staffetta")
}

/// A histogram of durations in seconds, from 0.1 ms to 60 s.
pub fn seconds(name: &'static str, description: &'static str) -> Histogram<f64> {
    let bounds = vec![
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
        10.0, 30.0, 60.0,
    ];
    meter().f64_histogram(name).with_unit("s").with_description(description).with_boundaries(bounds).build()
}

/// Serves `/metrics`, `/livez` and `/readyz` until `stop`.
///
/// # Errors
/// If the server itself fails.
pub async fn serve_admin(
    listener: TcpListener,
    telemetry: Telemetry,
    health: Health,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state((telemetry, health));
    serve(listener, router, Limits { max_connections: 64, ..Limits::default() }, stop).await
}

async fn readyz(State((_, health)): State<(Telemetry, Health)>) -> Response {
    let mut status = StatusCode::OK;
    let mut text = String::new();
    for (name, ready) in health.checks() {
        if !ready {
            status = StatusCode::SERVICE_UNAVAILABLE;
        }
        let _ = writeln!(text, "{name}: {}", if ready { "ok" } else { "not ready" });
    }
    (status, text).into_response()
}

async fn metrics(State((telemetry, _)): State<(Telemetry, Health)>) -> Response {
    match telemetry.render() {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(failure) => {
            error!(error = format!("{failure:#}"), "metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
