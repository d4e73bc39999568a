//! The provider as the simulation has it: strict with limits, moody otherwise.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use staffetta_domain::{ErrorClass, Lane, ProviderError};
use staffetta_providers::cloud_api::{SendError, Taken};

use super::super::Request;
use super::plan::User;

const SECOND: Duration = Duration::from_secs(1);
const SPACE: Duration = Duration::from_secs(6);
const CREDIT: Duration = Duration::from_secs(44 * 6);

/// What it keeps.
pub(super) struct Provider {
    pub(super) limit: usize,
    pub(super) token: String,
    /// Until when it refuses everything, and with which code.
    pub(super) refuses: Option<(Duration, i64)>,
    pub(super) users: BTreeMap<String, User>,
    /// An owner can't know of what was sent before it, and recorded after it began: then the limit per user may be
    /// passed by that much, and the refusal is answered as it must be.
    pub(super) forgives_pairs: bool,
    traffic: VecDeque<Duration>,
    /// The fullest second so far.
    pub(super) worst: usize,
    whole_at: BTreeMap<String, Duration>,
    /// When it took each command.
    pub(super) taken: BTreeMap<String, Vec<Duration>>,
    /// The youngest entry that it took of each lane and user.
    youngest: BTreeMap<(usize, String), u64>,
}

/// What went wrong that must never.
pub(super) type Breach = String;

impl Provider {
    pub(super) fn new(limit: u32, users: &[User]) -> Self {
        Self {
            limit: limit as usize,
            token: "good-0".into(),
            refuses: None,
            users: users.iter().map(|user| (user.number.clone(), user.clone())).collect(),
            forgives_pairs: false,
            traffic: VecDeque::new(),
            worst: 0,
            whole_at: BTreeMap::new(),
            taken: BTreeMap::new(),
            youngest: BTreeMap::new(),
        }
    }

    /// A message in either direction.
    pub(super) fn count(&mut self, now: Duration) -> Result<(), Breach> {
        while self.traffic.front().is_some_and(|first| *first + SECOND <= now) {
            self.traffic.pop_front();
        }
        self.traffic.push_back(now);
        self.worst = self.worst.max(self.traffic.len());
        match self.traffic.len() <= self.limit {
            true => Ok(()),
            false => Err(format!("{} messages in a second, the limit is {}", self.traffic.len(), self.limit)),
        }
    }

    /// Judges a request that arrived. `moody`: it refuses with this code whatever the request.
    pub(super) fn judge(
        &mut self,
        request: &Request,
        moody: Option<(i64, Option<Duration>)>,
        now: Duration,
    ) -> Result<Result<Taken, SendError>, Breach> {
        self.count(now)?;
        let command = &request.armed.queued.command;
        let user = command.to.key().to_owned();
        let template = request.armed.carried.is_some() || command.kind == "template";
        let known = self.users.get(&user);
        let token = request.key.token.as_ref().map(secrecy::ExposeSecret::expose_secret);
        let standing = match self.refuses.filter(|(until, _)| now < *until) {
            Some((_, code)) => Some((code, None)),
            _ if token != Some(self.token.as_str()) => Some((190, None)),
            _ => moody,
        };
        let code = match standing {
            Some(refusal) => Some(refusal),
            None if known.is_some_and(|user| user.blocked) => Some((130_403, None)),
            None if !template && known.is_some_and(|user| !user.open) => Some((131_047, None)),
            None if template && command.content["name"] == "paused" => Some((132_015, None)),
            None => None,
        };
        if let Some((code, retry_after)) = code {
            return Ok(Err(refusal(code, retry_after)));
        }
        let whole_at = self.whole_at.entry(user.clone()).or_default();
        if *whole_at > now + CREDIT && self.forgives_pairs {
            return Ok(Err(refusal(131_056, None)));
        }
        if *whole_at > now + CREDIT {
            return Err(format!(
                "131056: too much to one user, the credit is whole in {:?}",
                *whole_at - now
            ));
        }
        *whole_at = (*whole_at).max(now) + SPACE;
        let taken = self.taken.entry(command.id.to_string()).or_default();
        taken.push(now);
        let wamid = format!("wamid.{}.{}", command.id, taken.len());
        // What was put off until it is due is published once more then, behind whatever came meanwhile.
        if taken.len() == 1 && command.send_at.is_none() {
            in_order(&mut self.youngest, request.armed.lane, user, request.armed.queued.sequence())?;
        }
        Ok(Ok(Taken { wamid: wamid.parse().map_err(|_| "a wamid")?, called: None }))
    }
}

fn in_order(
    youngest: &mut BTreeMap<(usize, String), u64>,
    lane: Lane,
    user: String,
    sequence: u64,
) -> Result<(), Breach> {
    let last = youngest.entry((lane as usize, user)).or_default();
    if *last > sequence {
        return Err(format!("entry {sequence} of {lane} was taken after entry {last} of the same user"));
    }
    *last = sequence;
    Ok(())
}

fn refusal(code: i64, retry_after: Option<Duration>) -> SendError {
    let http = match code {
        190 => 401,
        130_429 => 429,
        1 | 131_000 => 500,
        _ => 400,
    };
    let error = ProviderError { http, code, subcode: None, message: "no".into() };
    SendError::Refused { class: ErrorClass::of_cloud_api(&error), error, retry_after }
}
