//! A program that runs beside a test and never outlives it.

use std::{
    env,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, ensure};
use rustix::process::{Pid, kill_process};

pub use rustix::process::Signal;

use crate::until;

/// Set to anything: folders stay where they are when a test is over.
const KEEP_VARIABLE: &str = "STAFFETTA_TEST_KEEP";

/// Reads process ids, the newest line counts. At the end of its input, which comes when the test process is gone in
/// whatever way, it ends that process (kindly, then by force), and removes the folder unless told to keep it. Who was
/// ended by force may still be writing there for a moment, and what it started too.
const WATCHDOG: &str = r#"
while read -r line; do pid=$line; done
if [ -n "$pid" ] && kill -s INT "$pid"; then
    looks=0
    while kill -0 "$pid" && [ "$looks" -lt 50 ]; do sleep 0.1; looks=$((looks + 1)); done
    kill -s KILL "$pid"
fi
looks=0
until [ -n "$2" ] || rm -rf -- "$1" || [ "$looks" -ge 50 ]; do sleep 0.1; looks=$((looks + 1)); done
"#;

/// A `SIGKILL` needs no longer than this, whatever the disk is busy with.
const KILL_LIMIT: Duration = Duration::from_secs(60);

/// How much of a log an error or a failed test shows.
const LOG_SHOWN: u64 = 4096;

/// A program with a folder of its own, which holds its output in `log` and whatever else it keeps there.
///
/// It runs in a process group of its own, so that Ctrl-C reaches the test alone. When this is dropped, or the test
/// process ends without dropping it, the program is killed and the folder removed. A failing test shows the end of
/// the log.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    folder: PathBuf,
    child: Option<Child>,
    watchdog: Child,
    /// Always there until dropped: closing it is the signal.
    watching: Option<ChildStdin>,
}

impl Process {
    /// Makes the folder; nothing runs yet.
    ///
    /// # Errors
    ///
    /// When the system refuses a folder or a process.
    pub fn new(name: &'static str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix(&format!("staffetta-{name}-")).tempdir()?;
        let mut watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(folder.path())
            .arg(env::var_os(KEEP_VARIABLE).unwrap_or_default())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("the watchdog of {name} did not start"))?;
        let watching = watchdog.stdin.take();
        Ok(Self { name, folder: folder.keep(), child: None, watchdog, watching })
    }

    /// The folder, there as long as this is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs `command`, with its output added to the log. It may be started again once it has ended.
    ///
    /// # Errors
    ///
    /// When it runs already, or can't be started.
    pub fn start(&mut self, mut command: Command) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(self.log_file())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("{} did not start ({})", self.name, command.get_program().display()))?;
        let pid = child.id();
        // Owned first: should the watchdog be gone, dropping still ends it.
        self.child = Some(child);
        self.tell_watchdog(&pid.to_string())
    }

    /// Its process id while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Sends a signal and does not wait: `Signal::STOP` freezes it, `Signal::CONT` lets it go on.
    ///
    /// # Errors
    ///
    /// When it doesn't run.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = self.id().with_context(|| format!("{} does not run", self.name))?;
        let pid = Pid::from_raw(id.try_into()?).with_context(|| format!("{id} is no process id"))?;
        kill_process(pid, signal).with_context(|| format!("can't signal {}", self.name))
    }

    /// Sends `SIGTERM` and waits for the end.
    ///
    /// # Errors
    ///
    /// When it doesn't run, or still runs after `limit`.
    pub async fn stop(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.ended(limit).await
    }

    /// Sends `SIGKILL` and waits for the end.
    ///
    /// # Errors
    ///
    /// When it doesn't run.
    pub async fn kill(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        self.ended(KILL_LIMIT).await
    }

    /// Waits for it to end by itself, or by a signal already sent.
    ///
    /// # Errors
    ///
    /// When it doesn't run, or still runs after `limit`.
    pub async fn ended(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        until(&what, limit, async || self.poll_end().transpose()).await.with_context(|| self.log_end())?
    }

    /// Its exit status if it has ended by now.
    ///
    /// # Errors
    ///
    /// When it wasn't running before.
    pub fn poll_end(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let child = self.child.as_mut().with_context(|| format!("{} does not run", self.name))?;
        let status = child.try_wait()?;
        if status.is_some() {
            self.child = None;
            self.tell_watchdog("")?;
        }
        Ok(status)
    }

    /// The end of its log, with a line that says whose it is.
    #[must_use]
    pub fn log_end(&self) -> String {
        let end = File::open(self.log_file()).and_then(last_bytes).unwrap_or_default();
        format!("the log of {} ends with:\n{}", self.name, String::from_utf8_lossy(&end))
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// An empty line means that there is nothing left to end: the id may be another's by then.
    fn tell_watchdog(&mut self, pid: &str) -> anyhow::Result<()> {
        let pipe = self.watching.as_mut().with_context(|| format!("{} has no watchdog", self.name))?;
        pipe.write_all(format!("{pid}\n").as_bytes())
            .with_context(|| format!("the watchdog of {} is gone", self.name))
    }
}

impl Drop for Process {
    /// Errors have nowhere to go: what can't be ended here, the watchdog ends.
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.log_end());
        }
        if let Some(mut child) = self.child.take()
            && child.kill().and_then(|()| child.wait()).is_ok()
        {
            let _ = self.tell_watchdog("");
        }
        drop(self.watching.take());
        let _ = self.watchdog.wait();
    }
}

fn last_bytes(mut file: File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_SHOWN)))?;
    let mut end = Vec::new();
    file.take(LOG_SHOWN).read_to_end(&mut end)?;
    Ok(end)
}
