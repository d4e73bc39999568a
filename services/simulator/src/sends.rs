//! What becomes of a send, from its arrival to its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use crate::chance::{Direction, Purpose, generator, happens, wamid};
use crate::faults::{FaultKind, Strike};
use crate::graph_error::GraphError;
use crate::options::{Behaviour, UserIds};
use crate::report::SendSeen;
use crate::rules::admit;
use crate::statuses::{Fate, plan};
use crate::users::user_id;
use crate::validate::{Recipient, Request, Send};
use crate::webhooks::{Contact, Item, Profile, Status};
use crate::world::{Channel, State, World, unix_ms};

/// How a request is answered, and after what wait.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) delay: Duration,
    pub(crate) answer: Answer,
    /// For the `Retry-After` of a refusal, in seconds.
    pub(crate) retry_after_s: Option<u32>,
    /// What the answer says of the call limits.
    pub(crate) usage: Option<HeaderMap>,
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
        Self { delay: Duration::ZERO, answer, retry_after_s: None, usage: None }
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
        let mut verdict = match state.authorise(number, token).and_then(|()| state.check_usage(number)) {
            Ok(()) => self.decide(&mut state, number, request, at),
            Err(error) => {
                state.count_refusal(number, error.code, at);
                Verdict::now(Answer::Error(error))
            }
        };
        verdict.usage = state.usage_headers(number);
        verdict
    }

    /// Decides on a request of someone who may ask.
    fn decide(
        &self,
        state: &mut State,
        number: &str,
        request: Result<Request, GraphError>,
        at: u64,
    ) -> Verdict {
        let State { channels, behaviour, faults, templates, users, shelf, log_room, .. } = state;
        let Some(channel) = channels.get_mut(number) else {
            return Verdict::now(Answer::Error(GraphError::unknown_object(number)));
        };
        let request = match request {
            Ok(Request::MarkRead(read)) => {
                if !channel.received.has(&read.message_id) {
                    return Verdict::now(Answer::Error(GraphError::invalid("Invalid message_id")));
                }
                channel.ledger.marked_read += 1;
                channel.ledger.typing += u64::from(read.typing);
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
        let files = |send: Send| shelf.check(number, &send.media, at).map(|late| (send, late));
        let (send, late) = match send.and_then(files) {
            Ok(send) => send,
            Err(error) => {
                channel.ledger.refuse(error.code, at);
                return Verdict::now(Answer::Error(error));
            }
        };
        channel.sends += 1;
        let mut rng = generator(self.seed, number, Purpose::Send, channel.sends);
        let Strike { delay, kind, retry_after_s } = faults.strike(number, send.to.id(), at, &mut rng);
        if !delay.is_zero() {
            *channel.ledger.faults.entry("slow").or_default() += 1;
        }
        if let Some(kind) = kind {
            *channel.ledger.faults.entry(name(kind)).or_default() += 1;
        }
        let behaviour = channel.behaviour.as_ref().unwrap_or(behaviour).clone();
        let verdict = |answer| Verdict { delay, answer, retry_after_s, usage: None };
        let refuse = |channel: &mut Channel, error: GraphError| {
            channel.ledger.refuse(error.code, at);
            verdict(Answer::Error(error))
        };
        match kind {
            Some(FaultKind::Error { code }) => return refuse(channel, GraphError::of(code)),
            Some(FaultKind::Html502) => return verdict(Answer::Html502),
            Some(FaultKind::CutBeforeAccept) => return verdict(Answer::Cut),
            _ => {}
        }
        let fate = match admit(channel, &send, &behaviour, (templates, users), at) {
            Err(error) => return refuse(channel, error),
            Ok(fate) => match kind {
                Some(FaultKind::FailedStatus { code }) => Fate::Fails(GraphError::of(code)),
                _ => late.map_or(fate, Fate::Fails),
            },
        };
        let wamid = self.accept(channel, &send, &fate, &behaviour, (at, log_room), &mut rng);
        let answer = match kind {
            Some(FaultKind::AcceptThenCut) => Answer::Cut,
            Some(FaultKind::AcceptThenError { code }) => Answer::Error(GraphError::of(code)),
            _ => Answer::Ok(accepted(&send, &wamid)),
        };
        verdict(answer)
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
            reply_to: send.reply_to.clone(),
            template: send.template.as_ref().map(|template| template.name.clone()),
            media_id: send.media.first().map(|file| file.id.clone()),
        };
        channel.ledger.accepted(seen, send.message, log_room);
        for (delay, status) in plan(send, &wamid, fate, behaviour, unix_ms(), rng) {
            let duplicate = happens(rng, behaviour.duplicate);
            let (contact, status) = self.name_user(channel, behaviour, status);
            if let Some(update) = channel.update(behaviour, Item::Status(contact, status.into())) {
                channel.ledger.webhooks.lost += self.tell(update, Duration::from_millis(delay), duplicate);
            }
        }
        wamid
    }
}

impl World {
    /// The user of a status where webhooks tell it: in all but `failed`.
    fn name_user(
        &self,
        channel: &Channel,
        behaviour: &Behaviour,
        mut status: Status,
    ) -> (Option<Arc<Contact>>, Status) {
        if behaviour.user_ids == UserIds::Hidden || !status.errors.is_empty() {
            return (None, status);
        }
        if let Some(phone) = &status.recipient_id {
            status.recipient_user_id = Some(user_id(self.seed, &channel.config.waba_id, phone));
        }
        let contact = Contact {
            profile: Profile::default(),
            wa_id: status.recipient_id.clone(),
            user_id: status.recipient_user_id.clone(),
        };
        (Some(contact.into()), status)
    }
}

impl State {
    /// The token is looked at first, then whether the number exists for it.
    pub(crate) fn authorise(&self, number: &str, token: Option<&str>) -> Result<(), GraphError> {
        let token = token.ok_or_else(|| GraphError::of(190))?;
        match self.channels.get(number) {
            Some(channel) if channel.takes(token) => Ok(()),
            _ if self.channels.values().any(|channel| channel.takes(token)) => {
                Err(GraphError::unknown_object(number))
            }
            _ => Err(GraphError::of(190)),
        }
    }

    /// Whether the token is that of one of the account's numbers; as strict as for a number.
    pub(crate) fn authorise_account(&self, waba_id: &str, token: Option<&str>) -> Result<(), GraphError> {
        let token = token.ok_or_else(|| GraphError::of(190))?;
        let mut known = false;
        for channel in self.channels.values().filter(|channel| channel.takes(token)) {
            if channel.config.waba_id == waba_id {
                return Ok(());
            }
            known = true;
        }
        Err(if known { GraphError::unknown_object(waba_id) } else { GraphError::of(190) })
    }

    /// Fails while the call limits of the app or of the number's account are used up.
    fn check_usage(&self, number: &str) -> Result<(), GraphError> {
        let waba_id = || self.channels.get(number).map_or("", |channel| &channel.config.waba_id);
        self.usage.as_ref().and_then(|usage| usage.refusal(waba_id())).map_or(Ok(()), Err)
    }

    fn usage_headers(&self, number: &str) -> Option<HeaderMap> {
        let waba_id = || self.channels.get(number).map(|channel| channel.config.waba_id.as_str());
        self.usage.as_ref().map(|usage| usage.headers(waba_id()))
    }

    fn count_refusal(&mut self, number: &str, code: u32, at: u64) {
        match self.channels.get_mut(number) {
            Some(channel) => {
                channel.ledger.arrived(at, &mut self.log_room);
                channel.ledger.refuse(code, at);
            }
            None => *self.refused.entry(code).or_default() += 1,
        }
    }
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
