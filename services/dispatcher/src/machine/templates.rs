//! Templates that nobody can be sent for a while.

use std::collections::HashMap;
use std::time::Duration;

/// Why templates wait, by name.
#[derive(Debug, Default)]
pub(super) struct TemplateHolds(HashMap<Box<str>, (i64, Duration)>);

/// Most templates that are kept: a tenant's commands name them.
const MOST: usize = 1_000;

impl TemplateHolds {
    /// The template was refused with this code.
    pub(super) fn refused(&mut self, name: &str, code: i64, now: Duration) {
        let wait = match code {
            // Paused for three hours the first time.
            132_015 => Duration::from_secs(3 * 3_600),
            // Disabled for good: a new one has a new name, or a webhook tells of it.
            132_016 => Duration::from_secs(24 * 3_600),
            // A fresh approval may lag by minutes.
            _ => Duration::from_secs(300),
        };
        self.0.retain(|_, (_, until)| *until > now);
        if self.0.len() < MOST {
            self.0.insert(name.into(), (code, now + wait));
        }
    }

    /// With which code the template was refused, if it still waits.
    pub(super) fn code(&self, name: &str, now: Duration) -> Option<i64> {
        self.0.get(name).filter(|(_, until)| *until > now).map(|(code, _)| *code)
    }

    /// Something about a template has changed: each may be tried again.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}
