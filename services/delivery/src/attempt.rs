//! One try of one event.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use opentelemetry::KeyValue;
use reqwest::Url;
use reqwest::header::HeaderValue;
use staffetta_bus::{Endpoint, EndpointFormat, LoggedEvent, TRACEPARENT, Target, Webhook};
use staffetta_domain::Event;
use staffetta_runtime::trace::{Span, Step};
use staffetta_store::{Attempt, EndpointKey};
use tokio::time::Instant;
use tracing::debug;

use crate::Shared;
use crate::format::{self, Unfit};
use crate::guard::{Answer, NoAnswer};
use crate::machine::{Failure, Fault, Outcome, Source};
use crate::metrics::error_type;
use crate::spool;

/// An event whose turn it is.
#[derive(Debug)]
pub(crate) struct Try {
    pub(crate) key: EndpointKey,
    pub(crate) endpoint: Arc<Endpoint>,
    /// Who the endpoint is, for counters.
    pub(crate) labels: [KeyValue; 2],
    pub(crate) source: Source,
    pub(crate) sequence: u64,
    /// Which try it is, from 1.
    pub(crate) attempt: u32,
    /// The event, if it is at hand.
    pub(crate) event: Option<Arc<LoggedEvent>>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Tried {
    /// Of the endpoint's entry, as it was for this try.
    pub(crate) revision: u64,
    pub(crate) source: Source,
    pub(crate) sequence: u64,
    pub(crate) stored: Option<Timestamp>,
    pub(crate) outcome: Outcome,
}

/// Characters of an answer's text that the attempt log keeps.
const TEXT: usize = 200;
/// Waits that an endpoint may ask for by `Retry-After`, with 429 and 503, concern it as a whole.
const BUSY: [u16; 2] = [429, 503];

impl Try {
    /// Tries, and notes the try in the attempt log.
    pub(crate) async fn run(self, shared: Shared) -> Tried {
        let Self { ref key, source, sequence, .. } = self;
        let logged = match &self.event {
            Some(event) => Ok(Some(Arc::clone(event))),
            None => shared.log.read_one(&key.tenant, sequence).await.map(|found| found.map(Arc::new)),
        };
        let (stored, outcome) = match logged {
            Ok(Some(logged)) => (Some(logged.stored), self.deliver(&shared, &logged).await),
            Ok(None) => (None, Outcome::Missing),
            Err(error) => {
                debug!(sequence, error = &error as &dyn std::error::Error, "an event could not be read");
                (None, Outcome::NotNow("EVENTS cannot be read".into()))
            }
        };
        shared.metrics.tried(&self.labels, name(&outcome), self.format());
        Tried { revision: self.endpoint.revision, source, sequence, stored, outcome }
    }

    /// Each try is a span of its own in the event's trace.
    async fn deliver(&self, shared: &Shared, logged: &Arc<LoggedEvent>) -> Outcome {
        let mut span = self.span(&logged.event);
        let outcome = self.deliver_within(&span, shared, logged).await;
        span.set("staffetta.outcome", name(&outcome));
        if !matches!(outcome, Outcome::Delivered | Outcome::Unsaid) {
            span.fail(name(&outcome));
        }
        outcome
    }

    fn span(&self, event: &Event) -> Span {
        let mut span = Span::start(Step::Consumer, "process EVENTS", event.trace);
        if span.is_recording() {
            span.processes("EVENTS");
            span.set("staffetta.tenant", self.key.tenant.to_string());
            span.set("staffetta.endpoint.id", self.key.endpoint.to_string());
            span.set("staffetta.event.id", event.id.to_string());
            span.set("staffetta.event.type", event.kind.as_str());
            span.set("staffetta.attempt", i64::from(self.attempt));
        }
        span
    }

    async fn deliver_within(&self, span: &Span, shared: &Shared, logged: &Arc<LoggedEvent>) -> Outcome {
        let Ok(_permit) = shared.requests.acquire().await else {
            return Outcome::NotNow("the service is stopping".into());
        };
        let (at, begun) = (Timestamp::now(), Instant::now());
        let (outcome, answer) = match &self.endpoint.target {
            Target::Webhook(webhook) => post(shared, webhook, logged, at, span).await,
            Target::Spool(_) => {
                let mut writing = Span::start(Step::Internal, "write file", span.context());
                let outcome = self.write(shared, logged).await;
                if matches!(outcome, Outcome::Failed(_)) {
                    writing.fail("write");
                }
                (outcome, None)
            }
            Target::Nats => (Outcome::Unsaid, None),
        };
        let duration = begun.elapsed();
        let error = match &outcome {
            Outcome::Delivered => {
                let lag =
                    Duration::try_from(Timestamp::now().duration_since(logged.stored)).unwrap_or_default();
                if self.source == Source::Live {
                    shared.metrics.lag.record(lag.as_secs_f64(), &[]);
                }
                None
            }
            Outcome::Unsaid => {
                Some("the format has no words for this type of event: nothing was sent".into())
            }
            Outcome::Failed(failure) => {
                let text = answer.as_ref().map(|answer| beginning(&answer.text)).unwrap_or_default();
                Some(format!("{}{text}", failure.error))
            }
            Outcome::Missing | Outcome::NotNow(_) => return outcome,
        };
        shared.metrics.duration.record(duration.as_secs_f64(), &[KeyValue::new("format", self.format())]);
        shared.attempts.note(Attempt {
            key: self.key.clone(),
            event: logged.event.id.clone(),
            kind: logged.event.kind,
            at,
            attempt: self.attempt,
            duration,
            status: answer.map(|answer| answer.status),
            error,
        });
        outcome
    }

