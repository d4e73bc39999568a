//! How the channel stands, for whoever looks from outside.

use jiff::Timestamp;
use staffetta_domain::{ErrorClass, Lane};

use super::{Machine, Now};

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Messages a second that are allowed now, sent and received together.
    pub(crate) limit: u32,
    /// Of these, how many were taken in the last second.
    pub(crate) used: u32,
    /// Commands whose outcome is being settled.
    pub(crate) doubt: u64,
    pub(crate) held: Held,
    pub(crate) lanes: [LaneFigures; 3],
}

/// How one lane stands.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LaneFigures {
    /// Commands that were read and are not settled.
    pub(crate) known: u64,
    /// Whether the queue holds no others.
    pub(crate) is_all_known: bool,
    /// Commands that have gone from the queue, or may go, since this owner began.
    pub(crate) gone: u64,
    /// When the oldest of those that are known was stored.
    pub(crate) oldest: Option<Timestamp>,
}

/// Whether the channel sends nothing because of what concerns it as a whole and somebody should see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Held {
    /// The owner has only begun.
    #[default]
    Unknown,
    No,
    /// Because of its `token`, its `account` or its `quota`.
    Because(&'static str),
}

impl Held {
    /// What the kept class of a hold stands for, if it is one that stops a channel.
    pub(crate) fn reason(class: &str) -> Option<&'static str> {
        let classes = [ErrorClass::Token, ErrorClass::Account, ErrorClass::Quota];
        classes.into_iter().map(ErrorClass::as_str).find(|known| *known == class)
    }
}

impl Machine {
    /// How the channel stands now.
    pub(crate) fn figures(&self, now: &Now) -> Figures {
        let shared_quota = now.quota.filter(|until| *until > now.boot).map(|_| ErrorClass::Quota.as_str());
        let held = match self.stop.stopped_for().or(shared_quota) {
            Some(reason) => Held::Because(reason),
            None if self.start.is_over() => Held::No,
            None => Held::Unknown,
        };
        Figures {
            limit: self.governor.limit_now(now.boot),
            used: self.governor.used(now.boot),
            doubt: self.doubts.count() as u64,
            held,
            lanes: Lane::ALL.map(|lane| self.lane_figures(lane)),
        }
    }

    fn lane_figures(&self, lane: Lane) -> LaneFigures {
        let state = &self.lanes[lane as usize];
        LaneFigures {
            known: state.known(),
            is_all_known: !state.has_more() && !self.reading[lane as usize],
            gone: state.gone(),
            oldest: state.oldest(),
        }
    }
}
