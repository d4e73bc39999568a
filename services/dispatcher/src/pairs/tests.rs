use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;
use crate::governor::Dice;

const USER: &str = "393480000001";
/// Seeds that once failed.
const FAILED: [u64; 0] = [];

/// How the receiver counts.
#[derive(Default)]
struct Receiver {
    whole_at: Micros,
}

impl Receiver {
    fn admits(&mut self, at: Micros) -> bool {
        let whole_at = self.whole_at.max(at);
        if whole_at - at > CREDIT {
            return false;
        }
        self.whole_at = whole_at + SPACE;
        true
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Arrives,
    Answered { begun: Duration },
}

/// What one user gets in a simulated hour or so.
struct Run {
    dice: Dice,
    pairs: Pairs,
    receiver: Receiver,
    events: BinaryHeap<Reverse<(Duration, Happens)>>,
    /// When each was begun and when it arrived.
    log: Vec<Duration>,
    arrivals: Vec<Duration>,
    unanswered: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed),
            pairs: Pairs::default(),
            receiver: Receiver::default(),
            events: BinaryHeap::new(),
            log: Vec::new(),
            arrivals: Vec::new(),
            unanswered: 0,
        }
    }

    /// Lets happen what happens until `now`.
    fn until(&mut self, now: Duration, seed: u64) {
        while let Some(Reverse((at, happens))) = self.events.peek().copied()
            && at <= now
        {
            self.events.pop();
            match happens {
                Happens::Arrives => {
                    assert!(self.receiver.admits(micros(at)), "seed {seed}: 131056 at {at:?}");
                    self.arrivals.push(at);
                }
                Happens::Answered { begun } => {
                    self.unanswered -= 1;
                    self.pairs.answered(USER, begun, at);
                    self.pairs.accepted(USER);
                }
            }
        }
    }

    fn send(&mut self, now: Duration, slowest: u64) {
        self.pairs.take(USER, now);
        if self.dice.below(20) == 0 {
            self.pairs.give_back(USER);
            return;
        }
        let took = self.dice.micros(0, slowest);
        let arrives = now + self.dice.micros(0, took.as_micros() as u64);
        self.events.push(Reverse((arrives, Happens::Arrives)));
        self.events.push(Reverse((now + took, Happens::Answered { begun: now })));
        self.log.push(now);
        self.unanswered += 1;
    }

    /// The owner is gone; the next one knows what its predecessor sent, to the second.
    fn fail_over(&mut self, now: Duration, seed: u64) -> Duration {
        let after = now + Duration::from_secs(3);
        self.until(after, seed);
        // Answers that came to nobody.
        self.events.retain(|Reverse((_, happens))| *happens == Happens::Arrives);
        self.unanswered = 0;
        self.pairs = Pairs::default();
        for sent in self.log.iter().filter(|sent| **sent + HISTORY >= after) {
            self.pairs.remember(USER, Duration::from_secs(sent.as_secs()), after);
        }
        after
    }
}

fn seeds(count: u64) -> impl Iterator<Item = u64> {
    FAILED.into_iter().chain(1..=count)
}

#[test]
fn the_receiver_never_refuses() {
    for seed in seeds(1_500) {
        let mut run = Run::new(seed);
        let lanes = 1 + run.dice.below(60);
        let slowest = [1_000, 100_000, 2_000_000][run.dice.below(3) as usize];
        let lull = run.dice.below(3) == 0;
        let mut now = Duration::from_secs(10 + run.dice.below(2_000));
        let end = now + Duration::from_secs(900);
        while now < end {
            run.until(now, seed);
            while run.unanswered < lanes && run.pairs.turn(USER, now) == Turn::Now {
                run.send(now, slowest);
            }
            if run.dice.below(200) == 0 {
                now = run.fail_over(now, seed);
            }
            if lull && run.dice.below(100) == 0 {
                now += Duration::from_secs(run.dice.below(300));
            }
            now += run.dice.micros(1_000, 4_000_000);
        }
        run.until(end + SETTLED, seed);
    }
}

/// Longer than any answer takes.
const SETTLED: Duration = Duration::from_secs(10);

#[test]
fn a_burst_goes_at_once_and_then_one_each_six_seconds() {
    for seed in seeds(100) {
        let mut run = Run::new(seed);
        let start = Duration::from_secs(10);
        let mut now = start;
        for _ in 0..BURST {
            assert_eq!(run.pairs.turn(USER, now), Turn::Now);
            run.pairs.take(USER, now);
            let arrives = now + run.dice.micros(0, 1_000_000);
            let begun = now;
            run.events.push(Reverse((arrives, Happens::Arrives)));
            run.events.push(Reverse((begun + Duration::from_secs(2), Happens::Answered { begun })));
            run.unanswered += 1;
        }
        assert_ne!(run.pairs.turn(USER, now), Turn::Now);
        let end = start + Duration::from_secs(3_600);
        while now < end {
            run.until(now, seed);
            match run.pairs.turn(USER, now) {
                Turn::Now if run.unanswered == 0 || now < start + SETTLED => run.send(now, 2_000_000),
                Turn::Now => now += Duration::from_millis(1),
                Turn::At(at) => now = at.min(now + Duration::from_millis(100)),
            }
        }
        run.until(end + SETTLED, seed);
        let then = run.arrivals.len() - BURST as usize;
        assert!(then as f64 >= 0.99 * 600.0, "seed {seed}: {then} after the burst");
    }
}

#[test]
fn one_user_waits_and_others_do_not() {
    let mut pairs = Pairs::default();
    let now = Duration::from_secs(10);
    for _ in 0..BURST {
        pairs.take(USER, now);
        pairs.answered(USER, now, now);
    }
    assert_eq!(pairs.turn(USER, now), Turn::At(now + Duration::from_secs(6)));
    assert_eq!(pairs.turn("393480000002", now), Turn::Now);
    pairs.give_back("393480000003");
    assert_eq!(pairs.turn(USER, now + Duration::from_secs(6)), Turn::Now);
}

#[test]
fn who_is_refused_all_the_same_waits_longer_each_time() {
    let mut pairs = Pairs::default();
    let mut now = Duration::from_secs(1_000);
    for wait in [1, 4, 16, 64, 256, 1_024, 3_600, 3_600] {
        assert_eq!(pairs.turn(USER, now), Turn::Now);
        pairs.take(USER, now);
        let until = pairs.refused(USER, now);
        assert_eq!(until, now + Duration::from_secs(wait));
        assert_eq!(pairs.turn(USER, until - Duration::from_micros(1)), Turn::At(until));
        now = until;
    }
    pairs.take(USER, now);
    pairs.answered(USER, now, now);
    pairs.accepted(USER);
    now += Duration::from_secs(10);
    pairs.take(USER, now);
    assert_eq!(pairs.refused(USER, now), now + Duration::from_secs(1));
}

#[test]
fn users_are_forgotten_when_their_credit_is_whole() {
    let mut pairs = Pairs::default();
    for number in 0..20_000_u64 {
        let now = Duration::from_secs(10) + Duration::from_millis(number);
        let user = number.to_string();
        pairs.take(&user, now);
        pairs.answered(&user, now, now);
        assert!(pairs.len() <= 7_100, "{}", pairs.len());
    }
    assert!(!format!("{pairs:?}").contains("19999"));
}
