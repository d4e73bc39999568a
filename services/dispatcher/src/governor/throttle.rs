//! Backing off when the provider says that it was too much (130429), and coming back.

use std::time::Duration;

/// Refusals so close together are of one cause.
const ONE_CAUSE: Duration = Duration::from_secs(1);
/// So many of one cause say that the limit is wrong. Fewer may be a message that nobody here could know of yet.
const WRONG_LIMIT: u32 = 3;
/// How long the provider has to be content before more is tried.
const CONTENT: Duration = Duration::from_secs(5);
/// Between two steps up.
const STEP: Duration = Duration::from_secs(1);
/// What was allowed this long ago has proved to be right.
const PROVEN: Duration = Duration::from_millis(1_500);

/// What the provider takes, where that is less than the limit.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    cut: Option<Cut>,
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    /// What was allowed before it, and right after it.
    from: usize,
    to: usize,
    at: Duration,
    /// Refusals of its cause.
    count: u32,
    /// The last refusal.
    refused: Duration,
}

impl Throttle {
    /// How many a second may be sent and received at `now`.
    pub(super) fn allows(&self, limit: usize, now: Duration) -> usize {
        self.cut.map_or(limit, |cut| cut.allows(limit, now))
    }

    /// Takes note of a refusal. One cuts by a twentieth, several of one cause to three quarters, once a second; while
    /// coming back, to what had gone well before the last steps.
    pub(super) fn refused(&mut self, limit: usize, now: Duration) {
        let from = self.allows(limit, now);
        let to = match &mut self.cut {
            Some(cut) if now < cut.at + ONE_CAUSE => {
                (cut.refused, cut.count) = (now, cut.count + 1);
                if cut.count == WRONG_LIMIT {
                    cut.to = cut.to.min(cut.from * 3 / 4).max(1);
                }
                return;
            }
            Some(cut) => {
                let proven = cut.allows(limit, now.saturating_sub(PROVEN));
                if proven < from { proven } else { from - from.div_ceil(20) }
            }
            None => from - from.div_ceil(20),
        };
        self.cut = Some(Cut { from, to: to.max(1), at: now, count: 1, refused: now });
    }
}

impl Cut {
    /// Steps of 1, 2, 4, … up to a twentieth of the limit: near what the provider takes they find it with few
    /// refusals, far from it they get on.
    fn allows(&self, limit: usize, now: Duration) -> usize {
        let most = (limit / 20).max(1);
        let (mut allowed, mut step, mut next) = (self.to, 1, self.refused + CONTENT);
        while next <= now && allowed < limit {
            allowed += step;
            step = (step * 2).min(most);
            next += STEP;
        }
        allowed.min(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(100);

    /// So many refusals at one moment.
    fn refuse(throttle: &mut Throttle, times: u32, now: Duration) {
        for _ in 0..times {
            throttle.refused(80, now);
        }
    }

    #[test]
    fn several_refusals_cut_to_three_quarters_at_most_once_a_second() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.allows(80, START), 80);
        refuse(&mut throttle, 2, START);
        throttle.refused(80, START + ONE_CAUSE / 2);
        assert_eq!(throttle.allows(80, START), 60);
        refuse(&mut throttle, 10, START + ONE_CAUSE);
        assert_eq!(throttle.allows(80, START), 45);
        assert_eq!(throttle.allows(20, START), 20, "the limit was lowered besides");
        for second in 2..30 {
            refuse(&mut throttle, 5, START + ONE_CAUSE * second);
        }
        assert_eq!(throttle.allows(80, START), 1);
    }

    #[test]
    fn one_alone_costs_little() {
        let mut throttle = Throttle::default();
        throttle.refused(80, START);
        assert_eq!(throttle.allows(80, START), 76);
        throttle.refused(80, START + ONE_CAUSE / 2);
        assert_eq!(throttle.allows(80, START + ONE_CAUSE), 76);
        throttle.refused(80, START + ONE_CAUSE);
        assert_eq!(throttle.allows(80, START + ONE_CAUSE), 72);
        assert_eq!(throttle.allows(80, START + ONE_CAUSE + CONTENT + STEP * 3), 80);
    }

    #[test]
    fn more_is_tried_once_the_provider_was_content() {
        let mut throttle = Throttle::default();
        refuse(&mut throttle, 3, START);
        let content = START + CONTENT;
        let after = |steps: u32| throttle.allows(80, content + STEP * steps);
        assert_eq!(throttle.allows(80, content - Duration::from_millis(1)), 60);
        assert_eq!([after(0), after(1), after(2), after(3), after(6)], [61, 63, 67, 71, 80]);
    }

    #[test]
    fn a_step_too_far_leads_back_to_what_went_well() {
        let mut throttle = Throttle::default();
        refuse(&mut throttle, 3, START);
        let now = START + CONTENT + STEP * 2;
        assert_eq!(throttle.allows(80, now), 67);
        throttle.refused(80, now);
        assert_eq!(throttle.allows(80, now), 61);
        refuse(&mut throttle, 3, now + ONE_CAUSE * 2);
        assert_eq!(throttle.allows(80, now + ONE_CAUSE * 2), 45);
    }
}
