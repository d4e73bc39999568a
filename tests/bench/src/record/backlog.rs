//! A backlog of webhooks, laid while no recorder runs, and recorded as fast as it goes.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use staffetta_proto::{Message, json::to_timestamp, v1};
use tokio::time::{sleep, timeout};

use super::{
    Load,
    bed::{Bed, DEAD, EVENTS, WEBHOOKS},
    cluster::Cluster,
    population::APP,
    webhooks::Webhooks,
};
use crate::{figures::micros_each, gateway::Service, machine};

/// What ingress puts into one message at the most.
const MAX_BYTES: usize = 64 << 10;
const MAX_WEBHOOKS: usize = 100;
const SUBJECT: &str = "staffetta.v1.webhook.0";

/// Publishes in flight while the backlog is laid.
const IN_FLIGHT: usize = 32;
const LAYING_LIMIT: Duration = Duration::from_secs(1_800);

/// Between two looks at the streams: each costs NATS something.
const LOOK: Duration = Duration::from_millis(100);
/// A backlog that stops getting smaller for this long is stuck.
const STUCK: Duration = Duration::from_secs(30);
/// Looks at the recorder's memory that are shown.
const SAMPLES: u64 = 10;

/// What was laid.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Laid {
    pub(super) leaves: u64,
    webhooks: u64,
    envelopes: u64,
    bytes: u64,
}

/// How a backlog went.
#[derive(Debug)]
pub(super) struct Drained {
    pub(super) leaves: u64,
    /// From the recorder's start until WEBHOOKS was empty and every event on EVENTS.
    pub(super) time: Duration,
    /// The recorder's, after each tenth of the backlog, in bytes.
    pub(super) memory: Vec<u64>,
    /// The most of all looks, in bytes.
    pub(super) most_memory: u64,
    cpu: Cpu,
}

/// CPU time of each process so far.
#[derive(Clone, Copy, Debug)]
struct Cpu {
    recorder: Duration,
    postgres: Duration,
    nats: Duration,
}

/// Puts the backlog on WEBHOOKS, in envelopes as ingress writes them.
pub(super) async fn lay(bed: &Bed, load: Load) -> anyhow::Result<Laid> {
    let webhooks = Webhooks::new(load.population, load.seed, super::now()?);
    let mut envelopes = Envelopes { webhooks, leaves: load.leaves, laid: Laid::default(), next: None };
    let laying = stream::iter(&mut envelopes)
        .map(async |envelope| {
            let ack = bed.jetstream.publish(SUBJECT, envelope).await.context("publishing an envelope")?;
            ack.await.context("an envelope was not acknowledged")?;
            anyhow::Ok(())
        })
        .buffered(IN_FLIGHT)
        .try_for_each(async |()| Ok(()));
    timeout(LAYING_LIMIT, laying).await.context("laying the backlog took too long")??;
    Ok(envelopes.laid)
}

/// Starts the recorder and waits until all is recorded and announced. The recorder goes on.
///
/// Fails when that stops going on.
pub(super) async fn drain(bed: &Bed, cluster: &Cluster, leaves: u64) -> anyhow::Result<(Service, Drained)> {
    let whole = bed.held(WEBHOOKS).await?;
    let (postgres, nats) = (cluster.cpu()?, machine::cpu(bed.nats_pid())?);
    let start = Instant::now();
    let mut recorder = bed.start("recorder").await?;
    let (mut memory, mut most_memory) = (Vec::new(), 0);
    let (mut last, mut since) = ((whole, 0), Instant::now());
    let time = loop {
        sleep(LOOK).await;
        recorder.check_running()?;
        let (waiting, announced) = (bed.held(WEBHOOKS).await?, bed.held(EVENTS).await?);
        let time = start.elapsed();
        let used = machine::resident(recorder.pid())?;
        most_memory = used.max(most_memory);
        while (memory.len() as u64 + 1) * whole <= whole.saturating_sub(waiting) * SAMPLES {
            memory.push(used);
        }
        if waiting == 0 && announced >= leaves {
            break time;
        }
        if last != (waiting, announced) {
            (last, since) = ((waiting, announced), Instant::now());
        }
        if since.elapsed() > STUCK {
            let dead = bed.held(DEAD).await?;
            bail!(
                "nothing has moved for {STUCK:?}: {waiting} envelopes wait, {announced} of {leaves} events are \
                 announced, {dead} dead letters"
            );
        }
    };
    let cpu = Cpu {
        recorder: machine::cpu(recorder.pid())?,
        postgres: cluster.cpu()?.saturating_sub(postgres),
        nats: machine::cpu(bed.nats_pid())?.saturating_sub(nats),
    };
    let dead = bed.held(DEAD).await?;
    ensure!(dead == 0, "{dead} of {leaves} leaves went to DEAD");
    Ok((recorder, Drained { leaves, time, memory, most_memory, cpu }))
}

