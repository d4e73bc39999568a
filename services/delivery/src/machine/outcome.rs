//! What a try's outcome means: for its event, for its conversation, and for the endpoint.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Action, Failure, Fault, IN_MEMORY, LONGEST_PAUSE, LONGEST_WAIT, Lost, Machine, NOT_NOW, Now, Outcome,
    RETRY, Source, TRIED, replay,
};

impl Machine {
    pub(super) fn tried(
        &mut self,
        source: Source,
        sequence: u64,
        stored: Option<Timestamp>,
        outcome: Outcome,
        now: &Now,
    ) {
        match outcome {
            Outcome::Delivered => {
                self.failing_since = None;
                self.last_success = Some(now.wall);
                self.settle(source, sequence);
                self.endpoint_is_well(sequence, now);
            }
            Outcome::Unsaid => {
                self.breaker.told_nothing(sequence);
                self.settle(source, sequence);
            }
            Outcome::Missing => {
                self.breaker.told_nothing(sequence);
                match source {
                    Source::Live => self.give_up(source, sequence, Lost::Dropped),
                    Source::Replay => self.settle(source, sequence),
                }
            }
            Outcome::NotNow(error) => {
                self.breaker.told_nothing(sequence);
                self.last_error = Some(error);
                if let Some(flow) = self.flow(source) {
                    flow.wait(sequence, now.boot + NOT_NOW);
                }
            }
            Outcome::Failed(failure) => self.failed(source, sequence, stored, failure, now),
        }
    }

    fn endpoint_is_well(&mut self, sequence: u64, now: &Now) {
        if self.breaker.answered(sequence, now.boot) {
            self.live.release();
            if let Some(replay) = &mut self.replay {
                replay.flow.release();
            }
        }
    }

    fn failed(
        &mut self,
        source: Source,
        sequence: u64,
        stored: Option<Timestamp>,
        failure: Failure,
        now: &Now,
    ) {
        let Failure { fault, wait, error } = failure;
        let wait = wait.map(|wait| wait.min(LONGEST_WAIT));
        self.last_error = Some(error.clone());
        let Some((conversation, lane)) = self.flow(source).and_then(|flow| flow.lane(sequence)) else {
            return;
        };
        lane.attempts += 1;
        lane.since.get_or_insert(now.wall);
        lane.fault = Some(fault);
        lane.error = error;
        let attempts = lane.attempts;
        match fault {
            Fault::Event => self.endpoint_is_well(sequence, now),
            Fault::Endpoint => {
                self.breaker.failed(sequence, &conversation, wait, now.boot);
                let since = *self.failing_since.get_or_insert(now.wall);
                let failing = Duration::try_from(now.wall.duration_since(since)).unwrap_or_default();
                if failing >= self.rules.disable_after {
                    self.disable(format!("nothing could be delivered since {since:.0}"));
                }
            }
            Fault::Gone => {
                self.failing_since.get_or_insert(now.wall);
                self.disable("the endpoint answered that it is gone (410)".into());
            }
        }
        // An endpoint that is back should not wait for long, even where it has one conversation alone.
        let longest = if fault == Fault::Event { RETRY.longest } else { LONGEST_PAUSE };
        let own = RETRY.after(attempts, sequence).unwrap_or(longest).min(longest);
        let mut wait = own.max(wait.unwrap_or_default());
        if let Some(stored) = stored {
            // One last try when its time is over.
            match Duration::try_from((stored + TRIED).duration_since(now.wall)) {
                Ok(left) if !left.is_zero() => wait = wait.min(left),
                _ => return self.give_up(source, sequence, Lost::Undelivered),
            }
        }
        if source == Source::Replay && attempts >= replay::TRIES {
            return self.give_up(source, sequence, Lost::Undelivered);
        }
        if let Some(flow) = self.flow(source) {
            flow.wait(sequence, now.boot + wait);
        }
        let keep_up = self.parking.is_parked(sequence);
        if source == Source::Live
            && (keep_up || (wait > IN_MEMORY && !self.breaker.is_broken() && !self.resting))
        {
            self.park_lane(sequence);
        }
    }

    /// The lane of this event is to be parked, as far as it is not.
    fn park_lane(&mut self, head: u64) {
        let Some((_, lane)) = self.live.lane(head) else { return };
        let jobs: Vec<u64> = lane.jobs.iter().copied().collect();
        for job in jobs {
            if job == head || !self.parking.is_parked(job) {
                self.parking.want(job);
            }
        }
    }

    /// The event is on its way to DEAD, and still counts as being tried.
    pub(super) fn give_up(&mut self, source: Source, sequence: u64, lost: Lost) {
        let error =
            self.flow(source).and_then(|flow| flow.lane(sequence)).map(|(_, lane)| lane.error.clone());
        self.actions.push(Action::GiveUp { source, sequence, lost, error: error.unwrap_or_default() });
    }

    fn disable(&mut self, reason: String) {
        if !self.resting {
            self.resting = true;
            self.actions.push(Action::Disable(reason));
        }
    }
}
