//! Backing off when the provider says that it was too much (130429), and coming back.

use std::time::Duration;

/// Refusals so close together are of one cause.
const ONE_CAUSE: Duration = Duration::from_secs(1);
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
    /// What was allowed right after it.
    to: usize,
    at: Duration,
    /// The last refusal.
    refused: Duration,
}

impl Throttle {
    /// How many a second may be sent and received at `now`.
    pub(super) fn allows(&self, limit: usize, now: Duration) -> usize {
        self.cut.map_or(limit, |cut| cut.allows(limit, now))
    }

    /// Takes note of a refusal. It cuts to three quarters at most once a second; while coming back, to what had gone
    /// well before the last steps.
    pub(super) fn refused(&mut self, limit: usize, now: Duration) {
        let allowed = self.allows(limit, now);
        let to = match &mut self.cut {
            Some(cut) if now < cut.at + ONE_CAUSE => {
                cut.refused = now;
                return;
            }
            Some(cut) => {
                let proven = cut.allows(limit, now.saturating_sub(PROVEN));
                if proven < allowed { proven } else { allowed * 3 / 4 }
            }
            None => allowed * 3 / 4,
        };
        self.cut = Some(Cut { to: to.max(1), at: now, refused: now });
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

    #[test]
    fn refusals_cut_to_three_quarters_at_most_once_a_second() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.allows(80, START), 80);
        throttle.refused(80, START);
        throttle.refused(80, START + ONE_CAUSE / 2);
        assert_eq!(throttle.allows(80, START), 60);
        throttle.refused(80, START + ONE_CAUSE);
        assert_eq!(throttle.allows(80, START), 45);
        assert_eq!(throttle.allows(20, START), 20, "the limit was lowered besides");
        for second in 2..30 {
            throttle.refused(80, START + ONE_CAUSE * second);
        }
        assert_eq!(throttle.allows(80, START), 1);
    }

    #[test]
    fn more_is_tried_once_the_provider_was_content() {
        let mut throttle = Throttle::default();
        throttle.refused(80, START);
        let content = START + CONTENT;
        let after = |steps: u32| throttle.allows(80, content + STEP * steps);
        assert_eq!(throttle.allows(80, content - Duration::from_millis(1)), 60);
        assert_eq!([after(0), after(1), after(2), after(3), after(6)], [61, 63, 67, 71, 80]);
    }

    #[test]
    fn a_step_too_far_leads_back_to_what_went_well() {
        let mut throttle = Throttle::default();
        throttle.refused(80, START);
        let now = START + CONTENT + STEP * 2;
        assert_eq!(throttle.allows(80, now), 67);
        throttle.refused(80, now);
        assert_eq!(throttle.allows(80, now), 61);
        throttle.refused(80, now + ONE_CAUSE * 2);
        assert_eq!(throttle.allows(80, now + ONE_CAUSE * 2), 45);
    }
}
