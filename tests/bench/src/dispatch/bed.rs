//! NATS that syncs each message, PostgreSQL that syncs each commit, the simulator, and what waits on SEND before a
//! dispatcher starts.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context;
use async_nats::jetstream;
use futures_util::future::{try_join, try_join_all};
use staffetta_testkit::{NatsOptions, NatsServer, NatsSync, Process};
use tokio::time::timeout;

use super::{
    backlog::Load,
    commands::{self, Lane},
    database::Database,
    provider::{APP, Provider, SECRET, TOKEN, Webhooks, micros_since, number},
};
use crate::{
    gateway::{Gateway, Service, free_address},
    machine,
};

const API_LIMIT: Duration = Duration::from_secs(30);
/// A doubt is settled by a status well within this; what never left is sent again after it. In seconds.
const DOUBT_WAIT: &str = "3";
/// What every lane may hold at least.
const LANE: usize = 1_000_000;

/// What a dispatcher needs, all of it running but the dispatcher.
#[derive(Debug)]
pub(crate) struct Bed<'a> {
    database: &'a Database,
    pub(super) gateway: Gateway,
    nats: NatsServer,
    /// Holds the streams while one nats-server hands over to the next; goes when this does.
    _store: Process,
    simulator: Service,
    pub(super) provider: Provider,
    jetstream: jetstream::Context,
    /// What takes webhooks, if anything does.
    inbound: Vec<Service>,
    pub(super) dispatchers: Vec<Service>,
    /// Where our clock's microseconds begin.
    pub(super) origin: Instant,
}

/// CPU time of each process so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cpu {
    pub(super) dispatcher: Duration,
    pub(super) postgres: Duration,
    pub(super) nats: Duration,
    pub(super) simulator: Duration,
}

impl<'a> Bed<'a> {
    /// The commands wait on SEND. They were stored without a sync for each, by a server that has ended since: laying
    /// them is not what is measured.
    pub(super) async fn set_up(
        database: &'a Database,
        load: Load,
        webhooks: Webhooks,
    ) -> anyhow::Result<Self> {
        let store = Process::new("bench-store")?;
        let options = |sync| NatsOptions {
            sync,
            store_dir: Some(store.folder().join("jetstream")),
            ..NatsOptions::default()
        };
        let (simulator_address, ingress): (SocketAddr, SocketAddr) = (free_address()?, free_address()?);
        let mut gateway = Gateway::new()?;
        gateway.set("STAFFETTA__SIMULATOR__LISTEN", simulator_address.to_string());
        gateway.set("STAFFETTA__INGRESS__LISTEN", ingress.to_string());
        gateway.set("STAFFETTA__GRAPH__BASE_URL", format!("http://{simulator_address}"));
        gateway.set("STAFFETTA__DATABASE__URL", database.create().await?);
        gateway.set("STAFFETTA__DISPATCHER__DOUBT_WAIT_SECONDS", DOUBT_WAIT);
        gateway.set("STAFFETTA__NATS__LANE_MAX_COMMANDS", LANE.max(load.commands_each).to_string());

        let mut first = NatsServer::start_with(options(NatsSync::Interval)).await?;
        gateway.set("STAFFETTA__NATS__URL", first.url());
        gateway.apply(&registry(load)).await?;
        commands::lay(&connect(first.url()).await?, load).await?;
        first.stop().await?;

        let nats = NatsServer::start_with(options(NatsSync::Always)).await?;
        gateway.set("STAFFETTA__NATS__URL", nats.url());
        let jetstream = connect(nats.url()).await?;
        let simulator = gateway.start("simulator").await?;
        let inbound = match webhooks {
            Webhooks::None => Vec::new(),
            Webhooks::Messages | Webhooks::MessagesAndStatuses => {
                let (ingress, recorder) =
                    try_join(gateway.start("ingress"), gateway.start("recorder")).await?;
                vec![ingress, recorder]
            }
        };
        let provider = Provider::prepare(simulator_address, load, webhooks, ingress).await?;
        Ok(Self {
            database,
            gateway,
            nats,
            _store: store,
            simulator,
            provider,
            jetstream,
            inbound,
            dispatchers: Vec::new(),
            origin: Instant::now(),
        })
    }

