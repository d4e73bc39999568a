//! What a process shows of itself, and what becomes of it when the collector is no good. In one process there is one
//! telemetry, so this is one test.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use opentelemetry::KeyValue;
use staffetta_domain::TraceParent;
use staffetta_runtime::config::TelemetryConfig;
use staffetta_runtime::telemetry::{Telemetry, meter, seconds};
use staffetta_runtime::trace::{Span, Step};
use tokio::time::timeout;

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(60);
/// More than an instrument holds that is labelled by no entry of the registry.
const MANY: u64 = 1_001;

#[tokio::test]
async fn metrics_are_bounded_and_a_collector_that_fails_holds_up_nothing() {
    let config = TelemetryConfig { otlp_endpoint: Some(failing_collector()), ..TelemetryConfig::default() };
    let telemetry = Telemetry::start(&config, "staffetta-test").unwrap();

    let by_list = meter().u64_counter("staffetta.test.labels").build();
    let by_entry = meter().u64_counter("staffetta.channel.labels").build();
    for number in 0..MANY {
        let label = [KeyValue::new("label", number.to_string())];
        by_list.add(1, &label);
        by_entry.add(1, &label);
    }
    seconds("staffetta.test.duration", "A test").record(0.0002, &[]);

    let shown = telemetry.render().unwrap();
    let series = |name: &str| shown.lines().filter(|line| line.starts_with(name)).count();
    let overflow = |name: &str| {
        let mut lines = shown.lines().filter(|line| line.starts_with(name));
        lines.any(|line| line.contains("otel_metric_overflow=\"true\""))
    };
    assert!(overflow("staffetta_test_labels_total"));
    assert_eq!(series("staffetta_channel_labels_total"), usize::try_from(MANY).unwrap());
    assert!(!overflow("staffetta_channel_labels_total"));
    // The bound on labels leaves the buckets as they were asked for.
    let bucket = shown.lines().find(|line| line.starts_with("staffetta_test_duration_seconds_bucket"));
    assert!(bucket.unwrap().contains("le=\"0.0001\""), "{bucket:?}");
    assert!(shown.contains("service_name=\"staffetta-test\""));

    // What is recorded waits for nobody, and the end does not either.
    let span = Span::start(Step::Internal, "test", None);
    assert!(span.context().is_some_and(|context| context.is_sampled()));
    drop(span);
    // Who began a trace has decided: it goes on unrecorded, and says so to whoever comes next.
    let unrecorded: TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00".parse().unwrap();
    let span = Span::start(Step::Server, "test", Some(unrecorded));
    let passed_on = span.context().unwrap();
    assert!(!span.is_recording() && !passed_on.is_sampled());
    assert_eq!(passed_on.trace_id(), unrecorded.trace_id());
    timeout(LIMIT, telemetry.stop()).await.unwrap();
    assert!(Span::start(Step::Internal, "late", None).context().is_none());
}

/// Answers every request with 500.
fn failing_collector() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1 << 16]);
            let _ = stream.write_all(
                b"HTTP/1.1 500 Internal Server Error\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            );
        }
    });
    address
}
