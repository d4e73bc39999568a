//! A process from its start to its end.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, ensure};
use staffetta_bus::{Bus, ClientCertificate, ConnectError, Credentials, Retention, StreamError, Tls};
use staffetta_runtime::telemetry::{Telemetry, serve_admin, start_logs};
use staffetta_runtime::{Config, Health, Lifecycle, RetryPolicy, Task};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::nats_child::NatsChild;
use crate::parts::{self, Part};

/// How long a starting process waits for NATS: in all about half a minute.
const WAIT_FOR_NATS: RetryPolicy =
    RetryPolicy { first: Duration::from_millis(100), longest: Duration::from_secs(3), waits: 14 };
/// How long a starting process waits for a cluster that can't make streams yet: some ten seconds, and as much again for
/// each try that is not answered.
const WAIT_FOR_STREAMS: RetryPolicy =
    RetryPolicy { first: Duration::from_millis(500), longest: Duration::from_secs(3), waits: 5 };
/// How long what is buffered for NATS may take at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// Runs all services in one process, with a NATS server of its own where none is configured.
pub(crate) async fn up(mut config: Config) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(&config.telemetry, "staffetta")?;
    let mut parts = vec![Part::Ingress, Part::Recorder, Part::Dispatcher, Part::Delivery, Part::Api];
    if config.simulator.listen.is_some() {
        parts.push(Part::Simulator);
    }
    if config.nats.url.is_some() {
        return run(&config, &parts, None, telemetry).await;
    }
    let nats = match NatsChild::start(&config).await {
        Ok(nats) => nats,
        Err(failure) => {
            telemetry.stop().await;
            return Err(failure);
        }
    };
    config.nats.url = Some(nats.url());
    let outcome = run(&config, &parts, Some(&nats), telemetry).await;
    // Last, when nobody needs it any more.
    let stopped = nats.stop().await;
    outcome.and(stopped)
}

/// Runs one service in a process of its own.
pub(crate) async fn alone(config: &Config, part: Part) -> anyhow::Result<()> {
    let telemetry = Telemetry::start(&config.telemetry, part.service_name())?;
    run(config, &[part], None, telemetry).await
}

/// Brings everything that outlives a process up to date.
pub(crate) async fn migrate(config: &Config) -> anyhow::Result<()> {
    start_logs(&config.telemetry);
    let store = parts::open_store(config).await?;
    info!("the database is up to date");
    store.close().await;
    let bus = connect(config, "staffetta migrate").await?;
    until_set_up(async || bus.migrate_streams(&retention(config)).await).await?;
    info!("the streams are up to date");
    Ok(())
}

async fn run(
    config: &Config,
    parts: &[Part],
    nats: Option<&NatsChild>,
    telemetry: Telemetry,
) -> anyhow::Result<()> {
    let mut life = Lifecycle::default();
    if let Some(nats) = nats {
        life.spawn("nats-server", nats.watch(life.stop()));
    }
    let connection = OnceLock::new();
    let start = start(config, parts, nats, &connection, telemetry.clone(), life.stop());
    let outcome = life.run(start, config.drain()).await;
    if let Some(bus) = connection.get() {
        bus.flush(FLUSH).await;
    }
    telemetry.stop().await;
    outcome
}

async fn start(
    config: &Config,
    parts: &[Part],
    nats: Option<&NatsChild>,
    connection: &OnceLock<Bus>,
    telemetry: Telemetry,
    stop: CancellationToken,
) -> anyhow::Result<Vec<Task>> {
    let health = Health::default();
    if parts::need_bus(parts) {
        let bus = connect(config, "staffetta").await?;
        if let Some(nats) = nats {
            nats.must_be(&bus.server_name())?;
        }
        set_up_streams(config, &bus).await?;
        let _ = connection.set(bus);
    }
    let mut tasks = parts::start(parts, config, connection.get(), &stop, &health).await?;
    let admin = config.admin.listen;
    let listener = TcpListener::bind(admin.0)
        .await
        .with_context(|| format!("admin.listen: cannot listen on {admin}"))?;
    tasks.push(("admin", Box::pin(serve_admin(listener, telemetry, health, stop))));
    info!(admin = %admin, services = ?parts, "ready");
    Ok(tasks)
}

