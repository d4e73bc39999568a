//! Takes the provider's webhooks in: verifies each, has it stored on WEBHOOKS, and only then answers 200.
//!
//! A webhook's way: `door` finds its app, checks size and signature and reads the body within bounds; `envelope` writes
//! it in the wire format; `commit` puts what waits into one message, publishes it and tells every handler how it went.
//! There is no database here, and nothing is understood of a body but its signature.

mod answer;
mod body;
mod commit;
mod complaint;
mod door;
mod envelope;
mod keys;
mod linger;
mod metrics;
mod visit;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use staffetta_bus::{Bus, RegistryView};
use staffetta_runtime::Health;
use staffetta_runtime::config::IngressConfig;
use staffetta_runtime::http::{self, Limits};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::commit::Committer;
use crate::door::Door;
use crate::linger::Linger;

/// The service `ingress`, bound to its address.
#[derive(Debug)]
pub struct Ingress {
    address: SocketAddr,
    listener: TcpListener,
    router: Router,
    committer: Committer,
    linger: Linger,
    limits: Limits,
}

impl Ingress {
    /// Takes the configured address. From here on connections are accepted by the kernel; [`run`](Self::run) answers
    /// them. Adds the check `ingress` to `health`: it fails while NATS leaves publishes unanswered.
    ///
    /// # Errors
    /// If the address can't be had.
    pub async fn bind(
        config: &IngressConfig,
        bus: Bus,
        registry: RegistryView,
        health: &Health,
    ) -> anyhow::Result<Self> {
        let listen = config.listen;
        let listener = TcpListener::bind(listen.0)
            .await
            .with_context(|| format!("ingress.listen: {listen} can't be had"))?;
        let deadline = Duration::from_millis(config.deadline_ms);
        let metrics = metrics::Metrics::new();
        let (desk, committer) = commit::desk(bus.clone(), config.publishes, deadline, metrics.clone());
        health.add("ingress", {
            let pace = desk.pace();
            move || !pace.is_stalled()
        });
        let linger = Linger::new();
        let memory = config.max_buffered_bytes;
        let door = Door::new(bus, registry, desk, memory, deadline, linger.clone(), metrics);
        let router = door::router(door);
        let limits = Limits {
            max_connections: config.max_connections,
            // Whoever has been read in full is answered within `deadline`.
            drain: deadline + Duration::from_secs(2),
            ..Limits::default()
        };
        Ok(Self { address: listener.local_addr()?, listener, router, committer, linger, limits })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`, then answers what has arrived, and ends once NATS has answered every publish or the
    /// deadline of its webhooks is over.
    ///
    /// # Errors
    /// If the committer died; nothing is served then.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { address, listener, router, committer, linger, limits } = self;
        info!(%address, "taking webhooks");
        let mut tasks = JoinSet::new();
        tasks.spawn(committer.run());
        tokio::select! {
            served = http::serve(listener, router, limits, stop) => served?,
            ended = tasks.join_next() => {
                ended.transpose().context("the committer died")?;
                anyhow::bail!("the committer ended by itself");
            }
        }
        linger.end().await;
        // The router is gone, and with it every way into the queue: the committer ends when it is empty.
        while let Some(ended) = tasks.join_next().await {
            ended.context("the committer died while draining")?;
        }
        Ok(())
    }
}
