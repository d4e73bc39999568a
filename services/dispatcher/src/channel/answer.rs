//! What becomes of a command when its request has ended.

use std::time::Duration;

use jiff::Timestamp;
use opentelemetry::KeyValue;
use secrecy::SecretString;
use serde_json::json;
use staffetta_bus::{DeadLetter, boot_time};
use staffetta_domain::{CommandId, ErrorClass, Event, EventId, EventType, Lane, ProviderError, Wamid};
use staffetta_providers::cloud_api::SendError;
use staffetta_store::{Outcome, Settlement};
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::{Armed, ChannelActor, Done, Sent};
use crate::events::{command_event, dead_letter};
use crate::hold::Held;
use crate::lane::Queued;

/// What happens once the outcome is written.
#[derive(Debug)]
pub(crate) enum Then {
    /// The command need not stay in the queue.
    Close,
    /// Its head may go again at this moment.
    Again(Queued, Duration),
    /// A status has to settle it.
    Doubt(Queued, u32),
}

/// An outcome that was written.
#[derive(Debug)]
pub(crate) struct Settled {
    lane: Lane,
    sequence: u64,
    written: anyhow::Result<bool>,
    then: Then,
}

/// Pause before a dead letter that could not be written is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// The first wait for one user who got too much; the reference says 4^X seconds, and one message in six is sure.
const PAIR_WAIT: Duration = Duration::from_secs(6);

/// A channel without a token can't send, just as one whose token is refused.
pub(super) fn no_token() -> SendError {
    let message = "the channel has no access token or no phone_number_id".into();
    let error = ProviderError { http: 0, code: 190, subcode: None, message };
    SendError::Refused { error, class: ErrorClass::Token, retry_after: None }
}

impl ChannelActor {
    pub(super) fn sent(&mut self, sent: Sent) -> anyhow::Result<()> {
        let Sent { armed, token, result } = sent;
        let outcome = match &result {
            Ok(_) => "accepted",
            Err(SendError::Refused { class, .. }) => class.as_str(),
            Err(SendError::NotSent(_)) => "not_sent",
            Err(SendError::NoAnswer(_)) => "in_doubt",
        };
        self.shared.metrics.sends.add(1, &[KeyValue::new("outcome", outcome)]);
        match result {
            Ok(wamid) => self.accepted(armed, wamid),
            Err(SendError::NotSent(why)) if self.lease.is_valid() => self.retry(armed, why.into(), None),
            // The request was fenced off, or never left: the next owner sends it.
            Err(SendError::NotSent(why)) => self.postpone(armed, why.into(), Duration::ZERO),
            Err(SendError::NoAnswer(why)) => self.in_doubt(armed, why),
            Err(SendError::Refused { error, class, retry_after }) => {
                self.refused(armed, &error, class, retry_after, token.as_ref());
            }
        }
        Ok(())
    }

    fn accepted(&mut self, armed: Armed, wamid: Wamid) {
        if self.hold.accepted() {
            self.tell_hold(None);
        }
        let Armed { lane, queued, attempt } = armed;
        let lag = Timestamp::now().duration_since(queued.message.stored).as_secs_f64();
        self.shared.metrics.lag.record(lag, &[KeyValue::new("lane", lane.as_str())]);
        let data = json!({ "wamid": wamid.as_str(), "attempt": attempt, "settled_by": "answer" });
        let event = self.event(&queued, EventType::CommandAccepted, data);
        self.finish(lane, queued, Settlement::Accepted(wamid), event, None);
    }

    fn refused(
        &mut self,
        armed: Armed,
        error: &ProviderError,
        class: ErrorClass,
        retry_after: Option<Duration>,
        token: Option<&SecretString>,
    ) {
        let reason = format!("{} (code {})", class.as_str(), error.code);
        let now = boot_time();
        match class {
            ErrorClass::Transient => self.retry(armed, format!("{reason}: {}", error.message), retry_after),
            ErrorClass::Permanent => self.fail(armed, "refused", error),
            ErrorClass::Pair => {
                let wait = retry_after.unwrap_or(PAIR_WAIT);
                self.postpone(armed, reason, now + wait);
            }
            ErrorClass::Throughput | ErrorClass::Quota | ErrorClass::Token | ErrorClass::Account => {
                let held = self.hold.refused(class, retry_after, token, now);
                if held == Held::Stopped {
                    error!(channel = %self.id, class = class.as_str(), code = error.code, "the channel stopped sending");
                    self.tell_hold(Some((class, error)));
                }
                self.postpone(armed, reason, Duration::ZERO);
                if self.hold.is_stopped() {
                    self.disarm();
                }
            }
        }
    }

