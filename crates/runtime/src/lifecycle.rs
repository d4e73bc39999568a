//! A process's life: every long-lived task has this one owner.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// Owns every long-lived task. A signal stops them all; a task that ends or panics before one stops the rest and fails
/// the process, so nothing lingers half dead.
#[derive(Debug, Default)]
pub struct Lifecycle {
    stop: CancellationToken,
    tasks: JoinSet<(&'static str, anyhow::Result<()>)>,
}

/// A long-lived task, and its name.
pub type Task = (&'static str, Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>);

impl Lifecycle {
    /// Fires when the process is to stop: take no new work, finish what runs, return.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a task that lives as long as the process.
    pub fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.tasks.spawn(async move { (name, task.await) });
    }

    /// Awaits `start` and runs the tasks that it gives, until SIGTERM or SIGINT, or until a task ends; then stops every
    /// task and waits for it, at most `drain`. A signal during the start ends the start.
    ///
    /// # Errors
    /// If the start failed, if a task ended by itself, failed or panicked, or if one had not finished when `drain` was
    /// over.
    pub async fn run(
        mut self,
        start: impl Future<Output = anyhow::Result<Vec<Task>>>,
        drain: Duration,
    ) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let mut outcome = {
            let mut start = std::pin::pin!(start);
            let mut starting = true;
            loop {
                tokio::select! {
                    _ = terminate.recv() => { info!("SIGTERM: draining"); break Ok(()) }
                    _ = interrupt.recv() => { info!("SIGINT: draining"); break Ok(()) }
                    () = self.stop.cancelled() => break Ok(()),
                    started = &mut start, if starting => match started {
                        Ok(tasks) => {
                            starting = false;
                            for (name, task) in tasks {
                                self.spawn(name, task);
                            }
                        }
                        Err(failure) => {
                            error!(error = format!("{failure:#}"), "not started");
                            break Err(failure);
                        }
                    },
                    ended = self.tasks.join_next(), if !starting || !self.tasks.is_empty() => break ended_early(ended),
                }
            }
        };
        self.stop.cancel();
        let drained = timeout(drain, async {
            while let Some(ended) = self.tasks.join_next().await {
                let ended = match ended {
                    Ok((name, result)) => result.with_context(|| format!("{name} failed while draining")),
                    Err(failure) => Err(anyhow!(failure).context("a task died while draining")),
                };
                if let Err(failure) = ended {
                    error!(error = format!("{failure:#}"), "not drained cleanly");
                    outcome = Err(failure);
                }
            }
            outcome
        });
        match drained.await {
            Ok(outcome) => outcome,
            Err(_) => bail!("not everything was finished within {} s of draining", drain.as_secs()),
        }
    }
}

type Ended = Option<Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>>;

fn ended_early(ended: Ended) -> anyhow::Result<()> {
    let failure = match ended {
        None => anyhow!("nothing to run"),
        Some(Ok((name, Ok(())))) => anyhow!("{name} ended by itself"),
        Some(Ok((name, Err(failure)))) => failure.context(format!("{name} failed")),
        Some(Err(failure)) => anyhow!(failure).context("a task died"),
    };
    error!(error = format!("{failure:#}"), "stopping");
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Duration = Duration::from_secs(60);

    async fn nothing_more() -> anyhow::Result<Vec<Task>> {
        Ok(Vec::new())
    }

    #[tokio::test]
    async fn a_start_that_fails_fails_the_process() {
        let life = Lifecycle::default();
        let failure = life.run(async { Err(anyhow!("no port")) }, DRAIN).await.unwrap_err();
        assert_eq!(failure.to_string(), "no port");
    }

    #[tokio::test]
    async fn a_task_that_ends_during_the_start_ends_the_start() {
        let mut life = Lifecycle::default();
        life.spawn("short", async { Ok(()) });
        let failure = life.run(std::future::pending(), DRAIN).await.unwrap_err();
        assert_eq!(failure.to_string(), "short ended by itself");
    }

    #[tokio::test]
    async fn a_task_that_ends_stops_the_others_and_fails_the_process() {
        let mut life = Lifecycle::default();
        let stop = life.stop();
        life.spawn("steady", async move {
            stop.cancelled().await;
            Ok(())
        });
        life.spawn("short", async { Ok(()) });
        let failure = life.run(nothing_more(), DRAIN).await.unwrap_err();
        assert_eq!(failure.to_string(), "short ended by itself");
    }

    #[tokio::test]
    async fn a_panic_fails_the_process() {
        let mut life = Lifecycle::default();
        life.spawn("shaky", async { panic!("no") });
        assert!(life.run(nothing_more(), DRAIN).await.is_err());
    }

    #[tokio::test]
    async fn what_runs_is_finished_first() {
        let mut life = Lifecycle::default();
        let stop = life.stop();
        let (done, mut seen) = tokio::sync::mpsc::channel(1);
        life.spawn("steady", async move {
            stop.cancelled().await;
            tokio::task::yield_now().await;
            done.send(()).await?;
            Ok(())
        });
        life.stop().cancel();
        life.run(nothing_more(), DRAIN).await.unwrap();
        assert_eq!(seen.recv().await, Some(()));
    }
}
