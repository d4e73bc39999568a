//! What becomes of a command when its request has ended.

use std::time::Duration;

use jiff::Timestamp;
use opentelemetry::KeyValue;
use serde_json::json;
use staffetta_bus::{DeadLetter, boot_time};
use staffetta_domain::{CommandId, ErrorClass, Event, EventId, EventType, Lane, ProviderError};
use staffetta_providers::cloud_api::{Called, SendError, Taken};
use staffetta_store::{Outcome, Settlement};
use tracing::{error, info, warn};

use super::sending::{Armed, Sent};
use super::settling::Then;
use super::{ChannelActor, Done};
use crate::events::{command_event, dead_letter};
use crate::hold::{Cause, Held, Key};
use crate::lane::Queued;

/// Code and reason of what the database will not take.
const UNRECORDABLE: (&str, &str) = ("unrecordable", "the database will not take it");
/// The first wait for one user who got too much; the reference says 4^X seconds, and one message in six is sure.
const PAIR_WAIT: Duration = Duration::from_secs(6);

/// A channel without a token can't send, just as one whose token is refused.
pub(super) fn no_key() -> SendError {
    let message = "the channel has no access token, or no phone_number_id of its own".into();
    let error = ProviderError { http: 0, code: 190, subcode: None, message };
    SendError::Refused { error, class: ErrorClass::Token, retry_after: None }
}

impl ChannelActor {
    pub(super) fn sent(&mut self, sent: Sent) {
        let Sent { armed, key, begun, result } = sent;
        let outcome = match &result {
            Ok(_) => "accepted",
            Err(SendError::Refused { class, .. }) => class.as_str(),
            Err(SendError::NotSent(_)) => "not_sent",
            Err(SendError::NoAnswer(_)) => "in_doubt",
        };
        self.shared.metrics.sends.add(1, &[KeyValue::new("outcome", outcome)]);
        self.hold.ended(begun);
        match result {
            Ok(taken) => self.accepted(armed, begun, taken),
            Err(SendError::NotSent(why)) => self.not_sent(armed, begun, why),
            Err(SendError::NoAnswer(why)) => self.in_doubt(armed, why),
            Err(SendError::Refused { error, class, retry_after }) => {
                self.refused(armed, begun, &error, class, retry_after, key);
            }
        }
    }

    /// The request never left: either it was fenced off, and the next owner sends it, or the provider is out of reach,
    /// which is no command's fault.
    fn not_sent(&mut self, armed: Armed, begun: Duration, why: &'static str) {
        if self.lease.is_valid() && self.wait(Cause::Unreachable, None, begun) == Held::Briefly {
            warn!(channel = %self.id, why, "the channel waits");
        }
        self.postpone(armed, why.into(), Duration::ZERO);
    }

    fn accepted(&mut self, armed: Armed, begun: Duration, taken: Taken) {
        if self.hold.accepted(begun) {
            self.tell_hold(None);
        }
        let Armed { lane, queued, attempt } = armed;
        let Taken { wamid, called } = taken;
        let lag = Timestamp::now().duration_since(queued.message.stored).as_secs_f64();
        self.shared.metrics.lag.record(lag, &[KeyValue::new("lane", lane.as_str())]);
        let data = json!({ "wamid": wamid.as_str(), "attempt": attempt, "settled_by": "answer" });
        let event = self.event(&queued, EventType::CommandAccepted, data);
        let outcome = self.end(lane, &queued, Settlement::Accepted(wamid), event);
        let outcome = Outcome { called: called.map(Called::into_text), ..outcome };
        self.close_with(lane, queued, outcome, None);
    }

    fn refused(
        &mut self,
        armed: Armed,
        begun: Duration,
        error: &ProviderError,
        class: ErrorClass,
        retry_after: Option<Duration>,
        key: Key,
    ) {
        let reason = format!("{} (code {})", class.as_str(), error.code);
        match class {
            ErrorClass::Transient => {
                self.retry(armed, format!("{reason}: {}", error.message), retry_after, Some(error));
            }
            ErrorClass::Permanent => {
                self.hold.judged(begun);
                let why = format!("{} (code {})", error.message, error.code);
                self.fail(armed, "refused", why, Some(error));
            }
            ErrorClass::Pair => {
                self.hold.judged(begun);
                let wait = retry_after.unwrap_or(PAIR_WAIT);
                self.postpone(armed, reason, boot_time() + wait);
            }
            ErrorClass::Throughput | ErrorClass::Quota | ErrorClass::Token | ErrorClass::Account => {
                if self.wait(Cause::Refused(class, key), retry_after, begun) == Held::Stopped {
                    error!(channel = %self.id, class = class.as_str(), code = error.code, "the channel stopped sending");
                    self.tell_hold(Some((class, error)));
                }
                self.postpone(armed, reason, Duration::ZERO);
            }
        }
    }

