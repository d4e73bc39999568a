//! A closed loop: so many clients, each of which asks again as soon as it has its answer.

use std::{
    cell::RefCell,
    time::{Duration, Instant},
};

use anyhow::Context;
use futures_util::future::{try_join, try_join_all};
use tokio::time::{sleep, timeout};

use crate::{
    figures::{Latencies, Percentiles, micros_each},
    machine,
};

/// After the measured time the last answers come within this, or the run fails.
const LAST_ANSWERS: Duration = Duration::from_secs(60);

/// How long a run takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) warm_up: Duration,
    pub(super) measured: Duration,
}

/// How one request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Stored,
    Refused,
}

/// What a run showed. All but `stored` belongs to the measured time alone.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) per_second: f64,
    pub(super) refused: u64,
    pub(super) latencies: Percentiles,
    /// CPU of each watched process, in microseconds for each stored one.
    pub(super) cpu_micros: Vec<f64>,
    /// How busy the generator's one thread was. Near 1 the generator is what is measured.
    pub(super) generator: f64,
    /// Stored in all, the warm-up's and the last ones too.
    pub(super) stored: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measured,
    Over,
}

#[derive(Debug)]
struct Tally {
    phase: Phase,
    stored_in_all: u64,
    stored: u64,
    refused: u64,
    latencies: Latencies,
}

impl Tally {
    fn add(&mut self, answer: Answer, took: Duration) {
        self.stored_in_all += u64::from(answer == Answer::Stored);
        if self.phase != Phase::Measured {
            return;
        }
        match answer {
            Answer::Stored => {
                self.stored += 1;
                self.latencies.add(took);
            }
            Answer::Refused => self.refused += 1,
        }
    }
}

/// Runs the clients on this thread, and watches the CPU of some processes meanwhile.
///
/// Fails when a client does, or an answer does not come.
pub(super) async fn drive<C>(clients: Vec<C>, span: Span, watched: &[u32]) -> anyhow::Result<Run>
where
    C: AsyncFnMut() -> anyhow::Result<Answer>,
{
    let tally = RefCell::new(Tally {
        phase: Phase::WarmUp,
        stored_in_all: 0,
        stored: 0,
        refused: 0,
        latencies: Latencies::new(),
    });
    let loops = clients.into_iter().map(async |mut client| {
        while tally.borrow().phase != Phase::Over {
            let start = Instant::now();
            let answer = client().await?;
            tally.borrow_mut().add(answer, start.elapsed());
        }
        anyhow::Ok(())
    });
    let sampling = async {
        sleep(span.warm_up).await;
        let before = Sample::take(watched)?;
        tally.borrow_mut().phase = Phase::Measured;
        sleep(span.measured).await;
        tally.borrow_mut().phase = Phase::Over;
        anyhow::Ok((before, Sample::take(watched)?))
    };
    let limit = span.warm_up + span.measured + LAST_ANSWERS;
    let (_, (before, after)) = timeout(limit, try_join(try_join_all(loops), sampling))
        .await
        .with_context(|| format!("answers did not come within {limit:?}"))??;
    let Tally { stored_in_all, stored, refused, latencies, .. } = tally.into_inner();
    let elapsed = after.at.duration_since(before.at).as_secs_f64();
    let used = before.cpu.iter().zip(&after.cpu).map(|(before, after)| after.saturating_sub(*before));
    Ok(Run {
        per_second: stored as f64 / elapsed,
        refused,
        latencies: latencies.percentiles(),
        cpu_micros: used.map(|cpu| micros_each(cpu, stored)).collect(),
        generator: after.generator.saturating_sub(before.generator).as_secs_f64() / elapsed,
        stored: stored_in_all,
    })
}

#[derive(Debug)]
struct Sample {
    at: Instant,
    cpu: Vec<Duration>,
    generator: Duration,
}

impl Sample {
    fn take(watched: &[u32]) -> anyhow::Result<Self> {
        let cpu = watched.iter().map(|&pid| machine::cpu(pid)).collect::<anyhow::Result<_>>()?;
        Ok(Self { at: Instant::now(), cpu, generator: machine::cpu_of_this_thread() })
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::yield_now;

    use super::*;

    const SPAN: Span = Span { warm_up: Duration::from_millis(5), measured: Duration::from_millis(500) };

    #[tokio::test]
    async fn every_client_is_asked_again_until_the_end() {
        let asked = RefCell::new([0_u64; 3]);
        let clients = (0..3).map(|client| {
            let asked = &asked;
            async move || {
                yield_now().await;
                asked.borrow_mut()[client] += 1;
                Ok(if client == 0 { Answer::Refused } else { Answer::Stored })
            }
        });
        let run = drive(clients.collect(), SPAN, &[std::process::id()]).await.unwrap();
        let asked = asked.into_inner();
        assert!(asked.iter().all(|&count| count > 1), "{asked:?}");
        assert_eq!(run.stored, asked[1] + asked[2]);
        assert!(run.refused > 0 && run.refused <= asked[0]);
        assert!(run.per_second > 0.0);
        assert_eq!(run.cpu_micros.len(), 1);
    }

    #[tokio::test]
    async fn a_client_that_fails_fails_the_run() {
        let clients = vec![async || anyhow::bail!("broken")];
        let failure = drive(clients, SPAN, &[]).await.unwrap_err();
        assert_eq!(failure.to_string(), "broken");
    }
}
