//! What the machine wants done, done.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use opentelemetry::StringValue;
use staffetta_bus::boot_time;
use staffetta_domain::{ErrorClass, ProviderError, TraceParent};
use staffetta_providers::cloud_api::{Answer, Fence, SendError, Taken, Usage};
use staffetta_runtime::crash::crash_point;
use staffetta_runtime::trace::{Span, Step};
use tokio::time::sleep;
use tracing::warn;

use super::ChannelActor;
use super::settler::Settler;
use crate::Shared;
use crate::machine::{Action, Armed, Evidence, Input, Request, Sent};

/// Pause before a read, or a write that nothing waits for, is repeated.
const AGAIN: Duration = Duration::from_millis(200);

impl ChannelActor {
    /// What has to be done elsewhere; `None` if there is nothing to wait for.
    pub(super) fn work_for(&self, action: Action) -> Option<BoxFuture<'static, anyhow::Result<Input>>> {
        let (shared, settler, ledger) = (self.shared.clone(), self.settler(), self.ledger.clone());
        let (tenant, id) = (self.tenant.clone(), self.id.clone());
        Some(match action {
            Action::Load { since } => async move {
                loop {
                    match ledger.history(&tenant, &id, since).await {
                        Ok((hold, recent)) => return Ok(Input::Loaded { hold, recent }),
                        Err(error) => {
                            warn!(channel = %id, error = &error as &dyn std::error::Error, "the channel waits for the database");
                        }
                    }
                    if settler.pause().await.is_none() {
                        return Ok(Input::Loaded { hold: None, recent: Vec::new() });
                    }
                }
            }
            .boxed(),
            Action::AskHold => async move {
                // What can't be told stands.
                let stands = ledger.hold(&tenant, &id).await.map_or(true, |hold| hold.is_some());
                Ok(Input::HoldStands(stands))
            }
            .boxed(),
            Action::AskThroughput(key) => async move {
                let granted = match (&key.number, &key.token) {
                    (Some(number), Some(token)) => shared.provider.throughput(number, token).await,
                    _ => None,
                };
                Ok(Input::Throughput(granted))
            }
            .boxed(),
            Action::Read { lane, from, most, known } => {
                let subject = self.machine.subject(lane);
                async move {
                    let batch = shared.queue.read(&subject, from, most, known).await;
                    if let Err(error) = &batch {
                        warn!(channel = %id, error = error as &dyn std::error::Error, "reading again");
                        sleep(AGAIN).await;
                    }
                    Ok(Input::Read(lane, batch.ok()))
                }
                .boxed()
            }
            Action::ReadEach { lane, sequences } => {
                let subject = self.machine.subject(lane);
                async move {
                    let results = shared.queue.read_each(&subject, &sequences).await;
                    if results.iter().any(|(_, result)| result.is_err()) {
                        sleep(AGAIN).await;
                    }
                    let results = results.into_iter().map(|(sequence, result)| (sequence, result.map_err(|_| ())));
                    Ok(Input::ReadEach(lane, results.collect()))
                }
                .boxed()
            }
            Action::Claim { lane, batch, claims } => async move {
                let answers = ledger.claim(claims).await?;
                Ok(Input::Claimed(lane, batch, answers))
            }
            .boxed(),
            Action::Settle(order) => {
                async move { Ok(Input::Settled(vec![settler.settle(*order).await?])) }.boxed()
            }
            Action::Bury { lane, sequence, letter } => {
                async move { Ok(Input::Settled(vec![settler.bury(lane, sequence, letter).await])) }.boxed()
            }
            Action::Reject { lane, rejections } => {
                async move { Ok(Input::Settled(settler.reject(lane, rejections).await?)) }.boxed()
            }
            Action::Schedule { lane, commands, later } => async move {
                let answers = ledger.schedule(later).await?;
                Ok(Input::Scheduled(lane, commands, answers))
            }
            .boxed(),
            Action::LookAtDoubts { keys } => async move {
                // The webhooks first: a status that is recorded in between is seen in the records.
                let webhooks = shared.bus.webhook_progress().await.ok();
                let last_status = shared.bus.last_status(&tenant, &id).await.ok().flatten();
                let records = ledger.standing(&keys).await;
                if let Err(error) = &records {
                    warn!(error = error as &dyn std::error::Error, "doubts could not be looked up");
                }
                Ok(Input::Doubts(Evidence { records: records.ok(), webhooks, last_status }))
            }
            .boxed(),
            Action::Purge { lane, floor } => {
                let subject = self.machine.subject(lane);
                async move {
                    let purged = shared.queue.purge_below(&subject, floor).await;
                    if let Err(error) = &purged {
                        warn!(channel = %id, error = error as &dyn std::error::Error, "purging again");
                    }
                    Ok(Input::Purged(lane, floor, purged.is_ok()))
                }
                .boxed()
            }
            Action::Delete { lane, sequences } => async move {
                let gone = shared.queue.delete(&sequences).await;
                if let Err(error) = &gone {
                    warn!(channel = %id, error = error as &dyn std::error::Error, "deleting again");
                }
                Ok(Input::Deleted(lane, gone.unwrap_or_default()))
            }
            .boxed(),
            Action::Hold { hold, event } => async move {
                loop {
                    let kept = match ledger.keep_hold(&tenant, &id, hold.as_ref()).await {
                        Ok(()) => ledger.note(event.clone()).await,
                        failed => failed,
                    };
                    let Err(error) = kept else { break };
                    warn!(channel = %id, error = &error as &dyn std::error::Error, "a channel's hold could not be kept and told");
                    if settler.pause().await.is_none() {
                        break;
                    }
                }
                Ok(Input::HoldKept)
            }
            .boxed(),
            Action::Send(_) | Action::Quota { .. } => return None,
        })
    }

    fn settler(&self) -> Settler {
        Settler {
            bus: self.shared.bus.clone(),
            ledger: self.ledger.clone(),
            dead: self.shared.dead.clone(),
            lease: self.lease.clone(),
            over: self.over.clone(),
        }
    }

    /// Counts a request that ended.
    pub(super) fn note(&self, sent: &Sent) {
        let metrics = &self.shared.metrics;
        metrics.sent(self.lamp.labels(), outcome_of(&sent.result));
        if sent.result.is_ok() {
            let lag = Timestamp::now().duration_since(sent.armed.queued.message.stored);
            metrics.accepted_after(lag.as_secs_f64(), sent.armed.lane);
        }
    }
}

