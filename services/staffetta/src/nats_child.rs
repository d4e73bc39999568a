//! A NATS server for one machine, started, watched and stopped with the process that needs it.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use staffetta_bus::boot_time;
use staffetta_locate::{NATS_SERVER_OLDEST, Version};
use staffetta_runtime::Config;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::run::local_nats;

/// The server, as a child process.
#[derive(Debug)]
pub(crate) struct NatsChild {
    url: String,
    name: String,
    ended: watch::Receiver<Option<ExitStatus>>,
    pid: Option<Pid>,
    owner: Mutex<Option<JoinHandle<anyhow::Result<()>>>>,
    /// Its standard input is a pipe that only this process holds: when this process is gone, however it went, the
    /// watchdog stops the server.
    _watchdog: Child,
}

/// How long a stopping server may take.
const STOP: Duration = Duration::from_secs(15);

impl NatsChild {
    /// Starts the server with file storage in the data folder, one fsync before each acknowledgement.
    ///
    /// # Errors
    /// If there is no server program of a version that serves, or it does not start.
    pub(crate) async fn start(config: &Config) -> anyhow::Result<Self> {
        let program = program(config)?;
        let folder = config.data_dir.join("nats");
        tokio::fs::create_dir_all(&folder).await.with_context(|| format!("making {}", folder.display()))?;
        let listen = config.nats.listen;
        let store = folder.canonicalize()?.join("store");
        // Its own, so that another server that answers on the same port is told from it.
        let name = format!("staffetta-{}-{}", std::process::id(), boot_time().as_nanos());
        let text = format!(
            "listen: \"{listen}\"\nserver_name: \"{name}\"\nmax_payload: 8MB\n\
             jetstream {{\n  store_dir: {store:?}\n  sync_interval: always\n}}\n"
        );
        let file = folder.join("nats-server.conf");
        tokio::fs::write(&file, text).await.with_context(|| format!("writing {}", file.display()))?;
        let log = std::fs::File::create(folder.join("nats-server.log"))?;
        let mut child = Command::new(&program)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for this process: it needs the server until the end.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let id = child.id().context("the NATS server ended at once")?;
        let watchdog = Command::new("sh")
            .args(["-c", "while read -r _; do :; done; kill -TERM \"$0\" 2>/dev/null"])
            .arg(id.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("starting the NATS server's watchdog")?;
        info!(pid = id, %listen, folder = %folder.display(), "NATS server started");
        let (tell, ended) = watch::channel(None);
        let owner = tokio::spawn(async move {
            let status = child.wait().await.context("waiting for the NATS server")?;
            tell.send_replace(Some(status));
            Ok(())
        });
        Ok(Self {
            url: local_nats(config),
            name,
            ended,
            pid: i32::try_from(id).ok().and_then(Pid::from_raw),
            owner: Mutex::new(Some(owner)),
            _watchdog: watchdog,
        })
    }

    /// Where it is reached.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// Makes sure that the server that answered, by its name, is this one.
    ///
    /// # Errors
    /// If another server has the port.
    pub(crate) fn must_be(&self, answered: &str) -> anyhow::Result<()> {
        ensure!(
            answered == self.name,
            "another NATS server listens on {}: set nats.listen to a free port, or nats.url to use that server",
            self.url
        );
        Ok(())
    }

    /// Runs until `stop`.
    ///
    /// # Errors
    /// As soon as the server has ended.
    pub(crate) fn watch(
        &self,
        stop: CancellationToken,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
        let mut ended = self.ended.clone();
        async move {
            tokio::select! {
                () = stop.cancelled() => Ok(()),
                status = ended.wait_for(Option::is_some) => match status.ok().and_then(|status| *status) {
                    Some(status) => bail!("the NATS server ended: {status}; see nats/nats-server.log in the data folder"),
                    None => bail!("the NATS server is gone"),
                },
            }
        }
    }

    /// Stops the server and waits until it has written everything.
    ///
    /// # Errors
    /// If it does not end in time.
    pub(crate) async fn stop(&self) -> anyhow::Result<()> {
        if let Some(pid) = self.pid
            && self.ended.borrow().is_none()
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        let owner = self.owner.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(owner) = owner else { return Ok(()) };
        match timeout(STOP, owner).await {
            Ok(ended) => ended.context("the NATS server's owner died")?,
            Err(_) => bail!("the NATS server did not stop within {} s", STOP.as_secs()),
        }
    }
}

fn program(config: &Config) -> anyhow::Result<PathBuf> {
    let configured = &config.nats.server;
    let program = if configured.as_os_str() == "nats-server" {
        let here = std::env::current_exe().unwrap_or_default();
        staffetta_locate::nats_server(&here)
    } else {
        Some(configured.clone())
    };
    let Some(program) = program else {
        bail!(
            "no nats-server {}.{} or newer was found: install one, name it with nats.server, or set nats.url",
            NATS_SERVER_OLDEST.major,
            NATS_SERVER_OLDEST.minor
        );
    };
    match Version::of(&program) {
        Some(version) if version >= NATS_SERVER_OLDEST => Ok(program),
        Some(version) => {
            bail!("{} is {}.{}: 2.15 or newer is needed", program.display(), version.major, version.minor)
        }
        None => bail!("nats.server: {} cannot be run", program.display()),
    }
}
