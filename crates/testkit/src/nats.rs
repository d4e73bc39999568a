//! A real nats-server with JetStream on disk.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, anyhow};
use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::{HeldPort, Process, test_binary, until};

const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(120);

/// When JetStream writes are on disk for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NatsSync {
    /// The server's own default: every two minutes. A killed server loses nothing, only a dead machine does.
    #[default]
    Interval,
    /// Before each acknowledgement, as in production.
    Always,
}

/// How a [`NatsServer`] is set up.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// When writes are on disk for good.
    pub sync: NatsSync,
    /// The largest message, in bytes.
    pub max_payload: u32,
    /// Where streams live; by default in the server's own folder, which goes when the server does.
    pub store_dir: Option<PathBuf>,
    /// The port on 127.0.0.1; by default a free one, which stays the server's own through every restart.
    pub port: Option<u16>,
    /// Lines to add to the configuration file.
    pub extra_config: String,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            sync: NatsSync::default(),
            max_payload: 8 << 20,
            store_dir: None,
            port: None,
            extra_config: String::new(),
        }
    }
}

/// A running nats-server of its own; killed and removed when dropped.
#[derive(Debug)]
pub struct NatsServer {
    process: Process,
    binary: PathBuf,
    options: NatsOptions,
    port: u16,
    /// None of a port that a caller chose.
    _held: Option<HeldPort>,
    url: String,
}

impl NatsServer {
    /// A server with the default options, ready for clients.
    ///
    /// # Errors
    ///
    /// When there is no nats-server, or it doesn't come up; the error holds the end of its log.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(NatsOptions::default()).await
    }

    /// A server ready for clients.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_with(options: NatsOptions) -> anyhow::Result<Self> {
        let binary = staffetta_locate::nats_server(&test_binary()?)
            .context("no nats-server of 2.15 or newer: run `cargo xtask tools`")?;
        let (port, held) = match options.port {
            Some(port) => (port, None),
            None => {
                let held = HeldPort::pick().context("no free port for nats-server")?;
                (held.number(), Some(held))
            }
        };
        let url = format!("nats://127.0.0.1:{port}");
        let process = Process::new("nats-server")?;
        let mut server = Self { process, binary, options, port, _held: held, url };
        server.launch().await?;
        Ok(server)
    }

    /// Where clients connect: `nats://127.0.0.1:<port>`. A restart keeps it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process, to be frozen with a signal or asked for its log.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Asks it to end, and waits. Streams stay for a [`restart`](Self::restart).
    ///
    /// # Errors
    ///
    /// When it doesn't run, or doesn't end in time.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.process.stop(STOP_LIMIT).await.map(drop)
    }

    /// Kills it, and waits. What it has acknowledged stays for a [`restart`](Self::restart).
    ///
    /// # Errors
    ///
    /// When it doesn't run.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await.map(drop)
    }

    /// Starts it again on the same port and store, after stopping it if it still runs.
    ///
    /// # Errors
    ///
    /// When it doesn't come up, for example because someone else took meanwhile a port that a caller chose.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        if self.process.id().is_some() {
            self.stop().await?;
        }
        self.launch().await
    }

    async fn launch(&mut self) -> anyhow::Result<()> {
        let folder = self.process.folder().to_owned();
        let config = folder.join("nats.conf");
        fs::write(&config, self.config())?;
        let mut command = Command::new(&self.binary);
        command.arg("-c").arg(&config).current_dir(&folder);
        self.process.start(command)?;
        let ready = until("nats-server to be ready", START_LIMIT, async || match self.process.poll_end() {
            Ok(None) => greets(self.port).await.then_some(Ok(())),
            Ok(Some(status)) => Some(Err(anyhow!("nats-server ended at once ({status})"))),
            Err(error) => Some(Err(error)),
        });
        ready.await.flatten().with_context(|| self.process.log_end())
    }

    fn config(&self) -> String {
        let NatsOptions { sync, max_payload, store_dir, extra_config, .. } = &self.options;
        let store_dir = store_dir.clone().unwrap_or_else(|| self.process.folder().join("store"));
        let sync = match sync {
            NatsSync::Interval => "",
            NatsSync::Always => "sync_interval: always",
        };
        format!(
            "host: 127.0.0.1\nport: {}\nmax_payload: {max_payload}\n\
             jetstream {{\n  store_dir: {store_dir:?}\n  {sync}\n}}\n{extra_config}\n",
            self.port
        )
    }
}

/// Whether a server speaks first, as NATS does once it serves.
async fn greets(port: u16) -> bool {
    let mut greeting = [0; 5];
    match TcpStream::connect(("127.0.0.1", port)).await {
        Ok(mut stream) => stream.read_exact(&mut greeting).await.is_ok() && &greeting == b"INFO ",
        Err(_) => false,
    }
}