    /// Writes the event's file, where blocking is allowed.
    async fn write(&self, shared: &Shared, logged: &Arc<LoggedEvent>) -> Outcome {
        let Some(root) = shared.settings.spool_root.clone() else {
            return failed(
                Fault::Endpoint,
                None,
                "no spool folder is allowed here (delivery.spool_root)".into(),
            );
        };
        let (endpoint, logged, source) = (Arc::clone(&self.endpoint), Arc::clone(logged), self.source);
        let writing = tokio::task::spawn_blocking(move || write_file(&endpoint, source, &root, &logged));
        match writing.await {
            Ok(Ok(())) => Outcome::Delivered,
            Ok(Err(error)) => {
                failed(Fault::Endpoint, None, format!("the file could not be written: {error}"))
            }
            Err(_) => failed(Fault::Event, None, "writing the file failed".into()),
        }
    }

    fn format(&self) -> &'static str {
        match &self.endpoint.target {
            Target::Webhook(webhook) => match webhook.format {
                EndpointFormat::CloudEvents => "cloudevents",
                EndpointFormat::CloudApi => "cloud_api",
                EndpointFormat::Form => "form",
            },
            Target::Spool(_) => "spool",
            Target::Nats => "nats",
        }
    }
}

fn write_file(endpoint: &Endpoint, source: Source, root: &Path, logged: &LoggedEvent) -> std::io::Result<()> {
    match (&endpoint.target, source) {
        (Target::Spool(folder), Source::Live) => spool::write(folder, root, logged),
        (Target::Spool(folder), Source::Replay) => spool::write_again(folder, root, logged),
        (Target::Webhook(_) | Target::Nats, _) => Ok(()),
    }
}

/// Posts the event; with what was answered.
async fn post(
    shared: &Shared,
    webhook: &Webhook,
    logged: &LoggedEvent,
    now: Timestamp,
    span: &Span,
) -> (Outcome, Option<Answer>) {
    let registry = shared.registry.load();
    let mut prepared = match format::request(webhook, logged, &registry, &shared.store, now).await {
        Ok(prepared) => prepared,
        Err(Unfit::NoWords) => return (Outcome::Unsaid, None),
        Err(error @ Unfit::Secret(_)) => return (failed(Fault::Endpoint, None, error.to_string()), None),
        Err(error @ Unfit::NotNow(_)) => return (Outcome::NotNow(error.to_string()), None),
    };
    let request = request_span(webhook, span);
    if let Some(header) = request.context().and_then(|trace| HeaderValue::from_str(&trace.to_string()).ok()) {
        prepared.headers.insert(TRACEPARENT, header);
    }
    let begun = Instant::now();
    let answered = shared.client.post(&webhook.url, prepared).await;
    shared.metrics.requested(begun, &answered);
    end_request_span(request, &answered);
    match answered {
        Ok(answer) => {
            let (status, wait) = (answer.status, answer.retry_after);
            let said = || format!("answered {status}");
            let outcome = match status {
                200..=299 => Outcome::Delivered,
                410 => failed(Fault::Gone, None, said()),
                401 | 403 | 404 => failed(Fault::Endpoint, None, said()),
                status if BUSY.contains(&status) => failed(Fault::Endpoint, wait, said()),
                400..=499 => failed(Fault::Event, wait, said()),
                _ => failed(Fault::Endpoint, None, said()),
            };
            (outcome, Some(answer))
        }
        // Whatever it is, the next event would meet it too.
        Err(error) => (failed(Fault::Endpoint, None, error.to_string()), None),
    }
}

/// One request in the event's trace. The address may hold secrets: of it, only the host is told.
fn request_span(webhook: &Webhook, parent: &Span) -> Span {
    let mut span = Span::start(Step::Client, "POST", parent.context());
    if span.is_recording() {
        span.set("http.request.method", "POST");
        let url = Url::parse(&webhook.url).ok();
        if let Some(host) = url.as_ref().and_then(Url::host_str) {
            span.set("server.address", host.to_owned());
        }
    }
    span
}

fn end_request_span(mut span: Span, answered: &Result<Answer, NoAnswer>) {
    if !span.is_recording() {
        return;
    }
    if let Ok(answer) = answered {
        span.set("http.response.status_code", i64::from(answer.status));
    }
    if let Some(failure) = error_type(answered) {
        span.fail(failure);
    }
}

fn failed(fault: Fault, wait: Option<Duration>, error: String) -> Outcome {
    Outcome::Failed(Failure { fault, wait, error })
}

/// The beginning of an answer, in one line, for the attempt log alone. An answer may repeat what was posted: what may be
/// a number or an id is not kept.
fn beginning(text: &str) -> String {
    let words: String = text.split_whitespace().map(masked).collect::<Vec<_>>().join(" ");
    if words.is_empty() { words } else { format!(": {}", words.chars().take(TEXT).collect::<String>()) }
}

/// A word, unless it may tell of a person.
fn masked(word: &str) -> String {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    if digits >= 5 || word.contains("wamid") || word.contains('@') { "…".into() } else { word.to_owned() }
}

/// As the metric names it.
fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Unsaid => "unsaid",
        Outcome::Failed(Failure { fault: Fault::Endpoint, .. }) => "failed",
        Outcome::Failed(Failure { fault: Fault::Event, .. }) => "refused",
        Outcome::Failed(Failure { fault: Fault::Gone, .. }) => "gone",
        Outcome::Missing => "missing",
        Outcome::NotNow(_) => "not_now",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_an_answer_tells_of_nobody() {
        assert_eq!(beginning(" "), "");
        assert_eq!(beginning("no\n such  field"), ": no such field");
        let told =
            beginning("unknown user 393481213456 wamid.ABC mario@rossi.it {\"from\":\"393481213456\"}");
        assert_eq!(told, ": unknown user … … … …");
        assert!(beginning(&"x ".repeat(5_000)).len() < 300);
    }
}
