//! Things that are done when they are due, whatever became of those before.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::sleep_until;

/// Before what is measured: connections open, statements are prepared.
const WARM_UP: Duration = Duration::from_secs(3);
/// A second at the most.
const FASTEST: u32 = 10_000;

/// How often, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// A second.
    pub(crate) rate: u32,
    /// What comes before, to warm up, is not among them.
    pub(crate) seconds: u32,
}

/// One of the things.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) n: u32,
    pub(crate) due: Instant,
    /// Whether it is one of those that count: not before all is warm.
    pub(crate) measured: bool,
}

impl Pace {
    /// Does each when it is due, and gives back what came of them.
    ///
    /// Fails when one of them does, or nothing is to be done.
    pub(crate) async fn keep<T>(
        self,
        each: impl AsyncFn(Turn) -> anyhow::Result<T>,
    ) -> anyhow::Result<Vec<(Turn, T)>> {
        let Self { rate, seconds } = self;
        ensure!(
            (1..=FASTEST).contains(&rate) && seconds > 0,
            "1 to {FASTEST} a second, for a second or more"
        );
        let start = Instant::now();
        let (each, at_once) = (&each, usize::try_from(rate * 2)?);
        stream::iter(0..self.whole())
            .map(|n| async move {
                let turn =
                    Turn { n, due: start + Duration::from_secs(1) * n / rate, measured: n >= self.warm_up() };
                sleep_until(turn.due.into()).await;
                anyhow::Ok((turn, each(turn).await?))
            })
            // Two seconds' worth: none waits for another, unless what is measured is far too slow.
            .buffer_unordered(at_once)
            .try_collect()
            .await
    }

    /// How many there are, those that warm up included.
    pub(crate) fn whole(self) -> u32 {
        self.warm_up() + self.rate * self.seconds
    }

    fn warm_up(self) -> u32 {
        self.rate * u32::try_from(WARM_UP.as_secs()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_has_its_turn_and_the_first_do_not_count() {
        let turns = Pace { rate: 10_000, seconds: 1 }.keep(async |turn| Ok(turn.n)).await.unwrap();
        assert_eq!(turns.len(), 40_000);
        assert!(turns.iter().all(|(turn, n)| turn.n == *n && turn.measured == (*n >= 30_000)));
        assert!(Pace { rate: 0, seconds: 1 }.keep(async |_| Ok(())).await.is_err());
    }
}
