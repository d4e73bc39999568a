//! The database as the simulation has it: what the store promises of commands, schedules, holds and users.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use staffetta_domain::{CommandState, Reach};
use staffetta_store::{
    ChannelHold, Claim, Claimed, CommandRecord, Outcome, RecentSend, Refused, Scheduled, Settlement, Standing,
};

/// The tables.
#[derive(Default)]
pub(super) struct Database {
    pub(super) rows: BTreeMap<String, Row>,
    pub(super) schedule: BTreeMap<String, (Scheduled, Timestamp)>,
    pub(super) users: BTreeMap<String, Standing>,
    pub(super) hold: Option<ChannelHold>,
    pub(super) away_until: Duration,
    /// Commands whose rows it refuses.
    pub(super) refuses: BTreeSet<String>,
    sends: Vec<(String, Timestamp)>,
}

/// A command.
#[derive(Clone)]
pub(super) struct Row {
    pub(super) state: CommandState,
    pub(super) reason: String,
    attempt: u32,
    epoch: i64,
    sequence: i64,
    claimed: Timestamp,
    user: Option<String>,
    /// Whether a try before may have been sent.
    perhaps_sent: bool,
    /// Whether a status has told of it.
    pub(super) told: bool,
    /// When it was put back because no status had come.
    pub(super) resent: Vec<Timestamp>,
}

impl Row {
    fn new(at: Timestamp) -> Self {
        let (state, reason) = (CommandState::Queued, String::new());
        let (attempt, epoch, sequence, user) = (0, 0, 0, None);
        let perhaps_sent = false;
        Self {
            state,
            reason,
            attempt,
            epoch,
            sequence,
            claimed: at,
            user,
            perhaps_sent,
            told: false,
            resent: Vec::new(),
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.state, CommandState::Queued | CommandState::Sending | CommandState::InDoubt)
    }
}

impl Database {
    pub(super) fn claim(&mut self, claims: &[Claim]) -> Vec<Option<Claimed>> {
        let mut answered = BTreeSet::new();
        claims
            .iter()
            .map(|claim| {
                if self.refuses.contains(claim.id.as_str()) {
                    return None;
                }
                if !answered.insert(claim.id.as_str()) {
                    return Some(Claimed::Known(self.rows[claim.id.as_str()].state));
                }
                Some(self.claim_one(claim))
            })
            .collect()
    }

    fn claim_one(&mut self, claim: &Claim) -> Claimed {
        let row = self.rows.entry(claim.id.to_string()).or_insert_with(|| Row::new(claim.at));
        let newer = row.epoch < claim.epoch;
        let same = row.epoch == claim.epoch && row.sequence == claim.sequence;
        let pending = matches!(row.state, CommandState::Sending | CommandState::InDoubt);
        let queued = row.state == CommandState::Queued;
        let moved = queued || (pending && (newer || same));
        if queued {
            row.attempt += 1;
            (row.state, row.epoch, row.claimed) = (CommandState::Sending, claim.epoch, claim.at);
        } else {
            if row.state == CommandState::Sending && newer {
                row.state = CommandState::InDoubt;
            }
            row.epoch = row.epoch.max(claim.epoch);
        }
        if queued || (pending && newer) {
            row.sequence = claim.sequence;
        }
        row.user.get_or_insert_with(|| claim.user.clone());
        let (attempt, since, perhaps_sent) = (row.attempt, row.claimed, row.perhaps_sent);
        match row.state {
            state if !moved => Claimed::Known(state),
            CommandState::Sending => {
                let user = self.users.get(&claim.user).cloned().unwrap_or_default();
                Claimed::Granted { attempt, perhaps_sent, user }
            }
            CommandState::InDoubt => Claimed::InDoubt { attempt, since },
            state => Claimed::Known(state),
        }
    }

    /// False if it will never take it.
    pub(super) fn settle(&mut self, outcome: &Outcome) -> bool {
        if self.refuses.contains(outcome.id.as_str()) {
            return false;
        }
        let row = self.rows.entry(outcome.id.to_string()).or_insert_with(|| Row::new(outcome.at));
        let state = outcome.settlement.state();
        if !row.is_open() || !(row.epoch <= outcome.epoch || state == CommandState::Accepted) {
            return true;
        }
        row.perhaps_sent |= row.state == CommandState::InDoubt;
        row.state = state;
        row.reason = outcome.settlement.reason().unwrap_or_default().into();
        match &outcome.settlement {
            Settlement::Postponed(_) => row.attempt = row.attempt.saturating_sub(1),
            Settlement::Retry(why) if why == "no answer and no status" => row.resent.push(outcome.at),
            Settlement::Accepted(_) => {
                let user = outcome.user.clone().or(row.user.clone()).unwrap_or_default();
                self.sends.push((user, outcome.at));
            }
            _ => {}
        }
        if let (Some(Reach::Refused { code, template }), Some(user)) = (&outcome.reach, &outcome.user) {
            let refused = Some(Refused { code: *code, at: outcome.at, template: template.clone() });
            let standing = self.users.entry(user.clone()).or_default();
            match Reach::is_marketing(*code) {
                true => standing.muted = refused,
                false => standing.held = refused,
            }
        }
        true
    }

    /// A status tells that the provider took it.
    pub(super) fn tell(&mut self, id: &str, at: Timestamp) {
        let Some(row) = self.rows.get_mut(id) else { return };
        row.told = true;
        if row.is_open() {
            row.state = CommandState::Accepted;
            self.sends.push((row.user.clone().unwrap_or_default(), at));
        }
    }

    pub(super) fn cancel(&mut self, id: &str) {
        if let Some(row) = self.rows.get_mut(id).filter(|row| row.state == CommandState::Queued) {
            row.state = CommandState::Cancelled;
            self.schedule.remove(id);
        }
    }

    /// Whether it waits now; `None` if it will never take it.
    pub(super) fn schedule(&mut self, scheduled: &Scheduled, now: Timestamp) -> Option<bool> {
        let id = scheduled.id.to_string();
        if self.refuses.contains(&id) {
            return None;
        }
        let row = self.rows.entry(id.clone()).or_insert_with(|| Row::new(now));
        if row.state == CommandState::Queued {
            self.schedule.entry(id).or_insert_with(|| (scheduled.clone(), Timestamp::UNIX_EPOCH));
            return Some(true);
        }
        Some(false)
    }

    pub(super) fn recent(&self, since: Timestamp) -> Vec<RecentSend> {
        let sends = self.sends.iter().rev().filter(|(_, at)| *at >= since);
        sends.map(|(user, at)| RecentSend { phone: Some(user.clone()), user: None, at: *at }).collect()
    }

    pub(super) fn record(&self, id: &str) -> Option<CommandRecord> {
        let row = self.rows.get(id)?;
        Some(CommandRecord {
            id: id.parse().ok()?,
            channel: "acme-orders".parse().ok()?,
            lane: staffetta_domain::Lane::Normal,
            user: None,
            callback_data: None,
            state: row.state,
            message: None,
            wamid: None,
            attempt: row.attempt,
            reason: None,
            send_at: None,
            created: row.claimed,
            updated: row.claimed,
        })
    }
}
