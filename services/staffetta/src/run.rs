//! A process from its start to its end.

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context;
use staffetta_bus::{Bus, Credentials, Retention};
use staffetta_runtime::telemetry::{Telemetry, serve_admin};
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
/// How long what is buffered for NATS may take at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// Runs all services in one process, with a NATS server of its own where none is configured.
pub(crate) async fn up(mut config: Config) -> anyhow::Result<()> {
    let mut parts = vec![Part::Ingress, Part::Recorder, Part::Dispatcher, Part::Delivery, Part::Api];
    if config.simulator.listen.is_some() {
        parts.push(Part::Simulator);
    }
    if config.nats.url.is_some() {
        return run(&config, &parts, None).await;
    }
    let nats = NatsChild::start(&config).await?;
    config.nats.url = Some(nats.url());
    let outcome = run(&config, &parts, Some(&nats)).await;
    // Last, when nobody needs it any more.
    let stopped = nats.stop().await;
    outcome.and(stopped)
}

/// Runs some services in one process.
pub(crate) async fn parts(config: &Config, parts: &[Part]) -> anyhow::Result<()> {
    run(config, parts, None).await
}

/// Brings everything that outlives a process up to date.
pub(crate) async fn migrate(config: &Config) -> anyhow::Result<()> {
    let store = parts::open_store(config).await?;
    info!("the database is up to date");
    store.close().await;
    let bus = connect(config, "staffetta migrate").await?;
    bus.set_up_streams(&retention(config)).await?;
    info!("the streams are up to date");
    Ok(())
}

async fn run(config: &Config, parts: &[Part], nats: Option<&NatsChild>) -> anyhow::Result<()> {
    let telemetry = Telemetry::start()?;
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
    telemetry.stop();
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
        bus.set_up_streams(&retention(config)).await?;
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

/// Connects to NATS, waiting for it where it starts at the same time.
pub(crate) async fn connect(config: &Config, name: &str) -> anyhow::Result<Bus> {
    // Without an address it is the server that `staffetta up` starts on this machine.
    let urls = config.nats.url.clone().unwrap_or_else(|| local_nats(config));
    let credentials = config.nats.user.clone().zip(config.nats.password.clone());
    let credentials = credentials.map(|(user, password)| Credentials { user, password });
    let mut waits = WAIT_FOR_NATS.waits(u64::from(std::process::id()));
    loop {
        match Bus::connect_as(&urls, name, credentials.as_ref()).await {
            Ok(bus) => return Ok(bus),
            Err(error) => match waits.next() {
                Some(wait) => {
                    warn!(error = &error as &dyn std::error::Error, "waiting for NATS");
                    sleep(wait).await;
                }
                None => return Err(error).context("nats.url"),
            },
        }
    }
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
