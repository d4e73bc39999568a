//! Owners of the channel: each has a machine, tells it what happened, and does what it wants, until it dies or stops.

use std::time::Duration;

use staffetta_domain::ErrorClass;

use super::super::{Action, Input, Machine, Now, Past, Request};
use super::plan::{SECOND, wall};
use super::world::{Event, World};
use crate::governor::{Ages, Governor};

/// How long after it was paused an owner's lease is valid.
const TERM: Duration = Duration::from_millis(1_450);
/// How long one that stops waits for answers.
const LAST_ANSWERS: Duration = Duration::from_millis(400);

/// A process that owns the channel, or did.
pub(super) struct Owner {
    pub(super) machine: Machine,
    lease_until: Duration,
    paused_until: Duration,
    pub(super) alive: bool,
    /// When it lets go at the latest, once it stops; and whether it has.
    let_go_at: Option<Duration>,
    pub(super) left: bool,
    /// What it waits for.
    pub(super) open: usize,
    timer: u64,
    pub(super) quota: Option<Duration>,
}

impl Owner {
    pub(super) fn is_at_rest(&self) -> bool {
        !self.alive || self.open == 0
    }
}

impl World {
    pub(super) fn begin_owner(&mut self, ages: &Ages) {
        self.beginning = false;
        let mut governor = std::mem::replace(&mut self.standby, Governor::new(self.plan.limit));
        governor.take_over(ages, self.now);
        let epoch = 1 + self.owners.len() as i64;
        let channel = ("acme".parse().expect("an id"), "acme-orders".parse().expect("an id"));
        let now = Now { boot: self.now, wall: wall(self.now), may_send: true, quota: None };
        let past = Past { governor, granted: ages.granted };
        let machine = Machine::new(channel, epoch, self.settings.clone(), self.view.clone(), past, &now);
        self.note(|| format!("owner {epoch} begins"));
        let (lease_until, paused_until) = (Duration::MAX, Duration::ZERO);
        let (let_go_at, timer, quota) = (None, 0, None);
        let owner = Owner {
            machine,
            lease_until,
            paused_until,
            alive: true,
            let_go_at,
            left: false,
            open: 0,
            timer,
            quota,
        };
        self.owners.push(owner);
        self.turn(self.owners.len() - 1);
    }

    fn now_of(&self, owner: usize) -> Now {
        let Owner { lease_until, quota, .. } = self.owners[owner];
        let quota = quota.filter(|until| *until > self.now);
        Now { boot: self.now, wall: wall(self.now), may_send: self.now < lease_until, quota }
    }

    /// The owner that may send, unless one is only about to begin.
    fn current(&self) -> Option<usize> {
        let last = self.owners.len().checked_sub(1)?;
        (!self.beginning && self.owners[last].alive).then_some(last)
    }

    pub(super) fn tell_current(&mut self, input: Input) {
        if let Some(owner) = self.current() {
            self.owners[owner].open += 1;
            self.tell(owner, input);
        }
    }

    pub(super) fn tell(&mut self, owner: usize, input: Input) {
        let it = &mut self.owners[owner];
        if !it.alive {
            return;
        }
        if self.now < it.paused_until {
            let until = it.paused_until;
            return self.at(until, Event::Tell(owner, input));
        }
        it.open -= 1;
        let now = self.now_of(owner);
        if !matches!(input, Input::Woken(..) | Input::Received(_) | Input::Read(..) | Input::Doubts(_)) {
            self.note(|| format!("owner {} is told {}", owner + 1, short(&input)));
        }
        self.owners[owner].machine.handle(input, &now);
        self.turn(owner);
    }

    pub(super) fn timer(&mut self, owner: usize, number: u64) {
        let it = &self.owners[owner];
        if it.timer == number && it.alive {
            match self.now < it.paused_until {
                true => self.at(it.paused_until, Event::Timer(owner, number)),
                false => self.turn(owner),
            }
        }
    }

