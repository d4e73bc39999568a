//! What becomes of a send: the rules, in the order in which they apply.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use serde_json::{Value, json};

use crate::chance::{Direction, Purpose, generator, happens, wamid};
use crate::faults::{FaultKind, Strike};
use crate::graph_error::GraphError;
use crate::options::{Behaviour, WindowMode, WindowState};
use crate::report::SendSeen;
use crate::statuses::{Fate, plan};
use crate::validate::{Recipient, Request, Send};
use crate::webhooks::Item;
use crate::world::{Channel, State, World, unix_ms};

/// How a request is answered, and after what wait.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) delay: Duration,
    pub(crate) answer: Answer,
}

/// What goes back to the client.
#[derive(Debug)]
pub(crate) enum Answer {
    Ok(Value),
    Error(GraphError),
    /// An edge server's error page.
    Html502,
    /// Nothing: the connection closes.
    Cut,
}

impl Verdict {
    fn now(answer: Answer) -> Self {
        Self { delay: Duration::ZERO, answer }
    }
}

impl World {
    /// Decides on `POST /<number>/messages`. `arrived` is when its handler was entered.
    pub(crate) fn receive(
        &self,
        number: &str,
        token: Option<&str>,
        request: Result<Request, GraphError>,
        arrived: Instant,
    ) -> Verdict {
        let at = self.micros(arrived);
        let mut state = self.state();
        if let Err(error) = state.authorise(number, token) {
            state.count_refusal(number, error.code, at);
            return Verdict::now(Answer::Error(error));
        }
        let State { channels, behaviour, faults, log_room, .. } = &mut *state;
        let Some(channel) = channels.get_mut(number) else {
            return Verdict::now(Answer::Error(GraphError::unknown_object(number)));
        };
        let request = match request {
            Ok(Request::MarkRead) => {
                channel.ledger.marked_read += 1;
                return Verdict::now(Answer::Ok(json!({ "success": true })));
            }
            Ok(Request::Send(send)) => Ok(send),
            Err(error) => Err(error),
        };
        channel.ledger.arrived(at, log_room);
        let send = match request {
            Ok(send) if send.to.id() == channel.config.display_phone_number => Err(GraphError::of(131_021)),
            other => other,
        };
        let send = match send {
            Ok(send) => send,
            Err(error) => {
                channel.ledger.refuse(error.code);
                return Verdict::now(Answer::Error(error));
            }
        };
        channel.sends += 1;
        let mut rng = generator(self.seed, number, Purpose::Send, channel.sends);
        let Strike { delay, kind } = faults.strike(number, send.to.id(), at, &mut rng);
        if !delay.is_zero() {
            *channel.ledger.faults.entry("slow").or_default() += 1;
        }
        if let Some(kind) = kind {
            *channel.ledger.faults.entry(name(kind)).or_default() += 1;
        }
        let behaviour = channel.behaviour.as_ref().unwrap_or(behaviour).clone();
        let refuse = |channel: &mut Channel, error: GraphError| {
            channel.ledger.refuse(error.code);
            Verdict { delay, answer: Answer::Error(error) }
        };
        match kind {
            Some(FaultKind::Error { code }) => return refuse(channel, GraphError::of(code)),
            Some(FaultKind::Html502) => return Verdict { delay, answer: Answer::Html502 },
            Some(FaultKind::CutBeforeAccept) => return Verdict { delay, answer: Answer::Cut },
            _ => {}
        }
        let fate = match admit(channel, &send, &behaviour, at) {
            Err(error) => return refuse(channel, error),
            Ok(fate) => match kind {
                Some(FaultKind::FailedStatus { code }) => Fate::Fails(GraphError::of(code)),
                _ => fate,
            },
        };
        let wamid = self.accept(channel, &send, &fate, &behaviour, (at, log_room), &mut rng);
        let answer = match kind {
            Some(FaultKind::AcceptThenCut) => Answer::Cut,
            Some(FaultKind::AcceptThenError { code }) => Answer::Error(GraphError::of(code)),
            _ => Answer::Ok(accepted(&send, &wamid)),
        };
        Verdict { delay, answer }
    }

