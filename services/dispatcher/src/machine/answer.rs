//! What becomes of a command when its request has ended.

use std::time::Duration;

use serde_json::json;
use staffetta_domain::{Breadth, ErrorClass, EventType, Lane, ProviderError, Reach, WindowPolicy};
use staffetta_providers::cloud_api::{Called, SendError, Taken, Usage};
use staffetta_store::{Outcome, Settlement};
use tracing::{error, info, warn};

use super::outcome::Failure;
use super::sending::{Armed, Sent};
use super::settling::Then;
use super::window::Carried;
use super::{Action, Machine, Now};
use crate::governor::Turn;
use crate::hold::{Cause, Held, Key};
use crate::lane::Queued;

/// How long a command waits that the number had no throughput left for.
const THROTTLED: Duration = Duration::from_secs(1);
/// The shortest wait for a quota of which the provider does not say when it comes back.
const QUOTA: Duration = Duration::from_secs(60);
/// When a number in maintenance is asked what it is granted.
const AFTER_MAINTENANCE: Duration = Duration::from_secs(65);
/// Outside the customer service window.
const OUTSIDE_WINDOW: i64 = 131_047;

/// A refusal, as the provider gave it.
struct Refusal {
    error: ProviderError,
    class: ErrorClass,
    retry_after: Option<Duration>,
}

impl Machine {
    pub(super) fn sent(&mut self, sent: Sent, now: &Now) {
        let Sent { armed, key, begun, result, usage } = sent;
        self.in_flight -= 1;
        self.hold.ended(begun);
        self.heed(usage, now);
        let user = armed.queued.command.to.key().to_owned();
        match result {
            Ok(taken) => {
                self.pairs.answered(&user, begun, now.boot);
                self.accepted(armed, begun, taken, now);
            }
            Err(SendError::NotSent(why)) => {
                self.pairs.give_back(&user);
                self.not_sent(armed, begun, why, now);
            }
            Err(SendError::NoAnswer(why)) => {
                self.pairs.answered(&user, begun, now.boot);
                self.in_doubt(armed, why, now);
            }
            Err(SendError::Refused { error, class, retry_after }) => {
                if class != ErrorClass::Pair {
                    self.pairs.answered(&user, begun, now.boot);
                }
                self.refused(armed, begun, Refusal { error, class, retry_after }, key, now);
            }
        }
    }

    /// The provider says how much of its quotas is used up, before it refuses.
    fn heed(&mut self, usage: Usage, now: &Now) {
        if usage.app_percent.is_some_and(|percent| percent >= 100) {
            self.todo.push(Action::Quota { breadth: Breadth::App, until: now.boot + QUOTA });
        }
        if let Some(wait) = usage.account_wait {
            self.todo.push(Action::Quota { breadth: Breadth::Account, until: now.boot + wait });
        }
    }

    /// The request never left: it expired, or it was fenced off and the next owner sends it, or the provider is out of
    /// reach, which is no command's fault.
    fn not_sent(&mut self, armed: Armed, begun: Duration, why: &'static str, now: &Now) {
        if armed.queued.is_over(now.wall) {
            return self.expire_armed(armed, now);
        }
        if now.may_send && self.wait(Cause::Unreachable, None, begun, now) == Held::Briefly {
            warn!(channel = %self.id, why, "the channel waits");
        }
        self.postpone(armed, why.into(), Duration::ZERO, now);
    }

    fn accepted(&mut self, armed: Armed, begun: Duration, taken: Taken, now: &Now) {
        if self.hold.accepted(begun) {
            self.tell_hold(None, now);
        }
        self.pairs.accepted(armed.queued.command.to.key());
        self.doubts.accepted(begun, now);
        let Armed { lane, queued, attempt, carried, reach, .. } = armed;
        let Taken { wamid, called } = taken;
        let mut data = json!({ "wamid": wamid.as_str(), "attempt": attempt, "settled_by": "answer" });
        if let Some(carried) = carried {
            data["window"] = json!({ "template": carried.template, "left_out": carried.left_out });
        }
        let event = self.event(&queued, EventType::CommandAccepted, data, now);
        let outcome = self.end(lane, &queued, Settlement::Accepted(wamid), event, now);
        let outcome = Outcome { called: called.map(Called::into_text), reach, ..outcome };
        self.close_with(lane, queued, outcome, None);
    }