    /// Starts so many dispatchers together, and waits until they are ready.
    pub(super) async fn start_dispatchers(&mut self, replicas: usize) -> anyhow::Result<()> {
        let starting = (0..replicas).map(|_| self.gateway.start("dispatcher"));
        self.dispatchers.extend(try_join_all(starting).await?);
        Ok(())
    }

    /// Publishes a command and waits until it is stored.
    pub(super) async fn publish(&self, channel: usize, lane: Lane, n: usize) -> anyhow::Result<()> {
        let publishing = commands::publish(&self.jetstream, channel, lane, n);
        timeout(API_LIMIT, publishing).await.context("NATS is too slow")?
    }

    /// How many commands are not settled and removed yet.
    pub(super) async fn waiting(&self) -> anyhow::Result<u64> {
        let send = timeout(API_LIMIT, self.jetstream.get_stream("SEND")).await.context("NATS is too slow")?;
        Ok(send.context("no stream SEND")?.cached_info().state.messages)
    }

    /// Fails when a process has ended.
    pub(super) fn check_running(&mut self) -> anyhow::Result<()> {
        self.simulator.check_running()?;
        self.inbound.iter_mut().chain(&mut self.dispatchers).try_for_each(Service::check_running)
    }

    /// CPU time of each process so far; that of all dispatchers together, and none before they have been started.
    pub(super) fn cpu(&self) -> anyhow::Result<Cpu> {
        let nats = self.nats.process().id().context("nats-server does not run")?;
        Ok(Cpu {
            dispatcher: self
                .dispatchers
                .iter()
                .map(|service| machine::cpu(service.pid()))
                .sum::<Result<_, _>>()?,
            postgres: self.database.cpu()?,
            nats: machine::cpu(nats)?,
            simulator: machine::cpu(self.simulator.pid())?,
        })
    }

    /// The memory of the dispatcher that has most, in bytes.
    pub(super) fn memory(&self) -> anyhow::Result<u64> {
        self.dispatchers.iter().try_fold(0, |most, service| Ok(machine::resident(service.pid())?.max(most)))
    }

    /// Microseconds on our clock.
    pub(super) fn now(&self) -> i64 {
        micros_since(self.origin)
    }

    /// Stops every process, which must go well.
    pub(super) async fn tear_down(mut self) -> anyhow::Result<()> {
        try_join_all(self.dispatchers.into_iter().map(Service::stop)).await?;
        // Webhooks that nobody takes would be tried again: the simulator goes first.
        self.simulator.stop().await?;
        try_join_all(self.inbound.into_iter().map(Service::stop)).await?;
        self.nats.stop().await
    }
}

fn registry(load: Load) -> String {
    let mut registry = format!(
        "[[app]]\nid = \"{APP}\"\napp_secret = \"{SECRET}\"\nverify_token = \"a token for benchmarks\"\n\
         [[tenant]]\nid = \"acme\"\nencoding = \"json\"\n"
    );
    for n in 0..load.channels {
        let (number, rate) = (number(n), load.rate);
        registry += &format!(
            "[[channel]]\nid = \"c{n}\"\ntenant = \"acme\"\nprovider = \"cloud_api\"\napp = \"{APP}\"\n\
             waba_id = \"900\"\nphone_number_id = \"{number}\"\ndisplay_phone_number = \"39{number}\"\n\
             access_token = \"{TOKEN}\"\nrate = {rate}\n"
        );
    }
    // Nothing happens to the others, so nobody looks for their endpoints.
    registry + &load.others.registry(|n| format!("https://erp-{n}.example/hooks"))
}

async fn connect(url: &str) -> anyhow::Result<jetstream::Context> {
    let client = async_nats::connect(url).await.context("connecting to NATS")?;
    Ok(jetstream::ContextBuilder::new().ack_timeout(API_LIMIT).build(client))
}
