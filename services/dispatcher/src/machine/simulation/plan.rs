//! What is to happen in a run, drawn from its seed.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use staffetta_bus::DoubtPolicy;
use staffetta_domain::Lane;
use staffetta_store::Standing;

use crate::governor::Dice;

pub(super) const SECOND: Duration = Duration::from_secs(1);
/// When a run begins, by the boot-time clock.
pub(super) const START: Duration = Duration::from_secs(1_000);

/// A run.
pub(super) struct Plan {
    pub(super) limit: u32,
    /// Between two messages that the channel receives.
    pub(super) inbound: Option<Duration>,
    pub(super) users: Vec<User>,
    pub(super) commands: Vec<Planned>,
    pub(super) troubles: Vec<(Duration, Trouble)>,
    pub(super) faults: Faults,
    pub(super) doubt_wait: Duration,
    pub(super) policy: DoubtPolicy,
    /// From a request's writing to its arrival.
    pub(super) way: Duration,
}

/// A user.
#[derive(Clone)]
pub(super) struct User {
    pub(super) number: String,
    pub(super) blocked: bool,
    /// Whether the provider takes free-form messages.
    pub(super) open: bool,
    /// What the database knows of that.
    pub(super) known: Standing,
}

/// A command, to be published.
#[derive(Clone)]
pub(super) struct Planned {
    pub(super) at: Duration,
    pub(super) id: String,
    pub(super) lane: Lane,
    pub(super) to: String,
    pub(super) content: Content,
    pub(super) send_at: Option<Duration>,
    pub(super) expires_at: Option<Duration>,
    pub(super) policy: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Text,
    Image,
    Template(&'static str),
    Invalid,
}

/// How often what goes wrong, each from 0 to 1.
#[derive(Clone, Copy, Default)]
pub(super) struct Faults {
    /// The answer is lost; the message is taken in half of the cases.
    pub(super) no_answer: f64,
    pub(super) refused: f64,
    pub(super) not_sent: f64,
    /// A request waits for its connection.
    pub(super) slow: f64,
    /// An answer takes seconds.
    pub(super) stall: f64,
    pub(super) status_lost: f64,
    pub(super) status_late: f64,
    /// Reads, purges and deletions fail; reads lag.
    pub(super) queue: f64,
    pub(super) wake_lost: f64,
    /// What is written is written twice.
    pub(super) repeated: f64,
    /// The database will never take a command.
    pub(super) unrecordable: f64,
}

/// Something that befalls the whole.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    Kill,
    Stop,
    Pause(Duration),
    DatabaseAway(Duration),
    /// The token is no longer good; another one comes after this time.
    Token(Duration),
    /// The provider refuses everything for so long, with this code.
    Refuses(Duration, i64),
    /// Somebody lifts the hold.
    Lift,
    Rate(u32),
    Policy(DoubtPolicy),
    /// A command is taken back.
    Cancel(usize),
}

pub(super) fn wall(now: Duration) -> Timestamp {
    let base = Timestamp::from_second(1_795_000_000).expect("a time of this century");
    base + SignedDuration::try_from(now).expect("a short time")
}

impl Planned {
    pub(super) fn text(at: Duration, number: usize, lane: Lane, to: &str) -> Self {
        let (send_at, expires_at, policy) = (None, None, None);
        let (id, to, content) = (format!("c-{number}"), to.to_owned(), Content::Text);
        Self { at, id, lane, to, content, send_at, expires_at, policy }
    }

    pub(super) fn payload(&self) -> Vec<u8> {
        let mut json = json!({ "id": self.id, "to": self.to });
        let (kind, content) = match self.content {
            Content::Text => ("text", json!({ "body": "Fattura pronta" })),
            Content::Image => ("image", json!({ "link": "https://files.example/a.png" })),
            Content::Template(name) => ("template", json!({ "name": name, "language": { "code": "it" } })),
            Content::Invalid => ("text", json!({ "body": "" })),
        };
        json["type"] = Value::from(kind);
        json[kind] = content;
        for (name, at) in [("send_at", self.send_at), ("expires_at", self.expires_at)] {
            if let Some(at) = at {
                json[name] = Value::from(wall(at).to_string());
            }
        }
        if let Some(policy) = self.policy {
            json["window_policy"] = Value::from(policy);
        }
        json.to_string().into_bytes()
    }
}

impl User {
    fn any(number: usize, dice: &mut Dice) -> Self {
        let wrote = |hours: i64| Standing {
            wrote: Some(wall(START) - SignedDuration::from_hours(hours)),
            ..Standing::default()
        };
        let (blocked, open, known) = match dice.below(10) {
            0 => (true, true, wrote(1)),
            1 => (false, false, wrote(30)),
            2 => (false, false, Standing::default()),
            3 => (false, true, Standing::default()),
            _ => (false, true, wrote(1)),
        };
        Self { number: number_of(number), blocked, open, known }
    }

    pub(super) fn kind(number: usize) -> Self {
        let known = Standing { wrote: Some(wall(START)), ..Standing::default() };
        Self { number: number_of(number), blocked: false, open: true, known }
    }
}

pub(super) fn number_of(user: usize) -> String {
    format!("39348{user:07}")
}

