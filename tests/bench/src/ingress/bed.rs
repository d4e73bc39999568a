//! A nats-server, an ingress, and a stream beside WEBHOOKS for raw publishing.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, ensure};
use async_nats::jetstream::{self, stream};
use futures_util::{StreamExt, TryStreamExt, future::try_join_all, stream as futures};
use staffetta_proto::{Message, v1};
use staffetta_testkit::{NatsOptions, NatsServer, NatsSync, until};
use tokio::time::timeout;

use super::{
    connection::Connection,
    load::{self, Answer, Run, Span},
    payload::{APP, Payloads, SECRET},
};
use crate::gateway::{Gateway, Service, free_address};

const WEBHOOKS: &str = "WEBHOOKS";
const RAW: &str = "BENCH_RAW";
const RAW_SUBJECT: &str = "bench.raw";

/// Longest wait for an acknowledgement: with one fsync a message a queue of 256 takes its time.
const ACK_LIMIT: Duration = Duration::from_secs(30);
const READY_LIMIT: Duration = Duration::from_secs(30);
const PURGE_LIMIT: Duration = Duration::from_secs(60);
const COUNT_LIMIT: Duration = Duration::from_secs(300);

/// Envelopes read at a time while they are counted.
const READS: usize = 64;

#[derive(Debug)]
pub(super) struct Bed {
    nats: NatsServer,
    nats_pid: u32,
    nats_version: String,
    jetstream: jetstream::Context,
    ingress: Service,
    address: SocketAddr,
}

impl Bed {
    /// Everything ready, both streams empty.
    pub(super) async fn set_up(sync: NatsSync) -> anyhow::Result<Self> {
        let nats = NatsServer::start_with(NatsOptions { sync, ..NatsOptions::default() }).await?;
        let nats_pid = nats.process().id().context("nats-server does not run")?;
        let address = free_address()?;
        let mut gateway = Gateway::new()?;
        gateway.set("STAFFETTA__NATS__URL", nats.url());
        gateway.set("STAFFETTA__INGRESS__LISTEN", address.to_string());
        gateway.apply(&format!("[[app]]\nid = \"{APP}\"\napp_secret = \"{SECRET}\"\n")).await?;
        let ingress = gateway.start("ingress").await?;

        let client = async_nats::connect(nats.url()).await.context("connecting to NATS")?;
        let nats_version = client.server_info().version;
        let jetstream = jetstream::ContextBuilder::new().ack_timeout(ACK_LIMIT).build(client);
        let webhooks = jetstream.get_stream(WEBHOOKS).await.context("no stream WEBHOOKS")?;
        let raw = stream::Config {
            name: RAW.into(),
            subjects: vec![RAW_SUBJECT.into()],
            ..webhooks.cached_info().config.clone()
        };
        jetstream.create_stream(raw).await.context("making a stream for raw publishing")?;

        let bed = Self { nats, nats_pid, nats_version, jetstream, ingress, address };
        bed.until_the_app_is_known().await?;
        bed.purge(WEBHOOKS).await?;
        Ok(bed)
    }

    /// Where ingress listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the server says of itself.
    pub(super) fn nats_version(&self) -> &str {
        &self.nats_version
    }

    /// Publishes the bodies as they are, `in_flight` at a time, each awaiting its acknowledgement. No message id: the
    /// server has less to do than with one.
    pub(super) async fn publish_raw(
        &self,
        payloads: &Payloads,
        in_flight: usize,
        span: Span,
    ) -> anyhow::Result<Run> {
        let clients = (0..in_flight).map(|first| {
            let mut n = first;
            async move || {
                n += 1;
                let body = payloads.body(n).clone();
                let ack = self.jetstream.publish(RAW_SUBJECT, body).await.context("publishing")?;
                ack.await.context("a publish was not acknowledged")?;
                Ok(Answer::Stored)
            }
        });
        let run = load::drive(clients.collect(), span, &[self.nats_pid]).await?;
        self.purge(RAW).await?;
        Ok(run)
    }

    /// Posts the webhooks on so many connections, then makes sure that whatever was answered 200 is on the stream.
    pub(super) async fn post_webhooks(
        &mut self,
        payloads: &Payloads,
        connections: usize,
        span: Span,
    ) -> anyhow::Result<Run> {
        let opened = (0..connections).map(|_| Connection::open(self.address));
        let opened =
            timeout(READY_LIMIT, try_join_all(opened)).await.context("connecting took too long")??;
        let clients = opened.into_iter().enumerate().map(|(first, mut connection)| {
            let mut n = first;
            async move || {
                n += 1;
                match connection.exchange(payloads.request(n)).await? {
                    200 => Ok(Answer::Stored),
                    503 => Ok(Answer::Refused),
                    other => anyhow::bail!("ingress answered {other}"),
                }
            }
        });
        let run = load::drive(clients.collect(), span, &[self.ingress.pid(), self.nats_pid]).await;
        self.ingress.check_running()?;
        let run = run?;
        let found =
            timeout(COUNT_LIMIT, self.webhooks_stored()).await.context("counting took too long")??;
        ensure!(found >= run.stored, "{} webhooks were answered 200, {found} are on the stream", run.stored);
        self.purge(WEBHOOKS).await?;
        Ok(run)
    }

    /// Stops ingress, which must go well.
    pub(super) async fn tear_down(mut self) -> anyhow::Result<()> {
        self.ingress.stop().await?;
        self.nats.stop().await
    }

    async fn until_the_app_is_known(&self) -> anyhow::Result<()> {
        let probe = Payloads::of(1_000, self.address)?;
        until("ingress to take a webhook", READY_LIMIT, async || {
            let mut connection = Connection::open(self.address).await.ok()?;
            let status = connection.exchange(probe.request(0)).await.ok()?;
            (status == 200).then_some(())
        })
        .await
    }

    async fn webhooks_stored(&self) -> anyhow::Result<u64> {
        let stream = self.jetstream.get_stream(WEBHOOKS).await.context("no stream WEBHOOKS")?;
        let state = &stream.cached_info().state;
        if state.messages == 0 {
            return Ok(0);
        }
        let numbers = state.first_sequence..=state.last_sequence;
        futures::iter(numbers)
            .map(async |number| {
                let message = stream.direct_get(number).await.context("reading an envelope")?;
                let envelope =
                    v1::WebhookEnvelope::decode(message.payload).context("an envelope is broken")?;
                anyhow::Ok(envelope.webhooks.len() as u64)
            })
            .buffer_unordered(READS)
            .try_fold(0, async |sum, count| Ok(sum + count))
            .await
    }

    async fn purge(&self, name: &str) -> anyhow::Result<()> {
        let stream = self.jetstream.get_stream_no_info(name).await.context("no such stream")?;
        timeout(PURGE_LIMIT, async { stream.purge().await })
            .await
            .with_context(|| format!("purging {name} took too long"))?
            .with_context(|| format!("purging {name}"))?;
        Ok(())
    }
}
