//! Sending what was claimed, as far as the rate allows.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use staffetta_domain::{Callback, Command, Lane, Reach, TraceParent};
use staffetta_providers::cloud_api::{SendError, Taken, Usage, WriteStamp, message_body};

use super::window::Carried;
use super::{Action, Machine, Now};
use crate::governor::Turn;
use crate::hold::Key;
use crate::lane::Queued;

/// A command that was claimed and waits for its place in the rate.
#[derive(Clone, Debug)]
pub(crate) struct Armed {
    pub(crate) lane: Lane,
    pub(crate) queued: Queued,
    pub(crate) attempt: u32,
    /// Whether an earlier try may have been sent.
    pub(super) perhaps_sent: bool,
    /// The template that carries it.
    pub(super) carried: Option<Box<Carried>>,
    /// What the provider has said of the user already.
    pub(super) reach: Option<Reach>,
}

/// A request to make.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) armed: Armed,
    /// What the channel shows.
    pub(crate) key: Key,
    pub(crate) body: Bytes,
    pub(crate) stamp: WriteStamp,
    /// When it was granted its place.
    pub(crate) begun: Duration,
    /// Where it belongs in its trace.
    pub(crate) trace: Option<TraceParent>,
    /// Not to be written from this moment on.
    pub(crate) expires: Option<Timestamp>,
}

/// A request that ended.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) armed: Armed,
    /// What the channel showed.
    pub(crate) key: Key,
    /// When it was begun.
    pub(crate) begun: Duration,
    pub(crate) result: Result<Taken, SendError>,
    /// How much of its quotas the provider says is used.
    pub(crate) usage: Usage,
}

/// Most requests of one channel on their way at a time.
const MAX_IN_FLIGHT: usize = 1_024;

impl Machine {
    /// Sends what is armed, urgent first, as far as the rate allows; tells when it allows more. When it is something
    /// else that has to come first, that comes with a wake-up of its own.
    pub(super) fn send_more(&mut self, now: &Now) -> Option<Duration> {
        while let Some(lane) = Lane::ALL.into_iter().find(|lane| !self.armed[*lane as usize].is_empty()) {
            if self.in_flight >= MAX_IN_FLIGHT || !self.hold.lets_go(now.boot) {
                return None;
            }
            if self.armed[lane as usize].front().is_some_and(|armed| armed.queued.is_over(now.wall)) {
                let armed = self.armed[lane as usize].pop_front()?;
                self.pairs.give_back(armed.queued.command.to.key());
                self.expire_armed(armed, now);
                continue;
            }
            if let Turn::At(at) = self.governor.turn(now.boot, lane) {
                return Some(at);
            }
            let armed = self.armed[lane as usize].pop_front()?;
            self.send(armed, now);
        }
        None
    }

    fn send(&mut self, armed: Armed, now: &Now) {
        let stamp = self.governor.take(now.boot, armed.lane);
        self.hold.goes();
        self.in_flight += 1;
        let command = &armed.queued.command;
        let callback = Callback::new(&self.tenant, command.id.clone(), armed.attempt);
        let body = match &armed.carried {
            None => message_body(command, &callback),
            Some(carried) => {
                let carrier =
                    Command { kind: "template".into(), content: carried.content.clone(), ..command.clone() };
                message_body(&carrier, &callback)
            }
        };
        self.todo.push(Action::Send(Box::new(Request {
            key: self.view.key.clone(),
            body,
            stamp,
            begun: now.boot,
            trace: self.spans.context(&armed.queued.message),
            expires: command.expires_at,
            armed,
        })));
    }
}
