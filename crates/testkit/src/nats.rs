//! A real nats-server with JetStream on disk.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, anyhow};
use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::{Process, test_binary, until};

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(30);

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
    /// The port on 127.0.0.1; by default a free one.
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
        let mut server = Self { process: Process::new("nats-server")?, binary, options, url: String::new() };
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
    /// When it doesn't come up, for example because someone else took the port meanwhile.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        if self.process.id().is_some() {
            self.stop().await?;
        }
        self.launch().await
    }

    async fn launch(&mut self) -> anyhow::Result<()> {
        let folder = self.process.folder().to_owned();
        let (config, ports) = (folder.join("nats.conf"), folder.join("ports"));
        fs::create_dir_all(&ports)?;
        fs::write(&config, self.config(&ports))?;
        let mut command = Command::new(&self.binary);
        command.arg("-c").arg(&config).current_dir(&folder);
        self.process.start(command)?;
        let port = until("nats-server to be ready", START_LIMIT, async || {
            match self.process.poll_end() {
                Ok(None) => {}
                Ok(Some(status)) => return Some(Err(anyhow!("nats-server ended at once ({status})"))),
                Err(error) => return Some(Err(error)),
            }
            let port = self.options.port.or_else(|| written_port(&ports))?;
            greets(port).await.then_some(Ok(port))
        });
        let port = port.await.flatten().with_context(|| self.process.log_end())?;
        self.options.port = Some(port);
        self.url = format!("nats://127.0.0.1:{port}");
        Ok(())
    }

    fn config(&self, ports: &Path) -> String {
        let NatsOptions { sync, max_payload, store_dir, port, extra_config } = &self.options;
        let store_dir = store_dir.clone().unwrap_or_else(|| self.process.folder().join("store"));
        // -1 lets the server pick one; it writes what it got into a file.
        let port = port.map_or(-1, i32::from);
        let sync = match sync {
            NatsSync::Interval => "",
            NatsSync::Always => "sync_interval: always",
        };
        format!(
            "host: 127.0.0.1\nport: {port}\nports_file_dir: {ports:?}\nmax_payload: {max_payload}\n\
             jetstream {{\n  store_dir: {store_dir:?}\n  {sync}\n}}\n{extra_config}\n"
        )
    }
}

/// The port in the file that the server writes into this folder; none while it isn't there, or not whole.
fn written_port(folder: &Path) -> Option<u16> {
    let file = fs::read_dir(folder).ok()?.next()?.ok()?.path();
    let text = fs::read_to_string(file).ok()?;
    let (_, rest) =
        ["nats", "tls"].iter().find_map(|scheme| text.split_once(&format!("{scheme}://127.0.0.1:")))?;
    let (port, _) = rest.split_once('"')?;
    port.parse().ok()
}

/// Whether a server speaks first, as NATS does once it serves.
async fn greets(port: u16) -> bool {
    let mut greeting = [0; 5];
    match TcpStream::connect(("127.0.0.1", port)).await {
        Ok(mut stream) => stream.read_exact(&mut greeting).await.is_ok() && &greeting == b"INFO ",
        Err(_) => false,
    }
}
