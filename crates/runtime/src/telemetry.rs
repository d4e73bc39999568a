//! What a process tells of itself: logs, metrics for `/metrics`, and all of it with traces over OTLP where a collector
//! is configured.

mod admin;
mod logs;
mod otlp;
mod process;
mod requests;

use std::time::Duration;

use anyhow::Context;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::{Aggregation, Instrument, InstrumentKind, SdkMeterProvider, Stream};
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

pub use self::admin::serve_admin;
pub use self::logs::start_logs;
pub use self::requests::{Served, method_label, requested};
use crate::config::TelemetryConfig;

/// What a process measures of itself.
#[derive(Clone, Debug)]
pub struct Telemetry {
    registry: prometheus::Registry,
    meters: SdkMeterProvider,
    tracers: Option<SdkTracerProvider>,
    loggers: Option<SdkLoggerProvider>,
}

/// How long what is still to be exported may take at the end.
const LAST_EXPORT: Duration = Duration::from_secs(3);

/// Most combinations of labels of an instrument; the rest goes under `otel_metric_overflow`. The SDK reserves this much
/// room for each.
const SERIES: usize = 1_000;
/// The same for those that are labelled by an entry of the registry.
const SERIES_BY_ENTRY: usize = 20_000;
/// The instruments that are labelled by an entry of the registry.
const BY_ENTRY: [&str; 5] = [
    "staffetta.channel.",
    "staffetta.endpoint.",
    "staffetta.tenant.",
    "staffetta.key.",
    "staffetta.ingress.webhooks",
];

impl Telemetry {
    /// Starts the logs, collects what the instruments of [`meter`] measure from here on, and sends both and the spans of
    /// [`Span`](crate::trace::Span) to the collector, if one is configured. `service` is `service.name`, unless
    /// the environment gives another.
    ///
    /// # Errors
    /// If an exporter can't be set up.
    pub fn start(config: &TelemetryConfig, service: &'static str) -> anyhow::Result<Self> {
        let resource = resource(service);
        let registry = prometheus::Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()
            .context("setting up the metrics exporter")?;
        let mut meters = SdkMeterProvider::builder()
            .with_resource(resource.clone())
            .with_view(collected)
            .with_reader(exporter);
        if let Some(reader) = otlp::metrics(config)? {
            meters = meters.with_reader(reader);
        }
        let tracers = otlp::tracers(config, resource.clone())?;
        let loggers = otlp::loggers(config, resource)?;
        let meters = meters.build();
        opentelemetry::global::set_meter_provider(meters.clone());
        if let Some(tracers) = &tracers {
            crate::trace::record_with(tracers);
        }
        logs::start(config, loggers.as_ref());
        process::watch();
        Ok(Self { registry, meters, tracers, loggers })
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

    /// Ends the collection. What was not sent yet is sent now, within some seconds.
    pub async fn stop(self) {
        let Self { meters, tracers, loggers, .. } = self;
        // The exporters' own threads do the work; waiting for them would block this one. All at once: where the
        // collector says nothing, each of them waits.
        let mut ending = JoinSet::new();
        ending.spawn_blocking(move || meters.shutdown_with_timeout(LAST_EXPORT));
        if let Some(tracers) = tracers {
            ending.spawn_blocking(move || tracers.shutdown_with_timeout(LAST_EXPORT));
        }
        if let Some(loggers) = loggers {
            ending.spawn_blocking(move || loggers.shutdown_with_timeout(LAST_EXPORT));
        }
        let ended = async {
            while let Some(ended) = ending.join_next().await {
                if let Err(failure) = ended.map_err(anyhow::Error::new).and_then(cleanly) {
                    warn!(error = format!("{failure:#}"), "telemetry did not stop cleanly");
                }
            }
        };
        // The metrics' reader has a limit of its own, which is longer.
        if timeout(LAST_EXPORT, ended).await.is_err() {
            warn!("telemetry did not stop in time");
        }
    }
}

fn cleanly(ended: OTelSdkResult) -> anyhow::Result<()> {
    Ok(ended?)
}

/// What the process is. `OTEL_RESOURCE_ATTRIBUTES` adds to it and has the last word, but for `OTEL_SERVICE_NAME`.
fn resource(service: &'static str) -> Resource {
    let instance = format!("{:016x}{:016x}", rand::random::<u64>(), rand::random::<u64>());
    let builder = Resource::builder_empty()
        .with_service_name(service)
        .with_attributes([
            KeyValue::new("service.namespace", "staffetta"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance),
        ])
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    match std::env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => builder.with_service_name(name).build(),
        _ => builder.build(),
    }
}

/// How an instrument is collected, whichever crate made it.
fn collected(instrument: &Instrument) -> Option<Stream> {
    let by_entry = BY_ENTRY.iter().any(|prefix| instrument.name().starts_with(prefix));
    let limit = if by_entry { SERIES_BY_ENTRY } else { SERIES };
    let mut stream = Stream::builder().with_cardinality_limit(limit);
    if instrument.kind() == InstrumentKind::Histogram && instrument.unit() == "s" {
        let boundaries = SECONDS.to_vec();
        stream = stream
            .with_aggregation(Aggregation::ExplicitBucketHistogram { boundaries, record_min_max: true });
    }
    stream.build().ok()
}

/// Where a service gets its instruments.
pub fn meter() -> Meter {
    opentelemetry::global::meter("staffetta")
}

/// The bounds of every histogram of durations in seconds, from 0.1 ms to 60 s.
const SECONDS: [f64; 18] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0,
];

/// A histogram of durations in seconds.
pub fn seconds(name: &'static str, description: &'static str) -> Histogram<f64> {
    meter().f64_histogram(name).with_unit("s").with_description(description).build()
}