/// As the metric names it.
fn outcome_of(result: &Result<Taken, SendError>) -> &'static str {
    match result {
        Ok(_) => "accepted",
        Err(SendError::Refused { class, .. }) => class.as_str(),
        Err(SendError::NotSent(_)) => "not_sent",
        Err(SendError::NoAnswer(_)) => "in_doubt",
    }
}

/// Makes one request, unless it may not be written any more when its turn comes.
pub(super) async fn send(
    shared: Shared,
    may_write: impl Fn() -> bool + Send + Sync + 'static,
    request: Request,
) -> Sent {
    let Request { armed, key, body, stamp, begun, trace, expires } = request;
    let fence: Fence =
        Arc::new(move || may_write() && expires.is_none_or(|expires| Timestamp::now() < expires));
    crash_point("dispatcher.sending");
    let (result, usage) = match (&key.number, &key.token) {
        (Some(number), Some(token)) => {
            let span = request_span(&shared, &armed, trace);
            let Answer { result, usage, status } =
                shared.provider.send(number, token, body, stamp, fence).await;
            shared.metrics.duration.record((boot_time() - begun).as_secs_f64(), &[]);
            end_span(span, &result, status);
            (result, usage)
        }
        _ => {
            stamp.void();
            (Err(no_key()), Usage::default())
        }
    };
    crash_point("dispatcher.answered");
    Sent { armed, key, begun, result, usage }
}

/// One request in the command's trace. The provider is told nothing of it.
fn request_span(shared: &Shared, armed: &Armed, trace: Option<TraceParent>) -> Span {
    let mut span = Span::start(Step::Client, "POST messages", trace);
    if span.is_recording() {
        span.set("http.request.method", "POST");
        span.set("server.address", StringValue::from(Arc::clone(&shared.server)));
        span.set("url.template", "/{version}/{phone_number_id}/messages");
        span.set("staffetta.attempt", i64::from(armed.attempt));
    }
    span
}

fn end_span(mut span: Span, result: &Result<Taken, SendError>, status: Option<u16>) {
    if let Some(status) = status {
        span.set("http.response.status_code", i64::from(status));
    }
    if result.is_err() {
        span.fail(outcome_of(result));
    }
}

/// A channel without a token can't send, just as one whose token is refused.
fn no_key() -> SendError {
    let message = "the channel has no access token, or no phone_number_id of its own".into();
    let error = ProviderError { http: 0, code: 190, subcode: None, message };
    SendError::Refused { error, class: ErrorClass::Token, retry_after: None }
}
