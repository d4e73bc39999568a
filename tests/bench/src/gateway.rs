//! Runs `staffetta` as its users do: a process for each service, configured through the environment.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, anyhow, ensure};
use reqwest::StatusCode;
use staffetta_testkit::{Process, staffetta_binary, until};

const READY_LIMIT: Duration = Duration::from_secs(60);
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(45);
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// The configuration that all processes of one installation share.
#[derive(Debug)]
pub(crate) struct Gateway {
    binary: PathBuf,
    variables: Vec<(&'static str, String)>,
    http: reqwest::Client,
}

/// A running service, killed when dropped.
#[derive(Debug)]
pub(crate) struct Service {
    process: Process,
    pid: u32,
    http: reqwest::Client,
    admin: SocketAddr,
}

impl Gateway {
    /// Fails when `staffetta` isn't built.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let http = client()?;
        let variables = vec![("STAFFETTA__MASTER_KEY", "a master key for benchmarks".to_owned())];
        Ok(Self { binary: staffetta_binary()?, variables, http })
    }

    /// Sets a key for every process that starts from now on, as `STAFFETTA__SECTION__KEY`.
    pub(crate) fn set(&mut self, variable: &'static str, value: impl Into<String>) {
        self.unset(variable);
        self.variables.push((variable, value.into()));
    }

    /// Leaves a key at its default for every process that starts from now on.
    pub(crate) fn unset(&mut self, variable: &'static str) {
        self.variables.retain(|(name, _)| *name != variable);
    }

    /// A service of that subcommand, ready.
    ///
    /// Fails when it ends, or isn't ready within a minute; the error shows the end of its log.
    pub(crate) async fn start(&self, service: &'static str) -> anyhow::Result<Service> {
        let mut process = Process::new(service)?;
        let admin = free_address()?;
        let mut command = self.command(&process);
        command.arg(service).env("STAFFETTA__ADMIN__LISTEN", admin.to_string());
        process.start(command)?;
        let pid = process.id().with_context(|| format!("{service} does not run"))?;
        let url = format!("http://{admin}/readyz");
        let what = format!("{service} to be ready");
        let ready = until(&what, READY_LIMIT, async || match process.poll_end() {
            Ok(None) => {
                let answer = self.http.get(&url).send().await.ok()?;
                (answer.status() == StatusCode::OK).then_some(Ok(()))
            }
            Ok(Some(status)) => Some(Err(anyhow!("{service} ended ({status})"))),
            Err(error) => Some(Err(error)),
        });
        ready.await.flatten().with_context(|| process.log_end())?;
        Ok(Service { process, pid, http: self.http.clone(), admin })
    }

    /// Makes the registry hold what `registry` says. Makes the streams too, where they are missing.
    ///
    /// Fails as `staffetta apply` does.
    pub(crate) async fn apply(&self, registry: &str) -> anyhow::Result<()> {
        let mut process = Process::new("apply")?;
        let file = process.folder().join("registry.toml");
        fs::write(&file, registry).context("can't write the registry file")?;
        let mut command = self.command(&process);
        command.arg("apply").arg("-f").arg(&file);
        process.start(command)?;
        let status = process.ended(COMMAND_LIMIT).await?;
        ensure!(status.success(), "staffetta apply failed ({status}); {}", process.log_end());
        Ok(())
    }

    /// Nothing of the caller's own configuration reaches it.
    fn command(&self, process: &Process) -> Command {
        let mut command = Command::new(&self.binary);
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("STAFFETTA__") || text == "STAFFETTA_CONFIG" {
                command.env_remove(&name);
            }
        }
        command
            .env("STAFFETTA__DATA_DIR", process.folder().join("data"))
            .envs(self.variables.iter().cloned());
        command.current_dir(process.folder());
        command
    }
}

impl Service {
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Fails when it has ended; the error shows the end of its log.
    pub(crate) fn check_running(&mut self) -> anyhow::Result<()> {
        match self.process.poll_end()? {
            None => Ok(()),
            Some(status) => Err(anyhow!("a service ended ({status}); {}", self.process.log_end())),
        }
    }

    /// What a counter of its `/metrics` has come to, all labels together; 0 before it counted anything.
    ///
    /// Fails when it does not answer.
    pub(crate) async fn counted(&self, counter: &str) -> anyhow::Result<f64> {
        let url = format!("http://{}/metrics", self.admin);
        let answer = self.http.get(url).send().await.context("asking for metrics")?;
        Ok(sum(&answer.text().await.context("reading metrics")?, counter))
    }

    /// Kills it, and waits.
    ///
    /// Fails when it had ended before.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill().await.map(drop)
    }

    /// Asks it to end, and waits.
    ///
    /// Fails when it doesn't end in time, or not with 0.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let status: ExitStatus = self.process.stop(STOP_LIMIT).await?;
        ensure!(status.success(), "a service did not end well ({status}); {}", self.process.log_end());
        Ok(())
    }
}

/// Of all lines of one metric, as Prometheus reads them.
fn sum(metrics: &str, name: &str) -> f64 {
    let lines = metrics.lines().filter_map(|line| line.strip_prefix(name));
    let own = lines.filter(|rest| rest.starts_with(['{', ' ']));
    own.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// A client for this machine alone.
pub(crate) fn client() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().timeout(REQUEST_LIMIT).build().context("no HTTP client")
}

/// An address that nobody listens on right now.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_the_sum_of_its_labels_and_no_other_metric() {
        let metrics = "# HELP sends_total Sends\n# TYPE sends_total counter\n\
                       sends_total{outcome=\"accepted\",scope=\"a b\"} 40\nsends_total{outcome=\"pair\"} 2\n\
                       sends_total_more 9\n";
        assert_eq!((sum(metrics, "sends_total"), sum(metrics, "none")), (42.0, 0.0));
    }
}