    fn refused(&mut self, armed: Armed, begun: Duration, refusal: Refusal, key: Key, now: &Now) {
        let Refusal { error, class, retry_after } = &refusal;
        let reason = format!("{} (code {})", class.as_str(), error.code);
        match class {
            ErrorClass::Transient => {
                self.retry(armed, format!("{reason}: {}", error.message), &refusal, now);
            }
            ErrorClass::Permanent => {
                self.hold.judged(begun);
                self.refuse_for_good(armed, error, now);
            }
            ErrorClass::Recipient => {
                self.hold.judged(begun);
                match self.in_a_template(&armed, error.code, now) {
                    Some(_) if self.stopping => self.postpone(armed, reason, Duration::ZERO, now),
                    Some(carried) => {
                        // The next command to this user need not ask: the refusal is kept with this one's end.
                        let reach = Reach::refused(error.code, None);
                        let again = Armed { carried: Some(Box::new(carried)), reach, ..armed };
                        self.pairs.take(again.queued.command.to.key(), now.boot);
                        self.armed[again.lane as usize].push_front(again);
                    }
                    None => self.refuse_for_good(armed, error, now),
                }
            }
            ErrorClass::Template => {
                self.hold.judged(begun);
                let name = match &armed.carried {
                    Some(carried) => Some(carried.template.clone()),
                    None => armed.queued.command.content["name"].as_str().map(str::to_owned),
                };
                if let Some(name) = name.filter(|_| armed.is_template()) {
                    self.templates.refused(&name, error.code, now.boot);
                }
                self.refuse_for_good(armed, error, now);
            }
            ErrorClass::Pair => {
                self.hold.judged(begun);
                let until = self.pairs.refused(armed.queued.command.to.key(), now.boot);
                let named = now.boot + retry_after.unwrap_or_default();
                self.postpone(armed, reason, until.max(named), now);
            }
            ErrorClass::Throughput if retry_after.is_none() => {
                // What the number may send is less than was thought: it slows down, and need not stop.
                self.hold.judged(begun);
                self.governor.throttled(now.boot);
                self.postpone(armed, reason, now.boot + THROTTLED, now);
            }
            ErrorClass::Quota if ErrorClass::breadth(error.code) != Breadth::Channel => {
                let breadth = ErrorClass::breadth(error.code);
                let until = now.boot + retry_after.unwrap_or(QUOTA);
                self.todo.push(Action::Quota { breadth, until });
                self.postpone(armed, reason, until, now);
            }
            ErrorClass::Throughput
            | ErrorClass::Maintenance
            | ErrorClass::Quota
            | ErrorClass::Token
            | ErrorClass::Account => {
                if *class == ErrorClass::Maintenance {
                    // The number may come back with more.
                    self.ask_throughput_after(begun + AFTER_MAINTENANCE);
                }
                if self.wait(Cause::Refused(*class, key), *retry_after, begun, now) == Held::Stopped {
                    error!(channel = %self.id, class = class.as_str(), code = error.code, "the channel stopped sending");
                    self.tell_hold(Some((*class, error)), now);
                }
                self.postpone(armed, reason, Duration::ZERO, now);
            }
        }
    }

    /// The provider knows better than we do that the window is shut: a template carries the message, if one may.
    fn in_a_template(&self, armed: &Armed, code: i64, now: &Now) -> Option<Carried> {
        let command = &armed.queued.command;
        let may = command.window_policy == Some(WindowPolicy::Template);
        if code != OUTSIDE_WINDOW || !may || armed.is_template() {
            return None;
        }
        let may_go = self.pairs.turn(command.to.key(), now.boot) == Turn::Now;
        let carried = self.carry(command).ok().filter(|_| may_go)?;
        self.templates.code(&carried.template, now.boot).is_none().then_some(carried)
    }

    fn refuse_for_good(&mut self, armed: Armed, error: &ProviderError, now: &Now) {
        let template = match &armed.carried {
            Some(carried) => Some(carried.template.as_str()),
            None => armed.queued.command.content["name"].as_str().filter(|_| armed.is_template()),
        };
        let failure = Failure {
            code: "refused",
            reason: format!("{} (code {})", error.message, error.code),
            attempt: armed.attempt,
            reach: Reach::refused(error.code, template),
            error: Some(error),
        };
        self.fail(armed.lane, armed.queued, failure, now);
    }