/// Envelopes one after the other, made as they are asked for.
#[derive(Debug)]
struct Envelopes {
    webhooks: Webhooks,
    leaves: u64,
    laid: Laid,
    /// The webhook that did not fit into the envelope before.
    next: Option<v1::RawWebhook>,
}

impl Envelopes {
    fn webhook(&mut self) -> Option<v1::RawWebhook> {
        let left = usize::try_from(self.leaves - self.laid.leaves).unwrap_or(usize::MAX);
        if left == 0 {
            return None;
        }
        let body = self.webhooks.next(left);
        self.laid.leaves += body.leaves as u64;
        self.laid.webhooks += 1;
        Some(v1::RawWebhook {
            id: format!("bench-{}", self.laid.webhooks),
            provider: v1::Provider::Meta.into(),
            source: APP.into(),
            received_at: Some(to_timestamp(Timestamp::now())),
            body: body.json,
            ..v1::RawWebhook::default()
        })
    }
}

impl Iterator for Envelopes {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut envelope = v1::WebhookEnvelope::default();
        let mut size = 0;
        while let Some(webhook) = self.next.take().or_else(|| self.webhook()) {
            // The field's tag and its length come on top.
            let added = webhook.encoded_len() + 4;
            if !envelope.webhooks.is_empty()
                && (size + added > MAX_BYTES || envelope.webhooks.len() == MAX_WEBHOOKS)
            {
                self.next = Some(webhook);
                break;
            }
            size += added;
            envelope.webhooks.push(webhook);
        }
        if envelope.webhooks.is_empty() {
            return None;
        }
        self.laid.envelopes += 1;
        self.laid.bytes += size as u64;
        Some(envelope.encode_to_vec().into())
    }
}

impl Drained {
    pub(super) fn per_second(&self) -> f64 {
        self.leaves as f64 / self.time.as_secs_f64()
    }
}

impl fmt::Display for Laid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { leaves, webhooks, envelopes, bytes } = self;
        write!(
            out,
            "{leaves} leaves in {webhooks} webhooks, in {envelopes} envelopes, {} MB",
            bytes / 1_000_000
        )
    }
}

impl fmt::Display for Drained {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = |cpu| micros_each(cpu, self.leaves);
        writeln!(
            out,
            "  {:>10.0} leaves a second, {:.1} s from the recorder's start to the last event on EVENTS",
            self.per_second(),
            self.time.as_secs_f64()
        )?;
        writeln!(
            out,
            "  CPU \u{b5}s a leaf: recorder {:.1}, PostgreSQL {:.1}, nats-server {:.1}",
            each(self.cpu.recorder),
            each(self.cpu.postgres),
            each(self.cpu.nats)
        )?;
        let samples: Vec<_> = self.memory.iter().map(|&bytes| megabytes(bytes)).collect();
        write!(
            out,
            "  the recorder's memory after each tenth: {} MB; {} MB at most",
            samples.join(" "),
            megabytes(self.most_memory)
        )
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::{super::population::Population, *};

    #[test]
    fn envelopes_hold_all_leaves_and_no_more_than_ingress_writes() {
        let population = Population { tenants: 2, channels: 3, users: 100 };
        let webhooks = Webhooks::new(population, 1, 1_700_000_000);
        let mut envelopes = Envelopes { webhooks, leaves: 5_000, laid: Laid::default(), next: None };
        let written: Vec<_> = (&mut envelopes).collect();
        let Laid { leaves, webhooks, envelopes, .. } = envelopes.laid;
        assert_eq!((leaves, envelopes), (5_000, written.len() as u64));
        let read: Vec<_> =
            written.iter().map(|bytes| v1::WebhookEnvelope::decode(bytes.clone()).unwrap()).collect();
        assert_eq!(read.iter().map(|envelope| envelope.webhooks.len() as u64).sum::<u64>(), webhooks);
        assert!(written.iter().all(|bytes| bytes.len() <= MAX_BYTES));
        assert!(read.iter().all(|envelope| envelope.webhooks.len() <= MAX_WEBHOOKS));
        assert!(envelopes < webhooks / 10, "{envelopes} envelopes for {webhooks} webhooks");
    }
}
