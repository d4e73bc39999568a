//! Receipts on a real NATS.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use staffetta_bus::{Bus, Receipt};
use staffetta_domain::ChannelId;
use staffetta_testkit::{FaultProxy, NatsServer, until};

const LIMIT: Duration = Duration::from_secs(60);

fn channel(id: &str) -> ChannelId {
    id.parse().unwrap()
}

/// As many receipts as come before the one with this key.
async fn before(last: u64, receipts: &mut (impl Stream<Item = Receipt> + Unpin)) -> Vec<Receipt> {
    let reading = receipts.take_while(|receipt| std::future::ready(receipt.key != last)).collect();
    tokio::time::timeout(LIMIT, reading).await.unwrap()
}

#[tokio::test]
async fn what_is_told_is_heard_by_all_in_order_and_what_is_no_receipt_by_nobody() {
    let nats = NatsServer::start().await.unwrap();
    let bus = Bus::connect(nats.url(), "test").await.unwrap();
    let (one, other) = (bus.received().await.unwrap(), bus.received().await.unwrap());
    let at = Timestamp::from_microsecond(1_795_000_000_123_456).unwrap();

    // More than one message holds, of two channels.
    let many: Vec<(Timestamp, u64)> = (1..=600).map(|key| (at, key)).collect();
    bus.tell_received(&channel("acme-orders"), &many).await;
    for subject in ["staffetta.v1.received.acme-orders", "staffetta.v1.received.NONE"] {
        bus.client().publish(subject, Bytes::from_static(b"\x01\x02")).await.unwrap();
    }
    bus.tell_received(&channel("acme-orders"), &[]).await;
    bus.tell_received(&channel("beta-shop"), &[(at, u64::MAX)]).await;

    let expected: Vec<Receipt> =
        (1..=600).map(|key| Receipt { channel: channel("acme-orders"), at, key }).collect();
    for receipts in [one, other] {
        assert_eq!(before(u64::MAX, &mut pin!(receipts)).await, expected);
    }
}

#[tokio::test]
async fn while_nats_is_away_nothing_is_told_nor_later() {
    let nats = NatsServer::start().await.unwrap();
    let near = Bus::connect(nats.url(), "near").await.unwrap();
    let address: SocketAddr = nats.url().trim_start_matches("nats://").parse().unwrap();
    let proxy = FaultProxy::before(address).await.unwrap();
    let far = Bus::connect(&format!("nats://{}", proxy.address()), "far").await.unwrap();
    let mut receipts = pin!(near.received().await.unwrap());
    near.flush(LIMIT).await;
    let (at, orders) = (Timestamp::now(), channel("acme-orders"));

    proxy.cut().await.unwrap();
    until("the connection to be lost", LIMIT, async || (!far.is_connected()).then_some(())).await.unwrap();
    // More than the connection has room for.
    for key in 1..=5_000 {
        far.tell_received(&orders, &[(at, key)]).await;
    }
    proxy.heal().await.unwrap();
    until("the connection to be back", LIMIT, async || far.is_connected().then_some(())).await.unwrap();
    far.tell_received(&orders, &[(at, 0)]).await;
    assert_eq!(before(0, &mut receipts).await, []);
}
