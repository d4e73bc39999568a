//! NATS that syncs each message and a database that syncs each commit, with no service yet.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use async_nats::jetstream;
use staffetta_testkit::{NatsOptions, NatsServer, NatsSync};
use tokio::time::timeout;

use crate::{
    dispatch::Database,
    figures::micros_each,
    gateway::{Gateway, Service, free_address},
    machine,
};

const API_LIMIT: Duration = Duration::from_secs(30);

/// What services need, and how they are started.
#[derive(Debug)]
pub(crate) struct Installation<'a> {
    database: &'a Database,
    nats: NatsServer,
    pub(crate) gateway: Gateway,
    pub(crate) jetstream: jetstream::Context,
    /// Where an `api` listens that is started here.
    pub(crate) api: SocketAddr,
}

/// CPU time so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    service: Duration,
    nats: Duration,
    postgres: Duration,
}

/// Microseconds of CPU for each of some things.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuEach {
    pub(crate) service: f64,
    pub(crate) nats: f64,
    pub(crate) postgres: f64,
}

impl<'a> Installation<'a> {
    /// There are no streams and no tables yet. Endpoints may lie on this machine.
    pub(crate) async fn set_up(database: &'a Database) -> anyhow::Result<Self> {
        let options = NatsOptions { sync: NatsSync::Always, ..NatsOptions::default() };
        let nats = NatsServer::start_with(options).await?;
        let (api, nobody) = (free_address()?, free_address()?);
        let mut gateway = Gateway::new()?;
        gateway.set("STAFFETTA__NATS__URL", nats.url());
        gateway.set("STAFFETTA__DATABASE__URL", database.create().await?);
        gateway.set("STAFFETTA__API__LISTEN", api.to_string());
        gateway.set("STAFFETTA__INGRESS__LISTEN", free_address()?.to_string());
        gateway.set("STAFFETTA__GRAPH__BASE_URL", format!("http://{nobody}"));
        gateway.set("STAFFETTA__DELIVERY__ALLOW_NETWORKS", "127.0.0.0/8");
        let client = async_nats::connect(nats.url()).await.context("connecting to NATS")?;
        let jetstream = jetstream::ContextBuilder::new().ack_timeout(API_LIMIT).build(client);
        Ok(Self { database, nats, gateway, jetstream, api })
    }

    /// How many messages a stream holds.
    pub(crate) async fn held(&self, stream: &str) -> anyhow::Result<u64> {
        let found =
            timeout(API_LIMIT, self.jetstream.get_stream(stream)).await.context("NATS is too slow")?;
        Ok(found.with_context(|| format!("no stream {stream}"))?.cached_info().state.messages)
    }

    /// CPU time of a service and of what it stands on.
    pub(crate) fn cpu(&self, service: &Service) -> anyhow::Result<Cpu> {
        let nats = self.nats.process().id().context("nats-server does not run")?;
        Ok(Cpu {
            service: machine::cpu(service.pid())?,
            nats: machine::cpu(nats)?,
            postgres: self.database.cpu()?,
        })
    }

    /// Stops NATS, which must go well.
    pub(crate) async fn tear_down(mut self) -> anyhow::Result<()> {
        self.nats.stop().await
    }
}

impl Cpu {
    /// What was used since, for each of so many things.
    pub(crate) fn each_since(self, before: Self, count: u32) -> CpuEach {
        let each = |now: Duration, then| micros_each(now.saturating_sub(then), count.into());
        CpuEach {
            service: each(self.service, before.service),
            nats: each(self.nats, before.nats),
            postgres: each(self.postgres, before.postgres),
        }
    }
}
