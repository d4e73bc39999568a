//! What is new among recorded leaves: counted, and followed into the traces of commands.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::SystemTime;

use opentelemetry::KeyValue;
use serde_json::Value;
use staffetta_domain::{EventType, TraceParent};
use staffetta_runtime::trace::{Span, Step};
use staffetta_store::Announcement;

use crate::envelope::{Carrier, Contents};
use crate::metrics::Metrics;

/// Counts what is new among these leaves, and begins a step for each status that belongs to the trace of its command:
/// the webhook that brought it has one of its own.
pub(crate) fn note(
    contents: &Contents,
    leaves: Range<usize>,
    new: &[Announcement],
    metrics: &Metrics,
) -> Vec<Span> {
    let (mut received, mut statuses) = (BTreeMap::new(), BTreeMap::new());
    let mut steps = Vec::new();
    let mut rest = leaves;
    for announcement in new {
        let event = &announcement.event;
        // The acceptance of a command that a status proves; the status comes next.
        if event.kind == EventType::CommandAccepted {
            continue;
        }
        // They stand in the order of their leaves.
        let Some(index) = rest.find(|index| contents.leaves[*index].event.id == event.id) else { break };
        let origin = contents.origins[index];
        let channel = (event.tenant.as_str(), event.channel.as_str());
        if contents.found[origin.found].is_received() {
            *received.entry(channel).or_default() += 1;
        }
        if event.kind == EventType::MessageStatus {
            let status = Status::of(announcement);
            *statuses.entry((channel, status.name())).or_default() += 1;
            steps.extend(step(announcement, status, &contents.carriers[origin.came]));
        }
    }
    let labels = |(tenant, channel): (&str, &str)| {
        [KeyValue::new("tenant", tenant.to_owned()), KeyValue::new("channel", channel.to_owned())]
    };
    for (channel, count) in received {
        metrics.received.add(count, &labels(channel));
    }
    for ((channel, status), count) in statuses {
        let [tenant, channel] = labels(channel);
        metrics.statuses.add(count, &[tenant, channel, KeyValue::new("status", status)]);
    }
    steps
}

/// What a status says, as far as it is one of those that are known.
#[derive(Clone, Copy)]
enum Status {
    Sent,
    Delivered,
    Read,
    Played,
    Failed,
    Other,
}

impl Status {
    fn of(announcement: &Announcement) -> Self {
        match announcement.event.data.get("status").and_then(Value::as_str) {
            Some("sent") => Self::Sent,
            Some("delivered") => Self::Delivered,
            Some("read") => Self::Read,
            Some("played") => Self::Played,
            Some("failed") => Self::Failed,
            _ => Self::Other,
        }
    }

    fn name(self) -> &'static str {
        self.step().trim_start_matches("status ")
    }

    /// The name of its step in a trace.
    fn step(self) -> &'static str {
        match self {
            Self::Sent => "status sent",
            Self::Delivered => "status delivered",
            Self::Read => "status read",
            Self::Played => "status played",
            Self::Failed => "status failed",
            Self::Other => "status other",
        }
    }
}

/// From the status's arrival on, in the trace of its command.
fn step(announcement: &Announcement, status: Status, carrier: &Carrier) -> Option<Span> {
    let event = &announcement.event;
    let command = event.trace.filter(TraceParent::is_sampled)?;
    if carrier.trace.is_some_and(|webhook| webhook.trace_id() == command.trace_id()) {
        return None;
    }
    // How long a replayed one lay on DEAD is no part of the step.
    let begun = if carrier.is_replay() { SystemTime::now() } else { carrier.received_at.into() };
    let mut span =
        Span::start_at(Step::Consumer, status.step(), Some(command), begun, carrier.trace.as_slice());
    if span.is_recording() {
        span.processes("WEBHOOKS");
        span.set("staffetta.tenant", event.tenant.to_string());
        span.set("staffetta.channel", event.channel.to_string());
        span.set("staffetta.event.id", event.id.to_string());
        if let Some(command) = event.data.get("command_id").and_then(Value::as_str) {
            span.set("staffetta.command.id", command.to_owned());
        }
    }
    Some(span)
}