    /// What an actor does after each input.
    fn turn(&mut self, owner: usize) {
        let now = self.now_of(owner);
        let it = &mut self.owners[owner];
        it.timer += 1;
        let number = it.timer;
        let mut next = it.machine.pump(&now);
        for action in it.machine.take_actions() {
            self.begin_action(owner, action);
        }
        let it = &mut self.owners[owner];
        if it.machine.is_stopping() {
            let let_go_at = *it.let_go_at.get_or_insert(now.boot + LAST_ANSWERS);
            if !it.left && (it.open == 0 || !now.may_send || now.boot >= let_go_at) {
                self.leave(owner, &now);
            } else if !it.left {
                next = Some(next.map_or(let_go_at, |next| next.min(let_go_at)));
            }
            let it = &mut self.owners[owner];
            if it.open == 0 {
                it.alive = false;
                if it.machine.in_flight > 0 || it.machine.claiming != [0; 3] {
                    self.breach(format!("owner {} has ended and is not quiet", owner + 1));
                }
                return;
            }
        }
        if let Some(next) = next {
            // Timers are late.
            let late = self.dice.micros(1, 1_200);
            self.at(next.max(self.now) + late, Event::Timer(owner, number));
        }
    }

    fn leave(&mut self, owner: usize, now: &Now) {
        let it = &mut self.owners[owner];
        it.left = true;
        let ages = it.machine.handover(now);
        let floors = it.machine.last_floors();
        if now.may_send {
            for (subject, floor) in floors {
                self.purge(subject.lane, floor);
            }
            self.owners[owner].lease_until = self.now;
            self.after(1_000, 60_000, Event::Begin(ages));
        }
    }

    fn begin_action(&mut self, owner: usize, action: Action) {
        match action {
            Action::Send(request) => {
                self.owners[owner].open += 1;
                let wait = if self.strikes(self.plan.faults.slow) { 200_000 } else { 1_500 };
                self.after(50, wait, Event::Write(owner, request));
            }
            Action::Quota { until, .. } => {
                let quota = &mut self.owners[owner].quota;
                *quota = Some(quota.map_or(until, |before| before.max(until)));
            }
            Action::LookAtDoubts { keys } => {
                self.owners[owner].open += 1;
                let (webhooks, last_status) = (self.progress(), self.last_status);
                self.after(300, 5_000, Event::LookAtDoubts(owner, keys, webhooks, last_status));
            }
            action => {
                self.owners[owner].open += 1;
                self.after(200, 3_000, Event::Do(owner, action));
            }
        }
    }

    /// Whether what the owner wants reaches anybody; if it does later, gives when.
    pub(super) fn reaches(&mut self, owner: usize) -> Result<(), Option<Duration>> {
        let Owner { alive, paused_until, .. } = self.owners[owner];
        if !alive {
            // What was on its way arrives or not.
            return if self.dice.below(2) == 0 { Ok(()) } else { Err(None) };
        }
        if self.now < paused_until && self.dice.below(2) == 0 {
            return Err(Some(paused_until));
        }
        Ok(())
    }

    pub(super) fn write(&mut self, owner: usize, request: Box<Request>) {
        let Owner { alive, paused_until, lease_until, .. } = self.owners[owner];
        if !alive {
            return;
        }
        if self.now < paused_until {
            return self.at(paused_until, Event::Write(owner, request));
        }
        let unreachable = self.strikes(self.plan.faults.not_sent);
        let expired = request.expires.is_some_and(|expires| wall(self.now) >= expires);
        if unreachable || expired || self.now >= lease_until {
            request.stamp.void();
            let not_sent = staffetta_providers::cloud_api::SendError::NotSent("it could not be reached");
            return self.at(self.now, Event::Tell(owner, World::sent(*request, Err(not_sent))));
        }
        request.stamp.mark(self.now);
        self.check_times(&request);
        let late = self.dice.micros(0, 1_500);
        self.at(self.now + self.plan.way + late, Event::Arrive(owner, request));
    }

