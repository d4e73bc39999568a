//! The work on each command in its trace: a span from its claim until what came of it is written.
//!
//! Without a collector there is none, and what is told of a command belongs where the command came from.

use std::collections::HashMap;

use staffetta_bus::{QueuedMessage, trace_of};
use staffetta_domain::{CommandId, Lane, TraceParent};
use staffetta_runtime::trace::{Span, Step};
use staffetta_store::Settlement;

use super::{Machine, Now};

/// The commands that are being worked on, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Spans(HashMap<u64, Span>);

impl Spans {
    /// The place in its trace of what is done for a command now.
    pub(super) fn context(&self, message: &QueuedMessage) -> Option<TraceParent> {
        match self.0.get(&message.sequence) {
            Some(span) => span.context(),
            None => trace_of(Some(&message.headers)),
        }
    }

    /// What the work comes to; it ends when that is written.
    pub(super) fn comes_to(&mut self, sequence: u64, settlement: &Settlement) {
        let outcome = match settlement {
            Settlement::Accepted(_) => "accepted",
            Settlement::Retry(_) => "retry",
            Settlement::Postponed(_) => "postponed",
            Settlement::InDoubt(_) => "in_doubt",
            Settlement::Rejected(_) => "rejected",
            Settlement::Failed(_) => "failed",
            Settlement::Expired => "expired",
        };
        if let Some(span) = self.0.get_mut(&sequence) {
            span.set("staffetta.outcome", outcome);
            if matches!(settlement, Settlement::Rejected(_) | Settlement::Failed(_) | Settlement::InDoubt(_))
            {
                span.fail(outcome);
            }
        }
    }

    /// The work has ended, with nothing to write.
    pub(super) fn end_as(&mut self, sequence: u64, outcome: &'static str) {
        if let Some(mut span) = self.0.remove(&sequence) {
            span.set("staffetta.outcome", outcome);
        }
    }

    /// What came of the work is written, or is left to somebody else.
    pub(super) fn end(&mut self, sequence: u64) {
        self.0.remove(&sequence);
    }
}

impl Machine {
    /// Begins the work on a command, and tells its place in the trace.
    pub(super) fn begin_span(
        &mut self,
        lane: Lane,
        message: &QueuedMessage,
        id: &CommandId,
        now: &Now,
    ) -> Option<TraceParent> {
        let parent = trace_of(Some(&message.headers));
        let mut span = Span::start(Step::Consumer, "process SEND", parent);
        if span.is_recording() {
            span.processes("SEND");
            span.set("staffetta.tenant", self.tenant.to_string());
            span.set("staffetta.channel", self.id.to_string());
            span.set("staffetta.lane", lane.as_str());
            span.set("staffetta.command.id", id.to_string());
            span.set("staffetta.queue.time", now.wall.duration_since(message.stored).as_secs_f64());
        }
        let context = span.context();
        if context != parent {
            self.spans.0.insert(message.sequence, span);
        }
        context
    }
}
