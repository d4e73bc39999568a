//! One request, as the metrics and its trace show it.

use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use staffetta_bus::TRACEPARENT;
use staffetta_domain::TraceParent;
use staffetta_runtime::telemetry::method_label;
use staffetta_runtime::trace::{Span, Step};
use tokio::time::Instant;

use crate::answer::Outcome;
use crate::keys::AppKeys;
use crate::metrics::Metrics;

const TRACE: HeaderName = HeaderName::from_static(TRACEPARENT);
/// The one route there is. What an address says beside it must not become a label: there would be no end to them.
pub(crate) const WEBHOOKS: &str = "/webhooks/meta/{app}";
/// What stands for the route where none leads.
pub(crate) const NO_ROUTE: &str = "none";

/// A request that is being answered. Whoever sends it may name the trace that it belongs to.
#[derive(Debug)]
pub(crate) struct Visit {
    method: &'static str,
    started: Instant,
    span: Span,
}

impl Visit {
    /// The provider asks whether the address is the app's.
    pub(crate) fn verification(method: &Method, headers: &HeaderMap) -> Self {
        Self::begin(method_label(method), "GET /webhooks/meta/{app}", headers)
    }

    /// The provider brings a webhook.
    pub(crate) fn webhook(headers: &HeaderMap) -> Self {
        Self::begin("POST", "POST /webhooks/meta/{app}", headers)
    }

    fn begin(method: &'static str, name: &'static str, headers: &HeaderMap) -> Self {
        let parent = headers.get(TRACE).and_then(|parent| parent.to_str().ok()?.parse().ok());
        let mut span = Span::start(Step::Server, name, parent);
        span.set("http.request.method", method);
        span.set("http.route", WEBHOOKS);
        Self { method, started: Instant::now(), span }
    }

    /// It is about this app, which is registered.
    pub(crate) fn is_for(&mut self, app: &AppKeys) {
        if self.span.is_recording() {
            self.span.set("staffetta.app", app.id.clone());
        }
    }

    /// It brings the webhook of that id.
    pub(crate) fn brings(&mut self, webhook: &str) {
        if self.span.is_recording() {
            self.span.set("staffetta.webhook.id", webhook.to_owned());
        }
    }

    /// Where what becomes of it belongs.
    pub(crate) fn trace(&self) -> Option<TraceParent> {
        self.span.context()
    }

    /// It is answered with `status`; `outcome` says why, unless all is well.
    pub(crate) fn end(mut self, status: StatusCode, outcome: Option<Outcome>, metrics: &Metrics) {
        metrics.served.answered(self.method, WEBHOOKS, status, self.started.elapsed());
        if self.span.is_recording() {
            self.span.set("http.response.status_code", i64::from(status.as_u16()));
            if let Some(outcome) = outcome {
                self.span.set("staffetta.outcome", outcome.name());
            }
            if status.is_server_error() {
                self.span.fail(status.as_str().to_owned());
            }
        }
        self.span.end();
    }
}
