//! What a channel receives counts in its rate, so whoever sends on it has to hear of each message at once.
//!
//! Receipts are told on core NATS, which stores nothing: one that nobody hears in time is of no use to anybody later.
//! Their subjects are not for tenants.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use jiff::Timestamp;
use staffetta_domain::ChannelId;
use tokio::time::timeout;
use tracing::debug;

use crate::Bus;

/// Where receipts are told: this, and the channel.
const PREFIX: &str = "staffetta.v1.received.";
/// How receipts are written. A message in any other way is passed over.
const VERSION: u8 = 1;
/// One receipt: its moment in microseconds since 1970, and its key.
const SIZE: usize = 16;
/// Most receipts of one message.
const MOST: usize = 256;
/// Longest wait until the connection takes a message.
const TAKEN: Duration = Duration::from_millis(100);

/// A message that a channel received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The channel.
    pub channel: ChannelId,
    /// When ingress received it, to the microsecond, by the clock of ingress.
    pub at: Timestamp,
    /// What tells the message from others: the same each time, and through whichever app it comes.
    pub key: u64,
}

/// Receipts can't be followed: the connection is closed.
#[derive(Debug, thiserror::Error)]
#[error("receipts could not be followed")]
pub struct NotFollowed(#[from] async_nats::SubscribeError);

impl Bus {
    /// Tells that a channel received messages, each by its moment and its key. Best effort: while NATS is away nothing
    /// is told, nor later.
    pub async fn tell_received(&self, channel: &ChannelId, receipts: &[(Timestamp, u64)]) {
        if !self.is_connected() {
            return;
        }
        for some in receipts.chunks(MOST) {
            let told = self.client().publish(format!("{PREFIX}{channel}"), written(some));
            match timeout(TAKEN, told).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(error = &error as &dyn std::error::Error, "receipts not told"),
                Err(_) => return debug!("receipts not told: the connection takes nothing more"),
            }
        }
    }

    /// Follows what channels receive from now on. A receipt may be missed, and may come again. Whoever reads too slowly
    /// misses the newest.
    ///
    /// # Errors
    /// If the connection is closed for good.
    pub async fn received(&self) -> Result<impl Stream<Item = Receipt> + Send + Unpin + use<>, NotFollowed> {
        let messages = self.client().subscribe(format!("{PREFIX}*")).await?;
        Ok(messages.flat_map(|message| stream::iter(read(&message.subject, &message.payload))))
    }
}

fn written(receipts: &[(Timestamp, u64)]) -> Bytes {
    let mut payload = BytesMut::with_capacity(1 + receipts.len() * SIZE);
    payload.put_u8(VERSION);
    for (at, key) in receipts {
        payload.put_i64(at.as_microsecond());
        payload.put_u64(*key);
    }
    payload.freeze()
}

/// The receipts of one message; none of one that is not as it should be.
fn read(subject: &str, payload: &[u8]) -> Vec<Receipt> {
    let channel = subject.strip_prefix(PREFIX).and_then(|channel| channel.parse::<ChannelId>().ok());
    let (Some(channel), Some((&VERSION, receipts))) = (channel, payload.split_first()) else {
        return Vec::new();
    };
    let (receipts, rest) = receipts.as_chunks::<SIZE>();
    if !rest.is_empty() {
        return Vec::new();
    }
    let receipt = |bytes: &[u8; SIZE]| {
        let both = u128::from_be_bytes(*bytes);
        let at = Timestamp::from_microsecond((both >> 64) as i64).ok()?;
        Some(Receipt { channel: channel.clone(), at, key: both as u64 })
    };
    receipts.iter().filter_map(receipt).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_are_read_back_to_the_microsecond() {
        let moments = ["2026-11-22T04:15:56.123456Z", "1969-12-31T23:59:59.999999Z"];
        let receipts: Vec<(Timestamp, u64)> =
            moments.iter().map(|at| at.parse().unwrap()).zip([u64::MAX, 1]).collect();
        let read = read("staffetta.v1.received.acme-orders", &written(&receipts));
        let expected: Vec<Receipt> = receipts
            .iter()
            .map(|(at, key)| Receipt { channel: "acme-orders".parse().unwrap(), at: *at, key: *key })
            .collect();
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_not_as_it_should_be_is_passed_over() {
        let good = written(&[(Timestamp::UNIX_EPOCH, 7)]);
        assert_eq!(read("staffetta.v1.received.a", &good).len(), 1);
        assert_eq!(read("staffetta.v1.received.a", &[VERSION]), []);
        for subject in ["staffetta.v1.received.", "staffetta.v1.received.A", "staffetta.v1.event.a"] {
            assert_eq!(read(subject, &good), [], "{subject}");
        }
        let other_version = [&[VERSION + 1], &good[1..]].concat();
        let no_moment = [&[VERSION], &i64::MAX.to_be_bytes()[..], &7_u64.to_be_bytes()].concat();
        for payload in [&[][..], &good[..16], &[&good[..], &[0]].concat(), &other_version, &no_moment] {
            assert_eq!(read("staffetta.v1.received.a", payload), [], "{payload:?}");
        }
    }
}