    /// The whole channel waits, and what it had claimed is given back.
    fn wait(&mut self, cause: Cause, named: Option<Duration>, begun: Duration) -> Held {
        let key = self.key(&self.shared.registry.load());
        let held = self.hold.refused(cause, named, &key, begun, boot_time());
        if held != Held::Already {
            self.disarm();
        }
        held
    }

    /// Nothing was sent and it may work later: another try, if one is left.
    fn retry(&mut self, armed: Armed, why: String, named: Option<Duration>, error: Option<&ProviderError>) {
        let settings = &self.shared.settings;
        match settings.retry.after(armed.attempt, armed.queued.sequence()) {
            Some(wait) if armed.attempt < settings.max_tries => {
                // A provider that names no wait worth the name is not hurried.
                let until = boot_time() + named.map_or(wait, |named| named.max(wait));
                self.settle_again(armed, Settlement::Retry(why), until);
            }
            _ => self.fail(armed, "attempts_exhausted", why, error),
        }
    }

    /// Nothing was sent, and it was not the command's fault.
    fn postpone(&mut self, armed: Armed, why: String, until: Duration) {
        self.settle_again(armed, Settlement::Postponed(why), until);
    }

    fn settle_again(&mut self, armed: Armed, settlement: Settlement, until: Duration) {
        let outcome = self.outcome(armed.lane, &armed.queued.command.id, None, settlement, None);
        let sequence = armed.queued.sequence();
        self.settle(armed.lane, sequence, outcome, None, Then::Again(armed.queued, until));
    }

    /// Gives back what was claimed and not sent.
    pub(super) fn disarm(&mut self) {
        for lane in Lane::ALL {
            for armed in std::mem::take(&mut self.armed[lane as usize]) {
                self.postpone(armed, "the channel waits".into(), Duration::ZERO);
            }
        }
    }

    fn in_doubt(&mut self, armed: Armed, why: &'static str) {
        warn!(channel = %self.id, command = %armed.queued.command.id, why, "a command is in doubt");
        let once_per = format!("{}.{}", self.lease.epoch(), armed.attempt);
        let event = self.in_doubt_event(&armed.queued, &once_per, why);
        let Armed { lane, queued, attempt } = armed;
        let outcome =
            self.outcome(lane, &queued.command.id, None, Settlement::InDoubt(why.into()), Some(event));
        self.settle(lane, queued.sequence(), outcome, None, Then::Doubt(queued, attempt));
    }

    fn fail(&mut self, armed: Armed, code: &'static str, reason: String, error: Option<&ProviderError>) {
        let error = error.map(|error| {
            json!({
                "code": error.code, "subcode": error.subcode, "http": error.http, "message": error.message,
            })
        });
        let data = json!({ "code": code, "reason": reason, "attempt": armed.attempt, "error": error });
        let event = self.event(&armed.queued, EventType::CommandFailed, data);
        let letter = self.letter(armed.lane, &armed.queued, code, reason.clone());
        self.finish(armed.lane, armed.queued, Settlement::Failed(reason), event, Some(letter));
    }

    /// Ends a command of which nobody can say whether it was sent.
    pub(super) fn fail_unknown(&mut self, lane: Lane, queued: Queued, attempt: u32) {
        let reason = "no answer and no status: nobody knows whether it was sent";
        self.fail(Armed { lane, queued, attempt }, "outcome_unknown", reason.into(), None);
    }

    /// Sends a command of which no status ever told that it was sent.
    pub(super) fn resend(&mut self, lane: Lane, queued: Queued, attempt: u32) {
        let why = "no answer and no status";
        if attempt >= self.shared.settings.max_tries {
            return self.fail(Armed { lane, queued, attempt }, "attempts_exhausted", why.into(), None);
        }
        info!(channel = %self.id, command = %queued.command.id, "no status came: sending again");
        let armed = Armed { lane, queued, attempt };
        self.settle_again(armed, Settlement::Retry(why.into()), Duration::ZERO);
    }

