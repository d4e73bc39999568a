//! NATS that syncs each message, PostgreSQL that syncs each commit, the simulator, and what waits on SEND before a
//! dispatcher starts.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use async_nats::{
    HeaderMap,
    jetstream::{self, message::PublishMessage},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use staffetta_testkit::{NatsOptions, NatsServer, NatsSync, Process};
use tokio::time::timeout;

use super::{
    backlog::Load,
    database::Database,
    provider::{Provider, TOKEN, number},
};
use crate::{
    gateway::{Gateway, Service, free_address},
    machine,
};

/// Publishes in flight while the backlog is laid.
const IN_FLIGHT: usize = 256;
const LAYING_LIMIT: Duration = Duration::from_secs(300);
const API_LIMIT: Duration = Duration::from_secs(30);

/// What a dispatcher needs, all of it running but the dispatcher.
#[derive(Debug)]
pub(crate) struct Bed<'a> {
    database: &'a Database,
    gateway: Gateway,
    nats: NatsServer,
    /// Holds the streams while one nats-server hands over to the next; goes when this does.
    _store: Process,
    simulator: Service,
    pub(super) provider: Provider,
    jetstream: jetstream::Context,
    dispatcher: Option<Service>,
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
    pub(super) async fn set_up(database: &'a Database, load: Load) -> anyhow::Result<Self> {
        let store = Process::new("bench-store")?;
        let options = |sync| NatsOptions {
            sync,
            store_dir: Some(store.folder().join("jetstream")),
            ..NatsOptions::default()
        };
        let simulator_address: SocketAddr = free_address()?;
        let mut gateway = Gateway::new()?;
        gateway.set("STAFFETTA__SIMULATOR__LISTEN", simulator_address.to_string());
        gateway.set("STAFFETTA__GRAPH__BASE_URL", format!("http://{simulator_address}"));
        gateway.set("STAFFETTA__DATABASE__URL", database.create().await?);

        let mut first = NatsServer::start_with(options(NatsSync::Interval)).await?;
        gateway.set("STAFFETTA__NATS__URL", first.url());
        gateway.apply(&registry(load)).await?;
        lay(&connect(first.url()).await?, load).await?;
        first.stop().await?;

        let nats = NatsServer::start_with(options(NatsSync::Always)).await?;
        gateway.set("STAFFETTA__NATS__URL", nats.url());
        let jetstream = connect(nats.url()).await?;
        let simulator = gateway.start("simulator").await?;
        let provider = Provider::prepare(simulator_address, load.channels, load.rate).await?;
        Ok(Self { database, gateway, nats, _store: store, simulator, provider, jetstream, dispatcher: None })
    }

    /// Starts the dispatcher, and waits until it is ready.
    pub(super) async fn start_dispatcher(&mut self) -> anyhow::Result<()> {
        self.dispatcher = Some(self.gateway.start("dispatcher").await?);
        Ok(())
    }

    /// Publishes a command and waits until it is stored.
    pub(super) async fn publish(&self, channel: usize, n: usize) -> anyhow::Result<()> {
        timeout(API_LIMIT, publish(&self.jetstream, channel, n)).await.context("NATS is too slow")?
    }

    /// How many commands are not settled and removed yet.
    pub(super) async fn waiting(&self) -> anyhow::Result<u64> {
        let send = timeout(API_LIMIT, self.jetstream.get_stream("SEND")).await.context("NATS is too slow")?;
        Ok(send.context("no stream SEND")?.cached_info().state.messages)
    }

    /// Fails when a process has ended.
    pub(super) fn check_running(&mut self) -> anyhow::Result<()> {
        self.simulator.check_running()?;
        self.dispatcher.as_mut().map_or(Ok(()), Service::check_running)
    }

    /// CPU time of each process so far; none for a dispatcher that has not been started.
    pub(super) fn cpu(&self) -> anyhow::Result<Cpu> {
        let nats = self.nats.process().id().context("nats-server does not run")?;
        Ok(Cpu {
            dispatcher: self
                .dispatcher
                .as_ref()
                .map_or(Ok(Duration::ZERO), |service| machine::cpu(service.pid()))?,
            postgres: self.database.cpu()?,
            nats: machine::cpu(nats)?,
            simulator: machine::cpu(self.simulator.pid())?,
        })
    }

    /// Stops every process, which must go well.
    pub(super) async fn tear_down(mut self) -> anyhow::Result<()> {
        if let Some(dispatcher) = self.dispatcher.take() {
            dispatcher.stop().await?;
        }
        self.simulator.stop().await?;
        self.nats.stop().await
    }
}

fn registry(load: Load) -> String {
    let mut registry = "[[tenant]]\nid = \"acme\"\nencoding = \"json\"\n".to_owned();
    for n in 0..load.channels {
        let (number, rate) = (number(n), load.rate);
        registry += &format!(
            "[[channel]]\nid = \"c{n}\"\ntenant = \"acme\"\nprovider = \"cloud_api\"\nwaba_id = \"900\"\n\
             phone_number_id = \"{number}\"\ndisplay_phone_number = \"39{number}\"\naccess_token = \"{TOKEN}\"\n\
             rate = {rate}\n"
        );
    }
    registry
}

async fn connect(url: &str) -> anyhow::Result<jetstream::Context> {
    let client = async_nats::connect(url).await.context("connecting to NATS")?;
    Ok(jetstream::ContextBuilder::new().ack_timeout(API_LIMIT).build(client))
}

async fn lay(jetstream: &jetstream::Context, load: Load) -> anyhow::Result<()> {
    // Channel by channel in turns, as tenants publish side by side.
    let commands = (0..load.commands_each).flat_map(|n| (0..load.channels).map(move |channel| (channel, n)));
    let laying = stream::iter(commands)
        .map(|(channel, n)| publish(jetstream, channel, n))
        .buffered(IN_FLIGHT)
        .try_for_each(async |()| Ok(()));
    timeout(LAYING_LIMIT, laying).await.context("laying the backlog took too long")?
}

/// Each to a user of its own: commands to one user wait for each other, which is not what is measured.
async fn publish(jetstream: &jetstream::Context, channel: usize, n: usize) -> anyhow::Result<()> {
    let command = format!(
        r#"{{"id":"c{channel}-{n}","to":"39348{n:07}","type":"text","text":{{"body":"{}"}}}}"#,
        text(n)
    );
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", "application/json");
    let message = PublishMessage::build().headers(headers).payload(command.into());
    let subject = format!("staffetta.v1.send.acme.c{channel}.normal");
    let ack = jetstream.send_publish(subject, message).await.context("publishing a command")?;
    ack.await.context("a command was not acknowledged")?;
    Ok(())
}

/// The text of the `n`th command of a channel, by which its arrival is known.
pub(super) fn text(n: usize) -> String {
    format!("Invoice {n} is ready")
}
