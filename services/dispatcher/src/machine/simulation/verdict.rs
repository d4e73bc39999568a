//! What must hold, at each moment and in the end.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use staffetta_domain::CommandState;

use super::super::Request;
use super::plan::{Content, Planned, wall};
use super::world::World;

impl World {
    /// A request is written: it is due, and has not expired.
    pub(super) fn check_times(&mut self, request: &Request) {
        let id = request.armed.queued.command.id.to_string();
        let Some(planned) = self.plan.commands.iter().find(|planned| planned.id == id) else { return };
        let (send_at, expires_at) = (planned.send_at, planned.expires_at);
        if send_at.is_some_and(|send_at| self.now < send_at) {
            self.breach(format!("{id} was sent before it was due"));
        }
        if expires_at.is_some_and(|expires_at| self.now >= expires_at) {
            self.breach(format!("{id} was sent after it had expired"));
        }
        self.written.entry(id).or_insert(self.now);
    }

    /// The provider took a command: a second time only if nothing told of the first, and the tenant wants that.
    pub(super) fn check_taken(&mut self, id: &str) {
        let taken = self.provider.taken.get(id).map_or(0, Vec::len);
        if taken > 1 && !self.may_repeat.remove(id) {
            self.breach(format!("{id} was sent {taken} times"));
        }
    }

    /// A command may be about to be sent again because no status came.
    pub(super) fn note_resend(&mut self, id: &str) {
        let Some(row) = self.database.rows.get_mut(id) else { return };
        let (told, state) = (row.told, row.state);
        let Some(resent) = row.resent.pop() else { return };
        let Some(first) = self.provider.taken.get(id).and_then(|taken| taken.last()) else { return };
        let waited =
            resent.duration_since(wall(*first)) >= SignedDuration::try_from(self.plan.doubt_wait).unwrap();
        if state != CommandState::Queued {
            return;
        }
        if told || !waited || self.plan.policy == staffetta_bus::DoubtPolicy::Park {
            return self.breach(format!("{id} is to be sent again: told {told}, waited {waited}"));
        }
        self.may_repeat.insert(id.to_owned());
        self.repeated.insert(id.to_owned());
    }

    /// An entry has left the queue: its command has ended, or waits to be queued again, or stands there once more.
    pub(super) fn check_removed(&mut self, id: &str) {
        let row = self.database.rows.get(id);
        let ended = row.is_some_and(|row| row.state.is_final());
        if !ended
            && !self.dead.contains(id)
            && !self.database.schedule.contains_key(id)
            && !self.queue.holds(id)
        {
            let state = row.map_or("unknown", |row| row.state.as_str());
            self.breach(format!("{id} was taken off the queue while {state}"));
        }
    }

    /// Every command has ended, and as it must.
    pub(super) fn check_end(&self) -> Result<(), String> {
        let mut planned: BTreeMap<&str, &Planned> = BTreeMap::new();
        for command in &self.plan.commands {
            planned.entry(&command.id).or_insert(command);
        }
        for (id, planned) in planned {
            let taken = self.provider.taken.get(id).map_or(0, Vec::len);
            if self.database.refuses.contains(id) {
                if taken > 0 || !self.dead.contains(id) {
                    return Err(format!("{id} can't be recorded: sent {taken} times, or not on DEAD"));
                }
                continue;
            }
            let Some(row) = self.database.rows.get(id) else { return Err(format!("{id} is lost")) };
            let unsent = taken == 0 || self.repeated.contains(id);
            let fits = match row.state {
                CommandState::Accepted => taken > 0,
                CommandState::Expired => taken == 0 && planned.expires_at.is_some(),
                CommandState::Cancelled => unsent,
                CommandState::Rejected => taken == 0 && self.may_be_rejected(planned),
                // Nobody knows whether it was sent, or the provider refused it.
                CommandState::Failed => self.dead.contains(id) && (unsent || is_unknown(&row.reason)),
                CommandState::Queued | CommandState::Sending | CommandState::InDoubt => false,
            };
            if !fits {
                return Err(format!(
                    "{id} is {} ({}) and was sent {taken} times",
                    row.state.as_str(),
                    row.reason
                ));
            }
        }
        Ok(())
    }

    fn may_be_rejected(&self, planned: &Planned) -> bool {
        let user = self.plan.users.iter().find(|user| user.number == planned.to);
        let odd = user.is_some_and(|user| user.blocked || !user.open || user.known.wrote.is_none());
        let moody = self.plan.faults.refused > 0.0;
        let paused = planned.content == Content::Template("paused");
        planned.content == Content::Invalid || odd || paused || moody
    }
}

fn is_unknown(reason: &str) -> bool {
    reason.starts_with("no answer and no status")
}
