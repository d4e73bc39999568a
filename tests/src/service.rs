//! `staffetta` as a process.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use anyhow::{Context, bail};
use staffetta_testkit::{Process, staffetta_binary, until};
use tokio::time::timeout;

use crate::{ANSWER, LIMIT, free_port};

/// Longest time from SIGTERM to the end.
const DRAIN: Duration = Duration::from_secs(40);

/// One `staffetta` of an installation; killed when dropped.
#[derive(Debug)]
pub struct Service {
    process: Process,
    role: &'static str,
    /// What runs as it; the built `staffetta` if none is named.
    program: Option<PathBuf>,
    settings: Vec<(String, String)>,
    ready_url: String,
    http: reqwest::Client,
}

/// What a command that ends by itself said.
#[derive(Debug)]
pub struct Answer {
    /// How it ended.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Service {
    /// Prepares `staffetta <role>`; nothing runs yet.
    pub(crate) fn new(
        role: &'static str,
        program: Option<&Path>,
        mut settings: Vec<(String, String)>,
        http: reqwest::Client,
    ) -> anyhow::Result<Self> {
        let admin = format!("127.0.0.1:{}", free_port()?);
        settings.push(("STAFFETTA__ADMIN__LISTEN".into(), admin.clone()));
        let ready_url = format!("http://{admin}/readyz");
        let program = program.map(Path::to_owned);
        Ok(Self { process: Process::new(role)?, role, program, settings, ready_url, http })
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready in time.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        self.start_with(&[]).await
    }

    /// Starts it so that it dies when it reaches the crash point of that name; waits until it is ready.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_to_crash_at(&mut self, point: &str) -> anyhow::Result<()> {
        self.start_with(&[("STAFFETTA_CRASH_AT", point)]).await
    }

    /// Starts it, does not wait for anything.
    ///
    /// # Errors
    /// When there is no program.
    pub fn launch(&mut self, variables: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut command =
            command(self.program.as_deref(), &[self.role], &self.settings, self.process.folder())?;
        command.envs(variables.iter().copied());
        self.process.start(command)
    }

    async fn start_with(&mut self, variables: &[(&str, &str)]) -> anyhow::Result<()> {
        self.launch(variables)?;
        let what = format!("staffetta {} to be ready", self.role);
        until(&what, LIMIT, async || match self.process.poll_end() {
            Ok(None) => {
                let answer = self.http.get(&self.ready_url).send().await.ok()?;
                answer.status().is_success().then_some(Ok(()))
            }
            Ok(Some(status)) => Some(Err(anyhow::anyhow!("it ended ({status})"))),
            Err(error) => Some(Err(error)),
        })
        .await
        .flatten()
        .with_context(|| format!("staffetta {}: {}", self.role, self.process.log_end()))
    }

    /// Where it shows its metrics: an address and a port.
    #[must_use]
    pub fn admin_address(&self) -> &str {
        self.ready_url.trim_start_matches("http://").trim_end_matches("/readyz")
    }

    /// The process itself.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Waits until it shows this value of a metric with these labels: what it knows shows there.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn shows(&self, metric: &str, labels: &[(&str, &str)], value: &str) -> anyhow::Result<()> {
        let url = format!("http://{}/metrics", self.admin_address());
        let begin = format!("{metric}{{");
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let is_it = |line: &str| {
            line.starts_with(&begin)
                && labels.iter().all(|label| line.contains(label))
                && line.rsplit(' ').next() == Some(value)
        };
        let shown = until(metric, LIMIT, async || {
            let answer = self.http.get(&url).send().await.ok()?.error_for_status().ok()?;
            answer.text().await.ok()?.lines().any(is_it).then_some(())
        });
        shown.await.with_context(|| format!("it does not show {value} with {labels:?}"))
    }

    /// Whether it has kept every part that it owned, as its log says. One that stands still for some seconds, because
    /// the machine has no time for it, loses them; what was under way then comes once more, as it may.
    #[must_use]
    pub fn kept_its_parts(&self) -> bool {
        let log = fs::read_to_string(self.process.folder().join("log")).unwrap_or_default();
        let lost = |line: &str| {
            line.contains("parts lost")
                || line.contains("parts changed hands") && !line.contains("\"lost\":0,")
        };
        !log.lines().any(lost)
    }

    /// Whether it is ready for work, as it says itself.
    pub async fn is_ready(&self) -> bool {
        self.http.get(&self.ready_url).send().await.is_ok_and(|answer| answer.status().is_success())
    }

    /// Kills it, and waits.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await.map(drop)
    }

    /// Sends SIGTERM and waits; it must drain and exit with 0.
    ///
    /// # Errors
    /// When it does not.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let status = self.process.stop(DRAIN).await?;
        if !status.success() {
            bail!("staffetta {} ended with {status} after SIGTERM; {}", self.role, self.process.log_end());
        }
        Ok(())
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it goes on.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        self.process.ended(LIMIT).await
    }
}

/// Runs `staffetta` with these arguments to its end.
pub(crate) async fn run(
    program: Option<&Path>,
    arguments: &[&str],
    settings: &[(String, String)],
    folder: &Path,
) -> anyhow::Result<Answer> {
    let mut command = tokio::process::Command::from(command(program, arguments, settings, folder)?);
    let running = command.kill_on_drop(true).output();
    let output =
        timeout(LIMIT, running).await.with_context(|| format!("staffetta {arguments:?} does not end"))?;
    let Output { status, stdout, stderr } = output?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok(Answer { code: status.code(), stdout: text(&stdout), stderr: text(&stderr) })
}

fn command(
    program: Option<&Path>,
    arguments: &[&str],
    settings: &[(String, String)],
    folder: &Path,
) -> anyhow::Result<Command> {
    let mut command = match program {
        Some(program) => Command::new(program),
        None => Command::new(staffetta_binary()?),
    };
    // Whoever runs the tests may have settings of their own, and a proxy that does not know loopback.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("STAFFETTA__") || name.to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(&*name);
        }
    }
    command.env_remove("STAFFETTA_CONFIG").env_remove("STAFFETTA_CRASH_AT");
    command.args(arguments).envs(settings.iter().map(|(name, value)| (name, value))).current_dir(folder);
    Ok(command)
}

pub(crate) fn http_client() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().no_proxy().timeout(ANSWER).build()?)
}
