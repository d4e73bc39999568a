//! OTLP over HTTP, to the collector that is configured.
//!
//! What the OpenTelemetry specification lets the environment say (`OTEL_EXPORTER_OTLP_HEADERS`, `…_TIMEOUT`,
//! `OTEL_BSP_…`, `OTEL_BLRP_…`, `OTEL_METRIC_EXPORT_INTERVAL`, `OTEL_TRACES_SAMPLER`) the SDK reads by itself. Whether a
//! kind of telemetry is sent at all it leaves to us.

use std::env::{self, var_os};

use anyhow::Context;
use opentelemetry_otlp::{LogExporter, MetricExporter, Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::PeriodicReader;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider};

use crate::config::TelemetryConfig;

/// Most spans that wait to be exported; more are dropped and counted in a log line. The SDK's own 2,048 are less than a
/// second's worth of a busy gateway.
const MOST_SPANS: usize = 16_384;

/// `None` if metrics are sent nowhere.
pub(super) fn metrics(config: &TelemetryConfig) -> anyhow::Result<Option<PeriodicReader<MetricExporter>>> {
    let Some(target) = Target::of(config, "METRICS", said) else { return Ok(None) };
    let mut builder = MetricExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
    if let Some(address) = target.address("/v1/metrics") {
        builder = builder.with_endpoint(address);
    }
    Ok(Some(PeriodicReader::builder(builder.build().context("telemetry.otlp_endpoint")?).build()))
}

/// `None` if spans are sent nowhere.
pub(super) fn tracers(
    config: &TelemetryConfig,
    resource: Resource,
) -> anyhow::Result<Option<SdkTracerProvider>> {
    let Some(target) = Target::of(config, "TRACES", said) else { return Ok(None) };
    let mut builder = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
    if let Some(address) = target.address("/v1/traces") {
        builder = builder.with_endpoint(address);
    }
    let exporter = builder.build().context("telemetry.otlp_endpoint")?;
    let mut batches = BatchConfigBuilder::default();
    if var_os("OTEL_BSP_MAX_QUEUE_SIZE").is_none() {
        batches = batches.with_max_queue_size(MOST_SPANS);
    }
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches.build()).build();
    let mut tracers = SdkTracerProvider::builder().with_resource(resource).with_span_processor(processor);
    // Whoever began a trace has decided for all of it.
    if var_os("OTEL_TRACES_SAMPLER").is_none() {
        let share = Sampler::TraceIdRatioBased(config.trace_ratio);
        tracers = tracers.with_sampler(Sampler::ParentBased(Box::new(share)));
    }
    Ok(Some(tracers.build()))
}

/// `None` if logs are sent nowhere.
pub(super) fn loggers(
    config: &TelemetryConfig,
    resource: Resource,
) -> anyhow::Result<Option<SdkLoggerProvider>> {
    let Some(target) = Target::of(config, "LOGS", said) else { return Ok(None) };
    let mut builder = LogExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
    if let Some(address) = target.address("/v1/logs") {
        builder = builder.with_endpoint(address);
    }
    let exporter = builder.build().context("telemetry.otlp_endpoint")?;
    Ok(Some(SdkLoggerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build()))
}

/// Where a kind of telemetry is sent.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    /// `None` leaves it to `OTEL_EXPORTER_OTLP_…ENDPOINT`.
    endpoint: Option<String>,
}

impl Target {
    /// Where this kind goes, if anywhere, by the configuration and by what the environment has `said`. The
    /// configuration's address wins. `kind` is its name in the variables.
    fn of(config: &TelemetryConfig, kind: &str, said: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let is = |name: &str, value| said(name).is_some_and(|said| said.eq_ignore_ascii_case(value));
        if is("OTEL_SDK_DISABLED", "true") || is(&format!("OTEL_{kind}_EXPORTER"), "none") {
            return None;
        }
        let is_said = |name: &str| said(name).is_some_and(|address| !address.is_empty());
        let is_named = config.otlp_endpoint.is_some()
            || is_said("OTEL_EXPORTER_OTLP_ENDPOINT")
            || is_said(&format!("OTEL_EXPORTER_OTLP_{kind}_ENDPOINT"));
        is_named.then(|| Self { endpoint: config.otlp_endpoint.clone() })
    }

    /// The full address, where it is ours to say.
    fn address(&self, path: &str) -> Option<String> {
        self.endpoint.as_ref().map(|endpoint| format!("{}{path}", endpoint.trim_end_matches('/')))
    }
}

fn said(name: &str) -> Option<String> {
    env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_goes_where_it_is_told_and_nowhere_else() {
        let nothing_said = TelemetryConfig::default();
        let configured = TelemetryConfig {
            otlp_endpoint: Some("http://collector:4318/".into()),
            ..TelemetryConfig::default()
        };
        let goes = |config: &TelemetryConfig, said: &[(&str, &str)]| {
            ["TRACES", "METRICS", "LOGS"].map(|kind| {
                let said = |name: &str| {
                    said.iter().find(|(said, _)| *said == name).map(|(_, value)| (*value).into())
                };
                Target::of(config, kind, said).is_some()
            })
        };
        assert_eq!(goes(&nothing_said, &[]), [false, false, false]);
        assert_eq!(goes(&configured, &[]), [true, true, true]);
        assert_eq!(
            goes(&nothing_said, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")]),
            [true, true, true]
        );
        assert_eq!(goes(&nothing_said, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), [false, false, false]);
        let traces_alone = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4318/v1/traces")];
        assert_eq!(goes(&nothing_said, &traces_alone), [true, false, false]);
        assert_eq!(goes(&configured, &[("OTEL_METRICS_EXPORTER", "none")]), [true, false, true]);
        assert_eq!(goes(&configured, &[("OTEL_SDK_DISABLED", "true")]), [false, false, false]);

        let target = Target::of(&configured, "LOGS", |_| None).unwrap();
        assert_eq!(target.address("/v1/logs").as_deref(), Some("http://collector:4318/v1/logs"));
    }
}