    /// The whole channel waits, and what it had claimed is given back.
    fn wait(&mut self, cause: Cause, named: Option<Duration>, begun: Duration, now: &Now) -> Held {
        let held = self.hold.refused(cause, named, &self.view.key, begun, now.boot);
        if held != Held::Already {
            self.disarm(now);
        }
        held
    }

    /// Nothing was sent and it may work later: another try, if one is left.
    fn retry(&mut self, armed: Armed, why: String, refusal: &Refusal, now: &Now) {
        let most = ErrorClass::most_tries(refusal.error.code).unwrap_or(u32::MAX);
        let most = most.min(self.settings.max_tries);
        match self.settings.retry.after(armed.attempt, armed.queued.sequence()) {
            Some(wait) if armed.attempt < most => {
                // A provider that names no wait worth the name is not hurried.
                let least = ErrorClass::least_wait(refusal.error.code).unwrap_or_default();
                let until = now.boot + wait.max(least).max(refusal.retry_after.unwrap_or_default());
                self.settle_again(armed, Settlement::Retry(why), until, now);
            }
            _ => {
                let failure = Failure {
                    code: "attempts_exhausted",
                    reason: why,
                    attempt: armed.attempt,
                    error: Some(&refusal.error),
                    reach: None,
                };
                self.fail(armed.lane, armed.queued, failure, now);
            }
        }
    }

    /// Nothing was sent, and it was not the command's fault.
    fn postpone(&mut self, armed: Armed, why: String, until: Duration, now: &Now) {
        self.settle_again(armed, Settlement::Postponed(why), until, now);
    }

    fn settle_again(&mut self, armed: Armed, settlement: Settlement, until: Duration, now: &Now) {
        let outcome = self.outcome(armed.lane, &armed.queued.command.id, settlement, None, now);
        let sequence = armed.queued.sequence();
        self.settle(armed.lane, sequence, outcome, Then::Again(armed.queued, until));
    }

    /// Gives back what was claimed and not sent.
    pub(super) fn disarm(&mut self, now: &Now) {
        for lane in Lane::ALL {
            for armed in std::mem::take(&mut self.armed[lane as usize]) {
                self.pairs.give_back(armed.queued.command.to.key());
                self.postpone(armed, "the channel waits".into(), Duration::ZERO, now);
            }
        }
    }

    fn in_doubt(&mut self, armed: Armed, why: &'static str, now: &Now) {
        warn!(channel = %self.id, command = %armed.queued.command.id, why, "a command is in doubt");
        let once_per = format!("{}.{}", self.epoch, armed.attempt);
        let event = self.in_doubt_event(&armed.queued, &once_per, why, now);
        let Armed { lane, queued, attempt, .. } = armed;
        let outcome =
            self.outcome(lane, &queued.command.id, Settlement::InDoubt(why.into()), Some(event), now);
        self.settle(lane, queued.sequence(), outcome, Then::Doubt(queued, attempt));
    }

    /// Ends a command of which nobody can say whether it was sent.
    pub(super) fn fail_unknown(&mut self, lane: Lane, queued: Queued, attempt: u32, now: &Now) {
        let reason = "no answer and no status: nobody knows whether it was sent".into();
        let failure = Failure { code: "outcome_unknown", reason, attempt, error: None, reach: None };
        self.fail(lane, queued, failure, now);
    }

    /// Sends a command of which no status ever told that it was sent.
    pub(super) fn resend(&mut self, lane: Lane, queued: Queued, attempt: u32, now: &Now) {
        let why = "no answer and no status";
        if attempt >= self.settings.max_tries {
            let failure =
                Failure { code: "attempts_exhausted", reason: why.into(), attempt, error: None, reach: None };
            return self.fail(lane, queued, failure, now);
        }
        info!(channel = %self.id, command = %queued.command.id, "no status came: sending again");
        let outcome = self.outcome(lane, &queued.command.id, Settlement::Retry(why.into()), None, now);
        self.settle(lane, queued.sequence(), outcome, Then::Again(queued, Duration::ZERO));
    }
}

impl Armed {
    /// Whether it leaves as a template.
    fn is_template(&self) -> bool {
        self.carried.is_some() || self.queued.command.kind == "template"
    }
}
