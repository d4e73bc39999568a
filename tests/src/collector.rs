//! An OpenTelemetry collector, as far as tests need one: it takes OTLP over HTTP and keeps what came.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use staffetta_testkit::until;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::LIMIT;

/// A span as it was exported.
#[derive(Clone, Debug)]
pub struct SeenSpan {
    /// `service.name` of whoever made it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its kind: 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: i32,
    /// The trace's id, as hex.
    pub trace: String,
    /// Its id, as hex.
    pub id: String,
    /// The id of the span above it; empty if it is the first.
    pub parent: String,
    /// The traces that it is linked to.
    pub links: Vec<String>,
    /// Its attributes, values as text.
    pub attributes: Vec<(String, String)>,
}

impl SeenSpan {
    /// An attribute's value; empty if it has none.
    #[must_use]
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// What came so far.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// Spans, in the order in which they came.
    pub spans: Vec<SeenSpan>,
    /// Names of metrics, with the `service.name` of whoever measured.
    pub metrics: Vec<(String, String)>,
    /// Texts of log records, with the `service.name` of whoever wrote.
    pub logs: Vec<(String, String)>,
    /// Everything that came, for what must not be in it.
    pub raw: Vec<u8>,
}

impl Collected {
    /// The spans of that trace.
    #[must_use]
    pub fn trace(&self, trace: &str) -> Vec<&SeenSpan> {
        self.spans.iter().filter(|span| span.trace == trace).collect()
    }
}

/// The collector. It ends when dropped.
#[derive(Debug)]
pub struct Collector {
    url: String,
    seen: watch::Receiver<Collected>,
    _serving: JoinSet<()>,
}

impl Collector {
    /// A collector on a port of its own.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start() -> anyhow::Result<Self> {
        let (sender, seen) = watch::channel(Collected::default());
        let router = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .route("/v1/logs", post(logs))
            .with_state(Arc::new(sender));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            // Its end is the test's end.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, seen, _serving: serving })
    }

    /// The address for `telemetry.otlp_endpoint`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What came so far.
    #[must_use]
    pub fn seen(&self) -> Collected {
        self.seen.borrow().clone()
    }

    /// Waits until `enough` holds for what came so far, and gives that back.
    ///
    /// # Errors
    /// When it does not hold in time.
    pub async fn until(&self, enough: impl Fn(&Collected) -> bool) -> anyhow::Result<Collected> {
        until("what is sent to the collector", LIMIT, async || {
            let seen = self.seen.borrow();
            enough(&seen).then(|| seen.clone())
        })
        .await
    }
}

type Book = State<Arc<watch::Sender<Collected>>>;

fn decode<T: Message + Default>(headers: &HeaderMap, body: &Bytes) -> Result<T, StatusCode> {
    if headers.get("content-type").is_none_or(|kind| kind != "application/x-protobuf") {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    T::decode(body.clone()).map_err(|_| StatusCode::BAD_REQUEST)
}

async fn traces(State(book): Book, headers: HeaderMap, body: Bytes) -> Result<(), StatusCode> {
    let request: ExportTraceServiceRequest = decode(&headers, &body)?;
    book.send_modify(|seen| {
        seen.raw.extend_from_slice(&body);
        for group in request.resource_spans {
            let service = service(group.resource.as_ref());
            for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                seen.spans.push(SeenSpan {
                    service: service.clone(),
                    name: span.name,
                    kind: span.kind,
                    trace: hex::encode(span.trace_id),
                    id: hex::encode(span.span_id),
                    parent: hex::encode(span.parent_span_id),
                    links: span.links.into_iter().map(|link| hex::encode(link.trace_id)).collect(),
                    attributes: span.attributes.into_iter().map(attribute).collect(),
                });
            }
        }
    });
    Ok(())
}

async fn metrics(State(book): Book, headers: HeaderMap, body: Bytes) -> Result<(), StatusCode> {
    let request: ExportMetricsServiceRequest = decode(&headers, &body)?;
    book.send_modify(|seen| {
        seen.raw.extend_from_slice(&body);
        for group in request.resource_metrics {
            let service = service(group.resource.as_ref());
            let metrics = group.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
            seen.metrics.extend(metrics.map(|metric| (service.clone(), metric.name)));
        }
    });
    Ok(())
}

async fn logs(State(book): Book, headers: HeaderMap, body: Bytes) -> Result<(), StatusCode> {
    let request: ExportLogsServiceRequest = decode(&headers, &body)?;
    book.send_modify(|seen| {
        seen.raw.extend_from_slice(&body);
        for group in request.resource_logs {
            let service = service(group.resource.as_ref());
            for record in group.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
                seen.logs.push((service.clone(), record.body.map(text).unwrap_or_default()));
            }
        }
    });
    Ok(())
}

fn service(resource: Option<&Resource>) -> String {
    let attributes = resource.map(|resource| resource.attributes.clone()).unwrap_or_default();
    let mut named = attributes.into_iter().map(attribute).filter(|(name, _)| name == "service.name");
    named.next().map(|(_, value)| value).unwrap_or_default()
}

fn attribute(attribute: KeyValue) -> (String, String) {
    (attribute.key, attribute.value.map(text).unwrap_or_default())
}

fn text(value: AnyValue) -> String {
    match value.value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}