    /// Takes the message and sets its statuses on their way.
    fn accept(
        &self,
        channel: &mut Channel,
        send: &Send,
        fate: &Fate,
        behaviour: &Arc<Behaviour>,
        (at, log_room): (u64, &mut usize),
        rng: &mut SmallRng,
    ) -> String {
        let wamid = wamid(rng, send.to.id(), Direction::Outbound);
        let seen = SendSeen {
            at_us: at,
            to: send.to.id().to_owned(),
            wamid: wamid.clone(),
            callback_data: send.callback_data.clone(),
            kind: send.kind.clone(),
            text_chars: send.text.as_ref().map_or(0, |text| text.chars().count()),
            text: send.text.as_deref().map(SendSeen::keep_text),
        };
        channel.ledger.accepted(seen, send.message, log_room);
        for (delay, status) in plan(send, &wamid, fate, behaviour, unix_ms(), rng) {
            let duplicate = happens(rng, behaviour.duplicate);
            if let Some(update) = channel.update(behaviour, Item::Status(status.into())) {
                channel.ledger.webhooks.lost += self.tell(update, Duration::from_millis(delay), duplicate);
            }
        }
        wamid
    }
}

impl State {
    /// The token is looked at first, then whether the number exists for it.
    pub(crate) fn authorise(&self, number: &str, token: Option<&str>) -> Result<(), GraphError> {
        let token = token.ok_or_else(|| GraphError::of(190))?;
        match self.channels.get(number) {
            Some(channel) if channel.config.access_token == token => Ok(()),
            _ if self.channels.values().any(|channel| channel.config.access_token == token) => {
                Err(GraphError::unknown_object(number))
            }
            _ => Err(GraphError::of(190)),
        }
    }

    fn count_refusal(&mut self, number: &str, code: u32, at: u64) {
        match self.channels.get_mut(number) {
            Some(channel) => {
                channel.ledger.arrived(at, &mut self.log_room);
                channel.ledger.refuse(code);
            }
            None => *self.refused.entry(code).or_default() += 1,
        }
    }
}

/// The limits: throughput, then pair, then window.
fn admit(channel: &mut Channel, send: &Send, behaviour: &Behaviour, at: u64) -> Result<Fate, GraphError> {
    let rate = usize::try_from(channel.config.rate.get()).unwrap_or(usize::MAX);
    if !channel.throughput.admit(at, rate) {
        return Err(GraphError::of(130_429));
    }
    let user = send.to.id();
    if behaviour.pair.is_some_and(|limit| !channel.pairs.admit(user, at, limit)) {
        return Err(GraphError::of(131_056));
    }
    let windows = behaviour.windows;
    if send.is_free_form() && channel.windows.state(user, at, windows) == WindowState::Closed {
        return match windows.mode {
            WindowMode::Off => Ok(Fate::Arrives),
            WindowMode::Sync => Err(GraphError::of(131_047)),
            WindowMode::Async => Ok(Fate::Fails(GraphError::of(131_047))),
        };
    }
    Ok(Fate::Arrives)
}

/// The synchronous answer to an accepted send.
fn accepted(send: &Send, wamid: &str) -> Value {
    let contact = match &send.to {
        Recipient::Phone(phone) => json!({ "input": send.input, "wa_id": phone }),
        Recipient::User(user) => json!({ "input": send.input, "user_id": user }),
    };
    let mut message = json!({ "id": wamid });
    if !send.is_free_form() {
        message["message_status"] = json!("accepted");
    }
    json!({ "messaging_product": "whatsapp", "contacts": [contact], "messages": [message] })
}

/// A fault's name in the report.
fn name(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Slow { .. } => "slow",
        FaultKind::Error { .. } => "error",
        FaultKind::AcceptThenError { .. } => "accept_then_error",
        FaultKind::FailedStatus { .. } => "failed_status",
        FaultKind::Html502 => "html_502",
        FaultKind::AcceptThenCut => "accept_then_cut",
        FaultKind::CutBeforeAccept => "cut_before_accept",
    }
}
