//! A nats-server, and a `staffetta` for each service that takes part.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use async_nats::jetstream::{self, stream};
use staffetta_testkit::{NatsOptions, NatsServer};
use tokio::time::timeout;

use super::Load;
use crate::gateway::{Gateway, Service, free_address};

pub(super) const WEBHOOKS: &str = "WEBHOOKS";
pub(super) const EVENTS: &str = "EVENTS";
pub(super) const DEAD: &str = "DEAD";

/// Room on WEBHOOKS, and for each leaf that is to wait there.
const ROOM: u64 = 1 << 30;
const ROOM_FOR_A_LEAF: u64 = 1 << 10;
const API_LIMIT: Duration = Duration::from_secs(30);

/// What a recorder needs, all of it running but the recorder.
#[derive(Debug)]
pub(super) struct Bed {
    nats: NatsServer,
    nats_pid: u32,
    gateway: Gateway,
    pub(super) client: async_nats::Client,
    pub(super) jetstream: jetstream::Context,
    /// Of the database.
    pub(super) url: String,
    /// Where an ingress listens that is started here.
    pub(super) ingress: SocketAddr,
}

impl Bed {
    /// The streams are empty, the registry knows the population; the recorder will use the database at `url`.
    /// WEBHOOKS has room for the backlog.
    pub(super) async fn set_up(url: String, load: Load) -> anyhow::Result<Self> {
        let options = NatsOptions { sync: load.sync.of_nats(), ..NatsOptions::default() };
        let nats = NatsServer::start_with(options).await?;
        let nats_pid = nats.process().id().context("nats-server does not run")?;
        let ingress = free_address()?;
        let mut gateway = Gateway::new()?;
        gateway.set("STAFFETTA__NATS__URL", nats.url());
        let room = ROOM + load.leaves * ROOM_FOR_A_LEAF;
        gateway.set("STAFFETTA__NATS__WEBHOOKS_MAX_BYTES", room.to_string());
        gateway.set("STAFFETTA__DATABASE__URL", &url);
        gateway.set("STAFFETTA__INGRESS__LISTEN", ingress.to_string());
        gateway.apply(&load.population.registry()).await?;
        let client = async_nats::connect(nats.url()).await.context("connecting to NATS")?;
        let jetstream = jetstream::ContextBuilder::new().ack_timeout(API_LIMIT).build(client.clone());
        Ok(Self { nats, nats_pid, gateway, client, jetstream, url, ingress })
    }

    /// A running service, ready.
    pub(super) async fn start(&self, service: &'static str) -> anyhow::Result<Service> {
        self.gateway.start(service).await
    }

    /// What the server says of itself.
    pub(super) fn nats_version(&self) -> String {
        self.client.server_info().version
    }

    pub(super) fn nats_pid(&self) -> u32 {
        self.nats_pid
    }

    /// How many messages a stream holds.
    pub(super) async fn held(&self, stream: &str) -> anyhow::Result<u64> {
        Ok(self.state(stream).await?.messages)
    }

    /// What a stream holds.
    pub(super) async fn state(&self, stream: &str) -> anyhow::Result<stream::State> {
        let found =
            timeout(API_LIMIT, self.jetstream.get_stream(stream)).await.context("NATS is too slow")?;
        Ok(found.with_context(|| format!("no stream {stream}"))?.cached_info().state.clone())
    }

    /// Stops NATS, which must go well.
    pub(super) async fn tear_down(mut self) -> anyhow::Result<()> {
        self.nats.stop().await
    }
}