    /// Nothing was sent and it may work later: another try, if one is left.
    fn retry(&mut self, armed: Armed, why: String, named: Option<Duration>) {
        let settings = &self.shared.settings;
        let wait = settings.retry.after(armed.attempt, armed.queued.sequence());
        match wait {
            Some(wait) if armed.attempt < settings.max_tries => {
                let until = boot_time() + named.unwrap_or(wait);
                self.settle_again(armed, Settlement::Retry(why), until);
            }
            _ => {
                let error = ProviderError { http: 0, code: -1, subcode: None, message: why };
                self.fail(armed, "attempts_exhausted", &error);
            }
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

    fn fail(&mut self, armed: Armed, code: &'static str, error: &ProviderError) {
        let reason = match error.code {
            -1 => error.message.clone(),
            code => format!("{} (code {code})", error.message),
        };
        let data = json!({
            "code": code,
            "reason": reason,
            "attempt": armed.attempt,
            "error": { "code": error.code, "subcode": error.subcode, "http": error.http, "message": error.message },
        });
        let event = self.event(&armed.queued, EventType::CommandFailed, data);
        let letter = self.letter(armed.lane, &armed.queued, code, reason.clone());
        self.finish(armed.lane, armed.queued, Settlement::Failed(reason), event, Some(letter));
    }

    /// Ends a command of which nobody can say whether it was sent.
    pub(super) fn fail_unknown(&mut self, lane: Lane, queued: Queued, attempt: u32) {
        let reason = "no answer and no status: nobody knows whether it was sent";
        let data = json!({ "code": "outcome_unknown", "reason": reason, "attempt": attempt });
        let event = self.event(&queued, EventType::CommandFailed, data);
        let letter = self.letter(lane, &queued, "outcome_unknown", reason.into());
        self.finish(lane, queued, Settlement::Failed(reason.into()), event, Some(letter));
    }

    /// Sends a command of which no status ever told that it was sent.
    pub(super) fn resend(&mut self, lane: Lane, queued: Queued, attempt: u32) {
        info!(channel = %self.id, command = %queued.command.id, "no status came: sending again");
        self.retry(Armed { lane, queued, attempt }, "no answer and no status".into(), Some(Duration::ZERO));
    }

    pub(super) fn expire(&mut self, lane: Lane, queued: Queued) {
        let event = self.event(&queued, EventType::CommandExpired, json!({ "code": "expired" }));
        self.finish(lane, queued, Settlement::Expired, event, None);
    }

    /// Ends a command that the database will not take: DEAD alone knows of it.
    pub(super) fn give_up(&mut self, lane: Lane, queued: Queued, reason: &'static str, detail: &'static str) {
        let letter = self.letter(lane, &queued, reason, detail.into());
        let event =
            self.event(&queued, EventType::CommandFailed, json!({ "code": reason, "reason": detail }));
        self.finish(lane, queued, Settlement::Failed(detail.into()), event, Some(letter));
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
        let user = Some(queued.command.to.key().to_owned());
        let outcome = self.outcome(lane, &queued.command.id, user, settlement, Some(event));
        self.lanes[lane as usize].done(&queued);
        self.settle(lane, queued.sequence(), outcome, letter, Then::Close);
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
        Outcome { tenant, channel, lane, id: id.clone(), user, at: Timestamp::now(), settlement, event }
    }

    /// Writes the letter, then the outcome, then does `then`. The other way round, a crash in between would lose the
    /// letter.
    pub(super) fn settle(
        &mut self,
        lane: Lane,
        sequence: u64,
        outcome: Outcome,
        letter: Option<DeadLetter>,
        then: Then,
    ) {
        let (ledger, dead, lost) = (self.ledger.clone(), self.shared.dead.clone(), self.lease.lost().clone());
        self.work.push(Box::pin(async move {
            if let Some(letter) = letter {
                while let Err(error) = dead.write(&letter).await {
                    error!(error = &error as &dyn std::error::Error, id = %letter.id, "a dead letter waits for NATS");
                    if lost.is_cancelled() {
                        // The next owner reads the command again.
                        let written = Ok(false);
                        return Done::Settled(Box::new(Settled { lane, sequence, written, then: Then::Close }));
                    }
                    sleep(AGAIN).await;
                }
            }
            let written = ledger.settle(outcome).await;
            Done::Settled(Box::new(Settled { lane, sequence, written, then }))
        }));
    }

    pub(super) fn settled(&mut self, settled: Settled) -> anyhow::Result<()> {
        let Settled { lane, sequence, written, then } = settled;
        if !written? {
            error!(channel = %self.id, sequence, "a command's end could not be written");
        }
        match then {
            Then::Close => self.close(lane, sequence),
            Then::Again(queued, until) if until <= boot_time() => self.lanes[lane as usize].again(&queued),
            Then::Again(queued, until) => self.lanes[lane as usize].park(&queued, until),
            Then::Doubt(queued, attempt) => self.doubts.add(lane, queued, attempt, Timestamp::now()),
        }
        Ok(())
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
