//! Spans: what somebody did for a message, and in which trace.
//!
//! A message passes through streams and batches, so a span here is a value that goes along with it, not a scope of the
//! code. Without a collector a span costs nothing and hands its parent on, so that a publisher's trace still reaches
//! the tenant's callback.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::SystemTime;

use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use staffetta_domain::TraceParent;

/// Who makes spans, once there is a collector.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

pub(crate) fn record_with(tracers: &SdkTracerProvider) {
    // A second call, as in tests, keeps the first one's.
    let _ = TRACER.set(tracers.tracer("staffetta"));
}

/// One step of a message's way. Dropped, it has ended.
#[derive(Debug)]
pub struct Span {
    recording: Option<opentelemetry_sdk::trace::Span>,
    parent: Option<TraceParent>,
}

/// What kind of step it is, in OpenTelemetry's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It answers a request.
    Server,
    /// It makes a request.
    Client,
    /// It puts a message on a stream.
    Producer,
    /// It works on a message of a stream.
    Consumer,
    /// It stays in the process.
    Internal,
}

impl Span {
    /// Begins a step below `parent`; without one, perhaps a new trace. The name has few values: ids are attributes.
    pub fn start(step: Step, name: impl Into<Cow<'static, str>>, parent: Option<TraceParent>) -> Self {
        Self::begin(step, name.into(), parent, None, &[])
    }

    /// As [`start`](Self::start), of a step that began at another time, and that has to do with these others too.
    pub fn start_at(
        step: Step,
        name: impl Into<Cow<'static, str>>,
        parent: Option<TraceParent>,
        begun: SystemTime,
        related: &[TraceParent],
    ) -> Self {
        Self::begin(step, name.into(), parent, Some(begun), related)
    }

    fn begin(
        step: Step,
        name: Cow<'static, str>,
        parent: Option<TraceParent>,
        begun: Option<SystemTime>,
        related: &[TraceParent],
    ) -> Self {
        let recording = TRACER.get().map(|tracer| {
            let context = match parent {
                Some(parent) => Context::new().with_remote_span_context(remote(parent)),
                None => Context::new(),
            };
            let kind = match step {
                Step::Server => SpanKind::Server,
                Step::Client => SpanKind::Client,
                Step::Producer => SpanKind::Producer,
                Step::Consumer => SpanKind::Consumer,
                Step::Internal => SpanKind::Internal,
            };
            let links = related.iter().map(|other| Link::with_context(remote(*other))).collect();
            let mut builder = tracer.span_builder(name).with_kind(kind).with_links(links);
            if let Some(begun) = begun {
                builder = builder.with_start_time(begun);
            }
            builder.start_with_context(tracer, &context)
        });
        Self { recording, parent }
    }

    /// Where the next step belongs: below this one if it is part of a trace, else where this one came from.
    pub fn context(&self) -> Option<TraceParent> {
        let own = self.recording.as_ref().and_then(|span| {
            let context = span.span_context();
            let flags = context.trace_flags().to_u8();
            TraceParent::new(context.trace_id().to_bytes(), context.span_id().to_bytes(), flags)
        });
        own.or(self.parent)
    }

    /// Whether what is set here is kept: what is dear to compute can be left out otherwise.
    pub fn is_recording(&self) -> bool {
        self.recording.as_ref().is_some_and(opentelemetry::trace::Span::is_recording)
    }

    /// Says something of the step, under a name of the semantic conventions or of ours (`staffetta.…`). No body, token,
    /// number or wamid.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(span) = self.recording.as_mut().filter(|span| span.is_recording()) {
            span.set_attribute(KeyValue::new(name, value));
        }
    }

    /// The step puts a message on this stream.
    pub fn publishes_on(&mut self, stream: &'static str) {
        self.messaging("publish", "send", stream);
    }

    /// The step works on a message of this stream.
    pub fn processes(&mut self, stream: &'static str) {
        self.messaging("process", "process", stream);
    }

    fn messaging(&mut self, name: &'static str, kind: &'static str, stream: &'static str) {
        self.set("messaging.system", "nats");
        self.set("messaging.operation.name", name);
        self.set("messaging.operation.type", kind);
        self.set("messaging.destination.name", stream);
    }

    /// The step has to do with another one, of another trace or of this.
    pub fn link(&mut self, other: TraceParent) {
        if let Some(span) = self.recording.as_mut().filter(|span| span.is_recording()) {
            span.add_link(remote(other), Vec::new());
        }
    }

    /// The step failed; `why` is one of few codes.
    pub fn fail(&mut self, why: impl Into<Cow<'static, str>>) {
        if let Some(span) = self.recording.as_mut().filter(|span| span.is_recording()) {
            span.set_attribute(KeyValue::new("error.type", why.into()));
            span.set_status(Status::error(""));
        }
    }

    /// Ends the step now.
    pub fn end(mut self) {
        if let Some(mut span) = self.recording.take() {
            span.end();
        }
    }
}

fn remote(parent: TraceParent) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(parent.trace_id()),
        SpanId::from_bytes(parent.span_id()),
        TraceFlags::new(parent.flags()),
        true,
        TraceState::NONE,
    )
}