    pub(super) fn expire(&mut self, lane: Lane, queued: Queued) {
        let event = self.event(&queued, EventType::CommandExpired, json!({ "code": "expired" }));
        self.finish(lane, queued, Settlement::Expired, event, None);
    }

    /// Ends a command that the database will not take; perhaps it takes that much.
    pub(super) fn give_up(&mut self, lane: Lane, queued: Queued) {
        let (code, reason) = UNRECORDABLE;
        let letter = self.letter(lane, &queued, code, reason.into());
        let event = self.event(&queued, EventType::CommandFailed, json!({ "code": code, "reason": reason }));
        self.finish(lane, queued, Settlement::Failed(reason.into()), event, Some(letter));
    }

    /// Leaves the end of a command, which the database will not take, to DEAD alone.
    pub(super) fn bury(&mut self, lane: Lane, queued: &Queued) {
        let (code, reason) = UNRECORDABLE;
        let letter = self.letter(lane, queued, code, reason.into());
        let (settler, sequence) = (self.settler(), queued.sequence());
        self.work
            .push(Box::pin(async move { Done::Settled(vec![settler.bury(lane, sequence, letter).await]) }));
    }

    /// The end of a command: its recipient's next one may go at once, the queue's entry when the end is written.
    fn finish(
        &mut self,
        lane: Lane,
        queued: Queued,
        settlement: Settlement,
        event: Event,
        letter: Option<DeadLetter>,
    ) {
        let outcome = self.end(lane, &queued, settlement, event);
        self.close_with(lane, queued, outcome, letter);
    }

    fn end(&self, lane: Lane, queued: &Queued, settlement: Settlement, event: Event) -> Outcome {
        let user = Some(queued.command.to.key().to_owned());
        self.outcome(lane, &queued.command.id, user, settlement, Some(event))
    }

    fn close_with(&mut self, lane: Lane, queued: Queued, outcome: Outcome, letter: Option<DeadLetter>) {
        self.lanes[lane as usize].done(&queued);
        let sequence = queued.sequence();
        let then = Then::Close(letter.is_none().then_some(queued));
        self.settle(lane, sequence, outcome, letter, then);
    }

    fn event(&self, queued: &Queued, kind: EventType, data: serde_json::Value) -> Event {
        command_event(&self.tenant, &self.id, &queued.command.id, kind, "", Timestamp::now(), data)
    }

    fn letter(&self, lane: Lane, queued: &Queued, reason: &'static str, detail: String) -> DeadLetter {
        dead_letter(
            &self.subject(lane),
            &queued.message,
            &queued.command.id,
            reason,
            detail,
            Timestamp::now(),
        )
    }

    pub(super) fn outcome(
        &self,
        lane: Lane,
        id: &CommandId,
        user: Option<String>,
        settlement: Settlement,
        event: Option<Event>,
    ) -> Outcome {
        let (tenant, channel) = (self.tenant.clone(), self.id.clone());
        let (epoch, at) = (self.lease.epoch(), Timestamp::now());
        Outcome { tenant, channel, lane, id: id.clone(), epoch, user, called: None, at, settlement, event }
    }

    /// Tells the tenant that its channel stopped, or sends again.
    fn tell_hold(&mut self, stopped: Option<(ErrorClass, &ProviderError)>) {
        let now = Timestamp::now();
        let hold = stopped.map(
            |(class, error)| json!({ "class": class.as_str(), "code": error.code, "reason": error.message }),
        );
        let event = Event {
            id: EventId::of(&["hold", self.id.as_str(), &now.to_string()]),
            tenant: self.tenant.clone(),
            channel: self.id.clone(),
            kind: EventType::ChannelChanged,
            time: now,
            subject: self.id.to_string(),
            data: json!({ "change": "hold", "hold": hold }).as_object().cloned().unwrap_or_default(),
        };
        let ledger = self.ledger.clone();
        self.work.push(Box::pin(async move {
            if let Err(error) = ledger.note(event).await {
                warn!(error = &error as &dyn std::error::Error, "a channel's hold could not be told");
            }
            Done::Noted
        }));
    }
}
