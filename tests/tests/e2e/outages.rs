//! NATS goes away under load, and comes back.

use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use staffetta_testkit::{NatsOptions, NatsSync, until};
use staffetta_tests::{Installation, LIMIT, Meta, ORDERS, Setup, Storage, Tenant, message, text, webhook};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::each_told_and_sent_once;

/// Meta's connections.
const POSTERS: usize = 6;
/// Between two webhooks of one connection, and between two commands.
const PACE: Duration = Duration::from_millis(15);

/// What was promised so far.
#[derive(Debug, Default)]
struct Promised {
    webhooks: Mutex<Vec<String>>,
    commands: Mutex<Vec<Value>>,
}

impl Promised {
    fn counts(&self) -> (usize, usize) {
        (self.webhooks.lock().unwrap().len(), self.commands.lock().unwrap().len())
    }

    async fn until_more(&self, count: usize) {
        let before = self.counts();
        let more = until("more promises", LIMIT, async || {
            let now = self.counts();
            (now.0 >= before.0 + count && now.1 >= before.1 + count).then_some(())
        });
        more.await.unwrap();
    }
}

#[tokio::test]
async fn a_killed_nats_that_comes_back_has_lost_nothing() {
    let nats = NatsOptions { sync: NatsSync::Always, ..NatsOptions::default() };
    let setup = Setup { storage: Storage::Postgres, nats: Some(nats), ..Setup::default() };
    let (mut staffetta, mut up) = Installation::up(setup).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);

    let (promised, enough) = (Promised::default(), CancellationToken::new());
    let meta = staffetta.meta.clone();
    let nats = staffetta.nats.as_mut().unwrap();
    let outage = async {
        promised.until_more(100).await;
        nats.kill().await.unwrap();
        nats.restart().await.unwrap();
        promised.until_more(100).await;
        enough.cancel();
    };
    let posting = join_all((0..POSTERS).map(|poster| post(&meta, poster, &promised, &enough)));
    tokio::join!(outage, posting, publish(&acme, &promised, &enough));

    let commands = promised.commands.lock().unwrap().clone();
    let webhooks = promised.webhooks.lock().unwrap().clone();
    each_told_and_sent_once(&staffetta, &streams, &commands, webhooks).await;
    until("it to be ready", LIMIT, async || up.is_ready().await.then_some(())).await.unwrap();
    up.stop().await.unwrap();
}

/// Posts one message after the other and notes those that were answered with 200.
async fn post(meta: &Meta, poster: usize, promised: &Promised, enough: &CancellationToken) {
    let mut pace = interval(PACE);
    for n in 0.. {
        pace.tick().await;
        if enough.is_cancelled() {
            return;
        }
        let wamid = format!("wamid.{poster}-{n}");
        let answer = meta.post(&webhook(ORDERS, &[message(&wamid)], &[])).await;
        if answer.is_ok_and(|status| status.as_u16() == 200) {
            promised.webhooks.lock().unwrap().push(wamid);
        }
    }
}

/// Publishes one command after the other, each until it is acknowledged, as a tenant should.
async fn publish(tenant: &Tenant, promised: &Promised, enough: &CancellationToken) {
    let mut pace = interval(PACE);
    for n in 0.. {
        pace.tick().await;
        if enough.is_cancelled() {
            return;
        }
        let command = text(&format!("load-{n}"), &format!("3934812{:05}", n % 50));
        let published = until("an acknowledgement", LIMIT, async || tenant.send(&command).await.ok());
        published.await.unwrap();
        promised.commands.lock().unwrap().push(command);
    }
}