impl Plan {
    /// A channel and users with nothing against them.
    pub(super) fn quiet(limit: u32, users: usize) -> Self {
        Self {
            limit,
            inbound: None,
            users: (0..users).map(User::kind).collect(),
            commands: Vec::new(),
            troubles: Vec::new(),
            faults: Faults::default(),
            doubt_wait: SECOND * 90,
            policy: DoubtPolicy::Resend,
            way: Duration::from_millis(5),
        }
    }

    /// All that may happen.
    pub(super) fn any(dice: &mut Dice) -> Self {
        let limit = [20, 80, 80, 250][dice.below(4) as usize];
        let users = [1, 2, 5, 30][dice.below(4) as usize];
        let span = [2, 10, 30][dice.below(3) as usize];
        let mut plan = Self::quiet(limit, 0);
        if dice.below(3) == 0 {
            // One owner's forecast is as good as steady arrivals let it be.
            plan.inbound = Some(SECOND * 100 / (limit * [10, 40][dice.below(2) as usize]));
        }
        let moody = users > 2 && dice.below(2) == 0;
        plan.users =
            (0..users).map(|user| if moody { User::any(user, dice) } else { User::kind(user) }).collect();
        plan.commands = commands(&plan.users, span, dice);
        plan.faults = faults(dice);
        let spread = SECOND * 3 + (plan.commands[plan.commands.len() - 1].at - START);
        plan.troubles = troubles(limit, spread, plan.commands.len(), dice);
        plan.doubt_wait = SECOND * [20, 90][dice.below(2) as usize];
        plan.policy = if dice.below(2) == 0 { DoubtPolicy::Resend } else { DoubtPolicy::Park };
        plan.way = dice.micros(500, 40_000);
        plan
    }
}

fn commands(users: &[User], span: u64, dice: &mut Dice) -> Vec<Planned> {
    let count = match dice.below(50) {
        0 => 300,
        1..=4 => 120,
        _ => 10 + dice.below(40) as usize,
    };
    // Few bunches, or none.
    let bunches = [1, 3, 1_000][dice.below(3) as usize];
    let mut commands: Vec<Planned> = Vec::new();
    let (copies, times, kinds) = (dice.below(3) == 0, dice.below(3) == 0, dice.below(3) == 0);
    for number in 0..count {
        let at = START + SECOND * span as u32 * dice.below(bunches) as u32 / bunches as u32;
        let lane = Lane::ALL[dice.below(3) as usize];
        if copies && !commands.is_empty() && dice.below(6) == 0 {
            let mut copy = commands[dice.below(commands.len() as u64) as usize].clone();
            copy.at = copy.at.max(at);
            if dice.below(2) == 0 {
                copy.lane = lane;
            }
            commands.push(copy);
            continue;
        }
        let to = &users[dice.below(users.len() as u64) as usize].number;
        let mut command = Planned::text(at, number, lane, to);
        if times && dice.below(3) == 0 {
            let wait = [500_000, 3_000_000, 60_000_000][dice.below(3) as usize];
            command.send_at = Some(at + dice.micros(0, wait) - SECOND / 4);
        }
        if times && dice.below(3) == 0 {
            let least = command.send_at.map_or(at, |send_at| send_at + SECOND / 10);
            command.expires_at = Some(least + dice.micros(0, 20_000_000));
        }
        if kinds {
            command.policy = [None, Some("reject"), Some("template")][dice.below(3) as usize];
            command.content = match dice.below(8) {
                0 => Content::Template("spring"),
                1 => Content::Template("paused"),
                2 => Content::Invalid,
                3 => Content::Image,
                _ => Content::Text,
            };
        }
        commands.push(command);
    }
    commands.sort_by_key(|command| command.at);
    commands
}

fn faults(dice: &mut Dice) -> Faults {
    let mut some = |most: f64| if dice.below(3) == 0 { dice.share() * most } else { 0.0 };
    Faults {
        no_answer: some(0.3),
        refused: some(0.5),
        not_sent: some(0.3),
        slow: 0.02,
        stall: some(0.2),
        status_lost: some(0.5),
        status_late: some(0.5),
        queue: some(0.4),
        wake_lost: some(0.9),
        repeated: some(0.5),
        unrecordable: some(0.05),
    }
}

fn troubles(limit: u32, spread: Duration, commands: usize, dice: &mut Dice) -> Vec<(Duration, Trouble)> {
    let count = dice.below(5);
    let mut trouble = || {
        let at = START + spread.mul_f64(dice.share());
        let trouble = match dice.below(15) {
            0..=3 => Trouble::Kill,
            4 | 5 => Trouble::Stop,
            6 | 7 => Trouble::Pause(dice.micros(100_000, 8_000_000)),
            8 => Trouble::DatabaseAway(dice.micros(100_000, 6_000_000)),
            9 => Trouble::Token(dice.micros(100_000, 20_000_000)),
            10 => {
                let code = [131_031, 131_057, 131_048, 4, 80_007, 131_016][dice.below(6) as usize];
                Trouble::Refuses(dice.micros(100_000, 60_000_000), code)
            }
            11 => Trouble::Lift,
            // More than is received: what is left is for sends.
            12 => Trouble::Rate(limit / 2 + dice.below(u64::from(limit / 2)) as u32),
            13 => Trouble::Policy(if dice.below(2) == 0 { DoubtPolicy::Resend } else { DoubtPolicy::Park }),
            _ => Trouble::Cancel(dice.below(commands as u64) as usize),
        };
        (at, trouble)
    };
    (0..count).map(|_| trouble()).collect()
}