    pub(super) fn arrive(&mut self, owner: usize, request: Box<Request>) {
        let faults = self.plan.faults;
        let moody = self.strikes(faults.refused).then(|| self.mood());
        let lost = self.strikes(faults.no_answer);
        let missed = lost && self.dice.below(2) == 0;
        let id = request.armed.queued.command.id.to_string();
        let result = match missed {
            true => self.provider.count(self.now).map(|()| None),
            false => self.provider.judge(&request, moody, self.now).map(Some),
        };
        let result = match result {
            Ok(result) => result,
            Err(breach) => return self.breach(breach),
        };
        self.note(|| {
            format!(
                "{id} (entry {} of {}) of owner {} arrived: {}",
                request.armed.queued.sequence(),
                request.armed.lane,
                owner + 1,
                said(result.as_ref(), lost)
            )
        });
        if let Some(Ok(_)) = &result {
            self.check_taken(&id);
            self.promise_status(&id);
        }
        let wait = match (lost, self.strikes(faults.stall)) {
            (true, _) => self.dice.micros(1_000, 30_000_000),
            (_, true) => self.dice.micros(1_000_000, 20_000_000),
            _ => self.dice.micros(1_000, 4_000),
        };
        let unclear = staffetta_providers::cloud_api::SendError::NoAnswer("no answer");
        let result = result.filter(|_| !lost).unwrap_or(Err(unclear));
        self.at(self.now + wait, Event::Answered(owner, request, result));
    }

    fn mood(&mut self) -> (i64, Option<Duration>) {
        const CODES: [i64; 13] = [
            130_429, 130_429, 131_056, 131_000, 131_016, 1, 131_026, 131_049, 100, 132_001, 131_048, 131_057,
            135_000,
        ];
        let code = CODES[self.dice.below(CODES.len() as u64) as usize];
        (code, (self.dice.below(4) == 0).then(|| self.dice.micros(100_000, 5_000_000)))
    }

    fn promise_status(&mut self, id: &str) {
        let faults = self.plan.faults;
        let (from, to) = match () {
            () if self.strikes(faults.status_lost) => return,
            () if self.strikes(faults.status_late) => (1_000_000, 200_000_000),
            () => (30_000, 3_000_000),
        };
        self.after(from, to, Event::Status(id.to_owned()));
    }

    pub(super) fn answered(
        &mut self,
        owner: usize,
        request: Request,
        result: Result<staffetta_providers::cloud_api::Taken, staffetta_providers::cloud_api::SendError>,
    ) {
        use staffetta_providers::cloud_api::SendError;
        if !matches!(result, Err(SendError::NoAnswer(_))) {
            request.stamp.answer(self.now);
        }
        if let Err(SendError::Refused { class: ErrorClass::Pair, .. }) = result {
            self.note(|| "a mood, not a breach".into());
        }
        self.tell(owner, World::sent(request, result));
    }

    pub(super) fn kill(&mut self) {
        let Some(owner) = self.current() else { return };
        let it = &mut self.owners[owner];
        if it.left || it.machine.is_stopping() {
            return;
        }
        it.alive = false;
        self.succeed();
    }

    pub(super) fn stop(&mut self) {
        let Some(owner) = self.current() else { return };
        let it = &self.owners[owner];
        if it.left || it.machine.is_stopping() || self.now < it.paused_until {
            return;
        }
        self.beginning = true;
        self.owners[owner].open += 1;
        self.tell(owner, Input::Stop);
    }

    pub(super) fn pause(&mut self, pause: Duration) {
        let Some(owner) = self.current() else { return };
        let it = &mut self.owners[owner];
        if it.left || it.machine.is_stopping() || self.now < it.paused_until {
            return;
        }
        it.paused_until = self.now + pause;
        if pause >= SECOND {
            it.lease_until = self.now + TERM;
            it.open += 1;
            let wakes = it.paused_until.max(it.lease_until);
            self.at(wakes, Event::Tell(owner, Input::Stop));
            self.succeed();
        }
    }
}

fn said<T>(result: Option<&Result<T, staffetta_providers::cloud_api::SendError>>, lost: bool) -> String {
    let judged = match result {
        None => "missed".to_owned(),
        Some(Ok(_)) => "taken".to_owned(),
        Some(Err(error)) => format!("{error:?}"),
    };
    if lost { format!("{judged}, and nothing is answered") } else { judged }
}

/// An input's name and a little of it.
fn short(input: &Input) -> String {
    let text = format!("{input:?}");
    text.chars().take(160).collect()
}
