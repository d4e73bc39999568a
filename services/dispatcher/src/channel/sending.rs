//! Sending what was claimed, as far as the rate allows.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use staffetta_bus::boot_time;
use staffetta_domain::{Callback, Lane};
use staffetta_providers::cloud_api::{Fence, SendError, Taken, message_body};
use staffetta_runtime::crash::crash_point;

use super::{ChannelActor, answer};
use crate::governor::Turn;
use crate::hold::Key;
use crate::lane::Queued;

/// A command that was claimed and waits for its place in the rate.
#[derive(Debug)]
pub(super) struct Armed {
    pub(super) lane: Lane,
    pub(super) queued: Queued,
    pub(super) attempt: u32,
}

/// A request that ended.
pub(super) struct Sent {
    pub(super) armed: Armed,
    /// What the channel showed.
    pub(super) key: Key,
    /// When it was begun.
    pub(super) begun: Duration,
    pub(super) result: Result<Taken, SendError>,
}

/// Most requests of one channel on their way at a time.
const MAX_IN_FLIGHT: usize = 1_024;

impl ChannelActor {
    /// Sends what is armed, urgent first, as far as the rate allows; tells when it allows more. When it is something
    /// else that has to come first, that comes with a wake-up of its own.
    pub(super) fn send_more(&mut self, now: Duration) -> Option<Duration> {
        while let Some(lane) = Lane::ALL.into_iter().find(|lane| !self.armed[*lane as usize].is_empty()) {
            if self.sends.len() >= MAX_IN_FLIGHT || !self.hold.lets_go(now) {
                return None;
            }
            if let Turn::At(at) = self.governor.turn(now, lane) {
                return Some(at);
            }
            let armed = self.armed[lane as usize].pop_front()?;
            if armed.queued.is_over(Timestamp::now()) {
                self.expire(lane, armed.queued);
                continue;
            }
            self.send(now, armed);
        }
        None
    }

    fn send(&mut self, begun: Duration, armed: Armed) {
        let key = self.key(&self.shared.registry.load());
        let stamp = self.governor.take(begun, armed.lane);
        self.hold.goes();
        let callback = Callback { command: armed.queued.command.id.clone(), attempt: armed.attempt };
        let body = message_body(&armed.queued.command, &callback);
        let (provider, metrics) = (self.shared.provider.clone(), self.shared.metrics.clone());
        let lease = self.lease.clone();
        let fence: Fence = Arc::new(move || lease.is_valid());
        self.sends.spawn(async move {
            crash_point("dispatcher.sending");
            let result = match (&key.number, &key.token) {
                (Some(number), Some(token)) => {
                    let result = provider.send(number, token, body, stamp, fence).await;
                    metrics.duration.record((boot_time() - begun).as_secs_f64(), &[]);
                    result
                }
                _ => {
                    stamp.void();
                    Err(answer::no_key())
                }
            };
            crash_point("dispatcher.answered");
            Sent { armed, key, begun, result }
        });
    }
}
