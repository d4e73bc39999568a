//! What takes days, and what chance seldom brings.

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3_600);

struct Life {
    machine: Machine,
    at: Duration,
    started: Timestamp,
}

impl Life {
    fn new(parked: Vec<Parked>) -> Self {
        let rules = Rules { concurrency: 4, disable_after: DAY * 5 };
        let started = "2026-11-21T09:30:00Z".parse().unwrap();
        let at = Duration::from_secs(1_000);
        let now = Now { boot: at, wall: started, may_begin: true, room: 100 };
        Self { machine: Machine::new(rules, 1, None, parked, &now), at, started }
    }

    fn now(&self) -> Now {
        let wall = self.started + SignedDuration::try_from(self.at - Duration::from_secs(1_000)).unwrap();
        Now { boot: self.at, wall, may_begin: true, room: 100 }
    }

    fn tell(&mut self, input: Input) -> Vec<Action> {
        let now = self.now();
        self.machine.handle(input, &now);
        self.pump()
    }

    fn pump(&mut self) -> Vec<Action> {
        let now = self.now();
        self.machine.pump(&now);
        self.machine
            .take_actions()
            .into_iter()
            .filter(|action| !matches!(action, Action::Read { .. }))
            .collect()
    }

    /// Sleeps until the machine wants to go on.
    fn sleep(&mut self) -> Vec<Action> {
        let now = self.now();
        let wake = self.machine.pump(&now).expect("something to wait for");
        self.machine.take_actions();
        self.at = wake;
        self.pump()
    }

    fn read(&mut self, events: &[(u64, &str)]) -> Vec<Action> {
        let item = |(sequence, conversation): &(u64, &str)| Item {
            sequence: *sequence,
            stored: self.started,
            bytes: 100,
            conversation: (*conversation).into(),
        };
        let items: Vec<Item> = events.iter().map(item).collect();
        let next = items.last().map_or(1, |item| item.sequence + 1);
        self.pump();
        self.tell(Input::Read { source: Source::Live, items, next, more: false })
    }

    fn tried(&mut self, sequence: u64, outcome: Outcome) -> Vec<Action> {
        let stored = Some(self.started);
        self.tell(Input::Tried { source: Source::Live, sequence, stored, outcome })
    }
}

fn failed(fault: Fault) -> Outcome {
    Outcome::Failed(Failure { fault, wait: None, error: "answered so".into() })
}

fn tries(actions: &[Action]) -> Vec<u64> {
    actions
        .iter()
        .filter_map(|action| if let Action::Try { sequence, .. } = action { Some(*sequence) } else { None })
        .collect()
}

#[test]
fn an_event_that_is_refused_for_seven_days_is_given_up() {
    let mut life = Life::new(Vec::new());
    life.read(&[(1, "a"), (2, "a")]);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let actions = life.tried(1, failed(Fault::Event));
        if actions.iter().any(|action| matches!(action, Action::Park { .. })) {
            life.tell(Input::Parked);
        }
        if let Some(Action::GiveUp { sequence, lost, error, .. }) =
            actions.iter().find(|action| matches!(action, Action::GiveUp { .. }))
        {
            assert_eq!((*sequence, *lost, error.as_str()), (1, Lost::Undelivered, "answered so"));
            break;
        }
        while tries(&life.sleep()).is_empty() {}
    }
    let lived = life.at - Duration::from_secs(1_000);
    assert!(lived >= DAY * 7 - Duration::from_secs(600) && lived < DAY * 7, "{lived:?}");
    assert!((150..350).contains(&attempts), "{attempts}");
    // The one behind it goes as soon as the letter is written.
    assert_eq!(tries(&life.tell(Input::GivenUp(Source::Live, 1))), [2]);
}

#[test]
fn who_fails_for_five_days_is_disabled_and_loses_nothing() {
    let mut life = Life::new(Vec::new());
    let mut flying = tries(&life.read(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]));
    let mut probes = 0;
    let disabled = loop {
        let Some(sequence) = flying.pop() else {
            flying = tries(&life.sleep());
            continue;
        };
        probes += 1;
        let actions = life.tried(sequence, failed(Fault::Endpoint));
        assert!(!actions.iter().any(|action| matches!(action, Action::Park { .. } | Action::GiveUp { .. })));
        flying.extend(tries(&actions));
        if let Some(Action::Disable(reason)) =
            actions.into_iter().find(|action| matches!(action, Action::Disable(_)))
        {
            break reason;
        }
    };
    assert_eq!(disabled, "nothing could be delivered since 2026-11-21T09:30:00Z");
    // About one a minute.
    assert!((5_000..12_000).contains(&probes), "{probes}");
    assert_eq!(life.machine.cursor(), 1);
    life.at += DAY;
    assert!(life.pump().is_empty());
    assert_eq!(tries(&life.tell(Input::Deliver)).len(), 4);
}

#[test]
fn what_was_parked_ahead_of_the_place_waits_for_what_is_before_it() {
    let wall: Timestamp = "2026-11-21T09:30:00Z".parse().unwrap();
    let row = |sequence| Parked {
        sequence,
        conversation: "a".into(),
        attempts: 0,
        since: wall,
        due: wall,
        error: String::new(),
    };
    let mut life = Life::new(vec![row(5), row(6)]);
    assert!(tries(&life.pump()).is_empty());
    assert_eq!(tries(&life.read(&[(4, "a"), (5, "a"), (7, "a")])), [4]);
    for (done, next) in [(4, 5), (5, 6), (6, 7)] {
        assert_eq!(tries(&life.tried(done, Outcome::Delivered)), [next]);
    }
}

#[test]
fn what_events_does_not_hold_any_more_is_told_as_lost() {
    let mut life = Life::new(Vec::new());
    life.read(&[(1, "a")]);
    let actions = life.tried(1, Outcome::Missing);
    assert!(matches!(actions[..], [Action::GiveUp { sequence: 1, lost: Lost::Dropped, .. }]), "{actions:?}");
}

#[test]
fn one_conversation_does_not_fill_the_window() {
    let mut life = Life::new(Vec::new());
    let events: Vec<(u64, &str)> = (1..=100).map(|sequence| (sequence, "a")).collect();
    let actions = life.read(&events);
    let parked = actions
        .iter()
        .find_map(|action| if let Action::Park { rows, .. } = action { Some(rows) } else { None });
    assert_eq!(
        parked.map(|rows| rows.iter().map(|row| row.sequence).collect()),
        Some((65..=100).collect::<Vec<_>>())
    );
}

#[test]
fn what_is_stored_while_a_read_is_under_way_is_read_at_once() {
    let mut life = Life::new(Vec::new());
    let now = life.now();
    let reads = |machine: &mut Machine| {
        machine.pump(&now);
        machine.take_actions().iter().filter(|action| matches!(action, Action::Read { .. })).count()
    };
    assert_eq!(reads(&mut life.machine), 1);
    life.machine.handle(Input::Woken(1), &now);
    assert_eq!(reads(&mut life.machine), 0, "one read at a time");
    let nothing = || Input::Read { source: Source::Live, items: Vec::new(), next: 1, more: false };
    life.machine.handle(nothing(), &now);
    assert_eq!(reads(&mut life.machine), 1, "that read may have come too early");
    // What is known and does not come is not asked for again and again.
    life.machine.handle(nothing(), &now);
    assert_eq!(reads(&mut life.machine), 0);
}
