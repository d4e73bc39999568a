//! `staffetta up` as a process beside the demo, which it never outlives.

use std::{
    env,
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, ChildStdin, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use super::{interrupts::Interrupts, sample::Sample};

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(40);
const APPLY_LIMIT: Duration = Duration::from_secs(30);
/// A `SIGKILL` needs no longer than this.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// How long somebody who interrupts the start is made to wait for its end.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// How much of the log a failure shows, in lines and at most in bytes.
const LOG_LINES: usize = 20;
const LOG_BYTES: u64 = 8192;

/// Reads the process id. At the end of its input, which comes when the demo is gone in whatever way, it ends that
/// process (kindly, then by force, with all of its group) and removes the folder. `done` means that there is nothing
/// left to do.
const WATCHDOG: &str = r#"
while read -r line; do
    [ "$line" = done ] && exit
    pid=$line
done
if [ -n "$pid" ]; then
    kill -s TERM "$pid"
    looks=0
    while kill -0 "$pid" && [ "$looks" -lt 400 ]; do sleep 0.1; looks=$((looks + 1)); done
    kill -s KILL -- "-$pid"
fi
rm -rf -- "$1"
"#;

/// The folder of one run, and whoever cleans up after a demo that can't do so itself.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    watchdog: process::Child,
    watching: Option<ChildStdin>,
}

impl Folder {
    /// Makes it: in cargo's target folder for a program that was built there, else in the system's temporary one.
    pub(super) fn new() -> anyhow::Result<Self> {
        let program = own_program()?;
        let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
        let parent = target.map_or_else(env::temp_dir, Path::to_owned);
        let folder = tempfile::Builder::new()
            .prefix("staffetta-demo-")
            .tempdir_in(&parent)
            .with_context(|| format!("can't make a folder in {}", parent.display()))?;
        let mut watchdog = process::Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(folder.path())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("the watchdog did not start")?;
        let watching = watchdog.stdin.take();
        Ok(Self { path: folder.keep(), watchdog, watching })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn log(&self) -> PathBuf {
        self.path.join("staffetta.log")
    }

    /// The log's last lines; empty when there are none.
    pub(super) fn log_end(&self) -> String {
        let read = || {
            let mut file = File::open(self.log())?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES)))?;
            let mut end = Vec::new();
            file.take(LOG_BYTES).read_to_end(&mut end)?;
            std::io::Result::Ok(end)
        };
        let end = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
        let lines: Vec<&str> = end.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Removes it. Nothing may run in it any more.
    pub(super) fn remove(mut self) -> anyhow::Result<()> {
        self.dismiss();
        fs::remove_dir_all(&self.path).with_context(|| format!("can't remove {}", self.path.display()))
    }

    /// Leaves it where it is, for a person to look at.
    pub(super) fn keep(mut self) -> PathBuf {
        self.dismiss();
        std::mem::take(&mut self.path)
    }

    fn tell_watchdog(&mut self, line: &str) -> anyhow::Result<()> {
        let pipe = self.watching.as_mut().context("the watchdog has been dismissed")?;
        pipe.write_all(format!("{line}\n").as_bytes()).context("the watchdog is gone")
    }

    /// A watchdog that is gone already needs no telling.
    fn dismiss(&mut self) {
        let _ = self.tell_watchdog("done");
        drop(self.watching.take());
        let _ = self.watchdog.wait();
    }
}

/// A running `staffetta up`.
#[derive(Debug)]
pub(super) struct Gateway {
    child: Child,
    pid: Pid,
    http: reqwest::Client,
    readyz: String,
    ready: bool,
}

impl Gateway {
    /// Starts it with the folder's configuration.
    pub(super) fn start(folder: &mut Folder, http: reqwest::Client, sample: &Sample) -> anyhow::Result<Self> {
        let log = File::create(folder.log())?;
        let mut command = staffetta("up", folder.path())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("staffetta up did not start")?;
        let id = child.id().context("staffetta up has ended already")?;
        folder.tell_watchdog(&id.to_string())?;
        let pid = Pid::from_raw(id.try_into()?).with_context(|| format!("{id} is no process id"))?;
        Ok(Self { child, pid, http, readyz: format!("{}/readyz", sample.admin()), ready: false })
    }