/// Connects to NATS as it is now.
pub(crate) async fn dial(config: &Config, name: &str) -> anyhow::Result<Bus> {
    Ok(Door::of(config)?.knock(name).await?)
}

/// Where NATS is, and how this process gets in.
struct Door {
    urls: String,
    credentials: Option<Credentials>,
    tls: Option<Tls>,
}

impl Door {
    fn of(config: &Config) -> anyhow::Result<Self> {
        let urls = urls(config);
        let credentials = config.nats.user.clone().zip(config.nats.password.clone());
        let credentials = credentials.map(|(user, password)| Credentials { user, password });
        Ok(Self { urls, credentials, tls: tls(config)? })
    }

    async fn knock(&self, name: &str) -> Result<Bus, ConnectError> {
        Bus::connect_with(&self.urls, name, self.credentials.as_ref(), self.tls.as_ref()).await
    }
}

/// Connects to NATS, waiting for it where it starts at the same time.
pub(crate) async fn connect(config: &Config, name: &str) -> anyhow::Result<Bus> {
    let door = Door::of(config)?;
    let mut waits = WAIT_FOR_NATS.waits(u64::from(std::process::id()));
    loop {
        match door.knock(name).await {
            Ok(bus) => return Ok(bus),
            Err(error) => {
                let error = anyhow::Error::new(error);
                let Some(wait) = waits.next() else { return Err(error.context("nats.url")) };
                warn!(error = format!("{error:#}"), "waiting for NATS");
                sleep(wait).await;
            }
        }
    }
}

/// Makes the streams and buckets, or brings them up to date.
pub(crate) async fn set_up_streams(config: &Config, bus: &Bus) -> anyhow::Result<()> {
    until_set_up(async || bus.set_up_streams(&retention(config)).await).await
}

/// A cluster that has only just started is waited for: until it has a leader and has seen all its servers, it can place
/// nothing.
async fn until_set_up(set_up: impl AsyncFn() -> Result<(), StreamError>) -> anyhow::Result<()> {
    let mut waits = WAIT_FOR_STREAMS.waits(u64::from(std::process::id()));
    loop {
        let Err(error) = set_up().await else { return Ok(()) };
        let error = anyhow::Error::new(error);
        let Some(wait) = waits.next() else { return Err(error) };
        warn!(error = format!("{error:#}"), "waiting for the streams");
        sleep(wait).await;
    }
}

/// What the configuration says of encryption. A file that can't serve stops the start: waiting would not help.
fn tls(config: &Config) -> anyhow::Result<Option<Tls>> {
    let nats = &config.nats;
    for (key, file) in [
        ("nats.ca_file", &nats.ca_file),
        ("nats.certificate_file", &nats.certificate_file),
        ("nats.key_file", &nats.key_file),
    ] {
        if let Some(file) = file {
            is_pem(file).context(key)?;
        }
    }
    let client = nats.certificate_file.clone().zip(nats.key_file.clone());
    let client = client.map(|(certificate_file, key_file)| ClientCertificate { certificate_file, key_file });
    Ok((nats.ca_file.is_some() || client.is_some()).then(|| Tls { ca_file: nats.ca_file.clone(), client }))
}

fn is_pem(file: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    ensure!(text.contains("-----BEGIN "), "{} holds nothing in PEM", file.display());
    Ok(())
}

fn urls(config: &Config) -> String {
    // Without an address it is the server that `staffetta up` starts on this machine.
    config.nats.url.clone().unwrap_or_else(|| local_nats(config))
}

/// Each server that may be connected to.
pub(crate) fn servers(config: &Config) -> Vec<String> {
    urls(config).split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned).collect()
}

/// Where a server that `staffetta up` starts is reached from this machine.
pub(crate) fn local_nats(config: &Config) -> String {
    let listen = config.nats.listen.0;
    match listen.ip() {
        ip if ip.is_unspecified() => format!("nats://127.0.0.1:{}", listen.port()),
        _ => format!("nats://{listen}"),
    }
}

/// What the configuration says of the streams.
pub(crate) fn retention(config: &Config) -> Retention {
    Retention {
        replicas: config.nats.replicas,
        webhooks_max_bytes: config.nats.webhooks_max_bytes,
        lane_max_commands: config.nats.lane_max_commands,
    }
}
