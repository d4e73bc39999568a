//! A webhook in the wire format of WEBHOOKS.
//!
//! Each is written as an envelope of its own. Envelopes set one after the other are one envelope of all their webhooks,
//! as Protocol Buffers define it for repeated fields: so handlers do the writing, side by side, and the one committer
//! only joins bytes.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use staffetta_bus::Bus;
use staffetta_domain::TraceParent;
use staffetta_proto::json::to_timestamp;
use staffetta_proto::{Message, v1};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tracing::error;
use uuid::Uuid;

use crate::answer::Outcome;

/// What a message's headers and subject take of NATS' largest message, generously.
const HEADERS: usize = 1 << 10;
/// Every server takes that much; the question costs more than the answer is worth.
const ALWAYS_FITS: usize = 3 << 10;
/// Bodies compressed at a time. They are rare, and there is other work.
const COMPRESSING: usize = 2;

/// Writes envelopes of one webhook.
#[derive(Debug)]
pub(crate) struct Writer {
    bus: Bus,
    compressing: Arc<Semaphore>,
}

/// An id for a webhook.
pub(crate) fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// The largest envelope that the connected server takes, in bytes.
pub(crate) fn largest(bus: &Bus) -> usize {
    bus.max_payload().saturating_sub(HEADERS)
}

impl Writer {
    pub(crate) fn new(bus: Bus) -> Self {
        Self { bus, compressing: Arc::new(Semaphore::new(COMPRESSING)) }
    }

    /// An envelope with this body of `app`, received now, under an id of [`new_id`]. The body is compressed if it would
    /// not fit otherwise.
    ///
    /// Fails if it doesn't fit even then, and says so in the log, with sizes.
    pub(crate) async fn write(
        &self,
        app: &str,
        id: String,
        trace: Option<TraceParent>,
        body: Bytes,
    ) -> Result<Bytes, Outcome> {
        let mut webhook = v1::RawWebhook {
            id,
            provider: v1::Provider::Meta.into(),
            source: app.to_owned(),
            received_at: Some(to_timestamp(Timestamp::now())),
            body,
            encoding: v1::BodyEncoding::Unspecified.into(),
            replay_of: String::new(),
            traceparent: trace.map(|trace| trace.to_string()).unwrap_or_default(),
        };
        let size = webhook.encoded_len();
        if size <= ALWAYS_FITS || size <= largest(&self.bus) {
            return Ok(encode(webhook));
        }
        let plain = webhook.body.len();
        webhook.body = self.compress(webhook.body).await?;
        webhook.encoding = v1::BodyEncoding::Gzip.into();
        let (compressed, limit) = (webhook.body.len(), largest(&self.bus));
        if webhook.encoded_len() > limit {
            let id = webhook.id;
            error!(
                app,
                id, plain, compressed, limit, "a webhook is larger than NATS takes: raise its max_payload"
            );
            return Err(Outcome::Unstorable);
        }
        Ok(encode(webhook))
    }

    async fn compress(&self, body: Bytes) -> Result<Bytes, Outcome> {
        let turn = Arc::clone(&self.compressing).acquire_owned().await.map_err(|_| Outcome::Unavailable)?;
        let compressed = spawn_blocking(move || {
            let compressed = gzip(&body);
            drop(turn);
            compressed
        });
        match compressed.await {
            Ok(Ok(compressed)) => Ok(compressed),
            Ok(Err(_)) | Err(_) => {
                error!("a webhook could not be compressed");
                Err(Outcome::Unstorable)
            }
        }
    }
}

fn encode(webhook: v1::RawWebhook) -> Bytes {
    v1::WebhookEnvelope { webhooks: vec![webhook] }.encode_to_vec().into()
}

fn gzip(body: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body)?;
    Ok(encoder.finish()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(id: &str) -> v1::RawWebhook {
        v1::RawWebhook {
            id: id.into(),
            provider: v1::Provider::Meta.into(),
            source: "app".into(),
            received_at: Some(to_timestamp(Timestamp::UNIX_EPOCH)),
            body: Bytes::from_static(b"{}"),
            encoding: 0,
            replay_of: String::new(),
            traceparent: String::new(),
        }
    }

    #[test]
    fn envelopes_in_a_row_are_one_envelope() {
        let row = [encode(webhook("1")), encode(webhook("2")), encode(webhook("3"))].concat();
        let read = v1::WebhookEnvelope::decode(row.as_slice()).unwrap();
        assert_eq!(read.webhooks, [webhook("1"), webhook("2"), webhook("3")]);
    }
}
