//! What a run shows, in words and figures.

use std::fmt;
use std::time::Duration;

/// One replacement, with what was seen until the load had gone on for a while after it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// From its start until the new replica was ready.
    pub(crate) ready: Duration,
    /// From SIGTERM until the old replica was gone.
    pub(crate) stopped: Duration,
    /// The slowest acknowledgement of a webhook.
    pub(crate) acknowledged: Duration,
    /// The longest time that a channel with a backlog sent nothing.
    pub(crate) sends_paused: Duration,
    /// The longest time that nothing came to the tenant's endpoint.
    pub(crate) endpoint_paused: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Report {
    migrated: Duration,
    steps: Vec<(&'static str, &'static str, Step)>,
}

impl Report {
    /// The schema, the streams and the registry were brought up to date, in this time.
    pub(crate) fn migrated(&mut self, after: Duration) {
        self.migrated = after;
    }

    /// The service was replaced by that version.
    pub(crate) fn add(&mut self, version: &'static str, role: &'static str, step: Step) {
        self.steps.push((version, role, step));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "migrate and apply by the new version: {} ms", self.migrated.as_millis())?;
        writeln!(f, "milliseconds:")?;
        writeln!(
            f,
            "{:<8}{:<12}{:>8}{:>10}{:>14}{:>14}{:>18}",
            "to", "service", "ready", "stopped", "slowest ack", "sends paused", "endpoint paused"
        )?;
        for (version, role, step) in &self.steps {
            writeln!(
                f,
                "{version:<8}{role:<12}{:>8}{:>10}{:>14}{:>14}{:>18}",
                step.ready.as_millis(),
                step.stopped.as_millis(),
                step.acknowledged.as_millis(),
                step.sends_paused.as_millis(),
                step.endpoint_paused.as_millis()
            )?;
        }
        Ok(())
    }
}
