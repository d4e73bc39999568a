//! A channel that has stopped until somebody acts: kept in the database, so that operators see it and lift it, and the
//! next owner knows.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::json;
use staffetta_domain::{ErrorClass, Event, EventId, EventType, ProviderError};
use staffetta_store::ChannelHold;

use super::{Action, Held, Machine, Now};

/// How far the database knows of the stop.
#[derive(Debug, Default)]
pub(super) struct Stop {
    /// When the database is asked whether the hold still stands; `None` if the channel has not stopped.
    look_at: Option<Duration>,
    /// Why it has stopped.
    stopped_for: Option<&'static str>,
    /// What is to be written and told, in order.
    untold: VecDeque<(Option<ChannelHold>, Event)>,
    writing: bool,
    asking: bool,
}

/// Between two looks whether somebody has lifted the hold.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl Stop {
    /// The channel had stopped, for this class of refusal, under an owner before.
    pub(super) fn restore(&mut self, class: &str, now: Duration) {
        self.stopped_for = Held::reason(class);
        self.look_at = Some(now + LOOK_EVERY);
    }

    /// Why the channel has stopped, if it has.
    pub(super) fn stopped_for(&self) -> Option<&'static str> {
        self.stopped_for
    }
}

impl Machine {
    /// Tells the tenant that its channel stopped, or sends again, and keeps it.
    pub(super) fn tell_hold(&mut self, stopped: Option<(ErrorClass, &ProviderError)>, now: &Now) {
        let data = stopped.map(
            |(class, error)| json!({ "class": class.as_str(), "code": error.code, "reason": error.message }),
        );
        let event = Event {
            id: EventId::of(&["hold", self.id.as_str(), &now.wall.to_string()]),
            tenant: self.tenant.clone(),
            channel: self.id.clone(),
            kind: EventType::ChannelChanged,
            time: now.wall,
            subject: self.id.to_string(),
            data: json!({ "change": "hold", "hold": data }).as_object().cloned().unwrap_or_default(),
            trace: None,
        };
        let hold = stopped.map(|(class, error)| ChannelHold {
            tenant: self.tenant.clone(),
            channel: self.id.clone(),
            class: class.as_str().into(),
            code: error.code,
            reason: error.message.clone(),
            since: now.wall,
        });
        self.stop.stopped_for = stopped.map(|(class, _)| class.as_str());
        self.stop.look_at = hold.is_some().then_some(now.boot + LOOK_EVERY);
        self.stop.untold.push_back((hold, event));
        self.keep_hold();
    }

    /// One at a time, or a stop that is written late would stand after its end.
    fn keep_hold(&mut self) {
        if !self.stop.writing
            && let Some((hold, event)) = self.stop.untold.pop_front()
        {
            self.stop.writing = true;
            self.todo.push(Action::Hold { hold, event });
        }
    }

    pub(super) fn hold_kept(&mut self) {
        self.stop.writing = false;
        self.keep_hold();
    }

    /// Asks whether somebody has lifted the hold.
    pub(super) fn look_at_hold(&mut self, now: &Now) -> Option<Duration> {
        let at = self.stop.look_at?;
        if self.stop.asking || self.stop.writing {
            return None;
        }
        if now.boot < at {
            return Some(at);
        }
        self.stop.asking = true;
        self.stop.look_at = Some(now.boot + LOOK_EVERY);
        self.todo.push(Action::AskHold);
        None
    }

    pub(super) fn hold_stands(&mut self, stands: bool, now: &Now) {
        self.stop.asking = false;
        if !stands && self.stop.look_at.is_some() && !self.stop.writing {
            // One request goes ahead. Refused again, the channel stops again, and says so.
            self.hold.lift(now.boot);
            self.tell_hold(None, now);
        }
    }
}
