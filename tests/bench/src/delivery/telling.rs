//! Events that are put on EVENTS as the recorder puts them there, and when they came.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use anyhow::Context;
use async_nats::{HeaderMap, jetstream::message::PublishMessage};
use jiff::Timestamp;
use serde_json::{Value, json};
use staffetta_testkit::until;
use tokio::time::sleep;

use super::Receiver;
use crate::{
    figures::Latencies,
    gateway::Service,
    installation::{CpuEach, Installation},
    pace::{Pace, Turn},
    registered::{channel, tenant},
};

/// Conversations of each endpoint: a prime, so that each gets events of all of them, however many take turns.
const CONVERSATIONS: u64 = 251;
/// A new endpoint begins with what happens after it was seen for the first time.
const OPEN_LIMIT: Duration = Duration::from_secs(60);
const OPEN_LOOK: Duration = Duration::from_secs(1);
/// After the last event's acknowledgement all have come within this, or the run fails.
const LAST_LIMIT: Duration = Duration::from_secs(60);

/// Tells each endpoint in turn.
#[derive(Debug)]
pub(crate) struct Telling<'a> {
    installation: &'a Installation<'a>,
    receiver: &'a Receiver,
    endpoints: usize,
    well: Vec<usize>,
    made: Cell<u64>,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Delivered {
    /// From an event's acknowledgement to its receiver, of endpoints that are well. 0 for one that overtook its own
    /// acknowledgement.
    pub(crate) arrived: Latencies,
    pub(crate) cpu: CpuEach,
}

impl<'a> Telling<'a> {
    /// To the first endpoints of the registry, each of a tenant of its own; `is_well` says which of them take events.
    pub(crate) fn to(
        installation: &'a Installation<'a>,
        receiver: &'a Receiver,
        endpoints: usize,
        is_well: impl Fn(usize) -> bool,
    ) -> Self {
        let well = (0..endpoints).filter(|&n| is_well(n)).collect();
        Self { installation, receiver, endpoints, well, made: Cell::new(0) }
    }

    /// Tells at that pace, once all that are well are served.
    ///
    /// Fails when delivery ends, and when an event does not come.
    pub(crate) async fn measure(&self, delivery: &mut Service, pace: Pace) -> anyhow::Result<Delivered> {
        self.until_served().await?;
        let before = self.installation.cpu(delivery)?;
        let outcome = pace.keep(async |turn| self.tell_in(turn).await).await;
        delivery.check_running()?;
        let told = outcome?;
        let wanted: Vec<_> = told.iter().filter(|(_, (endpoint, ..))| self.well.contains(endpoint)).collect();
        let all_came = until("all events to come", LAST_LIMIT, async || {
            let came = self.receiver.came();
            wanted.iter().all(|(_, (_, id, _))| came.contains_key(id)).then_some(())
        });
        let waited = all_came.await;
        delivery.check_running()?;
        waited?;
        let cpu = self.installation.cpu(delivery)?.each_since(before, pace.whole());
        let (mut arrived, came) = (Latencies::new(), self.receiver.came());
        for (_, (_, id, stored)) in wanted.into_iter().filter(|(turn, _)| turn.measured) {
            let at = came.get(id).context("an event is missing")?;
            arrived.add(at.saturating_duration_since(*stored));
        }
        Ok(Delivered { arrived, cpu })
    }

    async fn tell_in(&self, turn: Turn) -> anyhow::Result<(usize, String, Instant)> {
        let endpoint = usize::try_from(turn.n)? % self.endpoints;
        let (id, stored) = self.tell(endpoint).await?;
        Ok((endpoint, id, stored))
    }

    /// Puts an event on EVENTS; gives back its id, and when it was stored.
    async fn tell(&self, endpoint: usize) -> anyhow::Result<(String, Instant)> {
        let n = self.made.get();
        self.made.set(n + 1);
        let id = event_id(n);
        let message = PublishMessage::build()
            .headers(headers(endpoint, n))
            .message_id(&id)
            .payload(body(endpoint, n).into());
        let subject =
            format!("staffetta.v1.event.{}.{}.message-received", tenant(endpoint), channel(endpoint));
        let sent = self.installation.jetstream.send_publish(subject, message).await;
        sent.context("publishing an event")?.await.context("an event was not acknowledged")?;
        Ok((id, Instant::now()))
    }

    /// Waits until each endpoint that is well has got something.
    async fn until_served(&self) -> anyhow::Result<()> {
        let mut told: Vec<(usize, Vec<String>)> = self.well.iter().map(|&n| (n, Vec::new())).collect();
        until("all endpoints to be served", OPEN_LIMIT, async || {
            for (endpoint, ids) in &mut told {
                ids.push(self.tell(*endpoint).await.ok()?.0);
            }
            sleep(OPEN_LOOK).await;
            let came = self.receiver.came();
            told.retain(|(_, ids)| !ids.iter().any(|id| came.contains_key(id)));
            told.is_empty().then_some(())
        })
        .await
    }
}

/// The `n`th event's id.
pub(super) fn event_id(n: u64) -> String {
    format!("{n:032x}")
}

fn source(endpoint: usize) -> String {
    format!("/tenants/{}/channels/{}", tenant(endpoint), channel(endpoint))
}

fn conversation(endpoint: usize, n: u64) -> String {
    format!("{:032x}", ((endpoint as u64) << 32) | (n % CONVERSATIONS))
}

fn headers(endpoint: usize, n: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("Content-Type", "application/json".to_owned()),
        ("ce-specversion", "1.0".to_owned()),
        ("ce-id", event_id(n)),
        ("ce-source", source(endpoint)),
        ("ce-type", "staffetta.message.received".to_owned()),
        ("ce-time", Timestamp::now().to_string()),
        ("ce-subject", wamid(n)),
        ("ce-partitionkey", conversation(endpoint, n)),
        ("ce-sequence", n.to_string()),
    ] {
        headers.insert(name, value);
    }
    headers
}

/// The event as its tenant reads it.
pub(super) fn body(endpoint: usize, n: u64) -> String {
    let event: Value = json!({
        "specversion": "1.0", "id": event_id(n), "source": source(endpoint),
        "type": "staffetta.message.received", "time": Timestamp::now().to_string(), "subject": wamid(n),
        "datacontenttype": "application/json",
        "data": {
            "conversation_id": conversation(endpoint, n), "sequence": n, "from": format!("39340{:07}", n % CONVERSATIONS),
            "id": wamid(n), "timestamp": "1790000000", "type": "text",
            "text": { "body": format!("Good morning, where is my order {n}? It should have come yesterday.") },
        },
    });
    event.to_string()
}

fn wamid(n: u64) -> String {
    format!("wamid.HBgMMzkzNDAwMDAwMDAwFQIAEhgUM0E{n:020}")
}