    /// Waits until it is ready; gives back the names of its checks. Fails when it isn't within a minute, or ends before.
    pub(super) async fn ready(&mut self) -> anyhow::Result<Vec<String>> {
        let (http, readyz) = (self.http.clone(), self.readyz.clone());
        let looking = async {
            loop {
                if let Some(checks) = look(&http, &readyz).await {
                    return checks;
                }
                sleep(PAUSE).await;
            }
        };
        let checks = tokio::select! {
            checks = timeout(START_LIMIT, looking) => {
                checks.with_context(|| format!("staffetta up is not ready after {} s", START_LIMIT.as_secs()))
            }
            failure = self.ended() => Err(failure),
        }?;
        self.ready = true;
        Ok(checks)
    }

    /// Waits for it to end by itself, which it should not.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => anyhow!("staffetta up ended by itself ({status})"),
            Err(error) => anyhow!(error).context("staffetta up can't be watched"),
        }
    }

    /// Asks it to stop and waits for the end. Fails unless it drained and said so with a 0. Whoever interrupts again
    /// has it killed.
    ///
    /// One that still starts is first let come to the end of that: until then a SIGTERM ends it as it stands, and its
    /// NATS server goes on writing for a moment.
    pub(super) async fn stop(&mut self, interrupts: &mut Interrupts) -> anyhow::Result<()> {
        if !self.ready {
            tokio::select! {
                _ = timeout(START_PATIENCE, self.ready()) => {}
                () = interrupts.next() => {}
            }
        }
        if let Some(status) = self.child.try_wait()? {
            bail!("staffetta up had ended already ({status})");
        }
        kill_process(self.pid, Signal::TERM).context("staffetta up can't be told to stop")?;
        let ended: anyhow::Result<ExitStatus> = tokio::select! {
            ended = timeout(STOP_LIMIT, self.child.wait()) => match ended {
                Ok(status) => status.context("staffetta up can't be watched"),
                Err(_) => Err(anyhow!("staffetta up still ran {} s after SIGTERM", STOP_LIMIT.as_secs())),
            },
            () = interrupts.next() => Err(anyhow!("interrupted again: staffetta up was killed before it had drained")),
        };
        match ended {
            Ok(status) => {
                ensure!(status.success(), "staffetta up did not stop cleanly ({status})");
                Ok(())
            }
            Err(failure) => {
                kill_process_group(self.pid, Signal::KILL).context("staffetta up can't be killed")?;
                let _ = timeout(KILL_LIMIT, self.child.wait()).await;
                Err(failure)
            }
        }
    }
}

async fn look(http: &reqwest::Client, url: &str) -> Option<Vec<String>> {
    let answer = http.get(url).send().await.ok()?.error_for_status().ok()?;
    let text = answer.text().await.ok()?;
    Some(text.lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect())
}

/// Runs `staffetta apply` with the folder's registry file, and gives back what it printed.
pub(super) async fn apply(folder: &Path) -> anyhow::Result<String> {
    let mut command = staffetta("apply", folder)?;
    command.arg("-f").arg(folder.join("registry.toml")).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(APPLY_LIMIT, command.output())
        .await
        .with_context(|| format!("staffetta apply still ran after {} s", APPLY_LIMIT.as_secs()))?
        .context("staffetta apply did not start")?;
    ensure!(
        output.status.success(),
        "staffetta apply failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// This very program, with one of its commands and the folder's configuration, whatever the environment says.
fn staffetta(command: &str, folder: &Path) -> anyhow::Result<Command> {
    let mut staffetta = Command::new(own_program()?);
    staffetta.arg(command).arg("--config").arg(folder.join("staffetta.toml")).current_dir(folder);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("STAFFETTA_") {
            staffetta.env_remove(name);
        }
    }
    // The simulator is reached directly, also where the way to the real Meta leads through a proxy.
    staffetta.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
    Ok(staffetta)
}

pub(super) fn own_program() -> anyhow::Result<PathBuf> {
    env::current_exe().context("can't tell where this program is")
}
